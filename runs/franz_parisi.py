"""Franz-Parisi potentials of learning from a teacher, from a scan over overlaps, beside replica theory.

    python runs/franz_parisi.py out/franz-parisi

Reads the tasks of runs/scan-franz-parisi.toml in DIR, prints V(R) at beta = 1 by alpha and draws DIR/franz-parisi.png.
Two checks need no theory: exp(-n V) adds up to 1 over all overlaps, and it is the histogram of R in the run without
constraint, as far as that comes. Theory is replica-symmetric for N -> infinity (replica.py), but for the number of
states at each overlap, which is that of N. Inputs of +-1 make V alternate with the parity of the number of weights that
differ, by something of order 1/N, which theory has not; table and curves are means over neighbouring overlaps. The
verdicts in the table are the worst of the runs at these overlaps. Open symbols: stuck or too short is one of those, or
the run without constraint, whose ln Z all values of an alpha have in common.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import replica
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import entr, gammaln, logsumexp

import mcmc
from mcmc.analysis import Results, plots
from mcmc.analysis.franz_parisi import Potential, potential
from mcmc.analysis.statistics import Estimate, average_over_instances, averages
from mcmc.analysis.thermalisation import Verdict, is_trusted, worst

BETA = 1.0
CLOSE_UP = 2.33
"""The alpha of which every overlap is drawn."""


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


def theory(free: Results) -> tuple[np.ndarray, np.ndarray]:
    """The overlaps above 0 that the weights can have, increasing, and V there."""
    n, n_patterns = (int(free.dataset.attrs[name]) for name in ("n_weights", "n_patterns"))
    differ = np.arange((n - 1) // 2, -1, -1)
    overlap = 1 - 2 * differ / n
    log_states = gammaln(n + 1) - gammaln(differ + 1) - gammaln(n - differ + 1)
    phi = np.array([replica.at_overlap(each, n_patterns / n, BETA).phi for each in overlap[:-1]] + [0.0])
    log_z = log_states + n * (phi - entr((1 + overlap) / 2) - entr((1 - overlap) / 2))
    return overlap, (logsumexp(log_z) - log_z) / n


def of_both_parities(found: Potential) -> tuple[np.ndarray, list[Estimate]]:
    """V averaged over neighbouring overlaps, an even and an odd number of weights that differ, and their middles."""
    pairs = [(each[:, 1:] + each[:, :-1]) / 2 for each in (found.instances, found.errors)]
    return (found.overlap[1:] + found.overlap[:-1]) / 2, averages(*pairs)


def verdicts_of_both(found: Potential) -> list[Verdict]:
    """The worse one of neighbouring overlaps."""
    return [worst(pair) for pair in zip(found.verdicts[1:], found.verdicts[:-1], strict=True)]


def in_a_word(verdict: Verdict) -> str:
    name, _ = verdict
    return name if name == "stuck" or is_trusted(verdict) else "too short"


def draw(axes: Axes, x: np.ndarray, estimates: Sequence[Estimate], trusted: np.ndarray, **style: Any) -> None:
    """Symbols with error bars, open where they are not to be trusted."""
    means, errors = np.array([(each.mean, each.error) for each in estimates]).T
    style |= {"ms": 4, "lw": 0.8, "ls": "none"}
    label, face = style.pop("label"), style["color"]
    axes.errorbar([], [], [], mfc=face, label=label, **style)
    for which, fill in ((trusted, face), (~trusted, "white")):
        axes.errorbar(x[which], means[which], errors[which], mfc=fill, **style)


def picture(found: dict[float, tuple[Results, Potential]]) -> Figure:
    """V(R) at CLOSE_UP beside the histogram, and averaged over parities, at every alpha, beside theory."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(8.6, 3.8))
        raw, averaged = figure.subplots(1, 2, sharex=True)
        free, here = found[CLOSE_UP]
        is_odd = np.rint(here.n_weights * (1 - here.overlap) / 2).astype(int) % 2 == 1
        for which, name, marker, colour in ((~is_odd, "even", "o", plots.ORANGE), (is_odd, "odd", "s", plots.PURPLE)):
            estimates = [each for each, belongs in zip(here.average, which, strict=True) if belongs]
            style = {"marker": marker, "color": colour, "label": f"{name} number differ"}
            draw(raw, here.overlap[which], estimates, here.is_trusted[which], **style)
        raw.plot(*histogram(free), "x", color="black", ms=4, mew=0.8, zorder=3, label=r"$-\ln P(R)/n$, no constraint")
        for (alpha, (free, each)), colour in zip(found.items(), (plots.BLUE, plots.ORANGE, plots.GREEN), strict=True):
            overlap, estimates = of_both_parities(each)
            trusted = each.is_trusted[1:] & each.is_trusted[:-1]
            draw(averaged, overlap, estimates, trusted, marker="o", color=colour, label=rf"$\alpha = {alpha:g}$")
            averaged.plot(*theory(free), color=colour)
        averaged.plot([], [], "-", color=plots.GREY, label="replica symmetry")
        if not all(each.is_trusted.all() for _, each in found.values()):
            averaged.plot([], [], "o", color=plots.GREY, mfc="white", ms=4, label="stuck or too short")
        for axes, title in ((raw, rf"$\alpha = {CLOSE_UP:g}$"), (averaged, "mean of even and odd")):
            axes.set(xlabel="overlap with the teacher $R$", title=title, xlim=(0, 1), ylim=(0, None))
            axes.legend()
        raw.set_ylabel("$V(R)$ per weight")
    return figure


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/franz_parisi.py DIR")
    directory = Path(sys.argv[1])
    found = read(directory)
    for alpha, (free, here) in found.items():
        total, told = total_probability(here), in_a_word(here.free_verdict)
        print(f"alpha = {alpha:g}: {len(here.instances)} references; the run without constraint: {told}")
        print(f"  sum of exp(-n V): {total.mean:.4f}, standard error {total.error:.4f}, expected 1")
        print(f"  {'R':>7} {'V':>8} {'error':>8} {'thermal':>8} {'theory':>8}  verdict")
        middles, estimates = of_both_parities(here)
        expected = np.interp(middles, *theory(free))
        verdicts = map(in_a_word, verdicts_of_both(here))
        for overlap, each, beside, verdict in zip(middles, estimates, expected, verdicts, strict=True):
            numbers = f"{each.mean:8.4f} {each.error:8.4f} {each.thermal_error:8.4f} {beside:8.4f}"
            print(f"  {overlap:7.4f} {numbers}  {verdict}")
    path = directory / "franz-parisi.png"
    picture(found).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
