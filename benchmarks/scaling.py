"""`make bench-scaling`: ns per proposal against size and against walkers per rank, with what it cannot fall below.

Metropolis under the error count, +-1 inputs, walkers that start at the teacher at a low temperature: next to nothing is
accepted, at once and at every size. Draws docs/speed.png.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import page
from bench import machine, said
from contenders import SEED, Engine, compiled
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from mcmc import data
from mcmc.analysis.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, STYLE
from mcmc.architectures import Architecture
from mcmc.losses import Loss

SIZES = (100, 300, 1000, 3000, 10000, 30000)
"""N = P."""

WALKERS = tuple(2**k for k in range(9))
PROBLEMS = ((1000, 1000), (10001, 8000))
"""N, P of the curves against walkers."""

BETA = 3.0
HOT = 1 << 14
"""Bytes of columns that stay in the first cache."""

Row = dict[str, float]


def planted(n: int, p: int) -> data.Instance:
    return data.teacher_instance(SEED, 0, n, p)


def cost(instance: data.Instance, walkers: int, repeats: int, seconds: float) -> Row:
    """ns per proposal of the whole engine, walkers of one block on one beta; median, and measured acceptance."""
    n = instance.inputs.n_inputs
    weights = np.tile(instance.teacher, (walkers, 1))
    engine = Engine(Architecture("perceptron", n), Loss("error-count"), instance, weights, BETA, n_rungs=walkers)
    first = engine.turn(0)
    turns = [engine.turn(round(1e9 * seconds / first.ns)) for _ in range(repeats)]
    return {
        "ns": float(np.median([turn.ns for turn in turns])),
        "acceptance": float(np.mean([turn.acceptance for turn in turns])),
    }


class Floor:
    """floor.c on the columns of an instance."""

    def __init__(self, directory: Path) -> None:
        self.library = compiled("floor", directory)
        self.library.stream.restype = ctypes.c_uint64

    def popcounts(self, columns: NDArray[np.uint64], hot: int, seconds: float) -> float:
        """ns per column: the bits that one mask has in common with the first `hot` columns, again and again."""
        counts = np.empty(hot, np.int32)
        mask = columns[-1].copy()
        arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (columns, mask, counts)]

        def run(n: int) -> None:
            self.library.popcounts(ctypes.c_int64(n), ctypes.c_int64(hot), ctypes.c_int64(columns.shape[1]), *arrays)

        return 1e9 * _best(run, hot, seconds)

    def stream(self, columns: NDArray[np.uint64], seconds: float) -> float:
        """ns per column: reading all columns in order, nothing else."""
        pointer = columns.ctypes.data_as(ctypes.c_void_p)

        def run(rounds: int) -> None:
            self.library.stream(ctypes.c_int64(rounds), ctypes.c_int64(columns.size), pointer)

        return 1e9 * _best(run, 1, seconds) / len(columns)


def _best(run: Callable[[int], None], n: int, seconds: float) -> float:
    """Seconds of run(n) over n, the best of five, which together take about `seconds`."""

    def time_of(n: int) -> float:
        began = time.thread_time()
        run(n)
        return time.thread_time() - began

    time_of(n)
    n *= max(1, round(seconds / 5 / time_of(n)))
    return min(time_of(n) for _ in range(5)) / n


SIZE_TITLES = {
    "n": "N = P",
    "bytes": "bytes of a column",
    "walkers_32": "ns, 32 walkers",
    "walkers_1": "ns, 1 walker",
    "popcounts_hot": "popcounts, hot",
    "popcounts_all": "popcounts, in a row",
    "reading": "reading",
    "times_hot": "32 walkers / hot",
}
WALKER_TITLES = {
    "n": "N",
    "p": "P",
    "walkers": "walkers",
    "ns": "ns",
    "popcounts_hot": "popcounts, hot",
    "times_hot": "ns / hot",
    "acceptance": "acceptance",
}


def against_size(sizes: Iterable[int], floor: Floor, repeats: int, seconds: float) -> Iterator[Row]:
    """A row per N = P."""
    for n in sizes:
        instance = planted(n, n)
        columns = instance.inputs.columns
        row: Row = {"n": n, "bytes": columns[0].nbytes}
        row |= {f"walkers_{w}": cost(instance, w, repeats, seconds)["ns"] for w in (32, 1)}
        row["popcounts_hot"] = floor.popcounts(columns, _hot(columns), seconds)
        row["popcounts_all"] = floor.popcounts(columns, n, seconds)
        row["reading"] = floor.stream(columns, seconds)
        yield row | {"times_hot": row["walkers_32"] / row["popcounts_hot"]}


def against_walkers(walkers: Iterable[int], floor: Floor, repeats: int, seconds: float) -> Iterator[Row]:
    """A row per problem and number of walkers."""
    for n, p in PROBLEMS:
        instance = planted(n, p)
        columns = instance.inputs.columns
        hot = floor.popcounts(columns, _hot(columns), seconds)
        for w in walkers:
            row = cost(instance, w, repeats, seconds)
            yield {"n": n, "p": p, "walkers": w, "popcounts_hot": hot, "times_hot": row["ns"] / hot} | row


def _hot(columns: NDArray[np.uint64]) -> int:
    """How many columns stay in the first cache."""
    return max(1, min(len(columns), HOT // columns[0].nbytes))


def table(titles: dict[str, str], rows: Iterable[Row]) -> tuple[list[Row], str]:
    """Prints row by row as they are measured; all of them, and a table for the page."""
    print("  ".join(titles.values()))
    kept, lines = [], []
    for row in rows:
        line = [f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in titles]
        print("  ".join(cell.rjust(len(title)) for cell, title in zip(line, titles.values(), strict=True)), flush=True)
        kept.append(row)
        lines.append(line)
    print()
    return kept, page.markdown(list(titles.values()), lines)


def draw(sizes: list[Row], walkers: list[Row], path: Path) -> None:
    """Both pictures, side by side."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2)
        _draw_sizes(left, sizes)
        _draw_walkers(right, walkers)
        for axes in (left, right):
            axes.set(ylabel="ns per proposal")
            axes.legend()
        figure.savefig(path)


def _draw_sizes(axes: Axes, rows: list[Row]) -> None:
    n = [row["n"] for row in rows]
    curves = {
        "walkers_1": ("engine, 1 walker", SKY, "s-"),
        "walkers_32": ("engine, 32 walkers", BLUE, "o-"),
        "reading": ("reading the columns", ORANGE, "--"),
        "popcounts_all": ("popcounts, all columns in a row", GREEN, "--"),
        "popcounts_hot": ("popcounts, columns in the first cache", GREY, ":"),
    }
    for name, (label, colour, line) in curves.items():
        axes.plot(n, [row[name] for row in rows], line, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="N = P", title="cost of a rejected proposal")


def _draw_walkers(axes: Axes, rows: list[Row]) -> None:
    for (n, p), colour in zip(PROBLEMS, (BLUE, PURPLE), strict=True):
        own = [row for row in rows if row["n"] == n]
        axes.plot(
            [row["walkers"] for row in own], [row["ns"] for row in own], "o-", color=colour, label=f"N = {n}, P = {p}"
        )
        axes.axhline(
            own[0]["popcounts_hot"], color=colour, linestyle=":", label="popcounts, columns in the first cache"
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_yticks([3, 5, 10, 20, 50])
    axes.set(xlabel="walkers on the rank", title="walkers share the columns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--figure", type=Path, default=Path("docs/speed.png"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into FILE, which is docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="small sizes, short repeats: to see that it works")
    asked = parser.parse_args()
    began = time.monotonic()
    about = machine()
    print(said(about), end="\n\n")
    how = (2, 0.02) if asked.quick else (7, 0.2)
    with tempfile.TemporaryDirectory() as scratch:
        floor = Floor(Path(scratch))
        sizes, sizes_table = table(SIZE_TITLES, against_size(SIZES[:3] if asked.quick else SIZES, floor, *how))
        some = WALKERS[::4] if asked.quick else WALKERS
        walkers, walkers_table = table(WALKER_TITLES, against_walkers(some, floor, *how))
    draw(sizes, walkers, asked.figure)
    if asked.page:
        page.fill(asked.page, {"scaling machine": said(about), "sizes": sizes_table, "walkers": walkers_table})
    if asked.json:
        asked.json.write_text(json.dumps({"machine": about, "sizes": sizes, "walkers": walkers}, indent=1) + "\n")
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
