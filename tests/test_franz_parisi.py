"""Franz-Parisi potentials: runs at fixed overlap against enumeration of all states, and the study in runs/.

Limits are 4 sigma of the thermal errors (t of some 30 blocks and more): a right program with a fresh seed fails a test
once in some hundred times. Seeds are fixed. A wrong beta and a wrong reference must fail.
"""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from scipy.special import logsumexp

import mcmc
from enumeration import all_states
from mcmc.analysis import Results
from mcmc.analysis.franz_parisi import Potential, potential
from mcmc.analysis.thermalisation import TOO_SHORT
from mcmc.errors import StorageError

N = 15
BETA = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
BASE = {
    "seed": 8,
    "model": {"n_inputs": N, "loss": {"name": "error-count"}},
    "data": {"source": "random", "alpha": 1.2, "n_instances": 3},
    "ladder": {"beta": BETA, "n_copies": 2},
    "schedule": {"sweeps": 6000, "burn_in": 500, "measure_every": 2},
}
DIFFER = (1, 4, 7, 11)


def at_overlap(n_differ: int, constraint: dict[str, object]) -> dict[str, object]:
    return BASE | {"constraint": constraint | {"overlap": (N - 2 * n_differ) / N}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Results]]:
    """Random labels: one run without constraint, and some at overlaps with its second copy at beta = 1."""
    directory = tmp_path_factory.mktemp("franz-parisi")
    free = mcmc.run(BASE | {"output": {"weights_every": 6000}}, directory / "free", quiet=True)
    reference = {"reference": "run", "path": str(directory / "free"), "copy": 1, "beta": 1.0}
    return free, [mcmc.run(at_overlap(d, reference), directory / f"differ-{d}", quiet=True) for d in DIFFER]


def group(results: Results) -> xr.Dataset:
    """Data and references of a run."""
    with xr.open_dataset(results.path / "results.h5", engine="h5netcdf", group="data") as data:
        return data.load()


def exact(data: xr.Dataset, references: np.ndarray, beta: float) -> np.ndarray:
    """V by enumeration, for each reference (instances, weights): (instances, DIFFER)."""
    states = all_states(N)
    found = []
    for inputs, labels, reference in zip(data["inputs"].values, data["labels"].values, references, strict=True):
        energy = ((states @ inputs.T.astype(int)) * labels < 0).sum(axis=1)  # N is odd: no ties
        differ = (states != reference).sum(axis=1)
        log_z = [logsumexp(-beta * energy[differ == d]) for d in DIFFER]
        found.append((logsumexp(-beta * energy) - np.array(log_z)) / N)
    return np.array(found)


def test_agrees_with_enumeration(runs: tuple[Results, list[Results]]) -> None:
    free, constrained = runs
    data = group(constrained[0])
    references = data["reference"].values
    last = free.weights().isel(snapshot=-1, copy=1, rung=BETA.index(1.0))
    np.testing.assert_array_equal(references, last.transpose("instance", "weight"))
    for results in constrained[1:]:
        np.testing.assert_array_equal(group(results)["reference"].values, references)
    for beta in (0.5, 1.5):
        found = potential(free, constrained[::-1], beta)
        differ = np.array(DIFFER)[::-1]
        np.testing.assert_allclose(found.overlap, (N - 2 * differ) / N)
        assert ((found.errors > 0) & (found.errors < 0.01)).all()

        def sigmas(found=found, beta=beta, references=references) -> np.ndarray:
            return np.abs(found.instances - exact(data, references, beta)[:, ::-1]) / found.errors

        assert sigmas().max() < 4
        assert sigmas(beta=beta * 1.1).max() > 6
        assert sigmas(references=np.roll(references, 1, axis=0)).max() > 6
        means = found.instances.mean(axis=0)
        np.testing.assert_allclose([each.mean for each in found.average], means)
    at_zero = potential(free, constrained, 0.0)  # by counting alone
    np.testing.assert_allclose(at_zero.instances, exact(data, references, 0.0)[:, ::-1], atol=1e-12)
    assert (at_zero.errors == 0).all()


def test_runs_that_do_not_belong_together(runs: tuple[Results, list[Results]]) -> None:
    free, constrained = runs

    def changed(results: Results, table: str, **values: object) -> Results:
        other = Results(results.dataset, results.path)
        other.config = results.config | {table: results.config.get(table, {}) | values}
        return other

    wrong = [
        (free, [], 1.0, "expected one without and some with it"),
        (constrained[0], constrained, 1.0, "expected one without and some with it"),
        (free, constrained, 1.1, "got beta = 1.1, expected one of 0, 0.25, "),
        (free, [free], 1.0, "expected constraint and reference of"),
        (changed(free, "data", alpha=1.3), constrained, 1.0, "expected the seed, model and data of"),
        (
            free,
            [constrained[0], changed(constrained[1], "constraint", copy=0)],
            1.0,
            "expected constraint and reference of",
        ),
        (free, [constrained[0], constrained[0]], 1.0, "got overlap 0.866667 once more"),
    ]
    for unrestricted, others, beta, message in wrong:
        with pytest.raises(ValueError, match=message):
            potential(unrestricted, others, beta)


SHORT = {"sweeps": 300, "burn_in": 100, "measure_every": 2}


def test_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    """One at another path is the same, another one is not, though nothing else of the run files differs."""
    rng = np.random.default_rng(1)
    drawn = {"inputs": rng.choice([-1, 1], (18, N)), "labels": rng.choice([-1, 1], 18)}
    np.savez(tmp_path / "a.npz", **drawn)
    np.savez(tmp_path / "b.npz", inputs=drawn["inputs"], labels=-drawn["labels"])
    shutil.copy(tmp_path / "a.npz", tmp_path / "copy.npz")

    def run(name: str, tables: dict[str, object], directory: str) -> Results:
        data = {"source": "file", "path": str(tmp_path / f"{name}.npz")}
        return mcmc.run(BASE | tables | {"data": data, "schedule": SHORT}, tmp_path / directory, quiet=True)

    free = run("a", {}, "free")
    tables = at_overlap(4, {"reference": "magnetisation"})
    same, other = (run(name, tables, f"at-overlap-{name}") for name in ("copy", "b"))
    assert potential(free, [same], 1.0).instances.shape == (1, 1)
    with pytest.raises(ValueError, match="expected the seed, model and data of"):
        potential(free, [other], 1.0)
    (same.path / "checkpoint.h5").unlink()
    shutil.rmtree(same.path / "segments", ignore_errors=True)
    (same.path / "checkpoint.prev.h5").unlink(missing_ok=True)
    with pytest.raises(StorageError, match="holds no checkpoint, which knows what was read"):
        potential(free, [same], 1.0)
    with pytest.raises(ValueError, match="got one in memory"):
        potential(free, [Results(same.dataset)], 1.0)


def test_samples_are_known_by_what_they_are(runs: tuple[Results, list[Results]], tmp_path: Path) -> None:
    """The run from which they come may be elsewhere, but if it has gone on they are others."""
    free, constrained = runs
    source = Path(shutil.copytree(free.path, tmp_path / "source"))
    reference = {"reference": "run", "path": str(source), "copy": 1, "beta": 1.0}
    tables = at_overlap(5, reference) | {"schedule": SHORT}
    before = mcmc.run(tables, tmp_path / "before", quiet=True)
    longer = BASE["schedule"] | {"sweeps": 6100}
    mcmc.run(BASE | {"output": {"weights_every": 6000}, "schedule": longer}, source, quiet=True)
    after = mcmc.run(tables, tmp_path / "after", quiet=True)
    assert (group(before)["reference"].values != group(after)["reference"].values).any()
    assert potential(free, [constrained[0], before], 1.0).overlap.size == 2
    for others in ([constrained[0], after], [after, before]):
        with pytest.raises(ValueError, match="expected constraint and reference of"):
            potential(free, others, 1.0)


def test_verdicts(runs: tuple[Results, list[Results]]) -> None:
    """By overlap, in its order; of the worst rung up to beta, and none beyond. Frozen rungs are not trusted."""
    free, constrained = runs
    found = potential(free, constrained, 1.0)
    assert len(found.verdicts) == len(DIFFER)
    assert found.is_trusted.tolist() == [True] * len(DIFFER)

    def frozen(results: Results, beta: float) -> Results:
        """The first copy stands still on the rung, in its worst state there."""
        dataset = results.dataset.copy(deep=True)
        here = dataset["energy"][{"rung": BETA.index(beta), "copy": 0}]
        here[...] = here.max()
        return Results(dataset, results.path)

    wrong = potential(free, [frozen(constrained[0], 0.75), *constrained[1:]], 1.0)
    assert [name for name, _ in wrong.verdicts].index("stuck") == len(DIFFER) - 1  # the largest overlap
    assert wrong.verdicts[-1][1]
    assert wrong.is_trusted.tolist() == [True] * (len(DIFFER) - 1) + [False]
    beyond = potential(free, [frozen(constrained[0], 1.5), *constrained[1:]], 1.0)
    assert beyond.is_trusted.all()
    unsafe = potential(frozen(free, 1.0), constrained, 1.0)
    assert (unsafe.free_verdict[0], unsafe.verdicts) == ("stuck", found.verdicts)
    assert not unsafe.is_trusted.any()
    short = free.dataset.isel(sample=slice(0, 256))  # six rows after the burn-in
    short_verdict = potential(Results(short, free.path), constrained, 1.0).free_verdict
    assert short_verdict[0] == "not contradicted"
    assert short_verdict[1][0].startswith("too short")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent / "runs")
    return importlib.import_module("franz_parisi")


def check_symbols(study: ModuleType, free: Results, found: Potential) -> None:
    """Open where a run is not to be trusted; a mean of two overlaps where one of them is. A word for the table."""
    frozen, short = ("stuck", ("frozen",)), ("not contradicted", (f"{TOO_SHORT}: few",))
    unproven, good = ("not contradicted", ("one side",)), ("equilibrated", ("two sides",))
    words = [study.in_a_word(each) for each in (frozen, short, unproven, good)]
    assert words == ["stuck", "too short", "not contradicted", "equilibrated"]
    trusted = replace(found, verdicts=(good,) * 6 + (unproven,), free_verdict=good)
    doubted = replace(trusted, verdicts=(good, short, *trusted.verdicts[2:]))
    assert study.verdicts_of_both(doubted) == [short, short, good, good, good, unproven]
    figure = study.picture(
        {1.8: (free, trusted), 2.33: (free, doubted), 2.9: (free, replace(trusted, free_verdict=frozen))}
    )
    raw, averaged = (open_symbols(axes) for axes in figure.axes)
    assert raw == [doubted.overlap[1]]
    means = (found.overlap[1:] + found.overlap[:-1]) / 2
    np.testing.assert_allclose(averaged, [*means[:2], *means])


def open_symbols(axes: Axes) -> list[float]:
    """Where they are, in the order of drawing; those of the legend are nowhere."""
    lines = [line for line in axes.lines if line.get_marker() in "os" and line.get_markerfacecolor() == "white"]
    return [float(x) for line in lines for x in line.get_xdata()]


def test_study(study: ModuleType, tmp_path: Path) -> None:
    """Of noiseless teachers: probabilities add up to 1, and are those of the run without constraint."""
    tables = BASE | {
        "data": {"source": "teacher", "alpha": 2.0, "n_instances": 3},
        "ladder": {"beta": BETA[:5], "n_copies": 2},
    }
    long, short = ({"sweeps": sweeps, "burn_in": 500, "measure_every": sweeps // 3000} for sweeps in (60000, 3000))
    mcmc.run(tables | {"schedule": long}, tmp_path / "free", quiet=True)
    for n_differ in range(1, 8):
        constraint = {"reference": "teacher", "overlap": (N - 2 * n_differ) / N}
        restricted = tables | {"constraint": constraint, "schedule": short}
        mcmc.run(restricted, tmp_path / f"{n_differ}", quiet=True)
    ((alpha, (free, found)),) = study.read(tmp_path).items()
    assert alpha == 2.0
    assert len(found.overlap) == 7
    rows = free.equilibrium()["teacher_overlap"].isel(rung=BETA.index(1.0))
    below_zero = float((rows < 0).mean())  # at this size there is more than overlaps above 0
    total = study.total_probability(found)
    error = N * np.mean(np.exp(-N * found.instances) * found.errors, axis=0).sum()  # at most, of ln Z in common
    assert abs(total.mean + below_zero - 1) < 4 * error
    assert error < 0.02 < below_zero
    check_symbols(study, free, found)
    overlap, of_histogram = study.histogram(free)
    expected = dict(zip(found.overlap.round(9), found.instances.mean(axis=0), strict=True))
    seen = [(expected[q], value) for q, value in zip(overlap.round(9), of_histogram, strict=True) if q in expected]
    assert len(seen) >= 5
    measured, counted = np.array(seen).T
    np.testing.assert_allclose(counted, measured, atol=0.02)
    assert np.abs(counted[1:] - measured[:-1]).max() > 0.04
