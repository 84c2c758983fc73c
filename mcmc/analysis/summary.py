"""The table of a run: per rung means with error bars, autocorrelation time, exchange, and a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mcmc.analysis import export, statistics, thermalisation
from mcmc.analysis.exchange import Exchange, Walkers, diagnose, exchange_rates, trips_of_ladders
from mcmc.analysis.free_energy import FreeEnergy
from mcmc.analysis.generalisation import generalisation_error
from mcmc.analysis.permutations import aligned_series
from mcmc.analysis.results import Results
from mcmc.analysis.statistics import Estimate
from mcmc.analysis.thermalisation import ALIGNED, VERDICTS, Setting

if TYPE_CHECKING:
    import pandas as pd

MAX_DECIMALS = 6  # in the table
MAX_WIDTH = 120

COLUMNS = {  # estimate -> heading in the table
    "energy_per_pattern": "E/P",
    "heat_capacity": "C",
    "overlap": "q",
    "teacher_overlap": "R",
    "aligned_overlap": "q_al",
    "aligned_teacher_overlap": "R_al",
    "binder": "Binder",
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
LEGEND_ALIGNED = """\
q_al, R_al: as q and R, of units in their best order (and with their best signs, or mixed, where the output does not
depend on these either); spec specialisation, mean overlap of a unit with its partner in the teacher less that with the
others."""

LEGEND = """\
1.234(56) = mean(standard error); beta in 1/energy; E/P energy per pattern; C heat capacity beta^2 Var(E) per weight;
q overlap of two copies; R overlap with the teacher; Binder ratio (3 - <q^4>/<q^2>^2)/2; eps_g generalisation error;
tau autocorrelation time of the energy in sweeps; ess effective samples (energy); acc accepted / proposed moves; exch
accepted / proposed exchanges with the next rung; trips: times a walker went from the rung to the hottest one and back.
(?) error cannot be told, - none."""

ERRORS_APART = """\
Errors apart: thermal (finite series) | sample to sample (finite number of instances, contains the thermal)"""

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
    r_hat: float
    """R-hat of the energy over copies, the largest of all instances; NaN for one copy."""
    step_size: float | None
    """Of the sampler, as used; mean over instances."""
    acceptance: float | None
    exchange_rate: float | None
    """Accepted / proposed exchanges with the next rung, after burn-in."""
    round_trips: int | None
    """Trips rung -> hottest rung -> rung, over walkers, copies and instances; none at the hottest rung itself."""
    verdict: str
    reasons: tuple[str, ...]

    @property
    def is_trusted(self) -> bool:
        """Whether nothing speaks against the rung, and its series are long enough to have shown it."""
        return thermalisation.is_trusted((self.verdict, self.reasons))


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
    exchange: Exchange = field(compare=False)  # of arrays
    free_energy: FreeEnergy = field(compare=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the free energies say: what is missing, what not to believe; a line each."""
        return self.free_energy.notes

    @property
    def verdict(self) -> str:
        """The worst verdict of all rungs."""
        return max((rung.verdict for rung in self.rungs), key=VERDICTS.index)

    @property
    def reasons(self) -> list[tuple[str, str, list[float]]]:
        """Verdict, reason and the betas of the rungs that have both, the worst verdict first.

        What differs in R-hat alone is one reason, with the range of it.
        """
        betas: dict[tuple[str, str], list[float]] = {}
        sizes: dict[tuple[str, str], list[float]] = {}
        for rung in self.rungs:
            for reason in rung.reasons:
                found = thermalisation.R_HAT.search(reason)
                told = rung.verdict, thermalisation.R_HAT.sub("", reason)
                betas.setdefault(told, []).append(rung.beta)
                sizes.setdefault(told, []).extend([float(found[1])] if found else [])
        in_order = sorted(betas, key=lambda told: -VERDICTS.index(told[0]))
        return [(told[0], told[1] + thermalisation.r_hat_in_words(sizes[told]), betas[told]) for told in in_order]

    def where(self, betas: list[float]) -> str:
        """Some rungs in words, `beta = 0.5, 1 to 2`."""
        ladder = np.array([rung.beta for rung in self.rungs])
        return thermalisation.where(ladder, np.isin(ladder, betas))

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def table(self) -> str:
        """Aligned text: one line per rung, the errors of several instances apart, a legend, the verdict."""
        rows = self.cells()
        parts = [self._head(), _aligned(rows)]
        if max(map(len, parts[-1].splitlines())) > MAX_WIDTH:  # estimates first, the rest below
            stop = 1 + len(self.columns())
            parts[-1:] = [_folded([row[:stop] for row in rows]), _folded([row[:1] + row[stop:] for row in rows])]
        if self.n_instances >= 2:
            parts.append(f"{ERRORS_APART}\n{_folded(self.cells_of_errors())}")
        notes = [fill(note, MAX_WIDTH, subsequent_indent="  ") for note in self.notes]
        parts += [part for part in (self.legend(), "\n".join(notes), self._closing()) if part]
        return "\n\n".join(parts)

    def cells(self) -> list[list[str]]:
        """The cells of the table, by row; the first row is the headings."""
        names = self.columns()
        return [_headings(names, self.rungs[0].step_size is not None), *(_cells(rung, names) for rung in self.rungs)]

    def cells_of_errors(self) -> list[list[str]]:
        """The same of the errors, thermal | sample to sample."""
        names = [name for name in self.columns() if name not in OF_SAMPLERS]
        return [["beta", *(COLUMNS[name] for name in names)], *self._errors_apart(names)]

    def legend(self) -> str:
        """What the headings of the table mean."""
        estimates = self.rungs[0].estimates
        legends = [LEGEND]
        if any(name in estimates for name in ALIGNED.values()):
            legends.append(LEGEND_ALIGNED)
        if self.rungs[0].step_size is not None or any(name in estimates for name in OF_SAMPLERS):
            legends.append(LEGEND_OF_SAMPLERS)
        if "log_z" in estimates:
            legends.append(LEGEND_OF_FREE_ENERGY)
        return "\n".join(legends)

    def columns(self) -> list[str]:
        """The estimates that the table shows: overlaps are aligned ones where order or signs of units mean nothing."""
        estimates = self.rungs[0].estimates
        return [name for name in COLUMNS if name in estimates and ALIGNED.get(name) not in estimates]

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
        reasons = [f"{verdict}: {reason}; {self.where(betas)}" for verdict, reason, betas in self.reasons]
        lines = [fill(reason, MAX_WIDTH, initial_indent="  ", subsequent_indent="    ") for reason in reasons]
        advice = [fill(f"Ladder: {line}", MAX_WIDTH, subsequent_indent="  ") for line in self.exchange.advice]
        return "\n".join([f"Verdict: {self.verdict}", *lines, *advice])

    def to_json_dict(self) -> dict[str, Any]:
        """As `mcmc summary --json` prints it; see export.py."""
        return export.json_dict(self)

    def to_dataframe(self) -> pd.DataFrame:
        """A pandas table, one row for each rung, by beta; columns (estimate, part), see `export.dataframe`."""
        return export.dataframe(self)


def summarise(results: Results) -> Summary:
    """Analyse the rows after the burn-in. Raises ConfigError when there are none."""
    data = results.equilibrium()
    attrs = data.attrs
    sweeps = data["sweep"].to_numpy()
    rungs, exchange = _rungs(results)
    return Summary(
        rungs=rungs,
        n_instances=data.sizes["instance"],
        n_copies=data.sizes["copy"],
        n_samples=len(sweeps),
        first_sweep=int(sweeps[0]),
        last_sweep=int(sweeps[-1]),
        n_weights=int(attrs["n_weights"]),
        n_patterns=int(attrs["n_patterns"]),
        n_sweeps=int(results.config["schedule"]["sweeps"]),
        complete=bool(attrs["complete"]),
        exchange=exchange,
        free_energy=results.free_energy(),
    )


def by_rung(values: xr.DataArray) -> np.ndarray:
    """A time series as contiguous float64 (rung, instance, copy or pair, sample)."""
    chain = "pair" if "pair" in values.dims else "copy"
    return np.ascontiguousarray(values.transpose("rung", "instance", chain, "sample").to_numpy(), dtype=np.float64)


def _rungs(results: Results) -> tuple[list[Rung], Exchange]:
    """The rungs, and the exchange among them."""
    data = results.equilibrium()
    sweeps = data["sweep"].to_numpy()
    interval = float(np.diff(sweeps).mean()) if len(sweeps) > 1 else np.nan
    rates = exchange_rates(data)
    setting = Setting.of(data, results.config)
    walkers = Walkers()
    found: list[thermalisation.Evidence] = []
    rungs: list[Rung] = []
    for some in results.by_rungs():
        series = _series(some, results.config)
        walkers.add(some)
        steps = _step_sizes(some)
        acceptance = statistics.mean_of_known(by_rung(some["acceptance"]), axis=(1, 2, 3))
        for r, beta in enumerate(some["beta"].to_numpy()):
            here = {name: values[r] for name, values in series.items()}
            estimates, sizes = _estimates(here, float(beta), setting.n_weights, setting.n_patterns)
            found.append(thermalisation.evidence(here, sizes, float(beta), setting))
            rungs.append(
                Rung(
                    beta=float(beta),
                    estimates=estimates,
                    tau=float(statistics.mean_of_known(interval * here["energy"][0].size / sizes)),
                    ess=float(np.nansum(sizes)),
                    r_hat=found[-1].r_hat,
                    step_size=steps[r],
                    acceptance=None if np.isnan(acceptance[r]) else float(acceptance[r]),
                    exchange_rate=rates[len(rungs)],
                    round_trips=None,
                    verdict="",
                    reasons=(),
                )
            )
    trips = trips_of_ladders(walkers.walker, setting.beta)
    free, order = results.free_energy(), np.argsort(np.argsort(setting.beta, kind="stable"), kind="stable")
    metastable, inconsistent = ([told[rank] for rank in order] for told in (free.metastable, free.inconsistent))
    trips_of_all = trips if len(rungs) > 1 else None
    verdicts = thermalisation.verdicts(found, setting, trips_of_all, metastable, inconsistent)
    more = _free_energies(results)
    hottest = int(np.argmin(setting.beta))
    rungs = [
        replace(
            rung,
            estimates=rung.estimates | more[r],
            round_trips=None if r == hottest else int(trips[r, :, 0].sum()),
            verdict=verdicts[r][0],
            reasons=verdicts[r][1],
        )
        for r, rung in enumerate(rungs)
    ]
    return rungs, diagnose(results, walkers)


def _free_energies(results: Results) -> list[dict[str, Estimate]]:
    """log_z and entropy of each rung, where the run has a way to beta = 0."""
    found, beta = results.free_energy(), results.dataset["beta"].to_numpy()
    if not found.is_known:
        return [{}] * len(beta)
    pairs = zip(found.log_z, found.entropy, strict=True)
    by_beta = dict(zip(found.beta.tolist(), pairs, strict=True))
    return [dict(zip(("log_z", "entropy"), by_beta[each], strict=True)) for each in beta.tolist()]


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
    if "overlap" in series and ALIGNED["overlap"] not in series:  # aligned ones are never around 0
        estimates["binder"] = statistics.binder_ratio(series["overlap"])
    return estimates, sizes


def _step_sizes(data: xr.Dataset) -> list[float | None]:
    """Step size of each rung, mean over instances; None where the sampler has none."""
    if "step_size" not in data:
        return [None] * data.sizes["rung"]
    return data["step_size"].transpose("rung", "instance").to_numpy().mean(axis=1).tolist()


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
    trips = "-" if rung.round_trips is None else _narrow(rung.round_trips)
    return [f"{rung.beta:.4g}", *estimates, _narrow(rung.tau), _narrow(rung.ess), *rates, trips, rung.verdict]


def _narrow(value: float) -> str:
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


def _folded(rows: list[list[str]]) -> str:
    """`_aligned`, in as many tables below each other as `MAX_WIDTH` needs; each has the first column."""
    last = len(rows[0])
    while last > 2 and max(map(len, _aligned([row[:last] for row in rows]).splitlines())) > MAX_WIDTH:
        last -= 1
    table = _aligned([row[:last] for row in rows])
    if last == len(rows[0]):
        return table
    return f"{table}\n\n{_folded([row[:1] + row[last:] for row in rows])}"


def _aligned(rows: list[list[str]]) -> str:
    """Columns flushed right, the first row the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
