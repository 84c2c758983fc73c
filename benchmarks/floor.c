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

/* What matrix products cannot do without: multiply-adds. As many independent chains of them as hide their latency, in registers. */
#ifdef __AVX512F__
enum { VECTOR = 64, CHAINS = 24 };
#elif defined(__AVX__)
enum { VECTOR = 32, CHAINS = 12 };
#else
enum { VECTOR = 16, CHAINS = 12 };
#endif

/* `rounds` multiply-adds in every lane of CHAINS vectors; returns how many that were altogether. */
#define MULTIPLY_ADDS(name, type)                                                                   \
    int64_t name(int64_t rounds, type *out)                                                         \
    {                                                                                               \
        typedef type vector __attribute__((vector_size(VECTOR)));                                   \
        vector sum[CHAINS], factor = {0}, term = {0};                                               \
        factor += (type)0.999, term += (type)0.001;                                                 \
        for (int i = 0; i < CHAINS; i++)                                                            \
            sum[i] = factor * (type)i;                                                              \
        for (int64_t round = 0; round < rounds; round++) {                                          \
            _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term; \
        }                                                                                           \
        for (int i = 1; i < CHAINS; i++)                                                            \
            sum[0] += sum[i];                                                                       \
        *out = sum[0][0];                                                                           \
        return rounds * CHAINS * (VECTOR / (int64_t)sizeof(type));                                  \
    }
MULTIPLY_ADDS(multiply_adds_float64, double)
MULTIPLY_ADDS(multiply_adds_float32, float)
