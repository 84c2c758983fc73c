"""`mcmc verify`: what has been run is confirmed, and whatever was changed is found and named."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tomli_w

import launchers
from launchers import Launcher
from mcmc import engine
from mcmc.cli import run_command
from mcmc.kernels import cpu
from mcmc.verify import verify
from running import CASES, DRIVE, MCMC, status, tables, wait_for, write_cases, write_run_file


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


@pytest.mark.parametrize("case", CASES)
def test_all_cases(case: str, cases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert run_command(["verify", str(tmp_path / "out"), "--from-checkpoint"]) == 2
    assert "checkpoint.prev.h5" in capsys.readouterr().err


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


def test_interrupts_leave_nothing(tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml", {"schedule.sweeps": 300_000, "model.n_inputs": 301})
    assert run(file, tmp_path / "out", "--walltime", "4") in (0, 75)
    space = tmp_path / "space"
    space.mkdir()
    env = os.environ | {"TMPDIR": str(space)}
    with launchers.started(None, 1, [*MCMC, "verify", str(tmp_path / "out")], env=env) as process:
        wait_for(lambda: list(space.glob("mcmc-verify-*/replay/checkpoint.h5")) or list(space.glob("*/*/status.json")))
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.communicate()[1].endswith("mcmc: error: interrupted\n")
    assert list(space.iterdir()) == []


def test_progress(complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", str(complete)]) == 0
    assert "sweep 120 of 120" in capsys.readouterr().err
    assert not list(Path(tempfile.gettempdir()).glob("mcmc-verify-*"))
