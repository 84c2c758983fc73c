/* Includes ISA_BODY once per instruction-set level, with ISA (its name), ISA_LEVEL (its number), ISA_TARGET (function attribute) and
 * VEC_BYTES (width of a vector register); see isa.h. No include guard. */
#define ISA portable
#define VEC_BYTES 16
#define ISA_LEVEL 0
#define ISA_TARGET
#include ISA_BODY
#undef ISA
#undef ISA_LEVEL
#undef VEC_BYTES
#undef ISA_TARGET

#ifdef MCMC_X86
#define ISA avx2
#define VEC_BYTES 32
#define ISA_LEVEL 1
#define ISA_TARGET ISA_TARGET_AVX2
#include ISA_BODY
#undef ISA
#undef ISA_LEVEL
#undef VEC_BYTES
#undef ISA_TARGET

#define ISA avx512
#define VEC_BYTES 64
#define ISA_LEVEL 2
#define ISA_TARGET ISA_TARGET_AVX512
#include ISA_BODY
#undef ISA
#undef ISA_LEVEL
#undef VEC_BYTES
#undef ISA_TARGET
#endif

#undef ISA_BODY
