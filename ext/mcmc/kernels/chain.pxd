"""Mirror of chain.h, and the class that the chains of all samplers extend.

Its folder is how Cython knows the module by its full name.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t


cdef extern from "chain.h" nogil:
    const int64_t NEVER
    ctypedef int64_t (*chain_sweep_fn)(void *sampler, int64_t sweep) noexcept
    ctypedef void (*chain_record_fn)(void *sampler, int64_t row) noexcept
    ctypedef struct chain_run:
        int64_t n_copies, n_rungs, first, n_walkers
        const double *beta
        const double *energy
        const uint64_t *swap_key
        int32_t *walker_at
        int32_t *rung_of
        int64_t *accepted
        int64_t exchange_every, burn_in
        int64_t *exchange_accepted
        int64_t *exchange_proposed
        int8_t *swapped
        int64_t measure_every, n_rows
        double *row_energy
        int32_t *row_walker_at
        int64_t *row_accepted
        void *sampler
        chain_sweep_fn sweep
        chain_record_fn record
    void chain_exchange(const chain_run *c, int64_t sweep, int64_t round, const double *energy)
    void chain_record(chain_run *c)
    int64_t chain_sweep(const chain_run *c, int64_t *first, int64_t last)
    int64_t chain_advance(chain_run *c, int64_t *first, int64_t last)


cdef class Chain:
    cdef chain_run chain
    cdef readonly object block, walker_at, accepted, counts, exchange_accepted, exchange_proposed
    cdef readonly int64_t instance
    cdef object beta, swap_keys, rung_of, swapped, row_energy, row_walker_at, row_accepted
    cdef int64_t room

    cdef int join(self, block, const double *energy, int64_t n_walkers, int64_t instance, int64_t n_copies,
                  int64_t first, const double[::1] beta, const uint64_t[::1] swap_keys, int64_t exchange_every,
                  int64_t burn_in, int64_t measure_every) except -1
    cdef int grow(self, int64_t held, int64_t room) except -1
    cdef dict rows(self, int64_t n)


cdef grown(held, int64_t n, int64_t room, shape, dtype)
