"""HDF5 files of others, read in a process of its own.

The HDF5 library crashes, loops or allocates without bound on some damaged files. So a child reads: this file, run as a
program, which imports nothing of the package. It leaves each array in memory that both share (a memfd) and prints what
they are. It ends itself after a time, and takes no more memory than the arrays that the file declares call for.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

_SECONDS = 60
_BYTES_PER_SECOND = 5 << 20
"""Of the file, which add to the seconds that reading may take."""
_OVERHEAD = 1 << 30
"""Bytes that the child may take besides the arrays."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""They go to every process of a job; the child leaves them to its parent."""

_KEPT = {"PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH"}
_KEPT_PREFIXES = ("LC_", "PYTHON", "HDF5_")
"""Variables that the child gets: none of an MPI launcher, whose process it is not."""


class UnreadableError(Exception):
    """Why a file cannot be read, in one line."""


def read(path: str | os.PathLike[str], wanted: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The wanted arrays that the file has, and the names of all its arrays.

    The arrays are read-only. One that is not of numbers has its dtype, object for what numpy cannot hold, but no entry.
    Raises UnreadableError, or OSError if the child cannot be started.
    """
    seconds = _SECONDS + os.path.getsize(path) // _BYTES_PER_SECOND
    memories = {name: os.memfd_create("mcmc") for name in wanted}
    try:
        request = json.dumps([os.fspath(path), memories, seconds])
        code, printed, said = _run([sys.executable, "-P", __file__, request], list(memories.values()))
        if code:
            raise UnreadableError(_failure(code, said, seconds))
        answer = json.loads(printed)
        if "error" in answer:
            raise UnreadableError(answer["error"])
        arrays = {}
        for name, dtype, shape in answer["arrays"]:
            n_bytes = os.fstat(memories[name]).st_size
            buffer = mmap.mmap(memories[name], n_bytes, prot=mmap.PROT_READ) if n_bytes else b""
            arrays[name] = np.frombuffer(buffer, dtype).reshape(shape) if n_bytes else np.empty(shape, dtype)
    finally:
        for memory in memories.values():
            os.close(memory)
    return arrays, answer["names"]


def _run(command: list[str], descriptors: list[int]) -> tuple[int, bytes, bytes]:
    """Exit code and both outputs. The child is born with `_SIGNALS` blocked, because it cannot ignore them at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            env=_environment(),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with child:
        try:
            printed, said = child.communicate()
        except BaseException:
            child.kill()
            raise
    return child.returncode, printed, said


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        "MPI4PY_RC_INITIALIZE": "0",  # an h5py that was built with MPI imports it
    }


def _failure(code: int, said: bytes, seconds: int) -> str:
    if code == -signal.SIGALRM:
        return f"did not end within {seconds} s"
    if code == -signal.SIGKILL:
        return "its reader was killed, perhaps for want of memory"
    if code < 0:
        return f"the HDF5 library crashed on it, {signal.Signals(-code).name}"
    lines = said.decode(errors="replace").split("\n")
    return f"its reader failed: {next((line for line in reversed(lines) if line.strip()), f'exit code {code}')}"


# --- the child ---


def _answer(path: str, memories: dict[str, int], seconds: int) -> dict[str, Any]:
    """Reads the arrays into their file descriptors; what is printed, see `read`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    import h5py

    try:
        limit = _limit_memory(_address_space() + _OVERHEAD)
        with h5py.File(path, "r") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            found = {name: file[name] for name in memories if _is_dataset(file, name)}
            sizes = {
                name: math.prod(dataset.shape) * dataset.dtype.itemsize
                for name, dataset in found.items()
                if dataset.dtype.kind in "biuf" and dataset.shape is not None
            }
            n_bytes = sum(sizes.values())
            if n_bytes > _available():
                raise MemoryError(f"its arrays take {n_bytes / 1e9:.3g} GB, {_available() / 1e9:.3g} GB are free")
            _limit_memory(limit + 4 * n_bytes)  # the arrays, and chunks: as they are, unpacked, and while they grow
            arrays = []
            for name, dataset in found.items():
                shape = dataset.shape if name in sizes else (0,)
                dtype = dataset.dtype.str if dataset.shape is not None else "|O"
                arrays.append([name, dtype, shape])
                if sizes.get(name, 0):
                    os.ftruncate(memories[name], sizes[name])
                    buffer = mmap.mmap(memories[name], sizes[name])
                    dataset.read_direct(np.frombuffer(buffer, dataset.dtype).reshape(shape))
    except Exception as error:
        return {"error": " ".join(str(error).split()) or type(error).__name__}
    return {"names": names, "arrays": arrays}


def _is_dataset(file: Any, name: str) -> bool:
    """Whether there is an array of that name, be it by a link."""
    import h5py

    try:
        return isinstance(file[name], h5py.Dataset)
    except (KeyError, ValueError):  # ValueError: the empty name
        return False


def _address_space() -> int:
    """Bytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * mmap.PAGESIZE


def _limit_memory(n_bytes: int) -> int:
    """Limits the address space of this process; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return limit


def _available() -> int:
    """Bytes of this machine that can be had without swapping."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))


if __name__ == "__main__":
    print(json.dumps(_answer(*json.loads(sys.argv[1]))))
