/* Proposal and commit of tabulated.h for one instruction-set level. */

typedef int32_t FN(i32x4) __attribute__((vector_size(16), aligned(16), may_alias));
typedef int64_t FN(i64x2) __attribute__((vector_size(16), aligned(16), may_alias));

/* Sum of gaps over the set bits of a column. */
INLINE int64_t FN(tabulated_masked_sum)(const uint64_t *column, const int64_t *gaps, int64_t words)
{
#if ISA_LEVEL == 2
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t word = 0; word < words; word++, gaps += 64) {
        const uint64_t bits = column[word];
        for (int byte = 0; byte < 8; byte++)
            sum[byte % 4] = _mm512_mask_add_epi64(sum[byte % 4], (__mmask8)(bits >> 8 * byte), sum[byte % 4], _mm512_load_si512(gaps + 8 * byte));
    }
    return _mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3])));
#elif ISA_LEVEL == 1
    const __m256i to_sign = _mm256_setr_epi64x(63, 62, 61, 60);
    __m256i even = _mm256_setzero_si256(), odd = even;
    for (int64_t word = 0; word < words; word++) {
        __m256i bits = _mm256_set1_epi64x((int64_t)column[word]);
        for (int part = 0; part < 8; part++, gaps += 8) {
            even = _mm256_add_epi64(even, _mm256_maskload_epi64((const long long *)gaps, _mm256_sllv_epi64(bits, to_sign)));
            bits = _mm256_srli_epi64(bits, 4);
            odd = _mm256_add_epi64(odd, _mm256_maskload_epi64((const long long *)gaps + 4, _mm256_sllv_epi64(bits, to_sign)));
            bits = _mm256_srli_epi64(bits, 4);
        }
    }
    const FN(i64x2) sum = (FN(i64x2))_mm256_castsi256_si128(_mm256_add_epi64(even, odd))
                          + (FN(i64x2))_mm256_extracti128_si256(_mm256_add_epi64(even, odd), 1);
    return sum[0] + sum[1];
#else
    static const FN(i64x2) select[4] = {{0, 0}, {-1, 0}, {0, -1}, {-1, -1}};
    FN(i64x2) even = {0}, odd = {0};
    for (int64_t word = 0; word < words; word++) {
        uint64_t bits = column[word];
        for (int part = 0; part < 16; part++, bits >>= 4, gaps += 4) {
            even += *(const FN(i64x2) *)gaps & select[bits & 3];
            odd += *(const FN(i64x2) *)(gaps + 2) & select[bits >> 2 & 3];
        }
    }
    even += odd;
    return even[0] + even[1];
#endif
}

INLINE double FN(tabulated_delta)(const tabulated_view *v, int64_t site)
{
    const int64_t p = FN(tabulated_masked_sum)(v->m->columns + site * v->m->words, v->gaps, (v->m->n_patterns + 63) / 64);
    const int64_t negative = v->weights[site] >> 7; /* 0 or -1; no branch: the sign of a weight cannot be predicted */
    return (double)(v->sums[-negative] + ((p ^ negative) - negative)) * v->m->unit;
}

/* u of every pattern after a flip; `down`: bit set where it drops. */
INLINE void FN(tabulated_count)(const uint64_t *column, uint64_t flip, int32_t *count, int64_t words)
{
    for (int64_t word = 0; word < words; word++, count += 64) {
        const uint64_t down = column[word] ^ flip;
#if ISA_LEVEL == 2
        const __m512i one = _mm512_set1_epi32(1), minus = _mm512_set1_epi32(-1);
        for (int part = 0; part < 4; part++)
            _mm512_store_si512(count + 16 * part, _mm512_add_epi32(_mm512_load_si512(count + 16 * part),
                               _mm512_mask_blend_epi32((__mmask16)(down >> 16 * part), one, minus)));
#else
        for (int part = 0; part < 16; part++)
            *(FN(i32x4) *)(count + 4 * part) += *(const FN(i32x4) *)tabulated_steps[down >> 4 * part & 15];
#endif
    }
}

INLINE void FN(tabulated_commit)(tabulated_view *v, int64_t site, double delta)
{
    const tabulated_model *m = v->m;
    FN(tabulated_count)(m->columns + site * m->words, v->weights[site] > 0 ? 0 : ~(uint64_t)0, v->count, (m->n_patterns + 63) / 64);
    FN(i64x2) sum = {0}, more = {0};
    const FN(i64x2) *change = (const FN(i64x2) *)m->change;
    int64_t mu = 0;
    for (; mu + 2 <= m->n_patterns; mu += 2) {
        const FN(i64x2) first = change[v->count[mu]], second = change[v->count[mu + 1]];
        *(FN(i64x2) *)(v->gaps + mu) = (FN(i64x2)){first[0], second[0]};
        sum += first;
        more += second;
    }
    if (mu < m->n_patterns) {
        const FN(i64x2) last = change[v->count[mu]];
        v->gaps[mu] = last[0];
        sum += last;
    }
    sum += more;
    v->sums[0] = sum[1];
    v->sums[1] = sum[0] + sum[1];
    /* exact: delta is an integer number of units, and so is the sum */
    *v->total += (int64_t)(delta / m->unit);
    *v->energy = (double)*v->total * m->unit;
    v->weights[site] = -v->weights[site];
}

#define INTEGER_DELTA 0
#define LOOP tabulated_loop
#define MODEL tabulated_model
#define VIEW tabulated_view
#define OPEN tabulated_open
#define DELTA(view, site) FN(tabulated_delta)(view, site)
#define COMMIT(view, site, delta) FN(tabulated_commit)(view, site, delta)
#include "flip_loop.h"
