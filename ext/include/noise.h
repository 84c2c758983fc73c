/* Standard normal numbers of many streams at once, the noise of moves of real weights.
 *
 * Slot i of a row is the normal quantile of u = (word + 1/2) 2^-32, word being the slot's high word (philox.h), with the bits of
 * num_normal_quantile: multiples of a probability of 2^-32, |x| < 6.34, the variance short by 3e-10 and the fourth moment by 3e-8.
 *
 * Design. Numbers are made by some thousand in a buffer: words; the central rational function for all, also where it is not meant; the
 * 15 % beyond it are gathered, evaluated together and put in their places. As many streams as a vector has lanes go side by side, since
 * their numbers are wanted side by side; the streams left over go one by one, lanes over blocks of slots.
 */
#ifndef MCMC_NOISE_H
#define MCMC_NOISE_H

#include "numerics.h"
#include "philox.h"

#define NOISE_BUFFER 2048 /* numbers; a multiple of 32 */

#define ISA_BODY "noise_body.h"
#include "each_isa.h"

/* Slots 0 .. n-1 of a row: out (n, width), lane r from key[r] (width,). */
typedef void (*noise_fill_fn)(const uint64_t *key, uint64_t row, int64_t n, int64_t width, double *out);
static const noise_fill_fn noise_fill[N_ISA] = ISA_TABLE(noise_fill);

#endif
