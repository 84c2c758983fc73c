"""From the files of a run to numbers with error bars and pictures. Reads results only; knows nothing of the engine."""

from __future__ import annotations

from importlib.util import find_spec

from mcmc.errors import ConfigError

for _package in ("arviz_stats", "h5netcdf", "matplotlib", "xarray"):
    if find_spec(_package) is None:
        raise ConfigError(f"{_package} is not installed; pip install 'mcmc[analysis]' brings it")

from mcmc.analysis.results import Results, load  # noqa: E402 (first say what is missing)

__all__ = ["Results", "load"]
