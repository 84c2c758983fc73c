"""The table of a run: per rung means with error bars, autocorrelation time, exchange, and a verdict.

The verdict is a light check: "stuck" and "too short" are reasons not to believe a rung, "not contradicted" is no proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr

from mcmc.analysis import statistics
from mcmc.analysis.generalisation import generalisation_error
from mcmc.analysis.permutations import aligned_series
from mcmc.analysis.results import Results
from mcmc.analysis.statistics import Estimate

VERDICTS = ("not contradicted", "too short", "stuck")
"""From best to worst; the worst rung speaks for the run."""

DRIFT_LEVEL = 0.01  # chance that a good run has any rung called stuck for its drift
MAX_R_HAT = 1.1
MIN_ESS = 50  # per rung, all instances and copies together
MIN_ESS_INSTANCE = 10
MAX_DECIMALS = 6  # in the table
MAX_WIDTH = 120
APART = 6  # estimates side by side that fit when their errors are told apart

COLUMNS = {  # estimate -> heading in the table
    "energy_per_pattern": "E/P",
    "heat_capacity": "C",
    "overlap": "q",
    "teacher_overlap": "R",
    "aligned_overlap": "q_al",
    "aligned_teacher_overlap": "R_al",
    "specialisation": "spec",
    "generalisation_error": "eps_g",
    "log_z": "lnZ",
    "entropy": "s",
    "norm": "norm",
    "kinetic_temperature": "T_kin",
    "energy_error": "dH",
}
OF_SAMPLERS = ("norm", "kinetic_temperature", "energy_error")
"""Estimates of runs with real weights."""
LARGEST_ERROR = 1e3
"""As which larger changes of the energy by the integrator count."""
ALIGNED = {"overlap": "aligned_overlap", "teacher_overlap": "aligned_teacher_overlap"}
"""What stands in the table, and is judged, in place of an overlap that depends on the order or the signs of units."""

LEGEND_ALIGNED = """\
q_al, R_al: as q and R, of units in their best order (and with their best signs, or mixed, where the output does not
depend on these either); spec specialisation, mean overlap of a unit with its partner in the teacher less that with the
others."""

LEGEND = """\
1.234(56) = mean(standard error); beta in 1/energy; E/P energy per pattern; C heat capacity beta^2 Var(E) per weight;
q overlap of two copies; R overlap with the teacher; eps_g generalisation error; tau autocorrelation time of the energy
in sweeps; ess effective samples (energy); acc accepted / proposed moves; exch accepted / proposed exchanges with the
next rung; trips: times a walker went from the rung to the hottest one and back. (?) error cannot be told, - none."""


LEGEND_OF_FREE_ENERGY = """\
lnZ logarithm of the partition function, s entropy per weight: of states counted (Ising), or of the normalised prior."""

LEGEND_OF_SAMPLERS = """\
norm w.w / n_weights; T_kin kinetic temperature of the momenta; dH change of the total energy by the integrator, per
sweep (1000 at most); step: step size of the sampler, as used (mean over instances)."""


@dataclass(frozen=True)
class Rung:
    """What is known at one inverse temperature. None: does not exist in this run; NaN: the data cannot tell."""

    beta: float
    estimates: dict[str, Estimate]
    """energy and those of `COLUMNS` that exist."""
    tau: float
    """Integrated autocorrelation time of the energy, 1 + 2 sum rho, in sweeps; mean over instances."""
    ess: float
    """Effective samples of the energy, all instances and copies together; frozen instances count as none."""
    step_size: float | None
    """Of the sampler, as used; mean over instances."""
    acceptance: float | None
    exchange_rate: float | None
    """Accepted / proposed exchanges with the next rung, after burn-in."""
    round_trips: int | None
    """Trips rung -> hottest rung -> rung, over walkers, copies and instances; none at the hottest rung itself."""
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Summary:
    """Per-rung results of one run; `print` it for the table."""

    rungs: list[Rung]
    n_instances: int
    n_copies: int
    n_samples: int
    first_sweep: int
    last_sweep: int
    n_weights: int
    n_patterns: int
    n_sweeps: int
    """Of the schedule; rows up to last_sweep are there."""
    complete: bool
    notes: tuple[str, ...]
    """What the free energies say: what is missing, what not to believe; a line each."""

    @property
    def verdict(self) -> str:
        """The worst verdict of all rungs."""
        return max((rung.verdict for rung in self.rungs), key=VERDICTS.index)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def table(self) -> str:
        """Aligned text: one line per rung, the errors of several instances apart, a legend, the verdict."""
        estimates = self.rungs[0].estimates
        names = [name for name in COLUMNS if name in estimates and ALIGNED.get(name) not in estimates]
        rows = [_headings(names, self.rungs[0].step_size is not None), *(_cells(rung, names) for rung in self.rungs)]
        parts = [self._head(), _aligned(rows)]
        if max(map(len, parts[-1].splitlines())) > MAX_WIDTH:  # estimates first, the rest below
            stop = 1 + len(names)
            parts[-1:] = [_aligned([row[:stop] for row in rows]), _aligned([row[:1] + row[stop:] for row in rows])]
        if self.n_instances >= 2:
            names = [name for name in names if name not in OF_SAMPLERS]
            parts.append(
                "Errors apart: thermal (finite series) | sample to sample (finite number of instances, contains the "
                "thermal)"
            )
            for some in (names[k : k + APART] for k in range(0, len(names), APART)):
                rows = [["beta", *(COLUMNS[name] for name in some)], *self._errors_apart(some)]
                parts[-1] += f"\n{_aligned(rows)}"
        legends = [LEGEND]
        if any(name in estimates for name in ALIGNED.values()):
            legends.append(LEGEND_ALIGNED)
        if self.rungs[0].step_size is not None or any(name in estimates for name in OF_SAMPLERS):
            legends.append(LEGEND_OF_SAMPLERS)
        if "log_z" in estimates:
            legends.append(LEGEND_OF_FREE_ENERGY)
        notes = [fill(note, MAX_WIDTH, subsequent_indent="  ") for note in self.notes]
        parts += [part for part in ("\n".join(legends), "\n".join(notes), self._closing()) if part]
        return "\n\n".join(parts)

    def _head(self) -> str:
        state = "" if self.complete else f" of {self.n_sweeps} (the run is not complete)"
        return (
            f"N = {self.n_weights} weights, P = {self.n_patterns} patterns; "
            f"{_count(self.n_instances, 'instance')}, {_count(self.n_copies, 'copy', 'copies')}, "
            f"{_count(len(self.rungs), 'rung')}\n"
            f"{_count(self.n_samples, 'sample')} after burn-in, sweeps {self.first_sweep} to {self.last_sweep}{state}"
        )

    def _errors_apart(self, names: list[str]) -> Iterator[list[str]]:
        for rung in self.rungs:
            found = [rung.estimates[name] for name in names]
            pairs = [f"{_two_digits(e.thermal_error):>7} | {_two_digits(e.sample_error):<7}" for e in found]
            yield [f"{rung.beta:.4g}", *pairs]

    def _closing(self) -> str:
        betas: dict[str, list[str]] = {}
        for rung in self.rungs:
            for reason in rung.reasons:
                betas.setdefault(f"{rung.verdict}: {reason}", []).append(f"{rung.beta:.4g}")
        lines = [f"  {reason}; beta = {', '.join(where)}" for reason, where in betas.items()]
        return "\n".join([f"Verdict: {self.verdict}", *lines])

    def to_json_dict(self) -> dict[str, Any]:
        """As `mcmc summary --json` prints it; what does not exist is left out, what cannot be told is None."""
        return {"verdict": self.verdict, "rungs": [_json_rung(rung) for rung in self.rungs]}


def summarise(results: Results) -> Summary:
    """Analyse the rows after the burn-in. Raises ConfigError when there are none."""
    data = results.equilibrium()
    attrs = data.attrs
    sweeps = data["sweep"].to_numpy()
    return Summary(
        rungs=_rungs(results),
        n_instances=data.sizes["instance"],
        n_copies=data.sizes["copy"],
        n_samples=len(sweeps),
        first_sweep=int(sweeps[0]),
        last_sweep=int(sweeps[-1]),
        n_weights=int(attrs["n_weights"]),
        n_patterns=int(attrs["n_patterns"]),
        n_sweeps=int(results.config["schedule"]["sweeps"]),
        complete=bool(attrs["complete"]),
        notes=results.free_energy().notes,
    )


def by_rung(values: xr.DataArray) -> np.ndarray:
    """A time series as contiguous float64 (rung, instance, copy or pair, sample)."""
    chain = "pair" if "pair" in values.dims else "copy"
    return np.ascontiguousarray(values.transpose("rung", "instance", chain, "sample").to_numpy(), dtype=np.float64)


def exchange_rates(data: xr.Dataset) -> list[float | None]:
    """Accepted / proposed exchanges of rungs r and r + 1 over instances and copies; None at the end or without any."""
    if "exchange_proposed" not in data:
        return [None] * data.sizes["rung"]
    accepted, proposed = (
        data[name].sum(("instance", "copy")).to_numpy() for name in ("exchange_accepted", "exchange_proposed")
    )
    return [float(a / p) if p > 0 else None for a, p in zip(accepted, proposed, strict=True)] + [None]


def round_trips(walker: np.ndarray, beta: np.ndarray) -> list[int | None]:
    """Completed trips rung -> hottest rung -> rung for each rung, over walkers, copies and instances.

    walker: which one sat on a rung, integers (rungs, ladders, samples)

    None at the hottest rung. The coldest rung has the trips cold -> hot -> cold. Visits between two samples are not
    seen: a lower bound.
    """
    hottest = int(np.argmin(beta))
    return [None if rung == hottest else sum(map(_trips, walker[hottest], walker[rung])) for rung in range(len(beta))]


def _trips(at_hot: np.ndarray, at_cold: np.ndarray) -> int:
    """Completed cold -> hot -> cold trips, given which walker was at the two rungs: (samples,), (samples,) -> int."""
    visits = np.stack([at_hot, at_cold], axis=1).ravel()  # in order of time; the parity tells the end of the ladder
    order = np.argsort(visits, kind="stable")  # by walker, then by time; of 16 bits, and so a radix sort
    walker, cold = visits[order], order % 2 == 1
    first = np.diff(walker, prepend=-1) != 0
    arrivals = np.count_nonzero(cold[1:] & ~cold[:-1] & ~first[1:])
    # A walker first seen at the hot end completes no trip when it first arrives at the cold one.
    return int(arrivals) - len(np.intersect1d(walker[first & ~cold], at_cold))


def judge(series: dict[str, np.ndarray], sizes: np.ndarray, n_rungs: int) -> tuple[str, tuple[str, ...]]:
    """Verdict of one rung and its reasons, from its series (instance, chain, sample) and the ESS of each instance."""
    energy = series["energy"]
    if energy.shape[-1] < statistics.MIN_ROWS:
        return "too short", (f"fewer than {statistics.MIN_ROWS} samples",)
    stuck = []
    if statistics.drift_probability(energy) < DRIFT_LEVEL / n_rungs:
        stuck.append(f"halves of the energy series differ (error rate {DRIFT_LEVEL:.0%} a run)")
    for name in ("energy", _judged(series, "teacher_overlap")):
        if name in series and statistics.gelman_rubin(series[name]) > MAX_R_HAT:
            stuck.append(f"copies differ in {name} (R-hat > {MAX_R_HAT})")
    overlap = series.get(_judged(series, "overlap"))
    if overlap is not None and _frozen_apart(overlap).any():
        stuck.append("copies frozen in different states")
    if stuck:
        return "stuck", tuple(stuck)
    if np.isnan(sizes).all():
        return "too short", ("the energy never changes",)
    if np.nansum(sizes) < MIN_ESS:
        return "too short", (f"fewer than {MIN_ESS} effective samples",)
    if np.nanmin(sizes) < MIN_ESS_INSTANCE:
        return "too short", (f"an instance with fewer than {MIN_ESS_INSTANCE} effective samples",)
    return "not contradicted", ()


def _judged(series: dict[str, np.ndarray], name: str) -> str:
    """The overlap by which copies are compared: two that differ by a symmetry of their units are alike."""
    return ALIGNED[name] if ALIGNED[name] in series else name


def _frozen_apart(overlap: np.ndarray) -> np.ndarray:
    """Instances (n,) whose overlaps (n, pairs, samples) never change while some copies are in different states."""
    return statistics.is_frozen(overlap) & (np.abs(overlap[..., 0]) < 1).any(axis=-1)


def _rungs(results: Results) -> list[Rung]:
    data = results.equilibrium()
    sweeps = data["sweep"].to_numpy()
    interval = float(np.diff(sweeps).mean()) if len(sweeps) > 1 else np.nan
    exchange = exchange_rates(data)
    walkers: list[np.ndarray] = []
    rungs: list[Rung] = []
    for some in results.by_rungs():
        series = _series(some, results.config)
        walkers.append(_walkers(some))
        steps = _step_sizes(some)
        acceptance = [_mean_of_known(values) for values in by_rung(some["acceptance"])]
        for r, beta in enumerate(some["beta"].to_numpy()):
            here = {name: values[r] for name, values in series.items()}
            n_weights, n_patterns = int(data.attrs["n_weights"]), int(data.attrs["n_patterns"])
            estimates, sizes = _estimates(here, float(beta), n_weights, n_patterns)
            verdict, reasons = judge(here, sizes, data.sizes["rung"])
            tau = _mean_of_known(interval * here["energy"][0].size / sizes)
            rungs.append(
                Rung(
                    beta=float(beta),
                    estimates=estimates,
                    tau=np.nan if tau is None else tau,
                    ess=float(np.nansum(sizes)),
                    step_size=steps[r],
                    acceptance=acceptance[r],
                    exchange_rate=exchange[len(rungs)],
                    round_trips=None,
                    verdict=verdict,
                    reasons=reasons,
                )
            )
    trips = round_trips(np.concatenate(walkers), data["beta"].to_numpy())
    estimates = _free_energies(results)
    return [
        replace(rung, round_trips=n, estimates=rung.estimates | more)
        for rung, n, more in zip(rungs, trips, estimates, strict=True)
    ]


def _free_energies(results: Results) -> list[dict[str, Estimate]]:
    """log_z and entropy of each rung, where the run has a way to beta = 0."""
    found, beta = results.free_energy(), results.dataset["beta"].to_numpy()
    if not found.is_known:
        return [{}] * len(beta)
    pairs = zip(found.log_z, found.entropy, strict=True)
    by_beta = dict(zip(found.beta.tolist(), pairs, strict=True))
    return [dict(zip(("log_z", "entropy"), by_beta[each], strict=True)) for each in beta.tolist()]


def _walkers(data: xr.Dataset) -> np.ndarray:
    """Which walker sat where: uint16 (rung, instances x copies, samples)."""
    walker = data["walker"].transpose("rung", "instance", "copy", "sample").to_numpy().astype(np.uint16)
    return walker.reshape(len(walker), -1, walker.shape[-1])


def _series(data: xr.Dataset, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """What is averaged, (rung, instance, copy or pair, sample)."""
    series = {
        name: by_rung(data[name]) for name in ("energy", "overlap", "teacher_overlap", *OF_SAMPLERS) if name in data
    }
    if "energy_error" in series:  # a rejected proposal may have gone anywhere
        bounded = np.nan_to_num(series["energy_error"], nan=LARGEST_ERROR, posinf=LARGEST_ERROR)
        series["energy_error"] = bounded.clip(-LARGEST_ERROR, LARGEST_ERROR)
    errors = generalisation_error(data, config)
    if errors is not None:
        series["generalisation_error"] = by_rung(errors)
    return series | {name: by_rung(values) for name, values in aligned_series(data, config).items()}


def _estimates(
    series: dict[str, np.ndarray], beta: float, n_weights: int, n_patterns: int
) -> tuple[dict[str, Estimate], np.ndarray]:
    """Every estimate of one rung, and the effective sample size of the energy of each instance."""
    energy, energy_errors, sizes = statistics.time_average(series["energy"])
    variances = np.array([statistics.variance(*one) for one in zip(series["energy"], sizes, strict=True)])
    capacities, capacity_errors = (variances * (beta**2 / n_weights)).T
    estimates = {
        "energy": statistics.average_over_instances(energy, energy_errors),
        "energy_per_pattern": statistics.average_over_instances(energy / n_patterns, energy_errors / n_patterns),
        "heat_capacity": statistics.average_over_instances(capacities, capacity_errors),
    }
    for name in COLUMNS:
        if name in series:
            # Pairs share copies, so they are no independent chains: their mean is one series.
            of_pairs = name in ("overlap", "aligned_overlap")
            chains = series[name].mean(axis=1, keepdims=True) if of_pairs else series[name]
            if not np.isfinite(chains).all():  # an integrator that has left the numbers
                chains = np.full(chains.shape, np.nan)
            estimates[name] = statistics.average_over_instances(*statistics.time_average(chains)[:2])
    return estimates, sizes


def _step_sizes(data: xr.Dataset) -> list[float | None]:
    """Step size of each rung, mean over instances; None where the sampler has none."""
    if "step_size" not in data:
        return [None] * data.sizes["rung"]
    return data["step_size"].transpose("rung", "instance").to_numpy().mean(axis=1).tolist()


def _mean_of_known(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _json_rung(rung: Rung) -> dict[str, Any]:
    plain = {
        name: getattr(rung, name) for name in ("tau", "ess", "step_size", "acceptance", "exchange_rate", "round_trips")
    }
    return {
        "beta": rung.beta,
        **{name: {k: _json_number(v) for k, v in e._asdict().items()} for name, e in rung.estimates.items()},
        **{name: _json_number(value) for name, value in plain.items() if value is not None},
        "verdict": rung.verdict,
    }


def _json_number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def compact(mean: float, error: float) -> str:
    """`0.2165(12)`: the error in units of the last digits, two of them; `0.25(?)` if it is not known."""
    if not np.isfinite(mean):
        return "?"
    if not np.isfinite(error):
        return f"{mean:.4g}(?)"
    if error == 0:
        return f"{mean:.6g}(0)"
    decimals = 1 - int(np.floor(np.log10(float(f"{error:.1e}"))))
    if decimals > MAX_DECIMALS:
        return f"{mean:.{MAX_DECIMALS}f}({int(np.ceil(error * 10**MAX_DECIMALS))})"
    if decimals < 2:  # from 1 on the error is written out
        return f"{mean:.{max(decimals, 0)}f}({error:.{max(decimals, 0)}f})"
    return f"{mean:.{decimals}f}({round(error * 10**decimals)})"


def _headings(names: list[str], stepping: bool) -> list[str]:
    step = ["step"] if stepping else []
    return ["beta", *(COLUMNS[name] for name in names), "tau", "ess", *step, "acc", "exch", "trips", "verdict"]


def _cells(rung: Rung, names: list[str]) -> list[str]:
    estimates = [compact(rung.estimates[name].mean, rung.estimates[name].error) for name in names]
    rates = ["-" if rate is None else f"{rate:.2g}" for rate in (rung.acceptance, rung.exchange_rate)]
    if rung.step_size is not None:
        rates.insert(0, f"{rung.step_size:.3g}")
    trips = "-" if rung.round_trips is None else _short(rung.round_trips)
    return [f"{rung.beta:.4g}", *estimates, _short(rung.tau), _short(rung.ess), *rates, trips, rung.verdict]


def _short(value: float) -> str:
    """A positive number in five characters."""
    if np.isnan(value):
        return "?"
    if value >= 99999.5:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _two_digits(error: float) -> str:
    return f"{error:.2g}" if np.isfinite(error) else "?"


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _aligned(rows: list[list[str]]) -> str:
    """Columns flushed right, the first row the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
