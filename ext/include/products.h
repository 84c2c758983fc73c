/* Products of the inputs with packs of walkers: fields w_k.x of all patterns, and forces summed over all patterns.
 *
 * Design. Vector lanes run over walkers or over outputs, never inside a sum, and every sum has one stated order. So the width of
 * a pack, the instruction set and the number of ranks cannot change a bit, and no BLAS is needed. Two kinds of inputs:
 *
 *   real   A sum over inputs: input i of the unit goes to partial sum i % ORDER (8 in float64, 16 in float32), in order, each term by fma; the
 *          partial sums are added pairwise. A sum over patterns: in order, by fma.
 *          Several walkers: the inputs are kept twice, in tiles of 8 patterns and in tiles of 8 inputs, weights and forces are packed into
 *          panels of a few vectors of walkers, and one loop multiplies a tile with a panel for both directions (products_real.h).
 *          One walker: the inputs are kept once, by rows. The lanes are the partial sums of the fields and the inputs of the
 *          gradient. A few rows at a time are read from memory for both: for the fields from their beginning, and then for the gradient
 *          from their end, which is still in the first cache.
 *   +-1    packed bits. Four numbers have 16 signed sums ((+-a +-b) + (+-c +-d)); a table of them replaces four multiply-adds by one
 *          addition (the method of four Russians). A sum over inputs, or over patterns, adds the groups of four in order.
 *          One walker with AVX-512: the table lies in two registers and a permutation looks up 8 patterns (or inputs) at once.
 *
 * float32: inputs, weights, forces and sums are rounded to it, here and nowhere else.
 */
#ifndef MCMC_PRODUCTS_H
#define MCMC_PRODUCTS_H

#include "numerics.h"

#define TILE 8  /* patterns or inputs that are kept side by side */
#define WORD 64 /* bits */

typedef struct {
    int64_t n_units, fan_in, n_inputs, n_patterns;
    int64_t width;      /* of a pack */
    int64_t rows;       /* patterns rounded up to a multiple of TILE, of WORD for bits; those beyond n_patterns are 0, or their forces are */
    int64_t n_views;    /* 1: all units see the same inputs; n_units: each its own */
    /* real inputs, REAL; padding 0 */
    const void *by_pattern; /* several walkers: (n_views, rows / TILE, fan_in in the order of their sums, TILE); one: (n_views, rows, row_length) */
    const void *by_input;   /* several walkers: (n_views, tiles of inputs, rows, TILE) */
    int64_t row_length;     /* fan_in rounded up to a multiple of ORDER */
    /* +-1 inputs */
    const uint64_t *pattern_bits; /* (n_views, row_words, rows): bit i % 64 of word i / 64 of a pattern */
    const uint64_t *input_bits;   /* (n_views, rows / WORD, inputs): bit mu % 64 of word mu / 64 of an input */
    int64_t row_words, inputs;    /* inputs: fan_in rounded up to a multiple of WORD */
    void *scratch;                /* of 64-byte alignment; one walker, real inputs: weights, sums of each unit (n_units, 2, row_length) */
} products;

/* Fields (n, width) of a unit with weights (fan_in, width), for the patterns first .. first + n - 1. One walker: where first > 0, of
 * the weights of the last call with first = 0. */
typedef void (*forward_fn)(const products *p, int64_t unit, const double *weights, int64_t first, int64_t n, double *field);
/* gradient (fan_in, width) = sum over the patterns of force (n, width) times inputs. One walker: where first > 0 the sum goes on, and it is
 * written with the last of the patterns. */
typedef void (*backward_fn)(const products *p, int64_t unit, const double *force, int64_t first, int64_t n, double *gradient);

/* Patterns of one walker with real inputs to go through at a time; all others want all rows in one call. */
#define ONE_WALKER_STRETCH TILE

#define ISA_BODY "products_body.h"
#include "each_isa.h"

/* Bit i of 64 words becomes word i: rows of a 64 x 64 matrix of bits turn into columns (Warren, Hacker's Delight, 7-3). */
static inline void transpose_bits(uint64_t word[64])
{
    uint64_t mask = 0x00000000FFFFFFFF;
    for (int half = 32; half; half /= 2, mask ^= mask << half)
        for (int k = 0; k < 64; k = ((k | half) + 1) & ~half) {
            const uint64_t swap = (word[k] >> half ^ word[k | half]) & mask;
            word[k] ^= swap << half;
            word[k | half] ^= swap;
        }
}

/* The inputs of some patterns alone: `batch` has its own room for batch->n_patterns of them, and else the shape of `p`. */
static inline void bits_select(const products *p, const int32_t *pattern, products *batch)
{
    uint64_t *rows = (uint64_t *)batch->pattern_bits, *columns = (uint64_t *)batch->input_bits, square[WORD];
    for (int64_t view = 0; view < p->n_views; view++)
        for (int64_t word = 0; word < p->row_words; word++) {
            const uint64_t *from = p->pattern_bits + (view * p->row_words + word) * p->rows;
            uint64_t *to = rows + (view * p->row_words + word) * batch->rows;
            for (int64_t k = 0; k < batch->n_patterns; k++)
                to[k] = from[pattern[k]];
            for (int64_t k = 0; k < batch->rows; k += WORD) {
                memcpy(square, to + k, sizeof square);
                transpose_bits(square);
                memcpy(columns + (view * batch->rows + k) / WORD * p->inputs + word * WORD, square, sizeof square);
            }
        }
}

/* Copies number `from` of a row to number `to` of another, `size` bytes each. */
static inline void copy_number(void *out, int64_t to, const void *in, int64_t from, int64_t size)
{
    memcpy((char *)out + to * size, (const char *)in + from * size, size);
}

static inline void real_select(const products *p, const int32_t *pattern, products *batch, int64_t size)
{
    const int64_t tiles = (p->fan_in + TILE - 1) / TILE, rows = batch->rows, length = p->row_length;
    void *by_pattern = (void *)batch->by_pattern, *by_input = (void *)batch->by_input;
    for (int64_t view = 0; view < p->n_views; view++)
        for (int64_t k = 0; k < batch->n_patterns; k++) {
            const int64_t mu = pattern[k];
            if (p->width == 1) {
                copy_number(by_pattern, view * rows + k, p->by_pattern, view * p->rows + mu, length * size);
                continue;
            }
            for (int64_t i = 0; i < p->fan_in; i++)
                copy_number(by_pattern, ((view * rows + k) / TILE * p->fan_in + i) * TILE + k % TILE, p->by_pattern,
                            ((view * p->rows + mu) / TILE * p->fan_in + i) * TILE + mu % TILE, size);
            for (int64_t tile = 0; tile < tiles; tile++)
                copy_number(by_input, (view * tiles + tile) * rows + k, p->by_input, (view * tiles + tile) * p->rows + mu, TILE * size);
        }
}

enum { PRODUCTS_BITS, PRODUCTS_REAL, N_PRODUCTS };
enum { PRODUCTS_FLOAT64, PRODUCTS_FLOAT32, N_PRECISIONS };

#define PRODUCTS_TABLE(name) {{ISA_TABLE(bits_##name##_f64), ISA_TABLE(bits_##name##_f32)}, {ISA_TABLE(real_##name##_f64), ISA_TABLE(real_##name##_f32)}}
static const forward_fn products_forward[N_PRODUCTS][N_PRECISIONS][N_ISA] = PRODUCTS_TABLE(forward);
static const backward_fn products_backward[N_PRODUCTS][N_PRECISIONS][N_ISA] = PRODUCTS_TABLE(backward);

#endif
