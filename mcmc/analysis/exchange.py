"""Exchange along the ladder: who swaps, how far walkers travel, and what is wrong with the ladder if they do not.

Rejections r of neighbouring rungs add up to the communication barrier Lambda, whose density along beta is the local
barrier. Both belong to the model and its moves, not to the ladder, as long as no r is near 1. If every sweep made the
energy independent of the past, all walkers of a ladder together would complete 1 / (2 + 2 sum r / (1 - r)) round trips
in an even-odd round, at most 1 / (2 + 2 Lambda) (Syed, Bouchard-Cote, Deligiannidis, Doucet, J. R. Stat. Soc. B 84, 321
(2022)); far fewer mean that something else than exchange holds the walkers. The flow f, the part of the walkers on a
rung that come from the hot end (Katzgraber, Trebst, Huse, Troyer, J. Stat. Mech. P03018 (2006)), falls where that is.

Walkers are seen at the rows alone: with several rounds between two rows, trips and visits are lower bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.interpolate import PchipInterpolator

from mcmc.analysis.statistics import student_factor
from mcmc.ladder import rungs_wanted

if TYPE_CHECKING:
    from mcmc.analysis.results import Results

LOW_ACCEPTANCE = 0.1
"""Of a pair below which the ladder is called bad."""
VERY_LOW_ACCEPTANCE = 0.01
"""The same of a ladder that was tuned to its flow, which needs few exchanges where walkers are fast."""
UNEVEN = 0.25
"""Difference of rejections along the ladder that is worth tuning."""
FEW_TRIPS = 10
"""Round trips by copy and instance below which walkers have hardly met both ends."""
HELD = 0.2
"""Part of the predicted round trips below which walkers are held by something else than exchange."""
MOST_BINS = 64
"""Of the histograms of energies that are no integers."""
_MOST_LEVELS = 1 << 20
"""Of integer energies, from the lowest to the highest one."""
_ROWS = 1 << 16
"""Rows that are looked at together."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """Exchange diagnostics of a run after its burn-in; s numbers the swaps of rungs s and s + 1.

    NaN where the data cannot tell: without any exchange, or with none proposed to a pair.
    """

    beta: np.ndarray
    """(rung,)"""
    rejection: np.ndarray
    """(swap,): rejected / proposed, of all instances and copies."""
    overlap: np.ndarray
    """(swap,): sum over energies of the smaller one of two neighbours' histograms, mean over instances; 1 for equal
    ones. Of real energies in `MOST_BINS` bins."""
    local_barrier: np.ndarray
    """(rung,): density of the barrier, d Lambda / d beta, in units of energy."""
    barrier: float
    """Lambda: sum of the rejections. A lower bound where some are near 1."""
    barrier_error: float
    """Standard error over instances, with Student's factor; NaN for one instance."""
    round_trips: np.ndarray
    """int64 (instance, copy, walker): cold end -> hot end -> cold end."""
    since_last: np.ndarray
    """float64 (instance, copy, walker): sweeps from the end of the last trip to the last row; NaN without any."""
    rate: float
    """Round trips of a walker in a sweep."""
    predicted_rate: float
    """The same, by the rejections, if energies forgot their past from round to round."""
    highest_rate: float
    """The same for the best ladder, however many rungs it has: 1 / (2 + 2 Lambda), by round and ladder, shared among as
    many walkers as there are here."""
    flow: np.ndarray
    """(rung,): part of the visits that are by walkers which were last at the hot end, of those that were at one."""
    mixing: np.ndarray
    """(rung, rung): probability that a walker on the first rung is on the second one a row later; rows sum to 1."""
    lag: int
    """Sweeps of the mixing matrix, from row to row."""
    advice: tuple[str, ...]
    """What is wrong with the ladder, in words; empty if nothing is."""

    @property
    def acceptance(self) -> np.ndarray:
        """(swap,): accepted / proposed."""
        return 1 - self.rejection


class Walkers:
    """Which walker sat where, collected rung by rung, and histograms of neighbours' energies on the way."""

    def __init__(self) -> None:
        self._walkers: list[np.ndarray] = []
        self._overlaps: list[float] = []
        self._latest: list[Histogram] = []
        """Of the energies of each instance on the last rung that came."""

    def add(self, some: xr.Dataset) -> None:
        """Some neighbouring rungs, the next ones; with `walker` and `energy`."""
        self._walkers.append(of_rungs(some))
        energy = some["energy"].transpose("rung", "instance", "copy", "sample").to_numpy()
        for here in energy.reshape(*energy.shape[:2], -1):
            histograms = list(map(Histogram, here))
            if self._latest:
                pairs = zip(self._latest, histograms, strict=True)
                self._overlaps.append(float(np.mean([before.overlap(after) for before, after in pairs])))
            self._latest = histograms

    @property
    def walker(self) -> np.ndarray:
        """uint16 (rung, instances x copies, samples)."""
        self._walkers = [np.concatenate(self._walkers)]
        return self._walkers[0]

    @property
    def overlap(self) -> np.ndarray:
        """(swap,), see Exchange."""
        return np.array(self._overlaps)


def exchange(results: Results) -> Exchange:
    """The diagnostics of a run; reads `walker` and `energy` rung by rung. ConfigError without rows after burn-in."""
    walkers = Walkers()
    for some in results.by_rungs(("walker", "energy")):
        walkers.add(some)
    return diagnose(results, walkers)


def diagnose(results: Results, walkers: Walkers) -> Exchange:
    """The same, of walkers that have been collected."""
    data = results.equilibrium()
    beta, walker = data["beta"].to_numpy(), walkers.walker
    sizes = [data.sizes[dim] for dim in ("instance", "copy", "rung")]
    sweeps = data["sweep"].to_numpy()
    lag = int(sweeps[1] - sweeps[0]) if len(sweeps) > 1 else 0
    every = int(results.config["ladder"].get("exchange_every", 1))
    hot, cold = int(np.argmin(beta)), int(np.argmax(beta))
    found = [travels(ladder, hot, cold) for ladder in np.moveaxis(walker, 1, 0)]
    trips, last = (np.array([one[key] for one in found]).reshape(sizes) for key in ("round_trips", "last_arrival"))
    visits = np.sum([one["visits"] for one in found], axis=0)
    passages = np.sum([one["passages"] for one in found], axis=0)
    rejection, by_instance = _rejections(data)
    rejected = float(rejection.sum())
    n_rungs = len(beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        predicted = 1 / (2 + 2 * np.sum(rejection / (1 - rejection)))
        flow = visits[0] / visits.sum(axis=0)
        mixing = passages / passages.sum(axis=1, keepdims=True)
    by_sweep = 1 / (max(every, 1) * n_rungs) if every and n_rungs > 1 else np.nan
    # from the row before the first one
    span = float(sweeps[-1] - sweeps[0] + lag)
    known = Exchange(
        beta=beta,
        rejection=rejection,
        overlap=walkers.overlap,
        local_barrier=_density(beta, rejection),
        barrier=rejected if n_rungs > 1 else np.nan,
        barrier_error=_error(by_instance),
        round_trips=trips,
        since_last=np.where(last >= 0, sweeps[-1] - sweeps[np.maximum(last, 0)], np.nan),
        rate=float(trips.mean() / span) if span and n_rungs > 1 else np.nan,
        predicted_rate=float(predicted * by_sweep),
        highest_rate=float(by_sweep / (2 + 2 * rejected)),
        flow=flow,
        mixing=mixing,
        lag=lag,
        advice=(),
    )
    is_annealed = "annealing" in results.config.get("schedule", {})  # which moves the rungs, too
    tune = "" if is_annealed else str(results.config["ladder"].get("tune", "none"))
    return replace(known, advice=advice(known, tune, sees_all=0 < lag <= 2 * every))


# --- what walkers do ---


def of_rungs(data: xr.Dataset) -> np.ndarray:
    """Which walker sat where: uint16 (rung, instances x copies, samples)."""
    walker = data["walker"].transpose("rung", "instance", "copy", "sample").to_numpy().astype(np.uint16)
    return walker.reshape(len(walker), -1, walker.shape[-1])


def travels(walker: np.ndarray, hot: int, cold: int) -> dict[str, np.ndarray]:
    """What the walkers of one ladder have done.

    walker: which one sat on a rung, integers (rungs, samples); hot, cold: the ends

    Returns round_trips int64 (walkers,), cold -> hot -> cold; last_arrival int64 (walkers,), the row that completed the
    last of them, -1 without; visits int64 (2, rungs), of walkers that were last at the hot and at the cold end;
    passages int64 (rungs, rungs), from row to row.
    """
    n_rungs, n_rows = walker.shape
    trips, last = np.zeros(n_rungs, dtype=np.int64), np.full(n_rungs, -1)
    visits, passages = np.zeros((2, n_rungs), dtype=np.int64), np.zeros(n_rungs**2, dtype=np.int64)
    at = np.empty((n_rungs, n_rows), dtype=np.uint16)
    for start in range(0, n_rows, _ROWS):
        some = walker[:, start : start + _ROWS].astype(np.intp)
        np.put_along_axis(at[:, start : start + _ROWS], some, np.arange(n_rungs, dtype=np.uint16)[:, None], axis=0)
    for number, rung in enumerate(at):
        ends = np.flatnonzero((rung == hot) | (rung == cold))
        is_cold = rung[ends] == cold
        arrivals = ends[1:][is_cold[1:] & ~is_cold[:-1]]
        if len(ends) and not is_cold[0]:  # who was seen at the hot end first has come from nowhere
            arrivals = arrivals[1:]
        trips[number] = len(arrivals)
        last[number] = arrivals[-1] if len(arrivals) else -1
        lengths = np.diff(np.append(ends, n_rows))
        from_cold = np.repeat(is_cold, lengths)  # of the rows since the first visit to an end
        for kind, rows in enumerate((~from_cold, from_cold)):
            visits[kind] += np.bincount(rung[n_rows - len(from_cold) :][rows], minlength=n_rungs)
        passages += np.bincount(rung[:-1].astype(np.intp) * n_rungs + rung[1:], minlength=n_rungs**2)
    return {
        "round_trips": trips,
        "last_arrival": last,
        "visits": visits,
        "passages": passages.reshape(n_rungs, n_rungs),
    }


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


def trips_of_ladders(walker: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """`round_trips` of each ladder, altogether and in the last half: int64 (rungs, ladders, 2), 0 at the hottest rung.

    walker: which one sat on a rung, integers (rungs, ladders, samples)
    """
    n_rungs, n_ladders, n_rows = walker.shape
    trips = np.zeros((n_rungs, n_ladders, 2), dtype=np.int64)
    for ladder in range(n_ladders):
        for part, first in enumerate((0, n_rows // 2)):
            found = round_trips(walker[:, ladder : ladder + 1, first:], beta)
            trips[:, ladder, part] = [n or 0 for n in found]
    return trips


def _trips(at_hot: np.ndarray, at_cold: np.ndarray) -> int:
    """Completed cold -> hot -> cold trips, given which walker was at the two rungs: (samples,), (samples,) -> int."""
    visits = np.stack([at_hot, at_cold], axis=1).ravel()  # in order of time; the parity tells the end of the ladder
    order = np.argsort(visits, kind="stable")  # by walker, then by time; of 16 bits, and so a radix sort
    walker, cold = visits[order], order % 2 == 1
    first = np.diff(walker, prepend=-1) != 0
    arrivals = np.count_nonzero(cold[1:] & ~cold[:-1] & ~first[1:])
    # A walker first seen at the hot end completes no trip when it first arrives at the cold one.
    return int(arrivals) - len(np.intersect1d(walker[first & ~cold], at_cold))


# --- rejections and barrier ---


def _rejections(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rejected / proposed exchanges: over instances and copies (swap,), and by instance (instance, swap)."""
    n_instances, n_swaps = data.sizes["instance"], data.sizes["rung"] - 1
    if "exchange_proposed" not in data:
        return np.full(n_swaps, np.nan), np.full((n_instances, n_swaps), np.nan)
    accepted, proposed = (
        data[name].transpose("instance", "copy", "swap").sum("copy").to_numpy()
        for name in ("exchange_accepted", "exchange_proposed")
    )
    with np.errstate(invalid="ignore"):
        return 1 - accepted.sum(axis=0) / proposed.sum(axis=0), 1 - accepted / proposed


def _density(beta: np.ndarray, rejection: np.ndarray) -> np.ndarray:
    """d Lambda / d beta at each rung, of a monotone cubic through the sums of the rejections."""
    if len(beta) < 2 or not np.isfinite(rejection).all():
        return np.full(len(beta), np.nan)
    return PchipInterpolator(beta, np.concatenate([[0.0], np.cumsum(rejection)])).derivative()(beta)


def _error(by_instance: np.ndarray) -> float:
    barriers = by_instance.sum(axis=1)
    n = len(barriers)
    return float(barriers.std(ddof=1) / np.sqrt(n) * student_factor(n)) if n >= 2 else np.nan


class Histogram:
    """Of a sample of energies, (n,): by energy if they are integers, else in bins that two samples have in common."""

    def __init__(self, energies: np.ndarray) -> None:
        self.energies = energies
        self.low, self.high = energies.min(), energies.max()  # NaN or infinite if any is
        self.counts: np.ndarray | None = None
        """By energy from `low` on."""
        if self.high - self.low < _MOST_LEVELS and (energies == np.rint(energies)).all():
            self.counts = np.bincount((energies - self.low).astype(np.intp))

    def overlap(self, other: Histogram) -> float:
        """Sum over energies of the smaller frequency, from 0 to 1; NaN where an energy is no finite number."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        if not np.isfinite([self.low, self.high, other.low, other.high]).all():
            return np.nan
        if self.counts is not None and other.counts is not None and high - low < _MOST_LEVELS:
            around = [(int(one.low - low), int(high - one.high)) for one in (self, other)]
            counts = [np.pad(one.counts, empty) for one, empty in zip((self, other), around, strict=True)]
        else:
            counts = [np.histogram(one.energies, MOST_BINS, (low, high))[0] for one in (self, other)]
        a, b = (count / count.sum() for count in counts)
        return float(np.minimum(a, b).sum())


# --- advice ---


def advice(found: Exchange, tune: str = "none", sees_all: bool = True) -> tuple[str, ...]:
    """What is wrong with a ladder, one line each.

    tune: how it was tuned, `ladder.tune`, "" where it cannot be; sees_all: whether rows are so frequent that no visit
        to an end is missed
    """
    if len(found.beta) < 2 or not np.isfinite(found.rejection).all():
        return ()
    lines = [*_low_acceptance(found, tune), *_uneven(found, tune), *_few_trips(found)]
    if sees_all and not (found.acceptance < _least_acceptance(tune)).any():
        lines += _held(found, tune)
    return tuple(lines)


def _least_acceptance(tune: str) -> float:
    return VERY_LOW_ACCEPTANCE if tune == "flow" else LOW_ACCEPTANCE


def _low_acceptance(found: Exchange, tune: str) -> list[str]:
    least = _least_acceptance(tune)
    bad = np.flatnonzero(found.acceptance < least)
    if not len(bad):
        return []
    worst, n_rungs = int(np.argmin(found.acceptance)), len(found.beta)
    at_least = "at least " if found.rejection.max() > 1 - LOW_ACCEPTANCE else ""  # a pair adds no more than 1
    needed = rungs_wanted(found.barrier)
    more = f"about {needed} rungs are wanted for acceptance 1/2, the ladder has {n_rungs}"
    if needed <= n_rungs:
        more = f"its {n_rungs} rungs are enough if they stand elsewhere{_tuning(tune)}"
    pairs = "a pair exchanges" if len(bad) == 1 else f"{len(bad)} pairs exchange"
    return [
        f"{pairs} at less than {least:.0%}, worst between beta = {_pair(found, worst)} "
        f"({found.acceptance[worst]:.2g}); barrier {at_least}{found.barrier:.3g}: {more}"
    ]


def _uneven(found: Exchange, tune: str) -> list[str]:
    if found.rejection.max() - found.rejection.min() <= UNEVEN or tune == "flow":  # which makes something else equal
        return []
    return [
        f"rejections from {found.rejection.min():.2f} to {found.rejection.max():.2f}, most between beta = "
        f"{_pair(found, int(np.argmax(found.rejection)))}: equal ones give more round trips{_tuning(tune)}"
    ]


def _tuning(tune: str) -> str:
    words = {"barrier": " (a longer burn-in to tune in)", "flow": " (a longer burn-in to tune in)", "": ""}
    return words.get(tune, " (ladder.tune = 'barrier')")


def _few_trips(found: Exchange) -> list[str]:
    mean = found.round_trips.sum(axis=-1).mean()
    if mean >= FEW_TRIPS:
        return []
    return [
        f"{mean:.3g} round trips by copy, fewer than {FEW_TRIPS}: cold rungs have hardly been renewed from the hot "
        "end; longer runs, or a better ladder"
    ]


def _held(found: Exchange, tune: str) -> list[str]:
    if found.rate >= HELD * found.predicted_rate:
        return []
    known = np.flatnonzero(~np.isnan(found.flow))  # both ends at least
    steepest = int(np.argmin(np.diff(found.flow[known]) * np.sign(np.diff(found.beta[known]))))
    where = " and ".join(f"{found.beta[rung]:.4g}" for rung in known[steepest : steepest + 2])
    more = "" if tune in ("flow", "") else "; ladder.tune = 'flow' puts more rungs there"
    return [
        f"round trips at {found.rate / found.predicted_rate:.2g} of the rate that the acceptances allow: walkers are "
        f"held, most of all between beta = {where}, where the flow falls: a transition, or slow moves{more}"
    ]


def _pair(found: Exchange, swap: int) -> str:
    return f"{found.beta[swap]:.4g} and {found.beta[swap + 1]:.4g}"
