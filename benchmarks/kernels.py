"""ns per proposal of the engine, of a plain vectorised C loop (plain_loop.c) and of numpy, taken by turns in one run.

Time is CPU time of the thread, so that other programs on the machine disturb little.
"""

from __future__ import annotations

import ctypes
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcmc import data
from mcmc.architectures import Architecture
from mcmc.kernels import cpu
from mcmc.losses import Loss
from mcmc.models.perceptron import Perceptron
from mcmc.priors import draw_ising
from mcmc.samplers import SAMPLERS
from mcmc.samplers.flips import Chain

SEED = 1
MEASURE_EVERY = 10
MARCH = {"portable": "x86-64", "avx2": "x86-64-v3", "avx512": "native"} if platform.machine() == "x86_64" else {}
"""What the plain loop is compiled for, by instruction-set level of the engine; always for "native" too."""


@dataclass(frozen=True)
class Case:
    """Walkers at one beta, warmed up from random weights; the cold ones are caught in a quench."""

    loss: str
    beta: float
    inputs: data.InputLaw = "binary"
    sampler: str = "metropolis"
    margin: float = 0.0
    n: int = 1000
    p: int = 1000
    n_copies: int = 2
    n_rungs: int = 16
    warm_up: int = 400
    every_level: bool = False

    @property
    def walkers(self) -> int:
        return self.n_copies * self.n_rungs


CASES = (
    *(Case("error-count", beta, every_level=True) for beta in (2.0, 1.4, 0.8, 0.5, 0.29)),
    Case("error-count", 2.0, n=10001, p=8000, warm_up=50, every_level=True),
    Case("error-count", 0.6, n=10001, p=8000, warm_up=10),
    Case("error-count", 1.0, sampler="heat-bath"),
    Case("symmetric", 1.0, margin=1.0),
    Case("square", 1.0, every_level=True),
    Case("square", 1.0, inputs="gaussian"),
    Case("hinge", 1.0, n_rungs=4, warm_up=100, every_level=True),
    *(Case(loss, 1.0, n_rungs=4, warm_up=100) for loss in ("squared-hinge", "logistic")),
    *(
        Case(loss, 1.0, inputs="gaussian", n_copies=1, n_rungs=2, warm_up=100, every_level=True)
        for loss in ("error-count", "hinge", "logistic")
    ),
)


@dataclass(frozen=True)
class Turn:
    """What one turn of a contender took."""

    seconds: float
    proposals: int
    accepted: int

    @property
    def ns(self) -> float:
        return 1e9 * self.seconds / self.proposals


class Engine:
    """All of chain.advance: random numbers, kernels, exchange every sweep, a row every ten."""

    def __init__(self, case: Case, instance: data.Instance, level: str, weights: NDArray[np.int8]) -> None:
        cpu.use(level)
        self.case = case
        self.block = Perceptron(Architecture("perceptron", case.n), Loss(case.loss, case.margin)).block(
            instance, weights
        )
        self.chain: Chain = SAMPLERS[case.sampler]().chain(
            self.block,
            seed=SEED,
            beta=np.full(case.n_rungs, case.beta),
            n_copies=case.n_copies,
            measure_every=MEASURE_EVERY,
        )
        self.sweep = 0

    def turn(self, proposals: int) -> Turn:
        """A whole number of rows, so that every accepted flip is counted in one."""
        per_row = self.case.walkers * self.case.n * MEASURE_EVERY
        sweeps = MEASURE_EVERY * max(1, round(proposals / per_row))
        began = time.thread_time()
        self.chain.advance(self.sweep + 1, self.sweep + sweeps)
        seconds = time.thread_time() - began
        self.sweep += sweeps
        *_, accepted = self.chain.take()
        return Turn(seconds, sweeps * self.case.walkers * self.case.n, int(accepted.sum()))


class Yardstick:
    """One walker with dense columns (label times input): what both plain programs work on."""

    def __init__(self, case: Case, instance: data.Instance, weights: NDArray[np.int8]) -> None:
        self.case = case
        self.weights = weights.copy()
        signs = np.ones_like(instance.labels) if case.loss == "symmetric" else instance.labels
        dtype = instance.inputs.dense().dtype
        self.columns = np.ascontiguousarray(instance.inputs.dense().T * signs.astype(dtype))
        field = instance.inputs.fields(weights) * signs
        if instance.inputs.binary and case.loss == "error-count":
            field -= signs < 0  # a field of 0 is an error for label -1
        self.field = np.ascontiguousarray(field, dtype=np.int16 if instance.inputs.binary else np.float64)
        self.threshold = math.floor(case.margin * math.sqrt(case.n)) if case.loss == "symmetric" else case.margin


class PlainC(Yardstick):
    """plain_loop.c, compiled for one -march."""

    def __init__(self, case: Case, instance: data.Instance, weights: NDArray[np.int8], library: ctypes.CDLL) -> None:
        super().__init__(case, instance, weights)
        law = "binary" if instance.inputs.binary else "gaussian"
        self.function = getattr(library, f"{law}_{case.loss.replace('-', '_')}")
        self.function.restype = ctypes.c_int64
        self.state = 0

    def turn(self, proposals: int) -> Turn:
        self.state += 1
        arrays = [array.ctypes.data_as(ctypes.c_void_p) for array in (self.columns, self.field, self.weights)]
        began = time.thread_time()
        accepted = self.function(
            ctypes.c_int64(self.case.n),
            ctypes.c_int64(self.case.p),
            *arrays,
            ctypes.c_double(self.threshold),
            ctypes.c_double(self.case.beta),
            ctypes.c_uint64(self.state),
            ctypes.c_int64(proposals),
        )
        return Turn(time.thread_time() - began, proposals, accepted)


class Numpy(Yardstick):
    """The same in numpy, a proposal at a time."""

    def __init__(self, case: Case, instance: data.Instance, weights: NDArray[np.int8]) -> None:
        super().__init__(case, instance, weights)
        self.total = _numpy_loss(case, self.threshold)
        self.energy = self.total(self.field)
        self.rng = np.random.default_rng(SEED)

    def turn(self, proposals: int) -> Turn:
        accepted = 0
        began = time.thread_time()
        sites = self.rng.integers(self.case.n, size=proposals)
        limits = -np.log(1.0 - self.rng.random(proposals)) / self.case.beta
        for site, limit in zip(sites, limits, strict=True):
            field = self.field - (2 * self.weights[site]) * self.columns[site]
            energy = self.total(field)
            if energy - self.energy <= limit:
                self.field, self.energy = field, energy
                self.weights[site] = -self.weights[site]
                accepted += 1
        return Turn(time.thread_time() - began, proposals, accepted)


def _numpy_loss(case: Case, threshold: float) -> Callable[[NDArray], float]:
    scale = 1.0 / math.sqrt(case.n)
    losses: dict[str, Callable[[NDArray], float]] = {
        "error-count": lambda field: np.count_nonzero(field < threshold),
        "symmetric": lambda field: np.count_nonzero(np.abs(field) > threshold),
        "hinge": lambda field: np.maximum(threshold - scale * field, 0.0).sum(),
        "squared-hinge": lambda field: 0.5 * np.square(np.maximum(threshold - scale * field, 0.0)).sum(),
        "logistic": lambda field: np.logaddexp(0.0, threshold - scale * field).sum(),
        "square": lambda field: 0.5 * np.square(1.0 - scale * field).sum(),
    }
    return losses[case.loss]


def compiled(directory: Path) -> dict[str, ctypes.CDLL]:
    """plain_loop.c for every -march there is use for: -march -> library."""
    source = Path(__file__).with_name("plain_loop.c")
    libraries = {}
    for march in dict.fromkeys(["native", *(MARCH[level] for level in cpu.available() if level in MARCH)]):
        library = directory / f"plain_{march}.so"
        flags = ["-O3", "-ffast-math", f"-march={march}", "-std=gnu11", "-fPIC", "-shared"]
        subprocess.run(["gcc", *flags, "-o", library, source, "-lm"], check=True)
        libraries[march] = ctypes.CDLL(str(library))
    return libraries


def measure(case: Case, libraries: dict[str, ctypes.CDLL], repeats: int, seconds: float) -> Iterator[dict[str, object]]:
    """One row of the table per instruction-set level; every contender gets a turn of `seconds` per repeat."""
    instance = data.teacher_instance(SEED, 0, case.n, case.p, inputs=case.inputs)
    best = cpu.available()[-1]
    warm = Engine(case, instance, best, draw_ising(SEED, 0, range(case.walkers), case.n_rungs, case.n))
    warm.turn(case.warm_up * case.walkers * case.n)
    weights = warm.block.weights
    levels = cpu.available() if case.every_level else (best,)
    contenders: dict[str, Engine | PlainC | Numpy] = {level: Engine(case, instance, level, weights) for level in levels}
    for march, library in libraries.items():
        contenders[march] = PlainC(case, instance, weights[0], library)
    contenders["numpy"] = Numpy(case, instance, weights[0])
    turns = _by_turns(contenders, repeats, seconds)
    for level in levels:
        yield _row(case, level, turns)


def _by_turns(contenders: dict[str, Engine | PlainC | Numpy], repeats: int, seconds: float) -> dict[str, list[Turn]]:
    """Turns of about `seconds`; a first, short one warms up and finds how many proposals that is."""
    lengths = {}
    for name, contender in contenders.items():
        contender.turn(100)
        lengths[name] = max(100, round(1e9 * seconds / contender.turn(100).ns))
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            turns[name].append(contender.turn(lengths[name]))
    return turns


def _row(case: Case, level: str, turns: dict[str, list[Turn]]) -> dict[str, object]:
    own = turns[level]
    ns = np.array([turn.ns for turn in own])

    def ratio(name: str) -> float:
        return float(np.median([turn.ns for turn in turns[name]] / ns))

    return {
        "model": "perceptron",
        "loss": case.loss,
        "inputs": case.inputs,
        "sampler": case.sampler,
        "N": case.n,
        "P": case.p,
        "walkers": case.walkers,
        "isa": level,
        "acceptance": sum(turn.accepted for turn in own) / sum(turn.proposals for turn in own),
        "ns": float(np.median(ns)),
        "spread": float(np.subtract(*np.percentile(ns, [75, 25])) / np.median(ns)),
        "plain_ns": float(np.median([turn.ns for turn in turns["native"]])),
        "times_plain": ratio("native"),
        "times_plain_same_isa": ratio(MARCH.get(level, "native")),
        "times_numpy": ratio("numpy"),
    }
