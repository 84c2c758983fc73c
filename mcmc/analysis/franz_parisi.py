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
from mcmc.analysis.thermalisation import Verdict, is_trusted, worst
from mcmc.reading import read_fingerprints


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
    verdicts: tuple[Verdict, ...]
    """By overlap, of the run there: the worst of its rungs from the first one to `beta`, along which ln Z is found."""
    free_verdict: Verdict
    """The same of the run without constraint, whose ln Z is part of every V."""

    @property
    def is_trusted(self) -> np.ndarray:
        """Whether both runs of V(q) are neither stuck nor too short on these rungs: bool (overlaps,)."""
        return np.array([is_trusted(each) for each in self.verdicts]) & is_trusted(self.free_verdict)

    @property
    def average(self) -> list[Estimate]:
        """V by overlap, mean over instances."""
        return statistics.averages(self.instances, self.errors)


def potential(free: Results, constrained: Sequence[Results], beta: float) -> Potential:
    """V(q) at `beta`, a rung of every run, from ln Z of a run without constraint and of some at fixed overlaps.

    Of the copies of the first branch of `Results.free_energy`. Raises ValueError where the runs do not belong together:
    other instances, other references, no such rung, an overlap that is there twice. Files and samples that were read
    are compared by the digests in the checkpoints: StorageError if such a run has none.
    """
    if "constraint" in free.config or not constrained:
        raise ValueError("runs: got none without constraint, or no other, expected one without and some with it")
    expected = _task(free)
    reference = _reference(constrained[0])
    found: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    verdicts: dict[float, Verdict] = {}
    for results in constrained:
        if _task(results) != expected:
            raise ValueError(f"{results.path}: expected the seed, model and data of {free.path}")
        if "constraint" not in results.config or _reference(results) != reference:
            raise ValueError(
                f"{results.path}: expected constraint and reference of {constrained[0].path}, another overlap"
            )
        overlap = float(results.dataset["reference_overlap"][(0,) * results.dataset["reference_overlap"].ndim])
        if overlap in found:
            raise ValueError(f"{results.path}: got overlap {overlap:.6g} once more, expected another one")
        found[overlap] = _log_z(results, beta)
        verdicts[overlap] = _verdict(results, beta)
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
        verdicts=tuple(verdicts[q] for q in overlaps),
        free_verdict=_verdict(free, beta),
    )


def _task(results: Results) -> dict[str, Any]:
    """What makes the instances; of a file what was in it, wherever it was."""
    data = {name: value for name, value in results.config["data"].items() if name != "path"}
    if "path" in results.config["data"]:
        data["read"] = _read(results, "fingerprint")
    return {"seed": results.config["seed"], "model": results.config["model"], "data": data}


def _reference(results: Results) -> dict[str, Any]:
    """What makes the references; of those from a file or a run, which may have gone on meanwhile, what was read."""
    constraint = results.config.get("constraint", {})
    found = {name: value for name, value in constraint.items() if name not in ("overlap", "path")}
    if "path" in constraint:
        found["read"] = _read(results, "reference")
    return found


def _read(results: Results, what: str) -> str:
    if results.path is None:
        raise ValueError("runs: got one in memory, expected its directory: the checkpoint there knows what was read")
    return read_fingerprints(results.path)[what]


def _log_z(results: Results, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """ln Z of each instance at a beta, and its thermal error: (instances,)."""
    rung = _rung(results, beta)
    branch = results.free_energy().branches[0]
    return branch.log_z[:, rung], branch.log_z_error[:, rung]


def _verdict(results: Results, beta: float) -> Verdict:
    """The worst one of the rungs up to a beta."""
    rungs = results.summary().rungs[: _rung(results, beta) + 1]
    return worst((rung.verdict, rung.reasons) for rung in rungs)


def _rung(results: Results, beta: float) -> int:
    betas = results.dataset["beta"].to_numpy()
    rung = int(np.argmin(np.abs(betas - beta)))
    if not np.isclose(betas[rung], beta):
        listed = ", ".join(f"{each:.4g}" for each in betas)
        raise ValueError(f"{results.path}: got beta = {beta}, expected one of {listed}")
    return rung
