"""Round trips of walkers on a geometric ladder and on the same one after tuning: python benchmarks/ladders.py

For every case it prints the lowest acceptance and the spread of rejections of each ladder, and the round trips, with
the difference to the geometric ladder in units of its standard error over copies and instances.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import mcmc

RULES = ("none", "barrier", "flow")


def case(n_inputs: int, alpha: float, low: float, high: float, n: int, source: str = "random", **loss: Any) -> dict:
    """Tables of a run file."""
    return {
        "seed": 7,
        "model": {"n_inputs": n_inputs, "loss": {"name": "error-count"} | loss},
        "data": {"source": source, "alpha": alpha, "n_instances": 6},
        "ladder": {"beta": {"min": low, "max": high, "n": n, "spacing": "geometric"}, "n_copies": 4},
        "schedule": {"sweeps": 30_000, "burn_in": 10_000, "measure_every": 1},
    }


CASES = {
    "random labels, N = 101, alpha = 0.5, beta 0.05 to 6, 8 rungs": case(101, 0.5, 0.05, 6.0, 8),
    "random labels, N = 101, alpha = 0.8, beta 0.05 to 4, 10 rungs": case(101, 0.8, 0.05, 4.0, 10),
    "random labels, N = 201, alpha = 0.5, beta 0.05 to 4, 10 rungs": case(201, 0.5, 0.05, 4.0, 10),
    "random labels, hinge, N = 101, alpha = 0.5, beta 0.05 to 8, 8 rungs": case(
        101, 0.5, 0.05, 8.0, 8, name="hinge", margin=0.5
    ),
    "random labels, N = 101, alpha = 0.5, beta 0.5 to 3, 8 rungs (good before)": case(101, 0.5, 0.5, 3.0, 8),
    "teacher, N = 101, alpha = 1, beta 0.2 to 2, 8 rungs": case(101, 1.0, 0.2, 2.0, 8, "teacher"),
    "teacher, N = 51, alpha = 1.8, beta 0.2 to 2, 8 rungs (first order)": case(51, 1.8, 0.2, 2.0, 8, "teacher"),
}


def run(tables: dict[str, Any], rule: str) -> mcmc.Results:
    """In a directory that is gone afterwards."""
    tables = tables | {"ladder": tables["ladder"] | {"tune": rule}}
    with tempfile.TemporaryDirectory() as directory:
        results = mcmc.run(tables, output=Path(directory) / "out", quiet=True)
        results.exchange()  # is kept
        return results


def main() -> None:
    print("| case | ladder | lowest acceptance | rejections | barrier | round trips | difference / error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, tables in CASES.items():
        before = None
        for rule in RULES:
            found = run(tables, rule).exchange()
            trips = found.round_trips.sum(axis=-1).ravel()
            before = trips if before is None else before
            change = trips - before
            error = change.std(ddof=1) / np.sqrt(change.size)
            print(
                f"| {name} | {rule} | {found.acceptance.min():.3f} | {found.rejection.min():.2f} to "
                f"{found.rejection.max():.2f} | {found.barrier:.2f} | {trips.sum()} | "
                f"{'' if rule == 'none' else f'{change.mean() / error:+.1f}'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
