"""Mirror of chain.h, and the class that the chains of all samplers extend.

Its folder is how Cython knows the module by its full name.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t


cdef extern from "chain.h" nogil:
    enum:
        N_LADDER_COUNTS
        LADDER_ACCEPTED
        LADDER_PROPOSED
        LADDER_FROM_FIRST
        LADDER_FROM_LAST
        LADDER_ARRIVED
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
        int64_t *counts
        int64_t exchange_every, burn_in
        int64_t *exchange_accepted
        int64_t *exchange_proposed
        int8_t *swapped
        int64_t tuned_until
        int64_t *ladder_counts
        int8_t *last_end
        int64_t *first_passage
        int64_t measure_every, n_rows
        double *row_energy
        int32_t *row_walker_at
        int64_t *row_accepted
        void *row_weights
        void *sampler
        chain_sweep_fn sweep
        chain_record_fn record
    void chain_exchange(const chain_run *c, int64_t sweep, int64_t round, const double *energy)
    void chain_record(chain_run *c)
    int64_t chain_sweep(const chain_run *c, int64_t *first, int64_t last)
    int64_t chain_advance(chain_run *c, int64_t *first, int64_t last)


cdef class Chain:
    cdef chain_run chain
    cdef readonly object block, beta, walker_at, accepted, counts, exchange_accepted, exchange_proposed
    cdef readonly object ladder_counts, first_passage
    cdef readonly int64_t instance, n_weights, proposals
    cdef object rung_of, last_end
    cdef list memory  # that the kernel has addresses of
    cdef dict row_kinds, row_arrays  # by name: shape, type and where the kernel's pointer is; rows held
    cdef int64_t room

    cdef const uint64_t *keys(self, str what, keys, int64_t n) except NULL
    cdef void *scratch(self, shape, dtype) except NULL
    cdef int record_into(self, str name, tuple shape, dtype, void *pointer) except -1
    cdef int count(self, tuple shape) except -1


cdef class RealChain(Chain):
    cdef object tuning, steps
    cdef bint spherical
    cdef double precision, full_count  # precision: 0 on the sphere
    cdef int64_t n_units

    cdef const double *step_sizes(self) noexcept
