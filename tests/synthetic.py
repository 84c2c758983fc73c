"""Datasets as in results.h5 with known means and autocorrelation times, for the tests of the analysis."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import xarray as xr
from scipy.signal import lfilter

from mcmc.schema import VARIABLES

RUN_TOML = """
seed = 1
[model]
architecture = "{architecture}"
n_inputs = {n_inputs}
{units}
[model.loss]
name = "error-count"
[data]
source = "{source}"
inputs = "{inputs}"
alpha = 1.0
[ladder]
beta = [1.0]
[schedule]
sweeps = 1000
"""


def ar1(rng: np.random.Generator, phi: float, shape: tuple[int, ...]) -> np.ndarray:
    """Stationary AR(1) series along the last axis: mean 0, variance 1, tau = (1 + phi) / (1 - phi)."""
    noise = rng.normal(size=shape) * np.sqrt(1 - phi**2)
    noise[..., 0] /= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=-1)


def synthetic(
    seed: int = 0,
    n_instances: int = 1,
    n_copies: int = 2,
    beta: tuple[float, ...] = (0.5, 1.0, 1.5),
    n_samples: int = 1000,
    phi: float = 0.5,
    disorder: float = 0.0,
    source: str = "teacher",
    inputs: str = "binary",
    burn_in: int = 1000,
    measure_every: int = 10,
    n_weights: int = 101,
    architecture: str = "perceptron",
    n_hidden: int = 1,
) -> xr.Dataset:
    """Energies 30 - 10 beta + disorder + 3 AR(1), R near 0.3, q near 0.2; `n_samples` rows follow the burn-in.

    Units of a fully connected machine: k near 0.5 from unit k + 1 of the teacher or of the other copy, near 0.1 from
    the others; of a tree: near 0.3 from their like. The rows of the burn-in are far off, so that an analysis that
    takes them in fails.
    """
    rng = np.random.default_rng(seed)
    n_burn = burn_in // measure_every
    rows, rungs, fan_in = n_burn + n_samples, len(beta), n_weights // n_hidden
    n_pairs = len(list(combinations(range(n_copies), 2)))

    def series(n_chains: int, mean: np.ndarray | float, sd: float, *last: int) -> np.ndarray:
        x = mean + sd * np.moveaxis(ar1(rng, phi, (n_instances, n_chains, rungs, *last, rows)), -1, 1)
        x[:, :n_burn] += 20 * sd
        return x

    def units(n_chains: int) -> np.ndarray:
        if architecture.startswith("tree"):
            return on_lattice(series(n_chains, 0.3, 0.05, n_hidden), fan_in)
        mean = 0.1 + 0.4 * np.roll(np.eye(n_hidden), 1, axis=1)
        return on_lattice(series(n_chains, mean, 0.05, n_hidden, n_hidden), fan_in)

    shift = disorder * rng.normal(size=(n_instances, 1, 1, 1))
    data = {
        "energy": series(n_copies, 30 - 10 * np.array(beta) + shift, 3.0),
        "acceptance": np.full((n_instances, rows, n_copies, rungs), 0.25),
        "walker": _walkers(rng, n_instances, rows, n_copies, rungs),
        "magnetisation": np.zeros((n_instances, n_copies, rungs, n_weights)),
    }
    if n_copies > 1:
        data["overlap"] = series(n_pairs, 0.2, 0.05)
    if source == "teacher":
        data["teacher_overlap"] = on_lattice(series(n_copies, 0.3, 0.05), n_weights)
    if architecture != "perceptron":
        if n_copies > 1:
            data["hidden_overlap"] = units(n_pairs)
        if source == "teacher":
            data["hidden_teacher_overlap"] = units(n_copies)
    if rungs > 1:
        data["exchange_proposed"] = np.full((n_instances, n_copies, rungs - 1), 1000)
        data["exchange_accepted"] = rng.binomial(1000, 0.4, size=(n_instances, n_copies, rungs - 1))
    variables = {
        name: (
            VARIABLES[name].dims_of(values.ndim),
            values.astype(VARIABLES[name].dtype),
            {"units": VARIABLES[name].units},
        )
        for name, values in data.items()
    }
    variables["start"] = (("copy",), ["random"] * n_copies)
    coordinates = {"beta": ("rung", np.array(beta)), "sweep": ("sample", measure_every * np.arange(1, rows + 1))}
    attributes = {
        "format_version": 1,
        "seed": seed,
        "run_toml": RUN_TOML.format(
            architecture=architecture,
            n_inputs=n_weights if architecture.startswith("tree") else fan_in,
            units="" if architecture == "perceptron" else f"n_hidden = {n_hidden}",
            source=source,
            inputs=inputs,
        ),
        "burn_in": burn_in,
        "n_weights": n_weights,
        "n_patterns": n_weights,
        "complete": 1,
    }
    return xr.Dataset(variables, coordinates, attributes)


def on_lattice(overlap: np.ndarray, n: int) -> np.ndarray:
    """The nearest overlaps of n Ising weights."""
    return (2 * np.clip(np.rint(n * (1 + overlap) / 2), 0, n) - n) / n


def _walkers(rng: np.random.Generator, n_instances: int, rows: int, n_copies: int, rungs: int) -> np.ndarray:
    """Walkers exchanged at random between neighbours, even and odd pairs in turn: (instance, row, copy, rung)."""
    now = np.broadcast_to(np.arange(rungs), (n_instances, n_copies, rungs)).copy()
    history = np.empty((n_instances, rows, n_copies, rungs), dtype=np.int32)
    for row in range(rows):
        for low in range(row % 2, rungs - 1, 2):
            swap = rng.random((n_instances, n_copies)) < 0.4
            pair = now[..., low : low + 2]
            now[..., low : low + 2] = np.where(swap[..., None], pair[..., ::-1], pair)
        history[:, row] = now
    return history
