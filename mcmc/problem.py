"""From a checked configuration to the things it names: instances, model, sampler, ladder, initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc import constraint, data, ladder, observables
from mcmc.annealing import Annealing
from mcmc.architectures import Architecture
from mcmc.errors import ConfigError
from mcmc.kernels.random import PILOT, stream_key
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.priors import Weights, on_sphere
from mcmc.samplers import CONTINUOUS, SAMPLERS
from mcmc.schema import VARIABLES

if TYPE_CHECKING:
    from mcmc.config import Config
    from mcmc.models.base import Block
    from mcmc.samplers.base import Sampler

_ON_SPHERE = 1e-6
"""Relative deviation of |w_k|^2 from the fan-in up to which a teacher from a file is a state of spherical weights."""


class Problem:
    """What a run file asks for.

    Data from a file are read when the problem is made: ConfigError if they are wrong. So is the reference of the
    constraint. What is given is not read.

    reference: of the constraint, int8 (n_instances or 1, n_weights)
    instance: of the data file
    """

    def __init__(
        self, config: Config, reference: NDArray[np.int8] | None = None, instance: data.Instance | None = None
    ) -> None:
        self.config = config
        self._from_file = instance
        if instance is None and config.data.source == "file":
            self._from_file = self._load_file()
        if self._from_file is None:
            self.n_inputs, self.n_patterns = config.model.n_inputs, config.n_patterns
        else:
            self.n_inputs, self.n_patterns = self._from_file.inputs.n_inputs, self._from_file.inputs.n_patterns
        loss, self.architecture = config.model.loss, config.student(self.n_inputs)
        self.model = MODELS[self.architecture.name](self.architecture, Loss(loss.name, loss.margin, loss.sharpness))
        self.prior = config.prior
        self.sampler = _sampler(config)
        if self.prior.name == "spherical" and self.architecture.fan_in == 1:
            raise ConfigError(
                f"model.weights: got 'spherical', expected 'ising': with {self.n_inputs} inputs in {config.data.path} "
                "a unit of one weight on the sphere is -1 or +1"
            )
        if self.sampler.batch_size > self.n_patterns:  # only now known of a file
            allowed = f"at most the {self.n_patterns} patterns that there are"
            raise ConfigError(f"sampler.batch_size: got {self.sampler.batch_size}, expected {allowed}")
        self.walker_seed = config.seed
        """Of the streams of the walkers; data have those of the configuration."""
        self.n_instances, self.n_copies = config.data.n_instances, config.ladder.n_copies
        self._take_ladder(_betas(config))
        self.starts = _starts(config)
        """"random" or "teacher", by copy."""
        if config.constraint.reference == "teacher":
            teacher = self.teacher_architecture
            if teacher is None or not observables.same_shape(self.architecture, teacher):
                why = f"{config.data.path} has no teacher" if teacher is None else "the teacher has another shape"
                raise ConfigError(f"constraint.reference: got 'teacher', expected another: {why}")
        self.constraint = constraint.load(config, self.n_weights, self.n_instances, self.fingerprint, reference)
        """None: all weights are allowed."""
        if "teacher" in self.starts and self._from_file is not None and self._from_file.teacher is None:
            raise ConfigError(
                f"schedule.start: got {config.schedule.start!r}, expected 'random': {config.data.path} has no teacher"
            )
        if "teacher" in self.starts and self._from_file is not None and self.prior.name == "spherical":
            self._check_norms(self._from_file.teacher)

    def _take_ladder(self, beta: NDArray[np.float64]) -> None:
        self.beta = beta
        """Inverse temperatures at sweep 0."""
        self.n_rungs = beta.size
        self.n_walkers = self.n_copies * beta.size
        """Walkers of one instance."""

    def on_ladder(self, beta: NDArray[np.float64]) -> Problem:
        """The same on another ladder, (n_rungs,)."""
        other = copy(self)
        other._take_ladder(beta)
        return other

    def trial(self, beta: NDArray[np.float64], sweeps: int) -> Problem:
        """A short run on a ladder, see Config.trial, with walkers of its own."""
        other = self.on_ladder(beta)
        other.config, other.walker_seed = self.config.trial(sweeps), stream_key(self.config.seed, PILOT)
        return other

    @property
    def n_weights(self) -> int:
        return self.model.n_weights

    @property
    def by_rung(self) -> tuple[int, int, int]:
        """Instances, copies, rungs."""
        return self.n_instances, self.n_copies, self.n_rungs

    @property
    def proposals_per_sweep(self) -> int:
        """Of all walkers together; a move without an accept step counts as one."""
        return self.n_instances * self.n_walkers * self.moves_per_sweep

    @property
    def weight_bits(self) -> int:
        """Bits that a weight takes in a row."""
        return 64 if self.prior.is_real else 1

    @property
    def moves_per_sweep(self) -> int:
        """Of one walker."""
        return 1 if self.prior.is_real and not self.sampler.by_coordinate else self.n_weights

    @property
    def tuning_sweeps(self) -> list[int]:
        """The sweeps at whose end the ladder moves; empty where it stays."""
        asked = self.config.ladder
        if asked.tune == ladder.NONE:
            return []
        return ladder.tuning_sweeps(self.config.schedule.burn_in, asked.exchange_every)

    @cached_property
    def annealing(self) -> Annealing | None:
        """How the rungs come to their betas in the burn-in; None where they are there from the start."""
        asked, burn_in = self.config.schedule.annealing, self.config.schedule.burn_in
        return None if asked.beta is None else Annealing(asked.beta, self.beta, asked.spacing, burn_in)

    @property
    def teacher_architecture(self) -> Architecture | None:
        """What the teacher is; None without one."""
        if self._from_file is not None:
            return self._from_file.teacher_architecture
        return self.config.teacher(self.n_inputs) if self.config.data.source == "teacher" else None

    @property
    def has_teacher(self) -> bool:
        return self.teacher_architecture is not None

    @property
    def teacher_has_norm(self) -> bool:
        """Whether the norm of the teacher is not fixed by the law of its weights."""
        if not self.has_teacher:
            return False
        return self.prior.is_real if self._from_file is not None else self.config.teacher_prior.has_norm

    @property
    def series(self) -> list[str]:
        """Names of the time series by instance, see schema.VARIABLES."""
        student, teacher = self.architecture, self.teacher_architecture
        absent = {name for name, variable in VARIABLES.items() if variable.is_matrix}
        absent -= observables.hidden_shapes(student, teacher).keys()
        if self.n_copies == 1:
            absent |= {"overlap", "hidden_overlap"}
        if teacher is None or not observables.same_shape(student, teacher):
            absent.add("teacher_overlap")
        if not self.prior.has_norm:
            absent.add("norm")
        if not student.second_layer:
            absent.add("second_layer")
        if self.config.data.n_test == 0:
            absent.add("test_error")
        absent |= {name for key, name in observables.TOLD.items() if key not in self.sampler.tells}
        if self.constraint is None:
            absent.add("reference_overlap")
        series = [name for name, variable in VARIABLES.items() if {"instance", "sample"} <= set(variable.dims)]
        return [name for name in series if name not in absent]

    def shape(self, name: str, n_rows: int) -> tuple[int, ...]:
        """Shape of a variable of schema.VARIABLES with that many rows."""
        sizes = {
            "instance": self.n_instances,
            "sample": n_rows,
            "copy": self.n_copies,
            "pair": self.n_copies * (self.n_copies - 1) // 2,
            "rung": self.n_rungs,
            "swap": self.n_rungs - 1,
            "weight": self.n_weights,
            "hidden": self.architecture.n_hidden,
        }
        variable = VARIABLES[name]
        if not variable.is_matrix:
            return tuple(sizes[dim] for dim in variable.dims)
        hidden = observables.hidden_shapes(self.architecture, self.teacher_architecture)
        return (*(sizes[dim] for dim in variable.dims[:-2]), *hidden[name])

    def snapshot_shape(self, n_snapshots: int) -> tuple[int, ...]:
        """Shape of that many snapshots of all weights, which are 8 bytes each: reals, or words of bits."""
        size = self.n_weights if self.prior.is_real else -(-self.n_weights // 64)
        return (self.n_instances, n_snapshots, self.n_copies, self.n_rungs, size)

    def instance(self, number: int) -> data.Instance:
        """Instance 0 .. n_instances - 1, the same on every call."""
        if self._from_file is not None:
            return self._from_file
        config = self.config
        if config.data.source == "random":
            return data.random_instance(config.seed, number, self.n_inputs, self.n_patterns, config.data.inputs)
        return data.teacher_instance(
            config.seed,
            number,
            self.n_inputs,
            self.n_patterns,
            inputs=config.data.inputs,
            labels=config.data.labels,
            label_noise=config.data.label_noise,
            output_noise=config.data.output_noise,
            sharpness=config.model.loss.sharpness,
            n_test=config.data.n_test,
            teacher=self.teacher_architecture,
            prior=config.teacher_prior,
        )

    def block(self, instance: data.Instance, weights: Weights) -> Block:
        """The walkers of an instance at the given weights, in the form that the sampler drives."""
        if not self.prior.is_real:
            return self.model.block(instance, weights)
        if self.sampler.by_coordinate:
            return self.model.coordinate_block(instance, weights)
        return self.model.gradient_block(instance, weights, self.config.sampler.precision, self.sampler.batch_size)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the data file, to recognise it when the run is continued; empty for generated data."""
        return "" if self._from_file is None else data.fingerprint(self._from_file)

    @property
    def fingerprints(self) -> list[str]:
        """Of everything that was read besides the run file: the data file, and the reference of the constraint."""
        return [self.fingerprint, "" if self.constraint is None else self.constraint.fingerprint]

    @property
    def was_read(self) -> dict[str, NDArray]:
        """What was read besides the run file, for `Problem.of_read`."""
        found = {} if self._from_file is None else data.to_arrays(self._from_file)
        if self.config.constraint.reference in ("file", "run"):
            found["reference"] = self.constraint.given
        return found

    @classmethod
    def of_read(cls, config: Config, was_read: Mapping[str, NDArray]) -> Problem:
        """The problem of another process, which has read everything."""
        from_file = config.data.source == "file"
        instance = data.from_arrays(was_read, config.student) if from_file else None
        return cls(config, was_read.get("reference"), instance)

    @property
    def sample(self) -> NDArray[np.int8] | None:
        """The reference (n_instances, n_weights), if it is a sample of another run: that run may not keep it."""
        return None if self.config.constraint.reference != "run" else self.constraint.given

    def initial_weights(self, number: int, instance: data.Instance, walkers: range) -> Weights:
        """Weights (len(walkers), n_weights) at sweep 0, as `schedule.start` says."""
        if self.constraint is not None:
            return self.constraint.of(number, instance).draw(self.walker_seed, number, walkers, self.n_rungs)
        machine, n_units = self.architecture, self.architecture.n_hidden
        shape = n_units, machine.fan_in, machine.second_layer
        weights = self.prior.walkers(self.walker_seed, number, walkers, self.n_rungs, *shape)
        planted = [self.starts[walker // self.n_rungs] == "teacher" for walker in walkers]
        if any(planted):
            teacher = instance.teacher
            weights[planted] = on_sphere(teacher * 1.0, n_units) if self.prior.name == "spherical" else teacher
        return weights

    def _check_norms(self, teacher: NDArray[np.float64]) -> None:
        """ConfigError unless the teacher of the data file is a state of spherical weights."""
        fan_in = self.architecture.fan_in
        norms = (teacher.reshape(-1, fan_in) ** 2).sum(axis=1) / fan_in
        if (np.abs(norms - 1) > _ON_SPHERE).any():
            raise ConfigError(
                f"schedule.start: got {self.config.schedule.start!r}, expected 'random': the teacher of "
                f"{self.config.data.path} has |w_k|^2 / fan-in from {norms.min():.4g} to {norms.max():.4g}, not 1"
            )

    def series_bytes(self, asked: Config) -> int:
        """Bytes of all rows and snapshots before compression, of a run of the length that `asked` asks for."""
        row = sum(np.dtype(VARIABLES[name].dtype).itemsize * math.prod(self.shape(name, 1)) for name in self.series)
        every, sweeps = asked.output.weights_every, asked.schedule.sweeps
        n_snapshots = sweeps // every if every else 0
        return sweeps // asked.schedule.measure_every * row + 8 * math.prod(self.snapshot_shape(n_snapshots))

    def memory(self, walkers: int, instances: int) -> int:
        """Bytes that a rank with so many walkers and (parts of) instances needs."""
        from_file = self._from_file
        binary = self.config.data.inputs == "binary" if from_file is None else from_file.inputs.binary
        if self.prior.is_real:
            per_instance, per_walker = self._memory_of_reals(binary)
        else:
            per_instance, per_walker = self.model.memory(self.n_patterns, binary)
            per_walker += (33 if self.sampler.waiting_below is not None else 9) * self.n_weights
        per_walker += len(self.config.output.waiting_times) * self.n_weights * self.weight_bits // 8
        return instances * per_instance + walkers * per_walker

    def _memory_of_reals(self, binary: bool) -> tuple[int, int]:
        """Bytes that an instance and each of its walkers take, about."""
        n, n_fields = self.n_weights, self.architecture.n_hidden * self.n_patterns
        if self.sampler.by_coordinate:
            return 8 * self.n_inputs * self.n_patterns, 8 * (3 * n_fields + 2 * self.n_patterns + 3 * n)
        item = 4 if self.config.sampler.precision == "float32" else 8
        inputs = 2 * self.n_inputs * self.n_patterns  # by pattern and by input, in bits or in numbers
        # weights, proposal, gradients of both, momenta; fields and forces are those of one pack
        return inputs // 8 if binary else item * inputs, 8 * (8 * n + 2 * n_fields)

    def _load_file(self) -> data.Instance:
        config = self.config
        return data.load_file(
            config.data_path,
            inputs_key=config.data.inputs_key,
            labels_key=config.data.labels_key,
            teacher_key=config.data.teacher_key,
            transform=config.data.transform,
            classification=config.model.loss.name != "square",
            n_inputs=config.model.n_inputs,
            architecture=config.student,
            real_weights=config.prior.is_real,
        )


def _sampler(config: Config) -> Sampler:
    kinds = CONTINUOUS if config.prior.is_real else SAMPLERS
    kind, asked = kinds[config.sampler.method], config.sampler
    given = {name: getattr(asked, name) for name in kind.parameters}
    return kind(**{name: value for name, value in given.items() if value is not None})


def _betas(config: Config) -> NDArray[np.float64]:
    beta = config.ladder.beta
    if isinstance(beta, list):
        return np.array(beta, dtype=np.float64)
    return ladder.spaced(beta.spacing, beta.min, beta.max, config.n_rungs)


def _starts(config: Config) -> list[str]:
    start, n = config.schedule.start, config.ladder.n_copies
    if start == "both":
        return ["random"] * (n // 2) + ["teacher"] * (n - n // 2)
    return [start] * n
