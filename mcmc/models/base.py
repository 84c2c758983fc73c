"""What a model is to the rest: a maker of blocks, and what a block is to the samplers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcmc.data import Instance


class Block(Protocol):
    """The walkers of one instance on one rank, in a kernel family; `capsule` is what the samplers drive."""

    weights: NDArray[np.int8]  # (n_walkers, n_weights), +-1
    energy: NDArray[np.float64]  # (n_walkers,)
    capsule: object

    def caches(self) -> dict[str, NDArray]:
        """Arrays (n_walkers, ...) that a checkpoint must hold besides the weights."""

    def restore(self, weights: NDArray[np.int8], caches: dict[str, NDArray]) -> None:
        """Continue from a checkpoint, bit for bit."""


class Model(Protocol):
    """An architecture under a loss."""

    @property
    def n_weights(self) -> int: ...

    def block(self, instance: Instance, weights: NDArray[np.int8]) -> Block:
        """Walkers at the given weights, int8 (n_walkers, n_weights) of +-1, under the energy of the instance."""

    def memory(self, n_patterns: int, binary: bool) -> tuple[int, int]:
        """Bytes that an instance (of +-1 inputs if `binary`) and each walker take, about."""
