"""`mcmc verify`: a run once more, compared byte for byte; of a scan, every complete task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcmc.cli.status import no_run
from mcmc.errors import ConfigError, DivergenceError, StorageError

if TYPE_CHECKING:
    from mcmc.scan import Scan, Task

_DIFFERENT = 3


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--fraction", metavar="F", type=float, help="Replay the first F of the sweeps, 0 < F <= 1, and compare rows only."
)
@click.option("--from-checkpoint", is_flag=True, help="Replay from the checkpoint before the last alone.")
@click.option(
    "--relative-to",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where relative paths of the run file start; default: where it was when it ran.",
)
@click.option("--quiet", is_flag=True, help="No progress, and nothing but what differs.")
def verify(
    directory: Path, fraction: float | None, from_checkpoint: bool, relative_to: Path | None, quiet: bool
) -> int:
    """Replay a run on this process and compare every dataset byte for byte; of a scan, every complete task.

    Of a run that is not complete, what its checkpoint has committed. The replay goes to a temporary directory (TMPDIR),
    which may need as much space as the run. With --fraction below 1 neither data nor constants, such as the
    magnetisation, nor the checkpoint are compared.

    Exit code 3: different (the first difference is named), or damaged, or a task of a scan cannot be replayed; of a
    run 1: the replay diverges, 2: it cannot be made, because data files are missing, for example.
    """
    from mcmc import farm
    from mcmc.storage import RunDirectory

    if fraction is not None and not 0 < fraction <= 1:
        raise ConfigError(f"--fraction: got {fraction}, expected a number > 0 and <= 1")
    if fraction is not None and from_checkpoint:
        raise click.UsageError("--fraction: got it with --from-checkpoint, expected one of them")

    def compare(run: Path) -> int:
        return _verify(run, 1.0 if fraction is None else fraction, from_checkpoint, relative_to, quiet)

    scan = farm.load(directory)
    if scan is None:
        files = RunDirectory(directory)
        if files.run_toml() is None and not files.has_rows():
            raise no_run(directory)
        return compare(directory)
    found = zip(scan.tasks, farm.statuses(scan, directory), strict=True)
    complete = [task for task, status in found if status.get("state") == "complete"]
    if not complete:
        raise StorageError(f"{directory}: no task is complete yet: nothing to compare a replay with")
    broken = sum(_verify_task(scan, task, directory / task.name, compare) for task in complete)
    counts = f"{len(complete)} of {len(scan.tasks)} tasks are complete: {len(complete) - broken} verified"
    if broken or not quiet:
        click.echo(f"{directory}: {counts}, {broken} not")
    return _DIFFERENT if broken else 0


def _verify(directory: Path, fraction: float, from_checkpoint: bool, relative_to: Path | None, quiet: bool) -> int:
    """The exit code, after a line."""
    from mcmc import verify as verifying

    report = verifying.verify(directory, fraction, from_checkpoint, relative_to, quiet)
    if report.differences:
        click.echo(f"mcmc: error: {directory}: {report}", err=True)
        return _DIFFERENT
    if not quiet:
        click.echo(f"{directory}: {report}")
    return 0


def _verify_task(scan: Scan, task: Task, directory: Path, compare: Callable[[Path], int]) -> bool:
    """Whether a task of a scan differs, or cannot be replayed; the others go on."""
    from mcmc.storage import RunDirectory

    try:
        scan.check_run(task, directory, RunDirectory(directory).run_toml() or "")
        return compare(directory) != 0
    except (ConfigError, StorageError, DivergenceError) as error:
        click.echo(f"mcmc: error: {' '.join(str(error).split())}", err=True)
        return True
