"""The loop, from the Python API: a run records what its pieces give, and says in its files what happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import launchers
import mcmc
from mcmc import config, data, engine, forecast
from mcmc.architectures import Architecture
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.part import Part
from mcmc.priors import Ising, unpack
from mcmc.problem import Problem
from mcmc.samplers import SAMPLERS
from mcmc.storage import RunDirectory
from running import MCMC, assert_same_results, status, tables, write_run_file

BETA = np.array([0.3, 0.7, 1.1, 1.5])


def opened(out: Path, group: str | None = None) -> xr.Dataset:
    with xr.open_dataset(out / "results.h5", engine="h5netcdf", group=group) as dataset:
        return dataset.load()


# --- what is recorded ---


def test_a_run_is_its_pieces(tmp_path: Path) -> None:
    """Data, model, sampler and exchange used by hand give the numbers of results.h5."""
    found = mcmc.run(tables({"data.n_instances": 2}), tmp_path / "out", quiet=True).dataset
    assert found["sweep"].to_numpy().tolist() == list(range(10, 121, 10))
    for number in range(2):
        instance = data.teacher_instance(11, number, 33, 26)  # floor(0.8 * 33 + 1/2) patterns
        block = MODELS["perceptron"](Architecture("perceptron", 33), Loss("error-count")).block(
            instance, Ising().walkers(11, number, range(8), 4, 1, 33)
        )
        chain = SAMPLERS["metropolis"]().chain(
            block, seed=11, beta=BETA, instance=number, n_copies=2, exchange_every=1, burn_in=40, measure_every=10
        )
        chain.advance(1, 120)
        energy, walker_at, accepted, bits = chain.take().values()
        here = found.isel(instance=number)
        walker = 4 * np.arange(2)[:, None] + walker_at
        assert np.array_equal(here["walker"], walker_at)
        assert np.array_equal(here["energy"], np.take_along_axis(energy, walker.reshape(12, -1), 1).reshape(12, 2, 4))
        assert np.array_equal(here["acceptance"], accepted / (10 * 33))
        weights = np.array([unpack(row[w, 0], 33) for row, w in zip(bits, walker, strict=True)]).astype(float)
        assert np.allclose(here["teacher_overlap"], (weights * instance.teacher).mean(-1), rtol=0, atol=1e-15)
        assert np.allclose(here["overlap"][:, 0], (weights[:, 0] * weights[:, 1]).mean(-1), rtol=0, atol=1e-15)
        assert np.allclose(here["magnetisation"], weights[4:].mean(0), rtol=0, atol=1e-15)  # sweeps 50 ... 120
        assert np.array_equal(here["exchange_accepted"], chain.exchange_accepted)
        stored = opened(tmp_path / "out", "data").isel(instance=number)
        assert np.array_equal(stored["inputs"], instance.inputs.dense())
        assert np.array_equal(stored["labels"], instance.labels)
        assert np.array_equal(stored["teacher"], instance.teacher)


@pytest.mark.parametrize(("every", "burn_in", "sweeps"), [(1, 0, 20), (3, 7, 25), (4, 19, 20), (30, 0, 20)])
def test_exchanges_are_counted_after_burn_in(every: int, burn_in: int, sweeps: int, tmp_path: Path) -> None:
    """Round r = s / exchange_every tries the pairs (s, s+1) with s % 2 == r % 2."""
    schedule = {"sweeps": sweeps, "burn_in": burn_in, "measure_every": 1}
    found = mcmc.run(tables({"schedule": schedule, "ladder.exchange_every": every}), tmp_path, quiet=True).dataset
    rounds = [sweep // every for sweep in range(burn_in + 1, sweeps + 1) if sweep % every == 0]
    expected = [sum(r % 2 == swap % 2 for r in rounds) for swap in range(3)]
    assert (found["exchange_proposed"] == expected).all()
    assert (found["exchange_accepted"] <= found["exchange_proposed"]).all()


def test_walkers_move_by_accepted_exchanges_alone(tmp_path: Path) -> None:
    schedule = {"sweeps": 60, "burn_in": 0, "measure_every": 1}
    found = mcmc.run(tables({"schedule": schedule}), tmp_path, quiet=True).dataset
    walker = found["walker"].to_numpy()[0]  # (sample, copy, rung)
    assert np.array_equal(np.sort(walker, axis=-1), np.broadcast_to(np.arange(4), walker.shape))
    before = np.concatenate([np.broadcast_to(np.arange(4), (1, 2, 4)), walker[:-1]])
    swapped = (walker[..., :-1] == before[..., 1:]) & (walker[..., 1:] == before[..., :-1])
    assert np.array_equal(swapped.sum(axis=0), found["exchange_accepted"][0])


def test_beta_zero_is_the_heat_bath(tmp_path: Path) -> None:
    """Metropolis would accept every flip, and keep the parity of the state."""
    found = mcmc.run(tables({"ladder": {"beta": [0.0, 1e-12]}}), tmp_path, quiet=True).dataset
    acceptance = found["acceptance"].mean(["instance", "sample", "copy"])
    assert abs(acceptance[0] - 0.5) < 0.05  # 4000 flips: six standard errors
    assert acceptance[1] == 1


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"ladder.n_copies": 1}, {"overlap"}),
        ({"ladder.beta": [1.0]}, {"exchange_accepted", "exchange_proposed"}),
        ({"data.source": "random"}, {"teacher_overlap"}),
        ({}, set()),
    ],
)
def test_what_does_not_exist_is_absent(changes: dict[str, Any], absent: set[str], tmp_path: Path) -> None:
    found = mcmc.run(tables(changes), tmp_path, quiet=True).dataset
    all_of_them = {"overlap", "exchange_accepted", "exchange_proposed", "teacher_overlap"}
    assert all_of_them - set(found.variables) == absent
    assert "test_error" not in found
    assert ("teacher" in opened(tmp_path, "data")) == ("teacher_overlap" not in absent)


@pytest.mark.parametrize(
    ("start", "n_copies", "names"),
    [("random", 2, "random random"), ("teacher", 1, "teacher"), ("both", 3, "random teacher teacher")],
)
def test_starts(start: str, n_copies: int, names: str, tmp_path: Path) -> None:
    """At a large beta a planted copy stays at E = 0, R = 1."""
    changes = {"schedule.start": start, "ladder": {"beta": [8.0], "n_copies": n_copies}, "data.alpha": 3.0}
    found = mcmc.run(tables(changes), tmp_path, quiet=True).dataset
    assert [str(name) for name in found["start"].to_numpy()] == names.split()
    planted = found["start"].to_numpy() == "teacher"
    assert (found["energy"].isel(copy=planted) == 0).all()
    assert (found["teacher_overlap"].isel(copy=planted) == 1).all()
    if not planted.all():
        assert (found["teacher_overlap"].isel(sample=0, copy=~planted) < 1).all()


def test_walkers_of_neighbouring_ladders_agree(tmp_path: Path) -> None:
    """Without exchange a rung does not know of the others, nor a copy, nor an instance."""
    free = {"ladder.exchange_every": 0}
    large = mcmc.run(tables({"data.n_instances": 2} | free), tmp_path / "large", quiet=True).dataset
    small = mcmc.run(tables({"ladder": {"beta": [0.3], "n_copies": 1}}), tmp_path / "small", quiet=True).dataset
    assert np.array_equal(large["energy"].to_numpy()[:1, :, :1, :1], small["energy"])


# --- results ---


def test_results_open_in_xarray(tmp_path: Path) -> None:
    mcmc.run(tables({"data.n_instances": 2}), tmp_path, quiet=True)
    root, group = opened(tmp_path), opened(tmp_path, "data")
    assert set(root.coords) == {"beta", "sweep"}
    assert dict(root.sizes) == {
        "instance": 2, "sample": 12, "copy": 2, "rung": 4, "pair": 1, "swap": 3, "weight": 33,
    }  # fmt: skip
    assert dict(group.sizes) == {"instance": 2, "pattern": 26, "input": 33, "teacher_weight": 33}
    assert all({"units", "long_name"} <= set(variable.attrs) for variable in [*root.variables.values()])
    attributes = {"format_version": 2, "mcmc_version": mcmc.__version__, "seed": 11, "burn_in": 40}
    attributes |= {"n_weights": 33, "n_patterns": 26, "complete": 1}
    assert {name: root.attrs[name] for name in attributes} == attributes
    assert root.attrs["run_toml"] == (tmp_path / "run.toml").read_text()


def test_data_need_not_be_stored(tmp_path: Path) -> None:
    mcmc.run(tables({"output.store_data": False}), tmp_path, quiet=True)
    with h5py.File(tmp_path / "results.h5") as file:
        assert "data" not in file


def test_rows_that_fill_the_memory_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mcmc.run(tables(), tmp_path / "whole", quiet=True)
    monkeypatch.setattr(engine, "_STRETCH", 1e-4)
    monkeypatch.setattr(engine, "_ROWS_BYTES", 1)
    checkpoints, write = [], RunDirectory.write_checkpoint
    monkeypatch.setattr(RunDirectory, "write_checkpoint", lambda *args: checkpoints.append(write(*args)))
    mcmc.run(tables(), tmp_path / "pieces", quiet=True)
    assert len(checkpoints) == 1, "the states of the walkers are not written each time"
    segments = [len(list((tmp_path / name / "segments").iterdir())) for name in ("whole", "pieces")]
    assert segments[0] == 1
    assert segments[1] > 1
    assert_same_results(tmp_path / "whole", tmp_path / "pieces")


# --- the API ---


def test_run_files_dicts_and_strings_are_alike(tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml")
    for name, source in (("path", file), ("text", str(file)), ("dict", tables())):
        mcmc.run(source, str(tmp_path / name), quiet=True)
        assert_same_results(tmp_path / name, tmp_path / "path")


def test_data_lie_beside_the_run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "task.npz", inputs=np.random.default_rng(1).normal(size=(12, 9)), labels=np.ones(12))
    changes = {"data": {"source": "file", "path": "task.npz"}, "model.n_inputs": None}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    mcmc.run(write_run_file(tmp_path / "run.toml", changes), tmp_path / "out", quiet=True)
    with pytest.raises(mcmc.ConfigError, match=r"task\.npz"):
        mcmc.run(tables(changes), tmp_path / "other", quiet=True)
    monkeypatch.chdir(tmp_path)
    assert mcmc.run(tables(changes), tmp_path / "other", quiet=True).dataset.sizes["weight"] == 9


EVERY_SWEEP = {"schedule.measure_every": 1}


def test_a_stopped_run_gives_what_there_is(tmp_path: Path) -> None:
    part = mcmc.run(tables(EVERY_SWEEP), tmp_path, walltime=1e-6, quiet=True)
    assert 0 < part.dataset.sizes["sample"] < 120
    assert part.dataset.attrs["complete"] == 0
    whole = mcmc.run(tables(EVERY_SWEEP), tmp_path, quiet=True)
    n = part.dataset.sizes["sample"]
    assert np.array_equal(whole.dataset["energy"][:, :n], part.dataset["energy"])


def test_a_run_that_is_extended_shows_its_new_rows(tmp_path: Path) -> None:
    """results.h5 of the shorter run is not taken for the results of the longer one."""
    mcmc.run(tables(EVERY_SWEEP), tmp_path, quiet=True)
    more = tables(EVERY_SWEEP | {"schedule.sweeps": 100000})
    longer = mcmc.run(more, tmp_path, walltime=1e-6, quiet=True).dataset
    assert 120 < longer.sizes["sample"] < 100000
    assert longer.attrs["complete"] == 0


def test_errors_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(mcmc.ConfigError, match=r"ladder\.n_copies: got 0"):
        mcmc.run(tables({"ladder.n_copies": 0}), tmp_path / "a" / "b", quiet=True)
    with pytest.raises(mcmc.ConfigError, match=r"nothing\.toml"):
        mcmc.run(tmp_path / "nothing.toml", tmp_path / "a" / "b", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_in_a_thread(tmp_path: Path) -> None:
    """Notebooks and servers: signals are the main thread's, so the run leaves them alone."""
    found: list[mcmc.analysis.Results] = []
    thread = threading.Thread(target=lambda: found.append(mcmc.run(tables(), tmp_path, quiet=True)))
    thread.start()
    thread.join()
    assert found[0].dataset.attrs["complete"] == 1


def test_signal_handlers_are_given_back(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    mcmc.run(tables(), tmp_path, quiet=True)
    with pytest.raises(mcmc.StorageError):
        mcmc.run(tables({"seed": 1}), tmp_path, quiet=True)
    assert [signal.getsignal(number) for number in numbers] == before


# --- what it says ---


def test_quiet_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mcmc.run(tables(), tmp_path, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_what_a_run_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mcmc.run(tables(), tmp_path)
    said = capsys.readouterr()
    assert str(tmp_path / "results.h5") in said.out
    assert "sweep 120 of 120" in said.err
    log = (tmp_path / "run.log").read_text().splitlines()
    assert "sweep 0 to 120" in log[0]
    assert "complete" in log[-1]


def test_status(tmp_path: Path) -> None:
    mcmc.run(tables(), tmp_path, quiet=True)
    found = status(tmp_path)
    assert (found["state"], found["sweep"], found["sweeps"], found["ranks"]) == ("complete", 120, 120, 1)
    assert (found["hosts"], found["pid"]) == ([os.uname().nodename], os.getpid())
    assert found["started"] <= found["heartbeat"]


@pytest.mark.parametrize("error", [ZeroDivisionError("in a kernel"), MemoryError(), KeyboardInterrupt()])
def test_a_failure_is_recorded(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Part, "advance", fail)
        with pytest.raises(type(error)):
            mcmc.run(tables(), tmp_path / "out", quiet=True)
    found = status(tmp_path / "out")
    assert found["state"] == "failed"
    assert type(error).__name__ in found["message"]
    assert type(error).__name__ in (tmp_path / "out" / "run.log").read_text()
    assert mcmc.run(tables(), tmp_path / "out", quiet=True).dataset.attrs["complete"] == 1


def test_a_full_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint before stands, and the run continues from it once there is room."""
    mcmc.run(tables(), tmp_path / "whole", quiet=True)
    real, calls = RunDirectory.write_checkpoint, []

    def full(self: RunDirectory, *arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 2:
            raise mcmc.StorageError("checkpoint.h5: cannot write: No space left on device")
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_STRETCH", 1e-4)
        patch.setattr(RunDirectory, "write_checkpoint", full)
        with pytest.raises(mcmc.StorageError, match="No space left"):
            mcmc.run(tables({"checkpoint.every": 1e-6}), tmp_path / "out", quiet=True)
    assert status(tmp_path / "out")["state"] == "failed"
    mcmc.run(tables(), tmp_path / "out", quiet=True)
    assert_same_results(tmp_path / "out", tmp_path / "whole")


def test_a_real_limit_on_file_size(tmp_path: Path) -> None:
    """The kernel refuses the write (as on a full disk): one line, exit code 3, and no half-written file."""
    file = write_run_file(tmp_path / "run.toml", {"data.n_instances": 4})
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); {MCMC[2]}"
    command = [MCMC[0], "-c", code, "run", str(file), "-o", str(tmp_path / "out"), "--quiet"]
    done = launchers.run(None, 1, command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "File too large" in done.stderr
    assert status(tmp_path / "out")["state"] == "failed"
    assert not (tmp_path / "out" / "results.h5").exists()
    assert launchers.run(None, 1, [*MCMC, *command[3:]]).returncode == 0


# --- plan ---


def test_plan(tmp_path: Path) -> None:
    asked = config.load(tables({"data.n_instances": 3}))
    lines = dict(line.split(maxsplit=1) for line in forecast.of_run(asked, 5).splitlines())
    assert lines["walkers"] == "3 instances x 2 copies x 4 rungs"
    assert lines["weights"] == "33 per walker (perceptron), 26 patterns"
    assert lines["ranks"] == "5, 5 walkers on the busiest, 0 idle"
    assert lines["proposals"] == f"{3 * 8 * 33 * 120:.3g}"
    assert "2 idle" in forecast.of_run(config.load(tables({"ladder": {"beta": [1.0], "n_copies": 3}})), 5)


@pytest.mark.parametrize("changes", [{}, {"model.loss.name": "hinge"}, {"model.loss.name": "square"}])
@pytest.mark.parametrize("inputs", ["binary", "gaussian"])
def test_memory_of_the_plan_is_what_a_part_takes(changes: dict[str, Any], inputs: str) -> None:
    """Within a factor of two, from the memory that the arrays of one part hold."""
    import tracemalloc

    from mcmc.parallel import Piece, Serial

    big = {"model.n_inputs": 501, "data.alpha": 2.0, "data.inputs": inputs, "ladder.beta": [1.0]}
    problem = Problem(config.load(tables(big | changes)))
    tracemalloc.start()
    part = Part(problem, Piece(0, 0, problem.n_walkers), Serial())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert part.block.energy.size == 2
    assert 0.5 * held < problem.memory(2, 1) < 2 * held


def test_stretches_do_not_grow_beyond_the_memory_for_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    real = Part.advance

    def note(self: Part, first: int, last: int) -> None:
        lengths.append(last - first + 1)
        real(self, first, last)

    monkeypatch.setattr(Part, "advance", note)
    monkeypatch.setattr(engine, "_STRETCH_BYTES", 100)  # less than 8 walkers x 33 bits times 4
    mcmc.run(tables(), tmp_path, quiet=True)
    assert sum(lengths) == 120
    assert max(lengths) == 30


# --- a directory that has lost files ---


def test_results_without_a_checkpoint_are_not_overwritten(tmp_path: Path) -> None:
    mcmc.run(tables(), tmp_path, quiet=True)
    for file in tmp_path.glob("checkpoint*.h5"):
        file.unlink()
    with pytest.raises(mcmc.StorageError, match="holds results but no checkpoint"):
        mcmc.run(tables(), tmp_path, quiet=True)
    assert (tmp_path / "results.h5").exists()
    assert list((tmp_path / "segments").glob("*.h5"))


def test_damaged_results_are_made_again(tmp_path: Path) -> None:
    whole = mcmc.run(tables(), tmp_path, quiet=True).dataset
    file = tmp_path / "results.h5"
    file.write_bytes(file.read_bytes()[:-200])
    assert mcmc.run(tables(), tmp_path, quiet=True).dataset.identical(whole)


def test_slow_sweeps_stop_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stretch is one sweep: a stop is never far, however wrong a guess of the speed would have been."""
    sweeps: list[int] = []
    real = Part.advance

    def slow(self: Part, first: int, last: int) -> None:
        sweeps.append(last)
        time.sleep(0.2 * (last - first + 1))
        real(self, first, last)

    monkeypatch.setattr(Part, "advance", slow)
    mcmc.run(tables(EVERY_SWEEP), tmp_path, walltime=0.3, quiet=True)
    assert sweeps[-1] <= 5
