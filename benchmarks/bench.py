"""`make bench`: what a proposal costs, and what surrounds the kernels; see README.md."""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import kernels
import numpy as np
import page
import production

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
}

NOT_ON_PAGE = {"walkers", "beta", "spread", "times_plain_same_isa"}


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


def on_page(columns: dict[str, str], rows: list[Row]) -> str:
    """The columns that docs/speed.md has room for."""
    chosen = {name: form for name, form in columns.items() if name not in NOT_ON_PAGE}
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


def measured(only: str, repeats: int, seconds: float) -> dict[str, object]:
    """Both tables."""

    def wanted(cases: tuple[kernels.Case, ...]) -> list[kernels.Case]:
        return [case for case in cases if only in str(case)]

    for name in kernels.missing():
        print(f"{name} is not installed and left out: pip install {name}")
    with tempfile.TemporaryDirectory() as scratch:
        libraries = kernels.Libraries(Path(scratch))
        how = libraries, repeats, seconds
        rows = table(KERNELS, (row for case in wanted(kernels.KERNELS) for row in kernels.measure(case, *how)))
    print("\nother samplers, against Metropolis from the same weights (waiting-time: per attempt of physical time)")
    moves = table(MOVES, (kernels.measure_move(case, repeats, seconds) for case in wanted(kernels.MOVES)))
    return {"rows": rows, "moves": moves}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into FILE, which is docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="few, short repeats: to see that it works")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose 'inputs model loss sampler N' has TEXT")
    asked = parser.parse_args()
    if asked.page and asked.only:
        parser.error("--page: takes all cases, got --only as well")
    about = machine()
    print(said(about), end="\n\n")
    began = time.monotonic()
    figures = {"machine": about} | measured(asked.only, 3 if asked.quick else 9, 0.02 if asked.quick else 0.1)
    if not asked.only:
        figures |= surroundings(asked.quick)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.page:
        tables = {"kernels": on_page(KERNELS, figures["rows"]), "moves": on_page(MOVES, figures["moves"])}
        page.fill(asked.page, {"machine": said(about)} | tables)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
