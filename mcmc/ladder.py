"""The ladder of inverse temperatures: rules that space it, and rules that move it in the burn-in.

A tuned ladder moves at the end of rounds, each twice as long as the one before; the last one ends in the middle of the
burn-in, and from then on the ladder stays. A rule gives each pair of neighbours a weight, from integers that were
counted over all copies and instances; the new ladder has the same ends, and equal shares of weight between its rungs.

barrier   the rejection of the pair: the shares are equal when all pairs are rejected equally often (Syed,
          Bouchard-Cote, Deligiannidis, Doucet, J. R. Stat. Soc. B 84, 321 (2022))
flow      sqrt(df), df the part of the flow of walkers from end to end that the pair takes: the density of rungs is then
          that with the most round trips (Katzgraber, Trebst, Huse, Troyer, J. Stat. Mech. P03018 (2006)), whatever
          function of beta the density is taken in

All by + - * / and sqrt in a stated order: the same bits on every machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc.kernels import special


def linear(low: ArrayLike, high: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """Beta linear in x."""
    return low + (high - low) * x


def geometric(low: ArrayLike, high: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """ln beta linear in x; low and high > 0."""
    return low * special.exp(special.log(high / low) * x)


def linear_temperature(low: ArrayLike, high: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """T = 1 / beta linear in x; low and high > 0."""
    return 1.0 / (1.0 / low + (1.0 / high - 1.0 / low) * x)


PATHS = {"linear": linear, "geometric": geometric, "linear-temperature": linear_temperature}
"""Ways from low to high by name, for x from 0 to 1; numbers or arrays that go together."""


def spaced(spacing: str, low: float, high: float, n: int) -> NDArray[np.float64]:
    """n inverse temperatures from low to high, at equal steps of one of PATHS: float64 (n,)."""
    return _exact_ends(low, high, PATHS[spacing](low, high, _fractions(n)))


NONE, BARRIER, FLOW = "none", "barrier", "flow"
RULES = (NONE, BARRIER, FLOW)

LEAST_TUNED = 3
"""Rungs of a ladder that can be moved: its ends stay."""
LEAST_EXCHANGES = 32
"""Exchange rounds before the ladder is moved first: the burn-in must have twice as many."""
LEAST_ARRIVALS = 10
"""Arrivals at one end from the other, by rung of the ladder, that the flow is believed from."""
_UNIFORM = 0.1
"""Part of the weights of `flow` that all pairs have alike: no gap opens where noise sees no flow."""


def tuning_sweeps(burn_in: int, exchange_every: int) -> list[int]:
    """The sweeps at whose end the ladder moves, increasing: burn_in // 2 ** k for all k that leave time to count."""
    ends, end = [], burn_in // 2
    while end >= LEAST_EXCHANGES * max(1, exchange_every):
        ends.append(end)
        end //= 2
    return ends[::-1]


AUTO = "auto"
"""Number of rungs that is left to pilot runs."""
FIRST_RUNGS = 8
"""Of the first one."""
MOST_PILOTS = 6
SETTLED = 0.1
"""Relative change of the number of rungs that ends them."""
_LEAST_PILOT = 128
"""Exchange rounds of the first one."""


def pilot_sweeps(burn_in: int, exchange_every: int) -> list[int]:
    """Sweeps of the pilot runs, each twice as long as the one before, the first apart none longer than the burn-in.

    With 2 n - 1 rungs after n at the most, at most 449 rungs come of six runs from 8 rungs on.
    """
    first = _LEAST_PILOT * exchange_every
    return [first << k for k in range(MOST_PILOTS) if k == 0 or first << k <= burn_in]


def rungs_wanted(barrier: float) -> int:
    """ceil(2 Lambda) + 1 for the barrier Lambda, at least 2: rejections of about 1/2, if none is near 1 now.

    They make the most of a given number of walkers (Syed et al. 2022).
    """
    return max(2, math.ceil(2.0 * barrier) + 1)


class Tuned(NamedTuple):
    """A ladder that has been moved by what was counted on the one before."""

    beta: NDArray[np.float64]
    rule: str
    """By which: `flow` with too few arrivals moves it by `barrier`."""
    rejection: NDArray[np.float64]
    """(n_rungs - 1,), as measured on the ladder before, 1/2 for pairs that were never tried."""


def tuned(rule: str, beta: NDArray[np.float64], counts: dict[str, NDArray[np.int64]]) -> Tuned:
    """The ladder after a round.

    beta: float64 (n_rungs,), strictly increasing, n_rungs >= 2
    counts: int64 (n_rungs,) by name, see kernels.chain.LADDER_COUNTS, of all copies and instances; in those of pairs
        the last element means nothing
    """
    rejection = rejections(counts["accepted"][:-1], counts["proposed"][:-1])
    if rule == FLOW and counts["arrived"].sum() < LEAST_ARRIVALS * beta.size:
        rule = BARRIER
    weight = rejection if rule == BARRIER else _flow_weights(counts["from_first"], counts["from_last"])
    return Tuned(equal_shares(beta, weight), rule, rejection)


def rejections(accepted: NDArray[np.int64], proposed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of rejection of each pair, between 0 and 1: half a rejection and half an acceptance are added."""
    return (proposed - accepted + 0.5) / (proposed + 1.0)


def equal_shares(
    beta: NDArray[np.float64], weight: NDArray[np.float64], n_rungs: int | None = None
) -> NDArray[np.float64]:
    """A ladder with the ends of `beta` and equal shares of the weight between neighbours, float64 (n_rungs,).

    n_rungs: as many as there are by default
    weight: float64 (n_rungs - 1,), > 0, between the rungs of `beta`; it is spread there so that beta is a monotone
    cubic of the weight below it (Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 300 (1984))
    """
    n = beta.size if n_rungs is None else n_rungs
    below = np.concatenate([[0.0], np.cumsum(weight)])  # one after the other
    wanted = below[-1] * _fractions(n)
    at = np.clip(np.searchsorted(below, wanted, side="right") - 1, 0, beta.size - 2)
    slope = _monotone_slopes(below, beta)
    width, rise = weight[at], beta[at + 1] - beta[at]
    t = (wanted - below[at]) / width
    # Hermite's cubic, as the chord and what is zero at both ends
    left, right = width * slope[at] - rise, width * slope[at + 1] - rise
    found = beta[at] + rise * t + t * (1.0 - t) * ((1.0 - t) * left - t * right)
    found = _exact_ends(beta[0], beta[-1], found)
    return found if (np.diff(found) > 0).all() else linear(beta[0], beta[-1], n)  # rounding has let two fall together


def _monotone_slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a cubic through increasing points that increases: weighted harmonic means of the slopes of the chords."""
    width = np.diff(x)
    chord = np.diff(y) / width
    a, b = width[1:] + 2.0 * width[:-1], 2.0 * width[1:] + width[:-1]
    inner = 3.0 * (width[1:] + width[:-1]) / (b / chord[:-1] + a / chord[1:])
    return np.concatenate([chord[:1], inner, chord[-1:]])


def _flow_weights(from_first: NDArray[np.int64], from_last: NDArray[np.int64]) -> NDArray[np.float64]:
    """sqrt(df) of each pair: f is the part of the visits to a rung that walkers from the first rung make.

    The measured f is noise upon something that falls from 1 to 0: it is made monotone, and the falls of neighbouring
    pairs are averaged.
    """
    visits = from_first + from_last
    fall = -np.diff(_falling(from_first, np.maximum(visits, 1)))
    around = np.concatenate([fall[:1], fall, fall[-1:]])
    fall = 0.25 * (around[:-2] + 2.0 * fall + around[2:])
    weight = np.sqrt(fall)
    total = np.cumsum(weight)[-1]
    return (1.0 - _UNIFORM) * (weight / total) + _UNIFORM / fall.size


def _falling(part: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
    """The falling sequence that is nearest to part / of with weights `of`: neighbours that rise are pooled."""
    pools: list[list[int]] = []
    for n, m in zip(part.tolist(), of.tolist(), strict=True):
        pools.append([n, m, 1])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] < pools[-1][0] * pools[-2][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    return np.repeat([n / m for n, m, _ in pools], [size for *_, size in pools])


def _fractions(n: int) -> NDArray[np.float64]:
    return np.arange(n) / max(n - 1, 1)


def _exact_ends(low: float, high: float, beta: NDArray[np.float64]) -> NDArray[np.float64]:
    beta[0], beta[-1] = low, high
    return beta
