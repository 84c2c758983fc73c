"""`mcmc verify`: what has been run is confirmed, and whatever was changed is found and named."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tomli_w

import diverging
import launchers
from launchers import Launcher
from mcmc import engine
from mcmc import verify as verifying
from mcmc.cli import run_command
from mcmc.kernels import cpu
from mcmc.verify import verify
from running import DRIVE, LONG_RUN, SLOW_MCMC, status, tables, wait_for, write_cases, write_run_file

SEVERAL = (
    *("error-count", "one-walker", "hinge-real", "two-times", "waiting-time", "auto", "snapshots-committee", "file"),
    *("data-not-stored", "constraint-file", "tree-committee", "gaussian-mala-mass", "gaussian-sgld", "spherical-hmc"),
    "gaussian-second-layer-flips",
)
"""Of each kind one: test_invariance.py and test_resume.py have all cases."""


def run(file: Path, out: Path, *options: str) -> int:
    return run_command(["run", str(file), "-o", str(out), "--quiet", *options])


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.stem: path for path in write_cases(tmp_path_factory.mktemp("verify-cases"))}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two instances with a checkpoint in between."""
    directory = tmp_path_factory.mktemp("verify")
    before = write_run_file(directory / "before.toml", {"data.n_instances": 2, "schedule.sweeps": 70})
    file = write_run_file(directory / "run.toml", {"data.n_instances": 2})
    assert [run(path, directory / "out") for path in (before, file)] == [0, 0]
    return directory / "out"


@pytest.fixture
def copied(complete: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(complete, tmp_path / "out"))


def change(path: Path, alter: Callable[[h5py.File], None]) -> None:
    """Changes a sealed file, and seals it again."""
    content = path.read_bytes()
    seal = content[-128:]
    path.write_bytes(content[:-128])
    with h5py.File(path, "r+") as file:
        alter(file)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content + re.sub(rb"sha256=\w+", b"sha256=" + digest, seal))


def flip_bit(file: h5py.File, name: str, index: tuple[int, ...]) -> None:
    """The lowest bit of an element."""
    values = file[name][...]
    octets = values[index].tobytes()
    values[index] = np.frombuffer(bytes([octets[0] ^ 1]) + octets[1:], values.dtype)[0]
    file[name][...] = values


# --- runs that are right ---


@pytest.mark.parametrize("case", SEVERAL)
def test_cases(case: str, cases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run at the lowest SIMD level in short stretches, replayed at the highest; a part of it, too."""
    monkeypatch.setattr(engine, "_STRETCH", 1e-7)
    level = cpu.level()
    try:
        cpu.use(cpu.available()[0])
        assert run(cases[case], tmp_path / "out") == 0
    finally:
        cpu.use(level)
    monkeypatch.undo()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    whole = verify(tmp_path / "out", quiet=True)
    assert whole.differences == []
    assert whole.n_datasets > 15
    part = verify(tmp_path / "out", fraction=0.4, quiet=True)
    assert part.differences == []
    assert 0 < part.n_rows < whole.n_rows
    between = verify(tmp_path / "out", from_checkpoint=True, quiet=True)
    assert between.differences == []
    assert 0 < between.first < between.last == whole.last
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_other_rank_counts(launcher: Launcher, cases: dict[str, Path], tmp_path: Path) -> None:
    """Begun by 3 ranks and finished by 2."""
    names = ("error-count", "hinge-real", "gaussian-mala-mass", "spherical-metropolis", "auto")
    files = [str(cases[name]) for name in names]
    for n_ranks, options in ((3, ["--stop", "1e-4"]), (2, ["10"])):
        done = launchers.run(launcher, n_ranks, [*DRIVE, *options, *files, str(tmp_path)], timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        assert verify(tmp_path / name, quiet=True).differences == []


def test_the_command(complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(complete)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{complete}: identical: ")
    assert "12 rows after sweep 0, up to sweep 120; " in said
    assert run_command(["verify", str(complete), "--from-checkpoint"]) == 0
    assert "5 rows after sweep 70, up to sweep 120; " in capsys.readouterr().out
    assert run_command(["verify", str(complete), "--fraction", "0.5"]) == 0
    assert f"{complete}: identical: rows only, " in capsys.readouterr().out
    assert run_command(["verify", str(complete), "--fraction", "0.5", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    for options in (["--fraction", "0"], ["--fraction", "1.5"], ["--fraction", "nan"]):
        assert run_command(["verify", str(complete), *options]) == 2
        assert "--fraction: got" in capsys.readouterr().err
    assert run_command(["verify", str(complete), "--fraction", "0.5", "--from-checkpoint"]) == 2


@pytest.mark.parametrize("case", ["hinge-real", "auto", "gaussian-mala-mass", "two-times"])
def test_interrupted(
    case: str,
    cases: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a run that has stopped, what its checkpoint has committed; stopped twice, from its checkpoint, too."""
    monkeypatch.setattr(engine, "_STRETCH", 1e-7)
    out = tmp_path / "out"
    for _ in range(15):
        assert run(cases[case], out, "--walltime", "0.000001") == 75
    report = verify(out, quiet=True)
    assert report.differences == []
    assert 0 < report.last == status(out)["sweep"]
    assert verify(out, from_checkpoint=True, quiet=True).differences == []
    segment = max((out / "segments").iterdir(), default=None)
    assert segment is not None
    checkpoint = out / "checkpoint.h5"
    change(checkpoint, lambda file: flip_bit(file, "arrays/weight_sum", (0, 0, 0, 2)))
    assert run_command(["verify", str(out), "--quiet"]) == 3
    assert "weight_sum[0, 0, 0, 2]" in capsys.readouterr().err


# --- what is wrong is found ---


@pytest.mark.parametrize(
    ("name", "index", "sweep"),
    [
        ("energy", (1, 7, 0, 3), 80),
        ("overlap", (0, 0, 0, 0), 10),
        ("walker", (1, 11, 1, 2), 120),
        ("sweep", (4,), 50),
        ("magnetisation", (1, 1, 3, 32), None),
        ("exchange_accepted", (0, 1, 2), None),
        ("beta", (2,), None),
        ("data/inputs", (1, 3, 4), 0),
        ("data/labels", (0, 25), 0),
    ],
)
def test_a_flipped_bit(name: str, index: tuple[int, ...], sweep: int | None, copied: Path) -> None:
    change(copied / "results.h5", lambda file: flip_bit(file, name, index))
    (found,) = verify(copied, quiet=True).differences
    assert (found.name, found.index, found.sweep, found.file) == (name, index, sweep, "results.h5")
    assert found.found != found.replayed


def test_a_flipped_bit_of_a_snapshot(cases: dict[str, Path], tmp_path: Path) -> None:
    assert run(cases["snapshots"], tmp_path / "out") == 0
    change(tmp_path / "out" / "results.h5", lambda file: flip_bit(file, "weights/weights", (2, 1, 1, 3, 0)))
    (found,) = verify(tmp_path / "out", quiet=True).differences
    assert (found.name, found.index, found.sweep) == ("weights/weights", (2, 1, 1, 3, 0), 60)


def test_the_earliest_of_several(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def alter(file: h5py.File) -> None:
        flip_bit(file, "energy", (0, 9, 0, 0))
        flip_bit(file, "energy", (1, 5, 1, 1))
        flip_bit(file, "walker", (0, 6, 0, 0))

    change(copied / "results.h5", alter)
    assert run_command(["verify", str(copied), "--quiet"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"mcmc: error: {copied}: differs: energy[1, 5, 1, 1] at sweep 60: ")
    assert "1 more datasets differ: walker" in said.err
    assert run_command(["verify", str(copied), "--quiet", "--fraction", "0.45"]) == 0
    assert run_command(["verify", str(copied), "--quiet", "--fraction", "0.5"]) == 3
    assert run_command(["verify", str(copied), "--quiet", "--from-checkpoint"]) == 3
    assert "walker[0, 6, 0, 0] at sweep 70" not in capsys.readouterr().err


def test_missing_and_of_another_shape(copied: Path) -> None:
    def alter(file: h5py.File) -> None:
        del file["energy"]
        file["start"].attrs["long_name"] = "attributes of variables are no data"
        file.attrs["n_patterns"] = 3

    change(copied / "results.h5", alter)
    found = {difference.name: str(difference) for difference in verify(copied, quiet=True).differences}
    assert found == {
        "energy": "energy: missing in results.h5, there in the replay",
        "attribute n_patterns": "attribute n_patterns: 3 in results.h5, 26 in the replay",
    }


def test_bits_that_print_alike(copied: Path) -> None:
    def alter(file: h5py.File) -> None:
        file["acceptance"][0, 0, 0, 0] = np.array(0x7FF8000000000001, np.uint64).view(np.float64)
        file["acceptance"][0, 1, 0, 0] = np.nan

    change(copied / "results.h5", alter)
    (found,) = verify(copied, quiet=True).differences
    assert found.index == (0, 0, 0, 0)
    assert found.found == "nan"


def test_a_state_that_is_wrong(copied: Path) -> None:
    """A start from another state gives other rows: the replay does depend on it."""
    change(copied / "checkpoint.prev.h5", lambda file: flip_bit(file, "arrays/weights", (5, 0)))
    differences = verify(copied, from_checkpoint=True, quiet=True).differences
    assert differences[0].sweep == 80
    assert {"energy", "weights"} <= {difference.name for difference in differences}
    assert verify(copied, quiet=True).differences == []


def test_another_seed(copied: Path, tmp_path: Path) -> None:
    """Negative control: everything else differs with the seed of what is replayed."""
    other = tables({"data.n_instances": 2, "seed": 12})

    def alter(file: h5py.File) -> None:
        file["attrs"].attrs["run_toml"] = tomli_w.dumps(other)

    change(copied / "checkpoint.h5", alter)
    (copied / "run.toml").write_text(tomli_w.dumps(other))
    found = {difference.name for difference in verify(copied, quiet=True).differences}
    assert {"attribute seed", "data/inputs", "data/teacher", "energy", "overlap", "magnetisation"} <= found


def test_an_altered_run_file(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "run.toml").write_text(tomli_w.dumps(tables({"data.n_instances": 2, "ladder.n_copies": 3})))
    assert run_command(["verify", str(copied)]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "run.toml: has been changed since the run: ladder.n_copies was 2, is 3" in said
    (copied / "run.toml").write_text("nothing = ")
    assert run_command(["verify", str(copied)]) == 3
    (copied / "run.toml").write_text(tomli_w.dumps(tables({"data.n_instances": 2, "checkpoint.every": 7})))
    assert run_command(["verify", str(copied), "--quiet"]) == 0


def test_damaged_files(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (copied / "results.h5").read_bytes()
    (copied / "results.h5").write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    assert run_command(["verify", str(copied), "--quiet"]) == 3
    assert "do not match its checksum" in capsys.readouterr().err
    (copied / "results.h5").write_bytes(content)
    (copied / "checkpoint.h5").unlink()
    assert run_command(["verify", str(copied), "--quiet"]) == 3
    assert "checkpoint.h5: missing" in capsys.readouterr().err


def test_another_format(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied / "checkpoint.h5"
    path.write_bytes(path.read_bytes().replace(b"checkpoint format_version=2", b"checkpoint format_version=1"))
    (copied / "checkpoint.prev.h5").unlink()
    assert run_command(["verify", str(copied), "--quiet"]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "format version 1" in said


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(tmp_path)]) == 2
    assert "no run has started" in capsys.readouterr().err
    file = write_run_file(tmp_path / "run.toml")
    assert run(file, tmp_path / "out") == 0
    assert not (tmp_path / "out" / "checkpoint.prev.h5").exists()
    assert run_command(["verify", str(tmp_path / "out"), "--from-checkpoint"]) == 0
    assert "12 rows after sweep 0, up to sweep 120; " in capsys.readouterr().out


def test_rows_behind_the_end(copied: Path) -> None:
    """A row more in every series of results.h5."""

    def alter(file: h5py.File) -> None:
        for name, axis in (("sweep", 0), *((name, 1) for name in series)):
            values = file[name][...]
            del file[name]
            file[name] = np.concatenate([values, values.take([-1], axis)], axis)

    series = ("energy", "overlap", "teacher_overlap", "walker", "acceptance")
    change(copied / "results.h5", alter)
    found = {difference.name: str(difference) for difference in verify(copied, quiet=True).differences}
    assert found.keys() == {"sweep", *series}
    assert found["energy"] == "energy: shape (2, 13, 2, 4) in results.h5, shape (2, 12, 2, 4) in the replay"
    assert verify(copied, from_checkpoint=True, quiet=True).differences[0].name in found
    assert verify(copied, fraction=0.5, quiet=True).differences == []


def test_segments_beside_results(copied: Path) -> None:
    """Segments are compared even where results.h5 is right."""
    segment = sorted((copied / "segments").glob("*.h5"))[1]
    before = segment.read_bytes()[-70:-6]
    change(segment, lambda file: flip_bit(file, "energy", (1, 2, 0, 0)))
    after = re.search(rb"sha256=(\w{64})", segment.read_bytes()[-128:])[1]

    def alter(file: h5py.File) -> None:
        listed = file.attrs["segments"]
        (sha256,) = [sha256 for *_, sha256 in json.loads(listed)[1:]]
        file.attrs["segments"] = listed.replace(sha256, after.decode())

    assert before != after
    change(copied / "checkpoint.h5", alter)
    (found,) = verify(copied, quiet=True).differences
    assert (found.name, found.index, found.sweep, found.file) == ("energy", (1, 9, 0, 0), 100, "segments")


def test_results_that_are_missing(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "results.h5").unlink()
    assert run_command(["verify", str(copied), "--quiet"]) == 3
    assert "results.h5: missing, and the run is complete" in capsys.readouterr().err
    (copied / "status.json").write_text(json.dumps(status(copied) | {"state": "failed"}))  # while they were written
    assert run_command(["verify", str(copied), "--quiet"]) == 0
    (copied / "status.json").unlink()
    assert run_command(["verify", str(copied), "--quiet"]) == 3


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("run_toml", "seed = 99", "another run file"),
        ("run_toml", tomli_w.dumps(tables({"data.n_instances": 2, "seed": 99})), "another run file"),
        ("run_toml", tomli_w.dumps(tables({"data.n_instances": 2, "schedule.sweeps": 130})), "another run file"),
        ("run_toml", tomli_w.dumps(tables({"data.n_instances": 2, "checkpoint.every": 130})), None),
        ("mcmc_version", "99.0", None),
        ("complete", 0, "0"),
        ("seed", "11", "'11'"),
        ("author", "me", "'me'"),
    ],
)
def test_attributes_of_the_results(name: str, value: object, found: str | None, copied: Path) -> None:
    change(copied / "results.h5", lambda file: file.attrs.__setitem__(name, value))
    for fraction in (1.0, 0.3):
        differences = verify(copied, fraction=fraction, quiet=True).differences
        expected = [] if found is None else [(f"attribute {name}", found)]
        assert [(difference.name, difference.found) for difference in differences] == expected


def test_a_series_without_its_axes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def alter(file: h5py.File) -> None:
        del file["energy"]
        file["energy"] = np.zeros(3)

    change(copied / "results.h5", alter)
    for options in ([], ["--from-checkpoint"], ["--fraction", "0.2"]):
        assert run_command(["verify", str(copied), "--quiet", *options]) == 3
        assert "energy: shape (3,) in results.h5, shape (2, " in capsys.readouterr().err


def test_a_previous_checkpoint_of_another_run(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another size, as it is and with the right run file; walkers at no rungs; other data."""
    previous = copied / "checkpoint.prev.h5"
    before = previous.read_bytes()
    with h5py.File(previous) as file:
        text = file["attrs"].attrs["run_toml"]
    assert run(write_run_file(tmp_path / "small.toml", {"schedule.sweeps": 70}), tmp_path / "small") == 0

    def refused(reason: str) -> None:
        assert run_command(["verify", str(copied), "--quiet", "--from-checkpoint"]) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith(f"mcmc: error: {copied}")
        assert reason in said

    shutil.copy(tmp_path / "small" / "checkpoint.h5", previous)
    refused("checkpoint.prev.h5: is of another run than checkpoint.h5: data.n_instances was 1, is 2")
    change(previous, lambda file: file["attrs"].attrs.__setitem__("run_toml", text))
    refused("the checkpoint to start from holds no state of this run: ")
    previous.write_bytes(before)
    change(previous, lambda file: file["arrays/walker_at"].__setitem__((1, 0, 0), 7))
    refused("walker_at: expected permutations of the rungs")
    previous.write_bytes(before)
    change(previous, lambda file: file["attrs"].attrs.__setitem__("fingerprint", "other"))
    refused("fingerprint was 'other', is ''")


def test_blocks_of_any_size(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same difference is found in one piece and in many, along the second axis too."""
    change(copied / "results.h5", lambda file: flip_bit(file, "data/inputs", (1, 20, 4)))
    change(copied / "results.h5", lambda file: flip_bit(file, "energy", (1, 10, 1, 3)))
    whole = verify(copied, quiet=True).differences
    for size in (1, 100):
        monkeypatch.setattr(verifying, "_BLOCK", size)
        assert verify(copied, quiet=True).differences == whole
    assert [difference.index for difference in whole] == [(1, 20, 4), (1, 10, 1, 3)]


@pytest.mark.parametrize(
    ("shape", "chunks"), [((3, 50, 7), (1, 20, 7)), ((3, 50, 7), None), ((40, 3), (16, 3)), ((2, 1, 90, 2), None)]
)
def test_regions(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cover a dataset once, are small, and made of whole chunks."""
    monkeypatch.setattr(verifying, "_BLOCK", size := 1500)
    values = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        dataset = file.create_dataset("x", data=values, chunks=chunks)
        pieces = list(verifying._by_region(dataset, dataset))
    np.testing.assert_array_equal(np.concatenate([a.ravel() for _, a, _ in pieces]), values.ravel())
    assert max(a.nbytes for _, a, _ in pieces) <= size
    assert all(values[start] == a.flat[0] for start, a, _ in pieces)
    for start, _, _ in pieces:
        assert all(s % c == 0 for s, c in zip(start, chunks or start, strict=True) if c)


def test_rows_in_whole_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small a block, a chunk of a series is read once, from any row on."""
    values = np.random.default_rng(1).normal(size=(2, 100, 3))
    with h5py.File(tmp_path / "file.h5", "w") as file:
        dataset = file.create_dataset("x", data=values, chunks=(1, 16, 3))
        for size, n_rows in ((1, 16), (2000, 32)):
            monkeypatch.setattr(verifying, "_BLOCK", size)
            for first, last in ((0, 100), (21, 100), (21, 30), (32, 64)):
                blocks = list(verifying._blocks(dataset, 1, first, last))
                np.testing.assert_array_equal(np.concatenate(blocks, axis=1), values[:, first:last])
                ends = first + np.cumsum([block.shape[1] for block in blocks])
                assert (ends[:-1] % n_rows == 0).all()
                assert max(block.shape[1] for block in blocks) <= n_rows


def test_a_comparison_makes_no_copies() -> None:
    a = np.zeros((8, 200, 1000))[:, 50:150]
    b = a.copy()
    tracemalloc.start()
    try:
        assert verifying._first_difference(a, b, 1) is None
        assert tracemalloc.get_traced_memory()[1] < a.nbytes / 4
    finally:
        tracemalloc.stop()
    b[7, 99, 999] = -0.0
    assert verifying._first_difference(a, b, 1) == (7, 99, 999)


def test_a_replay_that_diverges(
    cases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run did not."""
    text = cases["gaussian-mala"].read_text() + "\n[scan]\n"
    (tmp_path / "scan.toml").write_text(text)
    assert run_command(["scan", str(tmp_path / "scan.toml"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    monkeypatch.setattr(engine, "Part", diverging.Part)
    task = tmp_path / "out" / "run"
    for directory, code in ((task, 1), (tmp_path / "out", 3)):
        assert run_command(["verify", str(directory)]) == code
        said = capsys.readouterr()
        assert f"mcmc: error: {task}: the replay has diverged: made to diverge at sweep 31\n" in said.err
    assert said.out.endswith("1 of 1 tasks are complete: 0 verified, 1 not\n")


# --- what a run was read from ---


def test_data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A relative path starts where the run file was, wherever verify is called; moved or changed data are named."""
    (tmp_path / "here").mkdir()
    (file,) = [path for path in write_cases(tmp_path / "here") if path.stem == "file"]
    assert run(file, tmp_path / "out") == 0
    monkeypatch.chdir("/")
    command = ["verify", str(tmp_path / "out"), "--quiet"]
    assert run_command(command) == 0
    (tmp_path / "here").rename(tmp_path / "there")
    assert run_command(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{tmp_path / 'here' / 'task.npz'}: no such file" in said
    assert "--relative-to" in said
    assert run_command([*command, "--relative-to", str(tmp_path / "there")]) == 0
    with np.load(tmp_path / "there" / "task.npz") as archive:
        np.savez(tmp_path / "there" / "task.npz", inputs=-archive["inputs"], labels=archive["labels"])
    assert run_command([*command, "--relative-to", str(tmp_path / "there")]) == 3
    assert "has changed since the run" in capsys.readouterr().err


def test_a_constraint_by_another_run(tmp_path: Path) -> None:
    """The reference is in the checkpoint: the other run may be gone."""
    assert run(write_run_file(tmp_path / "free.toml"), tmp_path / "free") == 0
    constraint = {"reference": "run", "path": "free", "overlap": 0.4, "beta": 0.7}
    file = write_run_file(tmp_path / "run.toml", {"constraint": constraint})
    assert run(file, tmp_path / "out") == 0
    shutil.rmtree(tmp_path / "free")
    assert verify(tmp_path / "out", quiet=True).differences == []


# --- scans, interrupts ---


def test_a_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tomli_w.dumps(tables() | {"scan": {"data.alpha": [0.5, 1.0], "seed": "1..2"}})
    (tmp_path / "scan.toml").write_text(text)
    for task in ("0", "1", "3"):
        command = ["scan", str(tmp_path / "scan.toml"), "-o", str(tmp_path / "out"), "--task", task, "--quiet"]
        assert run_command(command) == 0
    command = ["verify", str(tmp_path / "out")]
    assert run_command(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2][:9] for line in said[:3]] == ["identical"] * 3
    assert said[3] == f"{tmp_path / 'out'}: 3 of 4 tasks are complete: 3 verified, 0 not"
    broken = tmp_path / "out" / "alpha=0.5,seed=2"
    change(broken / "results.h5", lambda file: flip_bit(file, "energy", (0, 2, 0, 0)))
    assert run_command(command) == 3
    said = capsys.readouterr()
    assert f"{broken}: differs: energy[0, 2, 0, 0] at sweep 30" in said.err
    assert said.out.splitlines()[-1].endswith("2 verified, 1 not")


def test_a_scan_from_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task with one checkpoint is replayed from the start."""
    (tmp_path / "scan.toml").write_text(tomli_w.dumps(tables() | {"scan": {"seed": "1..2"}}))
    assert run_command(["scan", str(tmp_path / "scan.toml"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert run_command(["verify", str(tmp_path / "out"), "--from-checkpoint"]) == 0
    assert "2 of 2 tasks are complete: 2 verified, 0 not" in capsys.readouterr().out


def test_swapped_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Directories with the results of other tasks are named, and left out of the merged file."""
    (tmp_path / "scan.toml").write_text(tomli_w.dumps(tables() | {"scan": {"data.alpha": [0.5, 1, 1.5]}}))
    out = tmp_path / "out"
    assert run_command(["scan", str(tmp_path / "scan.toml"), "-o", str(out), "--quiet"]) == 0
    for name, other in (("alpha=0.5", "held"), ("alpha=1", "alpha=0.5"), ("held", "alpha=1")):
        (out / name).rename(out / other)
    assert run_command(["verify", str(out)]) == 3
    said = capsys.readouterr()
    assert "alpha=0.5: holds another run than the task of this name: data.alpha was 1.0, is 0.5" in said.err
    assert said.out.endswith("1 verified, 2 not\n")
    assert run_command(["merge", str(out)]) == 0
    assert (
        "alpha=1: holds another run than the task of this name: data.alpha was 0.5, is 1.0" in capsys.readouterr().err
    )
    with h5py.File(out / "scan.h5") as file:
        assert file["complete"][...].tolist() == [0, 0, 1]
        assert file.attrs["complete"] == 0
        assert np.isnan(file["energy"][:2]).all()


def test_a_scan_of_data_files_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the scan file was does not matter, which file a task has does."""
    (tmp_path / "here").mkdir()
    (file,) = [path for path in write_cases(tmp_path / "here") if path.stem == "file"]
    shutil.copy(tmp_path / "here" / "task.npz", tmp_path / "here" / "mytask.npz")
    file.write_text(file.read_text() + '\n[scan]\n"data.path" = ["task.npz", "mytask.npz"]\n')
    out = tmp_path / "out"
    assert run_command(["scan", str(file), "-o", str(out), "--quiet"]) == 0
    monkeypatch.chdir("/")
    assert run_command(["verify", str(out), "--quiet"]) == 0
    assert run_command(["merge", str(out)]) == 0
    assert capsys.readouterr().err == ""
    for name, other in (("path=task.npz", "held"), ("path=mytask.npz", "path=task.npz"), ("held", "path=mytask.npz")):
        (out / name).rename(out / other)
    assert run_command(["verify", str(out), "--quiet"]) == 3
    assert run_command(["merge", str(out)]) == 3
    assert "holds another run than the task of this name: data.path was" in capsys.readouterr().err


def test_nothing_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.toml").write_text(tomli_w.dumps(tables() | {"scan": {"seed": "1..2"}}))
    assert run_command(["verify", str(tmp_path)]) == 3
    assert "no task is complete yet" in capsys.readouterr().err


SIGNALLED = """
import os, signal
from mcmc import cli, verify

def run(self, has_results, run=verify._Comparison.run):
    os.kill(os.getpid(), signal.SIGTERM)
    run(self, has_results)

verify._Comparison.run = run
cli.main()
"""
"""The command mcmc, which is told to end as soon as a comparison begins."""


def test_a_signal_during_the_comparison(complete: Path, tmp_path: Path) -> None:
    """It leaves nothing in TMPDIR."""
    command = [sys.executable, "-c", SIGNALLED, "verify", str(complete), "--quiet"]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.endswith("mcmc: error: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_interrupts_leave_nothing(tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml", LONG_RUN | {"schedule.sweeps": 50_000})  # 20 s to replay
    assert run(file, tmp_path / "out") == 0
    space = tmp_path / "space"
    space.mkdir()
    env = os.environ | {"TMPDIR": str(space)}
    with launchers.started(None, 1, [*SLOW_MCMC, "verify", str(tmp_path / "out")], env=env) as process:
        wait_for(lambda: list(space.glob("mcmc-verify-*/replay/checkpoint.h5")) or list(space.glob("*/*/status.json")))
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.communicate()[1].endswith("mcmc: error: interrupted\n")
    assert list(space.iterdir()) == []


def test_progress(
    complete: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_command(["verify", str(complete)]) == 0
    assert "sweep 120 of 120" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
