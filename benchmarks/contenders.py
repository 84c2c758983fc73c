"""Who runs against whom: the engine, plain programs in C, numba and numpy, the scheme of RRRMC.jl, and dwave-samplers.

All do single flips on the same patterns, from the same weights. `turn` says what some proposals took, `state` where
they led: `kernels.measure` checks the energy that was tracked against one summed up anew.
Time is CPU time of the thread, so that other programs on the machine disturb little.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcmc import priors
from mcmc.architectures import Architecture
from mcmc.data import Instance
from mcmc.kernels import cpu
from mcmc.kernels.flips import Flips
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.samplers import SAMPLERS

SEED = 1
MEASURE_EVERY = 10


@dataclass(frozen=True)
class Turn:
    """What one turn of a contender took. accepted: None where nobody counts."""

    seconds: float
    proposals: int
    accepted: int | None

    @property
    def ns(self) -> float:
        return 1e9 * self.seconds / self.proposals

    @property
    def acceptance(self) -> float:
        return math.nan if self.accepted is None else self.accepted / self.proposals


class Contender(Protocol):
    def turn(self, proposals: int) -> Turn:
        """About that many proposals."""

    def state(self) -> tuple[NDArray[np.int8], float]:
        """Weights (n_weights,) of a walker, and their energy by the contender's own book-keeping."""


class Engine:
    """All of chain.advance: random numbers, kernels, exchange every sweep, a row every ten; walkers at one beta.

    Under waiting-time a proposal is an attempt of physical time: n_weights a sweep, whatever was computed for it.
    """

    def __init__(
        self,
        architecture: Architecture,
        loss: Loss,
        instance: Instance,
        weights: NDArray[np.int8],
        beta: float,
        *,
        n_rungs: int,
        sampler: str = "metropolis",
        constraint: priors.FixedOverlap | None = None,
        level: str | None = None,
    ) -> None:
        cpu.use(level or cpu.available()[-1])
        self.block = MODELS[architecture.name](architecture, loss).block(instance, weights)
        self.chain: Flips = SAMPLERS[sampler]().chain(
            self.block,
            seed=SEED,
            beta=np.full(n_rungs, beta),
            n_copies=len(weights) // n_rungs,
            measure_every=MEASURE_EVERY,
            constraint=constraint,
        )
        self.sweep = 0

    def turn(self, proposals: int) -> Turn:
        """A whole number of rows, so that every accepted flip is counted in one."""
        per_sweep = self.block.weights.size
        sweeps = MEASURE_EVERY * max(1, round(proposals / (per_sweep * MEASURE_EVERY)))
        began = time.thread_time()
        self.chain.advance(self.sweep + 1, self.sweep + sweeps)
        seconds = time.thread_time() - began
        self.sweep += sweeps
        accepted = self.chain.take()["accepted"]
        return Turn(seconds, sweeps * per_sweep, int(accepted.sum()))

    def state(self) -> tuple[NDArray[np.int8], float]:
        return self.block.weights[0], float(self.block.energy[0])


class Patterns:
    """An instance as the plain programs see it, and the energy summed up anew.

    columns: (n_inputs, n_patterns) label times input, int8 for +-1 inputs, else float64. Unit k has the fields
    y w_k.x (less 1 for label -1 under the error count on +-1 inputs, where sign(0) = +1): its vote is right from 0 on.
    """

    def __init__(self, architecture: Architecture, loss: Loss, instance: Instance) -> None:
        self.architecture, self.loss, self.binary = architecture, loss, instance.inputs.binary
        self.labels = np.ones(instance.labels.shape, np.int8) if loss.name == "symmetric" else instance.labels
        dense = instance.inputs.dense()
        self.columns = np.ascontiguousarray(dense.T * self.labels.astype(dense.dtype))
        scale = math.sqrt(architecture.n_inputs)
        self.threshold = math.floor(loss.margin * scale) if loss.name == "symmetric" else loss.margin
        self.total = _totals(self.threshold, 1.0 / scale)[loss.name]

    @property
    def n_patterns(self) -> int:
        return self.columns.shape[1]

    def fields(self, weights: NDArray[np.int8]) -> NDArray[Any]:
        """Of weights (n_weights,): int16 or float64 (n_hidden, n_patterns)."""
        exact = np.float32 if self.binary else np.float64  # integers below 2^24
        units = weights.reshape(self.architecture.n_hidden, -1).astype(exact)
        fields = np.zeros((len(units), self.n_patterns), exact)
        for k, unit in enumerate(units):
            first = k * unit.size if self.architecture.is_tree else 0
            for start in range(0, unit.size, 512):
                piece = unit[start : start + 512]
                fields[k] += piece @ self.columns[first + start : first + start + piece.size].astype(exact)
        if not self.binary:
            return fields
        if self.loss.name == "error-count":
            fields -= self.labels < 0
        return fields.astype(np.int16)

    def votes(self, fields: NDArray[Any]) -> NDArray[np.int16]:
        """Label times what the units say together, (n_patterns,): negative where a pattern is wrong."""
        right = np.where(fields >= 0, 1, -1)
        if self.architecture.is_parity:  # each vote holds the label once
            return np.asarray(right.prod(axis=0) * self.labels ** (len(right) - 1), dtype=np.int16)
        return right.sum(axis=0, dtype=np.int16)

    def energy(self, fields: NDArray[Any]) -> float:
        """Of fields (n_hidden, n_patterns)."""
        if self.architecture.name == "perceptron":
            return float(self.total(fields[0]))
        return float(np.count_nonzero(self.votes(fields) < 0))


def _totals(threshold: float, scale: float) -> dict[str, Callable[[NDArray], float]]:
    """Energies of fields (n_patterns,) of a perceptron, by loss."""
    return {
        "error-count": lambda field: np.count_nonzero(field < threshold),
        "symmetric": lambda field: np.count_nonzero(np.abs(field) > threshold),
        "hinge": lambda field: np.maximum(threshold - scale * field, 0.0).sum(),
        "squared-hinge": lambda field: 0.5 * np.square(np.maximum(threshold - scale * field, 0.0)).sum(),
        "logistic": lambda field: np.logaddexp(0.0, threshold - scale * field).sum(),
        "square": lambda field: 0.5 * np.square(1.0 - scale * field).sum(),
    }


class _Walker:
    """One walker of a plain program."""

    def __init__(self, patterns: Patterns, weights: NDArray[np.int8], beta: float) -> None:
        self.patterns, self.beta = patterns, beta
        self.weights = weights.copy()
        self.fields = patterns.fields(weights)
        self.votes = patterns.votes(self.fields)
        self.energy = patterns.energy(self.fields)
        self.turns = 0

    def state(self) -> tuple[NDArray[np.int8], float]:
        return self.weights, self.energy


class _C(_Walker):
    """A function of a compiled library: its arguments before beta are the subclass's."""

    function: Any

    def arguments(self) -> list[Any]:
        raise NotImplementedError

    def turn(self, proposals: int) -> Turn:
        self.turns += 1
        energy = ctypes.c_double()
        arguments = [*self.arguments(), ctypes.c_double(self.beta), ctypes.c_uint64(self.turns)]
        arguments += [ctypes.c_int64(proposals), ctypes.byref(energy)]
        self.function.restype = ctypes.c_int64
        began = time.thread_time()
        accepted = self.function(*arguments)
        seconds = time.thread_time() - began
        if accepted < 0:
            raise MemoryError(f"{type(self).__name__}: no memory")
        self.energy = energy.value
        return Turn(seconds, proposals, accepted)


class PlainC(_C):
    """plain_loop.c, compiled for one -march."""

    def __init__(self, patterns: Patterns, weights: NDArray[np.int8], beta: float, library: ctypes.CDLL) -> None:
        super().__init__(patterns, weights, beta)
        architecture, law = patterns.architecture, "binary" if patterns.binary else "gaussian"
        self.many = architecture.n_hidden > 1
        kind = architecture.name.removeprefix("tree-") if self.many else law
        self.function = getattr(library, f"{kind}_{patterns.loss.name.replace('-', '_')}")

    def arguments(self) -> list[Any]:
        p, size = self.patterns, ctypes.c_int64
        if self.many:
            sizes = [self.weights.size, p.architecture.fan_in, p.architecture.n_inputs, p.n_patterns]
            return [*map(size, sizes), *map(_pointer, (p.columns, self.fields, self.votes, self.weights))]
        arrays = map(_pointer, (p.columns, self.fields, self.weights))
        return [size(self.weights.size), size(p.n_patterns), *arrays, ctypes.c_double(p.threshold)]


class RrrmcScheme(_C):
    """rrrmc_scheme.c: index sets of near-threshold patterns."""

    def __init__(self, patterns: Patterns, weights: NDArray[np.int8], beta: float, library: ctypes.CDLL) -> None:
        super().__init__(patterns, weights, beta)
        self.function = library.rrrmc_scheme
        self.bits = np.packbits(patterns.columns > 0, axis=1, bitorder="little")

    @staticmethod
    def takes(patterns: Patterns) -> bool:
        """The package has perceptrons and committees."""
        counts_errors = patterns.loss == Loss("error-count") and patterns.binary
        return counts_errors and not patterns.architecture.is_parity

    def arguments(self) -> list[Any]:
        p = self.patterns
        sizes = [len(self.fields), self.weights.size, p.architecture.n_inputs, p.n_patterns]
        arrays = p.columns, self.bits, self.fields, self.votes, self.weights
        return [*map(ctypes.c_int64, sizes), *map(_pointer, arrays)]


class Numpy(_Walker):
    """In numpy, a proposal at a time."""

    def __init__(self, patterns: Patterns, weights: NDArray[np.int8], beta: float) -> None:
        super().__init__(patterns, weights, beta)
        self.rng = np.random.default_rng(SEED)

    def turn(self, proposals: int) -> Turn:
        p, accepted = self.patterns, 0
        fan_in, n_inputs = p.architecture.fan_in, p.architecture.n_inputs
        began = time.thread_time()
        sites = self.rng.integers(self.weights.size, size=proposals)
        limits = -np.log(1.0 - self.rng.random(proposals)) / self.beta
        for site, limit in zip(sites, limits, strict=True):
            fields = self.fields.copy()
            fields[site // fan_in] -= (2 * self.weights[site]) * p.columns[site % n_inputs]
            energy = p.energy(fields)
            if energy - self.energy <= limit:
                self.fields, self.energy = fields, energy
                self.weights[site] = -self.weights[site]
                accepted += 1
        return Turn(time.thread_time() - began, proposals, accepted)


class Numba(_Walker):
    """The plain loop of the perceptron's error count on +-1 inputs, compiled by numba."""

    def turn(self, proposals: int) -> Turn:
        self.turns += 1
        run, p = _numba_loop(), self.patterns
        began = time.thread_time()
        accepted, energy = run(p.columns, self.fields[0], self.weights, self.beta, proposals)
        self.energy = float(energy)
        return Turn(time.thread_time() - began, proposals, accepted)


@cache
def _numba_loop() -> Any:
    import numba

    @numba.njit(fastmath=True)
    def run(columns, field, weights, beta, n):
        n_sites, n_patterns = columns.shape
        energy = 0
        for mu in range(n_patterns):
            energy += field[mu] < 0
        accepted = 0
        for _ in range(n):
            site = int(np.random.random() * n_sites)  # noqa: NPY002  (numba compiles no other generator as fast)
            column, step = columns[site], np.int16(2 * weights[site])
            after = np.int16(0)
            for mu in range(n_patterns):  # minus the sign; a comparison would be summed in wider integers, 1.7 x slower
                after = np.int16(after - (np.int16(field[mu] - step * column[mu]) >> np.int16(15)))
            if after <= energy or np.random.random() < math.exp(-beta * (after - energy)):  # noqa: NPY002
                for mu in range(n_patterns):
                    field[mu] -= step * column[mu]
                weights[site] = -weights[site]
                energy = after
                accepted += 1
        return accepted, energy

    return run


class Dwave:
    """SimulatedAnnealingSampler of dwave-samplers on the couplings of the square loss, at constant beta.

    Its set-up (the graph of N (N - 1) / 2 couplings) is not counted: a turn is the difference of two calls. Its
    sweeps visit the sites in order.
    """

    def __init__(self, patterns: Patterns, weights: NDArray[np.int8], beta: float) -> None:
        import dimod
        from dwave.samplers import SimulatedAnnealingSampler

        x = patterns.columns.astype(np.float64)
        n = len(x)
        coupling = x @ x.T / n
        i, j = np.triu_indices(n, 1)
        constant = 0.5 * (patterns.n_patterns + np.trace(coupling))
        bias = -x.sum(axis=1) / math.sqrt(n)
        self.bqm = dimod.BinaryQuadraticModel.from_numpy_vectors(bias, (i, j, coupling[i, j]), constant, "SPIN")
        self.sampler = SimulatedAnnealingSampler()
        self.beta, self.weights, self.energy, self.turns = beta, weights.copy(), 0.0, 0

    def turn(self, proposals: int) -> Turn:
        sweeps = max(200, round(proposals / self.weights.size))
        seconds = self._run(2 + sweeps) - self._run(2)
        return Turn(seconds, sweeps * self.weights.size, None)

    def _run(self, sweeps: int) -> float:
        self.turns += 1
        began = time.thread_time()
        result = self.sampler.sample(
            self.bqm,
            beta_range=(self.beta, self.beta),
            beta_schedule_type="linear",
            num_sweeps=sweeps,
            num_reads=1,
            seed=self.turns,
            initial_states=(self.weights, range(self.weights.size)),
        )
        seconds = time.thread_time() - began
        self.weights, self.energy = result.record.sample[0], float(result.record.energy[0])
        return seconds

    def state(self) -> tuple[NDArray[np.int8], float]:
        return self.weights, self.energy


OTHERS: dict[str, type[Numba] | type[Dwave]] = {"numba": Numba, "dwave-samplers": Dwave}
"""By the package that must be installed, extra `bench`."""


def compiled(name: str, directory: Path, march: str = "native") -> ctypes.CDLL:
    """benchmarks/NAME.c for one -march; the library stays in `directory`."""
    library = directory / f"{name}_{march}.so"
    here = Path(__file__).resolve().parent
    flags = ["-O3", "-ffast-math", f"-march={march}", "-std=gnu11", "-fPIC", "-shared", f"-I{here.parent}/ext/include"]
    subprocess.run(["gcc", *flags, "-o", library, here / f"{name}.c", "-lm"], check=True)
    return ctypes.CDLL(str(library))


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
