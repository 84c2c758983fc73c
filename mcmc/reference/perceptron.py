"""The energy of a perceptron, anew from the sums w.x at every call.

Twin of the four families that hold its walkers (bitslice, tabulated, quadratic, fields): they differ in how they get
the energy, not in what it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc.reference import losses

Energy = Callable[[NDArray[np.int8]], NDArray[np.float64]]


def energy(inputs: ArrayLike, labels: ArrayLike, loss: str, margin: float = 0.0, sharpness: float = 1.0) -> Energy:
    """E of weights (n, N) -> (n,), for inputs (P, N) and labels (P,)."""
    x, y = np.asarray(inputs, dtype=np.float64), np.asarray(labels, dtype=np.float64)[:, None]
    n = x.shape[1]
    on_lattice = bool((np.abs(x) == 1).all())

    def of(weights: NDArray[np.int8]) -> NDArray[np.float64]:
        field = x @ weights.T.astype(np.float64)  # (P, n), exact for integers
        if on_lattice and loss == "error-count" and margin != 0:
            values = y * field < math.ceil(margin * math.sqrt(n) - 1e-9)
        elif on_lattice and loss == "symmetric":
            values = np.abs(field) > math.floor(margin * math.sqrt(n) + 1e-9)
        else:
            values = losses.LOSSES[loss](field / math.sqrt(n), y, margin, sharpness)
        return values.sum(axis=0, dtype=np.float64)

    return of
