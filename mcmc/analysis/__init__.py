"""From the files of a run to numbers with error bars and pictures. Reads results only; knows nothing of the engine."""

from __future__ import annotations

from mcmc.analysis.results import Results, load

__all__ = ["Results", "load"]
