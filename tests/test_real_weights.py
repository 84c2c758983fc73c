"""Runs of real weights, from the run file to the results: every method under every law that it has."""

from __future__ import annotations

import json
import re
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import launchers
import mcmc
from launchers import Launcher
from mcmc import config, engine, forecast
from mcmc.cli import run_command
from mcmc.config import samplers_of
from mcmc.observables import TOLD
from mcmc.priors import PRIORS
from mcmc.problem import Problem
from mcmc.reference import machines
from mcmc.samplers import CONTINUOUS
from mcmc.storage import RunDirectory
from running import DRIVE, assert_same_results, status, tables, write_run_file

LAWS = [name for name, law in PRIORS.items() if law.is_real]
METHODS = [(law, method) for law in LAWS for method in samplers_of(law)]
UNADJUSTED = tuple(name for name, kind in CONTINUOUS.items() if "step_size" in kind.parameters and not kind.target)

BASE = {
    "model.n_inputs": 12,
    "model.loss": {"name": "logistic", "sharpness": 1.5},
    "data.n_patterns": 20,
    "data.alpha": None,
    "data.n_test": 30,
    "data.n_instances": 2,
    "ladder.beta": [0.0, 0.5, 1.0],
    "schedule.sweeps": 60,
    "schedule.burn_in": 50,
    "schedule.measure_every": 10,
    "checkpoint.every": 1e-3,
}
COMMITTEE = {"model.architecture": "committee", "model.n_hidden": 3, "model.activation": "tanh"}
REGRESSION = {"model.loss": {"name": "square"}, "data.labels": "real", "data.output_noise": 0.2}


def asked(law: str, method: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    sampler = {"method": method} | ({"step_size": 0.1} if method in UNADJUSTED else {})
    sampler |= {"batch_size": 4} if method == "sgld" else {}
    return tables(BASE | {"model.weights": law, "sampler": sampler} | (changes or {}))


def last_states(path: Path, problem: Problem) -> np.ndarray:
    """Weights in the order of the rungs at the end of a run: (instance, copy, rung, n_weights)."""
    arrays = RunDirectory(path).read_checkpoint().arrays
    shape = (problem.n_instances, problem.n_copies, problem.n_rungs, problem.n_weights)
    return np.take_along_axis(arrays["weights"].reshape(shape), arrays["walker_at"][..., None], axis=2)


@pytest.mark.parametrize("machine", [{}, COMMITTEE, COMMITTEE | REGRESSION], ids=["perceptron", "committee", "square"])
@pytest.mark.parametrize(("law", "method"), METHODS)
def test_results_are_those_of_the_weights(law: str, method: str, machine: dict[str, Any], tmp_path: Path) -> None:
    """The last row against the formulas, from the weights of the last checkpoint; the only row after the burn-in."""
    text = asked(law, method, machine)
    found = mcmc.run(text, tmp_path, quiet=True).dataset.isel(sample=-1)
    problem = Problem(config.load(text))
    architecture, loss = problem.architecture, problem.model.loss
    weights = last_states(tmp_path, problem)
    np.testing.assert_array_equal(found["magnetisation"], weights)
    units = weights.reshape(*weights.shape[:-1], architecture.n_hidden, architecture.fan_in)
    if law == "spherical":
        np.testing.assert_allclose((units**2).mean(axis=-1), 1, rtol=1e-12)
        assert "norm" not in found
    else:
        np.testing.assert_allclose(found["norm"], (weights**2).mean(axis=-1), rtol=1e-13)
    for number in range(problem.n_instances):
        instance = problem.instance(number)
        mine, teacher = weights[number], instance.teacher
        energy = machines.energy(
            instance.inputs.dense(),
            instance.labels,
            loss.name,
            loss.margin,
            loss.sharpness,
            architecture.name,
            architecture.n_hidden,
            architecture.activation,
        )
        expected = energy(mine.reshape(-1, problem.n_weights)).reshape(mine.shape[:2])
        np.testing.assert_allclose(found["energy"][number], expected, rtol=1e-8)  # the reference rounds to a grid
        np.testing.assert_allclose(found["teacher_overlap"][number], mine @ teacher / mine.shape[-1], atol=1e-13)
        overlaps = [(mine[a] * mine[b]).mean(axis=-1) for a, b in combinations(range(problem.n_copies), 2)]
        np.testing.assert_allclose(found["overlap"][number], overlaps, atol=1e-13)
        inputs, labels = instance.test
        output = architecture.output(inputs, mine)
        errors = (output - labels) ** 2 / 2 if "data.labels" in machine else (output >= 0) != (labels >= 0)
        np.testing.assert_allclose(found["test_error"][number], errors.mean(axis=-1), rtol=1e-12)
        if machine:
            products = np.einsum("crki,crli->crkl", units[number], units[number]) / architecture.fan_in
            np.testing.assert_allclose(found["hidden_self_overlap"][number], products, atol=1e-13)
            products = np.einsum("crki,li->crkl", units[number], teacher.reshape(architecture.n_hidden, -1))
            products /= architecture.fan_in
            np.testing.assert_allclose(found["hidden_teacher_overlap"][number], products, atol=1e-13)


@pytest.mark.parametrize(("law", "method"), METHODS)
def test_what_the_results_hold(law: str, method: str, tmp_path: Path) -> None:
    results = mcmc.run(asked(law, method, {"schedule.sweeps": 150}), tmp_path, quiet=True)
    found, kind = results.dataset, samplers_of(law)[method]
    for key, name in TOLD.items():
        assert (name in found) == (key in kind.tells)
        if name in found:
            assert found[name].dims == ("instance", "sample", "copy", "rung")
            assert np.isfinite(found[name]).all()
    assert ("step_size" in found) == ("step_size" in kind.parameters)
    if "step_size" in found:
        assert found["step_size"].dims == ("instance", "rung")
        assert (found["step_size"] > 0).all()
        n_different = len(np.unique(found["step_size"][:, 1:]))  # at beta = 0 it is the longest that there is
        if (law, method) == ("spherical", "metropolis"):  # and here on all rungs: any rotation has a chance
            assert (found["step_size"] == np.pi).all()
        else:
            assert n_different == (1 if kind.target is None else 4)
    assert ("teacher_norm" in found) == (law == "gaussian")
    decides = method not in (*UNADJUSTED, "elliptical-slice")
    assert np.isfinite(found["acceptance"]).all() if decides else np.isnan(found["acceptance"]).all()
    rungs = results.summary().to_json_dict()["rungs"]
    told = {"norm", "kinetic_temperature", "energy_error", "step_size"} & set(found)
    assert all(told <= rung.keys() for rung in rungs)
    lines = map(str.split, results.summary().table().splitlines())
    headings = {word for words in lines if words[:1] == ["beta"] for word in words}
    for name, heading in (("norm", "norm"), ("kinetic_temperature", "T_kin"), ("energy_error", "dH")):
        assert (heading in headings) == (name in found)
    with xr.open_dataset(tmp_path / "results.h5", engine="h5netcdf", group="data") as data:
        assert data["teacher"].dtype == np.float64


def test_teacher_norm(tmp_path: Path) -> None:
    found = mcmc.run(asked("gaussian", "hmc", {"model.prior_precision": 4.0}), tmp_path, quiet=True).dataset
    problem = Problem(config.load(asked("gaussian", "hmc", {"model.prior_precision": 4.0})))
    expected = [(problem.instance(number).teacher ** 2).mean() for number in range(2)]
    np.testing.assert_allclose(found["teacher_norm"], expected, rtol=1e-14)


def test_step_sizes_as_asked(tmp_path: Path) -> None:
    changes = {"sampler": {"method": "mala", "step_size": [0.3, 0.2, 0.1]}, "schedule.burn_in": 0}
    found = mcmc.run(asked("gaussian", "mala", changes), tmp_path, quiet=True).dataset
    assert found["step_size"].to_numpy().tolist() == [[0.3, 0.2, 0.1]] * 2


def test_step_sizes_are_frozen_after_the_burn_in(tmp_path: Path) -> None:
    """And belong to their instance: what others there are does not matter."""
    short = mcmc.run(asked("spherical", "hmc"), tmp_path / "short", quiet=True).dataset
    long = mcmc.run(asked("spherical", "hmc", {"schedule.sweeps": 200}), tmp_path / "long", quiet=True).dataset
    alone = mcmc.run(asked("spherical", "hmc", {"data.n_instances": 1}), tmp_path / "alone", quiet=True).dataset
    np.testing.assert_array_equal(short["step_size"], long["step_size"])
    np.testing.assert_array_equal(short["step_size"][:1], alone["step_size"])
    np.testing.assert_array_equal(short["energy"][:1], alone["energy"])
    start = mcmc.run(asked("spherical", "hmc", {"schedule.burn_in": 40}), tmp_path / "other", quiet=True).dataset
    assert (start["step_size"] != short["step_size"]).any()  # the negative control


@pytest.mark.parametrize(
    ("law", "method"), [("gaussian", "mala"), ("gaussian", "underdamped"), ("spherical", "hmc"), ("gaussian", "pcn")]
)
def test_stopped_again_and_again(law: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the middle of the burn-in, while step sizes are tuned; momenta go on."""
    text = asked(law, method, {"schedule.sweeps": 90})
    monkeypatch.setattr(engine, "_STRETCH", 1e-9)
    seen = []
    for _ in range(100):
        part = mcmc.run(text, tmp_path / "parts", walltime=1e-6, quiet=True)
        seen.append(status(tmp_path / "parts")["sweep"])
        if part.dataset.attrs["complete"]:
            break
        if "step_size" in part.dataset:
            assert part.dataset["step_size"].dims == ("instance", "rung")
    assert sum(0 < sweep < 50 for sweep in seen) > 5
    assert seen[-1] == 90
    monkeypatch.undo()
    mcmc.run(text, tmp_path / "whole", quiet=True)
    assert_same_results(tmp_path / "parts", tmp_path / "whole")


# Divergence: a quadratic energy and a step far beyond the stable ones; the rows of the beginning are good.
DIVERGES = {
    "model.n_inputs": 8,
    "model.weights": "gaussian",
    "model.loss.name": "square",
    "data": {"source": "teacher", "labels": "real", "n_patterns": 40, "n_instances": 2},
    "sampler": {"method": "langevin", "step_size": 0.6},
    "ladder": {"beta": [0.01, 1.0], "n_copies": 2},
    "schedule": {"sweeps": 3000, "burn_in": 10, "measure_every": 10},
    "checkpoint.every": 1e-3,
}
MESSAGE = r"instance \d, walker \d \(copy \d\), sweep \d+, beta 1\b.*, step_size 0\.6: weights or energy are not finite"


def test_divergence(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_STRETCH", 1e-9)
    file, out = write_run_file(tmp_path / "run.toml", DIVERGES), tmp_path / "out"
    assert run_command(["run", str(file), "-o", str(out), "--quiet"]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(f"mcmc: error: {MESSAGE}\n", said.err)
    now = status(out)
    assert now["state"] == "failed"
    assert re.search(MESSAGE, now["message"])
    assert re.search(MESSAGE, (out / "run.log").read_text())
    checkpoint = RunDirectory(out).read_checkpoint()
    assert checkpoint.attrs["sweep"] > 0
    assert np.isfinite(checkpoint.arrays["weights"]).all()
    assert np.isfinite(mcmc.load(out).dataset["energy"]).all()
    assert f"the last checkpoint is that of sweep {checkpoint.attrs['sweep']}" in now["message"]
    with pytest.raises(mcmc.DivergenceError, match=MESSAGE):  # going on leads to the same end
        mcmc.run(file, out, quiet=True)
    assert RunDirectory(out).read_checkpoint().attrs["sweep"] >= checkpoint.attrs["sweep"]


OFTEN = {"checkpoint.every": 0.02}
HMC = {"model.weights": "gaussian", "model.loss.name": "logistic", "sampler.method": "hmc", "data.n_instances": 2}
DIVERGING = {
    "whole": DIVERGES | {"data.n_instances": 5, "ladder.exchange_every": 0, "output.waiting_times": [0, 3]},
    "split": DIVERGES | {"data.n_instances": 1, "ladder.beta": [0.01, 0.4, 1.0]},
    "between": DIVERGES | {"data.n_instances": 3, "ladder.exchange_every": 3, "data.n_test": 5},
    "alone": DIVERGES | {"data.n_instances": 1, "ladder.beta": [1.0], "ladder.n_copies": 1},
    "tuned": HMC | {"schedule.burn_in": 100, "ladder.exchange_every": 2},
    "mass": HMC
    | {"sampler.preconditioner": "inputs", "model.prior_precision": 1e-20, "data.n_patterns": 3, "data.alpha": None},
}


@pytest.mark.parametrize("n_ranks", [2, 3, 5])
def test_all_ranks_raise_the_same_divergence(launcher: Launcher, n_ranks: int, tmp_path: Path) -> None:
    """The one that a run on one rank raises; a rank that knows nothing of it does not wait for ever."""
    files = [write_run_file(tmp_path / f"{name}.toml", changes | OFTEN) for name, changes in DIVERGING.items()]
    args = [sys.executable, str(Path(__file__).with_name("diverging.py")), "5e-3", *map(str, files)]
    for out, n in ("one", 1), ("many", n_ranks):
        (tmp_path / out).mkdir()
        done = launchers.run(launcher, n, [*args, str(tmp_path / out)], timeout=60)
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stderr.splitlines() if "idle ranks" not in line] == []
    assert {(tmp_path / "many" / f"left.{rank}").read_text() for rank in range(n_ranks)} == {"0"}
    for name in DIVERGING:
        said = {(tmp_path / "many" / f"{name}.{rank}").read_text() for rank in range(n_ranks)}
        assert said == {(tmp_path / "one" / f"{name}.0").read_text()}
        now = status(tmp_path / "many" / name)
        assert now["state"] == "failed"
        assert now["sweep"] == (int(found[1]) if (found := re.search(r"sweep (\d+)", now["message"])) else 0)
        assert said.pop() in now["message"]
        assert (tmp_path / "many" / name / "run.log").read_text().count("diverged") == 1
        checkpoint = RunDirectory(tmp_path / "many" / name).read_checkpoint()
        assert checkpoint is None or np.isfinite(checkpoint.arrays["weights"]).all()


def test_divergence_on_several_ranks_is_one_line(launcher: Launcher, tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml", DIVERGES | OFTEN | {"data.n_instances": 1})
    done = launchers.run(launcher, 3, [*DRIVE, "5e-3", str(file), str(tmp_path / "out")])
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("mcmc:")]
    assert len(errors) == 1
    assert re.fullmatch(f"mcmc: error: {MESSAGE}", errors[0])
    assert "Traceback" not in done.stderr
    assert status(tmp_path / "out" / "run")["state"] == "failed"


# --- data from files ---


def write_task(path: Path, scale: float = 1.0) -> None:
    rng = np.random.default_rng(3)
    teacher = rng.normal(size=6)
    teacher *= scale * np.sqrt(6) / np.linalg.norm(teacher)
    inputs = rng.normal(size=(20, 6))
    np.savez(path, inputs=inputs, labels=inputs @ teacher / np.sqrt(6), teacher=teacher)


FILE = {
    "model.n_inputs": None,
    "model.loss": {"name": "square"},
    "sampler": {"method": "random-walk", "step_size": 0.1},
    "schedule.start": "teacher",
}


@pytest.mark.parametrize("law", LAWS)
def test_a_teacher_from_a_file_is_a_start(law: str, tmp_path: Path) -> None:
    write_task(tmp_path / "task.npz")
    data = {"source": "file", "path": str(tmp_path / "task.npz")}
    text = tables(FILE | {"data": data, "model.weights": law})
    problem = Problem(config.load(text))
    instance = problem.instance(0)
    assert instance.teacher.dtype == np.float64
    np.testing.assert_allclose(problem.initial_weights(0, instance, range(8)), [instance.teacher] * 8, rtol=1e-15)
    found = mcmc.run(text, tmp_path / "out", quiet=True).dataset
    np.testing.assert_allclose(found["teacher_norm"], 1, rtol=1e-14)


def test_a_teacher_beside_the_sphere_is_no_start(tmp_path: Path) -> None:
    write_task(tmp_path / "task.npz", scale=1.1)
    data = {"source": "file", "path": str(tmp_path / "task.npz")}
    with pytest.raises(mcmc.ConfigError, match=r"^schedule.start: got 'teacher', expected 'random'.*from 1.21 to 1.21"):
        Problem(config.load(tables(FILE | {"data": data, "model.weights": "spherical"})))
    Problem(config.load(tables(FILE | {"data": data, "model.weights": "gaussian"})))
    random = {"data": data, "model.weights": "spherical", "schedule.start": "random"}
    Problem(config.load(tables(FILE | random)))


def test_ising_weights_need_a_teacher_of_signs(tmp_path: Path) -> None:
    write_task(tmp_path / "task.npz")
    data = {"source": "file", "path": str(tmp_path / "task.npz")}
    with pytest.raises(mcmc.ConfigError, match="other than -1 and"):
        Problem(config.load(tables({"data": data, "model.n_inputs": None, "model.loss": {"name": "square"}})))


@pytest.mark.parametrize("teacher", PRIORS)
@pytest.mark.parametrize("student", LAWS)
def test_teachers_of_every_law(student: str, teacher: str, tmp_path: Path) -> None:
    """And where Ising weights are a state of the student, walkers may start there."""
    changes = {"data.teacher.weights": teacher, "model.weights": student, "sampler.method": "random-walk"}
    text = tables(BASE | COMMITTEE | changes)
    problem = Problem(config.load(text))
    instance = problem.instance(1)
    assert instance.teacher.dtype == (np.int8 if teacher == "ising" else np.float64)
    found = mcmc.run(text, tmp_path, quiet=True).dataset
    assert ("teacher_norm" in found) == (teacher == "gaussian")
    if (teacher, student) != ("gaussian", "spherical"):
        planted = Problem(config.load(text, ["schedule.start=teacher"]))
        start = planted.initial_weights(1, instance, range(2))
        np.testing.assert_allclose(start, [instance.teacher] * 2, rtol=1e-14)


def test_gaussian_teachers_have_the_students_variance() -> None:
    text = asked("gaussian", "hmc", {"model.prior_precision": 4.0, "model.n_inputs": 2000})
    assert np.var(Problem(config.load(text)).instance(0).teacher) == pytest.approx(0.25, rel=0.2)
    other = asked("spherical", "hmc", {"data.teacher.weights": "gaussian", "model.n_inputs": 2000})
    assert np.var(Problem(config.load(other)).instance(0).teacher) == pytest.approx(1.0, rel=0.2)


# --- the teacher as one more copy ---


@pytest.mark.parametrize(
    ("law", "machine", "beta"),
    [
        ("gaussian", {"model.loss": {"name": "square"}, "data.labels": "real", "data.output_noise": 0.5}, 2.0),
        ("gaussian", {"model.loss": {"name": "logistic", "sharpness": 2.0}, "data.labels": "logistic"}, 2.0),
        ("spherical", COMMITTEE | REGRESSION, 5.0),
    ],
    ids=["square", "logistic", "committee"],
)
def test_nishimori(law: str, machine: dict[str, Any], beta: float, tmp_path: Path) -> None:
    """Planted at the teacher, at the beta of the process that made the labels, walkers are in equilibrium at once.

    So the mean energy stays that of the teacher. The dynamics is reversible: two copies that started from one state are
    as far from each other after t sweeps as they are from that state after 2 t. Both at an error rate of 1e-6; the
    negative control samples at a quarter of beta.
    """
    changes = {
        "data.n_instances": 300,
        "data.n_test": 0,
        "model.n_inputs": 6,
        "data.n_patterns": 12,
        "sampler": {"method": "mala", "step_size": 0.05},
        "schedule.sweeps": 40,
        "schedule.burn_in": 0,
        "schedule.start": "teacher",
        "output.store_data": False,
        "checkpoint.every": 60,
    }

    def deviations(at: float) -> list[float]:
        """Of the mean energy from the teacher's, and of q(t) from R(2 t), in standard errors over instances."""
        text = asked(law, "mala", machine | changes | {"ladder.beta": [at]})
        found = mcmc.run(text, tmp_path / str(at), quiet=True).dataset.isel(rung=0)
        problem = Problem(config.load(text))
        loss, teacher = problem.model.loss, problem.teacher_architecture
        at_teacher = []
        for number in range(problem.n_instances):
            instance = problem.instance(number)
            at_teacher.append(loss.values(teacher.output(instance.inputs, instance.teacher), instance.labels).sum())
        energy = found["energy"].mean(("sample", "copy")).to_numpy() - at_teacher
        r, q = found["teacher_overlap"].mean("copy").to_numpy(), found["overlap"].mean("pair").to_numpy()
        overlap = (q[:, :2] - r[:, 1::2]).mean(axis=1)  # rows at sweeps 10, 20, 30, 40
        return [x.mean() / (x.std(ddof=1) / np.sqrt(x.size)) for x in (energy, overlap)]

    assert np.abs(deviations(beta)).max() < 4.9
    assert np.abs(deviations(beta / 4)).max() > 4.9


# --- what is said before a run ---


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sampler, words in (
        ({"method": "hmc"}, "hmc of spherical weights, step size tuned in the burn-in"),
        ({"method": "mala", "step_size": 0.25}, "mala of spherical weights, step size 0.25"),
        ({"method": "mala", "step_size": [0.3, 0.2, 0.1]}, "mala of spherical weights, step size 0.3, 0.2, 0.1"),
    ):
        said = forecast.of_run(config.load(asked("spherical", "hmc", {"sampler": sampler})), 2)
        lines = dict(line.split(maxsplit=1) for line in said.splitlines())
        assert lines["sampler"] == words
        assert lines["proposals"] == "720"  # one for each of 12 walkers and 60 sweeps
    assert "sampler    metropolis of ising weights" in forecast.of_run(config.load(tables()), 1)


def test_info_lists_methods_by_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["info"]) == 0
    said = capsys.readouterr().out
    for law in PRIORS:
        line = next(line for line in said.splitlines() if line.removeprefix("samplers").split()[:1] == [law])
        assert line.split(maxsplit=1)[-1].endswith(", ".join(samplers_of(law)))


def test_json_of_a_summary_is_json(tmp_path: Path) -> None:
    results = mcmc.run(asked("gaussian", "underdamped", {"schedule.sweeps": 200}), tmp_path, quiet=True)
    text = json.dumps(results.summary().to_json_dict(), allow_nan=False)
    assert json.loads(text)["rungs"][0]["step_size"] == 0.1
    assert "acceptance" not in json.loads(text)["rungs"][0]
