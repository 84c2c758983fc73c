"""Monte Carlo for the statistical mechanics of learning.

    results = mcmc.run("run.toml", output="out")    # path or dict; comm= for MPI
    results = mcmc.load("out")                      # also while the run goes on
    results.dataset, results.summary()

The pieces (data, losses, models, samplers, ladder) can be used one by one, without MPI and without files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcmc._version import __version__
from mcmc.errors import ConfigError, DivergenceError, StorageError

if TYPE_CHECKING:
    from mcmc.analysis import Results

__all__ = ["ConfigError", "DivergenceError", "StorageError", "__version__", "load", "run"]


def run(
    source: str | os.PathLike[str] | Mapping[str, Any],
    output: str | os.PathLike[str],
    *,
    comm: Any = None,
    walltime: float | None = None,
    quiet: bool = False,
) -> Results:
    """Run what a run file or a dict of its tables asks for, or continue what is in `output`; see `mcmc run`.

    comm: an mpi4py communicator; every rank calls. Without it the processes of the launcher, or this one alone.
    walltime: seconds after which to stop at a checkpoint. After it, or an interrupt (Ctrl-C), the results are partial
    (`results.dataset.attrs["complete"]` is 0), and the same call continues.
    Raises ConfigError (nothing was created), StorageError (also if it was stopped in pilot runs, where there are no
    results yet), or DivergenceError, the last checkpoint being intact.
    """
    from mcmc import config, engine, parallel

    path = None if isinstance(source, Mapping) else Path(source)
    world = parallel.world(comm)
    with parallel.fail_together(world, ConfigError, StorageError, DivergenceError):
        # what rank 0 asks for holds, so that no rank can fail alone and leave the others waiting
        text = world.broadcast(lambda: config.load(source if path is None else path).text)
        checked = config.loads(text, directory="" if path is None else str(path.parent))
        engine.run(checked, Path(output), world, checked.checkpoint.walltime if walltime is None else walltime, quiet)
    return load(output)


def load(output: str | os.PathLike[str]) -> Results:
    """The results in an output directory, also while the run goes on. Raises StorageError if there are none yet."""
    from mcmc import analysis, config

    results = analysis.load(output)
    config.check_one_run(Path(output), results.dataset.attrs["run_toml"])
    return results
