"""Damaged HDF5 files of a user: one line or sound data, in bounded time, and the process lives on.

A child reads them (mcmc/hdf5.py). Here it is mostly a fork of the test, which saves the start of an interpreter.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from mcmc import hdf5
from mcmc.data import load_file
from mcmc.errors import ConfigError
from mutations import mutated

P, N = 60, 7
REAL = np.random.default_rng(1).normal(size=(P, N))
SIGNS = np.where(REAL > 0, 1, -1)
LABELS = np.where(REAL[:, 0] > 0.3, 1, -1)
TEACHER = np.array([1, -1, 1, 1, -1, -1, 1])


def load(path: Path, **options):
    return load_file(path, **{"classification": True, "n_inputs": N, **options})


def refusal(path: Path) -> str | None:
    """The one line that a file gets; None if it can be used, and then it keeps what was promised."""
    try:
        instance = load(path)
    except ConfigError as error:
        line = str(error)
        assert line.startswith("data.")
        assert str(path) in line
        assert line.isprintable()
        assert len(line) < 800
        return line
    dense = instance.inputs.dense()
    assert np.isfinite(dense).all()
    assert dense.shape == (len(instance.labels), N)
    assert set(instance.labels.tolist()) <= {-1.0, 1.0}
    assert instance.teacher is None or set(instance.teacher.tolist()) <= {-1, 1}
    return None


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str], _: object) -> tuple[int, bytes, bytes]:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                faulthandler.disable()
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                with open(write, "w") as file:
                    file.write(json.dumps(hdf5._answer(*json.loads(arguments[-1]))))
                    file.flush()
                    os._exit(0)
            finally:
                os._exit(1)
        os.close(write)
        with open(read, "rb") as file:
            said = file.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code, said, b"the fork failed"

    monkeypatch.setattr(hdf5, "_run", run)


# --- good files of many kinds, and what becomes of them ---


def plain(file: h5py.File) -> None:
    file["inputs"], file["labels"], file["teacher"] = REAL, LABELS, TEACHER


def chunked(file: h5py.File) -> None:
    options = {"chunks": (13, 4), "compression": "gzip", "shuffle": True, "fletcher32": True}
    file.create_dataset("inputs", data=SIGNS, **options)
    file.create_dataset("labels", data=LABELS.astype("f4"), chunks=(7,), compression="lzf", maxshape=(None,))


def grouped(file: h5py.File) -> None:
    """Links of all kinds, strings, references, attributes, and many names."""
    group = file.create_group("task/deep")
    group["x"], group["y"] = REAL.astype(">f8"), LABELS.astype("i1")
    group["back"], group["names"] = file["task"], ["a", "bc"] * 20
    file["inputs"], file["labels"] = h5py.SoftLink("/task/deep/x"), group["y"]
    file["loop"], file["outside"] = h5py.SoftLink("/loop"), h5py.ExternalLink("other.h5", "/x")
    file.create_dataset("reference", data=group.ref, dtype=h5py.ref_dtype)
    for number in range(40):
        file.attrs[f"attribute {number}"] = "text" * number
        file[f"more/{number}"] = number


def compact(file: h5py.File) -> None:
    def put(name: str, values: np.ndarray) -> None:
        kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kind.set_layout(h5py.h5d.COMPACT)
        space, dtype = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype, logical=True)
        h5py.h5d.create(file.id, name.encode(), dtype, space, kind).write(h5py.h5s.ALL, h5py.h5s.ALL, values)

    put("inputs", REAL)
    put("labels", LABELS)


GOOD = [(make, version) for make in (plain, chunked, grouped, compact) for version in ("earliest", "latest")]


def contents(make, version: str, path: Path) -> bytes:
    with h5py.File(path, "w", libver=version) as file:
        make(file)
    return path.read_bytes()


@pytest.mark.parametrize(("make", "version"), GOOD)
def test_the_good_files(make, version: str, forked: None, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    contents(make, version, path)
    instance = load(path)
    np.testing.assert_array_equal(instance.inputs.dense(), SIGNS if make is chunked else REAL)
    np.testing.assert_array_equal(instance.labels, LABELS)


@pytest.mark.parametrize("n_each", [40, pytest.param(500, marks=pytest.mark.faults)])
@pytest.mark.parametrize(("make", "version"), GOOD)
def test_mutated_files(make, version: str, n_each: int, forked: None, monkeypatch, tmp_path: Path) -> None:
    """What a flip has changed among the values cannot be known; all else is refused, or read as it was."""
    monkeypatch.setattr(hdf5, "_SECONDS", 5)
    path = tmp_path / "a.h5"
    whole = contents(make, version, path)
    refused = 0
    for seed in range(n_each):
        path.write_bytes(mutated(whole, np.random.default_rng(seed)))
        refused += str(path) in (refusal(path) or "")
    assert refused > 0.1 * n_each


@pytest.mark.faults
@pytest.mark.parametrize(("make", "version"), GOOD)
def test_mutated_files_and_the_real_child(make, version: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hdf5, "_SECONDS", 20)
    path = tmp_path / "a.h5"
    whole = contents(make, version, path)
    for seed in range(50):
        path.write_bytes(mutated(whole, np.random.default_rng([seed, 1])))
        refusal(path)


# --- files that ask for what no data set asks for ---


def declared(shape: tuple[int, ...], dtype="f8", **options):
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("inputs", shape, dtype, **options)
            file["labels"] = LABELS

    return make


def fifo(path: Path) -> None:
    """Its values are in another file, whose reader waits for ever."""
    os.mkfifo(path.with_name("pipe"))
    external = [(path.with_name("pipe"), 0, h5py.h5f.UNLIMITED)]
    with h5py.File(path, "w") as file:
        file.create_dataset("inputs", data=None, shape=(P, N), dtype="f8", external=external)
        file["labels"] = LABELS


def named(**arrays):
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values

    return make


ODD = {
    "too many rows": (declared((2**50, N)), "GB are free"),
    "too many rows, chunked": (declared((2**50, N), chunks=(64, N)), "GB are free"),
    "more than 2**64 bytes": (declared((2**61, N), chunks=(64, N)), "GB are free"),
    "a fifo": (fifo, "did not end within 1 s"),
    "soft link to itself": (named(inputs=h5py.SoftLink("/inputs"), labels=LABELS), "(too many links)"),
    "soft link to nothing": (named(inputs=h5py.SoftLink("/x"), labels=LABELS), "has no array 'inputs'"),
    "external link to nothing": (named(inputs=h5py.ExternalLink("no.h5", "x")), "has no array 'inputs'"),
    "compound": (named(inputs=np.zeros(P, [("a", "f8"), ("b", "i4")]), labels=LABELS), "got type |V12"),
    "fixed strings": (named(inputs=REAL.astype("S8"), labels=LABELS), "got type |S8"),
    "references": (declared((P, N), h5py.ref_dtype), "got type object"),
    "lists": (declared((P, N), h5py.vlen_dtype(np.float64)), "got type object"),
    "complex": (named(inputs=REAL * 1j, labels=LABELS), "got type complex128"),
    "a scalar": (named(inputs=3.0, labels=LABELS), "got shape ()"),
    "empty": (named(inputs=np.zeros((0, N)), labels=LABELS), "got shape (0, 7)"),
    "nan": (named(inputs=REAL * np.nan, labels=LABELS), "got nan at [0, 0]"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_files(case: str, forked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make, expected = ODD[case]
    monkeypatch.setattr(hdf5, "_SECONDS", 1 if case == "a fifo" else 60)
    make(tmp_path / "a.h5")
    began = time.monotonic()
    assert expected in refusal(tmp_path / "a.h5")
    assert time.monotonic() - began < 30


# --- the child itself ---


def test_the_child_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the launcher's variables, no descriptors; signals to the whole job and a crash are survived."""
    for name in ("PMI_FD", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "HYDRA_X", "LD_PRELOAD"):
        monkeypatch.setenv(name, "" if name == "LD_PRELOAD" else "7")
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    left = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(left, True)
    program = tmp_path / "child.py"
    program.write_text(
        "import json, os; print(json.dumps({'error': ' '.join([*os.environ, *os.listdir('/proc/self/fd')])}))"
    )
    monkeypatch.setattr(hdf5, "__file__", str(program))
    (tmp_path / "a.h5").touch()
    with pytest.raises(hdf5.UnreadableError) as said:
        hdf5.read(tmp_path / "a.h5", ["inputs"])
    os.close(left)
    words = str(said.value).split()
    assert [word for word in words if word.startswith(("PMI", "OMPI", "SLURM", "HYDRA", "LD_PRE"))] == []
    assert {"PATH", "PYTHONPATH", "HDF5_USE_FILE_LOCKING"} <= set(words)
    assert len([word for word in words if word.isdigit()]) == 5  # three standard ones, the memory, and the listing


def test_signals_to_the_whole_job(tmp_path: Path) -> None:
    """From its first moment on the child leaves them to its parent."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["inputs"] = np.eye(3)
    read, n_sent = [], 0
    reader = threading.Thread(target=lambda: read.append(hdf5.read(tmp_path / "a.h5", ["inputs"])))
    reader.start()
    while reader.is_alive():
        for child in Path(f"/proc/self/task/{reader.native_id}/children").read_text().split():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.kill(int(child), number)
                n_sent += 1
        time.sleep(1e-3)
    assert n_sent > 0
    [(arrays, _)] = read
    assert np.array_equal(arrays["inputs"], np.eye(3))


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("import os; os.abort()", "(the HDF5 library crashed on it, SIGABRT)"),
        ("import os; os.kill(os.getpid(), 11)", "(the HDF5 library crashed on it, SIGSEGV)"),
        ("import signal, time; signal.alarm(1); time.sleep(60)", "(did not end within 60 s)"),
        ("import os; os.kill(os.getpid(), 9)", "(its reader was killed, perhaps for want of memory)"),
        ("import no_such_module", "(its reader failed: ModuleNotFoundError: No module named 'no_such_module')"),
        ("raise SystemExit(3)", "(its reader failed: exit code 3)"),
        ("print('{')", "cannot be read as .h5 ("),
    ],
)
def test_a_child_that_fails(program: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(program)
    (tmp_path / "a.h5").touch()
    monkeypatch.setattr(hdf5, "__file__", str(tmp_path / "child.py"))
    assert expected in refusal(tmp_path / "a.h5")


def test_memory_is_limited(forked: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing but the arrays may take more than a fixed amount."""

    def greedy(*_: object) -> list[int]:
        return [len(bytes(2 << 30))]

    monkeypatch.setattr(h5py.File, "visititems", greedy)
    contents(plain, "latest", tmp_path / "a.h5")
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert "(MemoryError)" in refusal(tmp_path / "a.h5")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
