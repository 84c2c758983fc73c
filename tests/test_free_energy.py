"""log Z and entropy by every way: on ladders of independent spins, where all is known, and on runs against enumeration.

Coverage is that of 500 independent instances (REPETITIONS). What holds exactly has no tolerance but rounding; other
limits are stated with their error rates.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import mcmc
import spins
from enumeration import all_states
from mcmc.analysis import Results, energies, free_energy, mbar
from mcmc.analysis import results as results_module
from mcmc.analysis.free_energy import (
    WAYS,
    Branch,
    FreeEnergy,
    log_n_states,
    quadrature_errors,
    teacher_has_no_error,
)
from mcmc.analysis.reweighting import curves, densities_of_states
from mcmc.analysis.statistics import average_over_instances
from synthetic import RUN_TOML
from test_summary import written

REPETITIONS = 500
LOW, HIGH = 0.63, 0.73
BETA = np.linspace(0, 2, 9)
FEW = BETA[:5]
N = 50


def found(data: xr.Dataset) -> FreeEnergy:
    return Results(data).free_energy()


def coverage(values: np.ndarray, errors: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return (np.abs(values - truth) < errors).mean(axis=0)


def gaussian(data: xr.Dataset) -> xr.Dataset:
    """The same said to be of weights with a prior: log Z(0) = 0, and no state counts."""
    data.attrs["run_toml"] = data.attrs["run_toml"].replace("[model]", '[model]\nweights = "gaussian"')
    return data


CASES = {
    "two copies": {},
    "exchange": {"exchange": 0.5, "n_copies": 1, "n_rows": 3000},
    "first rung above 0": {"beta": FEW + 0.15},
    "reals": {"noise": 1.0},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Branch, np.ndarray, np.ndarray, np.ndarray]:
    """A branch of 500 instances, with the inverse temperatures, log Z and <E> as they are."""
    parameters = {"beta": FEW, "n_rows": 1500} | CASES[request.param]
    beta, noise = parameters["beta"], parameters.get("noise", 0.0)
    data = spins.spins(np.random.default_rng(1), n_instances=REPETITIONS, **parameters)
    log_z, energy = spins.log_z(beta, N), spins.mean_energy(beta, N)
    if noise:
        data = gaussian(data)
        log_z, energy = log_z - N * np.log(2) + (beta * noise) ** 2 / 2, energy - beta * noise**2
    result = found(data)
    assert result.notes == ()  # good runs are not accused: a chance of some 1e-4 a way and step
    return result.branches[0], beta, log_z, energy


@pytest.mark.parametrize("way", WAYS)
def test_error_bars_of_each_way_cover(case: tuple[Branch, np.ndarray, np.ndarray, np.ndarray], way: str) -> None:
    branch, _, log_z, _ = case
    values, errors = branch.ways[way]
    assert np.isnan(errors).mean() < 0.01  # stepping stones whose samples do not suffice
    known = ~np.isnan(errors).any(axis=1)
    rate = coverage(values[known], errors[known], log_z - log_z[0])[1:]
    assert LOW < rate.mean() < HIGH
    assert (np.abs(rate - 0.68) < 0.07).all()  # of 500: 3.3 sigma


def test_quoted_values_cover(case: tuple[Branch, np.ndarray, np.ndarray, np.ndarray]) -> None:
    branch, beta, log_z, energy = case
    rate = coverage(branch.log_z, branch.log_z_error, log_z)
    if beta[0] == 0:
        assert (branch.log_z[:, 0] == log_z[0]).all()
        assert (branch.log_z_error[:, 0] == 0).all()
        rate = rate[1:]
    assert LOW < rate.mean() < HIGH
    assert (np.abs(rate - 0.68) < 0.07).all()
    entropy = coverage(branch.entropy, branch.entropy_error, (log_z + beta * energy) / N)[-len(rate) :]
    assert LOW < entropy.mean() < HIGH


def test_errors_without_blocks_do_not_cover() -> None:
    """Negative control: rows taken for independent, as pymbar takes them, have error bars three times too small."""
    data = spins.spins(np.random.default_rng(2), BETA, n_instances=100)
    branch = found(data).branches[0]
    _, errors = branch.ways["integration"]
    truth = spins.log_z(BETA, N)[-1] - spins.log_z(BETA, N)[0]
    naive = errors[:, -1] / np.sqrt((1 + 0.8) / (1 - 0.8))
    assert coverage(branch.ways["integration"][0][:, -1], naive, truth) < 0.45


def test_few_instances() -> None:
    """500 averages over two instances of different disorder (here another shift of E), 250 over four."""
    rng = np.random.default_rng(3)
    data = spins.spins(rng, BETA[:3], n_instances=2 * REPETITIONS, n_rows=200, phi=0.5)
    data["energy"] = data["energy"] + np.rint(rng.normal(scale=10, size=(2 * REPETITIONS, 1, 1, 1)))
    branch = found(data).branches[0]
    truth = spins.log_z(BETA[2], N)
    for n in (2, 4):
        pairs = (part[:, -1].reshape(-1, n) for part in (branch.log_z, branch.log_z_error))
        estimates = [average_over_instances(*pair) for pair in zip(*pairs, strict=True)]
        assert LOW < coverage([e.mean for e in estimates], np.array([e.error for e in estimates]), truth) < HIGH
        assert coverage([e.mean for e in estimates], np.array([e.thermal_error for e in estimates]), truth) < LOW


def test_mbar_is_that_of_pymbar() -> None:
    pymbar = pytest.importorskip("pymbar")
    for noise in (0.0, 1.0):
        data = spins.spins(np.random.default_rng(4), BETA, n_rows=240, noise=noise)
        ((ladder,),) = energies.ladders(data, Results(data).config, [np.arange(2)])
        solution = mbar.solve(ladder, len(BETA), np.zeros(len(BETA)))  # from nowhere
        energy, counts = solution.points.energy, solution.points.counts.sum(axis=0).astype(int)
        rows = np.repeat(energy, counts)
        n = np.full(len(BETA), len(rows) // len(BETA))
        expected = pymbar.MBAR(BETA[:, None] * rows, n, initial_f_k=-solution.log_z + 0.01 * BETA).f_k
        np.testing.assert_allclose(solution.log_z, -expected, atol=1e-6)


def test_left_out_blocks_are_solutions() -> None:
    """One Newton step from the whole, against the equations of the other blocks."""
    data = spins.spins(np.random.default_rng(5), BETA, n_copies=1, phi=0.3)
    ((ladder,),) = energies.ladders(data, Results(data).config, [np.arange(1)])
    blocks = ladder.merged(2)
    solution = mbar.solve(ladder, len(BETA), np.zeros(len(BETA))).merged(blocks.n_blocks)
    for b in (0, 7, blocks.n_blocks - 1):
        seen = tuple(np.delete(counts, b, axis=0) for counts in blocks.seen)
        others = replace(blocks, moments=np.delete(blocks.moments, b, axis=0), seen=seen)
        expected = mbar.solve(others, len(BETA), solution.log_z).log_z
        change = np.abs(expected - solution.log_z).max()
        assert change > 1e-3
        np.testing.assert_allclose(solution.left_out[b], expected, atol=0.1 * change)


def test_blocks_keep_rows_together() -> None:
    data = spins.spins(np.random.default_rng(6), BETA[:3], n_rows=1003)
    ((ladder,),) = energies.ladders(data, Results(data).config, [np.arange(2)])
    assert ladder.n_blocks == 128
    assert ladder.n_rows == 64 * 15
    kept = (
        data["energy"].isel(instance=0, sample=slice(1003 - 960, None)).transpose("rung", "copy", "sample").to_numpy()
    )
    means = kept.reshape(3, 128, 15).mean(axis=2)
    np.testing.assert_allclose(ladder.low + ladder.moments[:, :, energies.MEAN], means.T)
    merged = ladder.merged(4)
    np.testing.assert_allclose(ladder.low + merged.moments[:, :, 0], means.reshape(3, 8, 16).mean(axis=2).T)
    assert ladder.merged(99).n_blocks == 2  # copies are not joined
    points = merged.points(2)
    assert points.n_rows == 240
    assert points.counts.sum() == 2 * 8 * 240
    np.testing.assert_array_equal(points.energy, np.unique(kept[:2]))


# --- what must be told ---


def spoiled(rung: int, n_instances: int = 1) -> xr.Dataset:
    """Spins of which one rung is hotter by 0.1 than its label says."""
    beta = BETA.copy()
    beta[rung] -= 0.1
    data = spins.spins(np.random.default_rng(7), beta, n_instances=n_instances, n_rows=4000)
    return data.assign_coords(beta=("rung", BETA))


@pytest.mark.parametrize("rung", [1, 4, 8])
def test_wrong_beta_of_one_rung_is_found(rung: int) -> None:
    result = found(spoiled(rung))
    (note,) = result.notes
    assert "ways to lnZ disagree" in note
    steps = {f"{BETA[r]:.4g}" for r in (rung, rung + 1) if r < len(BETA)}
    named = set(note.split("beta = ")[1].split(", "))
    assert named
    assert named <= steps
    assert {f"{BETA[r]:.4g}" for r, told in enumerate(result.inconsistent) if told} == named
    assert result.metastable == ((),) * len(BETA)


def verdicts(data: xr.Dataset) -> dict[float, tuple[str, tuple[str, ...]]]:
    """Of the summary, by beta."""
    return {rung.beta: (rung.verdict, rung.reasons) for rung in Results(completed(data)).summary().rungs}


def completed(data: xr.Dataset) -> xr.Dataset:
    """With all that a summary needs: walkers stay on their rungs, and overlaps say nothing."""
    energy = data["energy"]
    walker = xr.zeros_like(energy, int) + np.arange(energy.sizes["rung"])
    return data.assign(walker=walker, acceptance=xr.full_like(energy, 0.25), teacher_overlap=xr.zeros_like(energy))


@pytest.mark.parametrize("backwards", [False, True])
def test_contradictions_are_reasons_of_the_verdicts(backwards: bool) -> None:
    """On their rungs, in whichever order these are; from what is impossible follows more than from a doubt."""
    order = slice(None, None, -1 if backwards else 1)
    data = spoiled(4)
    told = dict(zip(BETA.tolist(), found(data).inconsistent, strict=True))
    assert sum(map(bool, told.values())) in (1, 2)
    for beta, (verdict, reasons) in verdicts(data.isel(rung=order)).items():
        assert ((verdict, reasons) == ("not contradicted", told[beta])) == bool(told[beta])
    data = metastable(both=False).isel(rung=slice(None, None, 4))
    told = dict(zip(data["beta"].to_numpy().tolist(), found(data).metastable, strict=True))
    assert told[8.0]
    assert not told[0.0]
    for beta, (verdict, reasons) in verdicts(data.isel(rung=order)).items():
        assert (verdict == "stuck") == bool(told[beta])
        assert set(told[beta]) <= set(reasons)


def test_skewed_weights_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step by 1.5 standard deviations of the energy: where the tail is missing, so is its part of the error."""
    data = spins.spins(np.random.default_rng(3), np.array([0.0, 0.43]), n_instances=300, n_rows=1500)
    assert found(data).doubts == ()
    assert np.isnan(found(data).branches[0].ways["up"][0][:, 1]).all()
    monkeypatch.setattr(free_energy, "MAX_SKEWNESS", np.inf)
    assert "ways to lnZ disagree (up" in found(data).doubts[0]


def test_small_contradictions_add_up_over_instances() -> None:
    """A shift that no single instance of short runs can tell."""
    beta = BETA.copy()
    beta[4] -= 0.03
    data = spins.spins(np.random.default_rng(8), beta, n_instances=200).assign_coords(beta=("rung", BETA))
    alone = [found(data.isel(instance=[k])).notes for k in range(5)]
    assert alone == [()] * 5
    assert "ways to lnZ disagree" in found(data).notes[0]


def test_gap_is_bridged_by_integration_alone() -> None:
    beta = np.array([0.0, 0.25, 0.5, 2.5, 2.75])
    result = found(spins.spins(np.random.default_rng(9), beta, n=100, n_copies=1))
    branch = result.branches[0]
    assert result.notes[0].startswith("rungs overlap too little")
    assert result.notes[0].endswith("beta = 0.5")
    assert np.isnan(branch.ways["mbar"][0][0]).tolist() == [False] * 3 + [True] * 2
    assert np.isfinite(branch.log_z).all()
    off = np.abs(branch.log_z[0] - spins.log_z(beta, 100))
    assert branch.log_z_error[0, 3] > 4 * branch.log_z_error[0, 2]  # quadrature: it is a long step
    assert (off < 3 * branch.log_z_error[0] + 1e-9).all()
    (note,) = found(spins.spins(np.random.default_rng(9), beta + 2, n=100, n_copies=1)).notes
    assert note.startswith("no lnZ and s")  # of which nothing more is said


def energies_of_fourth_order(beta: np.ndarray) -> tuple[np.ndarray, ...]:
    """log Z = beta^5, whose steps by cubic integration are off by h^5 / 6 everywhere."""
    return beta**5, -5 * beta**4, 20 * beta**3


def energies_of_spins(beta: np.ndarray) -> tuple[np.ndarray, ...]:
    mean = spins.mean_energy(beta, N)
    return spins.log_z(beta, N), mean, mean * (1 - mean / N)


@pytest.mark.parametrize("steps", [[0.25] * 8, [0.1, 0.3] * 4, [0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.2, 0.3]])
def test_quadrature_errors_of_uneven_ladders(steps: list[float]) -> None:
    """The error of every step, exactly where it is of order h^5 with one coefficient; of spins to 0.4."""
    beta = np.cumsum([1.0, *steps])
    for law, tolerance in ((energies_of_fourth_order, 1e-9), (energies_of_spins, 0.4)):
        log_z, mean, variance = law(beta)
        moments = np.zeros((len(beta), 6))
        moments[:, energies.MEAN], moments[:, energies.SQUARE] = mean, variance + mean**2
        ((ladder,),) = energies.ladders(spins.spins(np.random.default_rng(0), beta), config(), [np.arange(2)])
        ladder = replace(ladder, low=np.zeros(len(beta)))
        exact = free_energy._integrated(ladder, moments) - np.diff(log_z)
        off = quadrature_errors(ladder, moments) - exact
        assert np.abs(off).max() < tolerance * np.abs(exact).max()


@pytest.mark.parametrize("spoils", [False, True])
def test_ways_are_compared_beyond_a_gap_too(spoils: bool) -> None:
    beta = np.array([0.0, 0.25, 0.5, 2.5, 2.75, 3.0])
    real = beta.copy()
    real[4] -= 0.1 * spoils
    data = spins.spins(np.random.default_rng(9), real, n=100, n_rows=4000).assign_coords(beta=("rung", beta))
    told = [note for note in found(data).notes if note.startswith("ways to lnZ disagree")]
    assert len(told) == spoils
    assert all(note.endswith(("beta = 2.75", "beta = 3", "beta = 2.75, 3")) for note in told)


def test_without_a_way_to_zero() -> None:
    data = spins.spins(np.random.default_rng(10), BETA + 1)
    result = found(data)
    assert not result.is_known
    assert result.notes[0].startswith("no lnZ and s: beta = 1 cannot be reweighted to beta = 0; a rung at beta = 0")
    assert np.isfinite(result.branches[0].ways["mbar"][0]).all()


@pytest.mark.filterwarnings("error")
def test_a_first_rung_far_from_zero() -> None:
    """A row that no other comes near in exp(beta E): where it is left out nothing is left to reweight with."""
    data = spins.spins(np.random.default_rng(18), BETA + 4, n=400)
    data["energy"][0, 500, 0, 0] = 400
    result = found(data)
    assert not result.is_known
    assert np.isfinite(result.branches[0].ways["integration"][1]).all()


@pytest.mark.filterwarnings("error")
def test_mbar_from_where_no_step_leads_on() -> None:
    """All points belong to one rung: nothing is known of the others."""
    data = spins.spins(np.random.default_rng(5), BETA)
    ((ladder,),) = energies.ladders(data, Results(data).config, [np.arange(2)])
    assert np.isnan(mbar.solve(ladder, len(BETA), -1e4 * np.arange(len(BETA))).log_z).all()


@pytest.mark.filterwarnings("error")
def test_curves_of_one_block_that_mbar_cannot_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block has no error that would be NaN; the value has to be."""
    data = spins.spins(np.random.default_rng(20), BETA, n_copies=1, phi=0.98)
    assert np.isfinite(curves(Results(data), BETA).energy.mean).any()
    monkeypatch.setattr(mbar, "_MAX_STEPS", 1)
    found = curves(Results(data), BETA)
    assert all(np.isnan(getattr(found, name).mean).all() for name in ("energy", "heat_capacity", "log_z", "entropy"))


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.filterwarnings("error")
def test_what_mbar_cannot_solve(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it says so, and the other ways are quoted."""
    data = spins.spins(np.random.default_rng(19), BETA, noise=noise, n_rows=4000)
    solved = found(data).branches[0]
    monkeypatch.setattr(mbar, "_MAX_STEPS", 1)
    result = found(data)
    (branch,) = result.branches
    assert np.isnan(branch.ways["mbar"][0][0, 1:]).all()
    assert result.notes == ()
    for way in WAYS[:-1]:
        for ours, theirs in zip(branch.ways[way], solved.ways[way], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(branch.log_z[0], branch.ways["integration"][0][0] + N * np.log(2), rtol=1e-10)
    assert (branch.log_z_error[0, 1:] >= 0.999 * branch.ways["integration"][1][0, 1:]).all()
    assert set(verdicts(data)) == set(BETA)
    assert np.isnan(curves(Results(data)).energy.mean).all()
    assert all(np.isnan(density.log_g).all() for density in densities_of_states(Results(data)))


def test_frozen_rungs_have_no_error() -> None:
    data = spins.spins(np.random.default_rng(11), np.array([0.0, 0.2, 0.4, 5.0]))
    data["energy"][:, :, :, 3] = 0.0
    branch = found(data).branches[0]
    assert np.isfinite(branch.log_z_error[0, :3]).all()
    assert np.isnan(branch.log_z_error[0, 3])


@pytest.mark.parametrize("rung", [0, 2])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, about what is tested here
def test_energies_that_are_no_numbers(rung: int) -> None:
    """An integrator that has left the numbers on one rung spoils what comes from it, no more."""
    data = gaussian(spins.spins(np.random.default_rng(17), BETA[:4], noise=1.0))
    data["energy"][0, 500:, 0, rung] = np.nan
    branch = found(data).branches[0]
    assert np.isnan(branch.log_z[0, max(rung, 1) :]).all()
    assert np.isfinite(branch.log_z[0, 1:rung]).all()


def test_memory_is_that_of_one_rung() -> None:
    """Some arrays of its size."""
    beta = np.linspace(0, 1, 32)
    few, many = (spins.spins(np.random.default_rng(1), beta=beta, n_rows=n_rows) for n_rows in (8000, 32_000))
    assert peak(Results(many)) < peak(Results(few)) + 12 * many["energy"].nbytes / len(beta)


def test_reading_takes_the_memory_of_one_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what is worked out of it. The negative control reads all rungs together."""
    data = spins.spins(np.random.default_rng(1), beta=BETA, n_rows=8000)
    directory, series, constants, attributes = written(tmp_path / "run", data)
    directory.write_results(constants, None, attributes, [directory.write_segment(0, 0, series, {})])
    monkeypatch.setattr("mcmc.reading._SMALL", -1)
    bound = peak(Results(data)) + 3 * data["energy"].nbytes / len(BETA)
    assert peak(mcmc.load(directory.path)) > bound
    monkeypatch.setattr(results_module, "BYTES_AT_A_TIME", 1)
    assert peak(mcmc.load(directory.path)) < bound


def peak(results: Results) -> int:
    """Bytes, of the free energy."""
    tracemalloc.start()
    try:
        results.free_energy()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_rows", [1, 7, 15, 16, 40])
def test_few_rows(n_rows: int) -> None:
    result = found(spins.spins(np.random.default_rng(12), BETA, n_rows=n_rows, n_copies=1))
    errors = result.branches[0].log_z_error[0, 1:]
    assert (np.isnan(errors) | (errors > 0)).all()
    if n_rows < 8:
        assert np.isnan(errors).all()


def test_order_of_rungs_does_not_matter() -> None:
    data = spins.spins(np.random.default_rng(13), BETA)
    ahead, back = found(data), found(data.isel(rung=slice(None, None, -1)))
    np.testing.assert_array_equal(ahead.beta, back.beta)
    np.testing.assert_array_equal(ahead.branches[0].log_z, back.branches[0].log_z)


# --- branches and bounds ---


def metastable(both: bool, more: tuple[float, ...] = ()) -> xr.Dataset:
    """From beta = 1.5 on random copies are at E = 2 or 4, in equilibrium among these, and planted ones at E = 0."""
    beta = np.append(np.linspace(0, 8, 33), more)
    rng = np.random.default_rng(14)
    data = spins.spins(rng, beta, n_copies=2, n_rows=2000, source="teacher")
    energy, cold = data["energy"].to_numpy().copy(), beta >= 1.5
    upper = 1 / (1 + np.exp(2 * (beta[cold] - 1.5)))
    energy[..., cold] = 2 + 2 * (rng.random(energy[..., cold].shape) < upper)
    energy[:, :, 1, cold] = 0.0
    data["energy"] = data["energy"].dims, energy
    data["start"] = ("copy", ["random", "teacher"])
    return data if both else data.isel(copy=[0])


def test_violated_bound_is_told() -> None:
    """Noiseless Ising teachers: log Z >= 0 without any copy that was there."""
    (note,) = [note for note in found(metastable(both=False)).notes if note.startswith("metastable, beyond")]
    first, last = note.split("beta = ")[1].split(" to ")
    assert float(first) > 2
    assert float(last) == 8  # where nothing moves


def test_no_teacher_no_bound_but_that_of_states_seen() -> None:
    data = metastable(both=False)
    data.attrs["run_toml"] = data.attrs["run_toml"].replace("teacher", "random")
    bound = found(data).branches[0].bound[0]
    np.testing.assert_array_equal(bound, -found(data).beta * 2)


def test_branches_apart_and_the_lower_bound() -> None:
    result = found(metastable(both=True))
    random, planted = result.branches
    assert (random.name, planted.name) == ("random", "teacher")
    assert result.log_z[-1].mean == random.log_z[0, -1] < 0
    cold = result.beta >= 1.5
    np.testing.assert_array_equal(planted.from_cold[0, cold], 0.0)  # the teacher is one state of E = 0
    assert (planted.from_cold[0, ~cold] > 0).all()
    text = "\n".join(result.notes)
    assert "lnZ and s are those of the random starts" in text
    assert "lnZ of the random starts below that of the planted copies; beta = " in text
    assert "lower bounds of lnZ" in text


def few_effective_samples(both: bool) -> xr.Dataset:
    """`metastable` where time is so slow that no copy has two independent blocks of any rung."""
    data = metastable(both, (16.0, 24.0))
    slow = data.isel(sample=slice(None, None, 400))  # five rows that take the time of 2000
    return slow.isel(sample=np.repeat(np.arange(slow.sizes["sample"]), 400)).assign_coords(sweep=data["sweep"])


def test_starts_far_apart_are_not_pooled_without_error_bars_either() -> None:
    data = few_effective_samples(both=True)
    result = found(data)
    assert np.isnan(result.branches[0].visible_error[0, 1:]).all()  # that is what makes it hard
    assert [branch.name for branch in result.branches] == ["random", "teacher"]
    told = next(note for note in result.notes if note.startswith("lnZ and s are those of the random starts"))
    assert told.endswith("beta = 1.5 to 24")


def test_bounds_are_checked_without_error_bars() -> None:
    result = found(few_effective_samples(both=False))
    assert np.isnan(result.branches[0].visible_error[0, 1:]).all()
    told = ["below -beta E" in " ".join(reasons) for reasons in result.metastable]
    assert told == [beta == 24 for beta in result.beta]  # log Z = -36, and its error is 5 at most


def test_from_the_lowest_state_of_its_own_branch() -> None:
    """With noisy labels, planted copies at E = 3 and others that have seen 2: what those saw is none of its states."""
    data = metastable(both=True)
    data.attrs["run_toml"] = data.attrs["run_toml"].replace("[data]", "[data]\nlabel_noise = 0.1")
    cold = data["beta"].to_numpy() >= 1.5
    data["energy"][:, :, 1, cold] = 3.0
    random, planted = found(data).branches
    beta = data["beta"].to_numpy()
    np.testing.assert_array_equal(planted.from_cold[0, cold], -3 * beta[cold])
    np.testing.assert_array_equal(planted.bound[0], -2 * beta)
    assert random.from_cold[0, -1] == -2 * beta[-1]
    hot = ~cold
    sigma = np.hypot(planted.from_cold_error, random.log_z_error)[0, hot]
    assert (planted.from_cold - random.log_z < 0)[0, hot].all()
    assert (np.diff((planted.from_cold - random.log_z)[0, hot]) < 4 * sigma[1:]).all()


def test_two_starts_that_agree_are_one() -> None:
    data = spins.spins(np.random.default_rng(16), BETA, n_copies=4, source="teacher")
    merged = found(data)
    data["start"] = ("copy", ["random", "random", "teacher", "teacher"])
    (branch,) = found(data).branches
    assert branch.name == ""
    np.testing.assert_array_equal(branch.log_z, merged.branches[0].log_z)


def config(text: str = "") -> dict:
    toml = RUN_TOML.format(architecture="perceptron", n_inputs=20, units="", source="teacher", inputs="binary")
    return Results(xr.Dataset(attrs={"run_toml": toml + text})).config


def test_states_are_counted() -> None:
    assert log_n_states(config(), 20) == pytest.approx(20 * np.log(2))
    expected = np.log(15504)  # C(20, 5): overlap 0.5
    assert log_n_states(config('[constraint]\nreference = "teacher"\noverlap = 0.5'), 20) == pytest.approx(expected)
    assert log_n_states({"model": {"weights": "spherical"}}, 20) == 0


def test_which_teachers_have_no_error() -> None:
    assert teacher_has_no_error(config())
    assert not teacher_has_no_error(config('[constraint]\nreference = "teacher"\noverlap = 0.5'))
    for table, key, value in (
        ("data", "label_noise", 0.1),
        ("data", "source", "random"),
        ("data", "teacher", {"weights": "gaussian"}),
        ("model", "weights", "spherical"),
    ):
        changed = config()
        changed[table][key] = value
        assert not teacher_has_no_error(changed), key
    changed = config()
    changed["model"]["loss"]["margin"] = 0.5
    assert not teacher_has_no_error(changed)


# --- runs ---

RUN = {
    "seed": 5,
    "model": {"n_inputs": 20, "loss": {"name": "error-count"}},
    "data": {"source": "random", "alpha": 1.2, "n_instances": 2},
    "ladder": {"beta": {"min": 0.0, "max": 2.0, "n": 11}, "n_copies": 2},
    "schedule": {"sweeps": 8000, "burn_in": 1000, "measure_every": 2},
}


def exact_energies(directory: Path, loss: str) -> np.ndarray:
    """Of all 2^20 states of each instance: (instances, states)."""
    with xr.open_dataset(directory / "results.h5", engine="h5netcdf", group="data") as data:
        inputs, labels = data["inputs"].to_numpy(), data["labels"].to_numpy()
    states = all_states(20).astype(np.float32)
    found = []
    for x, y in zip(inputs, labels, strict=True):
        stability = states @ (x * y[:, None]).T.astype(np.float32) / np.sqrt(20)
        if loss == "hinge":
            found.append(np.maximum(0, 1 - stability).sum(axis=1, dtype=float))
        else:
            wrong = np.where(y > 0, stability < 0, stability <= 0)  # sign(0) = +1
            found.append(wrong.sum(axis=1, dtype=float))
    return np.array(found)


@pytest.mark.parametrize("loss", ["error-count", "hinge"])
def test_runs_agree_with_enumeration(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways within 4 sigma (60 values, t of some 30 blocks: a chance of 1 % that a good run fails); seed fixed."""
    name = {"name": loss} | ({"margin": 1.0} if loss == "hinge" else {})
    tables = RUN | {"model": RUN["model"] | {"loss": name}}
    results = mcmc.run(tables, output=tmp_path / "run", quiet=True)
    result = results.free_energy()
    assert result.notes == ()
    exact = exact_energies(tmp_path / "run", loss)
    log_z = np.array([[np.log(np.exp(-b * e).sum()) for b in result.beta] for e in exact])
    energy = np.array([[np.average(e, weights=np.exp(-b * e)) for b in result.beta] for e in exact])
    branch = result.branches[0]
    for way in WAYS:
        values, errors = branch.ways[way]
        assert (np.abs(values - (log_z - log_z[:, :1])) < 4 * errors + 1e-9).all(), way
        assert (errors[:, -1] < 0.15).all()
    entropy = (log_z + result.beta * energy) / 20
    assert (np.abs(branch.log_z - log_z) < 4 * branch.log_z_error + 1e-9).all()
    assert (np.abs(branch.entropy - entropy)[:, 1:] < 4 * branch.entropy_error[:, 1:]).all()
    np.testing.assert_allclose(result.lowest_energy, exact.min(axis=1))
    rungs = results.summary().to_json_dict()["rungs"]
    assert rungs[-1]["log_z"]["mean"] == pytest.approx(branch.log_z[:, -1].mean())
    assert rungs[0]["log_z"]["thermal_error"] == 0
    assert "lnZ" in results.summary().table()
    monkeypatch.setattr(results_module, "BYTES_AT_A_TIME", 1)  # as a long run is read: by instance and rung
    by_pieces = mcmc.load(tmp_path / "run").free_energy()
    np.testing.assert_array_equal(by_pieces.branches[0].log_z_error, branch.log_z_error)


@pytest.mark.slow
def test_ways_agree_at_501(tmp_path: Path) -> None:
    """Teacher-student at alpha = 1: the four ways agree on every step, and phi with replicas up to its fluctuations."""
    tables = {
        "seed": 3,
        "model": {"n_inputs": 501, "loss": {"name": "error-count"}},
        "data": {"source": "teacher", "alpha": 1.0, "n_instances": 2},
        "ladder": {"beta": {"min": 0.0, "max": 1.0, "n": 21}, "n_copies": 2},
        "schedule": {"sweeps": 16000, "burn_in": 2000, "measure_every": 4},
    }
    result = mcmc.run(tables, output=tmp_path / "run", quiet=True).free_energy()
    assert result.notes == ()
    (branch,) = result.branches
    quoted = branch.ways["mbar"][0]
    for way in WAYS[:-1]:
        values, errors = branch.ways[way]
        assert (np.abs(values - quoted) < 4 * errors + 1e-9).all()
        assert np.isfinite(errors).all()
    # replica-symmetric phi (physics: 0.349428 at beta = 1); log Z varies by sqrt(n) x 0.1 or less between instances
    assert result.log_z[-1].mean / 501 == pytest.approx(0.349428, abs=0.02)
    assert result.log_z[-1].thermal_error < 1.0
