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

DRIVE = (sys.executable, str(Path(__file__).with_name("drive.py")))

LONG_RUN = {
    "data.n_instances": 6,  # whole on 2 and 3 ranks
    "schedule": {"sweeps": 4000, "burn_in": 1500, "measure_every": 10},
    "checkpoint.every": 0.1,
}
SLOW_MCMC = (
    MCMC[0],
    "-c",
    f"""
import time
from mcmc import engine
from mcmc.part import Part
engine._STRETCH = 0.01
advance = Part.advance
def slowly(self, first, last):
    advance(self, first, last)
    if self.piece.instance == 0:
        time.sleep(4e-4 * (last - first + 1))
Part.advance = slowly
{MCMC[2]}
""",
)
"""`mcmc`, where LONG_RUN takes 1.6 s or more on any machine: time to interrupt it."""

BASE: dict[str, Any] = {
    "seed": 11,
    "model": {"n_inputs": 33, "loss": {"name": "error-count"}},
    "data": {"source": "teacher", "alpha": 0.8},
    "ladder": {"beta": [0.3, 0.7, 1.1, 1.5], "n_copies": 2},
    "schedule": {"sweeps": 120, "burn_in": 40, "measure_every": 10},
}
"""Tables of a run of a few milliseconds: 8 walkers of the bit-sliced kernel."""

REAL = {"data.inputs": "gaussian", "model.n_inputs": 14}
COMMITTEE = {"model.architecture": "committee", "model.n_hidden": 3, "model.n_inputs": 11}
SMALL_REAL = {"data.inputs": "gaussian", "model.n_inputs": 5}
LONG = {"schedule.sweeps": 1060, "schedule.burn_in": 1000, "ladder.exchange_every": 53}  # beyond the refresh at 1024
GAUSSIAN = {"model.weights": "gaussian", "model.loss.name": "logistic", "model.n_inputs": 14}
SPHERICAL = GAUSSIAN | {"model.weights": "spherical", "data.inputs": "gaussian"}
TANH = COMMITTEE | {"model.activation": "tanh", "model.loss.name": "square", "data.labels": "real"}
TUNED = {"schedule.sweeps": 330, "schedule.burn_in": 270, "ladder.beta": [0.1, 0.2, 0.4, 1.0, 1.5]}
"""The ladder moves at sweeps 33, 67 and 135; with an exchange at every other sweep, at the last two."""
CASES: dict[str, dict[str, Any]] = {
    "error-count": {"data.n_instances": 3, "data.label_noise": 0.1, "data.n_test": 50},
    "error-count-one-rung": {
        "ladder.beta": [0.8],
        "data.n_instances": 2,
        "ladder.n_copies": 1,
        "data.source": "random",
    },
    "error-count-margin": {"model.loss.margin": 0.3, "ladder.exchange_every": 3, "schedule.measure_every": 1},
    "symmetric": {
        "model.loss": {"name": "symmetric", "margin": 1.0},
        "data.source": "random",
        "data.n_instances": 7,
        "sampler.order": "sequential",
    },
    "hinge": {"model.loss": {"name": "hinge", "margin": 1.0}, "schedule.start": "both", "data.n_instances": 2},
    "square": {"model.loss.name": "square", "sampler.method": "heat-bath", "ladder.n_copies": 1},
    "square-no-exchange": {"model.loss.name": "square", "ladder.exchange_every": 0, "schedule.start": "teacher"},
    "logistic-real": {"model.loss.name": "logistic", "data.n_instances": 2, "data.labels": "logistic"} | REAL | LONG,
    "square-real": {"model.loss.name": "square", "data.labels": "real", "data.output_noise": 0.2} | REAL | LONG,
    "hinge-real": {"model.loss.name": "hinge", "schedule.measure_every": 7, "data.n_test": 20} | REAL,
    "two-times": {"output.waiting_times": [0, 7], "ladder.exchange_every": 0, "data.n_instances": 2},
    "waiting-time": {"sampler.method": "waiting-time", "data.n_instances": 3, "ladder.exchange_every": 3},
    "waiting-time-real": {"sampler.method": "waiting-time", "model.loss.name": "logistic"} | REAL | LONG,
    "auto": {"sampler.method": "auto", "data.n_instances": 2, "ladder.beta": [0.5, 2.0, 4.0, 6.0], "data.alpha": 2},
    "auto-real": {"sampler": {"method": "auto", "order": "sequential"}, "model.loss.name": "square"} | REAL | LONG,
    "snapshots": {"output.weights_every": 30, "data.n_instances": 3, "model.n_inputs": 71},
    "snapshots-committee": {"output.weights_every": 10, "data.n_instances": 2} | COMMITTEE | {"model.n_inputs": 65},
    "snapshots-real": {"output.weights_every": 21, "sampler.method": "hmc", "schedule.measure_every": 7}
    | GAUSSIAN
    | {"schedule.burn_in": 60, "data.n_instances": 3},
    "one-walker": {"ladder.beta": [1.0], "ladder.n_copies": 1},
    "three-walkers": {"ladder.beta": [0.5, 1.0, 1.5], "ladder.n_copies": 1, "schedule.measure_every": 1},
    "data-not-stored": {"output.store_data": False, "model.loss.name": "logistic", "data.n_instances": 2},
    "constraint": {"constraint": {"reference": "teacher", "overlap": 0.5}, "data.n_instances": 3},
    "constraint-real": {
        "constraint": {"reference": "magnetisation", "overlap": -0.2},
        "model.loss.name": "logistic",
        "sampler.method": "heat-bath",
    }
    | REAL
    | LONG,
    "constraint-file": {
        "constraint": {"reference": "file", "path": "reference.npz", "overlap": 0.3},
        "model.loss.name": "square",
        "data.n_instances": 2,
        "ladder.n_copies": 1,
    },
    "file": {"data": {"source": "file", "path": "task.npz"}, "model.n_inputs": None, "model.loss.name": "hinge"},
    "tuned-barrier": {"ladder.tune": "barrier", "data.n_instances": 3, "data.n_test": 20} | TUNED,
    "tuned-flow": {"ladder.tune": "flow", "data.n_instances": 2, "sampler.method": "auto", "ladder.n_copies": 3}
    | TUNED,
    "tuned-waiting": {"ladder.tune": "barrier", "sampler.method": "waiting-time", "model.loss.name": "logistic"}
    | REAL
    | TUNED,
    "tuned-constraint": {"ladder.tune": "flow", "constraint": {"reference": "teacher", "overlap": 0.5}}
    | TUNED
    | {"ladder.exchange_every": 2},
    "tuned-steps": {"ladder.tune": "barrier", "sampler.method": "mala", "data.n_instances": 2} | GAUSSIAN | TUNED,
    "annealed": {"schedule.annealing": {"beta": 0.05}, "data.n_instances": 3, "data.alpha": 0.2},
    "annealed-slowly": {"schedule.annealing": {"beta": 0.1, "spacing": "geometric"}, "sampler.method": "waiting-time"}
    | {"schedule": {"sweeps": 1300, "burn_in": 1207, "measure_every": 5}, "model.n_inputs": 11},
    "annealed-reals": {"schedule.annealing": {"beta": 0.1, "spacing": "linear-temperature"}, "sampler.method": "hmc"}
    | {"sampler.step_size": 0.1}
    | GAUSSIAN,
    "annealed-sgld": {
        "schedule.annealing": {"beta": 0.1},
        "sampler": {"method": "sgld", "step_size": 0.05, "batch_size": 4},
    }
    | SPHERICAL
    | {"model.loss.name": "squared-hinge", "ladder.exchange_every": 0, "ladder.beta": [5.0, 50.0], "data.alpha": 0.3},
    "committee": {"data.n_instances": 2, "data.label_noise": 0.1, "data.n_test": 30} | COMMITTEE,
    "committee-even": COMMITTEE | {"model.n_hidden": 2, "model.loss": {"name": "logistic", "margin": 0.2}},
    "committee-erf": {"model.activation": "erf", "model.loss.name": "square", "data.labels": "real", "data.n_test": 20}
    | COMMITTEE
    | SMALL_REAL
    | LONG,
    "committee-real": {"data.n_instances": 3} | COMMITTEE | SMALL_REAL | LONG,
    "committee-constraint": {"constraint": {"reference": "teacher", "overlap": 0.5}} | COMMITTEE,
    "tree-committee": {
        "model.architecture": "tree-committee",
        "model.n_hidden": 3,
        "model.loss": {"name": "hinge", "margin": 0.5},
        "schedule.start": "both",
        "data.n_instances": 2,
    },
    "parity": {"model.architecture": "parity", "model.n_hidden": 2, "model.n_inputs": 16, "data.n_instances": 3},
    "tree-parity": {
        "model.architecture": "tree-parity",
        "model.n_hidden": 3,
        "sampler.method": "waiting-time",
        "ladder.n_copies": 1,
    },
    "gaussian-mala": {"sampler.method": "mala", "schedule.burn_in": 70, "data.n_instances": 3} | GAUSSIAN,
    "gaussian-mala-float32": {
        "sampler": {"method": "mala", "precision": "float32"},
        "schedule.burn_in": 47,
        "ladder.exchange_every": 3,
        "schedule.measure_every": 7,
        "data.n_test": 20,
    }
    | GAUSSIAN
    | TANH,
    "gaussian-underdamped": {
        "sampler": {"method": "underdamped", "step_size": 0.3, "friction": 0.7},
        "model.prior_precision": 3.0,
        "schedule.start": "both",
        "data.n_instances": 2,
    }
    | GAUSSIAN,
    "gaussian-mala-mass": {
        "sampler": {"method": "mala", "preconditioner": "inputs"},
        "schedule.burn_in": 60,
        "data.n_instances": 2,
    }
    | GAUSSIAN
    | TANH,
    "gaussian-sgld": {"sampler": {"method": "sgld", "step_size": 0.02, "batch_size": 3}, "data.n_instances": 2}
    | GAUSSIAN,
    "gaussian-pcn": {"sampler.method": "pcn", "model.loss.name": "error-count", "schedule.burn_in": 50}
    | {name: value for name, value in GAUSSIAN.items() if name != "model.loss.name"},
    "gaussian-slice": {"sampler.method": "elliptical-slice", "ladder.n_copies": 1, "data.teacher.weights": "ising"}
    | GAUSSIAN,
    "gaussian-three-walkers": {"sampler.method": "hmc", "schedule.burn_in": 60, "ladder.beta": [0.5, 1.0, 1.5]}
    | {"ladder.n_copies": 1}
    | GAUSSIAN,
    "gaussian-second-layer": {
        "model.second_layer": "sampled",
        "sampler": {"method": "hmc", "n_steps": 2},
        "schedule.burn_in": 57,
        "schedule.start": "both",
        "data.n_instances": 3,
        "data.n_test": 20,
    }
    | GAUSSIAN
    | TANH,
    "gaussian-second-layer-flips": {
        "model": {"weights": "gaussian", "architecture": "tree-committee", "n_inputs": 12, "n_hidden": 2}
        | {"second_layer": "sampled", "loss": {"name": "error-count"}},
        "sampler.method": "pcn",
        "schedule.burn_in": 43,
        "output.waiting_times": [0, 9],
        "ladder.exchange_every": 0,
    },
    "gaussian-metropolis": {"sampler.order": "sequential", "schedule.burn_in": 50, "ladder.exchange_every": 7}
    | GAUSSIAN,
    "spherical-metropolis": {"schedule.burn_in": 60, "data.n_instances": 3, "schedule.measure_every": 1}
    | SPHERICAL
    | COMMITTEE
    | {"model.loss.name": "error-count"},
    "spherical-metropolis-long": LONG | SPHERICAL | TANH | {"schedule.start": "both"},
    "spherical-hmc": {"sampler": {"method": "hmc", "n_steps": 3}, "schedule.burn_in": 57, "data.n_instances": 2}
    | SPHERICAL,
    "spherical-langevin": {
        "sampler": {"method": "langevin", "step_size": [0.3, 0.2, 0.1, 0.05]},
        "schedule.start": "teacher",
        "ladder.exchange_every": 0,
    }
    | SPHERICAL
    | TANH,
    "spherical-random-walk": {"sampler.method": "random-walk", "schedule.burn_in": 48, "data.n_instances": 7}
    | SPHERICAL
    | {"model.loss.name": "error-count"},
    "teacher-of-other-shape": {"data.teacher": {"architecture": "parity", "n_hidden": 2}, "data.n_test": 30}
    | COMMITTEE,
    "teacher-of-several-units": {"data.teacher": {"architecture": "tree-committee", "n_hidden": 3}, "data.n_test": 30},
}
"""Changes to BASE. Together: every architecture and kernel family, one and several of everything, instances whole and
cut."""


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
            table[name] = copy.deepcopy(value)
    return made


def write_run_file(path: Path, changes: Mapping[str, Any] | None = None, /) -> Path:
    """The run file `tables(changes)` at `path`."""
    path.write_text(tomli_w.dumps(tables(changes)))
    return path


def write_cases(directory: Path) -> list[Path]:
    """Run files of all CASES, with checkpoints as often as can be."""
    rng = np.random.default_rng(5)
    np.savez(directory / "task.npz", inputs=rng.normal(size=(20, 9)), labels=rng.choice([-1, 1], 20))
    np.savez(directory / "reference.npz", weights=rng.choice([-1, 1], (2, BASE["model"]["n_inputs"])))
    return [
        write_run_file(directory / f"{name}.toml", {"checkpoint.every": 1e-3} | case) for name, case in CASES.items()
    ]


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
