"""Commands of scans: many runs from one file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mcmc.cli.status import no_run, state_of
from mcmc.errors import ConfigError, DivergenceError, StorageError

if TYPE_CHECKING:
    import xarray as xr

    from mcmc.analysis.summary import Summary
    from mcmc.scan import Scan, Task

_EPILOG = """\b
A scan file is a run file with a table of axes:
  [scan]
  "data.alpha" = [0.5, 1.0, 1.5]      # a list; every combination with the other axes is a task
  seed = "0..9"                       # or a range of integers
  [scan.zip]                          # one axis along which several keys vary together
  "model.n_inputs" = [101, 201]
  "schedule.sweeps" = [20000, 40000]
  [[scan.runs]]                       # or one axis of settings, listed one by one
  "sampler.method" = "heat-bath"
"""


@click.command(epilog=_EPILOG)
@click.argument("scan_file", metavar="SCAN.toml", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="Where the runs go, one directory each."
)
@click.option("--list", "as_list", is_flag=True, help="Print the tasks: index, name and state (of those in DIR).")
@click.option("--dry-run", is_flag=True, help="Print predicted time, memory and file sizes, and run nothing.")
@click.option("--task", "index", metavar="I", type=click.IntRange(min=0), help="Run task I alone, for job arrays.")
@click.option(
    "--ranks-per-task",
    metavar="R",
    type=click.IntRange(min=1),
    help="Size of the groups of ranks; default: one rank, or more if there are more ranks than tasks.",
)
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the scan file; repeatable."
)
@click.option("--walltime", metavar="TIME", help='Stop at checkpoints after this time, such as "23:50:00" or "5 min".')
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def scan(
    scan_file: Path,
    output: Path | None,
    as_list: bool,
    dry_run: bool,
    index: int | None,
    ranks_per_task: int | None,
    overrides: tuple[str, ...],
    walltime: str | None,
    quiet: bool,
) -> int:
    """Run all tasks of a scan, or those that are left.

    Complete tasks are skipped, so the same command continues, also with more values on the axes, and several jobs may
    work in one DIR. Under mpirun the ranks share the tasks. Exit code 1: tasks are broken, the others complete; 75:
    stopped early, run the same command again.
    """
    from mcmc import config, engine, farm, forecast, parallel
    from mcmc.scan import Scan

    if output is None and not (dry_run or as_list):
        raise click.UsageError("-o DIR: missing, expected the directory for the results")
    if index is not None and ranks_per_task is not None:
        raise click.UsageError("--ranks-per-task: got it with --task, which is for all ranks")

    def text() -> str:
        if output is not None and output.exists() and not output.is_dir():
            raise ConfigError(f"-o: got {output}, which is a file, expected a directory")
        return config.read(scan_file)

    world = parallel.world()
    with parallel.fail_together(world, ConfigError, StorageError, DivergenceError):
        asked = Scan(world.broadcast(text), overrides, name=str(scan_file), directory=str(scan_file.parent))
        if as_list or dry_run:
            if world.rank == 0:
                click.echo("\n".join(_list(asked, output)) if as_list else forecast.of_scan(asked, world.size))
            return engine.DONE
        seconds = asked.walltime() if walltime is None else config.duration(walltime, "--walltime")
        if index is not None:
            return farm.run_task(asked, output, index, world, seconds, quiet)
        return farm.run(asked, output, world, seconds, quiet, ranks_per_task)


def _list(asked: Scan, output: Path | None) -> Iterator[str]:
    """A line for each task."""
    from mcmc import farm

    asked.check()
    found = [{}] * len(asked.tasks) if output is None else farm.statuses(asked, output)
    for index, (task, status) in enumerate(zip(asked.tasks, found, strict=True)):
        yield f"{index:>5}  {state_of(status, time.time()):<9} {task.name}"


@click.command()
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Of one scan; default: scan.h5 in DIR."
)
def merge(directories: tuple[Path, ...], output: Path | None) -> None:
    """Join a scan to one file with its axes as dimensions; of a single run, its segments to results.h5.

    Series of different lengths are padded: reals with NaN, integers with -1, strings with "". So are tasks that are not
    complete, or whose directory holds another run; they are named. Data and snapshots of the weights stay in the
    results of the tasks.
    """
    from mcmc import farm, merging
    from mcmc.storage import RunDirectory

    if output is not None and len(directories) > 1:
        raise ConfigError(f"-o: got {output} for {len(directories)} directories, expected one directory")
    for directory in directories:
        scan = farm.load(directory)
        if scan is not None:
            path = output or directory / merging.SCAN
            for warning in merging.merge(scan, directory, path):
                click.echo(f"mcmc: warning: {warning}", err=True)
        elif RunDirectory(directory).run_toml() is None:
            raise no_run(directory)
        elif output is not None:
            raise ConfigError(f"-o: got {output}, expected none for a run: its file is results.h5 in {directory}")
        else:
            path = merging.compact(directory)
        click.echo(path)


def plot_scan(scan: Scan, directory: Path, output: Path, file_format: str) -> list[Path]:
    """Writes the pictures of the tasks that are complete; the paths written. Says which other tasks there are."""
    from mcmc import merging
    from mcmc.analysis import plots

    summaries, missing, warnings = {}, [], []
    for task, state in _states(scan, directory):
        if state != "complete":
            missing.append(task.name)
            continue
        summary, problem = _summary(scan, task, directory)
        if summary is None:
            warnings.append(problem)
        else:
            summaries[task.position] = summary
    if not summaries:
        raise StorageError(f"{directory}: no task is complete yet{''.join(f'; {line}' for line in warnings[:1])}")
    for warning in warnings + merging.warnings_of(scan, missing):
        click.echo(f"mcmc: warning: {warning}", err=True)
    return plots.save(plots.scans.figures(_table(scan, summaries)), output, file_format)


def report_scan(scan: Scan, directory: Path, path: Path) -> None:
    """Writes the report of a scan to `path`; a task without results, or with damaged ones, says so there."""
    from mcmc.analysis import plots, report

    tasks, complete = [], {}
    for task, state in _states(scan, directory):
        settings = {scan.labels[key]: str(scan.value(task, key)) for key in scan.keys}
        summary, problem = _summary(scan, task, directory)
        tasks.append(report.Task(settings, task.name, state, summary, "" if state == "new" else problem))
        if state == "complete" and summary is not None:
            complete[task.position] = summary
    pictures = {}
    if complete:
        with suppress(ConfigError):  # of a single point there are none
            pictures = plots.scans.figures(_table(scan, complete))
    report.write_scan(directory, tasks, pictures, scan.text, path)


def _states(scan: Scan, directory: Path) -> Iterator[tuple[Task, str]]:
    """Every task of the scan with its state."""
    from mcmc import farm

    for task, status in zip(scan.tasks, farm.statuses(scan, directory), strict=True):
        yield task, state_of(status, time.time())


def _summary(scan: Scan, task: Task, directory: Path) -> tuple[Summary | None, str]:
    """The summary of a task, or why there is none."""
    from mcmc import analysis

    try:
        results = analysis.load(directory / task.name)
        scan.check_run(task, directory / task.name, results.dataset.attrs["run_toml"])
        return results.summary(), ""
    except (ConfigError, StorageError) as error:
        return None, str(error)


def _table(scan: Scan, summaries: Mapping[tuple[int, ...], Summary]) -> xr.Dataset:
    """The summaries of some tasks, by position, along the axes of the scan."""
    from mcmc import merging
    from mcmc.analysis import scans

    values = {name: (joined.dims[0], joined.values) for name, joined in merging.coordinates(scan).items()}
    return scans.table(merging.dimensions(scan), values, summaries)
