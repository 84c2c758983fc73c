/* Vectors of one precision and their fused multiply-add. Included by products_body.h for each precision. */

#undef VR
#undef N_VR
#undef ORDER
#undef VR_ALL
#define VR REAL_VECTOR
#define N_VR ((int64_t)(VEC_BYTES / sizeof(REAL)))
#define ORDER ((int64_t)(64 / sizeof(REAL))) /* partial sums of a sum over inputs; also the walkers that go together where inputs are bits */
#define VR_ALL(x) ((x) - (VR){0}) /* x + 0 would cost an addition: it is not x where x = -0 */

/* a b + c, rounded once. */
INLINE VR RN(multiply_add)(VR a, VR b, VR c)
{
#if ISA_LEVEL == 2
    return sizeof(REAL) == 8 ? (VR)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c) : (VR)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif ISA_LEVEL == 1
    return sizeof(REAL) == 8 ? (VR)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c) : (VR)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    VR out;
    for (int64_t lane = 0; lane < N_VR; lane++)
        out[lane] = sizeof(REAL) == 8 ? __builtin_fma(a[lane], b[lane], c[lane]) : __builtin_fmaf(a[lane], b[lane], c[lane]);
    return out;
#endif
}
