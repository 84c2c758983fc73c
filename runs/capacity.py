"""How many sets of random patterns simulated annealing stores, against their number and its length.

    python runs/capacity.py out/capacity

Reads DIR/scan.h5 (mcmc merge), prints the fraction of instances in which a walker has reached E = 0, with the interval
that holds the true one with 68 % probability (Clopper and Pearson), and the median of the sweeps that it took those;
draws DIR/capacity.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray
from matplotlib.figure import Figure
from scipy import stats

from mcmc.analysis import plots

CAPACITY = 0.833  # of the binary perceptron, for N to infinity (Krauth and Mezard 1989)


def solved(path: Path) -> xarray.Dataset:
    """By alpha and length of the annealing: fraction of instances, its interval, median sweeps."""
    with xarray.open_dataset(path, engine="h5netcdf") as scan:
        first = scan["first_passage"].squeeze(["copy", "rung"]).load()
        sweeps = scan["burn_in"].isel(alpha=0).to_numpy()
    n = first.sizes["instance"]
    count = (first >= 0).sum("instance")
    low, high = stats.beta.interval(0.68, [count, count + 1], [n - count + 1, n - count])
    found = xarray.Dataset(
        {
            "fraction": count / n,
            "low": (count.dims, np.where(count == 0, 0.0, low[0])),
            "high": (count.dims, np.where(count == n, 1.0, high[1])),
            "median": first.where(first >= 0).median("instance"),
        }
    )
    (length,) = set(count.dims) - {"alpha"}
    return found.assign_coords(sweeps=(length, sweeps)).swap_dims({length: "sweeps"})


def picture(found: xarray.Dataset) -> Figure:
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for sweeps, colour in zip(found["sweeps"].to_numpy(), (plots.SKY, plots.BLUE, plots.PURPLE), strict=False):
            here = found.sel(sweeps=sweeps)
            bars = np.abs(np.stack([here["low"], here["high"]]) - here["fraction"].to_numpy())
            label = f"annealed in {sweeps} sweeps"
            axes.errorbar(here["alpha"], here["fraction"], bars, color=colour, marker="o", label=label)
        axes.axvline(CAPACITY, color=plots.GREY, linestyle="--", label="capacity, $N \\to \\infty$")
        axes.set(xlabel=r"patterns per weight $\alpha$", ylabel="part of the instances stored", ylim=(-0.03, 1.03))
        axes.legend(loc="center right")
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/capacity.py DIR")
    directory = Path(sys.argv[1])
    found = solved(directory / "scan.h5")
    print(found.to_dataframe()[["fraction", "low", "high", "median"]].round(3).to_string())
    path = directory / "capacity.png"
    picture(found).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
