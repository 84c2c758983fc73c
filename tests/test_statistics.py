"""Error bars on series with known answers: they must cover the truth as often as they say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from mcmc.analysis import statistics
from synthetic import ar1

REPETITIONS = 500
LOW, HIGH = 0.63, 0.73
"""Of error bars that should cover 68.3 %: a good one fails with a chance of 1.7 % a test, and the seeds are fixed."""


def coverage(means: np.ndarray, errors: np.ndarray, truth: float = 0.0) -> float:
    return float(np.mean(np.abs(np.asarray(means) - truth) < np.asarray(errors)))


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.98])
def test_autocorrelation_time_of_ar1(phi: float) -> None:
    x = ar1(np.random.default_rng(1), phi, (20, 4, 20_000))
    tau = x[0].size / statistics.effective_sample_size(x)
    expected = (1 + phi) / (1 - phi)
    assert tau.shape == (20,)
    assert tau.mean() == pytest.approx(expected, rel=0.08)  # Geyer's estimate errs to the long side


@pytest.mark.parametrize(("phi", "n_copies"), [(0.0, 1), (0.9, 1), (0.9, 4), (0.97, 2)])
def test_thermal_error_covers(phi: float, n_copies: int) -> None:
    x = ar1(np.random.default_rng(2), phi, (REPETITIONS, n_copies, 2000))
    means, errors, _ = statistics.time_average(x)
    assert LOW < coverage(means, errors) < HIGH


@pytest.mark.parametrize(("phi", "n_copies"), [(0.0, 1), (0.9, 1), (0.97, 4)])
def test_error_by_blocking_covers_and_agrees(phi: float, n_copies: int) -> None:
    """With the same numbers as the autocorrelation time, of which it knows nothing."""
    x = ar1(np.random.default_rng(2), phi, (REPETITIONS, n_copies, 4000))
    found = statistics.blocking(x)
    assert np.isfinite(found.error).mean() > 0.98
    assert LOW < coverage(x.mean(axis=(1, 2)), found.error) < HIGH
    assert np.nanmean(found.error) == pytest.approx(statistics.time_average(x)[1].mean(), rel=0.08)
    assert coverage(x.mean(axis=(1, 2)), found.errors[0]) < LOW or phi == 0  # blocks of one row


def test_blocking_levels() -> None:
    x = np.random.default_rng(3).normal(size=(2, 1000))
    found = statistics.blocking(x)
    np.testing.assert_array_equal(found.lengths, 2 ** np.arange(len(found.lengths)))
    assert found.lengths[-1] == 128  # 7 blocks a chain
    assert found.errors.shape == found.uncertainties.shape == (8,)
    assert found.errors[0] == x.std(ddof=1) / np.sqrt(2000)
    assert found.uncertainties[0] == pytest.approx(found.errors[0] / np.sqrt(2 * 1999))
    ramp = statistics.blocking(np.arange(1000.0)[None])
    assert np.isnan(ramp.error)  # no plateau
    assert (np.diff(ramp.errors) > 0).all()
    with pytest.raises(ValueError, match="series: got 1 chains of 7 rows, expected at least 8 rows"):
        statistics.blocking(x[:1, :7])


@pytest.mark.parametrize(("phi", "n_copies"), [(0.0, 2), (0.9, 1), (0.999, 4)])
def test_long_series_are_blocked_exactly(phi: float, n_copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same error and size, within their noise, whether tau is far below or far above the blocks' length."""
    x = 3.0 + ar1(np.random.default_rng(4), phi, (6, n_copies, 50_000))
    monkeypatch.setattr(statistics, "MAX_ROWS", 100_000)
    exact = statistics.time_average(x)
    monkeypatch.setattr(statistics, "MAX_ROWS", 4096)
    blocked = statistics.time_average(x)
    np.testing.assert_array_equal(blocked[0], exact[0])
    for found, expected in zip(blocked[1:], exact[1:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.15)
        assert found.mean() == pytest.approx(expected.mean(), rel=0.05)


def test_ignoring_autocorrelation_undercovers() -> None:
    x = ar1(np.random.default_rng(2), 0.9, (REPETITIONS, 1, 2000))
    naive = x.std(axis=(1, 2)) / np.sqrt(x[0].size)
    assert coverage(x.mean(axis=(1, 2)), naive) < LOW


@pytest.mark.parametrize("n_instances", [2, 3, 4, 10])
def test_sample_error_covers_the_disorder_average(n_instances: int) -> None:
    rng = np.random.default_rng(3)
    x = ar1(rng, 0.8, (REPETITIONS, n_instances, 2, 500)) + rng.normal(size=(REPETITIONS, n_instances, 1, 1))
    means, errors, _ = statistics.time_average(x)
    found = [statistics.average_over_instances(m, e) for m, e in zip(means, errors, strict=True)]
    assert all(estimate.error == estimate.sample_error for estimate in found)
    assert LOW < coverage([e.mean for e in found], [e.error for e in found]) < HIGH
    # Negative controls: thermal errors alone, and two instances without Student's factor.
    assert coverage([e.mean for e in found], [e.thermal_error for e in found]) < LOW
    if n_instances == 2:
        plain = means.std(axis=1, ddof=1) / np.sqrt(n_instances)
        assert coverage(means.mean(axis=1), plain) < LOW


def test_one_instance_has_the_thermal_error() -> None:
    estimate = statistics.average_over_instances(np.array([2.0]), np.array([0.1]))
    assert estimate[:3] == (2.0, 0.1, 0.1)
    assert np.isnan(estimate.sample_error)


def test_thermal_error_of_an_average() -> None:
    estimate = statistics.average_over_instances(np.array([1.0, 3.0]), np.array([0.3, 0.4]))
    assert estimate.mean == 2.0
    assert estimate.thermal_error == pytest.approx(0.25)
    assert estimate.sample_error == pytest.approx(statistics.student_factor(2))


@pytest.mark.parametrize(("n", "factor"), [(2, 1.837), (4, 1.197), (1000, 1.0005)])
def test_student_factor(n: int, factor: float) -> None:
    assert statistics.student_factor(n) == pytest.approx(factor, abs=2e-3)


@pytest.mark.parametrize(
    "series", [np.ones((2, 100)), np.array([[1.0] * 100, [2.0] * 100]), np.arange(14.0).reshape(2, 7)]
)
def test_no_error_where_the_series_tells_none(series: np.ndarray) -> None:
    mean, error, size = statistics.time_average(series)
    assert mean == series.mean()
    assert np.isnan(error)
    assert np.isnan(size)
    assert np.isnan(statistics.variance(series, float(size))[1])


def test_a_frozen_instance_is_not_hidden_by_the_others() -> None:
    x = ar1(np.random.default_rng(4), 0.5, (3, 2, 500))
    x[1] = 7.0
    means, errors, sizes = statistics.time_average(x)
    np.testing.assert_array_equal(np.isnan(sizes), [False, True, False])
    estimate = statistics.average_over_instances(means, errors)
    assert np.isnan(estimate.thermal_error)
    assert estimate.error > 0


def test_effective_samples_never_exceed_the_rows() -> None:
    x = ar1(np.random.default_rng(5), -0.9, (5, 2, 100))
    assert (statistics.effective_sample_size(x) <= 200).all()


@pytest.mark.parametrize(("phi", "n_copies"), [(0.0, 1), (0.9, 2), (0.97, 4)])
def test_error_of_the_variance_covers(phi: float, n_copies: int) -> None:
    x = 5.0 + ar1(np.random.default_rng(6), phi, (REPETITIONS, n_copies, 2000))
    sizes = statistics.effective_sample_size(x)
    found = np.array([statistics.variance(*one) for one in zip(x, sizes, strict=True)])
    assert found[:, 0].mean() == pytest.approx(1.0, abs=4 * found[:, 0].std() / np.sqrt(REPETITIONS))
    assert LOW < coverage(found[:, 0], found[:, 1], 1.0) < HIGH


def test_jackknife_of_a_mean_is_the_standard_error() -> None:
    x = np.random.default_rng(7).normal(size=(50, 1))
    value, error = statistics.jackknife_of_means(x, lambda m: m[..., 0])
    assert value == pytest.approx(x.mean())
    assert error == pytest.approx(stats.sem(x[:, 0]) * statistics.student_factor(50))
    assert np.isnan(statistics.jackknife_of_means(x[:1], lambda m: m[..., 0])[1])


def test_blocks_are_long_enough() -> None:
    x = np.arange(2.0 * 1000).reshape(2, 1000)
    assert statistics.blocks(x, 1.0).shape == (64, 31)
    assert statistics.blocks(x, 25.0).shape == (12, 166)  # six autocorrelation times and more
    assert statistics.blocks(x, 1e6).shape == (2, 1000)
    assert statistics.blocks(x, 50.0)[-1, -1] == x[-1, -1]


@pytest.mark.parametrize("shape", [(1, 1, 2000), (1, 2, 2000), (1, 4, 2000), (4, 2, 500)])
def test_drift_has_its_error_rate_and_power(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(8)
    p_values = [statistics.drift_probability(ar1(rng, 0.8, shape)) for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.11
    relaxing = ar1(rng, 0.8, shape) + 4 * np.exp(-np.arange(shape[-1]) / (shape[-1] / 4))
    assert statistics.drift_probability(relaxing) < 1e-3


def test_mean_of_known() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(statistics.mean_of_known(values, axis=1), [2.0, np.nan])
        assert statistics.mean_of_known(values) == 2.0
        assert np.isnan(statistics.mean_of_known(values[1]))


def test_drift_of_frozen_and_short_series() -> None:
    assert statistics.drift_probability(np.ones((2, 2, 100))) == 1.0
    jump = np.repeat([[[0.0, 1.0]]], 50, axis=2)
    assert statistics.drift_probability(jump) < 1e-3
    assert np.isnan(statistics.drift_probability(np.ones((2, 2, 15))))


def gaussian_binder(mean: float, variance: float) -> float:
    fourth = mean**4 + 6 * mean**2 * variance + 3 * variance**2
    return 0.5 * (3 - fourth / (mean**2 + variance) ** 2)


@pytest.mark.parametrize(("n_instances", "mean"), [(1, 0.3), (1, 0.0), (2, 0.3), (3, 0.3), (4, 0.3)])
def test_error_of_the_binder_ratio_covers(n_instances: int, mean: float) -> None:
    """Overlaps with a Gaussian law; of several instances each with a mean of its own, on top of thermal noise."""
    rng = np.random.default_rng(10)
    sd, disorder = 0.2, 0.05 if n_instances > 1 else 0.0
    q = mean + sd * ar1(rng, 0.8, (REPETITIONS, n_instances, 1, 2000))
    q += disorder * rng.normal(size=(REPETITIONS, n_instances, 1, 1))
    found = [statistics.binder_ratio(one) for one in q]
    exact = gaussian_binder(mean, sd**2 + disorder**2)
    values = np.array([estimate.mean for estimate in found])
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / np.sqrt(REPETITIONS) + 0.01 * disorder)
    assert LOW < coverage(values, [estimate.error for estimate in found], exact) < HIGH
    if n_instances > 1:
        assert coverage(values, [estimate.thermal_error for estimate in found], exact) < LOW


def test_binder_ratio_of_known_laws() -> None:
    rng = np.random.default_rng(11)
    two_states = rng.choice([-0.7, 0.7], size=(3, 2, 500))
    assert statistics.binder_ratio(two_states).mean == pytest.approx(1.0)
    assert statistics.binder_ratio(rng.normal(size=(4, 1, 20_000))).mean == pytest.approx(0.0, abs=0.05)
    assert np.isnan(statistics.binder_ratio(np.full((1, 1, 100), 0.5)).error)  # frozen
    assert np.isnan(statistics.binder_ratio(np.zeros((2, 1, 100)))).all()
    # pairs share copies: six equal ones tell no more than one
    one = 0.3 + 0.2 * ar1(rng, 0.5, (1, 1, 500))
    assert statistics.binder_ratio(np.repeat(one, 6, axis=1)) == pytest.approx(
        statistics.binder_ratio(one), nan_ok=True
    )


def test_gelman_rubin() -> None:
    x = ar1(np.random.default_rng(9), 0.5, (3, 2, 1000))
    assert statistics.gelman_rubin(x) == pytest.approx(np.ones(3), abs=0.01)
    x[0, 0] += 3.0
    found = statistics.gelman_rubin(x)
    assert found[0] == pytest.approx(np.sqrt(1 + 4.5 / 1.0), rel=0.1)
    assert (found[1:] < 1.01).all()
    assert np.isnan(statistics.gelman_rubin(x[:, :1])).all()
    frozen = np.ones((2, 2, 100))
    frozen[0, 1] = 2.0
    np.testing.assert_array_equal(statistics.gelman_rubin(frozen), [np.inf, np.nan])


@pytest.mark.parametrize(("phi", "n_copies"), [(0.5, 2), (0.9, 4)])
def test_spread_over_chains_has_its_error_rate_and_power(phi: float, n_copies: int) -> None:
    rng = np.random.default_rng(12)
    x = ar1(rng, phi, (300, n_copies, 1000))
    p_values = [statistics.probability_of_spread(one) for one in x]
    assert 0.005 < np.mean(np.array(p_values) < 0.05) < 0.09
    x[:, 0] += 1.5
    assert np.mean([statistics.probability_of_spread(one) < 1e-3 for one in x[:50]]) > 0.9


def test_spread_of_frozen_chains() -> None:
    assert statistics.probability_of_spread(np.ones((3, 100))) == 1.0
    assert statistics.probability_of_spread(np.repeat([[1.0], [2.0]], 100, axis=1)) == 0.0
