/* noise.h for one instruction-set level. */

typedef uint64_t FN(naturals) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias));
typedef uint32_t FN(words) __attribute__((vector_size(VEC_BYTES / 2), aligned(4), may_alias)); /* as many as REALS */

#if ISA_LEVEL == 2
#define NOISE_MULTIPLY(a, b) (INTS) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#elif ISA_LEVEL == 1
#define NOISE_MULTIPLY(a, b) (INTS) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#elif defined(MCMC_X86)
#define NOISE_MULTIPLY(a, b) (INTS) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#else
#define NOISE_MULTIPLY(a, b) (((a) & UINT32_MAX) * ((b) & UINT32_MAX))
#endif

/* High words of blocks first_block ... of N_REALS streams: out (4 n_blocks, N_REALS). The high halves of the 64-bit lanes may hold
 * rubbish, which the 32-bit multiplication ignores. */
INLINE void FN(noise_words)(const uint64_t *key, uint64_t row, uint64_t first_block, int64_t n_blocks, uint32_t *out)
{
    const INTS m0 = (INTS){0} + PHILOX_M0, m1 = (INTS){0} + PHILOX_M1;
    INTS keys, k0[10], k1[10];
    memcpy(&keys, key, sizeof keys);
    for (int round = 0; round < 10; round++) {
        k0[round] = keys + (int64_t)round * PHILOX_W0;
        k1[round] = (INTS)((FN(naturals))keys >> 32) + (int64_t)round * PHILOX_W1;
    }
    for (int64_t b = 0; b < n_blocks; b++) {
        INTS c0 = (INTS){0} + (int64_t)(uint32_t)(first_block + b), c1 = (INTS){0} + HALF_HIGH;
        INTS c2 = (INTS){0} + (int64_t)(uint32_t)row, c3 = (INTS){0} + (int64_t)(row >> 32);
        for (int round = 0; round < 10; round++) {
            INTS p0 = NOISE_MULTIPLY(m0, c0), p1 = NOISE_MULTIPLY(m1, c2);
            c0 = (INTS)((FN(naturals))p1 >> 32) ^ c1 ^ k0[round];
            c2 = (INTS)((FN(naturals))p0 >> 32) ^ c3 ^ k1[round];
            c1 = p1;
            c3 = p0;
        }
        FN(words) *to = (FN(words) *)(out + 4 * N_REALS * b);
        to[0] = __builtin_convertvector(c0, FN(words));
        to[1] = __builtin_convertvector(c1, FN(words));
        to[2] = __builtin_convertvector(c2, FN(words));
        to[3] = __builtin_convertvector(c3, FN(words));
    }
}

/* Numbers of `count` words, a multiple of N_REALS. */
INLINE void FN(noise_normals)(const uint32_t *words, int64_t count, double *out)
{
    int32_t at[NOISE_BUFFER + 16]; /* where the numbers of the tails belong */
    double tail[NOISE_BUFFER + 8];
    int64_t n_tail = 0;
    for (int64_t j = 0; j < count; j += N_REALS) {
        INTS word = __builtin_convertvector(*(const FN(words) *)(words + j), INTS);
        REALS q = ((REALS)(word | 0x4330000000000000) - 0x1p52 + 0.5) * 0x1p-32 - 0.5; /* exact */
        *(REALS *)(out + j) = q * FN(num_rational)(0.180625 - q * q, NORMAL_CENTRAL);
        INTS outside = FN(num_magnitude)(q) > NORMAL_CENTRE;
#if ISA_LEVEL == 2
        const __mmask8 mask = _mm512_movepi64_mask((__m512i)outside);
        const __m256i here = _mm256_add_epi32(_mm256_set1_epi32((int)j), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        _mm512_storeu_pd(tail + n_tail, _mm512_maskz_compress_pd(mask, (__m512d)q));
        _mm256_storeu_si256((__m256i *)(at + n_tail), _mm256_maskz_compress_epi32(mask, here));
        n_tail += _mm_popcnt_u32(mask);
#else
        for (int l = 0; l < N_REALS; l++) {
            tail[n_tail] = q[l];
            at[n_tail] = (int32_t)(j + l);
            n_tail -= outside[l];
        }
#endif
    }
    double root[NOISE_BUFFER + 8];
    for (int64_t j = 0; j < N_REALS; j++)
        tail[n_tail + j] = 0.45; /* for the rest of the last vector */
    for (int64_t j = 0; j < n_tail; j += N_REALS)
        *(REALS *)(root + j) = -FN(num_log)(0.5 - FN(num_magnitude)(*(REALS *)(tail + j)));
    for (int64_t j = 0; j < n_tail; j++)
        root[j] = sqrt(root[j]); /* at most 4.8: the far tail is never met */
    for (int64_t j = 0; j < n_tail; j += N_REALS) {
        REALS *q = (REALS *)(tail + j);
        *q = FN(num_with_sign)(FN(num_rational)(*(REALS *)(root + j) - 1.6, NORMAL_TAIL), *q);
    }
    for (int64_t j = 0; j < n_tail; j++)
        out[at[j]] = tail[j];
}

ISA_CODE void FN(noise_fill)(const uint64_t *key, uint64_t row, int64_t n, int64_t width, double *out)
{
    uint32_t words[NOISE_BUFFER];
    double normals[NOISE_BUFFER];
    int64_t lane = 0;
    for (; lane + N_REALS <= width; lane += N_REALS)
        for (int64_t first = 0; first < n; first += NOISE_BUFFER / N_REALS) {
            const int64_t n_slots = n - first < NOISE_BUFFER / N_REALS ? n - first : NOISE_BUFFER / N_REALS;
            FN(noise_words)(key + lane, row, first / 4, (n_slots + 3) / 4, words);
            FN(noise_normals)(words, n_slots * N_REALS, normals);
            for (int64_t i = 0; i < n_slots; i++)
                *(REALS *)(out + (first + i) * width + lane) = *(REALS *)(normals + i * N_REALS);
        }
    for (; lane < width; lane++)
        for (int64_t first = 0; first < n; first += NOISE_BUFFER) {
            const int64_t n_slots = n - first < NOISE_BUFFER ? n - first : NOISE_BUFFER, n_vectors = (n_slots + 7) / 8;
            FN(philox_fill)(key[lane], row, first / 4, 2 * n_vectors, HALF_HIGH, words);
            FN(noise_normals)(words, 8 * n_vectors, normals);
            for (int64_t i = 0; i < n_slots; i++)
                out[(first + i) * width + lane] = normals[i];
        }
}

#undef NOISE_MULTIPLY
