"""The table [constraint]: with what the weights of each instance keep a fixed overlap, and where that comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc import data
from mcmc.errors import ConfigError
from mcmc.priors import FixedOverlap, attainable, unpack
from mcmc.storage import RunDirectory

if TYPE_CHECKING:
    from mcmc.config import Config
    from mcmc.data import Instance

_BETA_TOLERANCE = 1e-3
"""Relative: constraint.beta may be as it is printed."""


@dataclass(frozen=True)
class Constraint:
    """All weights of a run differ from their reference in n_differ of n_weights.

    given: int8 (n_instances, n_weights) from a file or a run; (1, n_weights) is the reference of every instance; None
        stands for the teachers
    """

    n_weights: int
    n_differ: int
    source: str
    given: NDArray[np.int8] | None

    @property
    def overlap(self) -> float:
        return (self.n_weights - 2 * self.n_differ) / self.n_weights

    def __str__(self) -> str:
        return f"overlap {self.overlap:.6g} with {self.source}: {self.n_differ} of {self.n_weights} weights differ"

    def of(self, number: int, instance: Instance) -> FixedOverlap:
        """The states of an instance that keep the constraint."""
        if self.given is None:
            return FixedOverlap(instance.teacher, self.n_differ)
        return FixedOverlap(self.given[number % len(self.given)], self.n_differ)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what was read, to recognise it when the run is continued; empty for the teachers."""
        return "" if self.given is None else hashlib.sha256(self.given).hexdigest()


def load(
    config: Config, n_weights: int, n_instances: int, data_fingerprint: str, reference: NDArray[np.int8] | None = None
) -> Constraint | None:
    """The constraint of a run file, if there is one.

    data_fingerprint: of the data file, which must be that of the run from which a reference comes
    reference: int8 (n_instances or 1, n_weights), what was read from the file or the run before: it is not read again,
        as that run may have gone on, or have been moved

    Raises:
        ConfigError: what the reference is to be read from is not there or does not fit, or only one state is left.
        StorageError: the checkpoint of the run from which the reference comes is damaged.
    """
    asked = config.constraint
    if asked.reference is None:
        return None
    source, given = f"the {asked.reference}", None
    if asked.reference == "magnetisation":
        source, given = "all weights +1", np.ones((1, n_weights), dtype=np.int8)
    elif asked.reference == "file" and reference is not None:
        source, given = f"{config.constraint_path}", reference
    elif asked.reference == "file":
        source, given = f"{config.constraint_path}", _from_file(config.constraint_path, n_weights, n_instances)
    elif asked.reference == "run" and reference is not None:
        source, given = f"the sample of {config.constraint_path} that the checkpoint holds", reference
    elif asked.reference == "run":
        source, given = _from_run(config, n_weights, n_instances, data_fingerprint)
    n_differ = attainable(asked.overlap, n_weights)
    return Constraint(n_weights, n_differ, source, given)


def _from_file(path: Path, n_weights: int, n_instances: int) -> NDArray[np.int8]:
    """The array `weights` of a .npz file, (n_weights,) or (n_instances, n_weights)."""
    where = f"constraint.path: {path}"
    weights = data.read_reference(path, where)
    shapes = [(n_weights,), (n_instances, n_weights)]
    if weights.shape not in shapes:
        raise ConfigError(f"{where}: array 'weights': got shape {weights.shape}, expected {shapes[0]} or {shapes[1]}")
    if weights.dtype.kind not in "iuf" or not (np.abs(weights) == 1).all():
        raise ConfigError(f"{where}: array 'weights': expected -1 and +1 only")
    return np.atleast_2d(weights).astype(np.int8)


def _from_run(config: Config, n_weights: int, n_instances: int, data_fingerprint: str) -> tuple[str, NDArray[np.int8]]:
    """In words and as weights (n_instances, n_weights): the walkers on a rung in the latest checkpoint of a run."""
    path, copy = config.constraint_path, config.constraint.copy
    where = f"constraint.path: {path}"
    directory = RunDirectory(path)
    text = directory.run_toml()
    checkpoint = None if text is None else directory.read_checkpoint(segments=False)
    if checkpoint is None:
        raise ConfigError(f"{where}: expected the directory of a run with a checkpoint, there is none")
    differences = config.other_disorder(text)
    if not differences and checkpoint.attrs["fingerprint"] != data_fingerprint:
        differences = ["the data file has other contents"]
    if differences:
        raise ConfigError(f"{where}: expected a run with the same disorder: {'; '.join(differences)}")
    sweep, burn_in = checkpoint.attrs["sweep"], checkpoint.attrs["burn_in"]
    if sweep <= burn_in:  # no sample of equilibrium, and under annealing not even of the beta of its rung
        raise ConfigError(
            f"{where}: expected a run beyond its burn-in of {burn_in} sweeps: its latest checkpoint is of sweep {sweep}"
        )
    n_copies, n_rungs = checkpoint.arrays["walker_at"].shape[1:]
    if copy >= n_copies:
        raise ConfigError(f"constraint.copy: got {copy}, expected an integer from 0 to {n_copies - 1}, as {path} has")
    rung = _rung(config.constraint.beta, checkpoint.arrays["beta"])
    walker = copy * n_rungs + checkpoint.arrays["walker_at"][:, copy, rung]
    weights = checkpoint.arrays["weights"].reshape(n_instances, n_copies * n_rungs, -1)[np.arange(n_instances), walker]
    beta = checkpoint.arrays["beta"][rung]
    return f"copy {copy} at beta {beta:.4g} and sweep {sweep} of {path}", unpack(weights, n_weights)


def _rung(beta: float | None, ladder: NDArray[np.float64]) -> int:
    """The rung at an inverse temperature, which may be left out if there is but one."""
    listed = ", ".join(f"{value:.4g}" for value in ladder)
    if beta is None and len(ladder) > 1:
        raise ConfigError(f"constraint.beta: missing, expected one of {listed}")
    if beta is None:
        return 0
    rung = int(np.argmin(np.abs(ladder - beta)))
    if abs(ladder[rung] - beta) > _BETA_TOLERANCE * beta:
        raise ConfigError(f"constraint.beta: got {beta}, expected one of {listed}")
    return rung
