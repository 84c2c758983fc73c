"""Exact averages on the sphere |w_k|^2 = fan_in, and over few patterns at any number of weights.

Z is the average of exp(-beta E) over the normalised uniform measure. Each function returns points with their
probabilities, so that any average is a sum; `square_loss` has the averages themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]
Energy = Callable[[Floats], Floats]
"""E of points (n, ...) -> (n,)."""


@dataclass(frozen=True)
class Law:
    """Points with their probabilities before the data, under beta: averages are sums over the points."""

    points: Floats  # (n, ...)
    energy: Floats  # (n,)
    prior: Floats  # (n,), its sum is 1
    beta: float

    @classmethod
    def of(cls, points: Floats, energy: Energy, prior: ArrayLike, beta: float) -> Law:
        prior = np.broadcast_to(prior, len(points))
        energies = np.concatenate([energy(points[k : k + 2**14]) for k in range(0, len(points), 2**14)])
        return cls(points, energies, prior / prior.sum(), beta)

    @property
    def probability(self) -> Floats:
        p = self.prior * np.exp(-self.beta * (self.energy - self.energy.min()))
        return p / p.sum()

    def mean(self, values: Floats) -> Floats:
        """Average of values (n, ...), one of each point."""
        return np.tensordot(self.probability, values, 1)

    def log_z(self) -> float:
        least = self.energy.min()
        return float(np.log(self.prior @ np.exp(-self.beta * (self.energy - least))) - self.beta * least)


def circle(angles: ArrayLike) -> Floats:
    """Weights of two inputs at angles (...): (..., 2)."""
    return math.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


@dataclass(frozen=True)
class Arcs:
    """Two inputs and an energy that jumps where a field passes a threshold and is constant in between.

    starts: (n_arcs,) angles, increasing;  lengths: (n_arcs,), their sum is 2 pi;  energy: (n_arcs,)
    """

    starts: Floats
    lengths: Floats
    energy: Floats
    beta: float

    @classmethod
    def of(cls, inputs: ArrayLike, thresholds: ArrayLike, energy: Energy, beta: float) -> Arcs:
        """inputs: (n_patterns, 2);  thresholds: of the field x.w / sqrt 2 = |x| cos(angle - angle of x)."""
        inputs = np.asarray(inputs, dtype=np.float64)
        ratio = np.asarray(thresholds, dtype=np.float64)[:, None] / np.hypot(*inputs.T)
        crossing = np.arccos(ratio[np.abs(ratio) < 1])
        centre = np.broadcast_to(np.arctan2(inputs[:, 1], inputs[:, 0]), ratio.shape)[np.abs(ratio) < 1]
        starts = np.sort(np.concatenate([centre + crossing, centre - crossing]) % (2 * np.pi))
        lengths = np.append(starts[1:], starts[0] + 2 * np.pi) - starts
        return cls(starts, lengths, energy(circle(starts + lengths / 2)), beta)

    @property
    def probability(self) -> Floats:
        """Of each arc."""
        p = self.lengths * np.exp(-self.beta * self.energy)
        return p / p.sum()

    def mean_energy(self) -> float:
        return float(self.probability @ self.energy)

    def harmonic(self, n: int) -> complex:
        """<exp(i n angle)>, n > 0: its density is constant on each arc."""
        density = self.probability / self.lengths
        ends = np.exp(1j * n * (self.starts + self.lengths)) - np.exp(1j * n * self.starts)
        return complex((density * ends).sum() / (1j * n))

    def log_z(self) -> float:
        return float(np.log(self.lengths @ np.exp(-self.beta * self.energy) / (2 * np.pi)))


def on_circles(energy: Energy, beta: float, n_units: int = 1, n_points: int = 4096) -> Law:
    """Units of two weights, by the trapezoidal rule in each angle: points (n_points^n_units, 2 n_units).

    Smooth losses: to rounding. Jumps in the energy: to some 1/n_points.
    """
    angles = (np.arange(n_points) + 0.5) * (2 * np.pi / n_points)
    grid = np.stack(np.meshgrid(*[angles] * n_units, indexing="ij"), axis=-1).reshape(-1, n_units)
    return Law.of(circle(grid).reshape(len(grid), -1), energy, 1.0, beta)


def on_sphere(energy: Energy, beta: float, n_points: int = 300) -> Law:
    """One unit of three weights: the height along an axis is uniform (Gauss's rule), and so is the angle about it."""
    heights, weights = np.polynomial.legendre.leggauss(n_points)
    angles = (np.arange(n_points) + 0.5) * (2 * np.pi / n_points)
    z, angle = np.repeat(heights, n_points), np.tile(angles, n_points)
    across = np.sqrt(1 - z * z)
    points = math.sqrt(3) * np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=-1)
    return Law.of(points, energy, np.repeat(weights, n_points), beta)


class SquareLoss(NamedTuple):
    """Averages of E = |y - G w|^2 / 2 on |w|^2 = n."""

    log_z: float
    mean_energy: float
    variance_of_energy: float
    mean: Floats  # <w>
    second: Floats  # <w w^T>


def square_loss(outputs: ArrayLike, labels: ArrayLike, beta: float) -> SquareLoss:
    """Averages under exp(-beta |y - G w|^2 / 2), for G (n_patterns, n) and y (n_patterns,), n >= 2.

    The delta function of |w|^2 is an integral of exp(s (n - |w|^2) / 2) over s along the imaginary axis; for each s the
    weights are Gaussian, of precision beta G^T G + s. The contour is bent to a parabola through the saddle on the real
    axis, around the singularities to the left of it, where the trapezoidal rule converges exponentially.
    """
    g, y = np.asarray(outputs, np.float64), np.asarray(labels, np.float64)
    n = g.shape[1]
    values, modes = np.linalg.eigh(g.T @ g)
    source = beta * (modes.T @ (g.T @ y))
    curvature = beta * values

    def slope(s: float) -> float:
        """Twice the derivative of the exponent: n minus |w|^2 at s."""
        return n - (1 / (curvature + s) + (source / (curvature + s)) ** 2).sum()

    edge = -curvature.min()
    size = n + np.abs(source).sum() + np.ptp(curvature)
    saddle = brentq(lambda x: slope(edge + x), 1e-12 * size, 1e3 * size, xtol=1e-14) + edge
    reach = saddle - edge  # s = edge + reach (1 + i t)^2
    second_derivative = (0.5 / (curvature + saddle) ** 2 + source**2 / (curvature + saddle) ** 3).sum()
    step = 1 / math.sqrt(second_derivative) / (2 * reach) / 16
    t = step * np.arange(-800, 801)
    s = edge + reach * (1 + 1j * t) ** 2

    gaussian = curvature + s[:, None]  # (n_s, n)
    exponent = (n * s - np.log(gaussian).sum(1) + (source**2 / gaussian).sum(1) - beta * (y @ y)) / 2
    largest = exponent.real.max()
    weight = np.exp(exponent - largest) * reach * (1 + 1j * t)  # ds = 2 i reach (1 + i t) dt
    total = weight.sum().real
    at = source / gaussian  # mean amplitudes at s
    # E is quadratic in Gaussian amplitudes: its mean and variance at s
    b = modes.T @ (g.T @ y)
    energy = (y @ y) / 2 - at @ b + ((at**2 + 1 / gaussian) @ values) / 2
    pull = at * values - b
    spread = (pull**2 / gaussian).sum(1) + ((values / gaussian) ** 2).sum(1) / 2

    def average(x: NDArray[np.complex128]) -> Floats:
        return np.tensordot(weight, x, 1).real / total

    mean_energy = float(average(energy))
    outer = average(at[:, :, None] * at[:, None, :]) + np.diag(average(1 / gaussian))
    # (2 pi)^(n/2) (1 / 2 pi i) int ds exp(exponent) over the same at beta = 0, 2 pi^(n/2) n^(n/2 - 1) / Gamma(n/2)
    log_integral = math.log(total * step / math.pi) + largest + n / 2 * math.log(2 * math.pi)
    log_sphere = math.log(2) + n / 2 * math.log(math.pi) + (n / 2 - 1) * math.log(n) - math.lgamma(n / 2)
    return SquareLoss(
        log_z=log_integral - log_sphere,
        mean_energy=mean_energy,
        variance_of_energy=float(average(energy**2 + spread)) - mean_energy**2,
        mean=modes @ average(at),
        second=modes @ outer @ modes.T,
    )


def few_patterns(
    outputs: ArrayLike, energy: Energy, beta: float, *, prior_precision: float | None, n_points: int = 61
) -> Law:
    """At most 3 patterns, smooth losses: the fields are the points, (n, n_patterns), and E a function of them.

    outputs: G, the fields are G w;  prior_precision: of Gaussian weights, None: |w|^2 = n.
    In terms of z, fields = L z with L L^T = G G^T, the law of z before the data is standard normal over sqrt of the
    precision, or (1 - |z|^2 / n)^((n - n_patterns - 2) / 2) on the sphere.
    """
    g = np.asarray(outputs, dtype=np.float64)
    n_patterns, n = g.shape
    most = 7.0 / math.sqrt(prior_precision) if prior_precision else min(7.0, math.sqrt(n))
    axis = np.linspace(-most, most, n_points)
    z = np.stack(np.meshgrid(*[axis] * n_patterns, indexing="ij"), axis=-1).reshape(-1, n_patterns)
    square = (z**2).sum(1)
    if prior_precision:
        prior = np.exp(-prior_precision * square / 2)
    else:
        prior = np.maximum(0.0, 1 - square / n) ** ((n - n_patterns - 2) / 2)
    return Law.of(z @ np.linalg.cholesky(g @ g.T).T, energy, prior, beta)


def sign_patterns(outputs: ArrayLike, energy: Energy, beta: float) -> Law:
    """At most 3 patterns, energies of the signs of their fields alone: the points are the signs, (2^P, n_patterns).

    Probabilities of orthants by Sheppard's formula; the same for Gaussian weights and on the sphere.
    """
    g = np.asarray(outputs, dtype=np.float64)
    gram = g @ g.T
    angle = np.arcsin(np.clip(gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal())), -1, 1)) / (2 * np.pi)
    n_patterns = len(g)
    signs = 1.0 - 2.0 * (np.arange(2**n_patterns)[:, None] >> np.arange(n_patterns) & 1)
    pairs = np.triu_indices(n_patterns, 1)
    prior = 2.0**-n_patterns * (1 + 4 * (signs[:, pairs[0]] * signs[:, pairs[1]] * angle[pairs]).sum(1))
    return Law.of(signs, energy, prior, beta)
