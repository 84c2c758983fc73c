"""The energy of every architecture, anew from the sums w.x at every call.

Twin of the families that hold the walkers (bitslice, tabulated, quadratic, fields): they differ in how they get the
energy, not in what it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from mcmc.reference import losses

Weights = NDArray[np.int8] | NDArray[np.float64]
Energy = Callable[[Weights], NDArray[np.float64]]


def on_grid(g: NDArray[np.float64]) -> NDArray[np.float64]:
    """To multiples of 2^-36, so that sums over units are exact and those that cancel do so in any order."""
    return np.rint(g * 2.0**36) / 2.0**36


ACTIVATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sign": losses.sign,
    "erf": lambda h: special.erf(h / math.sqrt(2)),
    "tanh": np.tanh,
    "relu": lambda h: np.where(h > 0, h, 0.0),
    "linear": lambda h: h,
}

HOMOGENEOUS = ("relu", "linear")
"""Activations with g(c h) = c g(h), c > 0: scaled after the sum over units, which is then exact for integers."""


def views(inputs: NDArray[np.float64], architecture: str, n_hidden: int) -> NDArray[np.float64]:
    """What each unit sees of inputs (P, N): (K, P, fan_in)."""
    tree = architecture.startswith("tree-")
    return np.stack(np.split(inputs, n_hidden, axis=1) if tree else [inputs] * n_hidden)


def energy(
    inputs: ArrayLike,
    labels: ArrayLike,
    loss: str,
    margin: float = 0.0,
    sharpness: float = 1.0,
    architecture: str = "perceptron",
    n_hidden: int = 1,
    activation: str = "sign",
) -> Energy:
    """E of weights (n, n_weights) -> (n,), for inputs (P, N) and labels (P,).

    Weights of an integer type are Ising weights: outputs of units are on their grid, thresholds compared as integers.
    """
    x, y = np.asarray(inputs, dtype=np.float64), np.asarray(labels, dtype=np.float64)[:, None]
    k, units = n_hidden, views(x, architecture, n_hidden)
    fan_in = units.shape[2]
    on_lattice = bool((np.abs(x) == 1).all())

    def of(weights: Weights) -> NDArray[np.float64]:
        ising = np.issubdtype(weights.dtype, np.integer)
        w = weights.reshape(-1, k, fan_in).astype(np.float64)
        field = np.einsum("kpi,nki->kpn", units, w)  # exact for integers
        if architecture == "perceptron":
            integer, terms, f = field[0], fan_in, field[0] / math.sqrt(fan_in)
        elif architecture.endswith("parity"):
            integer, terms, f = losses.sign(field).prod(axis=0), 1, losses.sign(field).prod(axis=0)
        else:
            inside, outside = (1.0, math.sqrt(fan_in)) if activation in HOMOGENEOUS else (math.sqrt(fan_in), 1.0)
            hidden = ACTIVATIONS[activation](field / inside)
            total = (on_grid(hidden) if ising else hidden).sum(axis=0) / outside
            integer, terms, f = total, k, total / math.sqrt(k)
        votes = architecture == "perceptron" or activation == "sign"
        if ising and on_lattice and votes and loss == "error-count" and margin != 0:
            values = y * integer < math.ceil(margin * math.sqrt(terms) - 1e-9)
        elif ising and on_lattice and loss == "symmetric":
            values = np.abs(integer) > math.floor(margin * math.sqrt(terms) + 1e-9)
        else:
            values = losses.LOSSES[loss](f, y, margin, sharpness)
        return values.sum(axis=0, dtype=np.float64)

    return of
