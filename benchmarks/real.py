"""Microseconds of a MALA step and of a gradient, against programs of automatic differentiation, by turns in one run."""

from __future__ import annotations

import ctypes
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from autodiff import BlackjaxSteps, NumpyProducts, TorchGradient
from contenders import MEASURE_EVERY, SEED, Turn, compiled
from kernels import Figures, by_turns
from numpy.typing import NDArray
from tasks import Task

from mcmc import data
from mcmc.architectures import Architecture
from mcmc.kernels.gradients import PRECISIONS
from mcmc.losses import Loss
from mcmc.priors import Gaussian
from mcmc.samplers import CONTINUOUS

Reals = NDArray[np.float64]

ROUNDING = {"float64": 1e-9, "float32": 1e-3}
"""Largest relative deviation of a gradient, by precision of the products."""


@dataclass(frozen=True)
class Case:
    """Walkers of a task."""

    task: Task
    walkers: int
    step_size: float | None = None

    def __str__(self) -> str:
        return f"{self.task.inputs} {self.task.architecture.name} {self.task.loss.name} {self.walkers}"


PERCEPTRON = Architecture("perceptron", 1000)
TREE = Architecture("tree-committee", 999, 3, "tanh")
LAWS: tuple[data.InputLaw, ...] = ("binary", "gaussian")
WALKERS = (1, 16, 64)
STEPS = tuple(Case(Task(PERCEPTRON, Loss("logistic"), law, 1000), n, 0.12) for law in LAWS for n in WALKERS)
GRADIENTS = tuple(Case(Task(TREE, Loss("square"), law, 1000), n) for law in LAWS for n in WALKERS)


def missing() -> list[str]:
    """Competitors that are not installed."""
    return [name for name in ("blackjax", "torch") if importlib.util.find_spec(name) is None]


class Steps:
    """All of chain.advance of MALA: random numbers, gradient, decision, exchange every sweep, a row every ten."""

    def __init__(self, case: Case, weights: Reals, precision: str) -> None:
        task = case.task
        self.block = task.model.gradient_block(task.instance, weights, precision)
        self.chain = CONTINUOUS["mala"](step_size=case.step_size).chain(
            self.block,
            seed=SEED,
            beta=np.full(case.walkers, task.beta),
            prior=Gaussian(),
            measure_every=MEASURE_EVERY,
        )
        self.n_walkers, self.sweep = case.walkers, 0

    def turn(self, proposals: int) -> Turn:
        """A whole number of rows, so that every accepted step is counted in one."""
        sweeps = MEASURE_EVERY * max(1, round(proposals / (self.n_walkers * MEASURE_EVERY)))
        began = time.process_time()
        self.chain.advance(self.sweep + 1, self.sweep + sweeps)
        seconds = time.process_time() - began
        self.sweep += sweeps
        return Turn(seconds, sweeps * self.n_walkers, int(self.chain.take()["accepted"].sum()))


class Gradients:
    """A function of products.c on a block: `gradients`, or `products_alone` of them."""

    def __init__(self, case: Case, weights: Reals, precision: str, library: ctypes.CDLL, function: str) -> None:
        self.block = case.task.model.gradient_block(case.task.instance, weights, precision)
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        self.target = ctypes.c_void_p(pointer(self.block.capsule, b"mcmc.gradient_target"))
        self.function, self.n_walkers = getattr(library, function), case.walkers
        self.gradient = np.empty(weights.size * 8)  # padding included

    def turn(self, proposals: int) -> Turn:
        n = max(1, round(proposals / self.n_walkers))
        began = time.process_time()
        self.function(self.target, ctypes.c_int64(n), self.gradient.ctypes.data_as(ctypes.c_void_p))
        return Turn(time.process_time() - began, n * self.n_walkers, None)


class Peak:
    """Multiply-adds in registers, see floor.c: what no matrix product can beat."""

    SHORTEST = 100_000

    def __init__(self, precision: str, library: ctypes.CDLL) -> None:
        self.function = getattr(library, f"multiply_adds_{precision}")
        self.function.restype = ctypes.c_int64
        self.out = np.empty(1, precision)
        self.per_round = self.function(ctypes.c_int64(1), self._out())

    def _out(self) -> ctypes.c_void_p:
        return self.out.ctypes.data_as(ctypes.c_void_p)

    def turn(self, proposals: int) -> Turn:
        """A proposal is a multiply-add."""
        rounds = max(self.SHORTEST, round(proposals / self.per_round))
        began = time.process_time()
        done = self.function(ctypes.c_int64(rounds), self._out())
        return Turn(time.process_time() - began, done, None)


class Reading:
    """Going once through as much memory as a task's real inputs take: what one walker cannot do without."""

    def __init__(self, task: Task, precision: str, library: ctypes.CDLL) -> None:
        self.function, self.inputs = library.stream, task.dense.astype(precision)
        self.function.restype = ctypes.c_uint64

    def turn(self, proposals: int) -> Turn:
        """A proposal is one reading."""
        pointer, n_words = self.inputs.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(self.inputs.nbytes // 8)
        began = time.process_time()
        self.function(ctypes.c_int64(proposals), n_words, pointer)
        return Turn(time.process_time() - began, proposals, None)


class Libraries:
    """The programs in C."""

    def __init__(self, directory: Path) -> None:
        self.products = compiled("products", directory)
        self.floor = compiled("floor", directory)


def measure_steps(case: Case, libraries: Libraries, repeats: int, seconds: float) -> Iterator[dict[str, object]]:
    """A row per precision; every contender gets a turn of `seconds` per repeat."""
    task, weights = case.task, case.task.draw(case.walkers)
    contenders: dict[str, Any] = {}
    for precision in PRECISIONS:
        contenders |= {
            precision: Steps(case, weights, precision),
            f"products {precision}": Gradients(case, weights, precision, libraries.products, "products_alone"),
            f"numpy {precision}": NumpyProducts(task, weights, precision),
            f"peak {precision}": Peak(precision, libraries.floor),
        }
        if case.walkers == 1 and not task.instance.inputs.binary:
            contenders[f"reading {precision}"] = Reading(task, precision, libraries.floor)
    if "blackjax" not in missing():
        contenders["blackjax"] = BlackjaxSteps(task, weights, case.step_size)
    turns = by_turns(contenders, repeats, seconds)
    if "blackjax" in contenders:
        _check_density(task, *contenders["blackjax"].state())
    for precision in PRECISIONS:
        figures = Figures(turns, precision)
        products, peak = figures.ns(f"products {precision}"), figures.ns(f"peak {precision}")
        work = 2 * task.n_patterns * task.architecture.n_weights
        share = figures.times(f"products {precision}")
        yield _about(case, precision) | {
            "us": figures.ns(precision) / 1e3,
            "spread": figures.spread,
            "acceptance": figures.acceptance(precision),
            "blackjax_us": _us(figures.ns("blackjax")),
            "blackjax_acceptance": figures.acceptance("blackjax") if "blackjax" in turns else None,
            "times_blackjax": figures.times("blackjax"),
            "numpy_us": _us(figures.ns(f"numpy {precision}")),
            "times_numpy_products": figures.times(f"numpy {precision}"),
            "products_us": _us(products),
            "products_share": share,
            "reading_us": _us(figures.ns(f"reading {precision}")),
            "products_rate": 2 * work / products,
            "peak_rate": 2 / peak,
            "of_peak": work * peak / products,
        }


def measure_gradients(case: Case, libraries: Libraries, repeats: int, seconds: float) -> Iterator[dict[str, object]]:
    """A row per precision."""
    task, weights = case.task, case.task.draw(case.walkers)
    contenders: dict[str, Any] = {}
    for precision in PRECISIONS:
        contenders[precision] = Gradients(case, weights, precision, libraries.products, "gradients")
        contenders[f"products {precision}"] = Gradients(case, weights, precision, libraries.products, "products_alone")
        if "torch" not in missing():
            contenders[f"torch {precision}"] = torch = TorchGradient(task, weights, precision)
            _check_gradient(contenders[precision].block, weights, torch.gradient().numpy(), precision)
    turns = by_turns(contenders, repeats, seconds)
    for precision in PRECISIONS:
        figures = Figures(turns, precision)
        yield _about(case, precision) | {
            "us": figures.ns(precision) / 1e3,
            "spread": figures.spread,
            "torch_us": _us(figures.ns(f"torch {precision}")),
            "times_torch": figures.times(f"torch {precision}"),
            "products_share": figures.times(f"products {precision}"),
        }


def _about(case: Case, precision: str) -> dict[str, object]:
    task = case.task
    return {
        "inputs": task.inputs,
        "N": task.architecture.n_inputs,
        "P": task.n_patterns,
        "walkers": case.walkers,
        "precision": precision,
    }


def _us(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e3


def _check_density(task: Task, weights: Reals, density: Reals) -> None:
    """Whether BlackJAX has the law of the engine."""
    energy, _ = task.model.gradient_block(task.instance, weights).evaluate(weights)
    expected = -task.beta * energy - 0.5 * (weights**2).sum(axis=1)
    if not np.allclose(density, expected, rtol=1e-9):
        raise RuntimeError(f"blackjax: log density {density[0]}, expected {expected[0]}")


def _check_gradient(block: Any, weights: Reals, gradient: Reals, precision: str) -> None:
    _, expected = block.evaluate(weights)
    error = np.abs(gradient - expected).max() / np.abs(expected).max()
    if not error < ROUNDING[precision]:
        raise RuntimeError(f"torch: its gradient differs by {error:.1e}")
