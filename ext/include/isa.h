/* Instruction-set levels, and what a kernel needs to be written once and compiled for each.
 *
 * Design: a kernel body is a header without include guard that names its functions FN(name) and marks them ISA_CODE or INLINE.
 * each_isa.h includes it once per level. The level is chosen when a block is built, through a table of function pointers, so one
 * binary serves every CPU and a test can force each level. All levels give the same bits.
 */
#ifndef MCMC_ISA_H
#define MCMC_ISA_H

#include <stdint.h>
#include <string.h>

enum { ISA_PORTABLE, ISA_AVX2, ISA_AVX512, N_ISA };

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__)) && !defined(MCMC_PORTABLE_ONLY)
#define MCMC_X86 1
#include <immintrin.h>
#define ISA_TARGET_AVX2 __attribute__((target("avx2,fma,bmi,bmi2,popcnt")))
#define ISA_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx2,fma,bmi,bmi2,popcnt")))
#endif

/* The best level this CPU has. */
static inline int isa_best(void)
{
#ifdef MCMC_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi")
        || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt"))
        return ISA_PORTABLE;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq"))
        return ISA_AVX512;
    return ISA_AVX2;
#else
    return ISA_PORTABLE;
#endif
}

#define ISA_JOIN_(name, level) name##_##level
#define ISA_JOIN(name, level) ISA_JOIN_(name, level)
#define FN(name) ISA_JOIN(name, ISA)
#define ISA_CODE static ISA_TARGET
#define INLINE static inline __attribute__((always_inline)) ISA_TARGET

/* {f_portable, f_avx2, f_avx512}, indexed by level. */
#ifdef MCMC_X86
#define ISA_TABLE(name) {name##_portable, name##_avx2, name##_avx512}
#else
#define ISA_TABLE(name) {name##_portable, name##_portable, name##_portable}
#endif

#endif
