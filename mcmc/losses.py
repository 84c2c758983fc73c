"""The losses: what a pattern of stability D = y f costs.

The arithmetic, the same bits on every machine, is in ext/include/losses_body.h; here are names and formulas. The square
loss is one of the residual y - f, for any real labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc.kernels import fields

LOSSES: dict[str, str] = {
    "error-count": "1 if D < margin, else 0 (margin 0: 1 if the sign is wrong, with sign(0) = +1)",
    "hinge": "max(0, margin - D)",
    "squared-hinge": "max(0, margin - D)^2 / 2",
    "square": "(y - f)^2 / 2",
    "logistic": "log(1 + exp(-sharpness (D - margin))) / sharpness",
    "symmetric": "1 if |D| > margin, else 0",
}
"""Names and formulas."""

LARGEST = 1e6
"""Of |margin| and sharpness: beyond it nothing but overflow is gained."""


@dataclass(frozen=True)
class Loss:
    """A loss with its parameters. Raises ValueError for an unknown name."""

    name: str
    margin: float = 0.0
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ValueError(f"loss: got {self.name!r}, expected one of {', '.join(LOSSES)}")
        if not abs(self.margin) <= LARGEST or (self.name == "symmetric" and self.margin <= 0):
            raise ValueError(f"margin: got {self.margin}, expected at most {LARGEST:g}, and > 0 for the symmetric loss")
        if not 1 / LARGEST <= self.sharpness <= LARGEST:
            raise ValueError(f"sharpness: got {self.sharpness}, expected {1 / LARGEST:g} to {LARGEST:g}")

    def values(self, output: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
        """Loss of outputs f with labels y (+-1, or real for the square loss): float64, their broadcast shape."""
        return fields.losses(self.name, output, labels, self.margin, self.sharpness)
