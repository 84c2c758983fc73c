"""Random against planted starts across the first-order transition at T = 1: runs, table and picture.

    python runs/hysteresis.py out/hysteresis

Runs physics-hysteresis.toml for every alpha below (finished ones are not run again) and writes OUT/hysteresis.png.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import mcmc
from mcmc.analysis import plots
from mcmc.analysis.statistics import average_over_instances

ALPHAS = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0)
FIRST_ORDER, SPINODAL = 2.33278, 2.84562
"""Alphas at which the two states exchange stability, and the one away from the teacher ends; T = 1, N -> infinity."""
STARTS = ("random", "teacher")


def measure(output: Path) -> tuple[np.ndarray, np.ndarray]:
    """R of every instance, averaged after the burn-in, and R in the last row: two times (alphas, starts, instances)."""
    config = tomllib.loads(Path(__file__).with_name("physics-hysteresis.toml").read_text())
    mean, last = [], []
    for alpha in ALPHAS:
        config["data"]["alpha"] = alpha
        results = mcmc.run(config, output=output / f"alpha-{alpha:.2f}", quiet=True)
        overlap = results.equilibrium()["teacher_overlap"].isel(rung=0).transpose("copy", "instance", "sample")
        mean.append(overlap.mean("sample").to_numpy())
        last.append(overlap.isel(sample=-1).to_numpy())
    return np.array(mean), np.array(last)


def picture(mean: np.ndarray) -> Figure:
    """R against alpha for both starts: instances as faint dots, their mean with its standard error."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 4.0))
        axes = figure.subplots()
        for start, colour, marker, shift in ((0, plots.BLUE, "o", -0.015), (1, plots.ORANGE, "s", 0.015)):
            values = mean[:, start]
            x = np.array(ALPHAS) + shift
            axes.plot(np.repeat(x, values.shape[1]), values.ravel(), ".", color=colour, alpha=0.25, mew=0)
            found = [average_over_instances(each, np.zeros(len(each))) for each in values]
            means, errors = [each.mean for each in found], [each.error for each in found]
            label = f"start: {STARTS[start]}"
            axes.errorbar(x, means, errors, fmt=marker + "-", color=colour, lw=0.8, label=label)
        for alpha, name in ((FIRST_ORDER, "first order"), (SPINODAL, "spinodal")):
            axes.axvline(alpha, color=plots.GREY, lw=0.8, ls="--")
            axes.text(alpha, 0.02, f" {name}", color=plots.GREY, fontsize=8)
        axes.set(xlabel=r"patterns per weight $\alpha$", ylabel="overlap with the teacher $R$", ylim=(0, 1.05))
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.08))
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/hysteresis.py OUT")
    output = Path(sys.argv[1])
    mean, last = measure(output)
    n = mean.shape[2]
    print(f"R after the burn-in, mean over {n} instances, and how many of them end at the teacher (R > 0.9)")
    print(f"{'alpha':>6} {'random':>8} {'at teacher':>11} {'planted':>8} {'at teacher':>11}")
    for alpha, of_mean, of_last in zip(ALPHAS, mean.mean(axis=2), (last > 0.9).sum(axis=2), strict=True):
        print(f"{alpha:6.2f} {of_mean[0]:8.3f} {of_last[0]:11d} {of_mean[1]:8.3f} {of_last[1]:11d}")
    path = output / "hysteresis.png"
    picture(mean).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
