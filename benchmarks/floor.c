/* What a proposal of the bit-sliced kernel cannot do without, measured: the popcounts of a mask with pattern columns, and the reading of
 * the columns. Compiled with -O3 -march=native. */
#include <stdint.h>
#ifdef __AVX512VPOPCNTDQ__
#include <immintrin.h>
#endif

/* Bits of mask & column; n_words is a multiple of 8. */
static inline int64_t common(int64_t n_words, const uint64_t *column, const uint64_t *mask)
{
#ifdef __AVX512VPOPCNTDQ__ /* gcc's own vector code takes twice as long, most of it for the sum over the lanes */
    __m512i count = _mm512_setzero_si512();
    for (int64_t word = 0; word < n_words; word += 8) {
        const __m512i both = _mm512_and_si512(_mm512_loadu_si512(column + word), _mm512_loadu_si512(mask + word));
        count = _mm512_add_epi64(count, _mm512_popcnt_epi64(both));
    }
    return _mm512_reduce_add_epi64(count);
#else
    int64_t count = 0;
    for (int64_t word = 0; word < n_words; word++)
        count += __builtin_popcountll(column[word] & mask[word]);
    return count;
#endif
}

/* Bits of mask & column of n columns: number `hot` is followed by number 0, so that few columns stay next to the core. columns:
 * (hot, n_words) at least; counts: (hot,). */
void popcounts(int64_t n, int64_t hot, int64_t n_words, const uint64_t *columns, const uint64_t *mask, int32_t *counts)
{
    for (int64_t k = 0, site = 0; k < n; k++, site = site + 1 < hot ? site + 1 : 0)
        counts[site] = (int32_t)common(n_words, columns + site * n_words, mask);
}

/* Goes through n_words words, `rounds` times, and returns something that depends on all of them. */
uint64_t stream(int64_t rounds, int64_t n_words, const uint64_t *words)
{
    uint64_t all = 0;
    for (int64_t round = 0; round < rounds; round++) {
        __asm__ volatile("" ::: "memory"); /* rounds are not merged */
        for (int64_t word = 0; word < n_words; word++)
            all ^= words[word];
    }
    return all;
}
