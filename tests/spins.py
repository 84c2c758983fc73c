"""Ladders of independent spins, as in results.h5: energies with a known law, density of states and log Z.

E of n spins is the number of those that point down: binomial on every rung, g(E) = C(n, E), Z = (1 + exp(-beta))^n.
Walkers are AR(1) in time; their ranks in the law of the rung on which they sit are the energies, so that exchange, at
random, carries the correlations from rung to rung.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats
from scipy.special import gammaln

from synthetic import RUN_TOML, ar1


def log_z(beta: np.ndarray, n: int) -> np.ndarray:
    return n * np.log1p(np.exp(-np.asarray(beta)))


def mean_energy(beta: np.ndarray, n: int) -> np.ndarray:
    return n / (1 + np.exp(np.asarray(beta)))


def entropy(beta: np.ndarray, n: int) -> np.ndarray:
    """Per spin."""
    return (log_z(beta, n) + beta * mean_energy(beta, n)) / n


def log_states(energy: np.ndarray, n: int) -> np.ndarray:
    return gammaln(n + 1) - gammaln(energy + 1) - gammaln(n - energy + 1)


def spins(
    rng: np.random.Generator,
    beta: np.ndarray,
    n: int = 50,
    n_instances: int = 1,
    n_copies: int = 2,
    n_rows: int = 1000,
    phi: float = 0.8,
    exchange: float = 0.0,
    noise: float = 0.0,
    source: str = "random",
) -> xr.Dataset:
    """exchange: chance of a swap of neighbours and row; noise: sd of a normal variate added, for energies that are not
    whole: log Z grows by (beta noise)^2 / 2."""
    n_rungs = len(beta)
    ranks = ar1(rng, phi, (n_instances, n_copies, n_rungs, n_rows))
    if exchange:
        ranks = np.take_along_axis(ranks, _walkers(rng, ranks.shape, exchange), axis=2)
    ranks = stats.norm.cdf(ranks)
    energy = np.empty(ranks.shape)
    for r, each in enumerate(beta):
        law = stats.binom.cdf(np.arange(n), n, 1 / (1 + np.exp(each)))
        energy[:, :, r] = np.searchsorted(law, ranks[:, :, r])
    if noise:
        shift = -np.asarray(beta)[:, None] * noise**2
        energy += shift + noise * ar1(rng, phi, energy.shape)
    variables = {
        "energy": (("instance", "sample", "copy", "rung"), energy.transpose(0, 3, 1, 2)),
        "start": (("copy",), ["random"] * n_copies),
    }
    toml = RUN_TOML.format(architecture="perceptron", n_inputs=n, units="", source=source, inputs="binary")
    attributes = {"run_toml": toml, "burn_in": 0, "n_weights": n, "n_patterns": n, "complete": 1}
    coordinates = {"beta": ("rung", np.asarray(beta, dtype=float)), "sweep": ("sample", np.arange(1, n_rows + 1))}
    return xr.Dataset(variables, coordinates, attributes)


def _walkers(rng: np.random.Generator, shape: tuple[int, ...], rate: float) -> np.ndarray:
    """Which walker sits on each rung: (instances, copies, rungs, rows)."""
    n_instances, n_copies, n_rungs, n_rows = shape
    now = np.broadcast_to(np.arange(n_rungs), shape[:-1]).copy()
    history = np.empty(shape, dtype=int)
    for row in range(n_rows):
        for low in range(row % 2, n_rungs - 1, 2):
            swap = rng.random((n_instances, n_copies, 1)) < rate
            pair = now[..., low : low + 2]
            now[..., low : low + 2] = np.where(swap, pair[..., ::-1], pair)
        history[..., row] = now
    return history
