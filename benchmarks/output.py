"""Size and speed of results.h5 by chunks and filters, on the series of real runs: the choice in mcmc/storage.py.

    python benchmarks/output.py [ROWS]

32 rungs, 4 copies, of two kinds: series with few different values (Ising weights, error-count, N = 501, alpha = 1.2, a
row every 5 sweeps) and with reals (Gaussian weights, logistic, mala). Sizes are scaled to 10^6 rows; times are those of
ROWS (default 10000; more repeat these) on a warm page cache, in MB/s of numbers.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import mcmc

SAMPLED = 10_000
FULL = 1_000_000
NAMES = ("energy", "overlap", "teacher_overlap", "walker", "acceptance")
ISING = {
    "seed": 1,
    "model": {"n_inputs": 501, "loss": {"name": "error-count"}},
    "data": {"source": "teacher", "alpha": 1.2},
    "ladder": {"beta": {"min": 0.2, "max": 2.0, "n": 32, "spacing": "linear"}, "n_copies": 4},
    "schedule": {"sweeps": 5 * SAMPLED, "burn_in": 1000, "measure_every": 5},
}
REALS = {
    "seed": 1,
    "model": {"n_inputs": 101, "weights": "gaussian", "loss": {"name": "logistic"}},
    "data": {"source": "teacher", "alpha": 1.2},
    "sampler": {"method": "mala"},
    "ladder": ISING["ladder"],
    "schedule": ISING["schedule"],
}
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzf, shuffle": {"compression": "lzf", "shuffle": True},
    "gzip 1": {"compression": "gzip", "compression_opts": 1},
    "gzip 1, shuffle": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
    "gzip 4, shuffle": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
}


def layouts(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and chunks of a series (instance, sample, copy or pair, rung)."""
    _, n_rows, n_copies, n_rungs = shape
    for kib in (64, 256, 1024):
        for name, rungs in (("all rungs", n_rungs), ("one rung", 1)):
            rows = min(n_rows, max(1, (kib << 10) // (itemsize * n_copies * rungs)))
            yield f"{name}, {kib} KiB", (1, rows, n_copies, rungs)


def measure(path: Path, series: dict[str, np.ndarray], layout: str, storage: dict[str, Any]) -> list[str]:
    """A row of the table: size, and the speed of writing, of reading all, and of reading rung after rung."""
    n_bytes = sum(array.nbytes for array in series.values())
    seconds = [time.perf_counter()]
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        for name, array in series.items():
            chunks = dict(layouts(array.shape, array.itemsize))[layout]
            dataset = file.create_dataset(name, array.shape, array.dtype, chunks=chunks, **storage)
            for start in range(0, array.shape[1], chunks[1]):
                dataset[:, start : start + chunks[1]] = array[:, start : start + chunks[1]]
    seconds.append(time.perf_counter())
    with h5py.File(path) as file:
        for name in series:
            file[name][...]
    seconds.append(time.perf_counter())
    with h5py.File(path) as file:
        for name in series:
            for rung in range(0, 32, 8):
                file[name][..., rung]
    seconds.append(time.perf_counter())
    rows = len(next(iter(series.values()))[0])
    size = path.stat().st_size / rows * FULL / 1e9
    write, read, by_rung = (n_bytes / 1e6 / took for took in np.diff(seconds))
    return [layout, f"{size:.2f} GB", f"{write:.0f}", f"{read:.0f}", f"{by_rung / 8:.1f}"]


def main(n_rows: int) -> None:
    for run in (ISING, REALS):
        table(run, n_rows)


def table(run: dict[str, Any], n_rows: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        dataset = mcmc.run(run, Path(directory, "run"), quiet=True).dataset
        repeats = math.ceil(n_rows / SAMPLED)
        series = {name: np.tile(dataset[name].to_numpy(), (1, repeats, 1, 1))[:, :n_rows] for name in NAMES}
        print(f"\n{run['model']}\n\n| filter | chunk | 10^6 rows | write | read | read by rung |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, storage in FILTERS.items():
            for layout, _ in layouts(series["energy"].shape, 8):
                if name.endswith("1, shuffle") or "256" in layout:
                    row = measure(Path(directory, "x.h5"), series, layout, storage)
                    print("| " + " | ".join([name, *row]) + " |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLED)
