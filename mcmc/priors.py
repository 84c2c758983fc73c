"""Laws of the weights before any data: where walkers and teachers start, and what of them a checkpoint stores.

Ising weights: uniform on {-1, +1}^n, or on its states at a fixed overlap with a reference. Packed, bit i % 64 of word
i // 64 is set where w_i = +1. Real weights: independent normals, or each unit uniform on the sphere |w_k|^2 = fan-in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcmc.errors import ConfigError
from mcmc.kernels.random import CONSTRAINED, WEIGHTS, normals, stream_key, uniforms64, words
from mcmc.kernels.sums import products

Weights = NDArray[np.int8] | NDArray[np.float64]


class Prior(ABC):
    """A law of weights, of any number of units with the same number of weights each (the fan-in).

    With a second layer the weights are one more for each unit, after those of all units.
    """

    name: ClassVar[str]
    is_real: ClassVar[bool] = True
    """Weights are float64; otherwise int8 +-1."""
    has_norm: ClassVar[bool] = False
    """Whether the norm of the weights is free."""

    @property
    def dtype(self) -> type[np.generic]:
        return np.float64 if self.is_real else np.int8

    @abstractmethod
    def draw(self, key: int, n_units: int, fan_in: int, second_layer: bool = False) -> Weights:
        """Weights (n_weights,), one unit after the other, from row 0 of a stream.

        ValueError for a second layer if the law has none.
        """

    def walkers(
        self,
        seed: int,
        instance: int,
        walkers: range,
        n_rungs: int,
        n_units: int,
        fan_in: int,
        second_layer: bool = False,
    ) -> Weights:
        """Weights (len(walkers), n_weights) of walkers numbered copy * n_rungs + rung of birth."""
        keys = (stream_key(seed, WEIGHTS, instance, *divmod(walker, n_rungs)) for walker in walkers)
        return np.stack([self.draw(key, n_units, fan_in, second_layer) for key in keys])

    def stored(self, weights: Weights) -> NDArray:
        """What a checkpoint holds of weights (..., n_weights)."""
        return weights

    def loaded(self, stored: NDArray, n_weights: int) -> Weights:
        """Inverse of `stored`."""
        return stored


@dataclass(frozen=True)
class Ising(Prior):
    """Uniform on {-1, +1}^n."""

    name = "ising"
    is_real = False

    def draw(self, key: int, n_units: int, fan_in: int, second_layer: bool = False) -> NDArray[np.int8]:
        _refuse(second_layer, self.name)
        n = n_units * fan_in
        bits = np.unpackbits(words(key, 0, 1, -(-n // 32)).view(np.uint8), count=n, bitorder="little")
        return 2 * bits.astype(np.int8) - 1

    def stored(self, weights: NDArray[np.int8]) -> NDArray[np.uint64]:
        return pack(weights)

    def loaded(self, stored: NDArray[np.uint64], n_weights: int) -> NDArray[np.int8]:
        return unpack(stored, n_weights)


@dataclass(frozen=True)
class Gaussian(Prior):
    """Independent normals of variance 1 / precision."""

    precision: float = 1.0

    name = "gaussian"
    has_norm = True

    def draw(self, key: int, n_units: int, fan_in: int, second_layer: bool = False) -> NDArray[np.float64]:
        return normals(key, 0, 1, n_units * (fan_in + second_layer))[0] / math.sqrt(self.precision)


@dataclass(frozen=True)
class Spherical(Prior):
    """Each unit uniform on the sphere |w_k|^2 = fan-in."""

    name = "spherical"

    def draw(self, key: int, n_units: int, fan_in: int, second_layer: bool = False) -> NDArray[np.float64]:
        _refuse(second_layer, self.name)
        return on_sphere(normals(key, 0, 1, n_units * fan_in)[0], n_units)


def _refuse(second_layer: bool, law: str) -> None:
    if second_layer:
        raise ValueError(f"second_layer: got True, expected False for {law} weights")


PRIORS: dict[str, type[Prior]] = {prior.name: prior for prior in (Ising, Spherical, Gaussian)}
"""Laws by name."""


def on_sphere(weights: NDArray[np.float64], n_units: int) -> NDArray[np.float64]:
    """Weights (n_weights,) with every unit scaled to |w_k|^2 = fan-in, in that length's own order of sum."""
    units = weights.reshape(n_units, 1, -1)
    return (units * np.sqrt(units.shape[2] / products(units, units))).reshape(-1)


def constrained(seed: int) -> int:
    """The seed of the walkers' streams under a constraint.

    A reference may be a sample of the run of the same seed without the constraint: the streams that led to it must not
    drive the walkers that are compared with it.
    """
    return stream_key(seed, CONSTRAINED)


def attainable(overlap: float, n_weights: int) -> int:
    """The number of weights that differ at the attainable overlap nearest to `overlap`, halves rounded up.

    Raises ConfigError where that is a single state.
    """
    n_differ = math.floor(n_weights * (1 - overlap) / 2 + 0.5)
    if n_differ in (0, n_weights):
        raise ConfigError(
            f"constraint.overlap: got {overlap}, expected one nearer to 0: at n_weights = {n_weights} it leaves a "
            "single state, and there is nothing to sample"
        )
    return n_differ


@dataclass(frozen=True)
class FixedOverlap:
    """The states that differ from a reference in a given number of weights.

    reference: int8 (n_weights,) of +-1
    """

    reference: NDArray[np.int8]
    n_differ: int

    def draw(self, seed: int, instance: int, walkers: range, n_rungs: int) -> NDArray[np.int8]:
        """As `Ising.walkers`, uniform among these states: the sites with the smallest of n uniforms differ."""
        drawn = np.tile(self.reference, (len(walkers), 1))
        for row, walker in zip(drawn, walkers, strict=True):
            key = stream_key(constrained(seed), WEIGHTS, instance, *divmod(walker, n_rungs))
            order = np.argsort(uniforms64(key, 0, 1, row.size)[0], kind="stable")  # a tie goes to the first
            row[order[: self.n_differ]] *= -1
        return drawn


def pack(weights: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Weights +-1 (..., n) to bits uint64 (..., ceil(n/64))."""
    n = weights.shape[-1]
    octets = np.zeros((*weights.shape[:-1], -(-n // 64) * 8), dtype=np.uint8)
    packed = np.packbits(weights > 0, axis=-1, bitorder="little")
    octets[..., : packed.shape[-1]] = packed
    return octets.view(np.uint64)


def unpack(bits: NDArray[np.uint64], n: int) -> NDArray[np.int8]:
    """Inverse of `pack`."""
    octets = np.ascontiguousarray(bits).view(np.uint8)
    weights = np.unpackbits(octets, axis=-1, count=n, bitorder="little").view(np.int8)
    weights *= 2
    weights -= 1
    return weights
