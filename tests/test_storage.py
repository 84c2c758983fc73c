"""Files of a run: round trips, xarray, atomicity under kills and full disks, damage of every kind."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mcmc import netcdf, sealed
from mcmc.errors import ConfigError, StorageError
from mcmc.reading import read_dataset
from mcmc.schema import FORMAT_VERSION, VARIABLES
from mcmc.sealed import write_atomically
from mcmc.storage import RunDirectory, Segment
from mutations import mutated

RUN_TOML = 'seed = 1\n[model]\nname = "β"\n'
N_INSTANCES, N_COPIES, N_RUNGS, N_WEIGHTS, N_PATTERNS = 2, 3, 4, 5, 6
SIZES = {"instance": N_INSTANCES, "copy": N_COPIES, "pair": 3, "rung": N_RUNGS, "swap": N_RUNGS - 1}
SIZES |= {"weight": N_WEIGHTS, "hidden": 2, "hidden_b": 2, "teacher_hidden": 3, "waiting": 2, "lag": 4}
ROOT_ATTRS = {
    "mcmc_version": "0.1",
    "seed": 2**64 - 1,
    "run_toml": RUN_TOML,
    "burn_in": 20,
    "n_weights": N_WEIGHTS,
    "n_patterns": N_PATTERNS,
    "complete": 1,
}


def values(name: str, n_rows: int, seed: int = 0) -> np.ndarray:
    variable = VARIABLES[name]
    rng = np.random.default_rng([seed, len(name)])
    shape = tuple((SIZES | {"sample": n_rows})[dim] for dim in variable.dims)
    if variable.dtype == "str":
        return rng.choice(["random", "teacher"], shape)
    return rng.integers(0, 9, shape) if variable.dtype.startswith("i") else rng.standard_normal(shape)


def all_series(n_rows: int) -> dict[str, np.ndarray]:
    series = {name: values(name, n_rows) for name, variable in VARIABLES.items() if "sample" in variable.dims}
    return series | {"sweep": 10 * np.arange(1, n_rows + 1)}


def rows(series: dict[str, np.ndarray], first: int, stop: int) -> dict[str, np.ndarray]:
    return {name: a.take(range(first, stop), VARIABLES[name].dims.index("sample")) for name, a in series.items()}


CONSTANTS = {name: values(name, 0) for name, variable in VARIABLES.items() if "sample" not in variable.dims}
CONSTANTS["beta"] = np.linspace(0.1, 1.0, N_RUNGS)
SERIES = all_series(40)
INPUTS = np.random.default_rng(5).choice(np.array([-1, 1], np.int8), (N_INSTANCES, N_PATTERNS, N_WEIGHTS))


def data() -> dict:
    labels = np.where(np.arange(N_INSTANCES * N_PATTERNS) % 2, 1.0, -1.0).reshape(N_INSTANCES, N_PATTERNS)
    teacher = np.ones((N_INSTANCES, N_WEIGHTS), np.int8)
    return {"inputs": (block for block in INPUTS), "labels": labels, "teacher": teacher}


def new_run(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.create(RUN_TOML)
    return run


def write_segments(run: RunDirectory, cuts: list[int], series: dict[str, np.ndarray] = SERIES) -> list[Segment]:
    pieces = enumerate(itertools.pairwise(cuts))
    return [run.write_segment(i, a, rows(series, a, b), {"run_toml": RUN_TOML}) for i, (a, b) in pieces]


def checkpoint(run: RunDirectory, step: int, segments: list[Segment]) -> None:
    run.write_checkpoint({"weights": np.full(50, step)}, {"step": step}, segments)


def two_checkpoints(path: Path) -> RunDirectory:
    """Checkpoint 1 lists the first segment, checkpoint 2 both."""
    run = new_run(path)
    segments = write_segments(run, [0, 10])
    checkpoint(run, 1, segments)
    segments.append(run.write_segment(1, 10, rows(SERIES, 10, 40), {}))
    checkpoint(run, 2, segments)
    return run


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def temporaries(path: Path) -> list[Path]:
    return list(path.rglob("*.tmp"))


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def step_of(path: Path) -> int:
    return RunDirectory(path).read_checkpoint().attrs["step"]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Without waiting for the disk: no test pulls the plug."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# Round trips


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from(["f8", "f4", "i8", "i4", "i2", "i1", "u1", "u4", "u8", "?"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    number=st.integers(-(2**63), 2**64 - 1),
    real=st.floats(),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0")),
)
def test_checkpoint_round_trip_is_bit_exact(tmp_path, array, number, real, text):
    path = tmp_path / "run"
    shutil.rmtree(path, ignore_errors=True)
    run = new_run(path)
    run.write_checkpoint({"a": array, "start": np.array(["x", "teacher"])}, {"n": number, "r": real, "t": text}, [])
    read = RunDirectory(path).read_checkpoint()
    assert read.arrays["a"].dtype == array.dtype
    assert read.arrays["a"].shape == array.shape
    assert read.arrays["a"].tobytes() == array.tobytes()
    assert read.arrays["start"].tolist() == ["x", "teacher"]
    assert read.attrs["n"] == number
    assert np.float64(read.attrs["r"]).tobytes() == np.float64(real).tobytes()
    assert read.attrs["t"] == text
    assert {name: type(value) for name, value in read.attrs.items()} == {"n": int, "r": float, "t": str}
    assert (read.segments, read.warning) == ([], None)


def test_special_floats_survive_the_series_bit_for_bit(tmp_path):
    patterns = np.array([0x7FF8000000000001, 0xFFF0000000000000, 0x7FF4DEADBEEF0001, 1, 1 << 63], np.uint64)
    energy = np.resize(patterns, SERIES["energy"].shape).view(np.float64)
    run = new_run(tmp_path / "run")
    segments = write_segments(run, [0, 7, 40], SERIES | {"energy": energy})
    run.write_results(CONSTANTS, None, ROOT_ATTRS, segments)
    with h5py.File(tmp_path / "run" / "results.h5") as h5:
        assert h5["energy"][...].tobytes() == energy.tobytes()


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_long_attributes_and_large_seeds(tmp_path, seed):
    text = "# a long run file\n" * 20_000  # more than the 64 KiB of an HDF5 object header
    run = new_run(tmp_path / "run")
    run.write_checkpoint({}, {"seed": seed, "run_toml": text}, [])
    assert run.read_checkpoint().attrs == {"seed": seed, "run_toml": text}
    run.write_results(CONSTANTS, None, ROOT_ATTRS | {"seed": seed, "run_toml": text}, write_segments(run, [0, 5]))
    attrs = read_dataset(run.path).attrs
    assert (attrs["seed"], attrs["run_toml"]) == (seed, text)


def test_a_thousand_segments_are_listed(tmp_path):
    run = new_run(tmp_path / "run")
    [segment] = write_segments(run, [0, 1])
    run.write_checkpoint({}, {}, [segment] * 1000)
    assert RunDirectory(run.path).read_checkpoint().segments == [segment] * 1000


def test_types_are_checked(tmp_path):
    run = new_run(tmp_path / "run")
    with pytest.raises(TypeError, match="walker: got float64, expected i4"):
        run.write_segment(0, 0, rows(SERIES, 0, 3) | {"walker": np.zeros((2, 3, 3, 4))}, {})
    with pytest.raises(ValueError, match="beta is no time series"):
        run.write_segment(0, 0, rows(SERIES, 0, 3) | {"beta": CONSTANTS["beta"]}, {})
    with pytest.raises(ValueError, match="other variables have 3"):
        run.write_segment(0, 0, rows(SERIES, 0, 3) | {"energy": np.zeros((2, 4, 3, 4))}, {})
    assert not list((run.path / "segments").iterdir())


# Results


@pytest.mark.parametrize("engine", ["h5netcdf", None])
def test_results_open_in_xarray(tmp_path, engine):
    xarray = pytest.importorskip("xarray")
    run = new_run(tmp_path / "run")
    run.write_results(CONSTANTS, data(), ROOT_ATTRS, write_segments(run, [0, 3, 17, 40]))
    with xarray.open_dataset(run.path / "results.h5", engine=engine) as dataset:
        assert set(dataset.coords) == {"beta", "sweep", "waiting_time", "lag_time"}
        assert set(dataset.variables) == set(VARIABLES)
        assert dict(dataset.sizes) == SIZES | {"sample": 40}
        for name, variable in VARIABLES.items():
            assert dataset[name].dims == variable.dims
            assert dataset[name].attrs == {"units": variable.units, "long_name": variable.long_name}
            np.testing.assert_array_equal(dataset[name], (SERIES | CONSTANTS)[name])
            if variable.dtype != "str":
                assert dataset[name].dtype == variable.dtype
        assert dict(dataset.attrs) == ROOT_ATTRS | {"format_version": FORMAT_VERSION}
        assert {"beta", "sweep"} == set(dataset.energy.coords)
    with xarray.open_dataset(run.path / "results.h5", engine=engine, group="data") as group:
        assert group.inputs.dims == ("instance", "pattern", "input")
        assert group.labels.dims == ("instance", "pattern")
        assert group.teacher.dims == ("instance", "teacher_weight")
        assert (group.inputs.dtype, group.labels.dtype, group.teacher.dtype) == (np.int8, np.float64, np.int8)
        np.testing.assert_array_equal(group.inputs, INPUTS)
        np.testing.assert_array_equal(group.labels, data()["labels"])


@pytest.mark.parametrize("complete", [True, False])
def test_diagonals_of_trees_lack_the_last_dimension(tmp_path, complete):
    xarray = pytest.importorskip("xarray")
    matrices = [name for name, variable in VARIABLES.items() if variable.is_matrix]
    assert len(matrices) == 3
    series = SERIES | {name: SERIES[name][..., 0] for name in matrices}
    constants = {name: values for name, values in CONSTANTS.items() if "teacher_hidden" not in VARIABLES[name].dims}
    run = new_run(tmp_path / "run")
    segments = write_segments(run, [0, 7, 40], series)
    if complete:
        run.write_results(constants, data(), ROOT_ATTRS, segments)
        dataset = xarray.load_dataset(run.path / "results.h5", engine="h5netcdf")
    else:
        run.write_checkpoint(constants, ROOT_ATTRS, segments)
        dataset = read_dataset(run.path)
    assert {"hidden_b", "teacher_hidden"}.isdisjoint(dataset.sizes)
    for name in matrices:
        assert dataset[name].dims == VARIABLES[name].dims[:-1]
        np.testing.assert_array_equal(dataset[name], series[name])
    with pytest.raises(ValueError, match="got 4 axes"):
        run.write_segment(3, 40, rows(SERIES, 0, 3) | {"hidden_overlap": SERIES["overlap"][:, :3]}, {})


def test_every_axis_has_a_scale(tmp_path):
    run = new_run(tmp_path / "run")
    run.write_results(CONSTANTS, data(), ROOT_ATTRS, write_segments(run, [0, 40]))

    def check(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and not node.is_scale:
            assert all(len(dim) == 1 for dim in node.dims), name
            assert all(dim[0].parent == node.parent for dim in node.dims), name
            assert {"units", "long_name"} <= set(node.attrs), name

    with h5py.File(run.path / "results.h5") as h5:
        h5.visititems(check)


@pytest.mark.parametrize("cuts", [[0, 40], [0, 1, 2, 39, 40], [0, 13, 13, 26, 40]])
def test_bytes_do_not_depend_on_segments_or_time(tmp_path, cuts, monkeypatch):
    monkeypatch.setattr(netcdf, "_CHUNK_BYTES", 500)  # several chunks, and segments that end inside them
    reference, other = new_run(tmp_path / "a"), new_run(tmp_path / "b")
    reference.write_results(CONSTANTS, data(), ROOT_ATTRS, write_segments(reference, [0, 5, 25, 40]))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    other.write_results(CONSTANTS, data(), ROOT_ATTRS, write_segments(other, cuts))
    results = (reference.path / "results.h5").read_bytes()
    assert (other.path / "results.h5").read_bytes() == results
    with h5py.File(reference.path / "results.h5") as h5:
        assert h5["energy"].chunks == (1, 500 // (8 * N_COPIES), N_COPIES, 1)


def test_bytes_are_equal_in_another_process_and_second(tmp_path, monkeypatch):
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_storage as t
        run = t.two_checkpoints(Path(sys.argv[1]))
        data = t.data() | {{"reference": t.np.ones((t.N_INSTANCES, 3), t.np.int8)}}
        run.write_results(t.CONSTANTS, data, t.ROOT_ATTRS, run.read_checkpoint().segments)
    """
    for seed in "123":  # of the order of sets of strings
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        run_python(script, tmp_path / seed)
        time.sleep(1.0 if seed == "1" else 0.0)  # HDF5's own time stamps would count seconds
    assert files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "3")


def test_float_inputs_without_a_teacher(tmp_path):
    run = new_run(tmp_path / "run")
    inputs = np.random.default_rng(1).standard_normal((N_INSTANCES, N_PATTERNS, N_WEIGHTS))
    group = {"inputs": list(inputs), "labels": data()["labels"]}
    run.write_results(CONSTANTS, group, ROOT_ATTRS, write_segments(run, [0, 4]))
    with h5py.File(run.path / "results.h5") as h5:
        assert h5["data/inputs"][...].tobytes() == inputs.tobytes()
        assert "teacher" not in h5["data"]


@pytest.mark.parametrize("n_given", [N_INSTANCES - 1, N_INSTANCES + 1])
def test_inputs_of_a_wrong_number_of_instances(tmp_path, n_given):
    run = new_run(tmp_path / "run")
    group = data() | {"inputs": [INPUTS[0]] * n_given}
    with pytest.raises(ValueError, match=r"inputs of .* instances"):
        run.write_results(CONSTANTS, group, ROOT_ATTRS, write_segments(run, [0, 4]))
    assert not (run.path / "results.h5").exists()


def test_segments_that_do_not_fit_together(tmp_path):
    run = new_run(tmp_path / "run")
    segments = write_segments(run, [0, 4])
    less = {name: array for name, array in rows(SERIES, 4, 6).items() if name != "overlap"}
    segments.append(run.write_segment(1, 4, less, {}))
    with pytest.raises(StorageError, match=r"000001.h5: does not fit the other segments: overlap"):
        run.write_results(CONSTANTS, None, ROOT_ATTRS, segments)
    assert not (run.path / "results.h5").exists()


# Reading back


def test_dataset_of_a_running_run_equals_the_results(tmp_path):
    xarray = pytest.importorskip("xarray")
    run = new_run(tmp_path / "run")
    segments = write_segments(run, [0, 10, 40])
    run.write_checkpoint(CONSTANTS | {"state": np.zeros(3)}, ROOT_ATTRS | {"sweep": 400}, segments)
    running = read_dataset(run.path)
    run.write_results(CONSTANTS, data(), ROOT_ATTRS, segments)
    complete = read_dataset(run.path)
    assert (running.attrs.pop("complete"), complete.attrs["complete"]) == (0, 1)
    del complete.attrs["complete"]
    xarray.testing.assert_identical(running, complete)
    assert {name: v.dtype for name, v in running.items()} == {name: v.dtype for name, v in complete.items()}


def test_dataset_prefers_a_checkpoint_with_more_rows(tmp_path):
    run = new_run(tmp_path / "run")
    segments = write_segments(run, [0, 10, 40])
    run.write_results(CONSTANTS, None, ROOT_ATTRS, segments[:1])
    run.write_checkpoint(CONSTANTS, ROOT_ATTRS, segments[:1])
    assert read_dataset(run.path).attrs["complete"] == 1
    run.write_checkpoint(CONSTANTS, ROOT_ATTRS, segments)
    dataset = read_dataset(run.path)
    assert (dataset.sizes["sample"], dataset.attrs["complete"]) == (40, 0)


def test_dataset_without_rows(tmp_path):
    run = new_run(tmp_path / "run")
    with pytest.raises(StorageError, match="neither results nor a checkpoint"):
        read_dataset(run.path)
    run.write_checkpoint(CONSTANTS, ROOT_ATTRS, [])
    assert read_dataset(run.path).sizes["sample"] == 0
    run.write_results(CONSTANTS, None, ROOT_ATTRS, write_segments(run, [0, 0]))
    assert read_dataset(run.path).energy.shape == (N_INSTANCES, 0, N_COPIES, N_RUNGS)
    run.write_results(CONSTANTS, None, ROOT_ATTRS, [])
    assert read_dataset(run.path).sizes["sample"] == 0


def test_results_need_no_checkpoint_and_no_segments(tmp_path):
    run = new_run(tmp_path / "run")
    run.write_results(CONSTANTS, None, ROOT_ATTRS, write_segments(run, [0, 40]))
    shutil.rmtree(run.path / "segments")
    np.testing.assert_array_equal(read_dataset(run.path).energy, SERIES["energy"])
    assert run.run_toml() == RUN_TOML


# The directory


def test_create_and_run_toml(tmp_path):
    path = tmp_path / "deep" / "run"
    run = RunDirectory(path)
    assert run.run_toml() is None
    assert not path.exists()
    run.create(RUN_TOML)
    assert run.run_toml() == RUN_TOML
    run.replace_run_toml("seed = 2\n")
    assert RunDirectory(path).run_toml() == "seed = 2\n"
    assert run.read_checkpoint() is None
    assert run.clean() == []
    with pytest.raises(ConfigError, match="already holds a run"):
        run.create(RUN_TOML)


@pytest.mark.parametrize("content", ["thesis.tex", "run.toml", "segments/mine.h5", ".bashrc"])
def test_a_foreign_directory_is_refused_untouched(tmp_path, content):
    path = tmp_path / "home"
    (path / content).parent.mkdir(parents=True)
    (path / content).write_text("precious")
    before = files(path)
    with pytest.raises(ConfigError, match="choose another directory") as caught:
        RunDirectory(path).create(RUN_TOML)
    assert "\n" not in str(caught.value)
    assert files(path) == before


def test_an_output_that_cannot_be_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "file", tmp_path / "file" / "deep" / "run", tmp_path / "dangling", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match=r"output: .*(directory|name too long)"):
            RunDirectory(path).create(RUN_TOML)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "file"]


@pytest.mark.parametrize("n_good", range(3))
def test_creation_that_fails_leaves_nothing(n_good, tmp_path, monkeypatch):
    """At the file, at its directory, at the directory above."""
    calls = itertools.count()

    def full(*_):
        if next(calls) >= n_good:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((StorageError, ConfigError), match=r"run.*: No space left on device"):
        RunDirectory(tmp_path / "deep" / "run").create(RUN_TOML)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_creation_can_be_repeated(tmp_path):
    (tmp_path / "run" / "segments").mkdir(parents=True)
    (tmp_path / "run" / ".run.toml.0123abcd.1@host.tmp").write_text("seed")
    run = new_run(tmp_path / "run")
    assert run.run_toml() == RUN_TOML


def test_status_and_log(tmp_path):
    run = new_run(tmp_path / "run")
    assert run.read_status() is None
    run.write_status({"state": "running", "progress": 0.5})
    assert run.read_status() == {"state": "running", "progress": 0.5}
    assert json.loads((run.path / "status.json").read_text())["state"] == "running"
    for text in (b"\0" * 20, b'{"pid": 1%s}' % (b"0" * 400)):  # what a crashed machine may leave; no number of ours
        (run.path / "status.json").write_bytes(text)
        assert run.read_status() is None
    run.log("started")
    run.log("two\nlines")
    lines = (run.path / "run.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["started", "two", "lines"]
    assert all(time.strptime(line.split("+")[0].split(" ")[0][:19], "%Y-%m-%dT%H:%M:%S") for line in lines)


def test_clean_removes_only_what_nothing_lists(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    before = files(run.path)
    run.write_segment(2, 40, rows(SERIES, 0, 5), {})
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, temporary = socket.gethostname(), ".checkpoint.h5.0123abcd.{}@{}.tmp"
    stale = [(dead.pid, here), (os.getpid(), here), (7, "old.host")]
    for name in (temporary.format(*owner) for owner in stale):
        (run.path / name).write_text("x")
        (run.path / "segments" / name).write_text("x")
        os.utime(run.path / name, (0, 0))
        os.utime(run.path / "segments" / name, (0, 0))
    alive = [run.path / temporary.format(os.getppid(), here), run.path / temporary.format(7, "other.host")]
    for path in alive:
        path.write_text("x")
    removed = RunDirectory(run.path).clean()
    assert "segments/000002.h5" in removed
    assert len(removed) == 7
    for path in alive:
        path.unlink()
    assert files(run.path) == before


def test_clean_keeps_what_only_one_checkpoint_lists(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    for name in ("checkpoint.h5", "checkpoint.prev.h5"):
        shutil.copytree(run.path, tmp_path / name)
        (tmp_path / name / name).write_bytes(b"damaged")
    assert RunDirectory(tmp_path / "checkpoint.prev.h5").clean() == []
    assert RunDirectory(tmp_path / "checkpoint.h5").clean() == ["segments/000001.h5"]
    assert step_of(tmp_path / "checkpoint.h5") == 1


# Kills and full disks, at every step


def operations(run: RunDirectory) -> dict:
    """What changes a run, by name; `run` has checkpoint 2 and a segment more than it lists."""
    segments = [*run.read_checkpoint().segments]

    def all_of_it():
        segments.append(run.write_segment(2, 40, rows(SERIES, 0, 5), {}))
        checkpoint(run, 3, segments)

    return {
        "checkpoint": all_of_it,
        "results": lambda: run.write_results(CONSTANTS, data(), ROOT_ATTRS, segments),
        "run.toml": lambda: run.replace_run_toml("seed = 3\n"),
        "status": lambda: run.write_status({"state": "running"}),
    }


def intercept(step: int, act) -> None:
    """Calls `act` at the step-th point, counted from 0, between or inside the operations on files."""
    counter = itertools.count()

    def wrap(function):
        def wrapped(*args, **kwargs):
            if next(counter) == step:
                act()
            result = function(*args, **kwargs)
            if next(counter) == step:
                act()
            return result

        return wrapped

    sealed.os.replace = wrap(os.replace)
    sealed.os.fsync = wrap(os.fsync)
    sealed._seal = wrap(sealed._seal)


def in_child(function) -> int:
    """Runs `function` in a forked process; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_old_or_new(path: Path, operation: str) -> None:
    run = RunDirectory(path)
    assert run.read_checkpoint().attrs["step"] in ((2, 3) if operation == "checkpoint" else (2,))
    assert run.run_toml() in ((RUN_TOML, "seed = 3\n") if operation == "run.toml" else (RUN_TOML,))
    assert run.read_status() in (None, {"state": "running"})
    np.testing.assert_array_equal(read_dataset(path).sweep[:40], SERIES["sweep"])


@pytest.mark.parametrize("operation", ["checkpoint", "results", "run.toml", "status"])
def test_killed_at_every_step(tmp_path, operation):
    two_checkpoints(tmp_path / "original")
    for step in itertools.count():
        path = tmp_path / str(step)
        shutil.copytree(tmp_path / "original", path)

        def work(path=path, step=step):
            run = RunDirectory(path)
            action = operations(run)[operation]
            intercept(step, lambda: os._exit(9))
            action()

        code = in_child(work)
        assert code in (0, 9)
        check_old_or_new(path, operation)
        run = RunDirectory(path)
        run.clean()
        assert temporaries(path) == []
        checkpoint(run, 4, run.read_checkpoint().segments)
        assert step_of(path) == 4
        (path / "checkpoint.h5").unlink()  # a good one stays behind it, whatever was killed
        assert step_of(path) in (2, 3)
        if code == 0:
            break
    assert step >= {"checkpoint": 14, "results": 6, "run.toml": 6, "status": 2}[operation]


@pytest.mark.parametrize("operation", ["checkpoint", "results", "run.toml", "status"])
def test_disk_error_at_every_step(tmp_path, operation):
    two_checkpoints(tmp_path / "original")
    for step in itertools.count():
        path = tmp_path / str(step)
        shutil.copytree(tmp_path / "original", path)

        def work(path=path, step=step):
            def full():
                raise OSError(errno.ENOSPC, "No space left on device")

            run = RunDirectory(path)
            action = operations(run)[operation]
            intercept(step, full)
            try:
                action()
            except StorageError as error:
                if not re.fullmatch(
                    rf"{path}/.*: cannot write: No space left on device \(make room .* continues\)", str(error)
                ):
                    raise
                checkpoint(run, 4, run.read_checkpoint().segments)  # the same process goes on
                os._exit(9)

        code = in_child(work)
        assert code in (0, 9)
        assert temporaries(path) == []
        if code == 0:
            break
        assert step_of(path) == 4
        (path / "checkpoint.h5").unlink()
        check_old_or_new(path, operation)


def after_call(step: int, act, monkeypatch) -> None:
    """Calls `act` after the step-th fsync or os.replace, counted from 0."""
    counter = itertools.count()

    def wrap(function):
        def wrapped(*args):
            function(*args)
            if next(counter) == step:
                act()

        return wrapped

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))


@pytest.mark.parametrize("operation", ["checkpoint", "results", "run.toml"])
def test_taken_over_at_every_step(tmp_path, operation, monkeypatch):
    """Who was silent while it wrote leaves the files of the new owner alone, whatever they are called."""
    two_checkpoints(tmp_path / "original")
    for step in itertools.count():
        path = tmp_path / str(step)
        shutil.copytree(tmp_path / "original", path)
        old, new = RunDirectory(path), RunDirectory(path)
        kept, said = {}, ""

        def take_over(path=path, new=new, kept=kept):
            (path / "lock").unlink()
            new.lock()
            segments = [*new.read_checkpoint().segments, new.write_segment(2, 40, rows(SERIES, 0, 7), {})]
            checkpoint(new, 5, segments)
            new.write_results(CONSTANTS, data(), ROOT_ATTRS | {"seed": 5}, segments)
            new.replace_run_toml("seed = 5\n")
            kept.update((name, content) for name, content in files(path).items() if not name.endswith(".tmp"))

        old.lock()
        action = operations(old)[operation]
        with monkeypatch.context() as patched:
            after_call(step, take_over, patched)
            try:
                action()
            except StorageError as error:
                said = str(error)
        assert not said or "has taken over this run" in said
        if not kept:
            break
        assert kept.items() <= files(path).items()
        assert temporaries(path) == []
        assert new.read_checkpoint().warning is None
        assert step_of(path) == 5
        new.unlock()
    old.unlock()
    assert step == {"checkpoint": 7, "results": 3, "run.toml": 3}[operation]


def test_taken_over_between_the_last_question_and_the_renaming(tmp_path, monkeypatch):
    """No segment of the new owner's is replaced even then."""
    path = two_checkpoints(tmp_path / "run").path
    old, new = RunDirectory(path), RunDirectory(path)
    old.lock()
    replace = os.replace

    def slow(*args):
        monkeypatch.undo()
        (path / "lock").unlink()
        new.lock()
        checkpoint(new, 5, [*new.read_checkpoint().segments, new.write_segment(2, 40, rows(SERIES, 0, 7), {})])
        replace(*args)

    monkeypatch.setattr(os, "replace", slow)
    old.write_segment(2, 40, rows(SERIES, 0, 5), {})
    assert new.read_checkpoint().warning is None
    assert read_dataset(path).sizes["sample"] == 47
    with pytest.raises(StorageError, match="has taken over this run"):
        checkpoint(old, 3, [])
    new.unlock()
    assert step_of(path) == 5


def test_taken_over_before_it_is_cleaned(tmp_path, monkeypatch):
    """A segment that the new owner has written and not yet listed stays."""
    path = two_checkpoints(tmp_path / "run").path
    old, new = RunDirectory(path), RunDirectory(path)
    old.lock()
    lists = old._lists

    def slow():
        found = lists()
        (path / "lock").unlink()
        new.lock()
        new.write_segment(2, 40, rows(SERIES, 0, 7), {})
        return found

    monkeypatch.setattr(old, "_lists", slow)
    with pytest.raises(StorageError, match="has taken over this run"):
        old.clean()
    assert len(list((path / "segments").iterdir())) == 3
    new.unlock()


def test_taken_over_while_it_is_created(tmp_path, monkeypatch):
    """The run of the new owner stays."""
    path = tmp_path / "run"
    old, new = RunDirectory(path), RunDirectory(path)
    old.lock()

    def take_over():
        (path / "lock").unlink()
        new.lock()
        new.create("seed = 5\n")

    with monkeypatch.context() as patched:
        after_call(0, take_over, patched)
        with pytest.raises(StorageError, match="has taken over this run"):
            old.create(RUN_TOML)
    old.unlock()
    assert new.run_toml() == "seed = 5\n"
    new.unlock()


@pytest.mark.parametrize("n_rows", [4, 6])
def test_pieces_of_another_length(tmp_path, n_rows):
    with h5py.File(tmp_path / "a.h5", "w") as file, pytest.raises(ValueError, match="rows"):
        netcdf.write_rows(file.create_dataset("a", (5, 2), "f8", chunks=(2, 2)), 0, [np.ones((n_rows, 2))], list)


def test_interrupt_leaves_no_temporary(tmp_path):
    def interrupted(file):
        file.write(b"half")
        raise KeyboardInterrupt

    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", interrupted)
    assert files(tmp_path) == {"file": b"old"}


def run_python(script: str, *args: Path) -> str:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_file_size_limit_in_the_middle_of_hdf5(tmp_path):
    """A real error of the operating system while HDF5 writes: one line, clean exit, the old state."""
    two_checkpoints(tmp_path / "run")
    before = files(tmp_path / "run")
    script = """
        import resource, sys
        import numpy as np
        from mcmc.errors import StorageError
        from mcmc.storage import RunDirectory
        run = RunDirectory(sys.argv[1])
        segments = run.read_checkpoint().segments
        big = np.random.default_rng(0).standard_normal((1, 100, 10, 100))
        writes = [
            lambda: run.write_segment(2, 40, {"sweep": np.arange(100), "energy": big}, {}),
            lambda: run.write_checkpoint({"w": big}, {"step": 3}, segments),
            lambda: run.write_results({}, {"inputs": [big[0, 0]] * 30, "labels": np.ones((30, 10))}, {}, segments),
        ]
        for limit in (0, 100, 3000, 20_000, 200_000):
            for write in writes:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                try:
                    write()
                except StorageError as error:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                    print(error)
    """
    lines = run_python(script, tmp_path / "run").splitlines()
    assert [Path(line.split(":")[0]).name for line in lines] == ["000002.h5", "checkpoint.h5", "results.h5"] * 5
    assert all("cannot write: File too large (raise the limit" in line for line in lines)
    assert files(tmp_path / "run") == before


def test_directory_that_vanished(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    shutil.rmtree(run.path)
    for write in (lambda: run.write_status({}), lambda: run.log("x"), lambda: checkpoint(run, 3, [])):
        with pytest.raises(StorageError, match="cannot write: No such file or directory"):
            write()


# Damage


@pytest.fixture
def no_hdf5(monkeypatch):
    """HDF5 must not see a damaged file."""

    def refuse(*_, **__):
        pytest.fail("HDF5 opened a damaged file")

    return lambda: monkeypatch.setattr(h5py, "File", refuse)


def positions(size: int) -> list[int]:
    """All of the superblock and the seal, and samples of everything between."""
    return sorted({*range(0, 96, 5), *range(0, size, size // 60), *range(size - 132, size)})


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "delete"])
def test_damaged_checkpoint_falls_back(tmp_path, damage):
    run = two_checkpoints(tmp_path / "run")
    path = run.path / "checkpoint.h5"
    whole = path.read_bytes()
    for position in positions(len(whole)):
        if damage == "flip":
            path.write_bytes(whole)
            flip(path, position, position % 8)
        elif damage == "truncate":
            path.write_bytes(whole[:position])
        elif damage == "extend":
            path.write_bytes(whole + whole[: position + 1])
        else:
            path.unlink(missing_ok=True)
        read = RunDirectory(run.path).read_checkpoint()
        assert read.attrs["step"] == 1, position
        assert [segment.name for segment in read.segments] == ["000000.h5"]
        assert read.warning.startswith(str(path))
        assert "using checkpoint.prev.h5" in read.warning
        assert "\n" not in read.warning


@pytest.mark.parametrize("name", ["checkpoint.h5", "segments/000000.h5", "results.h5"])
def test_no_damaged_file_reaches_hdf5(tmp_path, name, no_hdf5):
    run = two_checkpoints(tmp_path / "run")
    run.write_results(CONSTANTS, data(), ROOT_ATTRS, run.read_checkpoint().segments)
    path = run.path / name
    whole = path.read_bytes()
    kind = {"c": "checkpoint", "s": "segment", "r": "results"}[name[0]]
    no_hdf5()
    for position in positions(len(whole)):
        for damaged in (whole[:position], whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]):
            refused(path, kind, damaged)
    for seed in range(200):
        refused(path, kind, mutated(whole, np.random.default_rng(seed)))


def refused(path: Path, kind: str, damaged: bytes) -> None:
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match=rf"{path.name}: ") as caught, sealed.opened(path, kind):
        pass
    assert "\n" not in str(caught.value)


def test_damaged_segment(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    flip(run.path / "segments" / "000001.h5", 2000)
    read = RunDirectory(run.path).read_checkpoint()
    assert read.attrs["step"] == 1
    assert "000001.h5: damaged: its bytes do not match its checksum" in read.warning
    flip(run.path / "segments" / "000000.h5", 2000)
    with pytest.raises(StorageError, match=r"000000\.h5: damaged.*no usable checkpoint") as caught:
        RunDirectory(run.path).read_checkpoint()
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_segments(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    first, second = run.path / "segments" / "000000.h5", run.path / "segments" / "000001.h5"
    shutil.copy(first, second)  # whole, but not the one that is listed
    assert "000001.h5: is not the file that the checkpoint lists" in RunDirectory(run.path).read_checkpoint().warning
    second.unlink()
    assert "000001.h5: missing" in RunDirectory(run.path).read_checkpoint().warning
    first.unlink()
    with pytest.raises(StorageError, match=r"000000\.h5: missing"):
        RunDirectory(run.path).read_checkpoint()


def test_both_checkpoints_damaged(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    flip(run.path / "checkpoint.h5", 700)
    (run.path / "checkpoint.prev.h5").write_bytes(b"")
    before = files(run.path)
    for action in (lambda r: r.read_checkpoint(), lambda r: r.clean(), lambda r: checkpoint(r, 3, [])):
        with pytest.raises(StorageError, match=r"checkpoint\.h5: damaged.*checkpoint\.prev\.h5: damaged.*backup"):
            action(RunDirectory(run.path))
    assert files(run.path) == before


def test_the_only_checkpoint_damaged(tmp_path):
    run = new_run(tmp_path / "run")
    checkpoint(run, 1, [])
    flip(run.path / "checkpoint.h5", 700)
    with pytest.raises(StorageError, match=r"checkpoint\.h5: damaged"):
        RunDirectory(run.path).read_checkpoint()


@pytest.mark.parametrize("read_first", [True, False])
def test_a_damaged_checkpoint_never_replaces_the_good_one(tmp_path, read_first):
    run = two_checkpoints(tmp_path / "run")
    flip(run.path / "checkpoint.h5", 700)
    again = RunDirectory(run.path)
    segments = again.read_checkpoint().segments if read_first else []
    checkpoint(again, 3, segments)
    assert step_of(run.path) == 3
    (run.path / "checkpoint.h5").unlink()
    assert step_of(run.path) == 1
    checkpoint(again, 4, segments)
    checkpoint(again, 5, segments)
    (run.path / "checkpoint.h5").unlink()
    assert step_of(run.path) == 4


def test_damaged_results(tmp_path):
    run = two_checkpoints(tmp_path / "run")
    run.write_results(CONSTANTS, None, ROOT_ATTRS, run.read_checkpoint().segments)
    flip(run.path / "results.h5", 5000)
    with pytest.raises(StorageError, match=r"results\.h5: damaged"):
        read_dataset(run.path)


def test_files_of_another_kind_or_version(tmp_path, monkeypatch):
    run = two_checkpoints(tmp_path / "run")
    shutil.copy(run.path / "segments" / "000000.h5", run.path / "checkpoint.prev.h5")
    monkeypatch.setattr(sealed, "FORMAT_VERSION", FORMAT_VERSION + 1)
    with pytest.raises(StorageError, match=r"has format version 2, this mcmc reads version 3.*is a segment file"):
        RunDirectory(run.path).read_checkpoint()


def test_the_seal_can_be_checked_by_hand(tmp_path):
    path = two_checkpoints(tmp_path / "run").path / "checkpoint.h5"
    line = subprocess.run(f"head -c -128 {path} | sha256sum", shell=True, capture_output=True, text=True).stdout
    seal = path.read_bytes()[-128:].decode()
    assert seal.split() == ["mcmc", "checkpoint", f"format_version={FORMAT_VERSION}", f"sha256={line.split()[0]}"]
