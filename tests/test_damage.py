"""Every file of a run, damaged in every way, through every command: one line or the right numbers.

What may be read as right is known: the results of the uninterrupted run, and the summaries of its two checkpoints.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcmc import engine, lock
from mcmc.cli import run_command
from running import assert_same_results, status, write_run_file

CHANGES = {"data.n_instances": 2, "schedule": {"sweeps": 60, "burn_in": 4, "measure_every": 4}}
STATES = ("young", "stopped", "complete")
"""Young: stopped after a checkpoint, before the first row."""


def half(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def deleted(path: Path, _: Path) -> None:
    path.unlink()


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path, _: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def of_another_run(path: Path, other: Path) -> None:
    """The same place in a run that differs in its seed."""
    path.unlink()
    if other.exists():
        shutil.copy(other, path)


def a_directory(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def wrong_types(path: Path, _: Path) -> None:
    """For what is JSON: all is there and nothing is what it should be."""
    names = status(path.parent) if path.name == "status.json" else {"host": 0, "machine": 0, "pid": 0, "start": 0}
    path.write_text(json.dumps({name: ["x", {}] for name in names}))


DAMAGES = (half, flipped, deleted, empty, noise, of_another_run, a_directory, wrong_types)
KINDS: dict[str, Callable[[Path], list[str]]] = {
    "checkpoint": lambda out: ["checkpoint.h5"],
    "previous": lambda out: ["checkpoint.prev.h5"],
    "both": lambda out: ["checkpoint.h5", "checkpoint.prev.h5"],
    "first segment": lambda out: segments(out)[:1],
    "last segment": lambda out: segments(out)[-1:],
    "checkpoints and segments": lambda out: ["checkpoint.h5", "checkpoint.prev.h5", *segments(out)],
    "results": lambda out: ["results.h5"],
    "run.toml": lambda out: ["run.toml"],
    "status": lambda out: ["status.json"],
    "log": lambda out: ["run.log"],
    "lock": lambda out: ["lock"],
}

NOT_COMPARED = ("previous", "status", "log", "lock")
"""Kinds of which `verify` may say that all is well."""


def cases() -> Iterator[object]:
    """Short: half of a file, and that of another run, where that matters most. The rest is the long form."""
    for kind, damage, state in itertools.product(KINDS, DAMAGES, STATES):
        is_json = kind in ("status", "lock")
        if (damage is wrong_types and not is_json) or (kind == "results" and state != "complete"):
            continue
        is_short = state == ("complete" if kind == "results" else "stopped")
        is_short &= damage in (half, of_another_run) or (damage is wrong_types and is_json)
        marks = () if is_short else pytest.mark.faults
        yield pytest.param(kind, damage, state, id=f"{kind}-{damage.__name__}-{state}", marks=marks)


def segments(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in (out / "segments").iterdir())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories STATE and STATE of another seed, "other-STATE"."""
    directory = tmp_path_factory.mktemp("runs")
    stretch, engine._STRETCH = engine._STRETCH, 1e-9
    try:
        for prefix, seed in (("", 11), ("other-", 12)):
            file, out = write_run_file(directory / f"{prefix}run.toml", CHANGES | {"seed": seed}), directory / "out"
            command = ["run", str(file), "-o", str(out), "--quiet"]
            for state, sweep in (("young", 2), ("stopped", 26)):
                while status(out).get("sweep", 0) < sweep:
                    assert run_command([*command, "--walltime", "0.000001"]) == 75
                shutil.copytree(out, directory / f"{prefix}{state}")
            assert run_command(command) == 0
            out.rename(directory / f"{prefix}complete")
    finally:
        engine._STRETCH = stretch
    return directory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that cannot be read is watched for a minute."""
    for name, seconds in (("_BEAT", 0.01), ("_SILENT", 0.05)):
        monkeypatch.setattr(lock, name, seconds)


def summaries(out: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """Those of the run as it is, and from its checkpoints alone, the newest and the one before."""
    for doomed in ("", "results.h5", "checkpoint.h5"):
        if doomed:
            (out / doomed).unlink(missing_ok=True)
        if run_command(["summary", str(out), "--json"]) == 0:
            yield capsys.readouterr().out
    capsys.readouterr()


@pytest.mark.parametrize(("kind", "damage", "state"), list(cases()))
def test_damage(
    kind: str,
    damage: Callable[[Path, Path], None],
    state: str,
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(runs / state, tmp_path / "copy"))
    allowed = {"summary": set(summaries(copy, capsys))}
    shutil.copytree(runs / state, tmp_path / "out")
    if kind == "lock":
        (tmp_path / "out" / "lock").write_bytes(lock._signature())
    names = [name for name in KINDS[kind](tmp_path / "out") if (tmp_path / "out" / name).exists()]
    if not names:
        pytest.skip("there is none")
    for name in names:
        damage(tmp_path / "out" / name, runs / f"other-{state}" / name)
    for command in ("status", "summary", "verify", "run"):
        out = Path(shutil.copytree(tmp_path / "out", tmp_path / command))
        told = {
            "status": ["status", str(out)],
            "summary": ["summary", str(out), "--json"],
            "verify": ["verify", str(out), "--quiet"],
            "run": ["run", str(runs / "run.toml"), "-o", str(out), "--quiet"],
        }[command]
        code = run_command(told)
        said = capsys.readouterr()
        wrong = [line for line in said.err.splitlines() if not line.startswith("mcmc: warning: ")]
        assert code in (0, 2, 3), (command, said.err)
        assert len(wrong) == (code != 0), (command, said.err)
        assert code == 0 or str(out) in wrong[0], (command, said.err)
        if command == "verify":
            assert code in ((0, 3) if kind in NOT_COMPARED else (3,)), said.err
        if command == "summary" and code == 0:
            assert said.out in allowed["summary"], said.err
        if command == "run" and code == 0:
            assert_same_results(out, runs / "complete")
