"""Blocks of machines with real weights, whose energies and gradients are matrix products; see gradients.h."""
from gradient_target cimport evaluate_fn, gradient_capsule, gradient_target
from libc.stdint cimport int32_t, int64_t
from memory cimport address
from mcmc.kernels.products cimport (
    ONE_WALKER_STRETCH, TILE, WORD, Products, backward_fn, forward_fn, products, rounded_up,
)

import math

import numpy as np

from mcmc.kernels import aligned, check, cpu
from mcmc.kernels.fields import ACTIVATIONS, LOSSES
from mcmc.kernels.products import PRECISIONS

cdef extern from "gradients.h" nogil:
    ctypedef struct loss_params:
        double margin, sharpness
    ctypedef void (*responses_fn)(const double *field, int64_t n, double scale, double *unit, double *slope) noexcept
    ctypedef void (*slopes_fn)(const double *y, const double *f, int64_t n, int64_t width, const loss_params *p,
                               double *loss, double *slope) noexcept
    ctypedef struct gradient_model:
        products products
        int kind, precision
        forward_fn forward
        backward_fn backward
        int64_t stretch, tile
        int parity
        double unit_scale, output_scale
        loss_params params
        responses_fn respond
        slopes_fn slopes
        double *labels
        double *field
        int second_layer
        double *energy
        double *pull
        double *scratch
    evaluate_fn gradients_evaluate[3]
    void gradients_select(void *model, const int32_t *patterns, void *batch) noexcept
    responses_fn responses_of(int code, int level)
    slopes_fn slopes_of(int code, int level)
    int loss_has_slope(int code)

CURVATURES = {"square": 1.0, "logistic": 0.25, "squared-hinge": 1.0, "hinge": 0.25, "error-count": 0.0,
              "symmetric": 0.0}
"""Second derivative of a loss by the output where it is largest, of the logistic one over its sharpness. The hinge is
straight but for its corner: what stands here is that of the logistic loss, its smooth relative."""
FEWEST_LANES = 4
"""Walkers of a block that are interleaved; fewer go one by one."""
MOST_LANES = 32
"""Of a pack: the weights of more walkers, with noise and gradients, leave the second cache."""


def pack_width(int64_t n_walkers):
    """Lanes of the packs that hold so many walkers: equal packs, with little padding."""
    cdef int64_t n_packs = rounded_up(n_walkers, MOST_LANES) // MOST_LANES
    return 1 if n_walkers < FEWEST_LANES else rounded_up((n_walkers + n_packs - 1) // n_packs, 8)


cdef class Machine:
    """A machine on some patterns for packs of one width, with the memory it needs.

    n_units units of fan_in inputs, of n_inputs altogether; packed: whether inputs are bits; names as Block has them
    """

    cdef gradient_model model
    cdef object memory
    cdef Products products
    cdef readonly object labels

    def __init__(self, int64_t n_units, int64_t fan_in, int64_t n_inputs, int64_t n_patterns, int64_t width,
                 bint packed, *, activation, parity, loss, margin, sharpness, precision, second_layer):
        cdef int level = cpu.index()
        cdef int64_t tile = WORD if width == 1 and packed else TILE
        self.products = Products(n_units, fan_in, n_inputs, n_patterns, width, packed, precision)
        cdef int64_t rows = self.products.p.rows, stretch = ONE_WALKER_STRETCH if width == 1 and not packed else rows
        self.labels, self.memory = aligned((rows,), np.float64), []
        self.labels[...] = 1.0
        cdef double[::1] labels = self.labels
        self.model.products = self.products.p
        self.model.kind, self.model.precision = self.products.kind, self.products.single
        self.model.forward, self.model.backward = self.products.forward, self.products.backward
        self.model.stretch, self.model.tile, self.model.parity = stretch, tile, parity
        self.model.unit_scale = 1.0 / math.sqrt(fan_in)
        self.model.output_scale = 1.0 if parity else 1.0 / math.sqrt(n_units)
        self.model.params = loss_params(margin=margin, sharpness=sharpness)
        self.model.respond = responses_of(ACTIVATIONS.index(activation), level)
        self.model.slopes = slopes_of(LOSSES.index(loss), level)
        self.model.labels, self.model.second_layer = &labels[0], second_layer
        self.model.field = <double *>self._room((n_units, stretch, width), np.float64)
        self.model.energy = <double *>self._room((8, width), np.float64)
        self.model.pull = <double *>self._room((n_units, 8, width), np.float64)
        self.model.scratch = <double *>self._room((3 + n_units, tile, width), np.float64)

    cdef void *_room(self, shape, dtype) except NULL:
        self.memory.append(aligned(shape, dtype))
        return address(self.memory[len(self.memory) - 1])

    def fill(self, inputs, labels):
        """Take over inputs and labels of all patterns, as Block gets them."""
        self.labels[: self.products.p.n_patterns] = labels
        self.products.fill(inputs)


cdef class Block:
    """Walkers of one instance with real weights.

    inputs: real values float64 (n_patterns, n_inputs), or +-1 as packed columns uint64 (n_inputs, words), bit mu % 64
        of word mu // 64 set where input i of pattern mu is +1, padding bits 0
    labels: float64 (n_patterns,): -1 or +1; any real number for the square loss
    weights: float64 (n_walkers, n_weights), copied: n_units * fan_in, one unit after the other, and with a second layer
        n_units more; fan_in = n_inputs if the units share their inputs, n_inputs / n_units if each has its own
    n_units, activation, parity: the output is the sum of the units over sqrt(n_units), or the product of their signs; a
        perceptron is one linear unit
    loss, margin, sharpness: one of LOSSES and its parameters
    precision: one of PRECISIONS, in which inputs, weights and forces are multiplied and added
    second_layer: whether the units are multiplied by weights of their own before they are added
    batch_size: patterns of the minibatches that a sampler may ask for; 0 for none

    Raises ValueError for what does not fit together.
    """

    cdef gradient_target target
    cdef Machine machine, batch
    cdef readonly object capsule
    cdef readonly double curvature
    """Largest second derivative of the loss of a pattern by the field of a unit of slope 1; 0 where it has none."""
    cdef readonly bint second_layer
    cdef object packs, energies

    def __init__(self, inputs, labels, weights, *, int64_t n_units=1, str activation="linear", bint parity=False,
                 str loss="hinge", double margin=0.0, double sharpness=1.0, str precision="float64",
                 bint second_layer=False, int64_t batch_size=0):
        labels, weights = np.asarray(labels, dtype=np.float64), np.asarray(weights, dtype=np.float64)
        packed = inputs.dtype == np.uint64
        cdef int64_t n_patterns = len(labels), n_inputs = len(inputs) if packed else inputs.shape[1]
        check(precision in PRECISIONS, f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
        check(loss in LOSSES, f"loss: got {loss!r}, expected one of {', '.join(LOSSES)}")
        check(activation in ACTIVATIONS, f"activation: got {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        check(not parity or activation == "sign", f"activation: got {activation!r}, expected sign for parity")
        check(not (parity and second_layer), "second_layer: got true for parity, expected false")
        check(n_patterns > 0 and (inputs.shape[1] * 64 >= n_patterns if packed else len(inputs) == n_patterns),
              f"labels: got {n_patterns}, expected one for each pattern")
        check(0 <= batch_size <= n_patterns, f"batch_size: got {batch_size}, expected 0 to {n_patterns}")
        above = n_units if second_layer else 0
        check(n_units > 0 and weights.ndim == 2 and len(weights) > 0
              and weights.shape[1] - above in (n_inputs, n_inputs * n_units)
              and (weights.shape[1] - above) % n_units == 0,
              f"weights: got shape {weights.shape}, expected (n_walkers, {n_inputs * n_units + above}), or of a tree "
              f"(n_walkers, {n_inputs + above}), for {n_units} units")
        cdef int64_t n_weights = weights.shape[1], n_walkers = len(weights), width = pack_width(n_walkers)
        cdef int64_t n_packs = rounded_up(n_walkers, width) // width
        options = {"activation": activation, "parity": parity, "loss": loss, "margin": margin, "sharpness": sharpness,
                   "precision": precision, "second_layer": second_layer}
        shape = n_units, (n_weights - above) // n_units, n_inputs
        self.second_layer = second_layer
        self.machine = Machine(*shape, n_patterns, width, packed, **options)
        self.machine.fill(inputs if packed else np.asarray(inputs, dtype=PRECISIONS[precision]), labels)
        self.batch = Machine(*shape, batch_size, width, packed, **options) if batch_size else None
        self.packs = aligned((n_packs, n_weights, width), np.float64)
        self.energies = aligned((n_packs, width), np.float64)
        cdef double[:, :, ::1] packs = self.packs
        cdef double[:, ::1] energies = self.energies
        self.curvature = CURVATURES[loss] * (sharpness if loss == "logistic" else 1.0) / n_units
        flat = activation == "sign" or not loss_has_slope(LOSSES.index(loss))
        self.target = gradient_target(
            model=&self.machine.model, evaluate=gradients_evaluate[<int>cpu.index()], select=gradients_select,
            batch=NULL, batch_size=batch_size, n_patterns=n_patterns,
            has_gradient=not flat, n_walkers=n_walkers, n_weights=n_weights,
            n_units=1 if second_layer else n_units, width=width,
            n_packs=n_packs, weights=&packs[0, 0, 0], energy=&energies[0, 0],
        )
        if batch_size:
            self.target.batch = &self.batch.model
        self.capsule = gradient_capsule(&self.target)
        self.load(weights)

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

    def evaluate(self, weights, patterns=None):
        """Energies (n,) and gradients dE/dw (n, n_weights) of any number of weights (n, n_weights).

        patterns: int32 (batch_size,), the minibatch that is to count instead of all patterns
        """
        weights = np.asarray(weights, dtype=np.float64)
        cdef void *model = self.target.model
        cdef const int32_t[::1] chosen
        if patterns is not None:
            chosen = np.asarray(patterns, dtype=np.int32)
            check(self.batch is not None and chosen.shape[0] == self.target.batch_size
                  and 0 <= chosen.base.min() <= chosen.base.max() < self.target.n_patterns,
                  f"patterns: got {chosen.shape[0]}, expected {self.target.batch_size} of {self.target.n_patterns}")
            self.target.select(model, &chosen[0], self.target.batch)
            model = self.target.batch
        energy, gradient = np.empty(len(weights)), np.empty(weights.shape)
        cdef int64_t first, width = self.target.width
        cdef double[:, ::1] w = aligned((self.target.n_weights, width), np.float64), g = np.empty_like(w)
        cdef double[::1] e = np.empty(width)
        for first in range(0, len(weights), width):
            lanes = min(width, len(weights) - first)
            w.base[:, :lanes] = weights[first : first + lanes].T
            with nogil:
                self.target.evaluate(model, &w[0, 0], &e[0], &g[0, 0])
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

    def gram(self):
        """X^T X of the inputs of a unit: float64 (1, fan_in, fan_in), or (n_units, ...) if each unit has its own.

        ValueError for a machine with a second layer, of which this is not all.
        """
        check(not self.machine.model.second_layer,
              "preconditioner: got one for weights of a second layer, expected none")
        return self.machine.products.gram()

    def caches(self):
        """What a checkpoint must hold besides the weights: nothing, all is a function of them."""
        return {}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)
