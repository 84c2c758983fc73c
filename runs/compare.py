"""Prints what runs of the physics-*.toml files measured beside what theory says.

    python runs/compare.py out/teacher-student out/storage ...

A value agrees when it is within three standard errors (sample to sample) plus an allowance: 1/N where theory holds for
N -> infinity, nothing where it is exact at every N.
The exit code is 1 if any does not agree.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import mcmc
from mcmc.analysis import Results
from mcmc.analysis.statistics import average_over_instances

# Replica-symmetric saddle points for Gaussian inputs, N -> infinity. Ising weights: Gyorgyi, Phys. Rev. A 41 (1990)
# 7097 (teacher), Krauth and Mezard, J. Phys. France 50 (1989) 3057 (storage), and for trees of three units Barkai,
# Hansel and Sompolinsky, Phys. Rev. A 45 (1992) 4146; the parity machine has q = 0, as if patterns were independent.
# Spherical weights: Seung, Sompolinsky and Tishby, Phys. Rev. A 45 (1992) 6056 (teacher), Gardner and Derrida,
# J. Phys. A 21 (1988) 271 (storage).
# (architecture, weights, source, loss, alpha) -> beta -> value of q, R, E/P and phi = <ln Z>/N.
REPLICA = {
    ("perceptron", "ising", "teacher", "error-count", 1.0): {
        1.0: {"q": 0.163542, "R": 0.271372, "E/P": 0.216519, "phi": 0.349428},
        2.0: {"q": 0.346825, "R": 0.421161, "E/P": 0.089104, "phi": 0.206008},
    },
    ("perceptron", "ising", "random", "error-count", 1.0): {
        0.5: {"q": 0.035698, "E/P": 0.380168, "phi": 0.473728},
        1.0: {"q": 0.112797, "E/P": 0.282577, "phi": 0.309131},
        2.0: {"q": 0.269648, "E/P": 0.156092, "phi": 0.096293},
    },
    ("perceptron", "ising", "teacher", "logistic", 1.0): {
        1.0: {"q": 0.188055, "R": 0.291662, "E/P": 0.543072, "phi": 0.042964},
    },
    ("perceptron", "spherical", "teacher", "error-count", 1.0): {
        2.0: {"q": 0.318851, "R": 0.384317, "E/P": 0.092807, "phi": -0.491454},
    },
    ("perceptron", "spherical", "random", "error-count", 1.0): {
        1.0: {"q": 0.112129, "E/P": 0.282493, "phi": -0.384002},
    },
    ("perceptron", "spherical", "random", "square", 1.0): {
        1.0: {"q": 0.232408, "E/P": 0.414354, "phi": -0.614282},
    },
    ("tree-committee", "ising", "random", "error-count", 1.0): {
        1.0: {"q": 0.087924, "E/P": 0.276785, "phi": 0.310890},
    },
    ("tree-parity", "ising", "random", "error-count", 0.5): {
        1.0: {"q": 0.0, "E/P": 0.268941, "phi": 0.503204},
    },
}
ESTIMATES = {"q": "overlap", "R": "teacher_overlap", "E/P": "energy_per_pattern"}
PLANTED_SWEEPS = (1, 10, 100)


class Comparison(NamedTuple):
    """A measured value with its standard error, what theory says (if anything), and what theory may be off by."""

    quantity: str
    measured: float
    error: float
    theory: float | None
    allowance: float = 0.0

    @property
    def agrees(self) -> bool:
        return self.theory is None or abs(self.measured - self.theory) <= 3 * self.error + self.allowance

    def __str__(self) -> str:
        theory = f"{'-':>10}" if self.theory is None else f"{self.theory:10.6f}"
        verdict = "" if self.theory is None else "agrees" if self.agrees else "DIFFERS"
        return f"{self.quantity:<26} {self.measured:10.6f} {self.error:9.6f} {theory} {self.allowance:10.6f}  {verdict}"


def comparisons(results: Results) -> list[Comparison]:
    """Everything that is known in theory about a run. Raises ValueError when that is nothing."""
    config = results.config
    data, loss = config["data"], config["model"]["loss"]["name"]
    noise, both = data.get("label_noise", 0.0), config["schedule"].get("start") == "both"
    if noise > 0:
        return list((_posterior_planted if both else _posterior)(results, noise))
    if both and data["alpha"] == 4.0:
        return list(_beyond_the_spinodal(results))
    if loss == "symmetric":
        return list(_symmetric(results, data["alpha"], config["model"]["loss"]["margin"]))
    machine = config["model"].get("architecture", "perceptron"), config["model"].get("weights", "ising")
    values = REPLICA.get((*machine, data["source"], loss, data["alpha"]))
    if values is None:
        raise ValueError("no theory for this run, expected one of the physics-*.toml files")
    return list(_replica(results, values))


def log_partition_functions(results: Results) -> np.ndarray:
    """ln Z of every instance at every rung, (instance, rung). ValueError where no rung leads to beta = 0."""
    found = results.free_energy()
    if not found.is_known:
        raise ValueError("ladder.beta: expected one that begins at 0, where ln Z is known")
    return found.branches[0].log_z


def _replica(results: Results, values: dict[float, dict[str, float]]) -> Iterator[Comparison]:
    n = int(results.dataset.attrs["n_weights"])
    betas = results.dataset["beta"].to_numpy()
    log_z = log_partition_functions(results)
    for beta, quantities in values.items():
        rungs = np.flatnonzero(np.isclose(betas, beta))
        for name, theory in quantities.items() if rungs.size else ():
            if name == "phi":
                mean, error = _average(log_z[:, rungs[0]] / n)
                yield Comparison(f"phi, beta = {beta:g}", mean, error, theory, 1 / n)
            else:
                found = results.summary().rungs[rungs[0]].estimates[ESTIMATES[name]]
                yield Comparison(f"{name}, beta = {beta:g}", found.mean, found.error, theory, 1 / n)


def _symmetric(results: Results, alpha: float, margin: float) -> Iterator[Comparison]:
    """Against the annealed average, which the typical value equals to leading order."""
    n = int(results.dataset.attrs["n_weights"])
    inside = math.erf(margin / math.sqrt(2))
    log_z = log_partition_functions(results)
    for rung, found in enumerate(results.summary().rungs):
        if found.beta not in (1.0, 2.0, 3.0):
            continue
        weight = inside + (1 - inside) * math.exp(-found.beta)
        annealed = math.log(2) + alpha * math.log(weight)
        energy = found.estimates["energy_per_pattern"]
        at = f"beta = {found.beta:g}"
        yield Comparison(f"E/P, {at}", energy.mean, energy.error, (1 - inside) * math.exp(-found.beta) / weight, 1 / n)
        yield Comparison(f"phi, {at}", *_average(log_z[:, rung] / n), annealed, 1 / n)
        yield Comparison(f"<Z>/E Z, {at}", *_average(np.exp(log_z[:, rung] - n * annealed)), 1.0)


def _posterior(results: Results, noise: float) -> Iterator[Comparison]:
    """The Nishimori identities at beta = ln((1 - noise)/noise): exact at every N."""
    found = results.equilibrium().isel(rung=_nishimori_rung(results, noise))
    per_pattern = found["energy"].mean(("sample", "copy")).to_numpy() / found.attrs["n_patterns"]
    q, r = (found[name].mean("sample") for name in ("overlap", "teacher_overlap"))
    yield Comparison("E/P", *_average(per_pattern), noise)
    yield Comparison("R - q", *_average(r.mean("copy").to_numpy() - q.mean("pair").to_numpy()), 0.0)
    square = (found["teacher_overlap"] ** 2).mean(("sample", "copy")) - (found["overlap"] ** 2).mean(("sample", "pair"))
    yield Comparison("R^2 - q^2", *_average(square.to_numpy()), 0.0)


def _posterior_planted(results: Results, noise: float) -> Iterator[Comparison]:
    """The same from sweep 1 on: copy 1 starts at the teacher, copy 0 anywhere."""
    found = results.dataset.isel(rung=_nishimori_rung(results, noise))
    for sweep in PLANTED_SWEEPS:
        row = found.isel(sample=int(np.flatnonzero(found["sweep"].to_numpy() == sweep)[0]))
        per_pattern = row["energy"].isel(copy=1).to_numpy() / found.attrs["n_patterns"]
        yield Comparison(f"E/P planted, sweep {sweep}", *_average(per_pattern), noise)
        difference = row["overlap"].isel(pair=0).to_numpy() - row["teacher_overlap"].isel(copy=0).to_numpy()
        yield Comparison(f"q - R, sweep {sweep}", *_average(difference), 0.0)


def _beyond_the_spinodal(results: Results) -> Iterator[Comparison]:
    """Copy 1, planted, never moves; copy 0 arrives at the teacher, sooner or later."""
    found = results.dataset.isel(rung=0).transpose("copy", "sample", "instance", ...)
    overlap = found["teacher_overlap"].to_numpy()
    yield Comparison("E planted, largest", float(found["energy"].isel(copy=1).max()), 0.0, 0.0)
    yield Comparison("R planted, smallest", float(overlap[1].min()), 0.0, 1.0)
    for sweep in (3000, int(found["sweep"][-1])):
        arrived = np.mean(overlap[0, np.flatnonzero(found["sweep"].to_numpy() == sweep)[0]] == 1)
        error = math.sqrt(arrived * (1 - arrived) / overlap.shape[2])
        yield Comparison(f"arrived, sweep {sweep}", float(arrived), error, None)


def _nishimori_rung(results: Results, noise: float) -> int:
    return int(np.flatnonzero(np.isclose(results.dataset["beta"], math.log((1 - noise) / noise)))[0])


def _average(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of one value per instance."""
    found = average_over_instances(values, np.zeros(len(values)))
    return found.mean, found.error


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python runs/compare.py DIR...")
    agree = True
    for directory in sys.argv[1:]:
        results = mcmc.load(directory)
        print(f"{directory} (verdict: {results.summary().verdict})")
        print(f"  {'quantity':<26} {'measured':>10} {'error':>9} {'theory':>10} {'allowance':>10}")
        for found in comparisons(results):
            print(f"  {found}")
            agree &= found.agrees
    sys.exit(not agree)


if __name__ == "__main__":
    main()
