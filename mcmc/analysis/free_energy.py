"""log Z along the ladder and the entropy, in four ways that check each other.

From rung to rung, with h the step of beta (d log Z / d beta = -<E>, d <E> / d beta = -Var E):

    integration   -h (E + E')/2 - h^2 (Var' E - Var E)/12: cubic Hermite polynomial of <E>, error O(h^5) of a step
    up            ln <exp(-h E)> on the hotter rung (stepping stone: Xie et al., Systematic Biology 60, 150, 2011)
    down          -ln <exp(h E)> on the colder rung
    mbar          all rungs together, see mbar.py

Quoted is mbar where energies are whole numbers: it takes all rows and has the least error. Of other energies it takes
a part of the rows; there, integration is quoted over steps whose quadrature error (from leaving out every other rung)
is below half the statistical one. Integration also bridges rungs that overlap too little for the others. Errors are a
jackknife over blocks of time, quadrature errors added; differences between the ways are jackknifed as differences.
Where series are too short for blocks, bounds are still checked, with the error of one effective sample on every rung.

Across a first-order transition all ways can agree on a metastable branch. What contradicts it for Ising weights, where
Z counts states: Z >= exp(-beta E) for every state that was seen (the teacher of noiseless data has E = 0), and s >= 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats
from scipy.special import gammaln

from mcmc.analysis import energies, mbar, statistics, thermalisation
from mcmc.analysis.energies import DOWN, DOWN_SQUARE, MEAN, SQUARE, UP, UP_SQUARE, Ladder
from mcmc.analysis.statistics import Estimate

WAYS = ("integration", "up", "down", "mbar")
MIN_ESS_STEP = 50
"""Effective samples that reweighting a rung to its neighbour must leave."""
MAX_SKEWNESS = 0.3
"""Of the mean of the Boltzmann factors of that: where it is more, a tail that was not seen is missing in the error bar
too. The median over instances counts, for those that saw less of the tail than others would be chosen one by one."""
MIN_ROWS_LINK = 100
"""Rows, correlated or not, that the better one of the two directions must leave for mbar to use both rungs."""
SIGMA = 4.0
"""From where on a contradiction is told."""


@dataclass(frozen=True)
class Branch:
    """Free energies from some of the copies; arrays are float64 (instances, rungs), NaN where the data cannot tell."""

    name: str
    """"" for all copies; of copies that disagree, "random" or "teacher", as they started."""
    copies: np.ndarray
    """Which ones: int (copies,)."""
    ways: dict[str, tuple[np.ndarray, np.ndarray]]
    """log Z(beta) - log Z(beta_0) by each of WAYS, and its error."""
    log_z: np.ndarray
    log_z_error: np.ndarray
    visible_error: np.ndarray
    """`log_z_error`, but where copies never move, that of the other rungs, not NaN."""
    entropy: np.ndarray
    """(log Z + beta <E>) / n_weights."""
    entropy_error: np.ndarray
    n_blocks: np.ndarray
    """Blocks of time that the errors come from."""
    scores: dict[str, np.ndarray]
    """By way, of a step to each rung from the one before: how many standard errors it is from mbar, or where there is
    no mbar from integration, (instances, rungs); by "bound" and "entropy", by how many log Z is below its bound and
    the entropy below 0."""
    bound: np.ndarray
    """log Z cannot be below it (Ising weights; else NaN): -beta E of the lowest state seen by any copy."""
    from_cold: np.ndarray
    """-beta E of the lowest state of this branch on the coldest rung (or on the first from which on nothing else is
    seen), integrated from there to hotter ones. Of planted copies a lower bound of log Z, as their states are some of
    all."""
    from_cold_error: np.ndarray
    largest_error: dict[str, np.ndarray]
    """What the errors of log_z, entropy and from_cold would be with one effective sample on every rung, and all of
    them off in the same direction."""
    gaps: np.ndarray
    """Whether some instance has too little overlap between a rung and the next for all ways but integration."""


@dataclass(frozen=True)
class FreeEnergy:
    """log Z and entropy of a run, rungs in order of increasing beta. Counting measure for Ising weights."""

    beta: np.ndarray
    """(rungs,)."""
    branches: tuple[Branch, ...]
    """One of all copies; where those from the teacher disagree with the others, "random" first, then "teacher"."""
    lowest_energy: np.ndarray
    """The lowest one that any copy has seen: (instances,)."""
    at_zero: np.ndarray
    """Fraction of rows with E = 0, all copies: (instances, rungs)."""
    metastable: tuple[tuple[str, ...], ...]
    """By rung, what is impossible in equilibrium."""
    inconsistent: tuple[tuple[str, ...], ...]
    """By rung, which ways disagree."""
    doubts: tuple[str, ...]
    """What is missing and what not to believe, a line each."""
    bounds: tuple[str, ...]
    """What else is known of log Z, a line each."""

    @property
    def log_z(self) -> list[Estimate]:
        """ln Z of the first branch, mean over instances, by rung; NaN without a way to beta = 0."""
        return statistics.averages(self.branches[0].log_z, self.branches[0].log_z_error)

    @property
    def entropy(self) -> list[Estimate]:
        """Entropy per weight of the first branch, mean over instances, by rung."""
        return statistics.averages(self.branches[0].entropy, self.branches[0].entropy_error)

    @property
    def notes(self) -> tuple[str, ...]:
        """All that there is to say, a line each."""
        return self.doubts + self.bounds

    @property
    def is_known(self) -> bool:
        """Whether log Z is there at all."""
        return not np.isnan(self.branches[0].log_z).any()


def free_energy(data: xr.Dataset, config: dict[str, Any]) -> FreeEnergy:
    """Of the rows after the burn-in `data`, with the run file `config`."""
    names, groups = _groups(data)
    n_weights = int(data.attrs["n_weights"])
    log_states = log_n_states(config, n_weights)
    counts_states = config["model"].get("weights", "ising") == "ising"
    found: list[list[_Instance]] = [[] for _ in groups]
    seen, at_zero = [], []
    for ladders in energies.ladders(data, config, groups):
        everyone = ladders[-1]
        seen.append(everyone.low.min())
        at_zero.append(everyone.at_zero)
        is_solved = teacher_has_no_error(config)
        lowest = min(seen[-1], 0.0) if is_solved else seen[-1]
        for name, instances, ladder in zip(names, found, ladders, strict=True):
            own = min(ladder.low.min(), 0.0 if is_solved and name == "teacher" else np.inf)
            states = (lowest, own) if counts_states else (np.nan, np.nan)
            instances.append(_instance(ladder, n_weights, log_states, *states))
    beta = found[0][0].beta
    branches = [_branch(*one) for one in zip(names, groups, found, strict=True)]
    if len(groups) > 1:
        apart = _contradicted(_score_of_energies(found[0], found[1]), two_sided=True) | _far_apart(found[0], found[1])
        kept = branches[:2] if apart.any() else branches[2:]
    else:
        apart, kept = np.zeros(len(beta), dtype=bool), branches
    told = _contradictions(kept[0])
    return FreeEnergy(
        beta,
        tuple(kept),
        np.array(seen),
        np.array(at_zero),
        metastable=_by_rung(line for line in told if line.is_impossible),
        inconsistent=_by_rung(line for line in told if line.is_disagreement),
        doubts=tuple(_doubts(beta, kept, apart)),
        bounds=tuple(_bounds(*kept) if len(kept) > 1 else ()),
    )


def log_n_states(config: dict[str, Any], n_weights: int) -> float:
    """log Z(0): ln of the number of Ising states, at the overlap of the constraint if there is one; 0 of a prior."""
    if config["model"].get("weights", "ising") != "ising":
        return 0.0
    overlap = config.get("constraint", {}).get("overlap")
    if overlap is None:
        return n_weights * np.log(2.0)
    differ = np.floor(n_weights * (1 - overlap) / 2 + 0.5)
    return float(gammaln(n_weights + 1) - gammaln(differ + 1) - gammaln(n_weights - differ + 1))


def teacher_has_no_error(config: dict[str, Any]) -> bool:
    """Whether a teacher of the student's kind, with E = 0, is one of the states that Z counts."""
    data, loss = config["data"], config["model"]["loss"]
    return (
        data["source"] == "teacher"
        and not data.get("teacher")
        and data.get("labels", "sign") == "sign"
        and data.get("label_noise", 0) == 0
        and loss["name"] == "error-count"
        and loss.get("margin", 0) == 0
        and "constraint" not in config
        and config["model"].get("weights", "ising") == "ising"
    )


def _groups(data: xr.Dataset) -> tuple[list[str], list[np.ndarray]]:
    """Names and copies of what is looked at: all copies; of two starts, either side first."""
    start = data["start"].to_numpy().astype(str)
    everyone = np.arange(data.sizes["copy"])
    if len(set(start)) < 2:
        return [""], [everyone]
    return ["random", "teacher", ""], [everyone[start != "teacher"], everyone[start == "teacher"], everyone]


# --- one instance ---


class _Instance(NamedTuple):
    """Of some copies of one instance; arrays by rung."""

    beta: np.ndarray
    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    largest: dict[str, np.ndarray]
    n_blocks: np.ndarray
    skewness: dict[str, np.ndarray]
    """Of the ways "up" and "down", by step: (rungs - 1,)."""
    deviation: np.ndarray
    """Standard deviation of the energy."""
    bound: np.ndarray
    is_gap: np.ndarray


class _Plan(NamedTuple):
    """What is decided before errors are worked out, so that they come from the same formulas throughout."""

    up: np.ndarray
    down: np.ndarray
    """Whether these ways are trusted, by step: (rungs - 1,)."""
    solved: np.ndarray
    """Whether there is mbar, by step."""
    by_mbar: np.ndarray
    """Whether it is quoted, not integration, by step."""
    log_z_0: float
    """log Z(0); NaN if nothing leads there."""
    cold: int
    """Where `from_cold` begins."""
    n_weights: int


def _instance(ladder: Ladder, n_weights: int, log_states: float, lowest: float, own: float) -> _Instance:
    """lowest: energy of a state that Z counts; own: of one of this branch; NaN where Z does not count."""
    levels = ladder.levels()
    up, down = _kept_in_steps(ladder)
    sizes = ladder.n_copies * ladder.n_rows / np.where(np.isnan(ladder.tau), 1.0, ladder.tau)
    skewness = {"up": _skewness(up, sizes[:-1]), "down": _skewness(down, sizes[1:])}
    whole = ladder.moments.mean(axis=0)
    solution = solution_of(ladder)
    log_z_0 = log_states if mbar.reaches_zero(ladder) else np.nan
    solved = np.arange(1, len(ladder.beta)) < np.isfinite(solution.log_z).sum()  # all are finite, or all but the first
    by_mbar = solved & _is_better(ladder.merged(levels.max()))
    cold = _coldest_that_moves(ladder, own)
    is_trusted = (up * sizes[:-1] >= MIN_ESS_STEP, down * sizes[1:] >= MIN_ESS_STEP)
    plan = _Plan(*is_trusted, solved, by_mbar, log_z_0, cold, n_weights)

    found = {level: _jackknifed(ladder.merged(level), solution, plan) for level in set(levels.tolist())}
    names = found[levels[0]][0]
    values, errors = (
        {name: np.array([found[level][part][name][r] for r, level in enumerate(levels)]) for name in names}
        for part in (0, 1)
    )
    bound = 0.0 - ladder.beta * lowest
    moving = ladder.is_moving()
    if plan.cold > 0:  # all rungs from there matter to each
        before = slice(plan.cold)
        values["from_cold"], errors["from_cold"] = (part["from_cold"] for part in found[levels[before].max()])
        if not moving[before].all():
            errors["from_cold"][:] = np.nan
    of_own = 0.0 - ladder.beta * own
    values["from_cold"] += of_own[plan.cold]
    values["from_cold"][plan.cold :], errors["from_cold"][plan.cold :] = of_own[plan.cold :], 0.0  # no estimate
    deviation = np.sqrt(np.maximum(whole[:, SQUARE] - whole[:, MEAN] ** 2, 0.0))
    largest = _largest_errors(ladder.beta, deviation, plan)
    _add_quadrature(errors, largest, quadrature_errors(ladder, whole), plan)
    errors |= {f"visible {name}": errors[name].copy() for name in ("log_z", "entropy")}
    for name in {*names} - {"from_cold"}:
        errors[name][~moving] = np.nan
    n_blocks = np.array([ladder.merged(level).n_blocks for level in levels])
    is_gap = np.append(_gaps(ladder), False)
    return _Instance(ladder.beta, values, errors, largest, n_blocks, skewness, deviation, bound, is_gap)


def _jackknifed(
    ladder: Ladder, solution: mbar.Mbar, plan: _Plan
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values and errors of all that has some, from the blocks of the ladder."""
    whole = _quantities(ladder, ladder.moments.mean(axis=0), solution.log_z, plan)
    left_out = solution.merged(ladder.n_blocks).left_out
    parts = _quantities(ladder, statistics.left_out(ladder.moments), left_out, plan)
    names = list(whole)
    pair = statistics.jackknife(np.array([whole[name] for name in names]), np.stack([parts[n] for n in names], axis=1))
    values, errors = (dict(zip(names, arrays, strict=True)) for arrays in pair)
    return values, errors


def _kept_in_steps(ladder: Ladder) -> tuple[np.ndarray, np.ndarray]:
    """Which part of the rows reweighting the rungs of each step leaves, up from the hotter, down from the colder.

    (sum of weights)^2 / sum of their squares / rows (Kish): (rungs - 1,) twice.
    """
    m = ladder.moments.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 of what is out of reach
        up, down = m[:, UP] ** 2 / m[:, UP_SQUARE], m[:, DOWN] ** 2 / m[:, DOWN_SQUARE]
    return np.nan_to_num(up[:-1]), np.nan_to_num(down[1:])


def _skewness(kept: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Of the mean of Boltzmann factors, by `_kept_in_steps` and the effective samples before.

    As if the factors were lognormal, as those of normal energies are, of relative variance 1/kept - 1.
    """
    with np.errstate(divide="ignore"):
        return (1 / kept + 2) * np.sqrt(np.maximum(1 / kept - 1, 0.0) / sizes)


def _gaps(ladder: Ladder) -> np.ndarray:
    """Whether two neighbours overlap too little to compare their rows: bool (rungs - 1,)."""
    rows = ladder.n_copies * ladder.n_rows
    return rows * np.maximum(*_kept_in_steps(ladder)) < min(MIN_ROWS_LINK, rows / 2)


def solution_of(ladder: Ladder) -> mbar.Mbar:
    """mbar of the rungs before the first gap."""
    gaps = _gaps(ladder)
    n_linked = 1 + int(np.argmax(gaps)) if gaps.any() else len(ladder.beta)
    return mbar.solve(ladder, n_linked, _cumulated(_integrated(ladder, ladder.moments.mean(axis=0)))[:n_linked])


def _integrated(ladder: Ladder, moments: np.ndarray, every: int = 1) -> np.ndarray:
    """Steps of log Z between every so many rungs by integration: moments (..., rungs, 6) -> (..., steps)."""
    h = ladder.beta[every:] - ladder.beta[:-every]
    mean = ladder.low + moments[..., MEAN]
    variance = moments[..., SQUARE] - moments[..., MEAN] ** 2
    area = h / 2 * (mean[..., every:] + mean[..., :-every])
    return -area - h**2 / 12 * (variance[..., every:] - variance[..., :-every])


def _cumulated(steps: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)


def quadrature_errors(ladder: Ladder, moments: np.ndarray) -> np.ndarray:
    """What cubic integration leaves out in each step, signed: (rungs - 1,). moments: (rungs, 6).

    Of order h^5, from the change that every other rung makes (Richardson); of a single step all of its
    cubic correction.
    """
    steps = _integrated(ladder, moments)
    if len(steps) < 2:
        return steps + np.diff(ladder.beta) * (ladder.low + moments[:, MEAN]).mean()
    h = np.diff(ladder.beta)
    fifth = (_integrated(ladder, moments, every=2) - steps[1:] - steps[:-1]) / (
        (h[1:] + h[:-1]) ** 5 - h[1:] ** 5 - h[:-1] ** 5
    )
    padded = np.concatenate([fifth[:1], fifth, fifth[-1:]])
    return h**5 * (padded[1:] + padded[:-1]) / 2


def _steps(ladder: Ladder, moments: np.ndarray, log_z: np.ndarray, plan: _Plan) -> dict[str, np.ndarray]:
    """Changes of log Z from rung to rung by each way, (..., rungs - 1), NaN where it is not trusted.

    log_z: of mbar, (..., linked rungs)
    """
    h = np.diff(ladder.beta)
    of_mbar = np.full((*moments.shape[:-2], len(h)), np.nan)
    of_mbar[..., : log_z.shape[-1] - 1] = np.diff(log_z)
    with np.errstate(divide="ignore"):
        up = np.log(moments[..., :-1, UP]) - h * ladder.low[:-1]
        down = -np.log(moments[..., 1:, DOWN]) - h * ladder.high[1:]
    return {
        "integration": _integrated(ladder, moments),
        "up": np.where(plan.up, up, np.nan),
        "down": np.where(plan.down, down, np.nan),
        "mbar": of_mbar,
    }


def _is_better(ladder: Ladder) -> np.ndarray:
    """Whether mbar, if there is a solution, is better than integration: bool (rungs - 1,)."""
    if ladder.is_whole:
        return np.ones(len(ladder.beta) - 1, dtype=bool)
    whole, parts = ladder.moments.mean(axis=0), statistics.left_out(ladder.moments)
    _, error = statistics.jackknife(_integrated(ladder, whole), _integrated(ladder, parts))
    return ~(np.abs(quadrature_errors(ladder, whole)) < error / 2)


def _quantities(ladder: Ladder, moments: np.ndarray, log_z: np.ndarray, plan: _Plan) -> dict[str, np.ndarray]:
    """All that has an error bar, (..., rungs), from moments (..., rungs, 6) and log Z of mbar (..., linked rungs)."""
    steps = _steps(ladder, moments, log_z, plan)
    found = {way: _cumulated(steps[way]) for way in WAYS}
    for way in WAYS[:-1]:
        step = steps[way] - np.where(plan.solved, steps["mbar"], steps["integration"])
        found[f"{way} apart"] = np.concatenate([np.zeros((*step.shape[:-1], 1)), step], axis=-1)
    from_first = _cumulated(np.where(plan.by_mbar, steps["mbar"], steps["integration"]))
    first = mbar.log_z_of_first_rung(ladder, moments, plan.log_z_0)
    found["energy"] = ladder.low + moments[..., MEAN]
    found["log_z"] = first[..., None] + from_first
    found["entropy"] = (found["log_z"] + ladder.beta * found["energy"]) / plan.n_weights
    found["from_cold"] = from_first - from_first[..., [plan.cold]]
    return found


def _coldest_that_moves(ladder: Ladder, lowest: float) -> int:
    """The rung from which on nothing but the lowest state is seen; the last one if there is none such."""
    moves = (ladder.high != ladder.low) | (ladder.low != lowest)
    return min(int(np.flatnonzero(moves).max(initial=-1)) + 1, len(moves) - 1)


def _largest_errors(beta: np.ndarray, deviation: np.ndarray, plan: _Plan) -> dict[str, np.ndarray]:
    """See Branch.largest_error. From standard deviations of the energy, (rungs,)."""
    steps = np.diff(beta) / 2 * (deviation[1:] + deviation[:-1])
    log_z = beta[0] * deviation[0] + _cumulated(steps)
    return {
        "log_z": log_z,
        "entropy": (log_z + beta * deviation) / plan.n_weights,
        "from_cold": np.abs(log_z - log_z[plan.cold]),
    }


def _add_quadrature(
    errors: dict[str, np.ndarray], largest: dict[str, np.ndarray], quadrature: np.ndarray, plan: _Plan
) -> None:
    """Adds what integration leaves out to the errors of all that comes from it."""
    step = np.append(0.0, quadrature)
    total, quoted = np.cumsum(step), np.cumsum(np.append(0.0, np.where(plan.by_mbar, 0.0, quadrature)))
    checked = np.where(np.append(True, plan.solved), 0.0, step)  # against integration
    terms = {"integration": total, "integration apart": step, "up apart": checked, "down apart": checked}
    of_quoted = {"log_z": quoted, "entropy": quoted / plan.n_weights, "from_cold": quoted - quoted[plan.cold]}
    for some, added in ((errors, terms), (errors, of_quoted), (largest, of_quoted)):
        for name, term in added.items():
            some[name] = np.hypot(some[name], term)


# --- all instances ---


def _branch(name: str, copies: np.ndarray, instances: list[_Instance]) -> Branch:
    def values(key: str) -> np.ndarray:
        return np.array([instance.values[key] for instance in instances])

    def errors(key: str) -> np.ndarray:
        return np.array([instance.errors[key] for instance in instances])

    n_blocks = np.array([instance.n_blocks for instance in instances])
    bound = np.array([instance.bound for instance in instances])
    largest = {name: np.array([instance.largest[name] for instance in instances]) for name in instances[0].largest}
    scores = {way: _scores(values(f"{way} apart"), errors(f"{way} apart"), n_blocks) for way in WAYS[:-1]}
    # copies that froze above the bound have no error bar, but they are just what it is to find
    for check, key, below in (("bound", "log_z", bound - values("log_z")), ("entropy", "entropy", -values("entropy"))):
        visible = _scores(below, errors(f"visible {key}"), n_blocks)
        scores[check] = np.fmax(visible, _divided(below, largest[key]))
    scores["entropy"][np.isnan(bound)] = np.nan  # where states are not counted it may have any sign
    ways = {way: (values(way), errors(way)) for way in WAYS}
    for way in ("up", "down"):
        skewed = np.median([instance.skewness[way] for instance in instances], axis=0) > MAX_SKEWNESS
        scores[way][:, 1:][:, skewed] = np.nan
        for found in ways[way]:
            found[:, 1:][:, np.logical_or.accumulate(skewed)] = np.nan
    return Branch(
        name=name,
        copies=copies,
        ways=ways,
        log_z=values("log_z"),
        log_z_error=errors("log_z"),
        visible_error=errors("visible log_z"),
        entropy=values("entropy"),
        entropy_error=errors("entropy"),
        n_blocks=n_blocks,
        scores=scores,
        bound=bound,
        from_cold=values("from_cold"),
        from_cold_error=errors("from_cold"),
        largest_error=largest,
        gaps=np.any([instance.is_gap for instance in instances], axis=0),
    )


def _scores(differences: np.ndarray, errors: np.ndarray, n_blocks: np.ndarray) -> np.ndarray:
    """Differences in standard errors, as a normal variate that is as improbable as Student's; NaN if not known."""
    factors = np.array([statistics.student_factor(n) for n in range(int(n_blocks.max(initial=0)) + 1)])
    t = _divided(np.abs(differences), errors / factors[n_blocks])
    return np.sign(differences) * stats.norm.isf(np.maximum(stats.t.sf(t, n_blocks - 1), 1e-300))


def _divided(differences: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """In units of their errors; 0 / 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((differences == 0) & ~np.isnan(errors), 0.0, differences / errors)


def _contradicted(scores: np.ndarray, two_sided: bool) -> np.ndarray:
    """Rungs where instances together, or one of them, are off by SIGMA: (instances, rungs) -> bool (rungs,)."""
    known = ~np.isnan(scores)
    scores = np.where(known, scores, 0.0)
    n = np.maximum(known.sum(axis=0), 1)
    level = stats.norm.isf(stats.norm.sf(SIGMA) / n)
    together = scores.sum(axis=0) / np.sqrt(n)
    if two_sided:
        scores, together = np.abs(scores), np.abs(together)
    return (together > SIGMA) | (scores.max(axis=0) > level)


def _score_of_energies(ours: list[_Instance], theirs: list[_Instance]) -> np.ndarray:
    """By how many errors the mean energies of two groups of copies differ: (instances, rungs).

    Copies that never move have no error of their own, and differ from what moves by the errors of that.
    """

    def errors(one: _Instance) -> np.ndarray:
        return np.where(one.deviation == 0, 0.0, one.errors["energy"])

    difference = np.array([a.values["energy"] - b.values["energy"] for a, b in zip(ours, theirs, strict=True)])
    error = np.array([np.hypot(errors(a), errors(b)) for a, b in zip(ours, theirs, strict=True)])
    n_blocks = np.array([np.minimum(a.n_blocks, b.n_blocks) for a, b in zip(ours, theirs, strict=True)])
    return _scores(difference, error, n_blocks)


def _far_apart(ours: list[_Instance], theirs: list[_Instance]) -> np.ndarray:
    """Whether the mean energies of two groups of copies differ, in some instance, as no single state explains.

    bool (rungs,). In standard deviations of the energy, so that it is seen however few the effective samples are.
    """
    pairs = list(zip(ours, theirs, strict=True))
    difference = np.array([a.values["energy"] - b.values["energy"] for a, b in pairs])
    within = np.array([(a.deviation**2 + b.deviation**2) / 2 for a, b in pairs])
    return (difference**2 / 2 > (thermalisation.FAR_APART**2 - 1) * within).any(axis=0)  # R-hat beyond FAR_APART


# --- what is told ---


def _doubts(beta: np.ndarray, branches: list[Branch], apart: np.ndarray) -> list[str]:
    notes = []
    if apart.any():
        notes.append(
            "lnZ and s are those of the random starts, the planted copies differ from them; "
            + thermalisation.where(beta, apart)
        )
    if np.isnan(branches[0].log_z).any():
        notes.append(
            f"no lnZ and s: beta = {beta[0]:.4g} cannot be reweighted to beta = 0; a rung at beta = 0 (or a hotter "
            "first rung) gives them"
        )
    for branch in branches:
        of = {"": "", "random": " (random starts)", "teacher": " (planted copies)"}[branch.name]
        for line in _contradictions(branch):
            if line.rungs.any():
                notes.append(f"{line.words}{of}; {thermalisation.where(beta, line.rungs)}")
    if apart.any() and np.isfinite(branches[0].log_z).any():
        is_above = _is_above(*branches)
        if is_above.any():
            notes.append(
                "metastable, beyond the first-order line: lnZ of the random starts below that of the planted copies; "
                + thermalisation.where(beta, is_above)
            )
    return notes


class _Told(NamedTuple):
    """What speaks against a branch, and on which rungs: bool (rungs,)."""

    words: str
    rungs: np.ndarray
    is_impossible: bool = False
    is_disagreement: bool = False


def _by_rung(told: Iterable[_Told]) -> tuple[tuple[str, ...], ...]:
    told = list(told)
    return tuple(tuple(line.words for line in told if line.rungs[rung]) for rung in range(len(told[0].rungs)))


def _contradictions(branch: Branch) -> list[_Told]:
    ways = {way: _contradicted(branch.scores[way], two_sided=True) for way in WAYS[:-1]}
    rungs = np.any(list(ways.values()), axis=0)
    named = ", ".join(way for way in ways if ways[way].any())
    is_metastable = branch.name != "teacher"
    gaps = branch.gaps & ~np.isnan(branch.log_z).any()
    return [
        _Told("rungs overlap too little: lnZ of the step to the next rung from integration alone", gaps),
        _Told(
            f"ways to lnZ disagree ({named}) by more than {SIGMA:g} sigma on the step from the hotter neighbour",
            rungs,
            is_disagreement=True,
        ),
        _Told(
            "metastable, beyond the first-order line: lnZ below -beta E of a state that was seen or is known",
            is_metastable & _contradicted(branch.scores["bound"], two_sided=False),
            is_impossible=True,
        ),
        _Told(
            "metastable, or not in equilibrium: entropy below 0",
            is_metastable & _contradicted(branch.scores["entropy"], two_sided=False),
            is_impossible=True,
        ),
    ]


def _is_above(random: Branch, planted: Branch) -> np.ndarray:
    """Whether the lower bound of log Z from planted copies is above that of the random ones: bool (rungs,)."""
    above = planted.from_cold - random.log_z
    errors = np.hypot(planted.from_cold_error, random.visible_error)
    largest = planted.largest_error["from_cold"] + random.largest_error["log_z"]
    scores = _scores(above, errors, np.minimum(planted.n_blocks, random.n_blocks))
    return _contradicted(np.fmax(scores, _divided(above, largest)), two_sided=False)


def _bounds(random: Branch, planted: Branch) -> list[str]:
    if not np.isfinite(planted.from_cold).all() or np.isnan(random.log_z).all():
        return []
    bounds = ", ".join(f"{value:.4g}" for value in planted.from_cold.mean(axis=0))
    return [f"lower bounds of lnZ from the planted copies, integrated from the coldest rung: {bounds}"]
