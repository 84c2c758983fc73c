"""Laws by rung against enumerated ones, the coverage of their error bars, and stabilities of real runs."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import mcmc
from enumeration import Enumeration, all_states
from mcmc.analysis import Results, distributions
from mcmc.analysis.distributions import Distribution
from mcmc.errors import ConfigError
from synthetic import ar1, on_lattice, synthetic

BETA = (0.5, 1.5)
ROWS = 20000


class Model:
    """A binary perceptron that learns from a teacher; states are numbers, as in `Enumeration`."""

    def __init__(self, n: int, n_patterns: int) -> None:
        rng = np.random.default_rng(n)
        self.n, self.states = n, all_states(n)
        self.inputs = rng.choice([-1, 1], size=(n_patterns, n))
        self.teacher = int(rng.integers(2**n))
        self.labels = np.where(self.inputs @ self.states[self.teacher] >= 0, 1, -1)
        self.exact = Enumeration(self.energy, n)

    def energy(self, states: np.ndarray) -> np.ndarray:
        return (np.where(states @ self.inputs.T >= 0, 1, -1) != self.labels).sum(axis=1).astype(float)

    def results(self, beta: tuple[float, ...] = BETA, n_copies: int = 3) -> Results:
        """Independent rows from the law of each rung."""
        data = synthetic(beta=BETA, n_copies=n_copies, n_samples=ROWS, n_weights=self.n, phi=0.0, burn_in=0)
        rng = np.random.default_rng(1)
        for rung, value in enumerate(beta):
            drawn = rng.choice(2**self.n, size=(n_copies, ROWS), p=self.exact.law(value))
            weights = self.states[drawn].astype(int)
            data["energy"].to_numpy()[0, ..., rung] = self.exact.energy[drawn].T
            overlaps = weights @ self.states[self.teacher] / self.n
            data["teacher_overlap"].to_numpy()[0, ..., rung] = overlaps.T
            pairs = [(weights[a] * weights[b]).sum(axis=-1) / self.n for a, b in combinations(range(n_copies), 2)]
            data["overlap"].to_numpy()[0, ..., rung] = np.transpose(pairs)
        return Results(data)


@pytest.fixture(scope="module", params=[11, 12])
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param, 15)


def chi_square(found: Distribution, values: np.ndarray, law: np.ndarray) -> float:
    """Mean square of deviations in standard errors, over the bins that are not rare."""
    places = np.abs(values[:, None] - found.value).argmin(axis=1)
    seen = np.zeros(len(found.value))
    near = np.abs(found.value[places] - values) < 1e-9
    np.add.at(seen, places[near], law[near])
    often = seen > 0.005
    assert law[~near].sum() < 0.001  # what has never been seen
    assert often.sum() > 4
    return float(np.mean(((found.probability.mean - seen) / found.probability.error)[often] ** 2))


def test_enumerated_laws(model: Model) -> None:
    """P(q), P(R) and P(E); as the negative control, those of another temperature."""
    found = model.results().distributions()
    assert set(found) == {"energy", "overlap", "teacher_overlap"}
    q = 1 - 2 * np.arange(model.n + 1) / model.n
    for rung, beta in enumerate(BETA):
        for is_right, at in ((True, beta), (False, beta + 0.1)):
            energies = np.bincount(model.exact.energy.astype(int), weights=model.exact.law(at))
            laws = {
                "energy": (np.arange(len(energies), dtype=float), energies),
                "overlap": (q, model.exact.overlap_law(at)),
                "teacher_overlap": (q, model.exact.overlap_law(at, model.teacher)),
            }
            for name, (values, law) in laws.items():
                assert found[name][rung].beta == beta
                chi = chi_square(found[name][rung], values, law)
                assert (chi < 4) == is_right, (name, beta, chi)


def test_values_are_those_of_the_lattice(model: Model) -> None:
    for name in ("overlap", "teacher_overlap"):
        law = model.results().distributions()[name][0]
        differ = model.n * (1 - law.value) / 2
        np.testing.assert_allclose(differ, np.rint(differ), atol=1e-12)
        np.testing.assert_allclose(law.width, 2 / model.n)
        np.testing.assert_allclose((law.density.mean * law.width).sum(), 1)


@pytest.mark.parametrize("n", [501, 500, 52])
@pytest.mark.parametrize("sd", [0.02, 0.2])
def test_no_waves_of_the_lattice(n: int, sd: float) -> None:
    """Every bin has as many overlaps, an even number of them; as many bins of equal width have waves."""
    rng = np.random.default_rng(0)
    overlap = on_lattice(sd * rng.normal(size=(1, 2, 200)), n)
    grid = distributions._grid_of_series("overlap", overlap, {"model": {"weights": "ising"}}, n)
    every = np.arange(-n, n + 1, 2) / n
    index = grid.index(every)
    counts = np.bincount(index - index.min())
    value, width = grid.bins(int(index.min()), len(counts))
    assert np.ptp(counts[1:-1]) == 0
    assert counts[1] % 2 == 0
    np.testing.assert_allclose(np.bincount(index - index.min(), weights=every) / counts, value, atol=1e-12)
    np.testing.assert_allclose(width, counts * 2 / n)
    np.testing.assert_allclose(value, -value[::-1], atol=0 if n % 2 else 4 / n + width.max())
    if n > 100:
        plain, _ = np.histogram(every, len(counts) - 3, (-1, 1))
        assert np.ptp(plain) > 0


def test_bins_of_reals_are_symmetric() -> None:
    data = synthetic(n_samples=500, burn_in=0)
    data.attrs["run_toml"] = data.attrs["run_toml"].replace("[model]", '[model]\nweights = "spherical"')
    for law in Results(data).distributions()["overlap"]:
        np.testing.assert_allclose(law.value / law.width - 0.5, np.rint(law.value / law.width - 0.5), atol=1e-9)
        assert law.probability.mean.sum() == pytest.approx(1)


# --- errors ---


def coverage(phi: float, tau_factor: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Part of the bins of 200 correlated series whose error bar reaches the exact law."""
    right = distributions._tau
    monkeypatch.setattr(distributions, "_tau", lambda series: right(series) * tau_factor)
    rng = np.random.default_rng(3)
    grid = distributions._Grid(1.0, 0.0, 0.5)
    within = []
    for series in ar1(rng, phi, (200, 2, 2000)):
        law = distributions._of_series(1.0, series[None], grid)
        exact = _normal_law(law)
        often = exact > 0.03
        within.append((np.abs(law.probability.mean - exact) < law.probability.error)[often])
    return float(np.concatenate(within).mean())


def _normal_law(law: Distribution) -> np.ndarray:
    return norm.cdf(law.value + law.width / 2) - norm.cdf(law.value - law.width / 2)


def test_thermal_errors_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """68 % bars; with blocks as short as if rows were independent they cover far less."""
    assert 0.63 < coverage(0.8, 1.0, monkeypatch) < 0.73
    assert coverage(0.98, 0.0, monkeypatch) < 0.6


def test_errors_of_few_instances_cover() -> None:
    """Four instances with a disorder of their own, far above the thermal noise."""
    rng = np.random.default_rng(4)
    grid = distributions._Grid(1.0, 0.0, 1.0)
    within, is_larger = [], []
    for _ in range(150):
        values = rng.normal(size=(4, 1, 1)) * np.sqrt(0.5) + rng.normal(size=(4, 1, 256)) * np.sqrt(0.5)
        law = distributions._of_series(1.0, values, grid)
        exact = _normal_law(law)
        often = exact > 0.1
        within.append((np.abs(law.probability.mean - exact) < law.probability.error)[often])
        is_larger.append((law.probability.sample_error > law.probability.thermal_error)[often])
    assert np.concatenate(is_larger).mean() > 0.9
    assert 0.6 < np.concatenate(within).mean() < 0.75


def test_what_cannot_be_told_is_nan() -> None:
    """Frozen series, few rows, and bins without a visit; of what is no number, nothing."""
    grid = distributions._Grid(1.0, 0.5, 1.0)
    frozen = distributions._of_series(1.0, np.full((1, 2, 100), 3.0), grid)
    assert frozen.value.tolist() == [3.0]
    assert frozen.probability.mean.tolist() == [1.0]
    assert np.isnan(frozen.probability.error).all()
    few = distributions._of_series(1.0, np.arange(6.0).reshape(1, 2, 3), grid)
    assert np.isnan(few.probability.error).all()
    gap = distributions._of_series(1.0, np.random.default_rng(0).choice([0.0, 2.0], size=(1, 2, 500)), grid)
    assert gap.probability.mean[1] == 0
    assert np.isnan(gap.probability.error).tolist() == [False, True, False]
    assert distributions._of_series(1.0, np.array([[[0.0, np.nan]]]), grid).value.size == 0


def test_aligned_overlaps_take_their_place() -> None:
    results = Results(synthetic(n_samples=100, architecture="parity", n_hidden=3, n_weights=303, burn_in=0))
    assert set(results.distributions()) == {"energy", "aligned_overlap", "aligned_teacher_overlap"}


def test_pieces_of_rungs_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(synthetic(n_samples=100, n_instances=2))
    whole = results.distributions()
    monkeypatch.setattr("mcmc.analysis.results.BYTES_AT_A_TIME", 1)
    pieces = distributions.distributions(results)
    for name, laws in whole.items():
        assert [law.beta for law in pieces[name]] == [0.5, 1.0, 1.5]
        for one, other in zip(laws, pieces[name], strict=True):
            np.testing.assert_array_equal(one.by_instance, other.by_instance)


# --- stabilities ---

RUN: dict[str, Any] = {
    "seed": 2,
    "model": {"n_inputs": 11, "loss": {"name": "error-count"}},
    "data": {"source": "teacher", "n_patterns": 14, "n_instances": 2},
    "ladder": {"beta": list(BETA), "n_copies": 2},
    "schedule": {"sweeps": 5100, "burn_in": 100, "measure_every": 10},
    "output": {"weights_every": 40},
}
MACHINES: dict[str, dict[str, Any]] = {
    "perceptron": {},
    "committee": {"architecture": "committee", "n_hidden": 3},
    "tree-parity": {"architecture": "tree-parity", "n_hidden": 3, "n_inputs": 12},
    "spherical": {"weights": "spherical"},
    "margin": {"loss": {"name": "error-count", "margin": 0.5}},
    "symmetric": {"loss": {"name": "symmetric", "margin": 1.0}},
}


def run(path: Path, model: dict[str, Any], **changes: dict[str, Any]) -> Results:
    config = RUN | {"model": RUN["model"] | model}
    config |= {name: config.get(name, {}) | table for name, table in changes.items()}
    return mcmc.run(config, path, quiet=True)


@pytest.mark.parametrize("machine", MACHINES)
def test_stabilities_give_the_energy(machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below the margin is the energy per pattern at the sweeps of the snapshots."""
    short = {"schedule": {"sweeps": 900, "burn_in": 100, "measure_every": 10}}
    source = {"data": {"source": "random"}} if machine == "symmetric" else {}
    results = run(tmp_path, MACHINES[machine], **short, **source)
    weights = results.weights()
    rows = results.dataset.swap_dims(sample="sweep").sel(sweep=weights["sweep"].to_numpy()[2:])  # after the burn-in
    # bins may straddle the margin, so these are exact ones, with edges at it
    loss = results.config["model"]["loss"]
    margin = loss.get("margin", 0.0)
    fine = distributions._Grid(1.0, -margin, 1e-3)
    monkeypatch.setattr(distributions, "_grid", lambda *_: fine)
    for rung, law in enumerate(distributions.stabilities(results)):
        below = law.value < margin if loss["name"] != "symmetric" else np.abs(law.value) > margin
        energy = rows["energy"].isel(rung=rung).mean().item() / results.dataset.attrs["n_patterns"]
        assert law.probability.mean[below].sum() == pytest.approx(energy, abs=1e-12)


@pytest.mark.parametrize("margin", [0.5, -0.7])
def test_bins_end_at_the_margin(margin: float, tmp_path: Path) -> None:
    """Of real weights: what lies below is the energy without another grid; it would not be with edges elsewhere."""
    short = {"schedule": {"sweeps": 900, "burn_in": 100, "measure_every": 10}}
    model = {"weights": "spherical", "loss": {"name": "error-count", "margin": margin}}
    results = run(tmp_path, model, **short)
    rows = results.dataset.swap_dims(sample="sweep").sel(sweep=results.weights()["sweep"].to_numpy()[2:])
    for rung, law in enumerate(distributions.stabilities(results)):
        energy = rows["energy"].isel(rung=rung).mean().item() / results.dataset.attrs["n_patterns"]
        assert law.probability.mean[law.value < margin].sum() == pytest.approx(energy, abs=1e-12)
        assert (np.abs(law.value - margin) > 0.49 * law.width).all()


def test_enumerated_stabilities(tmp_path: Path) -> None:
    """P(D) of each instance, its mean over states by enumeration; the other temperature is the negative control."""
    results = run(tmp_path, {})
    found = distributions.stabilities(results)
    states = all_states(11)
    laws = np.zeros((2, 12))
    for patterns, labels in results.patterns():
        stability = labels * (states @ patterns.T.astype(int))
        exact = Enumeration(lambda some, x=patterns, y=labels: (y * (some @ x.T.astype(int)) < 0).sum(1) * 1.0, 11)
        number = (stability.astype(int).ravel() + 11) // 2
        laws += [np.bincount(number, np.repeat(exact.law(beta), 14), 12) / 28 for beta in BETA]
    lattice = np.arange(-11, 12, 2) / np.sqrt(11)
    for rung, law in enumerate(found):
        at = np.abs(law.value[:, None] - lattice).argmin(axis=1)
        np.testing.assert_allclose(law.value, lattice[at], atol=1e-12)
        for other, is_right in ((rung, True), (1 - rung, False)):
            scores = (law.probability.mean - laws[other, at]) / law.probability.thermal_error
            chi = np.mean(scores[laws[other, at] > 0.005] ** 2)
            assert (chi < 3) == is_right, (rung, chi)


def test_stabilities_need_data_and_snapshots(tmp_path: Path) -> None:
    short = {"schedule": {"sweeps": 200, "burn_in": 100, "measure_every": 10}}
    with pytest.raises(ConfigError, match="no data are stored"):
        distributions.stabilities(run(tmp_path / "data", {}, **short, output={"store_data": False}))
    with pytest.raises(ConfigError, match="were asked for"):
        distributions.stabilities(run(tmp_path / "snapshots", {}, **short, output={"weights_every": 0}))
    early = {"schedule": {"sweeps": 110, "burn_in": 100, "measure_every": 10}, "output": {"weights_every": 100}}
    with pytest.raises(ConfigError, match="beyond the burn-in"):
        distributions.stabilities(run(tmp_path / "early", {}, **early))
    real = {"loss": {"name": "square"}, "weights": "spherical"}
    with pytest.raises(ConfigError, match=r"labels are not \+-1"):
        distributions.stabilities(run(tmp_path / "real", real, **short, data={"labels": "real"}))
