/* The square loss of a perceptron: a quadratic form in the weights, sampled through local fields.
 *
 * With A = X^T X / N and b = X^T y / sqrt(N), E = |y|^2/2 - b.w + w.A w/2, and a flip of site i changes E by
 *     dE = 2 w_i (b_i - (A w)_i) + 2 A_ii.
 * A proposal is O(1); an accepted flip updates N local fields, lanes over sites.
 *   +-1 inputs   N A is a matrix of integers, kept as int16 or int32; the field N (A w) is int32 and never drifts.
 *   real inputs  A and the field A w are float64, and the field is refreshed at fixed sweeps.
 * The energy is the running sum of the accepted dE, refreshed at fixed sweeps too.
 */
#ifndef MCMC_QUADRATIC_H
#define MCMC_QUADRATIC_H

#include "flip_target.h"
#include "isa.h"

typedef struct {
    int64_t n_sites, stride; /* stride: row length of coupling and field, rows start at multiples of 64 bytes */
    double constant;         /* |y|^2 / 2 */
    double unit;             /* what one unit of coupling and field is worth: 1/N for integers, 1 for floats */
    const double *bias;      /* (n_sites,): b */
    const double *self;      /* (n_sites,): A_ii; in a row of its own, because the diagonal has a cache line for each */
    const void *coupling;    /* (n_sites, stride): A in units, int16, int32 or float64 */
    void *field;             /* (n_walkers, stride): A w in units, int32 or float64 */
    int8_t *weights;         /* (n_walkers, n_sites) */
    double *energy;          /* (n_walkers,) */
} quadratic_model;

#define ISA_BODY "quadratic_body.h"
#include "each_isa.h"

typedef struct {
    const flip_functions *call;
    refresh_fn load;    /* field and energy from the weights */
    refresh_fn refresh; /* what has drifted: field and energy, or the energy alone */
} quadratic_functions;

typedef void (*quadratic_gram_bits_fn)(const uint64_t *columns, int64_t n_sites, int64_t words, int64_t n_patterns, int64_t i, int32_t *row);
typedef void (*quadratic_gram_real_fn)(const double *inputs, int64_t n_patterns, int64_t n_sites, int64_t i, double *row);
static const quadratic_gram_bits_fn quadratic_gram_bits[N_ISA] = ISA_TABLE(quadratic_gram_bits);
static const quadratic_gram_real_fn quadratic_gram_real[N_ISA] = ISA_TABLE(quadratic_gram_real);

enum { QUADRATIC_INT16, QUADRATIC_INT32, QUADRATIC_FLOAT64, N_QUADRATIC };
#define QUADRATIC_ROW(level) \
    {{&quadratic_int16_##level, quadratic_load_int16_##level, quadratic_energy_int16_##level}, \
     {&quadratic_int32_##level, quadratic_load_int32_##level, quadratic_energy_int32_##level}, \
     {&quadratic_float64_##level, quadratic_load_float64_##level, quadratic_load_float64_##level}}
#ifdef MCMC_X86
static const quadratic_functions quadratic[N_ISA][N_QUADRATIC] = {QUADRATIC_ROW(portable), QUADRATIC_ROW(avx2), QUADRATIC_ROW(avx512)};
#else
static const quadratic_functions quadratic[N_ISA][N_QUADRATIC] = {QUADRATIC_ROW(portable), QUADRATIC_ROW(portable), QUADRATIC_ROW(portable)};
#endif

#endif
