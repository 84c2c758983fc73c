"""`mcmc report`: a run, or a scan, on one page of HTML that needs no other file and no network.

What a reader has to know first comes first: the verdict, its reasons, and when not to believe the numbers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from matplotlib.figure import Figure

from mcmc import sealed
from mcmc._version import __version__
from mcmc.analysis import statistics
from mcmc.analysis.exchange import Exchange
from mcmc.analysis.free_energy import WAYS, Branch, FreeEnergy
from mcmc.analysis.generalisation import machines
from mcmc.analysis.markup import Child, class_of, document, element, items, picture, table
from mcmc.analysis.plots import figures
from mcmc.analysis.results import Results
from mcmc.analysis.statistics import Estimate
from mcmc.analysis.summary import COLUMNS, ERRORS_APART, Summary, compact
from mcmc.analysis.thermalisation import ALIGNED, VERDICTS, is_trusted
from mcmc.reading import read_log, read_status

Pictures = Mapping[str, tuple[Figure, str]]
"""By name, with captions."""

LOG_LINES = 200
"""Of run.log, the last ones."""
OF_TASKS = {"energy_per_pattern", *ALIGNED, *ALIGNED.values(), "entropy"}
"""Estimates in the table of a scan, as far as its runs show them."""
_REFERENCES = {
    "magnetisation": "all +1, the magnetisation,",
    "teacher": "the teacher",
    "run": "a sample of another run",
    "file": "weights from a file",
}
MEANING = {
    "stuck": "a test says that the run is not in equilibrium: what is stuck must not be believed.",
    "not contradicted": "nothing speaks against equilibrium, which is no proof: there is no second side that agrees.",
    "equilibrated": "two independent sides agree that would have been told apart if they did not.",
}


def write(results: Results, path: str | PathLike[str], settings: Mapping[str, str] | None = None) -> None:
    """Write the report of a run to the file `path`, whole or not at all.

    settings: every key of the configuration with its value, for the list of them
    Raises ConfigError without samples after the burn-in, StorageError if the disk fails.
    """
    _replace(path, of_run(results, settings))


def of_run(results: Results, settings: Mapping[str, str] | None = None) -> bytes:
    """The page of a run, UTF-8."""
    summary = results.summary()
    errors = []
    if summary.n_instances >= 2:
        errors = [element("h3", ERRORS_APART), table(summary.cells_of_errors())]
    sections: dict[str, Sequence[Child]] = {
        "Verdict": [_verdict(summary), *_doubts(summary)],
        "Results": [table(summary.cells(), VERDICTS), *errors, element("pre", summary.legend(), class_="words")],
        "Free energy": list(_free_energy(summary.free_energy)),
        "Exchange": list(_exchange(summary.exchange)),
        "Pictures": _pictures(figures(results)),
        "Run file": [element("pre", results.dataset.attrs["run_toml"])],
        "All settings": [_settings(settings, results.config)] if settings else [],
        "Provenance": list(_provenance(results)),
    }
    return document(_title(results.path), " ".join(_in_words(results, summary)), sections)


def _title(directory: Path | None) -> str:
    return "Run in memory" if directory is None else directory.resolve().name


def _pictures(drawn: Pictures) -> list[Element]:
    return [picture(figure, caption) for figure, caption in drawn.values()]


def _replace(path: str | PathLike[str], page: bytes) -> None:
    sealed.write_atomically(path, lambda file: file.write(page), durable=False)


# --- what was sampled ---


def _in_words(results: Results, summary: Summary) -> Iterator[str]:
    """Sentences."""
    student, teacher = machines(results.config)
    data, schedule, ladder = (results.config[name] for name in ("data", "schedule", "ladder"))
    loss = student["loss"]
    yield (
        f"A {_machine(student)}, {summary.n_weights} weights, under the loss {loss['name']}"
        + "".join(f", {key} {loss[key]:g}" for key in ("margin", "sharpness") if key in loss)
        + f", with {summary.n_patterns} patterns of "
        + {"teacher": "a teacher", "random": "random labels", "file": f"the file {data.get('path', '')}"}[
            data["source"]
        ]
        + (f" ({_machine(teacher)})" if data["source"] == "teacher" and data.get("teacher") else "")
        + _noise(data)
        + "."
    )
    betas = [rung.beta for rung in summary.rungs]
    rungs = f"inverse temperature {betas[0]:.4g}"
    if len(betas) > 1:
        every = ladder.get("exchange_every", 1)
        exchange = f"exchange every {every} sweeps" if every > 1 else "exchange every sweep" if every else "no exchange"
        rungs = f"{len(betas)} inverse temperatures from {min(betas):.4g} to {max(betas):.4g}, {exchange}"
    method = results.config.get("sampler", {}).get("method", "metropolis")
    by = "Metropolis moves, and by waiting times where flips are rare," if method == "auto" else method
    yield f"Sampled by {by} from P(w) ∝ P0(w) exp(−β E(w)), at {rungs};"
    yield f"instances of the disorder: {summary.n_instances}, copies of each: {summary.n_copies}."
    constraint = results.config.get("constraint")
    if constraint:
        reference = _REFERENCES[constraint["reference"]]
        yield f"The overlap with {reference} is fixed, to the possible value nearest to {constraint['overlap']:g}."
    yield (
        f"Sweeps: {schedule['sweeps']}, of which {schedule.get('burn_in', 0)} are burn-in; "
        f"{summary.n_samples} rows after it, one every {schedule.get('measure_every', 1)} sweeps."
    )
    if schedule.get("start", "random") != "random":
        yield {"teacher": "All copies start at the teacher.", "both": "Half of the copies start at the teacher."}[
            schedule["start"]
        ]
    if "annealing" in schedule:
        yield "The burn-in is annealed."


def _machine(table: Mapping[str, Any]) -> str:
    units = f" of {table['n_hidden']} units" if table["architecture"] != "perceptron" else ""
    weights = {"ising": "±1", "gaussian": "Gaussian", "spherical": "spherical"}[table["weights"]]
    layers = " and a sampled second layer" if table["second_layer"] == "sampled" else ""
    return f"{table['architecture']}{units} with {weights} weights{layers}"


def _noise(data: Mapping[str, Any]) -> str:
    inputs = "" if data["source"] == "file" else f", {data.get('inputs', 'binary')} inputs"
    return inputs + "".join(
        f", {key.replace('_', ' ')} {data[key]:g}" for key in ("label_noise", "output_noise") if data.get(key)
    )


# --- verdict ---


def _verdict(summary: Summary) -> Element:
    reasons = [
        element("li", element("strong", verdict), f": {reason}; {summary.where(betas)}")
        for verdict, reason, betas in summary.reasons
    ]
    counts = Counter(rung.verdict for rung in summary.rungs)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return element(
        "div",
        element("p", element("strong", summary.verdict), f": {MEANING[summary.verdict]} Rungs: {said}."),
        element("ul", *reasons) if reasons else None,
        class_=f"verdict {class_of(summary.verdict)}",
    )


def _doubts(summary: Summary) -> Iterator[Child]:
    """When not to believe the numbers."""
    lines = []
    if not summary.complete:
        lines.append(f"The run is not complete: rows up to sweep {summary.last_sweep} of {summary.n_sweeps}.")
    stuck = [rung.beta for rung in summary.rungs if rung.verdict == "stuck"]
    short = [rung.beta for rung in summary.rungs if rung.verdict != "stuck" and not rung.is_trusted]
    if stuck:
        lines.append(f"Numbers at {summary.where(stuck)} are no averages of equilibrium: stuck.")
    if short:
        lines.append(f"Errors at {summary.where(short)} are guesses: the run is too short.")
    if summary.n_instances == 1:
        lines.append("One instance of the disorder: errors are thermal, and say nothing of other instances.")
    lines += [
        f"Not proven to be in equilibrium at {summary.where(betas)}: {reason}."
        for verdict, reason, betas in summary.reasons
        if verdict == "not contradicted" and is_trusted((verdict, (reason,)))
    ]
    lines += [f"Free energy: {doubt}." for doubt in summary.free_energy.doubts]
    lines += [f"Ladder: {line}." for line in summary.exchange.advice]
    yield element("h3", "When not to believe it")
    yield items(lines) or element("p", "Nothing known to doubt.")


# --- free energy ---


def _free_energy(found: FreeEnergy) -> Iterator[Child]:
    yield element(
        "p",
        "lnZ, and entropy s per weight: of states counted (Ising), or of the normalised prior. integration, up, down "
        "and mbar are four ways to ln Z(β) less that of the first rung, and check each other. Where Z counts states, "
        "lnZ cannot be below the bound, −β E of the lowest state seen. The errors of several instances are those from "
        "sample to sample, which the ways share; what they differ by is judged by errors of its own.",
    )
    yield from (element("p", f"From both starts: {bound}.") for bound in found.bounds)
    for branch in found.branches:
        if len(found.branches) > 1:
            starts = {"random": "Copies from random starts", "teacher": "Copies from the teacher"}[branch.name]
            yield element("h3", starts)
        yield table(_rows_of_branch(found, branch))
    ends = dict.fromkeys(f"{end(found.lowest_energy):.6g}" for end in (min, max))
    yield element("p", f"Lowest energy that was seen, of the instances: {' to '.join(ends)}.", class_="muted")


def _rows_of_branch(found: FreeEnergy, branch: Branch) -> list[list[str]]:
    is_first = branch is found.branches[0]
    columns: dict[str, list[str]] = {"beta": [f"{beta:.4g}" for beta in found.beta]}
    if not np.isnan(branch.log_z).any():
        columns["lnZ"] = _compact(statistics.averages(branch.log_z, branch.log_z_error))
        columns["s"] = _compact(statistics.averages(branch.entropy, branch.entropy_error))
        if not np.isnan(branch.bound).any():
            columns["bound"] = [f"{bound:.5g}" for bound in branch.bound.mean(axis=0)]
    if branch.name == "teacher":
        columns["from the coldest rung"] = _compact(statistics.averages(branch.from_cold, branch.from_cold_error))
    columns |= {way: _compact(statistics.averages(*branch.ways[way])) for way in WAYS}
    columns["rows at E = 0"] = [f"{part:.3g}" for part in found.at_zero.mean(axis=0)]
    if is_first and any(found.metastable + found.inconsistent):
        told = zip(found.metastable, found.inconsistent, strict=True)
        columns["doubts"] = ["; ".join((*impossible, *disagree)) for impossible, disagree in told]
    return [list(columns), *map(list, zip(*columns.values(), strict=True))]


def _compact(estimates: Sequence[Estimate]) -> list[str]:
    return [compact(estimate.mean, estimate.error) for estimate in estimates]


# --- exchange ---


def _exchange(found: Exchange) -> Iterator[Child]:
    if len(found.beta) < 2:
        return
    if np.isnan(found.rejection).all():
        yield element("p", "Without exchange: every walker stays on its rung.")
        return
    trips = found.round_trips.sum(axis=-1)
    lines = [
        f"Communication barrier Λ = {compact(found.barrier, found.barrier_error)}, the sum of all rejections.",
        f"Round trips between the ends: {trips.sum()}; in the ladder with the fewest {trips.min()}.",
        f"Trips of a walker in a sweep: {_short(found.rate)}; if energies forgot their past between two rounds, by the "
        f"rejections, {_short(found.predicted_rate)}; on the best of all ladders {_short(found.highest_rate)}.",
    ]
    yield items(lines)
    headings = [
        "beta",
        "accepted exchanges with the next rung",
        "overlap of energies with the next",
        "flow",
        "dΛ/dβ",
    ]
    pairs = np.append(found.acceptance, np.nan), np.append(found.overlap, np.nan)
    numbers = zip(found.beta, *pairs, found.flow, found.local_barrier, strict=True)
    yield table([headings, *([f"{row[0]:.4g}", *map(_short, row[1:])] for row in numbers)])
    yield element(
        "p",
        "flow: part of the walkers here that were last at the hot end; dΛ/dβ: local density of the barrier.",
        class_="muted",
    )


def _short(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"


# --- where it comes from ---


def _settings(settings: Mapping[str, str], config: Mapping[str, Any]) -> Element:
    """Keys, values, and whether the run file says so."""
    rows = [["key", "value", "from"]]
    for key, value in settings.items():
        rows.append([key, value or "–", "run file" if _is_set(config, key) else "default"])
    return table(rows, marked=["default"], class_="words")


def _is_set(config: Any, key: str) -> bool:
    for step in key.split("."):
        if not isinstance(config, Mapping) or step not in config:
            return False
        config = config[step]
    return True


def _provenance(results: Results) -> Iterator[Child]:
    attributes = results.dataset.attrs
    rows = [["what", "value"], ["directory", "–" if results.path is None else str(results.path.resolve())]]
    rows += [[name, str(value)] for name, value in attributes.items() if name != "run_toml"]
    sizes = ", ".join(f"{name} {size}" for name, size in results.dataset.sizes.items())
    rows.append(["dimensions", sizes])
    status = {} if results.path is None else read_status(results.path)
    for name in ("state", "hosts", "ranks", "elapsed_seconds", "started", "heartbeat", "run_file_directory"):
        value = status.get(name)
        if value is not None:
            moment = name in ("started", "heartbeat")
            shown = _local(value) if moment else ", ".join(value) if isinstance(value, list) else str(value)
            rows.append([name, shown])
    rows.append(["report", f"mcmc {__version__}, {_local(time.time())}"])
    yield table(rows, class_="words")
    lines = [] if results.path is None else read_log(results.path).splitlines()
    if lines:
        more = f", the last {LOG_LINES} of {len(lines)} lines" if len(lines) > LOG_LINES else ""
        yield element("h3", f"run.log{more}")
        yield element("pre", "\n".join(lines[-LOG_LINES:]))


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


# --- scans ---


class Task(NamedTuple):
    """A run of a scan."""

    settings: Mapping[str, str]
    """What the scan varies, key -> value."""
    directory: str
    state: str
    """As mcmc status says."""
    summary: Summary | None
    problem: str
    """Why there is no summary."""


def write_scan(
    directory: Path, tasks: Sequence[Task], pictures: Pictures, scan_toml: str, path: str | PathLike[str]
) -> None:
    """Write the report of a scan to the file `path`, whole or not at all. Raises StorageError if the disk fails.

    directory: of the scan; tasks: in its order; pictures: as of plots.scans; scan_toml: the scan file
    """
    _replace(path, of_scan(directory, tasks, pictures, scan_toml))


def of_scan(directory: Path, tasks: Sequence[Task], pictures: Pictures, scan_toml: str) -> bytes:
    """The page of a scan, UTF-8: its tasks with states, verdicts and the numbers of their coldest rungs."""
    states = Counter(task.state for task in tasks)
    found = Counter(task.summary.verdict for task in tasks if task.summary is not None)
    lines = [
        "States: " + ", ".join(f"{n} {state}" for state, n in states.items()) + ".",
        "Verdicts: " + (", ".join(f"{found[v]} {v}" for v in VERDICTS if found[v]) or "none yet") + ".",
        f"mcmc report {directory}/TASK writes the page of a task, with its pictures; mcmc merge {directory} joins all.",
    ]
    keys = list(tasks[0].settings)
    shown = {name for task in tasks if task.summary is not None for name in task.summary.columns()}
    estimates = [name for name in COLUMNS if name in shown & OF_TASKS]
    headings = [COLUMNS[name] for name in estimates]
    rows = [[*(keys or ["task"]), "state", "verdict", "rungs to trust", "coldest beta", *headings, "doubts"]]
    for task in tasks:
        first = [task.settings[key] for key in keys] or [task.directory]
        rows.append([*first, task.state, *_row_of_task(task, estimates)])
    return document(
        _title(directory),
        f"A scan of {len(tasks)} runs.",
        {
            "Tasks": [items(lines), table(rows, VERDICTS)],
            "Pictures": _pictures(pictures),
            "Scan file": [element("pre", scan_toml)],
            "Provenance": [element("p", f"{directory.resolve()}; mcmc {__version__}, {_local(time.time())}")],
        },
    )


def _row_of_task(task: Task, estimates: Sequence[str]) -> list[str]:
    if task.summary is None:
        return ["", "", "", *[""] * len(estimates), task.problem]
    coldest = max(task.summary.rungs, key=lambda rung: rung.beta)
    trusted = sum(rung.is_trusted for rung in task.summary.rungs)
    cells = [
        compact(coldest.estimates[name].mean, coldest.estimates[name].error) if name in task.summary.columns() else ""
        for name in estimates
    ]
    doubts = "; ".join(reason for verdict, reason, _ in task.summary.reasons if verdict == "stuck")
    return [task.summary.verdict, f"{trusted} of {len(task.summary.rungs)}", f"{coldest.beta:.4g}", *cells, doubts]
