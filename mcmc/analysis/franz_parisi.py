"""The Franz-Parisi potential: what it costs in free energy to keep an overlap q with a reference w0,

    V(q) = -(1/n) [ln sum over w at overlap q with w0 of exp(-beta E(w)) - ln Z(beta)]

(Franz and Parisi, J. Phys. I France 5, 1401, 1995), from runs at fixed overlaps and one without constraint, all with
ladders that begin where log Z is known: at beta = 0, where states are counted. w0 may be in equilibrium at another
temperature than beta; that it is must be known from elsewhere. exp(-n V(q)) is the probability of the overlap q in the
Gibbs measure: V is never negative, and over all attainable overlaps the probabilities add up to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcmc.analysis import statistics
from mcmc.analysis.results import Results
from mcmc.analysis.statistics import Estimate


@dataclass(frozen=True)
class Potential:
    """V(q) at one beta, overlaps increasing."""

    beta: float
    n_weights: int
    overlap: np.ndarray
    """The attainable ones that were sampled: (overlaps,)."""
    instances: np.ndarray
    """V of each instance, that is of each reference: (instances, overlaps). NaN where log Z is not known."""
    errors: np.ndarray
    """Thermal standard errors of `instances`; those of one instance have that of ln Z(beta) in common."""
    log_z: np.ndarray
    """ln Z(beta) of each instance without the constraint: (instances,)."""

    @property
    def average(self) -> list[Estimate]:
        """V by overlap, mean over instances."""
        return statistics.averages(self.instances, self.errors)


def potential(free: Results, constrained: Sequence[Results], beta: float) -> Potential:
    """V(q) at `beta`, a rung of every run, from ln Z of a run without constraint and of some at fixed overlaps.

    Of the copies of the first branch of `Results.free_energy`. Raises ValueError where the runs do not belong together:
    other instances, other references (as the run files name them), no such rung, an overlap that is there twice.
    """
    if "constraint" in free.config or not constrained:
        raise ValueError("runs: got none without constraint, or no other, expected one without and some with it")
    expected = _task(free)
    reference = _reference(constrained[0])
    found: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    for results in constrained:
        if _task(results) != expected:
            raise ValueError(f"{results.path}: expected the seed, model and data of {free.path}")
        if "constraint" not in results.config or _reference(results) != reference:
            raise ValueError(f"{results.path}: expected the constraint of {constrained[0].path}, at another overlap")
        overlap = float(results.dataset["reference_overlap"][(0,) * results.dataset["reference_overlap"].ndim])
        if overlap in found:
            raise ValueError(f"{results.path}: got overlap {overlap:.6g} once more, expected another one")
        found[overlap] = _log_z(results, beta)
    overlaps = np.array(sorted(found))
    at_overlap, errors = (np.stack([found[q][part] for q in overlaps], axis=1) for part in (0, 1))
    log_z, error = _log_z(free, beta)
    n = int(free.dataset.attrs["n_weights"])
    return Potential(
        beta=beta,
        n_weights=n,
        overlap=overlaps,
        instances=(log_z[:, None] - at_overlap) / n,
        errors=np.hypot(error[:, None], errors) / n,
        log_z=log_z,
    )


def _task(results: Results) -> dict[str, Any]:
    """What makes the instances; a file may be reached by several paths."""
    data = {name: value for name, value in results.config["data"].items() if name != "path"}
    return {"seed": results.config["seed"], "model": results.config["model"], "data": data}


def _reference(results: Results) -> dict[str, Any]:
    return {name: value for name, value in results.config.get("constraint", {}).items() if name != "overlap"}


def _log_z(results: Results, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """ln Z of each instance at a beta, and its thermal error: (instances,)."""
    betas = results.dataset["beta"].to_numpy()
    rung = int(np.argmin(np.abs(betas - beta)))
    if not np.isclose(betas[rung], beta):
        listed = ", ".join(f"{each:.4g}" for each in betas)
        raise ValueError(f"{results.path}: got beta = {beta}, expected one of {listed}")
    branch = results.free_energy().branches[0]
    return branch.log_z[:, rung], branch.log_z_error[:, rung]
