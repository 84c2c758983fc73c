"""Blocks of machines of any architecture, inputs, activation and loss, by float64 fields; see fields.h.

Also the losses and activations themselves.
"""
from coordinate_target cimport (
    coordinate_capsule, coordinate_functions, coordinate_refresh_fn, coordinate_target, coordinate_target_set
)
from flip_target cimport flip_capsule, flip_functions, flip_target, flip_target_set, refresh_fn
from libc.stdint cimport int8_t, int64_t

import math

import numpy as np

from mcmc.kernels import aligned, check, checked_reals, checked_weights, cpu

cdef extern from "fields.h" nogil:
    ctypedef struct loss_params:
        double margin, sharpness
    ctypedef void (*losses_fn)(const double *y, const double *f, int64_t n, const loss_params *p, double *out) noexcept
    ctypedef void (*activations_fn)(const double *field, int64_t n, double scale, double *out) noexcept
    enum:
        N_LOSSES
        N_ACTIVATIONS
    const char *loss_names[]
    const char *activation_names[]
    losses_fn losses_of(int code, int level)
    activations_fn activations_of(int code, bint on_grid, int level)
    int activation_is_homogeneous(int code)
    int loss_is_of_stability(int code)
    ctypedef struct fields_model:
        int64_t n_sites, n_units, n_patterns, stride, fan_in, n_columns
        int parity
        double unit_scale, output_scale
        loss_params params
        activations_fn activate
        losses_fn losses
        const double *columns
        const double *labels
        const double *tie
        double *field
        double *unit
        double *loss
        double *new_unit
        double *new_loss
        int8_t *signs
        double *reals
        double *energy
    void fields_add(double weight, const double *column, int64_t n, double *field)
    const flip_functions *fields_flips_of(const fields_model *m, int loss, int level)
    const coordinate_functions *fields_coordinates_of(const fields_model *m, int loss, int level)
    coordinate_refresh_fn fields_rescale[3]
    refresh_fn fields_load[3]
    refresh_fn fields_settle[3]

LOSSES = tuple([loss_names[code].decode().replace("_", "-") for code in range(N_LOSSES)])
"""Names, by code."""
ACTIVATIONS = tuple([activation_names[code].decode() for code in range(N_ACTIVATIONS)])
"""Names, by code."""
HOMOGENEOUS = tuple([ACTIVATIONS[code] for code in range(N_ACTIVATIONS) if activation_is_homogeneous(code)])
"""Those with g(c h) = c g(h) for c > 0."""


def losses(str loss, output, labels, double margin=0.0, double sharpness=1.0):
    """Loss of each output f with label y: float64, the broadcast shape of both."""
    cdef losses_fn f_losses = losses_of(_code(LOSSES, "loss", loss), cpu.index())
    output, labels = np.broadcast_arrays(np.asarray(output, dtype=np.float64), np.asarray(labels, dtype=np.float64))
    cdef const double[::1] f = _padded(output), y = _padded(labels)
    out = np.empty(f.shape[0])
    cdef double[::1] view = out
    cdef loss_params params = loss_params(margin=margin, sharpness=sharpness)
    if output.size:
        with nogil:
            f_losses(&y[0], &f[0], f.shape[0], &params, &view[0])
    return out[: output.size].reshape(output.shape)


def activations(str activation, h):
    """Output g(h) of a unit with scaled field h, on its grid (see activations.h): float64, shape of h."""
    cdef activations_fn g = activations_of(_code(ACTIVATIONS, "activation", activation), True, cpu.index())
    h = np.asarray(h, dtype=np.float64)
    cdef const double[::1] field = _padded(h)
    out = np.empty(field.shape[0])
    cdef double[::1] view = out
    if h.size:
        with nogil:
            g(&field[0], field.shape[0], 1.0, &view[0])
    return out[: h.size].reshape(h.shape)


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


cdef int _code(tuple names, str what, str name) except -1:
    check(name in names, f"{what}: got {name!r}, expected one of {', '.join(names)}")
    return names.index(name)


def _padded(values):
    """Values in a row, with zeros up to a multiple of 8, which is what the kernels take at a time."""
    flat = np.zeros(-(-values.size // 8) * 8)
    flat[: values.size] = values.reshape(-1)
    return flat


cdef class _Machine:
    """Walkers of one instance, with their fields, outputs and losses; how they move is left open.

    A subclass has `checked`, which gives weights as an array (n_walkers, n_sites) of their type.

    columns: float64 (n_columns, at least n_patterns): inputs, copied; n_columns = n_sites / n_units if the units share
        their inputs, n_sites if each has its own
    labels: float64 (at least n_patterns,): -1 or +1; any real number for the square loss
    n_patterns: patterns that count
    weights: (n_walkers, n_sites), one unit after the other, copied
    n_units, activation, parity: the output is the sum of the units over sqrt(n_units), or the product of their signs; a
        perceptron is one linear unit
    loss, margin, sharpness: one of LOSSES and its parameters

    Raises ValueError for what does not fit together.
    """

    cdef fields_model model
    cdef int loss_code
    cdef refresh_fn load_walker, settle_walker
    cdef readonly object capsule, weights, energy
    cdef object columns, labels, tie, field, unit, loss, new_unit, new_loss

    def __init__(self, columns, labels, int64_t n_patterns, weights, *, int64_t n_units=1, str activation="linear",
                 bint parity=False, str loss="hinge", double margin=0.0, double sharpness=1.0):
        cdef int loss_code = _code(LOSSES, "loss", loss), activation_code = _code(ACTIVATIONS, "activation", activation)
        check(n_units > 0, f"n_units: got {n_units}, expected >= 1")
        check(0 < n_patterns <= min(columns.shape[1], len(labels)), "n_patterns: does not fit columns and labels")
        check(not parity or activation == "sign", f"activation: got {activation!r}, expected sign for parity")
        cdef int64_t n_columns = len(columns)
        cdef int64_t n_sites = n_columns if np.shape(weights)[1:] == (n_columns,) else n_columns * n_units
        weights = self.checked(weights, n_sites)
        check(n_sites % n_units == 0, f"n_units: got {n_units}, expected a divisor of {n_sites} weights")
        cdef int64_t n_walkers = len(weights), stride = (n_patterns + 7) // 8 * 8
        fused = n_units == 1 and activation == "linear" and loss_is_of_stability(loss_code)
        homogeneous = activation_is_homogeneous(activation_code)
        self.loss_code = loss_code
        self.labels = aligned((stride,), np.float64)
        self.labels[:n_patterns], self.labels[n_patterns:] = labels[:n_patterns], 1.0
        self.columns = aligned((n_columns, stride), np.float64)
        np.multiply(columns[:, :n_patterns], self.labels[:n_patterns] if fused else 1.0,
                    out=self.columns[:, :n_patterns])
        self.weights = aligned((n_walkers, n_sites), weights.dtype)
        self.energy = aligned((n_walkers,), np.float64)
        self.field = aligned((n_walkers, n_units, stride), np.float64)
        self.loss = aligned((n_walkers, stride), np.float64)
        self.new_loss = aligned((stride,), np.float64)
        cdef const double[:, ::1] column = self.columns
        cdef const double[::1] label = self.labels, tie
        cdef double[:, :, ::1] field = self.field, unit
        cdef double[:, ::1] loss_of = self.loss, reals
        cdef double[::1] new_loss = self.new_loss, new_unit, energy = self.energy
        cdef int8_t[:, ::1] signs
        ising = weights.dtype == np.int8
        self.model = fields_model(
            n_sites=n_sites, n_units=n_units, n_patterns=n_patterns, stride=stride, fan_in=n_sites // n_units,
            n_columns=n_columns, parity=parity,
            unit_scale=1.0 if homogeneous else 1.0 / math.sqrt(n_sites // n_units),
            output_scale=1.0 if parity else 1.0 / math.sqrt(n_sites if homogeneous else n_units),
            params=loss_params(margin=margin, sharpness=sharpness),
            activate=activations_of(activation_code, ising, cpu.index()), losses=losses_of(loss_code, cpu.index()),
            columns=&column[0, 0], labels=&label[0], tie=NULL, field=&field[0, 0, 0], unit=NULL, loss=&loss_of[0, 0],
            new_unit=NULL, new_loss=&new_loss[0], signs=NULL, reals=NULL, energy=&energy[0],
        )
        if ising:
            signs = self.weights
            self.model.signs = &signs[0, 0]
        else:
            reals = self.weights
            self.model.reals = &reals[0, 0]
        if fused:
            self.tie = aligned((stride,), np.float64)  # as loss_tie of losses_body.h
            self.tie[...] = np.where(self.labels > 0, 0.0, np.finfo(np.float64).tiny)
            tie = self.tie
            self.model.tie = &tie[0]
        else:
            self.unit = aligned((n_walkers, n_units, stride), np.float64)
            self.new_unit = aligned((stride,), np.float64)
            unit, new_unit = self.unit, self.new_unit
            self.model.unit, self.model.new_unit = &unit[0, 0, 0], &new_unit[0]
        self.load_walker, self.settle_walker = fields_load[<int>cpu.index()], fields_settle[<int>cpu.index()]
        self.load(weights)

    def load(self, weights):
        """Take over weights (n_walkers, n_sites) and rebuild everything from them."""
        weights = self.checked(weights, self.model.n_sites)
        check(len(weights) == len(self.weights), f"weights: expected {len(self.weights)} walkers")
        self.weights[...] = weights
        cdef int64_t walker, n_walkers = len(self.weights)
        with nogil:
            for walker in range(n_walkers):
                self.load_walker(&self.model, walker)

    def caches(self):
        """What a checkpoint must hold besides the weights, bit for bit: name -> array (n_walkers, ...)."""
        return {"energy": self.energy, "field": self.field[:, :, : self.model.n_patterns]}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)
        self.energy[...] = caches["energy"]
        self.field[:, :, : self.model.n_patterns] = caches["field"]
        cdef int64_t walker, n_walkers = len(self.weights)
        with nogil:
            for walker in range(n_walkers):
                self.settle_walker(&self.model, walker)


cdef class Block(_Machine):
    """Machines with Ising weights, int8 (n_walkers, n_sites) of +-1, that flip; see the base for the arguments."""

    cdef flip_target target

    def __init__(self, columns, labels, int64_t n_patterns, weights, **machine):
        super().__init__(columns, labels, n_patterns, weights, **machine)
        cdef int8_t[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        cdef const fields_model *m = &self.model
        flip_target_set(&self.target, &self.model, fields_flips_of(m, self.loss_code, cpu.index()),
                        self.load_walker, m.n_units, 8 * m.stride, 0, w, energy)
        self.capsule = flip_capsule(&self.target)

    def checked(self, weights, int64_t n_sites):
        """Weights as int8 (n_walkers, n_sites); ValueError unless all are -1 or +1."""
        return checked_weights(weights, n_sites)


cdef class RealBlock(_Machine):
    """Machines with real weights, float64 (n_walkers, n_sites), that move one or two of them at a time.

    See the base for the arguments. Outputs of units are not rounded to a grid, see activations.h.
    """

    cdef coordinate_target target

    def __init__(self, columns, labels, int64_t n_patterns, weights, **machine):
        super().__init__(columns, labels, n_patterns, weights, **machine)
        cdef double[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        cdef const fields_model *m = &self.model
        coordinate_target_set(&self.target, &self.model, fields_coordinates_of(m, self.loss_code, cpu.index()),
                              self.load_walker, fields_rescale[<int>cpu.index()], m.n_units, 8 * m.stride, w, energy)
        self.capsule = coordinate_capsule(&self.target)

    def checked(self, weights, int64_t n_sites):
        """Weights as float64 (n_walkers, n_sites); ValueError unless all are finite."""
        return checked_reals(weights, n_sites)
