/* Proposal and commit of bitslice.h for one instruction-set level. */

typedef uint64_t FN(bits) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias));
#define V FN(bits)
#define LANES (VEC_BYTES / 8)

/* counts[lane] += number of bits of x, in some lane: only the total means anything. */
INLINE V FN(popcount)(V x)
{
#if ISA_LEVEL == 2
    return (V)_mm512_popcnt_epi64((__m512i)x);
#elif ISA_LEVEL == 1
    const __m256i nibble = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15), y = (__m256i)x;
    __m256i bytes = _mm256_add_epi8(_mm256_shuffle_epi8(nibble, _mm256_and_si256(y, low)),
                                    _mm256_shuffle_epi8(nibble, _mm256_and_si256(_mm256_srli_epi16(y, 4), low)));
    return (V)_mm256_sad_epu8(bytes, _mm256_setzero_si256());
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    x += x >> 8;
    x += x >> 16;
    return (x + (x >> 32)) & 0x7f;
#endif
}

INLINE int64_t FN(total)(V x)
{
#if ISA_LEVEL == 2
    return _mm512_reduce_add_epi64((__m512i)x);
#else
    int64_t sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += (int64_t)x[lane];
    return sum;
#endif
}

INLINE int64_t FN(bitslice_delta)(const bitslice_view *v, int64_t site, const int both)
{
    const V *column = (const V *)(v->columns + site * v->n_groups * GROUP), *first = (const V *)v->masks, *second = (const V *)v->second;
    V count = {0};
    for (int64_t q = 0; q < v->n_groups * GROUP / LANES; q++) {
        count += FN(popcount)(column[q] & first[q]);
        if (both)
            count -= FN(popcount)(column[q] & second[q]);
    }
    const int64_t negative = v->weights[site] >> 7; /* 0 or -1; no branch: the sign of a weight cannot be predicted */
    return v->base[-negative] + ((FN(total)(count) ^ negative) - negative);
}

INLINE void FN(bitslice_commit)(bitslice_view *v, int64_t site, int64_t delta, const int both)
{
    const int64_t n_planes = v->n_planes;
    const uint64_t *column = v->columns + site * v->n_groups * GROUP;
    const V flip = (V){0} - (uint64_t)(v->weights[site] < 0);
    V minus = {0}, zero = {0}, at_top = {0}, beyond_top = {0};
    for (int64_t word = 0; word < v->n_groups * GROUP; word += LANES) {
        V *plane = (V *)(v->planes + (word / GROUP) * n_planes * GROUP + word % GROUP);
        const V down = *(const V *)(column + word) ^ flip;
        V carry = ~(V){0}, previous = plane[0] ^ carry, unequal = {0}, off_top = {0}, off_next = {0};
        for (int64_t j = 0; j < n_planes; j++, plane += GROUP / LANES) {
            /* going up a carry runs through ones, going down a borrow runs through zeros */
            const V old = *plane, now = old ^ carry;
            *plane = now;
            carry &= old ^ down;
            unequal |= now ^ previous;
            previous = now;
            if (both) {
                off_top |= now ^ ((V){0} - (uint64_t)(v->top >> j & 1));
                off_next |= now ^ ((V){0} - (uint64_t)((v->top + 1) >> j & 1));
            }
        }
        /* T = 0 or -1 where all digits are equal; `previous` is the sign */
        *(V *)(v->masks + word) = ~unequal;
        minus += FN(popcount)(~unequal & previous);
        zero += FN(popcount)(~unequal & ~previous);
        if (both) {
            *(V *)(v->second + word) = ~(off_top & off_next);
            at_top += FN(popcount)(~off_top);
            beyond_top += FN(popcount)(~off_next);
        }
    }
    v->base[0] = FN(total)(at_top - minus);
    v->base[1] = FN(total)(zero - beyond_top);
    v->weights[site] = -v->weights[site];
    *v->energy += (double)delta;
}

#define INTEGER_DELTA 1
#define LOOP bitslice_lower
#define MODEL bitslice_model
#define VIEW bitslice_view
#define OPEN bitslice_open
#define DELTA(view, site) FN(bitslice_delta)(view, site, 0)
#define COMMIT(view, site, delta) FN(bitslice_commit)(view, site, delta, 0)
#include "flip_loop.h"

#define INTEGER_DELTA 1
#define LOOP bitslice_both
#define MODEL bitslice_model
#define VIEW bitslice_view
#define OPEN bitslice_open
#define DELTA(view, site) FN(bitslice_delta)(view, site, 1)
#define COMMIT(view, site, delta) FN(bitslice_commit)(view, site, delta, 1)
#include "flip_loop.h"

#undef V
#undef LANES
