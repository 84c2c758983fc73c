"""Replica-symmetric free entropy of the binary perceptron under error-count, N -> infinity, Gaussian inputs.

Of a student of Ising weights at inverse temperature beta whose P = alpha N labels are those of a teacher of Ising
weights, each flipped with probability `noise`; noise = 1/2 is the storage of random labels. At overlap R with the
teacher, and overlap q between two students,

    phi = - R^ R - q^ (1 - q)/2 + int Dz ln 2 cosh(sqrt(q^) z + R^) + 2 alpha int Dz [(1 - noise) H(-x) + noise H(x)] L,
    L = ln[exp(-beta) + (1 - exp(-beta)) H(-sqrt(q) z / sqrt(1 - q))],    x = R z / sqrt(q - R^2),

H being the Gaussian tail; stationary in q, q^ and R^ (Gyorgyi, Phys. Rev. A 41 (1990) 7097; random labels: Krauth and
Mezard, J. Phys. France 50 (1989) 3057).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

_Z = np.linspace(-9.0, 9.0, 901)
_DZ = np.exp(-(_Z**2) / 2) * (_Z[1] - _Z[0]) / np.sqrt(2 * np.pi)
_LARGEST = 1e3  # of q^: q is 1 by then


class Saddle(NamedTuple):
    """A stationary point. phi: <ln Z>/N, counting measure; energy: E/P; entropy: per weight."""

    phi: float
    q: float
    energy: float
    entropy: float


def storage(alpha: float, beta: float) -> Saddle:
    """Of random labels, beta > 0; at infinite beta, below the capacity, the entropy is that of the solutions."""
    return at_overlap(0.0, alpha, beta, noise=0.5)


def at_overlap(overlap: float, alpha: float, beta: float, noise: float = 0.0) -> Saddle:
    """Of all students at an overlap R with the teacher, 0 <= R < 1, whose number is part of phi; beta > 0.

    The one of least q, if there are several. Raises ValueError if there is none, as beyond the capacity.
    """

    def excess(q_hat: float) -> float:
        q, _ = _weights(q_hat, overlap)
        return q_hat - alpha * _patterns(q, overlap, beta, noise)[0]

    low, high = 0.0, 1e-6
    while excess(high) < 0:
        low, high = high, 1.5 * high
        if high > _LARGEST:
            raise ValueError(f"overlap: got {overlap}, expected one with a saddle at alpha = {alpha}, beta = {beta}")
    q_hat = brentq(excess, low, high, xtol=1e-12)
    q, r_hat = _weights(q_hat, overlap)
    _, log_volume, energy = _patterns(q, overlap, beta, noise)
    field = np.sqrt(q_hat) * _Z + r_hat
    phi = -r_hat * overlap - q_hat * (1 - q) / 2 + _DZ @ np.logaddexp(field, -field) + alpha * log_volume
    return Saddle(phi, q, energy, phi if np.isinf(beta) else phi + alpha * beta * energy)


def _weights(q_hat: float, overlap: float) -> tuple[float, float]:
    """q, and the field R^ that gives the overlap."""
    noise = np.sqrt(q_hat) * _Z
    if overlap == 0:
        r_hat = 0.0
    else:
        r_hat = brentq(
            lambda field: _DZ @ np.tanh(noise + field) - overlap, 0.0, 10 * (1 + np.arctanh(overlap) + q_hat)
        )
    return float(_DZ @ np.tanh(noise + r_hat) ** 2), r_hat


def _patterns(q: float, overlap: float, beta: float, noise: float) -> tuple[float, float, float]:
    """Averages over a pattern: of g^2, of L, and of its error, g being the derivative of L by sqrt(q) z."""
    beyond = q - overlap**2  # what students know in common beside the teacher
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.nan_to_num(overlap * _Z / np.sqrt(max(beyond, 0.0)), nan=0.0)
    weight = 2 * _DZ * ((1 - noise) * ndtr(x) + noise * ndtr(-x))
    argument = np.sqrt(q / (1 - q)) * _Z
    right = log_ndtr(argument)
    log_volume = np.logaddexp(-beta, np.log1p(-np.exp(-beta)) + right)
    slope = -np.expm1(-beta) * np.exp(-(argument**2) / 2 - log_volume) / np.sqrt(2 * np.pi * (1 - q))
    errors = np.exp(-beta + log_ndtr(-argument) - log_volume)
    return float(weight @ slope**2), float(weight @ log_volume), float(weight @ errors)
