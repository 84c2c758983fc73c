"""`Results`: what a run wrote, as an xarray dataset with its configuration; the way into the analysis."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mcmc.errors import ConfigError

if TYPE_CHECKING:
    from mcmc.analysis.distributions import Distribution
    from mcmc.analysis.exchange import Exchange
    from mcmc.analysis.free_energy import FreeEnergy
    from mcmc.analysis.summary import Summary

BYTES_AT_A_TIME = 1 << 28
"""Of time series that are held together, unless one rung has more."""


def load(path: str | PathLike[str]) -> Results:
    """Open the output directory of a run, also while the run goes on.

    Raises StorageError when there is no run in `path` or when its files are damaged.
    """
    from mcmc.reading import read_dataset

    return Results(read_dataset(Path(path)), Path(path))


class Results:
    """One run: `dataset` as in results.h5, `path` of its directory (None in memory), `config` (the run file as a dict).

    Built from a directory by `load`, or from any dataset with the variables and attributes of results.h5. Values of a
    large dataset from files are read when they are first used, and then kept.
    """

    def __init__(self, dataset: xr.Dataset, path: Path | None = None) -> None:
        self.dataset = dataset
        self.path = path
        self.config: dict[str, Any] = tomllib.loads(dataset.attrs["run_toml"])

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {size}" for name, size in self.dataset.sizes.items())
        return f"Results({'in memory' if self.path is None else str(self.path)!r}, {sizes})"

    def equilibrium(self) -> xr.Dataset:
        """The dataset without the rows of the burn-in (sweep <= burn_in).

        Raises ConfigError when no row is left.
        """
        burn_in = int(self.dataset.attrs["burn_in"])
        first = int(np.searchsorted(self.dataset["sweep"].to_numpy(), burn_in, side="right"))
        kept = self.dataset.isel(sample=slice(first, None))
        if kept.sizes["sample"] == 0:
            rows = self.dataset["sweep"].to_numpy()
            reached = f"; the last row committed by a checkpoint is of sweep {rows[-1]}" if rows.size else ""
            raise ConfigError(
                f"{self.path or 'results'}: no samples yet beyond the burn-in of {burn_in} sweeps{reached}"
            )
        return kept

    def by_rungs(self, names: Sequence[str] | None = None) -> Iterator[xr.Dataset]:
        """`equilibrium` in pieces of some neighbouring rungs each, in memory, in order; of long runs one rung.

        names: of the variables that are wanted; None: all
        """
        kept = self.equilibrium() if names is None else self.equilibrium()[list(names)]
        n_bytes = sum(values.nbytes for values in kept.data_vars.values() if {"sample", "rung"} <= set(values.dims))
        n_rungs = kept.sizes["rung"]
        step = max(1, min(n_rungs, n_rungs * BYTES_AT_A_TIME // max(n_bytes, 1)))
        for first in range(0, n_rungs, step):
            yield kept.isel(rung=slice(first, first + step)).load()

    def weights(self) -> xr.DataArray:
        """The snapshots of all weights, dims (instance, snapshot, copy, rung, weight), coordinates beta and sweep.

        int8 -1 and +1, or float64. Read anew on every call; 1 or 8 bytes a weight in memory. Raises ConfigError where
        there are none.
        """
        from mcmc.reading import read_weights

        found = None if self.path is None else read_weights(self.path)
        if found is None:
            every = self.config.get("output", {}).get("weights_every", 0)
            why = "yet" if every else "were asked for: output.weights_every is 0"
            raise ConfigError(f"{self.path or 'results'}: no snapshots of the weights {why}")
        return found

    def patterns(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each instance the inputs, (n_patterns, n_inputs), int8 -1 and +1 or float64, and labels (n_patterns,).

        Raises ConfigError where none are stored: output.store_data is off, or the run goes on.
        """
        from mcmc.reading import read_patterns

        found = iter(()) if self.path is None else read_patterns(self.path)
        first = next(found, None)
        if first is None:
            raise ConfigError(f"{self.path or 'results'}: no data are stored (yet), see output.store_data")
        return chain([first], found)

    def distributions(self) -> dict[str, list[Distribution]]:
        """Laws of energies and overlaps by rung, see `distributions.distributions`; worked out once and kept."""
        return self._distributions

    @cached_property
    def _distributions(self) -> dict[str, list[Distribution]]:
        from mcmc.analysis.distributions import distributions

        return distributions(self)

    def summary(self) -> Summary:
        """Means with error bars and a verdict for every rung; worked out once and kept."""
        return self._summary

    @cached_property
    def _summary(self) -> Summary:
        from mcmc.analysis.summary import summarise

        return summarise(self)

    def exchange(self) -> Exchange:
        """Rejections, barrier, round trips, flow and mixing along the ladder, and advice; worked out once and kept."""
        return self._exchange

    @cached_property
    def _exchange(self) -> Exchange:
        from mcmc.analysis.exchange import exchange

        return self._summary.exchange if "_summary" in vars(self) else exchange(self)

    def free_energy(self) -> FreeEnergy:
        """log Z and entropy along the ladder, with errors, checks and bounds; worked out once and kept."""
        return self._free_energy

    @cached_property
    def _free_energy(self) -> FreeEnergy:
        from mcmc.analysis.free_energy import free_energy

        return free_energy(self.equilibrium(), self.config)

    def to_arviz(self) -> xr.DataTree:
        """The rows after the burn-in as ArviZ takes them, chain = copy and draw = row; see `export.datatree`."""
        from mcmc.analysis.export import datatree

        return datatree(self)

    def plot(self, directory: str | PathLike[str] | None = None, format: str = "png") -> list[Path]:
        """Draw the pictures of the run into `directory` (default: `plots` in the run's own); see `plots.plot`."""
        from mcmc.analysis.plots import plot

        return plot(self, directory, format)
