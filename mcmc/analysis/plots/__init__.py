"""The pictures of a run, one file for each kind: what `mcmc plot` draws and `mcmc report` shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from mcmc import sealed
from mcmc.analysis.plots import scans
from mcmc.analysis.plots.distributions import energies, overlaps, stabilities
from mcmc.analysis.plots.free_energies import density_of_states, free_energy
from mcmc.analysis.plots.ladder import ladder
from mcmc.analysis.plots.observables import overview
from mcmc.analysis.plots.series import traces, two_time
from mcmc.analysis.plots.style import BETA, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, STYLE
from mcmc.analysis.plots.thermalisation import thermalisation
from mcmc.analysis.results import Results
from mcmc.errors import ConfigError

__all__ = [
    "BETA",
    "BLUE",
    "FORMATS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PICTURES",
    "PURPLE",
    "RED",
    "SKY",
    "STYLE",
    "Picture",
    "density_of_states",
    "drawn",
    "energies",
    "figures",
    "free_energy",
    "ladder",
    "overlaps",
    "overview",
    "plot",
    "save",
    "scans",
    "stabilities",
    "thermalisation",
    "traces",
    "two_time",
]

FORMATS = ("png", "pdf", "svg")


class Picture(NamedTuple):
    """A kind of picture."""

    draw: Callable[[Results], Figure | None]
    """None for a run that has no data for it."""
    caption: str
    """One sentence."""


PICTURES = {
    "overview": Picture(
        overview, "Energy, overlaps, generalisation error and heat capacity against inverse temperature."
    ),
    "thermalisation": Picture(
        thermalisation,
        "Means over doubling times, which agree at the end of an equilibrated run (from both starts, if there are), "
        "and effective samples, round trips and the verdict of every rung.",
    ),
    "overlaps": Picture(
        overlaps, "Laws of the overlap of two copies and of that with the teacher, on a few rungs and on all."
    ),
    "free_energy": Picture(
        free_energy,
        "Free energy and entropy on the rungs, with bounds; between the rungs these and the heat capacity, reweighted.",
    ),
    "density_of_states": Picture(
        density_of_states, "Microcanonical entropy against energy, with the lowest energy that was seen."
    ),
    "energies": Picture(
        energies, "Histograms of the energy on all rungs, and how much those of neighbours have in common."
    ),
    "ladder": Picture(
        ladder,
        "Exchange along the ladder: rejections against equal shares, local barrier, flow, acceptance of moves, round "
        "trips, mixing matrix, and the walkers on all rungs against time.",
    ),
    "stabilities": Picture(stabilities, "Law of the stabilities of the patterns on a few rungs."),
    "traces": Picture(traces, "Energy and overlap against time on a few rungs."),
    "two_time": Picture(two_time, "Two-time correlations, a curve for each waiting time: ageing, where they differ."),
}
"""By name of the file, in the order in which they are shown."""


def figures(results: Results) -> dict[str, tuple[Figure, str]]:
    """The pictures that a run has data for: name -> figure and a caption of one sentence, in the order to show them.

    A figure can be saved as it is, in any format of matplotlib. Raises ConfigError without samples after the burn-in.
    """
    found = ((name, picture.draw(results), picture.caption) for name, picture in PICTURES.items())
    return {name: (figure, caption) for name, figure, caption in found if figure is not None}


def plot(results: Results, directory: str | PathLike[str] | None = None, format: str = "png") -> list[Path]:
    """Write all `figures`, one file each; the paths written.

    format: one of FORMATS

    `directory` is made if need be; default: `plots` in the run's own. Raises ConfigError without samples after the
    burn-in, for another format, if `directory` is a file, and for results in memory without one; StorageError if the
    disk fails.
    """
    if format not in FORMATS:
        raise ConfigError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    if directory is None:
        if results.path is None:
            raise ConfigError("directory: missing, expected a directory for the pictures of results in memory")
        directory = results.path / "plots"
    return save(figures(results), Path(directory), format)


def save(found: Mapping[str, tuple[Figure, str]], directory: Path, format: str = "png") -> list[Path]:
    """Write figures, those of `figures` or of `scans.figures`, one file each, whole or not at all; the paths written.

    `directory` is made if need be. Raises ConfigError for another format than FORMATS and if `directory` is a file,
    StorageError if the disk fails.
    """
    if format not in FORMATS:
        raise ConfigError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    _make(directory)
    paths = []
    for name, (figure, _) in found.items():
        paths.append(directory / f"{name}.{format}")
        picture = drawn(figure, format)
        sealed.write_atomically(paths[-1], lambda file, picture=picture: file.write(picture), durable=False)
    return paths


def drawn(figure: Figure, format: str) -> bytes:
    """The contents of the file of a figure, the same each time."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=format, metadata=_UNDATED.get(format))
    return buffer.getvalue()


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"directory: got {directory}, which is a file or in one, expected a directory") from None
    except OSError as error:
        raise sealed.cannot("make", directory, error) from error


_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""The same run gives the same file."""
