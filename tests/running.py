"""Short runs: how tests write them, start them as programs, and compare what they leave."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tomli_w

MCMC = (sys.executable, "-c", "from mcmc.cli import main; main()")
"""The command `mcmc`, of the interpreter and the package that run the tests."""

BASE: dict[str, Any] = {
    "seed": 11,
    "model": {"n_inputs": 33, "loss": {"name": "error-count"}},
    "data": {"source": "teacher", "alpha": 0.8},
    "ladder": {"beta": [0.3, 0.7, 1.1, 1.5], "n_copies": 2},
    "schedule": {"sweeps": 240, "burn_in": 60, "measure_every": 10},
}
"""Tables of a run of some 10 ms: 8 walkers of the bit-sliced kernel."""


def tables(changes: Mapping[str, Any] | None = None, /) -> dict[str, Any]:
    """BASE with changes {"ladder.n_copies": 1, ...}; None removes a key."""
    made = copy.deepcopy(BASE)
    for key, value in (changes or {}).items():
        *path, name = key.split(".")
        table = made
        for part in path:
            table = table.setdefault(part, {})
        if value is None:
            del table[name]
        else:
            table[name] = value
    return made


def write_run_file(path: Path, changes: Mapping[str, Any] | None = None, /) -> Path:
    """The run file `tables(changes)` at `path`."""
    path.write_text(tomli_w.dumps(tables(changes)))
    return path


def contents(path: Path) -> dict[str, Any]:
    """Every dataset of an HDF5 file as (dtype, shape, bytes), and every attribute that is no reference, by name."""
    found: dict[str, Any] = {}

    def note(name: str, node: h5py.Group | h5py.Dataset) -> None:
        for key, value in node.attrs.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                found[f"{name}@{key}"] = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        if isinstance(node, h5py.Dataset):
            values = node.asstr()[...].astype(str) if h5py.check_string_dtype(node.dtype) else node[...]
            found[name] = (str(node.dtype), node.shape, np.ascontiguousarray(values).tobytes())

    with h5py.File(path) as file:
        note("/", file)
        file.visititems(note)
    return found


def assert_same_results(left: Path, right: Path) -> None:
    """results.h5 of two output directories hold the same, bit for bit."""
    a, b = contents(left / "results.h5"), contents(right / "results.h5")
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


def status(directory: Path) -> dict[str, Any]:
    """What status.json says; empty while there is none."""
    path = directory / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    """Wait until condition() holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
