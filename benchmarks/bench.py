"""`make bench`: what a proposal costs, and what surrounds the kernels; see README.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import efficiency
import kernels
import numpy as np
import page
import production
import real

import mcmc

Row = dict[str, object]

KERNELS = {
    "model": "{:<14}",
    "K": "{:>1}",
    "loss": "{:<13}",
    "inputs": "{:<8}",
    "N": "{:>5}",
    "P": "{:>5}",
    "walkers": "{:>7}",
    "beta": "{:>6.2f}",
    "isa": "{:<8}",
    "acceptance": "{:>10.3%}",
    "ns": "{:>8.2f}",
    "spread": "{:>6.1%}",
    "plain_ns": "{:>8.1f}",
    "times_plain": "{:>7.1f}",
    "times_plain_same_isa": "{:>7.1f}",
    "times_rrrmc": "{:>7.1f}",
    "times_numpy": "{:>7.0f}",
    "others": "{}",
}
MOVES = {
    "sampler": "{:<17}",
    "model": "{:<10}",
    "K": "{:>1}",
    "N": "{:>5}",
    "P": "{:>5}",
    "beta": "{:>6.2f}",
    "acceptance": "{:>10.3%}",
    "ns": "{:>8.2f}",
    "spread": "{:>6.1%}",
    "sweeps_per_second": "{:>10.0f}",
    "metropolis_acceptance": "{:>15.3%}",
    "metropolis_ns": "{:>13.2f}",
    "times_metropolis": "{:>12.2f}",
}
STEPS = {
    "inputs": "{:<8}",
    "precision": "{:<9}",
    "walkers": "{:>7}",
    "us": "{:>6.1f}",
    "spread": "{:>6.1%}",
    "acceptance": "{:>10.1%}",
    "blackjax_us": "{:>11.1f}",
    "times_blackjax": "{:>10.2f}",
    "numpy_us": "{:>14.1f}",
    "products_us": "{:>11.1f}",
    "products_share": "{:>8.0%}",
    "reading_us": "{:>10.1f}",
    "products_rate": "{:>6.0f}",
    "peak_rate": "{:>11.0f}",
    "of_peak": "{:>7.2f}",
}
GRADIENTS = {
    "inputs": "{:<8}",
    "precision": "{:<9}",
    "walkers": "{:>7}",
    "us": "{:>6.1f}",
    "spread": "{:>6.1%}",
    "torch_us": "{:>8.1f}",
    "times_torch": "{:>7.2f}",
    "products_share": "{:>8.0%}",
}
EFFICIENCY = {
    "task": "{:<19}",
    "sampler": "{:<20}",
    "program": "{:<8}",
    "step_size": "{:>9.3f}",
    "acceptance": "{:>10.1%}",
    "us": "{:>6.1f}",
    "ess_min": "{:>9.0f}",
    "ess_median": "{:>12.0f}",
    "ess_per_gradient": "{:>12.3f}",
    "times_nuts": "{:>7.2f}",
    "energy": "{:>8.3f}",
    "energy_error": "{:>5.3f}",
}
TITLES = {
    "times_plain": "x plain",
    "times_plain_same_isa": "x same",
    "times_rrrmc": "x rrrmc",
    "times_numpy": "x numpy",
    "plain_ns": "plain ns",
    "sweeps_per_second": "sweeps/s",
    "metropolis_acceptance": "its acceptance",
    "metropolis_ns": "metropolis ns",
    "times_metropolis": "x metropolis",
    "us": "µs",
    "blackjax_us": "blackjax µs",
    "times_blackjax": "x blackjax",
    "numpy_us": "numpy products",
    "products_us": "products µs",
    "products_share": "products",
    "reading_us": "reading µs",
    "products_rate": "GF/s",
    "peak_rate": "peak GF/s",
    "of_peak": "of peak",
    "torch_us": "torch µs",
    "times_torch": "x torch",
    "step_size": "step size",
    "ess_min": "ESS/s min",
    "ess_median": "ESS/s median",
    "ess_per_gradient": "ESS/gradient",
    "times_nuts": "x nuts",
    "energy": "⟨E⟩",
    "energy_error": "error",
}

NOT_ON_PAGE = {"beta", "spread", "times_plain_same_isa"}
PARTS = ("kernels", "moves", "surroundings", "steps", "gradients", "efficiency")
MOST_REPEATS = 5
"""Of steps and gradients, where many take turns."""
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
"""The environment in which numpy, torch and jax compute on one thread."""


def machine() -> dict[str, str]:
    """Where and when."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about = dict(line.split(":", 1) for line in lines[: lines.index("")] if ":" in line)
        about = {key.strip(): value.strip() for key, value in about.items()}
        numbers = ", ".join(f"{key} {about[key]}" for key in ("cpu family", "model") if key in about)
        processor = f"{about.get('model name', processor)} ({numbers})"
    compiler = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "cpu": processor,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "mcmc": mcmc.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "gcc": compiler,
    }


def competitors() -> dict[str, str]:
    """Versions of those of real weights, as far as they are installed."""
    names = ("blackjax", "jax", "torch")
    return {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}


def said(about: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in about.items())


def cells(columns: dict[str, str], row: Row) -> list[str]:
    """Entries of a row, padded; "-" for what was not measured."""
    out = []
    for name, form in columns.items():
        value = row[name]
        if name == "others":
            value = ", ".join(f"{other} {f['ns']:.0f} ns (x {f['times']:.1f})" for other, f in value.items())
        out.append(_without_precision(form).format("-") if value is None else form.format(value))
    return out


def head(columns: dict[str, str]) -> list[str]:
    return [_without_precision(form).format(TITLES.get(name, name)) for name, form in columns.items()]


def _without_precision(form: str) -> str:
    return re.sub(r"\..*}", "}", form)


def table(columns: dict[str, str], rows: Iterable[Row]) -> list[Row]:
    """Prints row by row as they are measured; returns them all."""
    print("  ".join(head(columns)))
    kept = []
    for row in rows:
        kept.append(row)
        print("  ".join(cells(columns, row)).rstrip(), flush=True)
    return kept


def on_page(columns: dict[str, str], rows: list[Row], left_out: frozenset[str] = frozenset()) -> str:
    """The columns that docs/speed.md has room for."""
    chosen = {name: form for name, form in columns.items() if name not in NOT_ON_PAGE | left_out}
    return page.markdown([title.strip() for title in head(chosen)], [cells(chosen, row) for row in rows])


def surroundings(quick: bool) -> dict[str, object]:
    """Overhead, exchange between ranks, memory."""
    share = production.overhead(sweeps=2000 if quick else 20000)
    print(
        f"\naround the kernels (N = P = 1000, {production.N_RUNGS} rungs, {production.N_COPIES} copies, "
        f"{share['seconds']:.1f} s): {share['all']:.2%} of the run = exchange {share['exchange']:.2%} + "
        f"rows {share['rows']:.2%} + Python and files {share['python_and_files']:.2%}"
    )
    split = production.split_exchange_on(2)
    print("an exchange round over 2 ranks:", "no launcher found" if split is None else f"{split:.1f} us")
    peak = production.peak_memory()
    print(f"peak memory, 64 walkers at N = 10001, P = 8000: {peak:.2f} GiB")
    return {"overhead": share, "split_exchange_us": split, "peak_memory_gib": peak}


Figures = tuple[dict[str, object], dict[str, str]]
"""What was measured, and tables for the page by name."""


def flips(parts: set[str], only: str, repeats: int, seconds: float) -> Figures:
    """The tables of Ising weights."""
    figures: dict[str, object] = {}
    tables: dict[str, str] = {}
    if "kernels" in parts:
        for name in kernels.missing():
            print(f"{name} is not installed and left out: pip install {name}")
        with tempfile.TemporaryDirectory() as scratch:
            how = kernels.Libraries(Path(scratch)), repeats, seconds
            cases = [case for case in kernels.KERNELS if only in str(case)]
            figures["rows"] = rows = table(KERNELS, (row for case in cases for row in kernels.measure(case, *how)))
        tables["kernels"] = on_page(KERNELS, rows, frozenset({"walkers"}))
    if "moves" in parts:
        print("\nother samplers, against Metropolis from the same weights (waiting-time: per attempt of physical time)")
        cases = [case for case in kernels.MOVES if only in str(case)]
        figures["moves"] = rows = table(MOVES, (kernels.measure_move(case, repeats, seconds) for case in cases))
        tables["moves"] = on_page(MOVES, rows)
    return figures, tables


def real_weights(parts: set[str], only: str, repeats: int, seconds: float) -> Figures:
    """The tables of real weights."""
    figures: dict[str, object] = {}
    tables: dict[str, str] = {}
    for name in real.missing():
        print(f"\n{name} is not installed and left out: pip install {name}")

    def take(name: str, columns: dict[str, str], rows: Iterable[Row]) -> None:
        figures[name] = kept = table(columns, rows)
        tables[name] = on_page(columns, kept)

    with tempfile.TemporaryDirectory() as scratch:
        how = real.Libraries(Path(scratch)), min(repeats, MOST_REPEATS), seconds
        if "steps" in parts:
            print("\na MALA step on the logistic loss, N = P = 1000, per walker")
            cases = [case for case in real.STEPS if only in str(case)]
            take("steps", STEPS, (row for case in cases for row in real.measure_steps(case, *how)))
        if "gradients" in parts:
            print("\na gradient of a tanh tree-committee, K = 3, N = 999, P = 1000, per walker")
            cases = [case for case in real.GRADIENTS if only in str(case)]
            take("gradients", GRADIENTS, (row for case in cases for row in real.measure_gradients(case, *how)))
    if "efficiency" in parts:
        print("\neffective samples of the slowest of energy, |w|^2 and a weight, and of the median of the three")
        cases = [case for case in efficiency.CASES if only in str(case)]
        how = max(3, repeats // 2), 5 * seconds
        take("efficiency", EFFICIENCY, (row for case in cases for row in efficiency.measure(case, *how)))
    return figures, tables


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into FILE, which is docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="few, short repeats: to see that it works")
    parser.add_argument("--part", choices=PARTS, action="append", help="this part alone; may be given several times")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose 'inputs model loss sampler N' has TEXT")
    asked = parser.parse_args()
    if asked.page and asked.only:
        parser.error("--page: takes all cases, got --only as well")
    return asked


def main() -> None:
    asked = arguments()
    if not ONE_THREAD.items() <= os.environ.items():  # libraries read it when they are imported
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    parts = set(asked.part or PARTS)
    about = machine()
    print(said(about | competitors()), end="\n\n")
    began = time.monotonic()
    how = asked.only, 3 if asked.quick else 9, 0.02 if asked.quick else 0.1
    figures, tables = flips(parts, *how)
    if tables:
        tables["machine"] = said(about)
    if "surroundings" in parts and not asked.only:
        figures |= surroundings(asked.quick)
    if parts & {"steps", "gradients", "efficiency"}:
        of_real, more = real_weights(parts, *how)
        figures |= of_real
        tables |= more | {"real machine": said(about | competitors())}
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.page:
        page.fill(asked.page, tables)
    if asked.json:
        asked.json.write_text(json.dumps({"machine": about | competitors()} | figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
