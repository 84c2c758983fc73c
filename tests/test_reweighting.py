"""Curves between rungs and densities of states: independent spins, where all is known, and runs against enumeration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcmc
import spins
from mcmc.analysis import Results
from mcmc.analysis.reweighting import Curves, DensityOfStates, curves, densities_of_states
from test_free_energy import BETA, HIGH, LOW, RUN, exact_energies, metastable

N = 50
MIDDLES = (BETA[1:] + BETA[:-1]) / 2


def exact_curves(beta: np.ndarray, n: int) -> dict[str, np.ndarray]:
    p = 1 / (1 + np.exp(beta))
    return {
        "energy": n * p,
        "heat_capacity": beta**2 * p * (1 - p),
        "log_z": spins.log_z(beta, n),
        "entropy": spins.entropy(beta, n),
    }


def within(found: Curves, exact: dict[str, np.ndarray], sigma: float) -> bool:
    """Whether all curves are within so many thermal errors, and where beta = 0 fixes them, exact."""
    for name, truth in exact.items():
        band = getattr(found, name)
        if not (np.abs(band.mean - truth) <= sigma * band.thermal_error + 1e-9).all():
            return False
    return True


def test_bands_cover() -> None:
    """500 instances one by one, halfway between rungs: where no row was taken."""
    data = spins.spins(np.random.default_rng(1), BETA, n_instances=500)
    inside = {name: np.zeros(len(MIDDLES)) for name in exact_curves(MIDDLES, N)}
    for number in range(500):
        found = curves(Results(data.isel(instance=[number])), MIDDLES)
        for name, truth in exact_curves(MIDDLES, N).items():
            band = getattr(found, name)
            inside[name] += np.abs(band.mean - truth) < band.error
    for name, count in inside.items():
        assert LOW < count.mean() / 500 < HIGH, name
        assert (np.abs(count / 500 - 0.683) < 0.07).all(), name


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_default_grid(noise: float) -> None:
    data = spins.spins(np.random.default_rng(2), BETA + 0.125, n_instances=3, noise=noise, n_rows=3000)
    found = curves(Results(data))
    assert found.beta[0] == 0
    assert found.beta[-1] == BETA[-1] + 0.125
    assert set(BETA + 0.125) <= set(found.beta)
    assert len(found.beta) == 9 * 8 + 1
    exact = exact_curves(found.beta, N)
    exact["log_z"] += (found.beta * noise) ** 2 / 2
    exact["energy"] -= found.beta * noise**2
    exact["heat_capacity"] += (found.beta * noise) ** 2 / N
    exact["entropy"] = (exact["log_z"] + found.beta * exact["energy"]) / N
    assert within(found, exact, 5)  # neighbours are one value nearly: some 9 x 4 values
    wrong = {name: np.interp(found.beta + 0.05, found.beta, values) for name, values in exact.items()}
    assert not within(found, wrong, 5)


def test_curves_meet_the_rungs() -> None:
    """On the rungs log Z is that of mbar to the linear order of its replicates, <E> within what rungs tell alone."""
    results = Results(spins.spins(np.random.default_rng(3), BETA))
    branch, found = results.free_energy().branches[0], curves(results, BETA)
    np.testing.assert_allclose(found.log_z.mean, branch.log_z[0], atol=0.1 * found.log_z.error.max())
    np.testing.assert_allclose(found.log_z.error[1:], branch.log_z_error[0, 1:], rtol=0.3)  # other blocks, one level
    assert found.log_z.mean[0] == pytest.approx(N * np.log(2), abs=1e-9)
    assert found.log_z.error[0] < 1e-9


def test_nothing_is_said_beyond_the_ladder() -> None:
    results = Results(spins.spins(np.random.default_rng(4), BETA[4:]))
    found = curves(results, np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.01, 30.0]))
    assert np.isnan(found.energy.mean).tolist() == [True, True, False, False, False, True, True]
    assert np.isnan(found.log_z.mean).all()  # nothing leads to beta = 0
    assert curves(results).beta[0] == 1.0
    for wrong in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="beta: got"):
            curves(results, np.array([wrong]))


def test_where_the_starts_disagree_the_random_ones_are_taken() -> None:
    """As the free energies do, and as if there were no others; where they agree all are."""
    data = metastable(both=True)
    ours, alone = Results(data), Results(data.isel(copy=[0]))
    for found, expected in zip(curves(ours).energy, curves(alone).energy, strict=True):
        np.testing.assert_array_equal(found, expected)
    (density,), (expected,) = densities_of_states(ours), densities_of_states(alone)
    np.testing.assert_array_equal(density.energy, expected.energy)
    np.testing.assert_array_equal(density.log_g, expected.log_g)
    agreeing = spins.spins(np.random.default_rng(10), BETA, source="teacher")
    one = curves(Results(agreeing.isel(copy=[0]))).energy
    agreeing["start"] = ("copy", ["random", "teacher"])
    both = curves(Results(agreeing)).energy
    assert (both.error[1:] < one.error[1:]).mean() > 0.9


def test_nothing_is_said_across_a_gap() -> None:
    data = spins.spins(np.random.default_rng(5), np.array([0.0, 0.25, 0.5, 3.0]), n=200)
    found = curves(Results(data), np.array([0.3, 1.0, 2.0, 3.0]))
    assert np.isnan(found.energy.mean).tolist() == [False, True, True, True]


def test_few_effective_samples_are_none() -> None:
    """The same steps, a tenth of the rows and slow: between the rungs there is too little."""
    data = spins.spins(np.random.default_rng(6), np.array([0.0, 0.6]), n_rows=300, phi=0.95)
    assert np.isnan(curves(Results(data), np.array([0.3])).energy.mean).all()


def test_density_of_states() -> None:
    """ln C(n, E), with 60 % to 75 % of the error bars across (100 instances, energies being correlated)."""
    data = spins.spins(np.random.default_rng(7), BETA, n_instances=100, n_rows=3000)
    found = densities_of_states(Results(data))
    scores = np.full((100, N + 1), np.nan)
    for score, each in zip(scores, found, strict=True):
        exact = spins.log_states(each.energy, N)
        np.testing.assert_array_equal(each.entropy, each.log_g / N)
        score[each.energy.astype(int)] = (each.log_g - exact) / each.error
    seen = ~np.isnan(scores).any(axis=0)
    assert np.count_nonzero(seen) > 20
    assert np.nanmax(np.abs(scores)) < 6
    assert 0.6 < (np.abs(scores[:, seen]) < 1).mean() < 0.75


def test_rarely_seen_energies_have_no_error() -> None:
    data = spins.spins(np.random.default_rng(8), BETA[:3], n_copies=1)
    (found,) = densities_of_states(Results(data))
    rare = np.isnan(found.error)
    assert rare[0]
    assert rare[-1]
    assert np.isfinite(found.log_g).all()
    assert not rare[len(rare) // 2]


def test_density_of_reals() -> None:
    """A binomial and normal noise of sd 1: nearly binomial on the scale of bins, normalised to 2^n."""
    data = spins.spins(np.random.default_rng(9), BETA, n_rows=5000, noise=1.0)
    (found,) = densities_of_states(Results(data), 30)
    steps = np.diff(found.energy)
    width = steps.min()
    np.testing.assert_allclose(steps / width, np.rint(steps / width), atol=1e-6)
    # states = integral of the density; the convolution with the noise at the middles
    total = np.log(np.sum(np.exp(found.log_g)) * width)
    assert total == pytest.approx(N * np.log(2), abs=0.01)
    e = np.arange(N + 1)
    fine = found.energy[:, None] + width * (np.arange(9) - 4) / 9
    kernel = np.exp(-((fine[..., None] - e) ** 2) / 2) / np.sqrt(2 * np.pi)
    exact = np.log((kernel @ np.exp(spins.log_states(e, N))).mean(axis=1))
    known = ~np.isnan(found.error)
    assert np.count_nonzero(known) > 15
    assert (np.abs(found.log_g - exact)[known] < 4.5 * found.error[known]).all()


def _matches(density: DensityOfStates, exact: np.ndarray) -> bool:
    energies, counts = np.unique(exact, return_counts=True)
    truth = np.log(counts)[np.searchsorted(energies, density.energy)]
    known = ~np.isnan(density.error)
    return bool((np.abs(density.log_g - truth)[known] < 4.5 * density.error[known]).all()) and known.sum() > 10


def test_run_agrees_with_enumeration(tmp_path: Path) -> None:
    """E, C, log Z, s on the fine grid and s(E) within 4.5 sigma of what all 2^20 states give."""
    results = mcmc.run(RUN, output=tmp_path / "run", quiet=True)
    exact = exact_energies(tmp_path / "run", "error-count")
    found = curves(results)
    truth = {name: [] for name in ("log_z", "energy", "heat_capacity", "entropy")}
    for e in exact:
        levels, counts = np.unique(e, return_counts=True)
        weights = counts[:, None] * np.exp(-np.outer(levels, found.beta))
        z = weights.sum(axis=0)
        mean, square = levels @ weights / z, levels**2 @ weights / z
        truth["log_z"].append(np.log(z))
        truth["energy"].append(mean)
        truth["heat_capacity"].append(found.beta**2 * (square - mean**2) / 20)
        truth["entropy"].append((np.log(z) + found.beta * mean) / 20)
    assert within(found, {name: np.mean(values, axis=0) for name, values in truth.items()}, 4.5)
    densities = densities_of_states(results)
    assert all(_matches(*pair) for pair in zip(densities, exact, strict=True))
    assert not _matches(densities[0], exact[1])  # the other instance
    result = results.free_energy()
    zero = (results.equilibrium()["energy"] == 0).mean(["copy", "sample"]).transpose("instance", "rung")
    np.testing.assert_allclose(result.at_zero, zero, atol=0.02)  # all but the oldest rows
