/* Products with +-1 inputs, see products.h. Included by products_body.h for each precision. */

#define GROUPS 16 /* of four bits in a word */

/* The 16 signed sums of four numbers. */
#define SIGNED_SUMS(NUMBER, v, to) \
    for (int s = 0; s < 16; s++) { \
        const NUMBER low = (s & 1 ? v[0] : -v[0]) + (s & 2 ? v[1] : -v[1]), high = (s & 4 ? v[2] : -v[2]) + (s & 8 ? v[3] : -v[3]); \
        to = low + high; \
    }

/* The signed sums of each group of four among n numbers x (n, width), of which `lanes` columns count, n <= WORD and the missing ones
 * being 0: table (GROUPS, 16, ORDER). */
INLINE void RN(bits_table)(const double *x, int64_t n, int64_t width, int64_t lanes, REAL *table)
{
    enum { PARTS = 64 / VEC_BYTES };
    for (int64_t g = 0; g < GROUPS; g++) {
        REAL numbers[4][ORDER] __attribute__((aligned(64)));
        for (int64_t j = 0; j < 4; j++)
            for (int64_t lane = 0; lane < ORDER; lane++)
                numbers[j][lane] = 4 * g + j < n && lane < lanes ? (REAL)x[(4 * g + j) * width + lane] : 0;
        for (int part = 0; part < PARTS; part++) {
            VR v[4];
            for (int64_t j = 0; j < 4; j++)
                v[j] = *(const VR *)&numbers[j][part * N_VR];
#pragma GCC unroll 16
            SIGNED_SUMS(VR, v, *(VR *)(table + (g * 16 + s) * ORDER + part * N_VR))
        }
    }
}

/* The same for one walker: x (n,), table (GROUPS, 16). */
INLINE void RN(bits_table_one)(const double *x, int64_t n, REAL *table)
{
    for (int64_t g = 0; g < GROUPS; g++) {
        REAL v[4];
        for (int64_t j = 0; j < 4; j++)
            v[j] = 4 * g + j < n ? (REAL)x[4 * g + j] : 0;
#pragma GCC unroll 16
        SIGNED_SUMS(REAL, v, table[g * 16 + s])
    }
}

/* sum (n_out, ORDER) += for every output, the entries of the table that its word names, groups in order. */
INLINE void RN(bits_add)(const uint64_t *words, int64_t n_out, const REAL *table, REAL *sum)
{
    enum { PARTS = 64 / VEC_BYTES };
    for (int64_t k = 0; k < n_out; k++) {
        const uint64_t word = words[k];
        VR total[PARTS];
        for (int part = 0; part < PARTS; part++)
            total[part] = *(const VR *)(sum + k * ORDER + part * N_VR);
#pragma GCC unroll 16
        for (int g = 0; g < GROUPS; g++) {
            /* an entry has 64 bytes */
            const uint64_t at = (g < 2 ? word << (6 - 4 * g) : word >> (4 * g - 6)) & 15 << 6;
            const REAL *entry = (const REAL *)((const char *)(table + g * 16 * ORDER) + at);
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++)
                total[part] += *(const VR *)(entry + part * N_VR);
        }
        for (int part = 0; part < PARTS; part++)
            *(VR *)(sum + k * ORDER + part * N_VR) = total[part];
    }
}

/* The same for one walker: table (GROUPS, 16), sum (n_out,); n_out is a multiple of WORD. */
INLINE void RN(bits_add_one)(const uint64_t *words, int64_t n_out, const REAL *table, REAL *sum)
{
#if ISA_LEVEL == 2
    enum { AT_ONCE = 4 }; /* vectors of outputs, that the table is loaded for once */
    for (int64_t k = 0; k < n_out; k += AT_ONCE * N_VR) {
        VR total[AT_ONCE];
        __m512i index[2][AT_ONCE];
#pragma GCC unroll 4
        for (int v = 0; v < AT_ONCE; v++) {
            const uint64_t *word = words + k + v * N_VR;
            total[v] = *(const VR *)(sum + k + v * N_VR);
            index[0][v] = _mm512_loadu_si512(word);
            if (sizeof(REAL) == 4) { /* 32-bit lanes: the low and the high halves of 16 words */
                const __m512i more = _mm512_loadu_si512(word + 8);
                const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                index[1][v] = _mm512_permutex2var_epi32(index[0][v], _mm512_add_epi32(even, _mm512_set1_epi32(1)), more);
                index[0][v] = _mm512_permutex2var_epi32(index[0][v], even, more);
            }
        }
#pragma GCC unroll 16
        for (int g = 0; g < GROUPS; g++)
#pragma GCC unroll 4
            for (int v = 0; v < AT_ONCE; v++)
                if (sizeof(REAL) == 8) {
                    const double *entry = (const double *)table + 16 * g;
                    total[v] += (VR)_mm512_permutex2var_pd(_mm512_loadu_pd(entry), _mm512_srli_epi64(index[0][v], 4 * g), _mm512_loadu_pd(entry + 8));
                } else {
                    const __m512 entry = _mm512_loadu_ps((const float *)table + 16 * g);
                    total[v] += (VR)_mm512_permutexvar_ps(_mm512_srli_epi32(index[g / 8][v], 4 * (g % 8)), entry);
                }
#pragma GCC unroll 4
        for (int v = 0; v < AT_ONCE; v++)
            *(VR *)(sum + k + v * N_VR) = total[v];
    }
#else
    for (int64_t k = 0; k < n_out; k++) {
        const uint64_t word = words[k];
        REAL total = sum[k];
#pragma GCC unroll 16
        for (int g = 0; g < GROUPS; g++)
            total += table[16 * g + (word >> 4 * g & 15)];
        sum[k] = total;
    }
#endif
}

/* out (n_out, width) = sums over n terms of x (n, width) with the signs that bits (n / WORD, n_bits) give; n_bits >= n_out, a multiple of WORD. */
INLINE void RN(bits_product)(const products *p, const uint64_t *bits, int64_t n_bits, int64_t n_out, const double *x, int64_t n, double *out)
{
    REAL table[GROUPS * 16 * ORDER] __attribute__((aligned(64))), *sum = p->scratch;
    const int64_t width = p->width, size = width > 1 ? ORDER : 1;
    for (int64_t first = 0; first < width; first += size) {
        const int64_t lanes = width - first < size ? width - first : size;
        memset(sum, 0, sizeof(REAL) * n_bits * size);
        for (int64_t word = 0; word * WORD < n; word++) {
            const double *terms = x + word * WORD * width + first;
            const int64_t left = n - word * WORD;
            if (size > 1) {
                RN(bits_table)(terms, left, width, lanes, table);
                RN(bits_add)(bits + word * n_bits, n_out, table, sum);
            } else {
                RN(bits_table_one)(terms, left, table);
                RN(bits_add_one)(bits + word * n_bits, n_bits, table, sum);
            }
        }
        for (int64_t k = 0; k < n_out; k++)
            for (int64_t lane = 0; lane < lanes; lane++)
                out[k * width + first + lane] = sum[k * size + lane];
    }
}

ISA_CODE void RN(bits_forward)(const products *p, int64_t unit, const double *weights, int64_t first, int64_t n, double *field)
{
    const int64_t view = p->n_views > 1 ? unit : 0;
    RN(bits_product)(p, p->pattern_bits + view * p->row_words * p->rows, p->rows, p->rows, weights, p->fan_in, field);
}

ISA_CODE void RN(bits_backward)(const products *p, int64_t unit, const double *force, int64_t first, int64_t n, double *gradient)
{
    const int64_t view = p->n_views > 1 ? unit : 0;
    RN(bits_product)(p, p->input_bits + view * p->rows / WORD * p->inputs, p->inputs, p->fan_in, force, p->rows, gradient);
}

#undef GROUPS
#undef SIGNED_SUMS
