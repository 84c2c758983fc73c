/* The generator of plain_loop.c and rrrmc_scheme.c: splitmix64 (Steele, Lea, Flood, OOPSLA 2014), cheap and good enough. */
#ifndef SPLITMIX_H
#define SPLITMIX_H

#include <stdint.h>

static inline uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* In [0, 1). */
static inline double uniform(uint64_t *state)
{
    return (double)(next(state) >> 11) * 0x1p-53;
}

#endif
