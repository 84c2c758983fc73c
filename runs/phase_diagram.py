"""Overlap with the teacher, and between copies, in the plane of alpha and temperature, from a merged scan.

    python runs/phase_diagram.py out/phase-diagram

Reads DIR/scan.h5 (mcmc merge), prints R for every alpha and some beta, and draws DIR/phase-diagram.png.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import xarray
from matplotlib.figure import Figure

from mcmc.analysis import plots

TITLES = {"teacher_overlap": "with the teacher, $R$", "overlap": "between two copies, $q$"}


def averages(path: Path) -> xarray.Dataset:
    """R and q (alpha, beta): means over the rows after the burn-in, over copies, instances and seeds."""
    with xarray.open_dataset(path, engine="h5netcdf") as scan:
        after_burn_in = scan[list(TITLES)].where(scan["sweep"] > scan["burn_in"])
        means = {name: series.mean([*series.dims[1:-1]]) for name, series in after_burn_in.items()}
        beta = scan["beta"].isel(alpha=0, seed=0).to_numpy()
    return xarray.Dataset(means).assign_coords(beta=("rung", beta)).swap_dims(rung="beta")


def picture(means: xarray.Dataset) -> Figure:
    """One map each of R and q."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        for axes, (name, title) in zip(figure.subplots(1, 2, sharey=True), TITLES.items(), strict=True):
            colours = axes.pcolormesh(means["alpha"], means["beta"], means[name].T, vmin=0, vmax=1, cmap="viridis")
            figure.colorbar(colours, ax=axes)
            axes.set(title=f"overlap {title}", xlabel=r"patterns per weight $\alpha$")
        figure.axes[0].set_ylabel(r"$\beta$")
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/phase_diagram.py DIR")
    directory = Path(sys.argv[1])
    means = averages(directory / "scan.h5")
    print("R by alpha and beta")
    print(means["teacher_overlap"].isel(beta=slice(1, None, 2)).to_pandas().round(2).to_string())
    path = directory / "phase-diagram.png"
    picture(means).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
