"""Error bars of correlated time series and of averages over disorder; checks that a series is stationary.

Autocorrelation and effective sample size come from ArviZ: Geyer's initial monotone sequence over split chains, the
variance between chains included (Vehtari et al., Bayesian Analysis 16, 667, 2021). Chains are the copies of one
instance. Times are in rows; `tau = 1 + 2 sum_t rho(t)` is the number of rows that are worth one independent sample.
Long series are averaged over blocks of rows first: the error of a mean is that of the mean of its block means, however
long the blocks are beside tau. An error that the data cannot tell is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats
from scipy.signal import detrend

MIN_ROWS = 8
"""Fewer rows per chain than this give no autocorrelation time and no error."""

ONE_SIGMA = stats.norm.cdf(1.0)
MIN_ESS_DRIFT = 50  # in a bin of one chain; with fewer the test below cries wolf
BLOCKS = 64  # of a jackknife: its error bar is then known to 9 %
BLOCK_TAUS = 6
"""Shortest block in autocorrelation times: error bars of an AR(1) series are then 4 % too small, or less."""
MAX_ROWS = 1 << 14
"""Rows of a chain that an autocorrelation is worked out of; the error of an error bar is then below 1 %."""
MIN_BLOCKS = 8  # of all chains, at which blocking ends


class Estimate(NamedTuple):
    """A mean over instances with its standard errors; NaN where the data cannot tell one."""

    mean: float
    error: float
    """The one to quote: `sample_error` for two or more instances (it contains thermal noise), else `thermal_error`."""
    thermal_error: float
    """What the finite length of the series leaves open for these very instances."""
    sample_error: float
    """What the finite number of instances leaves open, with Student's factor; NaN for one instance."""


def is_frozen(series: np.ndarray) -> np.ndarray:
    """Whether no chain ever changes: (..., chains, rows) -> bool (...)."""
    return (np.ptp(series, axis=-1) == 0).all(axis=-1)


def effective_sample_size(series: np.ndarray) -> np.ndarray:
    """Number of independent samples that tell the mean as well: (..., chains, rows) -> float64 (...).

    At most chains * rows: luck in a short series must not look like anticorrelation. NaN for a frozen series and for
    fewer than `MIN_ROWS` rows.
    """
    return time_average(series)[2]


def time_average(series: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over chains and rows, its standard error, effective sample size: (..., chains, rows) -> 3 times (...)."""
    series = np.asarray(series, dtype=np.float64)
    n_chains, n_rows = series.shape[-2:]
    mean, size = series.mean(axis=(-2, -1)), np.full(series.shape[:-2], np.nan)
    if n_chains * n_rows < 2:  # one number has no spread
        return mean, size.copy(), size
    spread = series.std(axis=(-2, -1), ddof=1)
    if n_rows >= MIN_ROWS:
        short = block_means(series, -(-n_rows // MAX_ROWS))
        known = ~is_frozen(short)
        if known.any():
            size[known] = array_stats.ess(short[known], chain_axis=-2, draw_axis=-1, method="mean")
        if short is not series:
            with np.errstate(divide="ignore", invalid="ignore"):
                size *= (spread / short.std(axis=(-2, -1), ddof=1)) ** 2
        size = np.minimum(size, n_chains * n_rows)
    return mean, spread / np.sqrt(size), size


def block_means(series: np.ndarray, length: int) -> np.ndarray:
    """Means of neighbouring rows: (..., rows) -> float64 (..., rows // length), the oldest rows left out if need be."""
    if length == 1:
        return series
    n = series.shape[-1] // length
    return series[..., series.shape[-1] - n * length :].reshape(*series.shape[:-1], n, length).mean(axis=-1)


@dataclass(frozen=True)
class Blocking:
    """The error of a mean from blocks of growing length (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461, 1989)."""

    lengths: np.ndarray
    """Rows of a block, 1, 2, 4, ...: int (levels,)."""
    errors: np.ndarray
    """Standard error of the mean if blocks were independent: float64 (levels, ...)."""
    uncertainties: np.ndarray
    """Standard errors of `errors`, error / sqrt(2 (blocks - 1)): float64 (levels, ...)."""
    error: np.ndarray
    """That on the plateau; NaN where none is reached: float64 (...)."""


def blocking(series: np.ndarray) -> Blocking:
    """Error of the mean over chains and rows by blocking, which knows nothing of autocorrelations: (..., chains, rows).

    The plateau starts at the first length with length^3 > 2 tau^2 rows, tau as it looks at that length, all chains
    together; further on noise outweighs what is gained (Lee et al., Phys. Rev. E 83, 066706, 2011). Lengths
    with fewer than `MIN_BLOCKS` blocks are not tried.
    """
    now = np.asarray(series, dtype=np.float64)
    n_chains, n_rows = now.shape[-2:]
    lengths, errors, counts = [], [], []
    while now.shape[-1] and n_chains * now.shape[-1] >= MIN_BLOCKS:
        counts.append(n_chains * now.shape[-1])
        lengths.append(2 ** len(lengths))
        errors.append(now.std(axis=(-2, -1), ddof=1) / np.sqrt(counts[-1]))
        now = block_means(now, 2)
    if not lengths:
        raise ValueError(f"series: got {n_chains} chains of {n_rows} rows, expected at least {MIN_BLOCKS} rows")
    found = np.array(errors)
    of_level = (len(lengths), *[1] * (found.ndim - 1))
    length, n_blocks = np.array(lengths).reshape(of_level), np.array(counts).reshape(of_level)
    with np.errstate(divide="ignore", invalid="ignore"):
        tau = (found / found[0]) ** 2
        reached = length.astype(np.float64) ** 3 > 2 * tau**2 * n_chains * n_rows
    first = np.argmax(reached, axis=0)[None]
    error = np.where(reached.any(axis=0), np.take_along_axis(found, first, axis=0)[0], np.nan)
    return Blocking(np.array(lengths), found, found / np.sqrt(2 * (n_blocks - 1)), error)


@cache
def student_factor(n: int) -> float:
    """By how much a one-sigma bar from `n` values must grow to cover 68 %: the 0.8413 quantile of Student's t."""
    return float(stats.t.ppf(ONE_SIGMA, n - 1)) if n >= 2 else np.nan


def average_over_instances(means: np.ndarray, errors: np.ndarray) -> Estimate:
    """Average of `means` (n,), each with the thermal error `errors` (n,), over the n instances."""
    thermal, sample = map(float, errors_over_instances(means, errors))
    return Estimate(float(np.mean(means)), sample if len(means) >= 2 else thermal, thermal, sample)


def errors_over_instances(means: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thermal and sample error, see `Estimate`, of averages over n instances: twice (n, ...) -> twice (...)."""
    n = len(means)
    thermal = np.sqrt(np.sum(np.square(errors), axis=0)) / n
    if n < 2:
        return thermal, np.full_like(thermal, np.nan)
    return thermal, np.std(means, axis=0, ddof=1) / np.sqrt(n) * student_factor(n)


def averages(means: np.ndarray, errors: np.ndarray) -> list[Estimate]:
    """`average_over_instances` of each column: (instances, columns) both."""
    return [average_over_instances(*column) for column in zip(means.T, errors.T, strict=True)]


def mean_of_known(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of the numbers that are not NaN, NaN where there is none; without a warning."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return values.sum(axis=axis, where=known) / known.sum(axis=axis)


def blocks(series: np.ndarray, tau: float) -> np.ndarray:
    """Cut (chains, rows) into (n_blocks, length) nearly independent blocks, the oldest rows left out if need be.

    About `BLOCKS` blocks, fewer where they would be shorter than `BLOCK_TAUS` times `tau` rows; at least one a chain.
    """
    n_chains, n_rows = series.shape
    per_chain = max(1, min(-(-BLOCKS // n_chains), int(n_rows / (BLOCK_TAUS * max(tau, 1.0)))))
    length = n_rows // per_chain
    return series[:, n_rows - per_chain * length :].reshape(n_chains * per_chain, length)


def left_out(blocks: np.ndarray) -> np.ndarray:
    """Means over all blocks but one, for each: (blocks, ...) -> (blocks, ...), NaN for one block."""
    n = len(blocks)
    return (n * blocks.mean(axis=0) - blocks) / (n - 1) if n > 1 else np.full(blocks.shape, np.nan)


def jackknife(value: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A value (...) freed of its leading bias, and its standard error, Student's factor included.

    replicates: the same with one block left out, (blocks, ...). One block gives the value as it is and the error NaN.
    """
    n = len(replicates)
    if n < 2:
        return value, np.full(np.shape(value), np.nan)
    mean = replicates.mean(axis=0)
    error = np.sqrt((n - 1) / n * ((replicates - mean) ** 2).sum(axis=0))
    exact = np.ptp(replicates, axis=0) == 0  # spared the rounding
    unbiased = np.where(exact, value, n * value - (n - 1) * mean)
    return unbiased, np.where(exact, 0.0, error * student_factor(n))


def jackknife_of_means(block_means: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """`jackknife` of a function of means.

    `block_means` is (blocks, moments); `statistic` maps (..., moments) to (...).
    """
    value, error = jackknife(statistic(block_means.mean(axis=0)), statistic(left_out(block_means)))
    return float(value), float(error)


def variance(series: np.ndarray, size: float) -> tuple[float, float]:
    """Variance of one instance's (chains, rows) and its standard error; `size`: the effective sample size or NaN."""
    if np.isnan(size):
        return float(np.var(series)), np.nan
    cut = blocks(series - series.mean(), series.size / size)
    moments = np.stack([cut.mean(axis=1), (cut**2).mean(axis=1)], axis=1)
    return jackknife_of_means(moments, lambda m: m[..., 1] - m[..., 0] ** 2)


def binder_ratio(overlap: np.ndarray) -> Estimate:
    """Binder ratio (1/2) (3 - [<q^4>] / [<q^2>]^2) of overlaps (instances, pairs, rows); [] is the mean over instances.

    0 for a Gaussian P(q) around 0, 1 for one or two values +-q; convention of Bhatt and Young, Phys. Rev. Lett. 54, 924
    (1985). Jackknife over instances, of one over blocks of time; the thermal error is that of the linearised ratio.
    """
    squares = overlap**2
    series = np.stack([squares.mean(axis=1), (squares**2).mean(axis=1)], axis=-1)  # (instances, rows, moments)
    moments = series.mean(axis=1)
    second, fourth = moments.mean(axis=0)
    if not np.isfinite(fourth) or second == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    slope = np.array([fourth / second**3, -0.5 / second**2])
    linear = (series @ slope)[:, None]
    _, errors, sizes = time_average(linear)
    thermal = float(np.sqrt(np.sum(errors**2)) / len(errors))
    if len(moments) > 1:
        mean, sample = jackknife_of_means(moments, _binder)
        return Estimate(mean, sample, thermal, sample)
    if np.isnan(sizes[0]):
        return Estimate(float(_binder(moments[0])), np.nan, np.nan, np.nan)
    tau = linear.size / sizes[0]
    means = np.stack([blocks(series[..., k], tau).mean(axis=-1) for k in (0, 1)], axis=-1)
    mean, thermal = jackknife_of_means(means, _binder)
    return Estimate(mean, thermal, thermal, np.nan)


def _binder(moments: np.ndarray) -> np.ndarray:
    """From <q^2> and <q^4>, (..., 2) -> (...)."""
    return 0.5 * (3 - moments[..., 1] / moments[..., 0] ** 2)


def gelman_rubin(series: np.ndarray) -> np.ndarray:
    """R-hat of each instance, 1 where chains agree: (..., chains, rows) -> float64 (...).

    sqrt((rows - 1) / rows + variance of the chains' means / variance within chains). NaN for one chain or if nothing
    varies, infinite for frozen chains apart. The plain one, since the verdict wants to know how many standard
    deviations the chains are apart; ranks would hide that, and what they are good for, heavy tails, energies and
    overlaps do not have. Whether a large value means anything is `probability_of_spread`'s to tell.
    """
    n_chains, n_rows = series.shape[-2:]
    if n_chains < 2 or n_rows < 2:
        return np.full(series.shape[:-2], np.nan)
    within = series.var(axis=-1, ddof=1).mean(axis=-1)
    between = series.mean(axis=-1).var(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n_rows - 1) / n_rows + between / within)


def probability_of_spread(series: np.ndarray) -> float:
    """p-value of "the chains of this instance have one mean": (chains, rows) -> float.

    F-test of the variance of the chains' means against their errors, which come from each chain alone; of a short one
    they are little known, hence the few degrees of freedom. 1 if the means are equal, 0 for frozen chains apart.
    """
    means, errors, sizes = time_average(series[:, None])
    between, noise = means.var(ddof=1), np.nan_to_num(errors**2).mean()
    if between <= (1e-12 * np.abs(series).max()) ** 2:
        return 1.0
    if noise == 0:
        return 0.0
    return float(stats.f.sf(between / noise, len(means) - 1, max(1.0, np.nansum(sizes) / 4)))


def drift_probability(series: np.ndarray) -> float:
    """Two-sided p-value of "the series is stationary": (instances, chains, rows) -> float.

    Logarithmic binning: the last half against the quarter before it and against the first quarter, p times two. Noise
    from the spread over ten and more chains, which needs no autocorrelation time; of fewer from the error bars of the
    bins if they have `MIN_ESS_DRIFT` effective samples, else from the spread over four and more chains. Where neither
    works, the halves are compared; NaN where that does not work either: then the effective sample size is too small to
    believe the run anyway.
    """
    quarter = series.shape[-1] // 4
    if quarter < MIN_ROWS:
        return np.nan
    chains = series.reshape(-1, series.shape[-1])
    last = chains[:, -2 * quarter :]
    starts = (series.shape[-1] - 3 * quarter, 0)
    found = [_probability_of_change(chains[:, first : first + quarter], last) for first in starts]
    if np.isnan(found).any():
        return _probability_of_change(chains[:, : 2 * quarter], last)
    return min(1.0, 2 * min(found))


def _probability_of_change(before: np.ndarray, after: np.ndarray) -> float:
    """Two-sided p-value of "two pieces of the same chains have one mean": (chains, rows) each."""
    change = after.mean(axis=-1) - before.mean(axis=-1)
    if np.all(np.abs(change) <= 1e-12 * max(np.abs(before).max(), np.abs(after).max())):
        return 1.0
    spread = freedom = np.nan
    if change.size < 10:
        spread, freedom = _noise_of_pieces([before, after])
    if np.isnan(spread) and change.size >= 4:
        spread, freedom = change.std(ddof=1) / np.sqrt(change.size), change.size - 1.0
    with np.errstate(divide="ignore"):
        return float(2 * stats.t.sf(np.abs(change.mean()) / spread, freedom))


def _noise_of_pieces(pieces: list[np.ndarray]) -> tuple[float, float]:
    """Standard error of the mean change between pieces (chains, rows), and its degrees of freedom.

    A linear trend is taken out of every piece first: left in, it would pass for slow noise and hide the drift.
    """
    errors, sizes = [], []
    for piece in pieces:
        moving = piece[np.ptp(piece, axis=-1) > 0]  # a chain that never changes adds no noise
        if len(moving):
            short = block_means(moving, -(-moving.shape[-1] // MAX_ROWS))
            _, error, size = time_average(detrend(short)[:, None])
            errors.append(error)
            sizes.append(size)
    if not sizes:
        return 0.0, 1.0
    error, size = np.concatenate(errors), np.concatenate(sizes)
    if size.min() < MIN_ESS_DRIFT:
        return np.nan, np.nan
    freedom = size.sum() - 2 * len(size)
    return float(np.sqrt(np.sum(error**2) * size.sum() / freedom) / len(pieces[0])), float(freedom)
