"""Energy and gradient of machines with real weights, by the chain rule. Twin of ext/include/gradients.h."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from mcmc.reference import losses
from mcmc.reference.machines import ACTIVATIONS, views

Values = NDArray[np.float64]
Evaluate = Callable[[Values], tuple[Values, Values]]
"""Weights (n, n_weights) to energies (n,) and gradients (n, n_weights)."""

ACTIVATION_SLOPES: dict[str, Callable[[Values], Values]] = {
    "sign": np.zeros_like,
    "erf": lambda h: math.sqrt(2 / math.pi) * np.exp(-(h**2) / 2),
    "tanh": lambda h: 1 / np.cosh(h) ** 2,
    "relu": lambda h: np.where(h > 0, 1.0, 0.0),
    "linear": np.ones_like,
}
"""g' by name."""

LOSS_SLOPES: dict[str, Callable[[Values, Values, float, float], Values]] = {
    "error-count": lambda f, y, margin, sharpness: np.zeros_like(f),
    "hinge": lambda f, y, margin, sharpness: -y * (y * f < margin),
    "squared-hinge": lambda f, y, margin, sharpness: -y * np.maximum(0.0, margin - y * f),
    "square": lambda f, y, margin, sharpness: f - y,
    "logistic": lambda f, y, margin, sharpness: -y * special.expit(-sharpness * (y * f - margin)),
    "symmetric": lambda f, y, margin, sharpness: np.zeros_like(f),
}
"""Derivative of the loss by the output f, by name; 0 where the loss is a step."""


def evaluate(
    inputs: ArrayLike,
    labels: ArrayLike,
    loss: str,
    margin: float = 0.0,
    sharpness: float = 1.0,
    architecture: str = "perceptron",
    n_hidden: int = 1,
    activation: str = "sign",
    second_layer: bool = False,
) -> Evaluate:
    """The function for inputs (P, N) and labels (P,). With a second layer its weights stand after all others."""
    x, y = np.asarray(inputs, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    units, parity = views(x, architecture, n_hidden), architecture.endswith("parity")
    fan_in, activation = units.shape[2], "linear" if architecture == "perceptron" else activation
    g, g_slope = ACTIVATIONS[activation], ACTIVATION_SLOPES[activation]

    def of(weights: Values) -> tuple[Values, Values]:
        first, v = np.split(weights, [n_hidden * fan_in], axis=1)
        v = v if second_layer else np.ones((len(weights), n_hidden))
        h = np.einsum("kpi,nki->nkp", units, first.reshape(-1, n_hidden, fan_in)) / math.sqrt(fan_in)
        f = losses.sign(h).prod(axis=1) if parity else np.einsum("nk,nkp->np", v, g(h)) / math.sqrt(n_hidden)
        energy = losses.LOSSES[loss](f, y, margin, sharpness).sum(axis=1)
        pull = LOSS_SLOPES[loss](f, y, margin, sharpness)[:, None] / math.sqrt(n_hidden)
        force = np.zeros_like(h) if parity else pull * g_slope(h) * v[:, :, None] / math.sqrt(fan_in)
        gradient = np.einsum("kpi,nkp->nki", units, force).reshape(len(weights), -1)
        if second_layer:
            gradient = np.concatenate([gradient, (pull * g(h)).sum(axis=2)], axis=1)
        return energy, gradient

    return of
