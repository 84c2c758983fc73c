"""Exact results for the Gaussian posterior: a linear machine under the square loss, weights of a Gaussian prior.

With f = G w (G = X / sqrt(N) for a perceptron) and A = beta G^T G + prior_precision, the weights are Gaussian with
mean beta A^-1 G^T y and covariance A^-1. The integrators without an accept step keep the mean and have, as stationary
covariance, functions of A (derived in the methods).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


class GaussianPosterior:
    """The law of w in exp(-beta |y - G w|^2 / 2 - prior_precision |w|^2 / 2).

    outputs: G, (n_patterns, n_weights);  labels: y, (n_patterns,)
    """

    def __init__(self, outputs: ArrayLike, labels: ArrayLike, beta: float, prior_precision: float) -> None:
        self.outputs, self.labels = np.asarray(outputs, np.float64), np.asarray(labels, np.float64)
        self.beta, self.prior_precision = beta, prior_precision
        self.gram = self.outputs.T @ self.outputs
        self.precision = beta * self.gram + prior_precision * np.eye(len(self.gram))  # A
        self.curvatures, self.modes = np.linalg.eigh(self.precision)
        self.mean = beta * np.linalg.solve(self.precision, self.outputs.T @ self.labels)

    @property
    def n_weights(self) -> int:
        return self.mean.size

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Independent weights (n, n_weights)."""
        return self.mean + rng.normal(size=(n, self.n_weights)) / np.sqrt(self.curvatures) @ self.modes.T

    def amplitudes(self, weights: ArrayLike) -> Floats:
        """Deviations from the mean along the modes of A, (..., n_weights): independent, of variance 1/curvature."""
        return (weights - self.mean) @ self.modes

    def energy(self, weights: ArrayLike) -> Floats:
        return ((self.labels - np.asarray(weights) @ self.outputs.T) ** 2).sum(-1) / 2

    # Variances of the amplitudes under ...

    @property
    def exact(self) -> Floats:
        return 1 / self.curvatures

    def euler_maruyama(self, step_size: float) -> Floats:
        """w' = w - h A w + sqrt(2h) xi: v = (1 - h a)^2 v + 2h."""
        return 1 / (self.curvatures * (1 - step_size * self.curvatures / 2))

    def leapfrog(self, step_size: float) -> Floats:
        """New unit momenta before each trajectory: it keeps p^2 + a (1 - eps^2 a / 4) w^2 in each mode."""
        return 1 / (self.curvatures * (1 - step_size**2 * self.curvatures / 4))

    def baoab_momenta(self, step_size: float) -> Floats:
        """Variances of the momenta under BAOAB, whose weights have the exact law at any step size and friction."""
        return 1 - step_size**2 * self.curvatures / 4

    # Energies, for variances of the amplitudes (by default exact)

    def _moments(self, variances: Floats | None) -> tuple[Floats, Floats]:
        """Covariance of the weights, and the gradient of the energy at their mean."""
        variances = self.exact if variances is None else variances
        residual = self.labels - self.outputs @ self.mean
        return self.modes * variances @ self.modes.T, -self.outputs.T @ residual

    def mean_energy(self, variances: Floats | None = None) -> float:
        covariance, _ = self._moments(variances)
        return float(self.energy(self.mean) + np.trace(self.gram @ covariance) / 2)

    def variance_of_energy(self, variances: Floats | None = None) -> float:
        covariance, gradient = self._moments(variances)
        product = self.gram @ covariance
        return float(gradient @ covariance @ gradient + np.trace(product @ product) / 2)

    def log_z(self) -> float:
        """log of the prior average of exp(-beta E)."""
        volume = self.n_weights * np.log(self.prior_precision) - np.log(self.curvatures).sum()
        return float((volume - self.beta * self.labels @ (self.labels - self.outputs @ self.mean)) / 2)

    # Steps

    def mala_acceptance(self, step_size: float) -> float:
        """At equilibrium and large n_weights: 2 Phi(-s/2), s^2 = h^3 Tr(A^3) / 2 (Roberts, Rosenthal 1998)."""
        s = np.sqrt(step_size**3 * (self.curvatures**3).sum() / 2)
        return float(2 * stats.norm.cdf(-s / 2))

    def energy_error(self, step_size: float, n_steps: int) -> tuple[float, float]:
        """Mean and variance of H' - H, H = U + |p|^2 / 2, over n_steps leapfrog steps from equilibrium.

        In a mode of curvature a the trajectory is a rotation by n theta, cos theta = 1 - eps^2 a / 2, of p and of
        w sqrt(a s), s = 1 - eps^2 a / 4. So in the units of equilibrium, p and w sqrt(a), it is a matrix M with
        Tr(M^T M) = 2 + 2 m, det M = 1, and its H' - H has the mean m and the variance 2 m (1 + m).
        """
        squeeze = 1 - step_size**2 * self.curvatures / 4
        angle = n_steps * np.arccos(1 - step_size**2 * self.curvatures / 2)
        m = np.sin(angle) ** 2 * (1 / squeeze + squeeze - 2) / 2
        return float(m.sum()), float((2 * m * (1 + m)).sum())
