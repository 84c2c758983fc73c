"""One verdict on every rung, with its reasons: stuck, not contradicted, or equilibrated.

"stuck": a test finds that the series are not stationary or that copies differ; a good run has a chance of `LEVEL` to
have any rung called so. "equilibrated" is earned by the agreement of two sides, of enough power to have told them
apart; that nothing speaks against a rung is no evidence, since copies that all start at random can agree with each
other in a metastable state. The two sides are one of these:

* two starts: copies from random weights and copies from the teacher have met, in every instance. If the state of the
  teacher may be the better one they must have met there: planted copies can melt once and not find back;
* Nishimori: where the Gibbs measure is the posterior of the process that made the data, the teacher is one more
  equilibrium copy: <R> = <q>, and E/P = 1/(1 + e^beta) for error-count (Iba, J. Phys. A 32, 3875 (1999)). Copies that
  start at the teacher have this at once, so only the others count. A metastable state away from the teacher has it
  too, so it counts only where the labels hold too little information to make the teacher's neighbourhood the better
  state (`_teacher_may_win`);
* round trips: every ladder has been often to rungs so hot that they mix in a few sweeps, and back. Walkers do not find
  what has to be nucleated, so with a teacher they count only where all copies have visited it, or its weight
  exp(-beta E) is negligible beside Z of the branch that was sampled, which the energies from beta = 0 on tell.

Overlaps are those of aligned units where order or signs of units mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from mcmc.analysis import statistics
from mcmc.analysis.generalisation import machines
from mcmc.analysis.permutations import log_n_images

VERDICTS = ("equilibrated", "not contradicted", "stuck")
"""From best to worst; the worst rung speaks for the run."""

LEVEL = 0.01
"""Chance that a good run has a rung called stuck, by all tests together."""
TESTS = 10
"""Of a rung at most: drift of three series, spread over copies of three and over starts of two, two of Nishimori."""
MAX_R_HAT = 1.1
"""Copies closer than this differ by less than half a standard deviation, whether significantly or not. Others are
called stuck if they differ significantly, and too short if not: a few visits to rare, deep states look like that."""
FAR_APART = 2.0
"""R-hat of the two starts beyond which they have not met, however few the effective samples are."""
MIN_ESS = 50  # per rung, all instances and copies together
MIN_ESS_INSTANCE = 10  # of an instance, and of each of two starts in it
MAX_BLOCKING = 2.0  # error by blocking / error by the autocorrelation time; eight blocks tell it to a quarter
POWER = 4.0  # standard errors by which two sides that agree would have differed if nothing had been learnt

MIN_TRIPS = 10  # of every copy's ladder in every instance
MIN_LATE_TRIPS = 3  # of these in the last half
MIN_ESS_HOT = 50  # of an instance at the hottest rung
HOT = 0.1
"""Largest beta (<E>_0 - <E>) / n_weights, the relative entropies between prior and rung both ways, where single moves
mix in a few sweeps; where <E>_0 is not known, beta^2 Var E / n_weights, the same to leading order."""
SMALL_WEIGHT = np.log(100.0)
"""The state of the teacher counts as negligible when it has less than a hundredth of the weight."""

ALIGNED = {"overlap": "aligned_overlap", "teacher_overlap": "aligned_teacher_overlap"}
"""What stands in the table, and is judged, in place of an overlap that depends on the order or the signs of units."""
SAME = 1 - 1e-9
"""Overlaps above are those of equal weights."""
UNADJUSTED = ("langevin", "underdamped", "sgld")
"""Methods whose stationary law is the Gibbs measure only for small steps."""

TOO_SHORT = "too short"
R_HAT = re.compile(r" \(R-hat ([^ )]*)\)")
"""The number in a reason, as `r_hat_in_words` writes it: reasons that differ in it alone are told once."""
NO_SIDES = "no second side that it agrees with"
STARTS_AGREE = "two starts agree"
NISHIMORI_HOLDS = "Nishimori identities hold"
ROUND_TRIPS = f"{MIN_TRIPS} round trips and more in every ladder"
MIXES = "so hot that it mixes in a few sweeps"
BIASED = "the method is biased by its step size; compare with hmc or mala"


@dataclass(frozen=True)
class Setting:
    """What of a run decides which evidence there can be."""

    beta: np.ndarray
    """(rungs,), increasing."""
    planted: np.ndarray
    """bool (copies,): started at the teacher."""
    n_weights: int
    n_patterns: int
    config: dict[str, Any]

    @classmethod
    def of(cls, data: xr.Dataset, config: dict[str, Any]) -> Setting:
        planted = data["start"].to_numpy() == "teacher" if "start" in data else np.zeros(data.sizes["copy"], dtype=bool)
        sizes = (int(data.attrs[name]) for name in ("n_weights", "n_patterns"))
        return cls(data["beta"].to_numpy(), planted, *sizes, config)

    @property
    def level(self) -> float:
        """Of a single test."""
        return LEVEL / (TESTS * len(self.beta))


@dataclass(frozen=True)
class Evidence:
    """What the series of one rung tell; a few numbers."""

    energy: np.ndarray
    """Mean of each instance, (instances,)."""
    sizes: np.ndarray
    """Effective samples of the energy of each instance, (instances,); NaN if frozen."""
    r_hat: float
    """Of the energies of copies, the largest of all instances; NaN for one copy."""
    variance: float
    """Of the energy, mean over instances."""
    against: tuple[str, ...]
    """Reasons to call the rung stuck."""
    short: tuple[str, ...]
    """Reasons why the data cannot tell."""
    agreements: tuple[str, ...]
    """Two sides that agree."""
    at_teacher: bool = False
    """Whether every copy has been in the very state of the teacher, in every instance."""


def evidence(series: dict[str, np.ndarray], sizes: np.ndarray, beta: float, setting: Setting) -> Evidence:
    """Evidence of one rung.

    series: (instances, copies or pairs, rows) by name, energy and what exists of overlap, teacher_overlap and their
    aligned forms. sizes: `effective_sample_size` of the energies, (instances,)
    """
    energy = series["energy"]
    judged = {name: series[key] for name in ("energy", *ALIGNED) if (key := of_symmetric(series, name)) in series}
    against: list[str] = []
    agreements: list[str] = []
    short = list(_too_short(energy, sizes))
    r_hat = float(statistics.gelman_rubin(energy).max())
    if energy.shape[-1] >= statistics.MIN_ROWS:
        against += _drifts(judged, setting.level)
        against += [reason for name, values in judged.items() for reason in _spread(name, values, series, setting)]
        if "overlap" in judged and _frozen_apart(judged["overlap"]).any():
            against.append("copies frozen in different states")
        if not against and not short and r_hat > MAX_R_HAT:
            short.append(f"copies differ in energy, which may be chance{r_hat_in_words([r_hat])}")
        if not against and not short and _starts_agree(judged, setting.planted, setting.level):
            agreements.append(STARTS_AGREE)
        wrong, holds = _nishimori(judged, beta, setting)
        against += wrong
        if holds and not short and not _teacher_may_win(setting.config, beta, setting):
            agreements.append(NISHIMORI_HOLDS)
    return Evidence(
        energy=energy.mean(axis=(-2, -1)),
        sizes=sizes,
        r_hat=r_hat,
        variance=float(energy.var(axis=(-2, -1)).mean()),
        against=tuple(against),
        short=tuple(short),
        agreements=tuple(agreements),
        at_teacher="teacher_overlap" in judged and bool((judged["teacher_overlap"].max(axis=-1) > SAME).all()),
    )


Verdict = tuple[str, tuple[str, ...]]
"""One of VERDICTS, and its reasons."""


def is_trusted(verdict: Verdict) -> bool:
    """Whether nothing speaks against a rung, and its series are long enough to have shown it."""
    name, reasons = verdict
    return name != "stuck" and not any(reason.startswith(TOO_SHORT) for reason in reasons)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several; stuck and too short are worse than a mere lack of proof."""
    return max(verdicts, key=lambda verdict: (not is_trusted(verdict), VERDICTS.index(verdict[0])))


def verdicts(
    found: list[Evidence],
    setting: Setting,
    trips: np.ndarray | None,
    metastable: Sequence[Sequence[str]] = (),
    inconsistent: Sequence[Sequence[str]] = (),
) -> list[Verdict]:
    """Verdict and reasons of every rung.

    trips: int (rungs, ladders, 2), round trips rung -> hottest rung -> rung of the copies of all instances, altogether
    and in the last half of the rows; None without a ladder. metastable, inconsistent: what the free energies say
    against each rung, the one enough to call it stuck, the other enough not to call it equilibrated
    """
    out = []
    if len(metastable):
        pairs = zip(found, metastable, strict=True)
        found = [replace(here, against=(*here.against, *more)) for here, more in pairs]
    for rung, here in enumerate(found):
        doubts = tuple(inconsistent[rung]) if len(inconsistent) else ()
        if here.against:
            out.append(("stuck", here.against))
        elif here.short:
            out.append(("not contradicted", tuple(f"{TOO_SHORT}: {reason}" for reason in here.short)))
        elif setting.config.get("sampler", {}).get("method") in UNADJUSTED:
            out.append(("not contradicted", (BIASED, *doubts)))
        elif doubts:
            out.append(("not contradicted", doubts))
        else:
            out.append(_by_two_sides(rung, found, setting, trips))
    return out


def _by_two_sides(rung: int, found: list[Evidence], setting: Setting, trips: np.ndarray | None) -> Verdict:
    """Of a rung that nothing speaks against."""
    agreements, missing = list(found[rung].agreements), [NO_SIDES]
    is_hottest = rung == int(np.argmin(setting.beta))
    if STARTS_AGREE in agreements and _teacher_may_outweigh(rung, found, setting):
        agreements.remove(STARTS_AGREE)
        missing = ["both starts have left the teacher, whose state may be the better one"]
    elif trips is not None:
        missing = list(_what_trips_lack(rung, found, setting, trips))
        agreements += [] if missing else [MIXES if is_hottest else ROUND_TRIPS]
    return ("equilibrated", tuple(agreements)) if agreements else ("not contradicted", tuple(missing))


def of_symmetric(series: dict[str, np.ndarray], name: str) -> str:
    """The overlap by which copies are compared: two that differ by a symmetry of their units are alike."""
    return ALIGNED[name] if ALIGNED.get(name) in series else name


def r_hat_in_words(values: Sequence[float]) -> str:
    """The end of a reason, ` (R-hat 1.2 to 3.4)`; R_HAT finds that of a single one. Empty without values."""
    ends = dict.fromkeys(f"{end(values):.2g}" for end in (min, max) if len(values))
    return f" (R-hat {' to '.join(ends)})" if ends else ""


def where(beta: np.ndarray, rungs: np.ndarray) -> str:
    """`beta = 0.5, 1 to 2`: of rungs (bool), three neighbours and more as a range."""
    numbers = np.flatnonzero(rungs)
    parts = []
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
        ends = [f"{beta[r]:.4g}" for r in run]
        parts += ends if len(ends) < 3 else [f"{ends[0]} to {ends[-1]}"]
    return "beta = " + ", ".join(parts)


# --- what a series says of itself ---


def _too_short(energy: np.ndarray, sizes: np.ndarray) -> Iterator[str]:
    if energy.shape[-1] < statistics.MIN_ROWS:
        yield f"fewer than {statistics.MIN_ROWS} samples"
    elif np.isnan(sizes).all():
        yield "the energy never changes"
    elif np.nansum(sizes) < MIN_ESS:
        yield f"fewer than {MIN_ESS} effective samples"
    elif np.nanmin(sizes) < MIN_ESS_INSTANCE:  # an instance that never changes may be in its only state
        yield f"an instance with fewer than {MIN_ESS_INSTANCE} effective samples"
    else:
        moving = ~np.isnan(sizes)
        by_tau = energy[moving].var(axis=(-2, -1)) / sizes[moving]
        found = statistics.blocking(energy[moving])
        by_blocks = np.where(np.isnan(found.error), found.errors[-1], found.error) ** 2
        if by_blocks.mean() > MAX_BLOCKING**2 * by_tau.mean():
            yield f"blocks of the energy give more than {MAX_BLOCKING:.0f} times the error of the autocorrelation time"


def _drifts(judged: dict[str, np.ndarray], level: float) -> Iterator[str]:
    for name, values in judged.items():
        # Pairs share copies, so they are no independent chains: their mean is one.
        chains = values.mean(axis=1, keepdims=True) if name == "overlap" else values
        if statistics.drift_probability(chains) < level:
            yield f"the {_words(name)} drifts: its last half differs from what was before"


def _spread(name: str, values: np.ndarray, series: dict[str, np.ndarray], setting: Setting) -> Iterator[str]:
    """Copies, or starts, with different means in some instance; of overlaps pairs of copies."""
    if name == "overlap":
        groups = {"pairs of copies": values}
    else:
        groups = {"starts": _by_start(values, setting.planted), "copies": values}
    for who, chains in groups.items():
        r_hat = statistics.gelman_rubin(chains)
        apart = np.flatnonzero(r_hat > MAX_R_HAT)
        p = [statistics.probability_of_spread(chains[i]) for i in apart]
        if (p and min(p) < setting.level / len(values)) or (who == "starts" and (r_hat > FAR_APART).any()):
            yield f"{who} differ in {of_symmetric(series, name)}{r_hat_in_words([np.nanmax(r_hat)])}"
            return


def _by_start(values: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """Means over the copies of each start: (instances, 2 or 1, rows)."""
    sides = [values[:, side] for side in (~planted, planted) if side.any()]
    return np.stack([side.mean(axis=1) for side in sides], axis=1)


def _frozen_apart(overlap: np.ndarray) -> np.ndarray:
    """Instances (n,) whose overlaps (n, pairs, samples) never change while some copies are in different states."""
    return statistics.is_frozen(overlap) & (np.abs(overlap[..., 0]) < SAME).any(axis=-1)


def _words(name: str) -> str:
    return name.replace("_", " ")


# --- two sides ---


def _starts_agree(judged: dict[str, np.ndarray], planted: np.ndarray, level: float) -> bool:
    """Whether both starts have the same energy and overlap with the teacher in every instance, and both have moved."""
    if planted.all() or not planted.any() or "teacher_overlap" not in judged:
        return False
    for name in ("energy", "teacher_overlap"):
        for side in (planted, ~planted):
            if not (statistics.effective_sample_size(judged[name][:, side]) >= MIN_ESS_INSTANCE).all():  # NaN: frozen
                return False
        sides = _by_start(judged[name], planted)
        if not (statistics.gelman_rubin(sides) <= MAX_R_HAT).all():
            return False
        if min(map(statistics.probability_of_spread, sides)) < level / len(sides):
            return False
    return True


def _nishimori(judged: dict[str, np.ndarray], beta: float, setting: Setting) -> tuple[list[str], bool]:
    """What contradicts the Nishimori identities, and whether they hold with power; of the copies started at random.

    Given the data, the teacher has the law of an equilibrium copy. So the disorder moves <R> - <q> by no more than the
    variance of q in time, and <E> by no more than the variance of the energy of the teacher, whatever the number of
    instances. Aligned overlaps are far from 0 without any learning; there the energy has to tell.
    """
    wanted = posterior_beta(setting.config)
    random = ~setting.planted
    if wanted is None or not np.isclose(beta, wanted, rtol=1e-3) or not random.any() or "teacher_overlap" not in judged:
        return [], False
    tests = {}
    law = _teacher_energy(setting.config)
    if law is not None:
        tests["energy"] = _energy_identity(judged["energy"][:, random], law, setting.n_patterns)
    pairs = [pair for pair, both in enumerate(combinations(random, 2)) if all(both)]
    if pairs:
        tests["overlaps"] = _overlap_identity(judged["overlap"][:, pairs], judged["teacher_overlap"][:, random])
    machine, _ = machines(setting.config)
    wrong, holds = [], "overlaps" in tests and ("energy" in tests or machine["n_hidden"] == 1)
    for name, (deviation, error, without) in tests.items():
        if not np.isfinite(error):
            return [], False
        if 2 * stats.norm.sf(abs(deviation) / error) < setting.level:
            wrong.append(f"the Nishimori identity of the {name} is violated by {abs(deviation) / error:.1f} errors")
        # with overlaps near 0 equality means nothing, but the energy has then told
        holds &= abs(without) > POWER * error or (name == "overlaps" and "energy" in tests)
    return wrong, holds and not wrong


_Identity = tuple[float, float, float]
"""Deviation, its standard error, and how far off the side would be that had learnt nothing."""


def _teacher_energy(config: dict[str, Any]) -> tuple[float, float, float] | None:
    """Mean and variance of the teacher's loss on a pattern, and what a student that knows nothing loses more.

    Flips with probability p for error-count; noise of variance s for the square loss of outputs of variance 1. None for
    other losses, whose mean depends on the law of the inputs.
    """
    match config["model"]["loss"]["name"]:
        case "error-count":
            p = float(config["data"]["label_noise"])
            return p, p * (1 - p), 0.5 - p
        case "square":
            s = float(config["data"]["output_noise"])
            return s / 2, s**2 / 2, 1.0
    return None


def _energy_identity(energy: np.ndarray, law: tuple[float, float, float], n_patterns: int) -> _Identity:
    mean, variance, without = law
    means, errors, _ = statistics.time_average(energy)
    error = np.sqrt(n_patterns * variance / len(means) + np.sum(errors**2) / len(means) ** 2)
    return float(means.mean() - mean * n_patterns), float(error), without * n_patterns


def _overlap_identity(overlap: np.ndarray, teacher_overlap: np.ndarray) -> _Identity:
    q, q_errors, _ = statistics.time_average(overlap.mean(axis=1, keepdims=True))
    r, r_errors, _ = statistics.time_average(teacher_overlap)
    variances = overlap.var(axis=(-2, -1)) + q_errors**2 + r_errors**2
    return float(np.mean(r - q)), float(np.sqrt(variances.sum()) / len(r)), float(q.mean())


def posterior_beta(config: dict[str, Any]) -> float | None:
    """Inverse temperature at which the Gibbs measure is the posterior of what made the data; None if it never is.

    ln((1 - p) / p) for error-count and labels flipped with probability p, the sharpness for logistic labels,
    1 / output_noise for the square loss. `config` is the run file.
    """
    data, loss = config["data"], config["model"]["loss"]
    method = config.get("sampler", {}).get("method", "metropolis")
    if data["source"] != "teacher" or "constraint" in config or method in UNADJUSTED or loss.get("margin", 0) != 0:
        return None
    student, teacher = machines(config)
    names = ["architecture", "weights", "n_hidden", "second_layer"]
    if student["architecture"].endswith("committee"):
        names.append("activation")
    if any(student[name] != teacher[name] for name in names):
        return None
    labels, flipped, noise = data.get("labels", "sign"), data.get("label_noise", 0.0), data.get("output_noise", 0.0)
    match loss["name"], labels:
        case "error-count", "sign" if 0 < flipped < 0.5:
            return float(np.log((1 - flipped) / flipped))
        case "logistic", "logistic":
            return float(loss.get("sharpness", 1.0))
        case "square", "real" if noise > 0:
            return float(1 / noise)
    return None


def _teacher_may_win(config: dict[str, Any], beta: float, setting: Setting) -> bool:
    """Whether a state near the teacher may have more weight than one that obeys the Nishimori identities elsewhere.

    Not for perceptrons of real weights, and not as long as P patterns tell less than the entropy n ln 2 of Ising
    weights: a label flipped with probability p at most ln 2 - H(p), another +-1 label ln 2, a real one of unit variance
    plus noise of variance 1/beta (1/2) ln(1 + beta) (Shannon).
    """
    student, _ = machines(config)
    if student["weights"] != "ising":
        return student["architecture"] != "perceptron"
    loss = config["model"]["loss"]["name"]
    if loss == "error-count":
        told = np.log(2) - stats.bernoulli(config["data"]["label_noise"]).entropy()
    elif loss == "logistic":
        told = np.log(2)
    elif student["architecture"].endswith("committee") and student["activation"] == "relu":
        return True  # of mean output far from 0, which grows with the number of units
    else:
        told = 0.5 * np.log1p(beta)
    return bool(setting.n_patterns * told >= setting.n_weights * np.log(2))


# --- round trips ---


def _what_trips_lack(rung: int, found: list[Evidence], setting: Setting, trips: np.ndarray) -> Iterator[str]:
    """Why round trips are no proof at a rung; nothing if they are. The hottest rung needs none."""
    hottest = int(np.argmin(setting.beta))
    if any(here.against for here in found[hottest:rung]):
        yield "a hotter rung is stuck"
    elif not _mixes(found[hottest], setting, hottest):
        yield "the hottest rung is too cold, or its series too short, to mix in a few sweeps for sure"
    elif rung != hottest and trips[rung, :, 0].min() < MIN_TRIPS:
        yield f"fewer than {MIN_TRIPS} round trips in a ladder"
    elif rung != hottest and trips[rung, :, 1].min() < MIN_LATE_TRIPS:
        yield "hardly any round trip in the last half of a ladder"
    elif _teacher_may_outweigh(rung, found, setting, unknown=True):
        yield "round trips do not find what must be nucleated: a better state, as at a teacher, is not excluded"


def _mixes(here: Evidence, setting: Setting, rung: int) -> bool:
    """Whether a rung is so hot, and its energies so independent, that it needs no proof."""
    if here.against or here.short or not here.sizes.min() >= MIN_ESS_HOT:  # NaN: frozen
        return False
    beta = setting.beta[rung]
    energy = _energy_at_infinite_temperature(setting)
    entropy = beta**2 * here.variance if energy is None else beta * (energy - here.energy.mean())
    return bool(entropy <= HOT * setting.n_weights)


def _energy_at_infinite_temperature(setting: Setting) -> float | None:
    """<E> over the prior of error-count at margin 0: half of all patterns, by the symmetry w -> -w (parity: of a unit).

    None for what depends on the law of the inputs, and at a fixed overlap.
    """
    loss = setting.config["model"]["loss"]
    is_half = loss["name"] == "error-count" and loss.get("margin", 0) == 0 and "constraint" not in setting.config
    return setting.n_patterns / 2 if is_half else None


def _teacher_may_outweigh(rung: int, found: list[Evidence], setting: Setting, unknown: bool = False) -> bool:
    """Whether the state of the teacher may have more than a small part of the weight of what was sampled elsewhere.

    It has exp(-beta E), E of the teacher, times the number of its images under the symmetries of the machine, and
    hardly more where one wrong weight costs many patterns: in machines of Ising weights under error-count. `unknown`
    stands for other losses and machines, but for perceptrons of real weights, which have one state alone. Not without
    a teacher, not at a fixed overlap with it where it has no other image, and not if all copies have been there.
    """
    student, _ = machines(setting.config)
    images = log_n_images(student)
    is_excluded = setting.config.get("constraint", {}).get("reference") == "teacher" and images == 0
    if setting.config["data"]["source"] == "random" or is_excluded or found[rung].at_teacher:
        return False
    if images is None:
        return unknown and student["architecture"] != "perceptron"
    log_z = log_z_of_branch(np.array([here.energy for here in found[: rung + 1]]), setting)
    if log_z is None:
        return unknown
    p, n = setting.config["data"].get("label_noise", 0.0), setting.n_patterns
    least = max(0.0, n * p - 3 * np.sqrt(n * p * (1 - p)))  # energy of the teacher, three standard deviations below
    return not (log_z > SMALL_WEIGHT + images - setting.beta[rung] * least).all()


def log_z_of_branch(energies: np.ndarray, setting: Setting) -> np.ndarray | None:
    """ln Z of the states that were sampled at the last of some rungs, for each instance of Ising weights: (instances,).

    n ln 2 - int <E> d beta from beta = 0 on, by the trapezoidal rule; a lower bound as long as <E> runs below the
    chords, as it does where it is convex. None where <E> at beta = 0 is not known.

    energies: mean energies from the first rung on, (rungs, instances)
    """
    first = _energy_at_infinite_temperature(setting)
    if first is None:
        return None
    curve = np.concatenate([np.full((1, energies.shape[1]), first), energies])
    beta = np.concatenate([[0.0], setting.beta[: len(energies)]])
    return setting.n_weights * np.log(2) - np.trapezoid(curve, beta, axis=0)
