"""Hybrid Monte Carlo in a dozen lines of numpy, with faults to order: what the tests of the samplers must notice.

Weights are Gaussian, or on the sphere |w_k|^2 = fan_in of each unit, where momenta are tangent and trajectories follow
geodesics. One step per trajectory is MALA, of step size eps^2 / 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """U = beta E (+ prior_precision |w|^2 / 2; None: on the sphere).

    evaluate: weights (n, n_weights) -> energy (n,), gradient (n, n_weights)
    """

    evaluate: Callable[[Floats], tuple[Floats, Floats]]
    beta: float
    prior_precision: float | None = 1.0
    n_units: int = 1

    def potential(self, weights: Floats) -> tuple[Floats, Floats]:
        """U and its gradient."""
        energy, gradient = self.evaluate(weights)
        precision = self.prior_precision or 0.0
        return self.beta * energy + precision * (weights**2).sum(1) / 2, self.beta * gradient + precision * weights

    def tangent(self, weights: Floats, vectors: Floats) -> Floats:
        if self.prior_precision is not None:
            return vectors
        w, v = (a.reshape(len(a), self.n_units, -1) for a in (weights, vectors))
        return (v - w * ((w * v).sum(2) / (w * w).sum(2))[..., None]).reshape(vectors.shape)

    def drift(self, weights: Floats, momenta: Floats, time: float) -> tuple[Floats, Floats]:
        """Free motion for some time: positions and momenta."""
        if self.prior_precision is not None:
            return weights + time * momenta, momenta
        w, p = (a.reshape(len(a), self.n_units, -1) for a in (weights, momenta))
        radius, speed = np.sqrt(w.shape[2]), np.maximum(np.sqrt((p**2).sum(2)), 1e-300)[..., None]
        c, s = np.cos(speed * time / radius), np.sin(speed * time / radius)
        return (w * c + p / speed * radius * s).reshape(weights.shape), (p * c - w / radius * speed * s).reshape(
            weights.shape
        )


@dataclass(frozen=True)
class Fault:
    """noise: factor of the momenta drawn;  accepts: False leaves the decision out;  gradient: factor of the forces"""

    noise: float = 1.0
    accepts: bool = True
    gradient: float = 1.0


NONE = Fault()


def trajectory(target: Target, weights: Floats, momenta: Floats, step_size: float, n_steps: int, fault: Fault = NONE):
    """Leapfrog: weights, momenta and H' - H at the end."""

    def kick(w: Floats, p: Floats, time: float) -> tuple[Floats, Floats]:
        potential, gradient = target.potential(w)
        return potential, p - time * fault.gradient * target.tangent(w, gradient)

    start, p = kick(weights, momenta, step_size / 2)
    w = weights
    for step in range(n_steps):
        w, p = target.drift(w, p, step_size)
        end, p = kick(w, p, step_size if step < n_steps - 1 else step_size / 2)
    return w, p, end - start + ((p**2).sum(1) - (momenta**2).sum(1)) / 2


def hmc(
    target: Target,
    weights: Floats,
    step_size: float,
    n_steps: int,
    sweeps: int,
    rng: np.random.Generator,
    fault: Fault = NONE,
) -> Floats:
    """Weights after each sweep, (sweeps, n, n_weights); trajectories of 1 .. 2 n_steps - 1 steps."""
    rows = []
    for _ in range(sweeps):
        momenta = target.tangent(weights, fault.noise * rng.normal(size=weights.shape))
        length = int(rng.integers(1, 2 * n_steps))
        proposed, _, error = trajectory(target, weights, momenta, step_size, length, fault)
        accepted = (rng.random(len(weights)) < np.exp(np.minimum(0.0, -error))) | (not fault.accepts)
        weights = np.where(accepted[:, None], proposed, weights)
        rows.append(weights)
    return np.array(rows)
