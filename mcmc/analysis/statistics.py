"""Error bars of correlated time series and of averages over disorder; checks that a series is stationary.

Autocorrelation and effective sample size come from ArviZ: Geyer's initial monotone sequence over split chains, the
variance between chains included (Vehtari et al., Bayesian Analysis 16, 667, 2021). Chains are the copies of one
instance. Times are in rows; `tau = 1 + 2 sum_t rho(t)` is the number of rows that are worth one independent sample.
An error that the data cannot tell is NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats
from scipy.signal import detrend

MIN_ROWS = 8
"""Fewer rows per chain than this give no autocorrelation time and no error."""

ONE_SIGMA = stats.norm.cdf(1.0)
MIN_ESS_DRIFT = 50  # in a half of one chain; with fewer the test below cries wolf
BLOCKS = 64  # of a jackknife: its error bar is then known to 9 %
BLOCK_TAUS = 3  # shortest block in autocorrelation times


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
    series = np.asarray(series, dtype=np.float64)
    n_chains, n_rows = series.shape[-2:]
    known = ~is_frozen(series) & (n_rows >= MIN_ROWS)
    size = np.full(series.shape[:-2], np.nan)
    if known.any():
        size[known] = array_stats.ess(series[known], chain_axis=-2, draw_axis=-1, method="mean")
    return np.minimum(size, n_chains * n_rows)


def time_average(series: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over chains and rows, its standard error, effective sample size: (..., chains, rows) -> 3 times (...)."""
    size = effective_sample_size(series)
    if series.shape[-2] * series.shape[-1] < 2:  # one number has no spread
        return series.mean(axis=(-2, -1)), np.full(size.shape, np.nan), size
    return series.mean(axis=(-2, -1)), series.std(axis=(-2, -1), ddof=1) / np.sqrt(size), size


def student_factor(n: int) -> float:
    """By how much a one-sigma bar from `n` values must grow to cover 68 %: the 0.8413 quantile of Student's t."""
    return float(stats.t.ppf(ONE_SIGMA, n - 1)) if n >= 2 else np.nan


def average_over_instances(means: np.ndarray, errors: np.ndarray) -> Estimate:
    """Average of `means` (n,), each with the thermal error `errors` (n,), over the n instances."""
    n = len(means)
    thermal = float(np.sqrt(np.sum(errors**2)) / n)
    sample = float(np.std(means, ddof=1) / np.sqrt(n) * student_factor(n)) if n >= 2 else np.nan
    return Estimate(float(np.mean(means)), sample if n >= 2 else thermal, thermal, sample)


def blocks(series: np.ndarray, tau: float) -> np.ndarray:
    """Cut (chains, rows) into (n_blocks, length) nearly independent blocks, the oldest rows left out if need be.

    About `BLOCKS` blocks, fewer where they would be shorter than `BLOCK_TAUS` times `tau` rows; at least one a chain.
    """
    n_chains, n_rows = series.shape
    per_chain = max(1, min(-(-BLOCKS // n_chains), int(n_rows / (BLOCK_TAUS * max(tau, 1.0)))))
    length = n_rows // per_chain
    return series[:, n_rows - per_chain * length :].reshape(n_chains * per_chain, length)


def jackknife(block_means: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """A function of means, freed of its leading bias, and its standard error (Student's factor included).

    `block_means` is (n_blocks, n_moments); `statistic` maps (..., n_moments) to (...). One block gives the error NaN.
    """
    n = len(block_means)
    total = block_means.mean(axis=0)
    if n < 2:
        return float(statistic(total)), np.nan
    left_out = statistic((n * total - block_means) / (n - 1))
    value = n * statistic(total) - (n - 1) * left_out.mean()
    error = np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))
    return float(value), float(error * student_factor(n))


def variance(series: np.ndarray, size: float) -> tuple[float, float]:
    """Variance of one instance's (chains, rows) and its standard error; `size`: the effective sample size or NaN."""
    if np.isnan(size):
        return float(np.var(series)), np.nan
    cut = blocks(series - series.mean(), series.size / size)
    moments = np.stack([cut.mean(axis=1), (cut**2).mean(axis=1)], axis=1)
    return jackknife(moments, lambda m: m[..., 1] - m[..., 0] ** 2)


def gelman_rubin(series: np.ndarray) -> float:
    """R-hat with the variances between and within copies pooled over instances: (instances, copies, rows) -> float.

    Pooling keeps the chance of a false alarm small for many short instances. NaN for one copy or if nothing varies.
    """
    n_copies, n_rows = series.shape[1:]
    if n_copies < 2 or n_rows < 2:
        return np.nan
    within = series.var(axis=2, ddof=1).mean()
    between = series.mean(axis=2).var(axis=1, ddof=1).mean()
    if within == 0:
        return np.inf if between > 0 else np.nan
    return float(np.sqrt((n_rows - 1) / n_rows + between / within))


def drift_probability(series: np.ndarray) -> float:
    """Two-sided p-value of "the first half has the mean of the second": (instances, copies, rows) -> float.

    With four and more chains a t-test over chains, which needs no autocorrelation time; else the error bars of the
    halves. NaN where neither works: then the effective sample size is too small to believe the run anyway.
    """
    half = series.shape[-1] // 2
    if half < MIN_ROWS:
        return np.nan
    halves = np.stack([series[..., :half], series[..., -half:]]).reshape(2, -1, half)
    change = np.diff(halves.mean(axis=-1), axis=0)[0]
    if np.all(np.abs(change) <= 1e-12 * np.abs(series).max()):
        return 1.0
    if change.size >= 4:
        spread, freedom = change.std(ddof=1) / np.sqrt(change.size), change.size - 1.0
    else:
        spread, freedom = _noise_of_halves(halves)
    with np.errstate(divide="ignore"):
        return float(2 * stats.t.sf(np.abs(change.mean()) / spread, freedom))


def _noise_of_halves(halves: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean change between halves (2, chains, rows), and its degrees of freedom.

    A linear trend is taken out of every half first: left in, it would pass for slow noise and hide the drift.
    """
    n_rows = halves.shape[-1]
    moving = halves[np.ptp(halves, axis=-1) > 0]  # a half that never changes adds no noise
    if not len(moving):
        return 0.0, 1.0
    _, errors, sizes = time_average(detrend(moving).reshape(-1, 1, n_rows))
    if sizes.min() < MIN_ESS_DRIFT:
        return np.nan, np.nan
    freedom = sizes.sum() - 2 * len(moving)
    return float(np.sqrt(np.sum(errors**2) * sizes.sum() / freedom) / halves.shape[1]), float(freedom)
