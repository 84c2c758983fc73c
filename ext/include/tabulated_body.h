/* Proposal and commit of tabulated.h for one instruction-set level. */

typedef int64_t FN(i64x8) __attribute__((vector_size(64), aligned(8), may_alias));

/* Sum of gaps over the set bits of a column. */
INLINE int64_t FN(tabulated_masked_sum)(const uint64_t *column, const int64_t *gaps, int64_t words)
{
#if ISA_LEVEL == 2
    const uint8_t *bits = (const uint8_t *)column;
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (int64_t k = 0; k < words * 8; k += 4, gaps += 32) {
        a = _mm512_mask_add_epi64(a, bits[k], a, _mm512_loadu_si512(gaps));
        b = _mm512_mask_add_epi64(b, bits[k + 1], b, _mm512_loadu_si512(gaps + 8));
        c = _mm512_mask_add_epi64(c, bits[k + 2], c, _mm512_loadu_si512(gaps + 16));
        d = _mm512_mask_add_epi64(d, bits[k + 3], d, _mm512_loadu_si512(gaps + 24));
    }
    return _mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d)));
#else
    FN(i64x8) sum = {0};
    for (int64_t word = 0; word < words; word++) {
        uint64_t bits = column[word];
        for (int byte = 0; byte < 8; byte++, bits >>= 8, gaps += 8) {
            const FN(i64x8) select = (FN(i64x8)){0} + (int64_t)(bits & 255), which = {1, 2, 4, 8, 16, 32, 64, 128};
            sum += *(const FN(i64x8) *)gaps & ((select & which) == which);
        }
    }
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
#endif
}

INLINE double FN(tabulated_delta)(const tabulated_view *v, int64_t site)
{
    const int64_t p = FN(tabulated_masked_sum)(v->m->columns + site * v->m->words, v->gaps, v->m->words);
    return (double)(v->weights[site] > 0 ? v->sums[0] + p : v->sums[1] - p) * v->m->unit;
}

INLINE void FN(tabulated_commit)(tabulated_view *v, int64_t site, double delta)
{
    const tabulated_model *m = v->m;
    const uint64_t *column = m->columns + site * m->words, flip = v->weights[site] > 0 ? 0 : ~(uint64_t)0;
    int64_t grow = 0, drop = 0;
    for (int64_t mu = 0; mu < m->n_patterns; mu++) {
        const int32_t u = v->count[mu] + 1 - 2 * (int32_t)((column[mu / 64] ^ flip) >> (mu % 64) & 1);
        v->count[mu] = u;
        v->gaps[mu] = m->gap[u];
        grow += m->grow[u];
        drop += m->gap[u];
    }
    v->sums[0] = grow;
    v->sums[1] = grow + drop;
    /* exact: delta is an integer number of units, and so is the sum */
    *v->total += (int64_t)(delta / m->unit);
    *v->energy = (double)*v->total * m->unit;
    v->weights[site] = -v->weights[site];
}

#define INTEGER_DELTA 0
#define LOOP tabulated_loop
#define VIEW tabulated_view
#define OPEN tabulated_open
#define DELTA(view, site) FN(tabulated_delta)(view, site)
#define COMMIT(view, site, delta) FN(tabulated_commit)(view, site, delta)
#include "flip_loop.h"
