"""Addressed random numbers for data, initial states and the numpy twins; see philox.h for what an address is."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from noise cimport noise_fill
from numerics cimport num_normal_quantile
from philox cimport HALF_HIGH, HALF_LOW, philox4x32, philox_fill, philox_stream, unit_interval

import numpy as np

from mcmc.kernels import cpu

(INPUTS, LABELS, TEACHER, WEIGHTS, SITES, MOVES, SWAPS, TEST_INPUTS, CONSTRAINED, WAITING, NOISE, PARTNERS,
 BATCHES, LENGTHS, PILOT) = range(15)
"""Purposes of streams."""


def philox(counter, uint64_t key):
    """One block of Philox4x32-10: four 32-bit counter words -> uint32 (4,)."""
    cdef uint32_t c[4]
    cdef int j
    for j in range(4):
        c[j] = counter[j]
    philox4x32(c, key)
    return np.array([c[0], c[1], c[2], c[3]], dtype=np.uint32)


def stream_key(uint64_t seed, uint32_t purpose, uint32_t instance=0, uint32_t copy=0, uint32_t rung=0):
    """Key (64 bits) of the stream of a purpose, an instance and, for walkers, their copy and rung of birth."""
    return philox_stream(seed, purpose, instance, copy, rung)


cdef _fill(uint64_t key, uint64_t row, int64_t rows, int64_t n, uint32_t half):
    cdef int64_t blocks = (n + 3) // 4, r
    out = np.empty((rows, 4 * blocks), dtype=np.uint32)
    cdef uint32_t[:, ::1] view = out
    cdef int level = cpu.index()
    if rows and n:
        with nogil:
            for r in range(rows):
                philox_fill[level](key, row + r, 0, blocks, half, &view[r, 0])
    return out[:, :n]


def words(uint64_t key, uint64_t row, int64_t rows, int64_t n):
    """High words of slots 0 .. n-1 of `rows` rows from `row` on: uint32 (rows, n)."""
    return _fill(key, row, rows, n, HALF_HIGH)


def uniforms64(uint64_t key, uint64_t row, int64_t rows, int64_t n):
    """The 64-bit uniforms of the same slots: uint64 (rows, n)."""
    high = _fill(key, row, rows, n, HALF_HIGH).astype(np.uint64)
    return high << np.uint64(32) | _fill(key, row, rows, n, HALF_LOW)


def uniforms(uint64_t key, uint64_t row, int64_t rows, int64_t n):
    """The same uniforms in (0, 1), midpoints of 2^52 cells: float64 (rows, n)."""
    bits = uniforms64(key, row, rows, n)
    cdef const uint64_t[:, ::1] u = bits
    out = np.empty((rows, n))
    cdef double[:, ::1] view = out
    cdef int64_t r, j
    with nogil:
        for r in range(rows):
            for j in range(n):
                view[r, j] = unit_interval(u[r, j])
    return out


def normals(uint64_t key, uint64_t row, int64_t rows, int64_t n):
    """Standard normal numbers, one per slot, by inversion: float64 (rows, n)."""
    out = uniforms(key, row, rows, n)
    cdef double[:, ::1] view = out
    cdef int64_t r, j
    with nogil:
        for r in range(rows):
            for j in range(n):
                view[r, j] = num_normal_quantile(view[r, j])
    return out


def noise(keys, uint64_t row, int64_t n):
    """Standard normal numbers of 32 bits (noise.h), slots 0 .. n-1 of a row of each stream: float64 (n, len(keys))."""
    cdef const uint64_t[::1] key = np.array(keys, dtype=np.uint64)
    out = np.empty((n, key.shape[0]))
    cdef double[:, ::1] view = out
    cdef int level = cpu.index()
    if out.size:
        with nogil:
            noise_fill[level](&key[0], row, n, key.shape[0], &view[0, 0])
    return out
