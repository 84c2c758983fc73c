"""Franz-Parisi potentials of learning from a teacher, from a scan over overlaps, beside replica theory.

    python runs/franz_parisi.py out/franz-parisi

Reads the tasks of runs/scan-franz-parisi.toml in DIR, prints V(R) at beta = 1 by alpha and draws DIR/franz-parisi.png.
Two checks need no theory: exp(-n V) adds up to 1 over all overlaps, and it is the histogram of R in the run without
constraint, as far as that comes. Theory is replica-symmetric for N -> infinity (replica.py), but for the number of
states at each overlap, which is that of N.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import replica
from matplotlib.figure import Figure
from scipy.special import entr, gammaln, logsumexp

import mcmc
from mcmc.analysis import Results, plots
from mcmc.analysis.franz_parisi import Potential, potential
from mcmc.analysis.statistics import Estimate, average_over_instances

BETA = 1.0


def read(directory: Path) -> dict[float, tuple[Results, Potential]]:
    """By alpha: the run without constraint, and the potential."""
    tasks: dict[float, list[Results]] = {}
    for path in sorted(directory.glob("*/results.h5")):
        results = mcmc.load(path.parent)
        tasks.setdefault(results.config["data"]["alpha"], []).append(results)
    found = {}
    for alpha, runs in sorted(tasks.items()):
        (free,) = [results for results in runs if "constraint" not in results.config]
        found[alpha] = free, potential(free, [results for results in runs if results is not free], BETA)
    return found


def total_probability(found: Potential) -> Estimate:
    """The sum of exp(-n V) over all overlaps above 0; at 1 is the teacher alone, which makes no errors.

    The rest is below a thousandth at these loads.
    """
    below_one = np.exp(-found.n_weights * found.instances).sum(axis=1)
    totals = below_one + np.exp(-found.log_z)
    return average_over_instances(totals, np.zeros(len(totals)))


def histogram(free: Results) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps and -ln P(R)/n in the run without constraint, averaged over instances; where all of them have been."""
    n = int(free.dataset.attrs["n_weights"])
    rung = int(np.argmin(np.abs(free.dataset["beta"].to_numpy() - BETA)))
    rows = free.equilibrium()["teacher_overlap"].isel(rung=rung).transpose("instance", ...).to_numpy()
    differ = np.rint(n * (1 - rows.reshape(len(rows), -1)) / 2).astype(int)
    counts = np.array([np.bincount(each, minlength=n + 1) for each in differ])
    seen = np.flatnonzero((counts > 0).all(axis=0))
    return 1 - 2 * seen / n, -np.log(counts[:, seen] / differ.shape[1]).mean(axis=0) / n


def theory(alpha: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The overlaps above 0 that n weights have, increasing, and V there."""
    differ = np.arange((n - 1) // 2, -1, -1)
    overlap = 1 - 2 * differ / n
    log_states = gammaln(n + 1) - gammaln(differ + 1) - gammaln(n - differ + 1)
    phi = np.array([replica.at_overlap(each, alpha, BETA).phi for each in overlap[:-1]] + [0.0])
    log_z = log_states + n * (phi - entr((1 + overlap) / 2) - entr((1 - overlap) / 2))
    return overlap, (logsumexp(log_z) - log_z) / n


def picture(found: dict[float, tuple[Results, Potential]]) -> Figure:
    """V by alpha, measured, from the histogram and in theory; open symbols where an odd number of weights differ."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 4.4))
        axes = figure.subplots()
        for (alpha, (free, here)), colour in zip(found.items(), (plots.BLUE, plots.ORANGE, plots.GREEN), strict=False):
            means, errors = np.array([(each.mean, each.error) for each in here.average]).T
            is_odd = np.rint(here.n_weights * (1 - here.overlap) / 2).astype(int) % 2 == 1
            for which, face in ((~is_odd, colour), (is_odd, "white")):
                label = None if which is is_odd else rf"$\alpha = {alpha:g}$"
                points = here.overlap[which], means[which], errors[which]
                axes.errorbar(*points, fmt="o", color=colour, mfc=face, lw=0.8, ms=4, label=label)
            axes.plot(*theory(alpha, here.n_weights), color=colour, lw=0.9)
            axes.plot(*histogram(free), "x", color="black", ms=3.5, mew=0.7, zorder=3)
        axes.plot([], [], "-", color=plots.GREY, lw=0.9, label="replica symmetry")
        axes.plot([], [], "x", color="black", ms=3.5, mew=0.7, label=r"$-\ln P(R)/n$, no constraint")
        axes.set(xlabel="overlap with the teacher $R$", ylabel=r"$V(R)$ per weight", xlim=(0, 1), ylim=(0, None))
        axes.legend()
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/franz_parisi.py DIR")
    directory = Path(sys.argv[1])
    found = read(directory)
    for alpha, (free, here) in found.items():
        verdict, total = free.summary().verdict, total_probability(here)
        print(f"alpha = {alpha:g}: {len(here.instances)} references; the run without constraint is {verdict}")
        print(f"  sum of exp(-n V): {total.mean:.4f}, standard error {total.error:.4f}, expected 1")
        print(f"  {'R':>7} {'V':>8} {'error':>8} {'thermal':>8} {'theory':>8}")
        expected = np.interp(here.overlap, *theory(alpha, here.n_weights))
        for overlap, each, beside in zip(here.overlap, here.average, expected, strict=True):
            print(f"  {overlap:7.4f} {each.mean:8.4f} {each.error:8.4f} {each.thermal_error:8.4f} {beside:8.4f}")
    path = directory / "franz-parisi.png"
    picture(found).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
