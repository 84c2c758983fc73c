"""What surrounds the kernels in a production run: exchange, rows, writing, Python; and the memory of a large one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from launch import launchers

from mcmc import config, data, engine, parallel
from mcmc.architectures import Architecture
from mcmc.kernels.flips import Flips
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.priors import Ising
from mcmc.samplers import Metropolis
from mcmc.samplers.flips import FlipSampler

N_RUNGS, N_COPIES = 16, 2


def run_file(n: int, p: int, n_rungs: int, sweeps: int, measure_every: int = 10) -> dict[str, Any]:
    """Tables of a run of one instance, exchange every sweep."""
    return {
        "seed": 1,
        "model": {"architecture": "perceptron", "weights": "ising", "n_inputs": n, "loss": {"name": "error-count"}},
        "data": {"source": "teacher", "n_patterns": p},
        "sampler": {"method": "metropolis"},
        "ladder": {
            "beta": {"min": 0.2, "max": 1.5, "n": n_rungs, "spacing": "geometric"},
            "n_copies": N_COPIES,
            "exchange_every": 1,
        },
        "schedule": {"sweeps": sweeps, "burn_in": sweeps // 5, "measure_every": measure_every},
    }


class _Timed:
    """A chain that notes when `advance` was first called, and adds up the time spent in it."""

    began = 0.0
    seconds = 0.0

    def __init__(self, chain: Flips) -> None:
        self._chain = chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    def advance(self, first: int, last: int) -> None:
        began = time.perf_counter()
        _Timed.began = _Timed.began or began
        self._chain.advance(first, last)
        _Timed.seconds += time.perf_counter() - began


def overhead(sweeps: int, n: int = 1000) -> dict[str, float]:
    """Shares of the time of a run on one rank, from its first sweep to its end, that are not spent in flips_sweep.

    Python and files: that time less all calls of chain.advance. Exchange and rows: their number times the time of one,
    measured by itself on the same kind of block (an upper bound: it includes the call from Python).
    """
    plain_chain = FlipSampler.chain
    _Timed.began = _Timed.seconds = 0.0
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch.object(FlipSampler, "chain", lambda *args, **kwargs: _Timed(plain_chain(*args, **kwargs))),
    ):
        checked = config.load(run_file(n, n, N_RUNGS, sweeps))
        engine.run(checked, Path(scratch, "out"), parallel.Serial(), quiet=True)
        total = time.perf_counter() - _Timed.began
    exchange, row = _costs(n)
    shares = {
        "exchange": exchange * sweeps / total,
        "rows": row * (sweeps // 10) / total,
        "python_and_files": 1.0 - _Timed.seconds / total,
    }
    return {"seconds": total, **shares, "all": sum(shares.values())}


def _chain(n: int, first: int = 0, stop: int = N_COPIES * N_RUNGS) -> Flips:
    """Walkers first .. stop - 1 of the run that `overhead` makes."""
    weights = Ising().walkers(1, 0, range(first, stop), N_RUNGS, 1, n)
    model = MODELS["perceptron"](Architecture("perceptron", n), Loss("error-count"))
    block = model.block(data.teacher_instance(1, 0, n, n), weights)
    beta = np.geomspace(0.2, 1.5, N_RUNGS)
    return Metropolis().chain(block, seed=1, beta=beta, n_copies=N_COPIES, first=first)


def _costs(n: int, rounds: int = 2000) -> tuple[float, float]:
    """Seconds of an exchange round, and of a row."""
    chain = _chain(n)
    energy = chain.block.energy
    chain.reserve(rounds)
    began = time.perf_counter()
    for sweep in range(1, rounds + 1):
        chain.exchange(sweep, energy)
    exchange = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(rounds):
        chain.record()
    return exchange / rounds, (time.perf_counter() - began) / rounds


def split_exchange(rounds: int = 20000, n: int = 1000) -> float:
    """Microseconds of an exchange round of an instance that lies on all ranks of the launcher, sweeps not included."""
    world = parallel.world()
    n_walkers = N_COPIES * N_RUNGS
    [piece] = parallel.layout(1, n_walkers, world.size)[world.rank]
    chain = _chain(n, piece.start, piece.stop)
    energies, here = np.empty(n_walkers), slice(piece.start, piece.stop)
    join = world.joining(energies, here)
    for sweep in range(1, rounds + 1):
        if sweep == rounds // 10:
            began = time.perf_counter()
        energies[here] = chain.block.energy
        join()
        chain.exchange(sweep, energies)
    return 1e6 * (time.perf_counter() - began) / (rounds - rounds // 10)


def split_exchange_on(n_ranks: int) -> float | None:
    """`split_exchange` under a launcher; None if there is none that works."""
    for launcher in launchers():
        found = [float(value) for value in re.findall(r"([0-9.]+) us", launcher.run(n_ranks, [__file__]))]
        if len(found) == n_ranks:  # else launcher and library do not belong together
            return max(found)
    return None


def peak_memory(n: int = 10001, p: int = 8000, n_rungs: int = 32, sweeps: int = 10) -> float:
    """GiB at the peak of an `mcmc run` of n_rungs x 2 walkers, start, checkpoint and results included."""
    with tempfile.TemporaryDirectory() as scratch:
        tables = run_file(n, p, n_rungs, sweeps, measure_every=1)
        code = "from pathlib import Path; from mcmc import config, engine, parallel; "
        code += f"engine.run(config.load({tables!r}), Path({scratch!r}, 'out'), parallel.Serial(), quiet=True)"
        process = subprocess.Popen([sys.executable, "-c", code])
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the run for the memory figure ended with status {status}")
    return used.ru_maxrss / 2**20


if __name__ == "__main__":  # a rank of split_exchange_on
    print(f"{split_exchange():.3f} us", flush=True)
