"""The decision of an exchange round, a pure function of betas, energies and its address; see exchange.h."""
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

import numpy as np

cdef extern from "exchange.h" nogil:
    void exchange_round(int64_t n_rungs, const double *beta, const double *energy, uint64_t key, int64_t round,
                        int32_t *walker_at, int8_t *swapped)


def decide(const double[::1] beta, const double[::1] energy, uint64_t key, int64_t round, walker_at):
    """One round of one copy.

    beta: (n_rungs,); energy: (n_rungs,) by walker; walker_at: int32 (n_rungs,), walker on each rung.
    Returns the new walker_at and a bool (n_rungs - 1,), true where rungs s and s + 1 swapped.
    """
    n = beta.shape[0]
    if energy.shape[0] != n or not np.array_equal(np.sort(walker_at), np.arange(n)):
        raise ValueError(f"exchange: got {energy.shape[0]} energies and walkers {walker_at}, expected {n} rungs")
    after = np.array(walker_at, dtype=np.int32)
    swapped = np.zeros(max(beta.shape[0], 1), dtype=np.int8)
    cdef int32_t[::1] at = after
    cdef int8_t[::1] out = swapped
    exchange_round(beta.shape[0], &beta[0], &energy[0], key, round, &at[0], &out[0])
    return after, swapped[: beta.shape[0] - 1].astype(bool)
