/* flips.h: what is worth compiling for each instruction-set level. */

/* sum[i] += sum over rows of the weight +-1 at bit i; rows are `stride` words apart. Bytes count up to 255 rows, lanes run over bits. */
ISA_CODE void FN(flips_sum_weights)(const uint64_t *rows, int64_t n_rows, int64_t stride, int64_t n_sites, int64_t *sum)
{
    for (int64_t i = 0; i < n_sites; i++)
        sum[i] -= n_rows;
    for (int64_t word = 0; 64 * word < n_sites; word++)
        for (int64_t first = 0; first < n_rows; first += 255) {
            const int64_t last = n_rows - first < 255 ? n_rows : first + 255, n = n_sites - 64 * word;
            uint8_t count[64] = {0};
            for (int64_t row = first; row < last; row++) {
                const uint64_t bits = rows[row * stride + word];
#if ISA_LEVEL == 2
                const __m512i one = _mm512_set1_epi8(1), so_far = _mm512_loadu_si512(count);
                _mm512_storeu_si512(count, _mm512_mask_add_epi8(so_far, bits, so_far, one));
#else
                for (int i = 0; i < 64; i++)
                    count[i] += bits >> i & 1;
#endif
            }
            for (int64_t i = 0; i < n && i < 64; i++)
                sum[64 * word + i] += 2 * count[i];
        }
}

/* +-1 weights (n_units, fan_in) of the units of any number of walkers to bits (n_units, n_words). */
ISA_CODE void FN(flips_pack)(const int8_t *weights, int64_t n_units, int64_t fan_in, int64_t n_words, uint64_t *out)
{
    for (int64_t unit = 0; unit < n_units; unit++, weights += fan_in)
        for (int64_t word = 0; word < n_words; word++) {
            const int64_t left = fan_in - 64 * word, n = left < 64 ? left : 64;
            uint64_t bits = 0;
#if ISA_LEVEL == 2
            const __mmask64 some = n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0;
            bits = _mm512_mask_cmpgt_epi8_mask(some, _mm512_maskz_loadu_epi8(some, weights + 64 * word), _mm512_setzero_si512());
#else
            for (int64_t i = 0; i < n; i++)
                bits |= (uint64_t)(weights[64 * word + i] > 0) << i;
#endif
            *out++ = bits;
        }
}
