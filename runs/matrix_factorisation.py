"""A two-layer linear network with its second layer sampled and fixed, beside the exact result: table and picture.

    python runs/matrix_factorisation.py out/matrix-factorisation

Runs matrix-factorisation.toml with K = 1, 4 and 16 units and with all v_k = 1 (finished runs are not run again), prints
a table and writes OUT/matrix_factorisation.png. Exact, at any size: given v the weights of the network as a whole,
u = (1/sqrt K) sum_k v_k w_k, are normal of variance s / lambda, s = v.v / K, so that the posterior is an average of
those of ridge regression over s, whose prior is chi^2 of K degrees of freedom, over lambda K. With a fixed second layer
s = 1.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.special import logsumexp

import mcmc
from mcmc import config
from mcmc.analysis import plots
from mcmc.analysis.statistics import time_average
from mcmc.analysis.summary import by_rung
from mcmc.data import Instance
from mcmc.problem import Problem

RUN_FILE = Path(__file__).with_name("matrix-factorisation.toml")
UNITS = {"K = 1": 1, "K = 4": 4, "K = 16": 16, "fixed": None}
"""Names of the runs, and K where the second layer is sampled."""
LOG_S = np.linspace(-40, 8, 2001)
"""Nodes of the integral over log s."""


class Curve(NamedTuple):
    """v.v / K and the test error, (n_beta,) each, means over the instances; of a measurement with standard errors."""

    scale: np.ndarray
    test_error: np.ndarray


class Exact:
    """One instance; precision: lambda of the prior."""

    def __init__(self, instance: Instance, precision: float) -> None:
        fresh, clean = instance.test
        g, g_test = (inputs.dense() / np.sqrt(inputs.n_inputs) for inputs in (instance.inputs, fresh))
        self.precision = precision
        self.curvatures, self.modes = np.linalg.eigh(g.T @ g)  # f = g u
        self.along = self.modes.T @ g.T @ instance.labels
        self.test_gram = self.modes.T @ g_test.T @ g_test @ self.modes / fresh.n_patterns
        self.teacher = self.modes.T @ np.linalg.lstsq(g_test, clean, rcond=None)[0]

    def averages(self, beta: float, n_hidden: int | None) -> tuple[float, float]:
        """<v.v> / K and the mean of (f - label)^2 / 2 over the test patterns; n_hidden None: all v_k = 1."""
        s = np.ones(1) if n_hidden is None else np.exp(LOG_S)
        variances = 1 / (beta * self.curvatures[:, None] + self.precision / s)  # of u along the modes, given s
        means = beta * self.along[:, None] * variances
        off = means - self.teacher[:, None]
        errors = ((off * (self.test_gram @ off)).sum(axis=0) + self.test_gram.diagonal() @ variances) / 2
        log_weight = np.zeros(s.size)
        if n_hidden is not None:
            log_weight += n_hidden / 2 * (LOG_S - self.precision * s)
            log_weight += (np.log(variances * self.precision / s) + beta * self.along[:, None] * means).sum(axis=0) / 2
        weight = np.exp(log_weight - logsumexp(log_weight))
        return float(weight @ s), float(weight @ errors)


def exact(problem: Problem, beta: np.ndarray, n_hidden: int | None) -> Curve:
    """Means over the instances of a run."""
    laws = [Exact(problem.instance(i), problem.prior.precision) for i in range(problem.n_instances)]
    found = np.array([[law.averages(b, n_hidden) for b in beta] for law in laws]).mean(axis=0)
    return Curve(*found.T)


def measured(data: xr.Dataset) -> tuple[Curve, Curve]:
    """Means over these very instances, and what the finite series leave open of them."""
    one = xr.ones_like(data["test_error"])
    scale = (data["second_layer"] ** 2).mean("hidden") if "second_layer" in data else one
    values = [time_average(by_rung(values))[:2] for values in (scale, data["test_error"])]
    errors = [np.sqrt((error**2).mean(axis=1) / error.shape[1]) for _, error in values]
    return Curve(*(mean.mean(axis=1) for mean, _ in values)), Curve(*errors)


def runs(output: Path) -> Iterator[tuple[str, int | None, mcmc.Results]]:
    """Name, K and results of every run."""
    for name, n_hidden in UNITS.items():
        tables = tomllib.loads(RUN_FILE.read_text())
        tables["model"] |= {"second_layer": "fixed"} if n_hidden is None else {"n_hidden": n_hidden}
        yield name, n_hidden, mcmc.run(tables, output / name.replace(" = ", ""), quiet=True)


def picture(
    beta: np.ndarray,
    found: dict[str, tuple[Curve, Curve]],
    fine: np.ndarray,
    curves: dict[str, Curve],
    precision: float,
) -> Figure:
    """Both quantities: symbols `found` at beta, lines `curves`, exact, at `fine`."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(8.0, 3.6))
        axes = figure.subplots(1, 2)
        colours = (plots.BLUE, plots.GREEN, plots.ORANGE, plots.GREY)
        for (name, (mean, error)), colour, marker in zip(found.items(), colours, "osD^", strict=True):
            label = f"{name}, sampled" if name != "fixed" else r"all $v_k = 1$"
            for axis, exact_values, values, bars in zip(axes, curves[name], mean, error, strict=True):
                axis.plot(fine, exact_values, color=colour, lw=1)
                axis.errorbar(beta, values, np.nan_to_num(bars), fmt=marker, ms=4, color=colour, label=label)
        axes[0].axhline(1 / precision, color=plots.GREY, lw=0.8, ls="--")
        axes[0].text(
            fine[-1], 1 / precision, r"prior, $K \to \infty$", color=plots.GREY, fontsize=8, ha="right", va="bottom"
        )
        axes[0].set(xscale="log", xlabel=r"$\beta$", ylabel=r"scale of the second layer $v \cdot v / K$")
        axes[1].set(xscale="log", xlabel=r"$\beta$", ylabel=r"test error $\langle (f - f_{teacher})^2 \rangle / 2$")
        axes[0].legend()
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/matrix_factorisation.py OUT")
    output = Path(sys.argv[1])
    problem = Problem(config.load(RUN_FILE))
    fine = np.geomspace(problem.beta[0], problem.beta[-1], 100)
    found, curves = {}, {}
    print(f"{'':>7} {'beta':>7} {'v.v/K':>8} {'error':>8} {'exact':>8} {'test':>8} {'error':>8} {'exact':>8}")
    for name, n_hidden, results in runs(output):
        mean, error = measured(results.equilibrium())
        found[name], curves[name] = (mean, error), exact(problem, fine, n_hidden)
        scale, test = (np.array(row) for row in zip(mean, error, exact(problem, problem.beta, n_hidden), strict=True))
        for beta, numbers in zip(problem.beta, np.concatenate([scale, test]).T, strict=True):
            print(f"{name:>7} {beta:7.3f}" + "".join(f" {number:8.4f}" for number in numbers))
    path = output / "matrix_factorisation.png"
    picture(problem.beta, found, fine, curves, problem.prior.precision).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
