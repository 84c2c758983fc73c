"""`make bench-scaling`: ns per proposal against size and against walkers per rank, with what it cannot fall below.

Metropolis under the error count, +-1 inputs, walkers that start at the teacher at a low temperature: next to nothing is
accepted, at once and at every size. Prints its tables for docs/speed.md, and draws docs/speed.png.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from bench import machine
from contenders import SEED, Engine, compiled
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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

Figures = dict[str, list[dict[str, float]]]


def planted(n: int, p: int) -> data.Instance:
    return data.teacher_instance(SEED, 0, n, p)


def cost(instance: data.Instance, walkers: int, repeats: int, seconds: float) -> dict[str, float]:
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

        def run(n: int) -> float:
            began = time.thread_time()
            self.library.popcounts(ctypes.c_int64(n), ctypes.c_int64(hot), ctypes.c_int64(columns.shape[1]), *arrays)
            return (time.thread_time() - began) / n

        return 1e9 * _best(run, hot, seconds)

    def stream(self, columns: NDArray[np.uint64], seconds: float) -> float:
        """ns per column: reading all columns in order, nothing else."""
        pointer = columns.ctypes.data_as(ctypes.c_void_p)

        def run(rounds: int) -> float:
            began = time.thread_time()
            self.library.stream(ctypes.c_int64(rounds), ctypes.c_int64(columns.size), pointer)
            return (time.thread_time() - began) / (rounds * len(columns))

        return 1e9 * _best(run, 1, seconds)


def _best(run, n: int, seconds: float) -> float:
    """Smallest of five values of run(n), after n has been raised until the five take about `seconds`."""
    run(n)
    each = run(n)
    n = max(n, round(seconds / 5 / each))
    return min(run(n) for _ in range(5))


def against_size(sizes: tuple[int, ...], floor: Floor, repeats: int, seconds: float) -> list[dict[str, float]]:
    """A row per N = P."""
    rows = []
    print(_head("N = P", "bytes", "walkers: 32", "1", "popcounts, hot", "all in a row", "reading", "32 / hot"))
    for n in sizes:
        instance = planted(n, n)
        columns = instance.inputs.columns
        hot = max(1, min(n, HOT // columns[0].nbytes))
        row: dict[str, float] = {"n": n, "bytes": columns[0].nbytes}
        row |= {f"walkers_{w}": cost(instance, w, repeats, seconds)["ns"] for w in (32, 1)}
        row["popcounts_hot"] = floor.popcounts(columns, hot, seconds)
        row["popcounts_all"] = floor.popcounts(columns, n, seconds)
        row["reading"] = floor.stream(columns, seconds)
        rows.append(row)
        ns = [f"{value:.2f}" for value in list(row.values())[2:]]
        print(_line(n, row["bytes"], *ns, f"{row['walkers_32'] / row['popcounts_hot']:.1f}"), flush=True)
    return rows


def against_walkers(walkers: tuple[int, ...], floor: Floor, repeats: int, seconds: float) -> Figures:
    """By problem, a row per number of walkers."""
    figures: Figures = {}
    for n, p in PROBLEMS:
        instance = planted(n, p)
        columns = instance.inputs.columns
        hot = floor.popcounts(columns, max(1, HOT // columns[0].nbytes), seconds)
        print(f"\nN = {n}, P = {p}; popcounts alone, hot columns: {hot:.2f} ns\n")
        print(_head("walkers", "ns", "over the popcounts", "acceptance"))
        figures[f"{n} x {p}"] = rows = []
        for w in walkers:
            row = {"walkers": w, "popcounts_hot": hot} | cost(instance, w, repeats, seconds)
            rows.append(row)
            print(_line(w, f"{row['ns']:.2f}", f"{row['ns'] / hot:.1f}", f"{row['acceptance']:.3%}"), flush=True)
    return figures


def _head(*titles: str) -> str:
    return _line(*titles) + "\n" + _line(*("---" for _ in titles))


def _line(*values: object) -> str:
    return "| " + " | ".join(map(str, values)) + " |"


def draw(sizes: list[dict[str, float]], walkers: Figures, path: Path) -> None:
    """Both pictures, side by side."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2))
        left, right = figure.subplots(1, 2)
        _draw_sizes(left, sizes)
        _draw_walkers(right, walkers)
        for axes in (left, right):
            axes.set(xscale="log", yscale="log", ylabel="ns per proposal")
            axes.legend()
        figure.savefig(path)


def _draw_sizes(axes: Axes, rows: list[dict[str, float]]) -> None:
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
    axes.set(xlabel="N = P", title="cost of a rejected proposal")


def _draw_walkers(axes: Axes, figures: Figures) -> None:
    for (name, rows), colour in zip(figures.items(), (BLUE, PURPLE), strict=True):
        n, p = name.split(" x ")
        walkers = [row["walkers"] for row in rows]
        axes.plot(walkers, [row["ns"] for row in rows], "o-", color=colour, label=f"N = {n}, P = {p}")
        axes.axhline(
            rows[0]["popcounts_hot"], color=colour, linestyle=":", label="popcounts, columns in the first cache"
        )
    axes.set_xscale("log", base=2)
    axes.set(xlabel="walkers on the rank", title="walkers share the columns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument(
        "--figure", type=Path, default=Path("docs/speed.png"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, short repeats: to see that it works")
    asked = parser.parse_args()
    began = time.monotonic()
    about = machine()
    print("  ".join(f"{key}: {value}" for key, value in about.items()), end="\n\n")
    repeats, seconds = (2, 0.02) if asked.quick else (7, 0.2)
    with tempfile.TemporaryDirectory() as scratch:
        floor = Floor(Path(scratch))
        sizes = against_size(SIZES[:3] if asked.quick else SIZES, floor, repeats, seconds)
        walkers = against_walkers(WALKERS[::4] if asked.quick else WALKERS, floor, repeats, seconds)
    draw(sizes, walkers, asked.figure)
    if asked.json:
        asked.json.write_text(json.dumps({"machine": about, "sizes": sizes, "walkers": walkers}, indent=1) + "\n")
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
