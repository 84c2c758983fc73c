"""Blocks of perceptrons with the square loss, by local fields; see quadratic.h."""
from flip_target cimport flip_capsule, flip_functions, flip_target, flip_target_set, refresh_fn
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

import numpy as np

from mcmc.kernels import aligned, check, checked_weights, cpu

cdef extern from "quadratic.h" nogil:
    ctypedef struct quadratic_model:
        int64_t n_sites, stride
        double constant, unit
        const double *bias
        const double *self
        const void *coupling
        void *field
        int8_t *weights
        double *energy
    ctypedef struct quadratic_functions:
        const flip_functions *call
        refresh_fn load
        refresh_fn refresh
    quadratic_functions quadratic[3][3]
    ctypedef void (*quadratic_gram_bits_fn)(const uint64_t *columns, int64_t n_sites, int64_t words, int64_t n_patterns,
                                            int64_t i, int32_t *row) noexcept
    ctypedef void (*quadratic_gram_real_fn)(const double *inputs, int64_t n_patterns, int64_t n_sites, int64_t i,
                                            double *row) noexcept
    quadratic_gram_bits_fn quadratic_gram_bits[3]
    quadratic_gram_real_fn quadratic_gram_real[3]

_KINDS = {np.dtype(np.int16): 0, np.dtype(np.int32): 1, np.dtype(np.float64): 2}


def couplings_of_bits(const uint64_t[:, ::1] columns, int64_t n_patterns):
    """X^T X of +-1 inputs packed in columns uint64 (n_sites, words): (n_sites, stride), int16 or int32 as P needs."""
    cdef int64_t n = columns.shape[0], words = columns.shape[1], i
    out = aligned((n, _stride(n)), np.int16 if n_patterns < 2**15 else np.int32)
    row = np.empty(n, dtype=np.int32)
    cdef int32_t[::1] view = row
    cdef int level = cpu.index()
    for i in range(n):
        with nogil:
            quadratic_gram_bits[level](&columns[0, 0], n, words, n_patterns, i, &view[0])
        out[i, : i + 1] = out[: i + 1, i] = row[: i + 1]
    return out


def couplings_of_reals(const double[:, ::1] inputs):
    """X^T X of real inputs (n_patterns, n_sites): float64 (n_sites, stride), patterns added in order."""
    cdef int64_t patterns = inputs.shape[0], n = inputs.shape[1], i
    out = aligned((n, _stride(n)), np.float64)
    row = np.empty(n)
    cdef double[::1] view = row
    cdef int level = cpu.index()
    for i in range(n):
        with nogil:
            quadratic_gram_real[level](&inputs[0, 0], patterns, n, i, &view[0])
        out[i, : i + 1] = out[: i + 1, i] = row[: i + 1]
    return out


cdef int64_t _stride(int64_t n):
    return (n + 31) // 32 * 32


cdef class Block:
    """Walkers of one instance.

    coupling: (n_sites, stride) of int16, int32 or float64: A in units
    unit: what a unit of the coupling is worth, 1/N for X^T X
    bias: float64 (n_sites,): X^T y / sqrt(N); constant: |y|^2 / 2
    weights: int8 (n_walkers, n_sites) of +-1, copied
    """

    cdef quadratic_model model
    cdef flip_target target
    cdef refresh_fn load_walker
    cdef readonly object capsule, weights, energy
    cdef object coupling, bias, diagonal, field

    def __init__(self, coupling, double unit, const double[::1] bias, double constant, weights):
        cdef int64_t n_walkers = weights.shape[0], n_sites = coupling.shape[0], stride = coupling.shape[1]
        weights = checked_weights(weights, n_sites)
        check(stride >= n_sites == bias.shape[0] and coupling.dtype in _KINDS, "coupling, bias: do not fit together")
        self.coupling, self.bias = coupling, bias.base
        self.diagonal = unit * np.ascontiguousarray(np.diagonal(coupling)).astype(np.float64)
        self.weights = aligned((n_walkers, n_sites), np.int8)
        self.energy = aligned((n_walkers,), np.float64)
        self.field = aligned((n_walkers, stride), np.float64 if coupling.dtype == np.float64 else np.int32)
        cdef const unsigned char[:, ::1] couplings = coupling.view(np.uint8)
        cdef unsigned char[:, ::1] field = self.field.view(np.uint8)
        cdef const double[::1] diagonal = self.diagonal
        cdef int8_t[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        self.model = quadratic_model(
            n_sites=n_sites, stride=stride, constant=constant, unit=unit, bias=&bias[0], self=&diagonal[0],
            coupling=&couplings[0, 0],
            field=&field[0, 0], weights=&w[0, 0], energy=&energy[0],
        )
        cdef quadratic_functions functions = quadratic[<int>cpu.index()][<int>_KINDS[coupling.dtype]]
        self.load_walker = functions.load
        flip_target_set(&self.target, &self.model, functions.call, functions.refresh, 1, 0, 0, w, energy)
        self.capsule = flip_capsule(&self.target)
        self.load(weights)

    def load(self, weights):
        """Take over weights (n_walkers, n_sites) and rebuild everything from them."""
        weights = checked_weights(weights, self.target.n_sites)
        check(len(weights) == self.target.n_walkers, f"weights: expected {self.target.n_walkers} walkers")
        self.weights[...] = weights
        cdef int64_t walker
        with nogil:
            for walker in range(self.target.n_walkers):
                self.load_walker(&self.model, walker)

    def caches(self):
        """What a checkpoint must hold besides the weights, bit for bit: name -> array (n_walkers, ...)."""
        if self.field.dtype == np.float64:
            return {"energy": self.energy, "field": self.field[:, : self.model.n_sites]}
        return {"energy": self.energy}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)
        self.energy[...] = caches["energy"]
        if "field" in caches:
            self.field[:, : self.model.n_sites] = caches["field"]
