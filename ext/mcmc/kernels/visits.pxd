"""Mirror of visits.h, and what gives a chain its visits."""
from libc.stdint cimport int8_t, int32_t, int64_t, uint16_t, uint64_t
from mcmc.kernels.chain cimport Chain


cdef extern from "visits.h" nogil:
    enum:
        CHUNK
        ORDER_RANDOM
        ORDER_SEQUENTIAL
    ctypedef struct visits:
        int level, order
        int64_t n_sites, site_bytes
        const uint64_t *site_key
        const uint64_t *move_key
        const int8_t *absent
        int32_t *sites
        uint16_t *high


cdef int prepare_visits(visits *v, Chain chain, str order, int64_t site_bytes, site_keys, int64_t n_site_keys,
                        move_keys) except -1
