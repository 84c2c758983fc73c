"""Blocks of machines with real weights, whose energies and gradients are matrix products; see gradients.h."""
from gradient_target cimport evaluate_fn, gradient_capsule, gradient_target
from libc.stdint cimport int64_t, uint64_t

import math

import numpy as np

from mcmc.kernels import aligned, check, cpu
from mcmc.kernels.fields import ACTIVATIONS, LOSSES

cdef extern from "gradients.h" nogil:
    ctypedef struct loss_params:
        double margin, sharpness
    ctypedef struct products:
        int64_t n_units, fan_in, n_inputs, n_patterns, width, rows, n_views
        const void *by_pattern
        const void *by_input
        int64_t row_length
        const uint64_t *pattern_bits
        const uint64_t *input_bits
        int64_t row_words, inputs
        void *scratch
    ctypedef void (*forward_fn)(const products *p, int64_t unit, const double *weights, int64_t first, int64_t n,
                                double *field) noexcept
    ctypedef void (*backward_fn)(const products *p, int64_t unit, const double *force, int64_t first, int64_t n,
                                 double *gradient) noexcept
    ctypedef void (*responses_fn)(const double *field, int64_t n, double scale, double *unit, double *slope) noexcept
    ctypedef void (*slopes_fn)(const double *y, const double *f, int64_t n, int64_t width, const loss_params *p,
                               double *loss, double *slope) noexcept
    ctypedef struct gradient_model:
        products products
        forward_fn forward
        backward_fn backward
        int64_t stretch
        int parity
        double unit_scale, output_scale
        loss_params params
        responses_fn respond
        slopes_fn slopes
        const double *labels
        double *field
        double *tile
    enum:
        TILE
        WORD
        ONE_WALKER_STRETCH
        PRODUCTS_BITS
        PRODUCTS_REAL
    forward_fn products_forward[2][2][3]
    backward_fn products_backward[2][2][3]
    evaluate_fn gradients_evaluate[3]
    responses_fn responses_of(int code, int level)
    slopes_fn slopes_of(int code, int level)
    int loss_has_slope(int code)
    int activation_has_slope(int code)

PRECISIONS = {"float64": np.float64, "float32": np.float32}
"""Types of the products, by name: energies and all else are float64."""
FEWEST_LANES = 4
"""Walkers of a block that are interleaved; fewer go one by one."""


cdef int64_t _rounded_up(int64_t n, int64_t multiple):
    return (n + multiple - 1) // multiple * multiple


def pack_width(int64_t n_walkers):
    """Lanes of the packs that hold so many walkers."""
    return 1 if n_walkers < FEWEST_LANES else _rounded_up(n_walkers, 8)


cdef class Block:
    """Walkers of one instance with real weights.

    inputs: real values float64 (n_patterns, n_inputs), or +-1 as packed columns uint64 (n_inputs, words), bit mu % 64
        of word mu // 64 set where input i of pattern mu is +1, padding bits 0
    labels: float64 (n_patterns,): -1 or +1; any real number for the square loss
    weights: float64 (n_walkers, n_units * fan_in), one unit after the other, copied; fan_in = n_inputs if the units
        share their inputs, n_inputs / n_units if each has its own
    n_units, activation, parity: the output is the sum of the units over sqrt(n_units), or the product of their signs; a
        perceptron is one linear unit
    loss, margin, sharpness: one of LOSSES and its parameters
    precision: one of PRECISIONS, in which inputs, weights and forces are multiplied and added

    Raises ValueError for what does not fit together.
    """

    cdef gradient_model model
    cdef gradient_target target
    cdef readonly object capsule
    cdef object inputs, labels, packs, energies, field, tile, scratch, real

    def __init__(self, inputs, labels, weights, *, int64_t n_units=1, str activation="linear", bint parity=False,
                 str loss="hinge", double margin=0.0, double sharpness=1.0, str precision="float64"):
        labels, weights = np.asarray(labels, dtype=np.float64), np.asarray(weights, dtype=np.float64)
        packed = inputs.dtype == np.uint64
        cdef int64_t n_patterns = len(labels), n_inputs = len(inputs) if packed else inputs.shape[1]
        check(precision in PRECISIONS, f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
        check(loss in LOSSES, f"loss: got {loss!r}, expected one of {', '.join(LOSSES)}")
        check(activation in ACTIVATIONS, f"activation: got {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        check(not parity or activation == "sign", f"activation: got {activation!r}, expected sign for parity")
        check(n_patterns > 0 and (inputs.shape[1] * 64 >= n_patterns if packed else len(inputs) == n_patterns),
              f"labels: got {n_patterns}, expected one for each pattern")
        check(n_units > 0 and weights.ndim == 2 and len(weights) > 0
              and weights.shape[1] in (n_inputs, n_inputs * n_units) and weights.shape[1] % n_units == 0,
              f"weights: got shape {weights.shape}, expected (n_walkers, {n_inputs * n_units}), or of a tree "
              f"(n_walkers, {n_inputs}), for {n_units} units")
        cdef int64_t n_weights = weights.shape[1], n_walkers = len(weights), width = pack_width(n_walkers)
        cdef int64_t rows = _rounded_up(n_patterns, WORD), fan_in = n_weights // n_units
        n_views = 1 if fan_in == n_inputs else n_units
        one_by_one = width == 1 and not packed
        self.real = PRECISIONS[precision]
        self.labels = aligned((rows,), np.float64)
        self.labels[:n_patterns], self.labels[n_patterns:] = labels, 1.0
        cdef int level = cpu.index(), kind = PRODUCTS_BITS if packed else PRODUCTS_REAL
        cdef int code = LOSSES.index(loss), unit_code = ACTIVATIONS.index(activation)
        cdef int single = precision == "float32"
        cdef const double[::1] label = self.labels
        self.model = gradient_model(
            products=products(n_units=n_units, fan_in=fan_in, n_inputs=n_inputs, n_patterns=n_patterns, width=width,
                              rows=rows, n_views=n_views, by_pattern=NULL, by_input=NULL, row_length=0,
                              pattern_bits=NULL, input_bits=NULL, row_words=0, inputs=0, scratch=NULL),
            forward=products_forward[kind][single][level], backward=products_backward[kind][single][level],
            stretch=ONE_WALKER_STRETCH if one_by_one else rows, parity=parity, unit_scale=1.0 / math.sqrt(fan_in),
            output_scale=1.0 if parity else 1.0 / math.sqrt(n_units),
            params=loss_params(margin=margin, sharpness=sharpness), respond=responses_of(unit_code, level),
            slopes=slopes_of(code, level), labels=&label[0], field=NULL, tile=NULL,
        )
        if packed:
            self._keep_bits(inputs, n_views)
        else:
            self._keep_reals(np.asarray(inputs, dtype=self.real), n_views, width > 1)
        self.field = aligned((n_units, self.model.stretch, width), np.float64)
        self.tile = aligned((5, TILE, width), np.float64)
        n_packs = _rounded_up(n_walkers, width) // width
        self.packs = aligned((n_packs, n_weights, width), np.float64)
        self.energies = aligned((n_packs, width), np.float64)
        cdef double[:, :, ::1] field = self.field, tile = self.tile, packs = self.packs
        cdef double[:, ::1] energies = self.energies
        self.model.field, self.model.tile = &field[0, 0, 0], &tile[0, 0, 0]
        self.target = gradient_target(
            model=&self.model, evaluate=gradients_evaluate[level],
            has_gradient=loss_has_slope(code) and activation_has_slope(unit_code) and not parity, n_walkers=n_walkers,
            n_weights=n_weights, n_units=n_units, width=width, n_packs=n_packs, weights=&packs[0, 0, 0],
            energy=&energies[0, 0],
        )
        self.capsule = gradient_capsule(&self.target)
        self.load(weights)

    def _keep_bits(self, columns, n_views):
        """Bits of the patterns and of the inputs of each view."""
        cdef products *p = &self.model.products
        bits = np.unpackbits(columns.view(np.uint8), axis=1, count=p.n_patterns, bitorder="little")
        bits = bits.reshape(n_views, p.fan_in, p.n_patterns)
        p.inputs = _rounded_up(p.fan_in, WORD)
        p.row_words = p.inputs // WORD
        by_pattern, by_input = _words(bits.swapaxes(1, 2), p.rows), _words(bits, p.inputs)
        self.scratch = aligned((max(p.rows, p.inputs), 16), np.float64)
        self.inputs = by_pattern, by_input
        cdef const uint64_t[:, :, ::1] pattern_bits = by_pattern, input_bits = by_input
        cdef double[:, ::1] scratch = self.scratch
        p.pattern_bits, p.input_bits, p.scratch = &pattern_bits[0, 0, 0], &input_bits[0, 0, 0], &scratch[0, 0]

    def _keep_reals(self, values, n_views, tiled):
        """The inputs of each view by rows, or in tiles of patterns and of inputs."""
        cdef products *p = &self.model.products
        order = 64 // values.itemsize
        p.row_length = _rounded_up(p.fan_in, order)
        views = values.reshape(p.n_patterns, n_views, p.fan_in).swapaxes(0, 1)
        if tiled:
            n_tiles = _rounded_up(p.fan_in, TILE) // TILE
            in_order = [i for j in range(order) for i in range(j, p.fan_in, order)]
            by_pattern = aligned((n_views, p.rows // TILE, p.fan_in, TILE), self.real)
            by_input = aligned((n_views, n_tiles, p.rows, TILE), self.real)
            for view, patterns, tiles in zip(views, by_pattern, by_input, strict=True):
                padded = np.zeros((p.rows, n_tiles * TILE), dtype=self.real)
                padded[: p.n_patterns, : p.fan_in] = view
                patterns[:] = padded[:, in_order].reshape(-1, TILE, p.fan_in).swapaxes(1, 2)
                tiles[:] = padded.reshape(p.rows, n_tiles, TILE).swapaxes(0, 1)
        else:
            by_pattern, by_input = aligned((n_views, p.rows, p.row_length), self.real), None
            by_pattern[:, : p.n_patterns, : p.fan_in] = views
        longest = max(p.rows, p.row_length) * (p.width + 64)
        self.scratch = aligned((longest,), self.real)
        self.inputs = by_pattern, by_input
        p.by_pattern, p.scratch = _address(by_pattern), _address(self.scratch)
        p.by_input = _address(by_input) if tiled else NULL

    def load(self, weights):
        """Take over weights (n_walkers, n_weights) and compute their energies."""
        weights = np.asarray(weights, dtype=np.float64)
        check(weights.shape == (self.target.n_walkers, self.target.n_weights),
              f"weights: got shape {weights.shape}, expected {(self.target.n_walkers, self.target.n_weights)}")
        room = self.target.n_packs * self.target.width
        padded = np.concatenate([weights, np.repeat(weights[len(weights) - 1 :], room - len(weights), axis=0)])
        self.packs[...] = padded.reshape(self.target.n_packs, self.target.width, -1).swapaxes(1, 2)
        cdef int64_t pack, size = self.target.n_weights * self.target.width
        with nogil:
            for pack in range(self.target.n_packs):
                self.target.evaluate(self.target.model, self.target.weights + pack * size,
                                     self.target.energy + pack * self.target.width, NULL)

    def evaluate(self, weights):
        """Energies (n,) and gradients dE/dw (n, n_weights) of any number of weights (n, n_weights)."""
        weights = np.asarray(weights, dtype=np.float64)
        energy, gradient = np.empty(len(weights)), np.empty(weights.shape)
        cdef int64_t first, width = self.target.width
        cdef double[:, ::1] w = aligned((self.target.n_weights, width), np.float64), g = np.empty_like(w)
        cdef double[::1] e = np.empty(width)
        for first in range(0, len(weights), width):
            lanes = min(width, len(weights) - first)
            w.base[:, :lanes] = weights[first : first + lanes].T
            with nogil:
                self.target.evaluate(self.target.model, &w[0, 0], &e[0], &g[0, 0])
            energy[first : first + lanes] = e.base[:lanes]
            gradient[first : first + lanes] = g.base[:, :lanes].T
        return energy, gradient

    @property
    def weights(self):
        """float64 (n_walkers, n_weights), a copy."""
        weights = self.packs.swapaxes(1, 2).reshape(-1, self.target.n_weights)
        return np.ascontiguousarray(weights[: self.target.n_walkers])

    @property
    def energy(self):
        """float64 (n_walkers,), a copy."""
        return self.energies.reshape(-1)[: self.target.n_walkers].copy()

    def caches(self):
        """What a checkpoint must hold besides the weights: nothing, all is a function of them."""
        return {}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)


def _words(bits, rows):
    """Bits (n_views, n, terms) as uint64 (n_views, words, rows): bit t % 64 of word t // 64, padding 0."""
    n_views, n, terms = bits.shape
    octets = np.zeros((n_views, rows, _rounded_up(terms, WORD) // 8), dtype=np.uint8)
    packed = np.packbits(bits, axis=2, bitorder="little")
    octets[:, :n, : packed.shape[2]] = packed
    words = aligned((n_views, octets.shape[2] // 8, rows), np.uint64)
    words[...] = octets.view(np.uint64).swapaxes(1, 2)
    return words


cdef void *_address(array):
    return <void *><size_t>array.ctypes.data
