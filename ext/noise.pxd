"""Mirror of noise.h."""
from libc.stdint cimport int64_t, uint64_t


cdef extern from "noise.h" nogil:
    ctypedef void (*noise_fill_fn)(const uint64_t *, uint64_t, int64_t, int64_t, double *) noexcept
    noise_fill_fn noise_fill[3]
