"""The studies in runs/: replica values, and what the scripts count, against enumeration of all states."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr

import mcmc
from enumeration import all_states
from mcmc.analysis import Results
from mcmc.analysis.reweighting import densities_of_states

N = 13


@pytest.fixture(autouse=True)
def as_from_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import their neighbours."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "runs")


@pytest.fixture
def replica() -> ModuleType:
    return importlib.import_module("replica")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, np.ndarray]:
    """A run that sees every energy, and the number of states of each: (instances, patterns + 1)."""
    tables = {
        "seed": 4,
        "model": {"n_inputs": N, "loss": {"name": "error-count"}},
        "data": {"source": "random", "alpha": 1.0, "n_instances": 3},
        "ladder": {"beta": [0.0, 0.5, 1.0, 2.0], "n_copies": 2},
        "schedule": {"sweeps": 6000, "burn_in": 500, "measure_every": 2},
        "output": {"weights_every": 4},
    }
    path = tmp_path_factory.mktemp("small")
    results = mcmc.run(tables, path, quiet=True)
    with xr.open_dataset(path / "results.h5", engine="h5netcdf", group="data") as data:
        inputs, labels = data["inputs"].to_numpy().astype(int), data["labels"].to_numpy()
    fields = np.einsum("si,api->aps", all_states(N).astype(int), inputs)
    energy = (fields * labels[..., None] < 0).sum(axis=1)  # N is odd: no ties
    return results, np.array([np.bincount(each, minlength=N + 1) for each in energy])


def test_distinct_weights_of_an_energy(small: tuple[Results, np.ndarray]) -> None:
    results, exact = small
    seen = importlib.import_module("digits").distinct(results)
    assert all(count <= exact[0, energy] for energy, count in seen.items())
    lowest = int(np.flatnonzero(exact[0])[0])
    assert [seen[lowest], seen[lowest + 1]] == exact[0, lowest : lowest + 2].tolist()
    assert 0 < sum(seen.values()) < 2**N


def test_microcanonical_entropy(small: tuple[Results, np.ndarray]) -> None:
    results, exact = small
    entropy = importlib.import_module("entropy")
    densities = densities_of_states(results)
    highest_ground_state = max(int(np.flatnonzero(each)[0]) for each in exact)
    for energy in range(N // 2):
        found, n_instances = entropy.at_energy(energy, densities)
        assert n_instances == (exact[:, energy] > 0).sum()
        if energy < highest_ground_state:
            assert np.isnan(found.mean)
        else:
            expected = np.log(exact[:, energy]).mean() / N
            assert abs(found.mean - expected) < 4 * found.thermal_error < 0.05
    assert entropy.load(results) == 1.0


# From an independent solution of the equations, and Gyorgyi 1990, Krauth and Mezard 1989
@pytest.mark.parametrize(
    ("overlap", "alpha", "beta", "noise", "phi", "q", "energy"),
    [
        (0.271372, 1.0, 1.0, 0.0, 0.349428, 0.163542, 0.216519),
        (0.421161, 1.0, 2.0, 0.0, 0.206008, 0.346825, 0.089104),
        (0.0, 1.0, 0.5, 0.5, 0.473728, 0.035698, 0.380168),
        (0.0, 1.0, 2.0, 0.5, 0.096293, 0.269648, 0.156092),
    ],
)
def test_replica_values(
    replica: ModuleType, overlap: float, alpha: float, beta: float, noise: float, phi: float, q: float, energy: float
) -> None:
    found = replica.at_overlap(overlap, alpha, beta, noise)
    np.testing.assert_allclose([found.phi, found.q, found.energy], [phi, q, energy], atol=2e-6)
    step = 1e-4
    below, above = (replica.at_overlap(overlap, alpha, beta + sign * step, noise).phi for sign in (-1, 1))
    assert (below - above) / (2 * step) == pytest.approx(alpha * found.energy, abs=1e-5)


def test_replica_transitions(replica: ModuleType) -> None:
    """The capacity 0.833, and where at T = 1 the teacher is as good as all the rest, and where it alone is left."""
    assert replica.storage(0.833079, np.inf).entropy == pytest.approx(0.0, abs=1e-5)
    away = np.linspace(0.4, 0.9, 26)
    at_first_order, at_spinodal = (
        np.array([replica.at_overlap(each, alpha, 1.0).phi for each in away]) for alpha in (2.33278, 2.84562)
    )
    assert at_first_order.max() == pytest.approx(0.0, abs=2e-4)  # of the teacher it is 0
    assert at_first_order.argmax() not in (0, len(away) - 1)
    assert (np.diff(at_spinodal) > -2e-5).all()
    assert (np.diff(at_first_order) < -1e-3).any()
