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
from datetime import UTC, datetime
from pathlib import Path

import kernels
import numpy as np
import production

import mcmc

COLUMNS = {
    "loss": "{:<13}",
    "inputs": "{:<8}",
    "sampler": "{:<10}",
    "N": "{:>5}",
    "P": "{:>5}",
    "walkers": "{:>7}",
    "isa": "{:<8}",
    "acceptance": "{:>10.3%}",
    "ns": "{:>8.2f}",
    "spread": "{:>6.1%}",
    "plain_ns": "{:>8.1f}",
    "times_plain": "{:>7.1f}",
    "times_plain_same_isa": "{:>7.1f}",
    "times_numpy": "{:>7.0f}",
}
SHORT = {"times_plain": "x plain", "times_plain_same_isa": "x same", "times_numpy": "x numpy", "plain_ns": "plain ns"}


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


def table(repeats: int, seconds: float, only: str) -> list[dict[str, object]]:
    """Measures and prints row by row."""
    print("  ".join(re.sub(r"\..*}", "}", form).format(SHORT.get(name, name)) for name, form in COLUMNS.items()))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        libraries = kernels.compiled(Path(scratch))
        for case in kernels.CASES:
            if only not in f"{case.inputs} {case.loss} {case.sampler} {case.n}":
                continue
            for row in kernels.measure(case, libraries, repeats, seconds):
                rows.append(row)
                print("  ".join(form.format(row[name]) for name, form in COLUMNS.items()), flush=True)
    return rows


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument("--quick", action="store_true", help="few, short repeats: to see that it works")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose 'inputs loss sampler N' contains TEXT")
    asked = parser.parse_args()
    about = machine()
    print("  ".join(f"{key}: {value}" for key, value in about.items()), end="\n\n")
    began = time.monotonic()
    figures: dict[str, object] = {"machine": about}
    figures["rows"] = table(3 if asked.quick else 11, 0.02 if asked.quick else 0.1, asked.only)
    if not asked.only:
        figures |= surroundings(asked.quick)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
