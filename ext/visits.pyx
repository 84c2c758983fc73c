"""Visits of walkers to sites, in what order and with what random numbers; see visits.h."""
import numpy as np

from mcmc.kernels import cpu

ORDERS = {"random": ORDER_RANDOM, "sequential": ORDER_SEQUENTIAL}
"""Codes by name."""


cdef int prepare_visits(visits *v, Chain chain, str order, int64_t site_bytes, site_keys, int64_t n_site_keys,
                        move_keys) except -1:
    """Visits to all weights. ValueError for other numbers of keys than one for each walker, and n_site_keys."""
    cdef int64_t n_walkers = chain.chain.n_walkers
    v.level, v.order, v.n_sites, v.site_bytes = cpu.index(), ORDERS[order], chain.n_weights, site_bytes
    v.site_key = chain.keys("sites", site_keys, n_site_keys)
    v.move_key = chain.keys("moves", move_keys, n_walkers)
    v.sites = <int32_t *>chain.scratch((v.n_sites + 4,), np.int32)
    v.high = <uint16_t *>chain.scratch((n_walkers, CHUNK), np.uint16)
    return 0
