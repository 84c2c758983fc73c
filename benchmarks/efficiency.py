"""Effective samples per second and per gradient, of all samplers of real weights and of BlackJAX's, on two tasks.

All start from the same weights, drawn by HMC, and have step sizes tuned to the acceptance that is best for them; those
without a decision take the step size of their relative that has one. Turns as in kernels.py: all samplers get the same
time, and ratios are formed within a turn.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from autodiff import BlackjaxSampler
from contenders import SEED
from numpy.typing import NDArray
from real import missing
from tasks import Task

from mcmc.analysis.statistics import time_average
from mcmc.architectures import Architecture
from mcmc.losses import Loss
from mcmc.priors import Gaussian
from mcmc.samplers import CONTINUOUS

Reals = NDArray[np.float64]
Rows = tuple[Reals, ...]
"""(rows, n_walkers) each: energy, |w|^2, the first weight; and more for who makes them."""

WALKERS = 16
STEP_OF = {"langevin": "mala", "sgld": "mala", "underdamped": "hmc"}
"""Whose step size a sampler takes that has no acceptance to tune by."""
TARGETS = {"mala": 0.574, "hmc": 0.7, "nuts": 0.8}
"""Acceptance of BlackJAX's; the first two as here, the third as is its default elsewhere."""
TUNING = 1000
"""Sweeps in which a step size is found."""
WINDOWS = 20
MOST_ROWS = 4000
"""Of a turn; with more sweeps rows are further apart."""
ALARM = 6.0
"""Standard errors by which the mean energy of an exact sampler may differ from that of all others."""


@dataclass(frozen=True)
class Case:
    """A task, and the leapfrog steps of HMC that were found best on it: on average here, every time in BlackJAX."""

    name: str
    task: Task
    n_steps: int
    blackjax_steps: int

    def __str__(self) -> str:
        return f"{self.task.inputs} {self.task.architecture.name} {self.task.loss.name} efficiency {self.name}"


CASES = (
    Case("logistic perceptron", Task(Architecture("perceptron", 100), Loss("logistic"), "gaussian", 200), 2, 3),
    Case(
        "tanh tree-committee",
        Task(Architecture("tree-committee", 99, 3, "tanh"), Loss("square"), "gaussian", 200, beta=5.0),
        3,
        3,
    ),
)
"""alpha = 2, beta = 1, labels of a teacher; K = 3, beta = 5, real labels of a teacher."""


class Own:
    """A sampler of the engine on WALKERS walkers."""

    program = "mcmc"

    def __init__(self, method: str, case: Case, weights: Reals, step_size: Reals | None = None) -> None:
        self.method, self.sampler = method, CONTINUOUS[method]
        self.is_exact = self.sampler.is_exact
        given: dict[str, Any] = {}
        if method == "hmc":
            given = {"n_steps": case.n_steps}
        if method == "sgld":
            given = {"batch_size": case.task.instance.inputs.n_patterns // 4}
        self.gradients = given.get("n_steps", 1) if self.sampler.needs_gradient else None
        model = case.task.model
        if self.sampler.by_coordinate:
            self.block = model.coordinate_block(case.task.instance, weights)
        else:
            self.block = model.gradient_block(case.task.instance, weights, batch_size=given.get("batch_size", 0))
        step = {"step_size": step_size} if step_size is not None else {}
        chain = self._chain(case, given | step, TUNING, TUNING // 2)
        chain.advance(1, TUNING)
        began = time.process_time()
        chain.advance(TUNING + 1, TUNING + 100)
        self.seconds_per_sweep = (time.process_time() - began) / 100
        self.step_size = chain.step_size
        self.frozen = given if self.step_size is None else given | {"step_size": self.step_size}
        self.case, self.done = case, 0

    def _chain(self, case: Case, parameters: dict[str, Any], burn_in: int, measure_every: int) -> Any:
        return self.sampler(**parameters).chain(
            self.block,
            seed=SEED,
            beta=np.full(1, case.task.beta),
            prior=Gaussian(),
            n_copies=WALKERS,
            burn_in=burn_in,
            measure_every=measure_every,
        )

    def prepare(self, seconds: float) -> None:
        """Turns of about that length from now on."""
        sweeps = seconds / self.seconds_per_sweep
        self.measure_every = max(1, math.ceil(sweeps / MOST_ROWS))
        self.sweeps = max(1, round(sweeps / self.measure_every)) * self.measure_every
        self.chain = self._chain(self.case, self.frozen, 0, self.measure_every)

    def turn(self) -> tuple[float, Rows, float, float | None]:
        """CPU seconds, rows, acceptance, and gradients of a walker."""
        began = time.process_time()
        self.chain.advance(self.done + 1, self.done + self.sweeps)
        seconds = time.process_time() - began
        self.done += self.sweeps
        rows = self.chain.take()
        w = rows["weights"]
        proposals = self.chain.proposals * self.sweeps * WALKERS
        acceptance = rows["accepted"].sum() / proposals if proposals else math.nan
        gradients = None if self.gradients is None else self.gradients * self.sweeps
        return seconds, (rows["energy"], (w * w).sum(axis=2), w[:, :, 0]), acceptance, gradients


class Blackjax:
    """A sampler of BlackJAX on the same walkers."""

    program = "blackjax"
    is_exact = True

    def __init__(self, method: str, case: Case, weights: Reals, step_size: float) -> None:
        self.method = method
        self.sampler = BlackjaxSampler(method, case.task, weights, step_size, case.blackjax_steps)
        self._tune(TARGETS[method])
        seconds, rows = self.sampler.rows(100)
        self.seconds_per_sweep = seconds / len(rows[0])
        self.step_size = np.array([self.sampler.step_size])

    def _tune(self, target: float) -> None:
        """Robbins and Monro's steps, and at last the mean over their second half, as mcmc.kernels.moves does."""
        log_steps = [math.log(self.sampler.step_size)]
        for window in range(WINDOWS):
            _, rows = self.sampler.rows(1)
            log_steps.append(log_steps[-1] + 4.0 / (1.0 + math.sqrt(window)) * (float(rows[3].mean()) - target))
            self.sampler.step_size = math.exp(log_steps[-1])
        self.sampler.step_size = math.exp(np.mean(log_steps[WINDOWS // 2 :]))

    def prepare(self, seconds: float) -> None:
        self.sweeps = max(1, round(seconds / self.seconds_per_sweep))

    def turn(self) -> tuple[float, Rows, float, float | None]:
        seconds, rows = self.sampler.rows(self.sweeps)
        return seconds, rows[:3], float(rows[3].mean()), float(rows[4].sum(axis=0).mean())


def measure(case: Case, repeats: int, seconds: float) -> list[dict[str, object]]:
    """A row per sampler; each gets `repeats` turns of `seconds`."""
    samplers = _samplers(case)
    for sampler in samplers:
        sampler.prepare(seconds)
    turns: list[list[Any]] = [[] for _ in samplers]
    for _ in range(repeats):
        for sampler, own in zip(samplers, turns, strict=True):
            own.append(_Turn(*sampler.turn()))
    nuts = next((own for s, own in zip(samplers, turns, strict=True) if s.method == "nuts"), None)
    _check([(s.method, own) for s, own in zip(samplers, turns, strict=True) if s.is_exact])
    return [_row(case, sampler, own, nuts) for sampler, own in zip(samplers, turns, strict=True)]


def _samplers(case: Case) -> list[Own | Blackjax]:
    """All of them, tuned, from common weights."""
    weights = Own("hmc", case, case.task.draw(WALKERS)).block.weights
    own: dict[str, Own] = {}
    for method in sorted(CONTINUOUS, key=lambda name: name in STEP_OF):
        step = own[STEP_OF[method]].step_size if method in STEP_OF else None
        own[method] = Own(method, case, weights, step)
    samplers: list[Own | Blackjax] = [own[method] for method in CONTINUOUS]
    if "blackjax" not in missing():
        for method in TARGETS:
            start = float(own["mala" if method == "mala" else "hmc"].step_size[0])
            samplers.append(Blackjax(method, case, weights, start))
    return samplers


class _Turn:
    """What a turn was worth."""

    def __init__(self, seconds: float, rows: Rows, acceptance: float, gradients: float | None) -> None:
        self.seconds, self.acceptance, self.gradients = seconds, acceptance, gradients
        estimates = [time_average(np.ascontiguousarray(series.T)) for series in rows]
        self.energy, self.error = float(estimates[0][0]), float(estimates[0][1])
        self.size = np.array([float(size) for _, _, size in estimates])

    @property
    def rate(self) -> float:
        """Effective samples per second of what is slowest."""
        return float(self.size.min()) / self.seconds


def _row(case: Case, sampler: Own | Blackjax, turns: list[_Turn], nuts: list[_Turn] | None) -> dict[str, object]:
    rates = np.array([turn.size / turn.seconds for turn in turns])  # (turns, 3)
    per_gradient = [turn.size.min() / (turn.gradients * WALKERS) for turn in turns if turn.gradients]
    acceptance = float(np.mean([turn.acceptance for turn in turns]))
    energy, error = _pooled(turns)
    return {
        "task": case.name,
        "sampler": sampler.method if sampler.is_exact else f"{sampler.method} (biased)",
        "program": sampler.program,
        "step_size": None if sampler.step_size is None else float(sampler.step_size[0]),
        "acceptance": None if math.isnan(acceptance) else acceptance,
        "us": 1e6 * float(np.median([turn.seconds for turn in turns])) / (sampler.sweeps * WALKERS),
        "ess_min": float(np.median(rates.min(axis=1))),
        "ess_median": float(np.median(np.median(rates, axis=1))),
        "ess_of": {name: float(np.median(rates[:, i])) for i, name in enumerate(("energy", "norm", "weight"))},
        "ess_per_gradient": float(np.median(per_gradient)) if per_gradient else None,
        "times_nuts": None if nuts is None else _ratio(turns, nuts),
        "energy": energy,
        "energy_error": error,
    }


def _ratio(turns: list[_Turn], others: list[_Turn]) -> float:
    return float(np.median([a.rate / b.rate for a, b in zip(turns, others, strict=True)]))


def _pooled(turns: list[_Turn]) -> tuple[float, float]:
    """Mean energy of all turns, and its standard error."""
    return float(np.mean([turn.energy for turn in turns])), math.hypot(*(turn.error for turn in turns)) / len(turns)


def _check(exact: list[tuple[str, list[_Turn]]]) -> None:
    """Whether all exact samplers sample the same law."""
    means, errors = np.array([_pooled(turns) for _, turns in exact]).T
    best = np.average(means, weights=errors**-2.0)
    for (method, _), mean, error in zip(exact, means, errors, strict=True):
        if not abs(mean - best) <= ALARM * error:
            raise RuntimeError(f"{method}: mean energy {mean:.4f} +- {error:.4f}, that of all is {best:.4f}")
