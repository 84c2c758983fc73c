"""The command line: thin commands, one line on stderr for everything that is wrong.

Here are the commands of one run; those of scans, and status and verify, which are of both, have files of their own.

Nothing heavy is imported before a command needs it. `mcmc run` is made for many ranks: rank 0 prints.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mcmc._version import __version__
from mcmc.cli.scans import merge, plot_scan, report_scan, scan
from mcmc.cli.slurm import slurm
from mcmc.cli.status import no_run, status
from mcmc.cli.verify import verify
from mcmc.errors import ConfigError, DivergenceError, StorageError

if TYPE_CHECKING:
    from mcmc.samplers.base import Parameter

# Ranks and kernels are the parallelism, threads of numpy's BLAS beside them get in the way. Before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_DONE, _FAILED, _USAGE, _STORAGE, _INTERRUPTED = 0, 1, 2, 3, 130
_SET_HELP = "Override a key of the run file, such as ladder.n_copies=4; repeatable."
_RANK_0_SPEAKS = 1.0  # seconds that the others leave it: launchers end all ranks with the first that fails


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point `mcmc`: runs a command and exits with its code."""
    sys.exit(run_command(argv))


def run_command(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process); returns the exit code."""
    try:
        return mcmc(args=argv, prog_name="mcmc", standalone_mode=False) or _DONE
    except click.ClickException as error:
        return _fail(error.format_message(), _USAGE)
    except ConfigError as error:
        return _fail(str(error), _USAGE)
    except StorageError as error:
        return _fail(str(error), _STORAGE)
    except DivergenceError as error:
        return _fail(str(error), _FAILED)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", _INTERRUPTED)


def _fail(message: str, code: int) -> int:
    """Says what is wrong, once: under a launcher every rank comes here alike."""
    from mcmc import parallel

    if parallel.launcher_rank() == 0:
        print(f"mcmc: error: {' '.join(message.split())}", file=sys.stderr)
    else:
        time.sleep(_RANK_0_SPEAKS)
    return code


class _Group(click.Group):
    """A group whose errors are one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            raise click.UsageError(f"no command given, expected one of {', '.join(self.list_commands(ctx))}")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        commands = self.list_commands(ctx)
        if args[0] not in commands and not args[0].startswith("-"):
            from mcmc.config import suggestion

            raise click.UsageError(
                f"no such command '{args[0]}', expected one of {', '.join(commands)}{suggestion(args[0], commands)}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="mcmc %(version)s")
def mcmc() -> None:
    """Monte Carlo for the statistical mechanics of learning."""


@mcmc.command()
@click.argument("run_file", metavar="RUN.toml", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="Where the results go.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help=_SET_HELP)
@click.option("--dry-run", is_flag=True, help="Print memory, file size and layout, and run nothing.")
@click.option("--walltime", metavar="TIME", help='Stop at a checkpoint after this time, such as "23:50:00" or "5 min".')
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
def run(
    run_file: Path, output: Path | None, overrides: tuple[str, ...], dry_run: bool, walltime: str | None, quiet: bool
) -> int:
    """Run, or continue what is in DIR.

    A finished run says so. Exit code 75: stopped early at a checkpoint; run the same command again.
    """
    from mcmc import config, engine, parallel

    if output is None and not dry_run:
        raise click.UsageError("-o DIR: missing, expected the directory for the results")

    def text() -> str:
        if output is not None and output.exists() and not output.is_dir():
            raise ConfigError(f"-o: got {output}, which is a file, expected a directory")
        return config.read(run_file)

    world = parallel.world()
    with parallel.fail_together(world, ConfigError, StorageError, DivergenceError):
        asked = config.loads(world.broadcast(text), overrides, name=str(run_file), directory=str(run_file.parent))
        seconds = asked.checkpoint.walltime if walltime is None else config.duration(walltime, "--walltime")
        if not dry_run:
            return engine.run(asked, output, world, seconds, quiet)
        if world.rank == 0:
            from mcmc import forecast  # which a run does not need

            click.echo(forecast.of_run(asked, world.size, output))
        return _DONE


@mcmc.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def summary(directory: Path, as_json: bool) -> None:
    """Per rung: means with error bars, autocorrelation, acceptance, exchange, and a verdict."""
    found = _results(directory).summary()
    click.echo(json.dumps(found.to_json_dict(), indent=1, allow_nan=False) if as_json else found.table())


@mcmc.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="Default: plots in DIR.")
@click.option("--format", "file_format", type=click.Choice(["png", "pdf", "svg"]), default="png", show_default=True)
def plot(directory: Path, output: Path | None, file_format: str) -> None:
    """Pictures of a run, or of the runs of a scan that are complete; prints their paths."""
    from mcmc import farm

    if output is not None and output.exists() and not output.is_dir():
        raise ConfigError(f"-o: got {output}, which is a file, expected a directory")
    scan = farm.load(directory)
    if scan is None:
        paths = _results(directory).plot(output, file_format)
    else:
        paths = plot_scan(scan, directory, output or directory / "plots", file_format)
    for path in paths:
        click.echo(path)


@mcmc.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Default: report.html in DIR.")
def report(directory: Path, output: Path | None) -> None:
    """One HTML page of a run: verdict, tables, pictures, run file; of a scan, its tasks. Prints its path.

    The page needs no other file and no network.
    """
    from mcmc import config, farm

    path = directory / "report.html" if output is None else output
    if path.is_dir():
        raise ConfigError(f"-o: got {path}, which is a directory, expected a file")
    if not path.parent.is_dir() and output is not None:
        raise ConfigError(f"-o: got {path}, expected a file in a directory that exists")
    scan = farm.load(directory)
    if scan is not None:
        report_scan(scan, directory, path)
    else:
        results = _results(directory)
        from mcmc.analysis import report

        settings = config.settings(config.loads(results.dataset.attrs["run_toml"]))
        report.write(results, path, settings)
    click.echo(path)


@mcmc.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def new(file: Path | None) -> None:
    """Print a commented run file to start from, or write it to FILE."""
    from mcmc import config

    if file is None:
        click.echo(config.template(), nl=False)
        return
    try:
        with file.open("x") as stream:
            stream.write(config.template())
    except FileExistsError:
        raise ConfigError(f"{file}: exists already, and is not overwritten") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None


@mcmc.command()
def info() -> None:
    """Version, SIMD level, MPI, HDF5, and the models, losses and samplers there are."""
    click.echo(f"{'mcmc':<10} {__version__}")
    click.echo(f"{'python':<10} {platform.python_version()}")
    for name, fact in _FACTS.items():
        try:
            value = fact()
        except (ImportError, OSError, RuntimeError) as error:  # a broken library is a finding, not a failure
            value = f"not available: {' '.join(str(error).split())}"
        click.echo(f"{name:<10} {value}")


def _simd() -> str:
    from mcmc.kernels import cpu

    return f"{cpu.level()} (available: {', '.join(cpu.available())})"


def _mpi() -> str:
    from mcmc import parallel

    return parallel.describe()


def _hdf5() -> str:
    import h5py

    return f"{h5py.version.hdf5_version} (h5py {h5py.version.version})"


def _formulas(formulas: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<14} {formula}" for name, formula in formulas.items()).replace("\n", "\n" + 11 * " ")


def _models() -> str:
    from mcmc.architectures import ARCHITECTURES

    return _formulas(ARCHITECTURES)


def _activations() -> str:
    from mcmc.architectures import ACTIVATIONS

    return _formulas(ACTIVATIONS)


def _losses() -> str:
    from mcmc.losses import LOSSES

    return _formulas(LOSSES)


def _samplers() -> str:
    from mcmc.config import samplers_of
    from mcmc.priors import PRIORS

    return _formulas({name: ", ".join(samplers_of(name)) for name in PRIORS})


def _parameters() -> str:
    """Of samplers of real weights; what several of them take in the same sense is one entry."""
    from mcmc.samplers import CONTINUOUS

    methods: dict[tuple[str, Parameter], list[str]] = {}
    for method, kind in CONTINUOUS.items():
        for key, parameter in kind.parameters.items():
            methods.setdefault((key, parameter), []).append(method)
    entries = [
        f"{key}{'' if parameter.default is None else f' = {parameter.default}'} ({', '.join(of)}): {parameter.meaning}"
        for (key, parameter), of in methods.items()
    ]
    wrapped = (
        textwrap.fill(entry, width=119, initial_indent=11 * " ", subsequent_indent=13 * " ") for entry in entries
    )
    return "\n".join(wrapped).lstrip()


_FACTS: dict[str, Callable[[], str]] = {
    "simd": _simd,
    "mpi": _mpi,
    "hdf5": _hdf5,
    "models": _models,
    "activation": _activations,
    "losses": _losses,
    "samplers": _samplers,
    "parameters": _parameters,
}


def _results(directory: Path) -> Any:
    """The results in a directory, or a line that says why there are none."""
    from mcmc import analysis, config
    from mcmc.storage import RunDirectory

    if RunDirectory(directory).run_toml() is None and not (directory / "results.h5").exists():
        raise no_run(directory)

    results = analysis.load(directory)
    config.check_one_run(directory, results.dataset.attrs["run_toml"])
    return results


for _command in (scan, status, merge, slurm, verify):
    mcmc.add_command(_command)
