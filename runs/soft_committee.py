"""Learning curve of a soft committee with its specialisation, beside theory at high temperature: table and picture.

    python runs/soft_committee.py out/soft-committee

Runs soft-committee.toml (a finished one is not run again) and writes OUT/soft_committee.png. Theory: beta -> 0 with
a = beta P / (N K) fixed and N -> infinity (Biehl, Schlosser, Ahr, Europhys. Lett. 44 (1998) 261), teacher of orthogonal
units. Per weight the state minimises a eps(R, S, C) - s(R, S, C), with R the overlap of a unit with its teacher unit, S
with the other one, C between the units of the student.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

import mcmc
from mcmc.analysis import plots
from mcmc.analysis.statistics import average_over_instances

TRANSITION = 23.676
"""a at which specialisation begins, K = 2: continuous."""
STARTS = ((0.5, 0.5, 0.5), (0.8, 0.2, 0.1), (0.6, 0.4, 0.3))


def generalisation_error(own: np.ndarray, cross: np.ndarray) -> float:
    """Mean of (f - f_teacher)^2 / 2, orthonormal teacher: Saad and Solla, Phys. Rev. Lett. 74 (1995) 4337.

    own, cross: (K, K) overlaps of units of the student with each other, and with those of the teacher.
    """
    k = len(own)
    terms = np.arcsin(own / 2).sum() + k * np.arcsin(0.5) - 2 * np.arcsin(cross / 2).sum()
    return terms / (k * np.pi)


def free_energy(order: np.ndarray, a: float, k: int = 2) -> float:
    """beta F / (N K) of the order parameters R, S, C, up to a constant."""
    r, s, c = order
    own, cross = (1 - c) * np.eye(k) + c, (r - s) * np.eye(k) + s
    volume = own - cross @ cross.T
    if np.linalg.eigvalsh(volume)[0] <= 0:
        return np.inf
    return a * generalisation_error(own, cross) - np.linalg.slogdet(volume)[1] / (2 * k)


def theory(a: float) -> np.ndarray:
    """R, S, C of the state of lowest free energy, R >= S."""
    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 5000}
    found = [minimize(free_energy, start, args=(a,), method="Nelder-Mead", options=options) for start in STARTS]
    r, s, c = min(found, key=lambda each: each.fun).x
    return np.array([max(r, s), min(r, s), c])


def measure(results: mcmc.Results) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a (n_rungs,), and mean and standard error over instances of R and S, units named by their best teacher unit."""
    data = results.equilibrium()
    overlap = data["hidden_teacher_overlap"].transpose("instance", "rung", "sample", "copy", "hidden", "teacher_hidden")
    same = (overlap[..., 0, 0] + overlap[..., 1, 1]).to_numpy() / 2
    other = (overlap[..., 0, 1] + overlap[..., 1, 0]).to_numpy() / 2
    pairs = np.stack([np.maximum(same, other), np.minimum(same, other)])  # (2, instance, rung, sample, copy)
    found = [
        [average_over_instances(of_rung, np.zeros(len(of_rung))) for of_rung in values.mean(axis=(2, 3)).T]
        for values in pairs
    ]
    a = data["beta"].to_numpy() * data.attrs["n_patterns"] / data.attrs["n_weights"]
    return a, np.array([[e.mean for e in row] for row in found]), np.array([[e.error for e in row] for row in found])


def picture(a: np.ndarray, mean: np.ndarray, error: np.ndarray) -> Figure:
    """R and S against a, measured and in theory."""
    grid = np.linspace(1, a[-1], 120)
    curves = np.array([theory(x) for x in grid])
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 4.0))
        axes = figure.subplots()
        for row, name, colour, marker in ((0, "$R$", plots.ORANGE, "o"), (1, "$S$", plots.BLUE, "s")):
            axes.plot(grid, curves[:, row], color=colour, lw=1)
            axes.errorbar(a, mean[row], error[row], fmt=marker, color=colour, label=f"{name}, measured")
        axes.axvline(TRANSITION, color=plots.GREY, lw=0.8, ls="--")
        axes.text(TRANSITION, 0.02, " specialisation", color=plots.GREY, fontsize=8)
        axes.set(xlabel=r"$\beta P / (N K)$", ylabel="overlap of a unit with the teacher's", ylim=(0, 1))
        axes.legend()
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/soft_committee.py OUT")
    output = Path(sys.argv[1])
    results = mcmc.run(Path(__file__).with_name("soft-committee.toml"), output=output, quiet=True)
    a, mean, error = measure(results)
    print(f"{'a':>6} {'R':>8} {'error':>8} {'theory':>8} {'S':>8} {'error':>8} {'theory':>8}")
    for x, r, s, r_error, s_error in zip(a, *mean, *error, strict=True):
        expected = theory(x)
        print(f"{x:6.1f} {r:8.4f} {r_error:8.4f} {expected[0]:8.4f} {s:8.4f} {s_error:8.4f} {expected[1]:8.4f}")
    path = output / "soft_committee.png"
    picture(a, mean, error).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
