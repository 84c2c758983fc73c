"""How many perceptrons with Ising weights make the fewest errors on the handwritten digits.

    python runs/digits.py out/digits

From the run of runs/digits.toml: their number by the density of states, which comes from energies alone, and how many
different ones the snapshots of the weights hold, which cannot be more.
"""

from __future__ import annotations

import sys

import numpy as np

import mcmc
from mcmc.analysis import Results
from mcmc.analysis.reweighting import densities_of_states

N_ENERGIES = 6


def distinct(results: Results) -> dict[int, int]:
    """Different weights among the snapshots, by their energy."""
    weights = results.weights().isel(instance=0)
    rows = np.searchsorted(results.dataset["sweep"], weights["sweep"])
    energy = results.dataset["energy"].isel(instance=0, sample=rows).transpose("sample", "copy", "rung").to_numpy()
    states = np.unique(np.column_stack([energy.ravel(), weights.to_numpy().reshape(energy.size, -1)]), axis=0)
    values, counts = np.unique(states[:, 0].astype(int), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/digits.py DIR")
    results = mcmc.load(sys.argv[1])
    (density,) = densities_of_states(results)
    seen = distinct(results)
    print(f"verdict: {results.summary().verdict}; {results.dataset.attrs['n_patterns']} patterns")
    print(f"{'errors':>6} {'states':>10} {'error':>7} {'seen':>6}")
    for energy, log_g, error in zip(density.energy[:N_ENERGIES], density.log_g, density.error, strict=False):
        print(f"{energy:6.0f} {np.exp(log_g):10.1f} {np.exp(log_g) * error:7.1f} {seen.get(int(energy), 0):6d}")


if __name__ == "__main__":
    main()
