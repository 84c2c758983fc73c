"""Exact results for a linear committee with a sampled second layer under the square loss: integrals over one number.

f = sum_k v_k w_k.x / sqrt(K N) = u.x / sqrt(N), u = (1/sqrt K) sum_k v_k w_k. Let all weights have the prior
N(0, 1/lambda). Given v, u is normal of variance s/lambda, s = |v|^2 / K, and lambda K s is chi^2 of K degrees of
freedom. So the outputs of the patterns are N(0, s C / lambda), C = X X^T / N, and given s everything is Gaussian:
in the direction of an eigenvector of C with eigenvalue c, a = beta s c / lambda and label y, the weight of s has the
factor (1 + a)^(-1/2) exp(-beta y^2 / 2 (1 + a)), and y - f is normal of mean y / (1 + a) and variance
s c / lambda (1 + a).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


class TwoLayers:
    """The law of (w, v) in exp(-beta E - lambda (|w|^2 + |v|^2) / 2).

    inputs: X (n_patterns, n_inputs);  labels: (n_patterns,);  precision: lambda
    """

    def __init__(self, inputs: ArrayLike, labels: ArrayLike, n_hidden: int, beta: float, precision: float) -> None:
        x, y = np.asarray(inputs, np.float64), np.asarray(labels, np.float64)
        self.n_inputs, self.n_hidden, self.precision = x.shape[1], n_hidden, precision
        variances, modes = np.linalg.eigh(x @ x.T / self.n_inputs)
        of_output = np.maximum(variances, 0.0)[:, None] / precision  # per s
        squares = ((modes.T @ y) ** 2)[:, None]
        log_s = np.linspace(-80.0, 12.0, 40001)  # the trapezoidal rule converges faster than any power
        self.s = np.exp(log_s)
        a = 1 + beta * self.s * of_output
        half = n_hidden / 2
        log_prior = half * np.log(precision * half * self.s) - precision * half * self.s - special.gammaln(half)
        log_weight = log_prior - (np.log(a) + beta * squares / a).sum(axis=0) / 2
        weight = np.exp(log_weight - log_weight.max())
        self.weight = weight / weight.sum()
        self.log_z = float(np.log(weight.sum() * (log_s[1] - log_s[0])) + log_weight.max())
        """log of the prior average of exp(-beta E)."""
        mean, variance = squares / a**2, self.s * of_output / a  # of y - f: mean squared, variance
        self._energy = (mean + variance).sum(axis=0) / 2
        self._spread = (variance**2 / 2 + mean * variance).sum(axis=0)

    def average(self, of_s: ArrayLike) -> float:
        """Posterior mean of a function of s, given on the nodes `s`."""
        return float(self.weight @ of_s)

    @property
    def mean_energy(self) -> float:
        return self.average(self._energy)

    @property
    def variance_of_energy(self) -> float:
        return self.average(self._spread + (self._energy - self.mean_energy) ** 2)

    @property
    def second_square(self) -> float:
        """<|v|^2>."""
        return self.n_hidden * self.average(self.s)

    @property
    def second_fourth(self) -> float:
        """<|v|^4>."""
        return self.n_hidden**2 * self.average(self.s**2)

    @property
    def first_square(self) -> float:
        """<|w|^2>, from U under stretches of one layer: lambda <|w_k|^2> - N = lambda <v_k^2> - 1."""
        return self.second_square + self.n_hidden * (self.n_inputs - 1) / self.precision
