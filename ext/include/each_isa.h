/* Includes ISA_BODY once per instruction-set level; see isa.h. No include guard. */
#define ISA portable
#define ISA_LEVEL 0
#define ISA_TARGET
#include ISA_BODY
#undef ISA
#undef ISA_LEVEL
#undef ISA_TARGET

#ifdef MCMC_X86
#define ISA avx2
#define ISA_LEVEL 1
#define ISA_TARGET ISA_TARGET_AVX2
#include ISA_BODY
#undef ISA
#undef ISA_LEVEL
#undef ISA_TARGET

#define ISA avx512
#define ISA_LEVEL 2
#define ISA_TARGET ISA_TARGET_AVX512
#include ISA_BODY
#undef ISA
#undef ISA_LEVEL
#undef ISA_TARGET
#endif

#undef ISA_BODY
