"""Blocks of perceptrons with real inputs and any loss, by float64 fields; see fields.h. Also the losses themselves."""
from flip_target cimport flip_capsule, flip_functions, flip_target, flip_target_set, refresh_fn
from libc.stdint cimport int8_t, int64_t

import numpy as np

from mcmc.kernels import aligned, check, checked_weights, cpu

cdef extern from "fields.h" nogil:
    ctypedef struct loss_params:
        double margin, sharpness
    enum:
        N_LOSSES
    const char *loss_names[]
    double loss_value(int code, double d, double tie, const loss_params *p)
    ctypedef struct fields_model:
        int64_t n_sites, n_patterns, stride
        double scale
        loss_params params
        const double *columns
        const double *tie
        double *field
        double *loss
        int8_t *weights
        double *energy
    void fields_add(double weight, const double *column, int64_t n, double *field)
    const flip_functions *fields_functions_of(int code, int level)
    refresh_fn fields_load_of(int code, int level)

LOSS_CODES = {loss_names[code].decode().replace("_", "-"): code for code in range(N_LOSSES)}
"""Codes of the losses that are functions of the stability, by name."""


def losses(int code, stability, tie, double margin, double sharpness):
    """Loss of each stability: float64, shape of the broadcast of stability and tie."""
    d, t = np.broadcast_arrays(np.asarray(stability, dtype=np.float64), np.asarray(tie, dtype=np.float64))
    cdef const double[::1] flat = np.ascontiguousarray(d).reshape(-1), ties = np.ascontiguousarray(t).reshape(-1)
    out = np.empty(d.shape)
    cdef double[::1] view = out.reshape(-1)
    cdef loss_params params = loss_params(margin=margin, sharpness=sharpness)
    cdef int64_t k
    with nogil:
        for k in range(flat.shape[0]):
            view[k] = loss_value(code, flat[k], ties[k], &params)
    return out


def project(const double[:, ::1] columns, const double[:, ::1] weights):
    """Fields sum_i w_i columns[i], sites added in order.

    columns (n_sites, patterns), weights (walkers, n_sites) -> float64 (walkers, patterns)
    """
    check(weights.shape[1] == columns.shape[0], "weights: do not fit columns")
    out = np.zeros((weights.shape[0], columns.shape[1]))
    cdef double[:, ::1] view = out
    cdef int64_t walker, i
    if out.size:
        with nogil:
            for walker in range(weights.shape[0]):
                for i in range(columns.shape[0]):
                    fields_add(weights[walker, i], &columns[i, 0], columns.shape[1], &view[walker, 0])
    return out


cdef class Block:
    """Walkers of one instance.

    columns: float64 (n_sites, stride): label times input, stride a multiple of 8, padding 0
    tie: float64 (stride,): smallest stability that is no error at margin 0
    scale: 1/sqrt(N)
    n_patterns: patterns that count
    code, margin, sharpness: the loss, a value of LOSS_CODES
    weights: int8 (n_walkers, n_sites) of +-1, copied
    """

    cdef fields_model model
    cdef flip_target target
    cdef refresh_fn load_walker
    cdef readonly object capsule, weights, energy
    cdef object columns, tie, field, loss, code, margin, sharpness

    def __init__(self, const double[:, ::1] columns, const double[::1] tie, double scale, int64_t n_patterns, int code,
                 double margin, double sharpness, weights):
        cdef int64_t n_walkers = weights.shape[0], n_sites = columns.shape[0], stride = columns.shape[1]
        weights = checked_weights(weights, n_sites)
        check(stride % 8 == 0 and stride == tie.shape[0], f"columns: got {stride} patterns, expected a multiple of 8")
        check(0 < n_patterns <= stride and 0 <= code < N_LOSSES, "n_patterns, code: out of range")
        self.columns, self.tie = columns.base, tie.base
        self.code, self.margin, self.sharpness = code, margin, sharpness
        self.weights = aligned((n_walkers, n_sites), np.int8)
        self.energy = aligned((n_walkers,), np.float64)
        self.field = aligned((n_walkers, stride), np.float64)
        self.loss = aligned((n_walkers, stride), np.float64)
        cdef double[:, ::1] field = self.field, loss = self.loss
        cdef int8_t[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        self.model = fields_model(
            n_sites=n_sites, n_patterns=n_patterns, stride=stride, scale=scale,
            params=loss_params(margin=margin, sharpness=sharpness), columns=&columns[0, 0], tie=&tie[0],
            field=&field[0, 0], loss=&loss[0, 0], weights=&w[0, 0], energy=&energy[0],
        )
        self.load_walker = fields_load_of(code, cpu.index())
        flip_target_set(&self.target, &self.model, fields_functions_of(code, cpu.index()), self.load_walker, 1, 0, w,
                        energy)
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
        return {"energy": self.energy, "field": self.field[:, : self.model.n_patterns]}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)
        self.energy[...] = caches["energy"]
        n = self.model.n_patterns
        self.field[:, :n] = caches["field"]
        stability = self.field[:, :n] * self.model.scale
        self.loss[:, :n] = losses(self.code, stability, self.tie[:n], self.margin, self.sharpness)
