"""The competitors of real weights: BlackJAX and torch's autograd, and numpy's matrix products alone.

Energies are those of `tasks.Task`, written once more; `real.py` compares them, and the gradients, with the engine's.
All run on one thread (`bench.ONE_THREAD`). Time is CPU time of the process, since jax computes in a thread of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from contenders import SEED, Turn
from numpy.typing import NDArray
from tasks import Task

Reals = NDArray[np.float64]


@cache
def jax() -> ModuleType:
    """jax in double precision."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def log_density(task: Task) -> Callable[[Any], Any]:
    """-beta E - |w|^2 / 2 of weights (n_weights,), for jax."""
    np_ = jax().numpy
    x, y, k = np_.asarray(task.views), np_.asarray(task.labels), task.architecture.n_hidden
    scale = 1.0 / math.sqrt(task.architecture.fan_in)

    def value(w: Any) -> Any:
        if k == 1:
            f = x[0] @ w * scale
        else:
            f = np_.tanh(np_.einsum("kpi,ki->kp", x, w.reshape(k, -1)) * scale).sum(axis=0) / math.sqrt(k)
        loss = jax().nn.softplus(-y * f) if task.loss.name == "logistic" else 0.5 * (y - f) ** 2
        return -task.beta * np_.sum(loss) - 0.5 * np_.sum(w * w)

    return value


class BlackjaxSteps:
    """MALA of BlackJAX: jit of a loop over steps of a vmap over walkers."""

    def __init__(self, task: Task, weights: Reals, step_size: float) -> None:
        import blackjax

        j, self.n_walkers, self.turns = jax(), len(weights), 0
        algorithm = blackjax.mala(log_density(task), step_size)
        self.states = j.vmap(algorithm.init)(j.numpy.asarray(weights))

        def step(i: Any, carried: Any) -> Any:
            key, states, accepted = carried
            keys = j.random.split(j.random.fold_in(key, i), self.n_walkers)
            states, info = j.vmap(algorithm.step)(keys, states)
            return key, states, accepted + info.is_accepted.sum()

        self.run = j.jit(lambda key, states, n: j.lax.fori_loop(0, n, step, (key, states, 0))[1:])

    def turn(self, proposals: int) -> Turn:
        n = max(10, round(proposals / self.n_walkers))
        key, self.turns = jax().random.PRNGKey(self.turns), self.turns + 1
        began = time.process_time()
        self.states, accepted = jax().block_until_ready(self.run(key, self.states, n))
        return Turn(time.process_time() - began, n * self.n_walkers, int(accepted))

    def state(self) -> tuple[Reals, Reals]:
        """Weights (n_walkers, n_weights) and their log density."""
        return np.asarray(self.states.position), np.asarray(self.states.logdensity)


class TorchGradient:
    """The gradient of tanh committees under the square loss by torch's autograd, in the faster of two layouts."""

    def __init__(self, task: Task, weights: Reals, precision: str) -> None:
        import torch

        torch.set_num_threads(1)
        kind, k = getattr(torch, precision), task.architecture.n_hidden
        by_pattern = torch.tensor(task.views, dtype=kind).mT
        self.labels = torch.tensor(task.labels, dtype=kind)
        self.weights = torch.tensor(weights, dtype=kind, requires_grad=True)
        self.shape, self.scale, self.outer = (len(weights), k, -1), task.architecture.fan_in**-0.5, k**-0.5
        self.torch = torch
        took = {}
        for self.inputs in (by_pattern, by_pattern.contiguous()):
            self.turn(self.TRIAL)
            took[self.turn(self.TRIAL).seconds] = self.inputs
        self.inputs = took[min(took)]

    TRIAL = 200
    """Gradients after which a layout is chosen."""

    def gradient(self) -> Any:
        fields = self.weights.view(self.shape).transpose(0, 1) @ self.inputs  # (units, walkers, patterns)
        output = self.torch.tanh(fields * self.scale).sum(0) * self.outer
        loss = 0.5 * ((output - self.labels) ** 2).sum()
        return self.torch.autograd.grad(loss, self.weights)[0]

    def turn(self, proposals: int) -> Turn:
        n = max(1, round(proposals / len(self.weights)))
        began = time.process_time()
        for _ in range(n):
            self.gradient()
        return Turn(time.process_time() - began, n * len(self.weights), None)


class NumpyProducts:
    """Fields of all patterns and forces times patterns, by numpy, and nothing else."""

    def __init__(self, task: Task, weights: Reals, precision: str) -> None:
        self.inputs = task.views[0].astype(precision)
        self.weights = np.ascontiguousarray(weights.T, dtype=precision)
        self.fields = np.empty((len(self.inputs), len(weights)), precision)
        self.forces = np.empty_like(self.weights)

    def turn(self, proposals: int) -> Turn:
        n_walkers = self.weights.shape[1]
        n = max(1, round(proposals / n_walkers))
        began = time.process_time()
        for _ in range(n):
            np.matmul(self.inputs, self.weights, out=self.fields)
            np.matmul(self.inputs.T, self.fields, out=self.forces)
        return Turn(time.process_time() - began, n * n_walkers, None)


class BlackjaxSampler:
    """MALA, HMC or NUTS of BlackJAX on some walkers, unit metric; rows as efficiency.Rows has them.

    The compiled loop makes CHUNK sweeps at a time. step_size may change without another compilation.
    """

    CHUNK = 50

    def __init__(self, method: str, task: Task, weights: Reals, step_size: float, n_steps: int) -> None:
        import blackjax

        j, self.n_walkers, self.chunks = jax(), len(weights), 0
        self.step_size, self.beta = step_size, task.beta
        density, metric = log_density(task), j.numpy.ones(weights.shape[1])
        made: dict[str, Callable[[Any], Any]] = {
            "mala": lambda h: blackjax.mala(density, h),
            "hmc": lambda h: blackjax.hmc(density, h, metric, n_steps),
            "nuts": lambda h: blackjax.nuts(density, h, metric),
        }
        self.states = j.vmap(made[method](1.0).init)(j.numpy.asarray(weights))

        @j.jit
        def run(key: Any, states: Any, h: Any) -> Any:
            algorithm = made[method](h)

            def row(states: Any, key: Any) -> Any:
                states, info = j.vmap(algorithm.step)(j.random.split(key, self.n_walkers), states)
                w = states.position
                gradients = {"mala": lambda: 1, "hmc": lambda: n_steps}.get(method, lambda: info.num_integration_steps)
                told = (states.logdensity, (w * w).sum(axis=1), w[:, 0], info.acceptance_rate)
                return states, (*told, gradients() * j.numpy.ones(self.n_walkers, int))

            return j.lax.scan(row, states, j.random.split(key, self.CHUNK))

        self.run = run

    def rows(self, n: int) -> tuple[float, tuple[Reals, ...]]:
        """CPU seconds, and (rows, n_walkers) each: energy, |w|^2, the first weight, acceptance, gradients."""
        kept, began = [], time.process_time()
        for _ in range(-(-n // self.CHUNK)):
            self.chunks += 1
            key = jax().random.fold_in(jax().random.PRNGKey(SEED), self.chunks)
            self.states, told = jax().block_until_ready(self.run(key, self.states, self.step_size))
            kept.append(told)
        seconds = time.process_time() - began
        density, square, weight, acceptance, gradients = map(np.concatenate, zip(*kept, strict=True))
        return seconds, ((-density - 0.5 * square) / self.beta, square, weight, acceptance, gradients)
