"""Inputs in the forms in which packs of walkers are multiplied with them; see products.h."""
from libc.stdint cimport int64_t, uint64_t
from memory cimport address

import numpy as np

from mcmc.kernels import aligned, cpu
from mcmc.kernels.quadratic import couplings_of_bits, couplings_of_reals

cdef extern from "products.h" nogil:
    forward_fn products_forward[2][2][3]
    backward_fn products_backward[2][2][3]

PRECISIONS = {"float64": np.float64, "float32": np.float32}
"""Types of the products, by name."""


cdef int64_t rounded_up(int64_t n, int64_t multiple):
    return (n + multiple - 1) // multiple * multiple


cdef class Products:
    """Room for the inputs of n_patterns patterns, and what multiplies packs of `width` walkers with them.

    n_units units of fan_in inputs, of n_inputs altogether: all see the same, or each its own; packed: whether inputs
    are bits; precision: one of PRECISIONS
    """

    def __init__(self, int64_t n_units, int64_t fan_in, int64_t n_inputs, int64_t n_patterns, int64_t width,
                 bint packed, precision="float64"):
        cdef int level = cpu.index()
        cdef int64_t rows = rounded_up(n_patterns, WORD if packed else TILE)
        cdef int64_t n_views = 1 if fan_in == n_inputs else n_units
        cdef products *p = &self.p
        self.kind, self.single = PRODUCTS_BITS if packed else PRODUCTS_REAL, precision == "float32"
        self.forward = products_forward[self.kind][self.single][level]
        self.backward = products_backward[self.kind][self.single][level]
        self.real = PRECISIONS[precision]
        p.n_units, p.fan_in, p.n_inputs, p.n_patterns, p.width = n_units, fan_in, n_inputs, n_patterns, width
        p.rows, p.n_views = rows, n_views
        if packed:
            p.inputs = rounded_up(fan_in, WORD)
            p.row_words = p.inputs // WORD
            self.by_pattern = aligned((n_views, p.row_words, rows), np.uint64)
            self.by_input = aligned((n_views, rows // WORD, p.inputs), np.uint64)
            p.pattern_bits, p.input_bits = <uint64_t *>address(self.by_pattern), <uint64_t *>address(self.by_input)
            self.scratch = aligned((max(rows, p.inputs), 16), np.float64)
            p.scratch = address(self.scratch)
            return
        p.row_length = rounded_up(fan_in, 64 // np.dtype(self.real).itemsize)
        if width == 1:
            self.by_pattern, self.by_input = aligned((n_views, rows, p.row_length), self.real), None
        else:
            self.by_pattern = aligned((n_views, rows // TILE, fan_in, TILE), self.real)
            self.by_input = aligned((n_views, rounded_up(fan_in, TILE) // TILE, rows, TILE), self.real)
            p.by_input = address(self.by_input)
        p.by_pattern = address(self.by_pattern)
        scratch = 2 * n_units * p.row_length if width == 1 else max(rows, p.row_length) * (width + 64)
        self.scratch = aligned((scratch,), self.real)
        p.scratch = address(self.scratch)

    def fill(self, inputs):
        """Take over inputs: columns of bits uint64 (n_inputs, words), or values (n_patterns, n_inputs)."""
        cdef products *p = &self.p
        if self.kind == PRODUCTS_BITS:
            bits = np.unpackbits(inputs.view(np.uint8), axis=1, count=p.n_patterns, bitorder="little")
            bits = bits.reshape(p.n_views, p.fan_in, p.n_patterns)
            _pack_words(bits.swapaxes(1, 2), self.by_pattern)
            _pack_words(bits, self.by_input)
            return
        views = inputs.reshape(p.n_patterns, p.n_views, p.fan_in).swapaxes(0, 1)
        if p.width == 1:
            self.by_pattern[:, : p.n_patterns, : p.fan_in] = views
            return
        order, n_tiles = 64 // np.dtype(self.real).itemsize, self.by_input.shape[1]
        in_order = [i for j in range(order) for i in range(j, p.fan_in, order)]
        for view, patterns, tiles in zip(views, self.by_pattern, self.by_input, strict=True):
            padded = np.zeros((p.rows, n_tiles * TILE), dtype=self.real)
            padded[: p.n_patterns, : p.fan_in] = view
            patterns[:] = padded[:, in_order].reshape(-1, TILE, p.fan_in).swapaxes(1, 2)
            tiles[:] = padded.reshape(p.rows, n_tiles, TILE).swapaxes(0, 1)

    def gram(self):
        """X^T X of what each view holds, float64 (n_views, fan_in, fan_in): exact for bits, else patterns in order."""
        return np.stack([self._gram_of(view)[:, : self.p.fan_in] for view in range(self.p.n_views)]).astype(np.float64)

    def _gram_of(self, view):
        cdef products *p = &self.p
        if self.kind == PRODUCTS_BITS:
            return couplings_of_bits(np.ascontiguousarray(self.by_input[view].T[: p.fan_in]), p.n_patterns)
        dense = self.by_pattern[view] if p.width == 1 else self.by_input[view].swapaxes(0, 1).reshape(p.rows, -1)
        return couplings_of_reals(np.ascontiguousarray(dense[: p.n_patterns, : p.fan_in], dtype=np.float64))


def _pack_words(bits, words):
    """Bits (n_views, n, terms) into words uint64 (n_views, words, n or more): bit t % 64 of word t // 64, padding 0."""
    n_views, n, _ = bits.shape
    octets = np.zeros((n_views, words.shape[2], words.shape[1] * 8), dtype=np.uint8)
    packed = np.packbits(bits, axis=2, bitorder="little")
    octets[:, :n, : packed.shape[2]] = packed
    words[...] = octets.view(np.uint64).swapaxes(1, 2)
