/* philox_fill: the words of n_blocks consecutive blocks of one row, 4 per block. Vector lanes run over blocks; the high halves of the
 * 64-bit lanes may hold rubbish, which the 32-bit multiplication ignores. */

#if ISA_LEVEL == 2
#define PHILOX_LANES 8
typedef __m512i FN(philox_v);
#define VSET(x) _mm512_set1_epi64((int64_t)(x))
#define VMUL(a, b) _mm512_mul_epu32(a, b)
#define VXOR(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)
#define VHIGH(a) _mm512_srli_epi64(a, 32)
#define VPAIR(lo, hi) _mm512_mask_blend_epi32(0xAAAA, lo, _mm512_slli_epi64(hi, 32))
#elif ISA_LEVEL == 1
#define PHILOX_LANES 4
typedef __m256i FN(philox_v);
#define VSET(x) _mm256_set1_epi64x((int64_t)(x))
#define VMUL(a, b) _mm256_mul_epu32(a, b)
#define VXOR(a, b, c) _mm256_xor_si256(_mm256_xor_si256(a, b), c)
#define VHIGH(a) _mm256_srli_epi64(a, 32)
#define VPAIR(lo, hi) _mm256_blend_epi32(lo, _mm256_slli_epi64(hi, 32), 0xAA)
#endif

ISA_CODE void FN(philox_fill)(uint64_t key, uint64_t row, uint64_t first_block, int64_t n_blocks, uint32_t half, uint32_t *out)
{
    int64_t b = 0;
#if ISA_LEVEL
    typedef FN(philox_v) vec;
    const vec m0 = VSET(PHILOX_M0), m1 = VSET(PHILOX_M1), c2 = VSET((uint32_t)row), c3 = VSET((uint32_t)(row >> 32));
    uint64_t lane[PHILOX_LANES];
    for (int j = 0; j < PHILOX_LANES; j++)
        lane[j] = j;
    vec ramp;
    memcpy(&ramp, lane, sizeof ramp);
    for (; b + PHILOX_LANES <= n_blocks; b += PHILOX_LANES) {
        /* blocks beyond 2^32 of one row do not occur: a row has at most 2^34 slots */
#if ISA_LEVEL == 2
        vec w = _mm512_add_epi64(VSET(first_block + b), ramp);
#else
        vec w = _mm256_add_epi64(VSET(first_block + b), ramp);
#endif
        vec x = VSET(half), y = c2, z = c3;
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
        for (int round = 0; round < 10; round++) {
            vec p0 = VMUL(m0, w), p1 = VMUL(m1, y);
            w = VXOR(VHIGH(p1), x, VSET(k0));
            y = VXOR(VHIGH(p0), z, VSET(k1));
            x = p1;
            z = p0;
            k0 += PHILOX_W0;
            k1 += PHILOX_W1;
        }
        vec wx = VPAIR(w, x), yz = VPAIR(y, z);
#if ISA_LEVEL == 2
        const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), last = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
        _mm512_storeu_si512(out + 4 * b, _mm512_permutex2var_epi64(wx, first, yz));
        _mm512_storeu_si512(out + 4 * b + 16, _mm512_permutex2var_epi64(wx, last, yz));
#else
        vec even = _mm256_unpacklo_epi64(wx, yz), odd = _mm256_unpackhi_epi64(wx, yz);
        _mm256_storeu_si256((__m256i *)(out + 4 * b), _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_storeu_si256((__m256i *)(out + 4 * b + 8), _mm256_permute2x128_si256(even, odd, 0x31));
#endif
    }
#endif
    for (; b < n_blocks; b++) {
        uint32_t c[4] = {(uint32_t)(first_block + b), half, (uint32_t)row, (uint32_t)(row >> 32)};
        philox4x32(c, key);
        memcpy(out + 4 * b, c, sizeof c);
    }
}

#if ISA_LEVEL
#undef PHILOX_LANES
#undef VSET
#undef VMUL
#undef VXOR
#undef VHIGH
#undef VPAIR
#endif
