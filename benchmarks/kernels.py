"""ns per proposal of the engine and of those it is compared with (contenders.py), taken by turns in one run."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contenders import OTHERS, SEED, Contender, Engine, Numpy, Patterns, PlainC, RrrmcScheme, Turn, compiled
from numpy.typing import NDArray

from mcmc import data, priors
from mcmc.architectures import Architecture
from mcmc.kernels import cpu
from mcmc.losses import Loss
from mcmc.samplers import SAMPLERS

MARCH = {"portable": "x86-64", "avx2": "x86-64-v3", "avx512": "native"} if platform.machine() == "x86_64" else {}
"""What the plain loop is compiled for, by instruction-set level of the engine; always for "native" too."""

COOLING = 1.1
"""Factor between betas while walkers are cooled to an acceptance."""

COLDEST = 20.0
"""Beta at which cooling ends where flips without cost keep the acceptance up."""


@dataclass(frozen=True)
class Case:
    """Walkers at one beta: the given one, reached from random weights, or the first at which a cooling, ten sweeps at
    a beta, meets the given acceptance. The cold ones are caught in a quench: their acceptance falls slowly."""

    beta: float | None = None
    acceptance: float | None = None
    architecture: str = "perceptron"
    n_hidden: int = 1
    loss: str = "error-count"
    margin: float = 0.0
    inputs: data.InputLaw = "binary"
    sampler: str = "metropolis"
    pairs: bool = False
    n: int = 1000
    p: int = 1000
    n_copies: int = 2
    n_rungs: int = 16
    warm_up: int = 400
    every_level: bool = False
    others: tuple[str, ...] = ()

    @property
    def walkers(self) -> int:
        return self.n_copies * self.n_rungs

    @property
    def machine(self) -> Architecture:
        return Architecture(self.architecture, self.n, self.n_hidden)

    @property
    def move(self) -> str:
        return f"{self.sampler}, pairs" if self.pairs else self.sampler

    def __str__(self) -> str:
        return f"{self.inputs} {self.architecture} {self.loss} {self.move} {self.n}"


ACCEPTANCES = (1e-4, 1e-3, 1e-2, 0.1, 0.3)

KERNELS = (
    *(Case(acceptance=a, every_level=True, others=("numba",) if a == 1e-3 else ()) for a in ACCEPTANCES),
    Case(2.0, n=10001, p=8000, warm_up=50, every_level=True),
    Case(0.6, n=10001, p=8000, warm_up=10),
    *(Case(acceptance=a, architecture="committee", n_hidden=3, n=333, every_level=a == 1e-3) for a in ACCEPTANCES),
    *(Case(acceptance=a, architecture="committee", n_hidden=3, n=999) for a in ACCEPTANCES),
    *(Case(acceptance=a, architecture="tree-committee", n_hidden=3, n=999) for a in (1e-3, 0.1)),
    *(Case(acceptance=a, architecture="parity", n_hidden=3, n=333) for a in (1e-3, 0.1)),
    *(Case(acceptance=a, architecture="tree-parity", n_hidden=3, n=999) for a in (1e-3, 0.1)),
    Case(1.0, loss="symmetric", margin=1.0),
    Case(10.0, loss="square", others=("dwave-samplers",)),
    Case(1.0, loss="square", every_level=True, others=("dwave-samplers",)),
    Case(1.0, loss="square", inputs="gaussian"),
    Case(1.0, loss="hinge", n_rungs=4, warm_up=100, every_level=True),
    *(Case(1.0, loss=loss, n_rungs=4, warm_up=100) for loss in ("squared-hinge", "logistic")),
    *(
        Case(1.0, loss=loss, inputs="gaussian", n_copies=1, n_rungs=2, warm_up=100, every_level=True)
        for loss in ("error-count", "hinge", "logistic")
    ),
)
"""Metropolis, against plain programs."""

MOVES = (
    *(
        Case(acceptance=a, sampler=name, architecture=architecture, n_hidden=k, n=n)
        for name in SAMPLERS
        if name not in ("metropolis", "auto")  # which runs one of the others
        for architecture, k, n in (("perceptron", 1, 1000), ("committee", 3, 333))
        for a in (1e-4, 1e-3, 1e-2)
    ),
    *(Case(acceptance=a, pairs=True) for a in (1e-3, 0.1)),
)
"""Every other sampler, against Metropolis from the same weights at the same beta."""


class Start:
    """Instance, walkers and beta from which all contenders of a case start."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.instance = data.teacher_instance(SEED, 0, case.n, case.p, inputs=case.inputs)
        walkers, self.constraint = range(case.walkers), None
        if case.pairs:  # half of the weights at +1
            n = case.machine.n_weights
            self.constraint = priors.FixedOverlap(np.ones(n, np.int8), n // 2)
            self.weights = self.constraint.draw(SEED, 0, walkers, case.n_rungs)
        else:
            self.weights = priors.Ising().walkers(SEED, 0, walkers, case.n_rungs, 1, case.machine.n_weights)
        self.beta = 0.1 if case.beta is None else case.beta
        if case.acceptance is not None:
            while self._run(sweeps=10).acceptance > case.acceptance and self.beta < COLDEST:
                self.beta *= COOLING
        self._run(case.warm_up)

    def _run(self, sweeps: int) -> Turn:
        engine = self.engine(single_flips=self.constraint is None)  # waiting times would take long at first
        turn = engine.turn(sweeps * self.weights.size)
        self.weights = engine.block.weights.copy()
        return turn

    def engine(self, level: str | None = None, single_flips: bool = False) -> Engine:
        """Of the case, or Metropolis by single flips."""
        case = self.case
        own = {} if single_flips else {"sampler": case.sampler, "constraint": self.constraint}
        where = case.machine, Loss(case.loss, case.margin), self.instance, self.weights, self.beta
        return Engine(*where, n_rungs=case.n_rungs, level=level, **own)


class Libraries:
    """The plain programs, compiled when they are first asked for."""

    def __init__(self, directory: Path) -> None:
        self.plain = {march: compiled("plain_loop", directory, march) for march in ("native", *_marches())}
        self.rrrmc = compiled("rrrmc_scheme", directory)


def _marches() -> list[str]:
    return [MARCH[level] for level in cpu.available() if MARCH.get(level, "native") != "native"]


def missing() -> list[str]:
    """Packages of OTHERS that are not installed."""
    modules = {"dwave-samplers": "dwave"}
    return [name for name in OTHERS if importlib.util.find_spec(modules.get(name, name)) is None]


def measure(case: Case, libraries: Libraries, repeats: int, seconds: float) -> Iterator[dict[str, object]]:
    """One row of the table per instruction-set level; every contender gets a turn of `seconds` per repeat."""
    start = Start(case)
    levels = cpu.available() if case.every_level else cpu.available()[-1:]
    contenders: dict[str, Contender] = {level: start.engine(level) for level in levels}
    patterns = Patterns(case.machine, Loss(case.loss, case.margin), start.instance)
    where = patterns, start.weights[0], start.beta
    for march in dict.fromkeys(["native", *(MARCH.get(level, "native") for level in levels)]):
        contenders[march] = PlainC(*where, libraries.plain[march])
    if RrrmcScheme.takes(patterns):
        contenders["rrrmc"] = RrrmcScheme(*where, libraries.rrrmc)
    contenders["numpy"] = Numpy(*where)
    for name in set(case.others) - set(missing()):
        contenders[name] = OTHERS[name](*where)
    turns = by_turns(contenders, repeats, seconds)
    _check(contenders, patterns)
    for level in levels:
        figures = Figures(turns, level)
        others = {name: {"ns": figures.ns(name), "times": figures.times(name)} for name in case.others if name in turns}
        yield _about(case, start.beta) | {
            "isa": level,
            "acceptance": figures.acceptance(level),
            "ns": figures.ns(level),
            "spread": figures.spread,
            "plain_ns": figures.ns("native"),
            "times_plain": figures.times("native"),
            "times_plain_same_isa": figures.times(MARCH.get(level, "native")),
            "rrrmc_ns": figures.ns("rrrmc"),
            "times_rrrmc": figures.times("rrrmc"),
            "times_numpy": figures.times("numpy"),
            "others": others,
        }


def measure_move(case: Case, repeats: int, seconds: float) -> dict[str, object]:
    """The row of a sampler against Metropolis by single flips."""
    start = Start(case)
    contenders: dict[str, Contender] = {"own": start.engine(), "metropolis": start.engine(single_flips=True)}
    turns = by_turns(contenders, repeats, seconds)
    _check(contenders, Patterns(case.machine, Loss(case.loss, case.margin), start.instance))
    figures = Figures(turns, "own")
    return _about(case, start.beta) | {
        "acceptance": figures.acceptance("own"),
        "ns": figures.ns("own"),
        "spread": figures.spread,
        "sweeps_per_second": 1e9 / (figures.ns("own") * case.machine.n_weights),
        "metropolis_acceptance": figures.acceptance("metropolis"),
        "metropolis_ns": figures.ns("metropolis"),
        "times_metropolis": figures.times("metropolis"),
    }


def by_turns(contenders: dict[str, Contender], repeats: int, seconds: float) -> dict[str, list[Turn]]:
    """Turns of about `seconds`; a first, short one warms up and finds how many proposals that is."""
    lengths = {}
    for name, contender in contenders.items():
        contender.turn(100)
        lengths[name] = max(100, round(1e9 * seconds / contender.turn(1000).ns))
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            turns[name].append(contender.turn(lengths[name]))
    return turns


def _check(contenders: dict[str, Contender], patterns: Patterns) -> None:
    """Whether all contenders worked on the same problem, and did not only get fast by getting it wrong."""
    for name, contender in contenders.items():
        weights, tracked = contender.state()
        energy = patterns.energy(patterns.fields(weights))
        if not abs(tracked - energy) <= 1e-6 * max(1.0, abs(energy)):
            raise RuntimeError(f"{name}: tracked an energy of {tracked}, its weights have {energy}")


class Figures:
    """Medians over the repeats; ratios are formed within a repeat."""

    def __init__(self, turns: dict[str, list[Turn]], own: str) -> None:
        self.turns = turns
        self.own = _ns(turns[own])

    def ns(self, name: str) -> float | None:
        return float(np.median(_ns(self.turns[name]))) if name in self.turns else None

    def times(self, name: str) -> float | None:
        return float(np.median(_ns(self.turns[name]) / self.own)) if name in self.turns else None

    def acceptance(self, name: str) -> float:
        return float(np.mean([turn.acceptance for turn in self.turns[name]]))

    @property
    def spread(self) -> float:
        return float(np.subtract(*np.percentile(self.own, [75, 25])) / np.median(self.own))


def _ns(turns: Sequence[Turn]) -> NDArray[np.float64]:
    return np.array([turn.ns for turn in turns])


def _about(case: Case, beta: float) -> dict[str, object]:
    return {
        "model": case.architecture,
        "K": case.n_hidden,
        "loss": case.loss,
        "inputs": case.inputs,
        "sampler": case.move,
        "N": case.n,
        "P": case.p,
        "walkers": case.walkers,
        "beta": beta,
    }
