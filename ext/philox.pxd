"""Mirror of philox.h."""
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "philox.h" nogil:
    enum:
        HALF_HIGH
        HALF_LOW
    ctypedef void (*philox_fill_fn)(uint64_t, uint64_t, uint64_t, int64_t, uint32_t, uint32_t *) noexcept
    philox_fill_fn philox_fill[3]
    uint64_t philox_stream(uint64_t seed, uint32_t purpose, uint32_t instance, uint32_t copy, uint32_t rung)
    void philox4x32(uint32_t *counter, uint64_t key)
    double unit_interval(uint64_t u)
