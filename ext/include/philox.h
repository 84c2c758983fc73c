/* Addressed random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11).
 *
 * A number is a pure function of its address and is never "consumed":
 *   key      64 bits, one per stream: philox_stream(seed, purpose, instance, copy, rung)
 *   row      64 bits, the sweep, exchange round or pattern
 *   slot     the position within the row: word slot % 4 of block slot / 4
 *   half     the high or the low 32 bits of the slot's 64-bit uniform
 * so that no number depends on how walkers are spread over ranks, on the order of work or on what was accepted before.
 */
#ifndef MCMC_PHILOX_H
#define MCMC_PHILOX_H

#include "isa.h"

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

enum { HALF_HIGH, HALF_LOW };

static inline void philox4x32(uint32_t c[4], uint64_t key)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c[0], p1 = (uint64_t)PHILOX_M1 * c[2];
        uint32_t c1 = c[1], c3 = c[3];
        c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
}

/* The key of a stream. */
static inline uint64_t philox_stream(uint64_t seed, uint32_t purpose, uint32_t instance, uint32_t copy, uint32_t rung)
{
    uint32_t c[4] = {purpose, instance, copy, rung};
    philox4x32(c, seed);
    return (uint64_t)c[1] << 32 | c[0];
}

/* Out of line: rare in the loops that use it. */
static __attribute__((noinline, cold)) uint32_t philox_word(uint64_t key, uint64_t row, uint64_t slot, uint32_t half)
{
    uint32_t c[4] = {(uint32_t)(slot / 4), half, (uint32_t)row, (uint32_t)(row >> 32)};
    philox4x32(c, key);
    return c[slot % 4];
}

/* The 64-bit uniform of a slot. */
static inline uint64_t philox_u64(uint64_t key, uint64_t row, uint64_t slot)
{
    return (uint64_t)philox_word(key, row, slot, HALF_HIGH) << 32 | philox_word(key, row, slot, HALF_LOW);
}

/* The uniform of a slot that is decided upon piecewise: 16 high bits, two slots to a word, then 32 low ones; then half a cell, so that
 * no number is a border. */
static inline uint64_t u48(uint16_t high, uint32_t low)
{
    return (uint64_t)high << 48 | (uint64_t)low << 16 | 0x8000;
}

static inline uint64_t philox_u48(uint64_t key, uint64_t row, uint64_t slot)
{
    const uint32_t pair = philox_word(key, row, slot / 2, HALF_HIGH);
    return u48((uint16_t)(slot % 2 ? pair >> 16 : pair), philox_word(key, row, slot, HALF_LOW));
}

/* (0, 1) by the midpoints of 2^52 equal cells: never 0 or 1, and symmetric under u -> 1 - u. */
static inline double unit_interval(uint64_t u)
{
    return ((double)(u >> 12) + 0.5) * 0x1p-52;
}

#define ISA_BODY "philox_body.h"
#include "each_isa.h"

typedef void (*philox_fill_fn)(uint64_t key, uint64_t row, uint64_t first_block, int64_t n_blocks, uint32_t half, uint32_t *out);
static const philox_fill_fn philox_fill[N_ISA] = ISA_TABLE(philox_fill);

#endif
