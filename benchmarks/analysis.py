"""Time and memory of `mcmc summary` of a long run: one instance, 32 rungs, 4 copies, 10^6 rows (5 GB of numbers).

    python benchmarks/analysis.py [--rows 1000000] [--directory out/analysis]

The run is synthetic, written once to DIRECTORY as the engine writes it (needs twice its size on the disk meanwhile, a
third of it in the end), and kept there for the next time; without --directory it goes to a temporary one. Energies
and overlaps are AR(1) series on the lattice that Ising weights and error-count have, tau = 19 rows on the coldest rung;
walkers make exchanges between neighbours. The command runs in a child process on one core, on a warm page cache; the
peak is that of its resident memory. Goal: 120 s and 4 GiB.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import tomli_w
from scipy.signal import lfilter

from mcmc.storage import RunDirectory

N_WEIGHTS, N_RUNGS, N_COPIES = 501, 32, 4
N_PATTERNS = 601
N_PAIRS = len(list(combinations(range(N_COPIES), 2)))
BETA = np.linspace(0.2, 2.0, N_RUNGS)
MEASURE_EVERY = 5
SEGMENT_ROWS = 20_000
EXCHANGE = 0.4  # chance that neighbours exchange between two rows
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
MCMC = [sys.executable, "-c", "from mcmc.cli import main; main()"]


def configuration(n_rows: int) -> str:
    """The run file, whose burn-in is a tenth of the rows."""
    sweeps = n_rows * MEASURE_EVERY
    asked = {
        "seed": 1,
        "model": {"n_inputs": N_WEIGHTS, "loss": {"name": "error-count"}},
        "data": {"source": "teacher", "alpha": 1.2},
        "ladder": {"beta": BETA.tolist(), "n_copies": N_COPIES},
        "schedule": {"sweeps": sweeps + sweeps // 10, "burn_in": sweeps // 10, "measure_every": MEASURE_EVERY},
    }
    return tomli_w.dumps(asked)


class Chains:
    """AR(1) series that go on from piece to piece: mean 0, variance 1, of shape (rows, *shape)."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng = rng
        self.phi = np.linspace(0.0, 0.9, shape[-1])
        self.last = rng.normal(size=shape)

    def rows(self, n: int) -> np.ndarray:
        noise = self.rng.normal(size=(n, *self.last.shape)) * np.sqrt(1 - self.phi**2)
        for rung, phi in enumerate(self.phi):
            start = phi * self.last[None, :, rung]
            noise[..., rung], _ = lfilter([1.0], [1.0, -phi], noise[..., rung], axis=0, zi=start)
        self.last = noise[-1].copy()
        return noise


def on_lattice(overlap: np.ndarray) -> np.ndarray:
    return (2 * np.rint(N_WEIGHTS * (1 + overlap.clip(-1, 1)) / 2) - N_WEIGHTS) / N_WEIGHTS


def segments(n_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """The time series of the run, rows of the burn-in included, in pieces."""
    rng = np.random.default_rng(1)
    energy, teacher = (Chains(rng, (N_COPIES, N_RUNGS)) for _ in range(2))
    overlap = Chains(rng, (N_PAIRS, N_RUNGS))
    walkers = np.tile(np.arange(N_RUNGS, dtype=np.int32), (N_COPIES, 1))
    total = n_rows + n_rows // 10
    for first in range(0, total, SEGMENT_ROWS):
        n = min(SEGMENT_ROWS, total - first)
        history = np.empty((n, N_COPIES, N_RUNGS), dtype=np.int32)
        swaps = rng.random((n, N_COPIES, N_RUNGS // 2)) < EXCHANGE
        for row in range(n):
            odd = (first + row) % 2
            pairs = walkers[:, odd : N_RUNGS - odd].reshape(N_COPIES, -1, 2)
            pairs[:] = np.where(swaps[row, :, : N_RUNGS // 2 - odd, None], pairs[..., ::-1], pairs)
            walkers[:, odd : N_RUNGS - odd] = pairs.reshape(N_COPIES, -1)
            history[row] = walkers
        mean = np.linspace(0.05, 0.45, N_RUNGS)
        yield {
            "sweep": MEASURE_EVERY * np.arange(first + 1, first + n + 1),
            "energy": np.rint(N_PATTERNS * (0.5 - mean) + 10 * energy.rows(n)).clip(0)[None],
            "overlap": on_lattice(mean + 0.05 * overlap.rows(n))[None],
            "teacher_overlap": on_lattice(mean + 0.05 * teacher.rows(n))[None],
            "walker": history[None],
            "acceptance": rng.integers(0, 400, size=(1, n, N_COPIES, N_RUNGS)) / (MEASURE_EVERY * N_WEIGHTS),
        }


def prepare(directory: Path, n_rows: int) -> None:
    """Write the run, unless it is there."""
    text = configuration(n_rows)
    files = RunDirectory(directory)
    if files.run_toml() == text and files.results_are_whole():
        return
    shutil.rmtree(directory, ignore_errors=True)
    files.create(text)
    listed, first = [], 0
    for number, series in enumerate(segments(n_rows)):
        listed.append(files.write_segment(number, first, series, {}))
        first += listed[-1].n_rows
    swaps = (1, N_COPIES, N_RUNGS - 1)
    constants = {
        "beta": BETA,
        "magnetisation": np.zeros((1, N_COPIES, N_RUNGS, N_WEIGHTS)),
        "exchange_accepted": np.full(swaps, int(EXCHANGE * n_rows)),
        "exchange_proposed": np.full(swaps, n_rows),
        "start": np.array(["random"] * N_COPIES),
    }
    attributes = {
        "mcmc_version": "0",
        "seed": 1,
        "run_toml": text,
        "burn_in": MEASURE_EVERY * n_rows // 10,
        "n_weights": N_WEIGHTS,
        "n_patterns": N_PATTERNS,
        "complete": 1,
    }
    files.write_results(constants, None, attributes, listed)
    shutil.rmtree(directory / "segments")


def measure(directory: Path) -> None:
    """Print wall time, processor time and peak memory of `mcmc summary`, beside the size of the file."""
    core = {min(os.sched_getaffinity(0))}
    began = time.perf_counter()
    subprocess.run(
        [*MCMC, "summary", str(directory)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | ONE_THREAD,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    took = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = (directory / "results.h5").stat().st_size
    print(
        f"mcmc summary: {took:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of the processor, "
        f"peak {used.ru_maxrss / 2**20:.2f} GiB; results.h5 {size / 1e9:.2f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="after the burn-in")
    parser.add_argument("--directory", type=Path, help="where the run is kept; default: a temporary one, removed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = asked.directory or Path(scratch, "run")
        prepare(directory, asked.rows)
        measure(directory)


if __name__ == "__main__":
    main()
