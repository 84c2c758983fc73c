"""The run file: TOML to checked, frozen structs, or one line that says what is wrong.

A file passes four steps: the names of its keys, the values that are names, then types and ranges (msgspec), then what
the keys say together. Every message names the key, what was given and what is allowed.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import time
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_type_hints

import msgspec
import tomli_w
from msgspec import Meta, Struct

from mcmc import ladder
from mcmc.architectures import ACTIVATIONS, ARCHITECTURES, Architecture
from mcmc.errors import ConfigError, StorageError
from mcmc.losses import LARGEST, LOSSES
from mcmc.priors import PRIORS, Gaussian, Prior, attainable
from mcmc.samplers import CONTINUOUS, SAMPLERS
from mcmc.samplers.base import Sampler as Method
from mcmc.samplers.preconditioners import PRECONDITIONERS

_INT_MAX = 2**31 - 1
_DEEPEST = 20
"""Levels of tables and lists in a run file; the right ones have five."""
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1, description="an integer from 0 to 2**63 - 1")]
Count = Annotated[int, Meta(ge=1, le=_INT_MAX, description="an integer >= 1, below 2**31")]
Instances = Annotated[int, Meta(ge=1, le=10**6, description="an integer >= 1, at most 1000000")]
Replicas = Annotated[int, Meta(ge=1, le=65536, description="an integer >= 1, at most 65536")]
CountOrZero = Annotated[int, Meta(ge=0, le=_INT_MAX, description="an integer >= 0, below 2**31")]
Sweeps = Annotated[int, Meta(ge=1, le=2**53 - 1, description="an integer >= 1, below 2**53")]
SweepsOrZero = Annotated[int, Meta(ge=0, le=2**53 - 1, description="an integer >= 0, below 2**53")]
Real = Annotated[float, Meta(description="a finite number")]
Positive = Annotated[float, Meta(gt=0, description="a finite number > 0")]
NonNegative = Annotated[float, Meta(ge=0, description="a finite number >= 0")]
Probability = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Overlap = Annotated[float, Meta(ge=-1, le=1, description="a number from -1 to 1")]
Text = Annotated[str, Meta(min_length=1, description="a string that is not empty")]
Switch = Annotated[bool, Meta(description="true or false")]
Seconds = Annotated[float, Meta(gt=0, description='seconds, or a string such as "30 s", "5 min", "23:50:00"')]


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the run file."""


class Loss(_Table, kw_only=True):
    name: Text
    margin: Real = 0.0
    sharpness: Positive = 1.0


class Model(_Table, kw_only=True):
    loss: Loss
    architecture: Text = "perceptron"
    weights: Text = "ising"
    n_inputs: Count | None = None  # None: as in the data file
    n_hidden: Count | None = None  # None: perceptron
    activation: Text = "sign"
    second_layer: Text = "fixed"
    prior_precision: Positive = 1.0


class Teacher(_Table, kw_only=True):
    """None: as the student."""

    architecture: Text | None = None
    weights: Text | None = None
    n_hidden: Count | None = None
    activation: Text | None = None
    second_layer: Text | None = None


class Data(_Table, kw_only=True):
    source: Text
    alpha: Positive | None = None
    n_patterns: Count | None = None
    inputs: Text = "binary"
    labels: Text = "sign"
    label_noise: Probability = 0.0
    output_noise: NonNegative = 0.0
    n_test: CountOrZero = 0
    n_instances: Instances = 1
    path: Text | None = None
    inputs_key: Text = "inputs"
    labels_key: Text = "labels"
    teacher_key: Text = "teacher"
    transform: Text = "none"
    teacher: Teacher = Teacher()


class Sampler(_Table, kw_only=True):
    """None: as the method has it by itself; which method takes which key, its class says."""

    method: Text = "metropolis"
    order: Text = "random"
    step_size: Annotated[
        Positive | list[Positive] | str | None, Meta(description='a number > 0, a list of one per rung, or "auto"')
    ] = None
    n_steps: Count | None = None
    friction: Positive | None = None
    batch_size: Count | None = None
    preconditioner: Text | None = None
    precision: Text = "float64"


class Constraint(_Table, kw_only=True):
    """Pair flips at a fixed overlap with a reference; without a reference there is no constraint."""

    reference: Text | None = None
    overlap: Overlap | None = None
    path: Text | None = None
    copy: CountOrZero = 0
    beta: NonNegative | None = None


class BetaRange(_Table, kw_only=True):
    """A generated ladder: n inverse temperatures from min to max."""

    min: NonNegative
    max: NonNegative
    n: Annotated[Replicas | str, Meta(description='an integer >= 1, at most 65536, or "auto"')]
    spacing: Text = "linear"


class Ladder(_Table, kw_only=True):
    beta: Annotated[
        list[NonNegative] | BetaRange,
        Meta(description="a list of numbers or a table { min = ..., max = ..., n = ..., spacing = ... }"),
    ]
    n_copies: Replicas = 1
    exchange_every: SweepsOrZero = 1
    tune: Text = ladder.NONE


class Annealing(_Table, kw_only=True):
    """Without beta there is none."""

    beta: NonNegative | None = None
    spacing: Text = "linear"


class Schedule(_Table, kw_only=True):
    sweeps: Sweeps
    burn_in: SweepsOrZero = 0
    measure_every: Sweeps = 1
    start: Text = "random"
    annealing: Annealing = Annealing()


class Checkpoint(_Table, kw_only=True):
    """Times in seconds, whatever notation the run file used."""

    every: Seconds = 300.0
    walltime: Seconds | None = None


class Output(_Table, kw_only=True):
    store_data: Switch = True
    weights_every: CountOrZero = 0
    waiting_times: list[SweepsOrZero] = []


class RunFile(_Table, kw_only=True):
    """The tables of a run file, named as there."""

    seed: Seed
    model: Model
    data: Data
    ladder: Ladder
    schedule: Schedule
    sampler: Sampler = Sampler()
    constraint: Constraint = Constraint()
    checkpoint: Checkpoint = Checkpoint()
    output: Output = Output()


class Config(RunFile, kw_only=True):
    """A checked run file: `config.model.loss.name` is `name` in the table `[model.loss]`, and so on."""

    text: str
    """The TOML as asked: the file verbatim, or, with overrides, what it amounts to."""
    directory: str = ""
    """Where a relative `data.path` or `constraint.path` starts: the directory of the run file."""

    @property
    def n_weights(self) -> int | None:
        """Weights of one walker; None where only the data file knows."""
        n_inputs = self.model.n_inputs
        return None if n_inputs is None else self.student(n_inputs).n_weights

    def student(self, n_inputs: int) -> Architecture:
        """What is sampled. Raises ValueError where that cannot have so many inputs."""
        model = self.model
        sampled = model.second_layer == "sampled"
        return Architecture(model.architecture, n_inputs, model.n_hidden or 1, model.activation, sampled)

    def teacher(self, n_inputs: int) -> Architecture:
        """What labels the patterns where `data.source` is "teacher": the student but for what `[data.teacher]` says.

        A perceptron has no n_hidden to take over, only a committee has an activation, and only one of Gaussian weights
        a second layer. Raises ValueError as above.
        """
        asked, model = self.data.teacher, self.model
        name = asked.architecture or model.architecture
        one_unit = Architecture(name, n_inputs)
        n_hidden = asked.n_hidden or (1 if name == "perceptron" else model.n_hidden or 1)
        activation = asked.activation or (model.activation if one_unit.is_committee else "sign")
        has_second = one_unit.is_committee and self.teacher_prior.name == Gaussian.name
        second_layer = asked.second_layer or (model.second_layer if has_second else "fixed")
        return replace(one_unit, n_hidden=n_hidden, activation=activation, second_layer=second_layer == "sampled")

    @property
    def n_rungs(self) -> int:
        """As asked for; with `n = "auto"` those that the pilot runs begin with."""
        beta = self.ladder.beta
        if self.seeks_rungs:
            return ladder.FIRST_RUNGS
        return len(beta) if isinstance(beta, list) else beta.n

    @property
    def seeks_rungs(self) -> bool:
        """Whether pilot runs find the number of rungs."""
        return isinstance(self.ladder.beta, BetaRange) and self.ladder.beta.n == ladder.AUTO

    def trial(self, sweeps: int) -> Config:
        """A run of so many sweeps, half of them burn-in, on a ladder that stays, without rows."""
        replaced = msgspec.structs.replace
        schedule = replaced(self.schedule, sweeps=sweeps, burn_in=sweeps // 2, measure_every=2 * sweeps)
        return replaced(self, ladder=replaced(self.ladder, tune=ladder.NONE), schedule=schedule, output=Output())

    @property
    def prior(self) -> Prior:
        """The law of the student's weights."""
        return self._law(self.model.weights)

    @property
    def teacher_prior(self) -> Prior:
        """The law of the teacher's weights; a Gaussian one has the student's precision, if that is Gaussian too."""
        return self._law(self.data.teacher.weights or self.model.weights)

    def _law(self, name: str) -> Prior:
        return Gaussian(self.model.prior_precision) if name == Gaussian.name else PRIORS[name]()

    @property
    def n_patterns(self) -> int | None:
        """Patterns of one instance, floor(alpha n_weights + 1/2) or as given; None where only the data file knows."""
        if self.data.alpha is None or self.n_weights is None:
            return self.data.n_patterns
        return _patterns(self.data.alpha, self.n_weights)

    def changes_since(self, text: str, paths: bool = False) -> list[str]:
        """What keeps this from continuing a run that was asked for by `text`; see `differences`.

        paths: whether a file by another path is another one; else that is for the fingerprint of its contents to tell.
        """
        earlier = loads(text, directory=self.directory)
        before, now = _leaves(earlier), _leaves(self)
        same = set() if paths else {"data.path"}
        if not paths and (
            self.constraint.reference == "file" or _are_one(earlier.constraint_path, self.constraint_path)
        ):
            same.add("constraint.path")
        changed = [key for key in differences(earlier, self) if key not in same]
        return [f"{key} was {_show(before[key])}, is {_show(now[key])}" for key in changed]

    def other_disorder(self, text: str) -> list[str]:
        """In which keys the run that was asked for by `text` has other instances than this one.

        Of data from a file only their contents can tell, here it is the model that is compared.
        """
        earlier = loads(text, directory=self.directory)
        before, now = _leaves(earlier), _leaves(self)
        differ = [key for key in now if before[key] != now[key] and key.startswith(("seed", "model.", "data."))]
        if earlier.data.source == self.data.source == "file":
            differ = [key for key in differ if key.startswith("model.") and key != "model.n_inputs"]
        return [f"{key} is {_show(before[key])} there, {_show(now[key])} here" for key in differ]

    @property
    def constraint_path(self) -> Path | None:
        """The file or run with the reference; a relative path starts where the run file is."""
        return None if self.constraint.path is None else Path(self.directory, self.constraint.path)

    @property
    def data_path(self) -> Path | None:
        """The data file; a relative path starts where the run file is."""
        return None if self.data.path is None else Path(self.directory, self.data.path)


# Which names are values of which key.
_CHOICES: dict[str, tuple[str, ...]] = {
    "model.architecture": tuple(ARCHITECTURES),
    "model.weights": tuple(PRIORS),
    "model.activation": tuple(ACTIVATIONS),
    "model.second_layer": ("fixed", "sampled"),
    "model.loss.name": tuple(LOSSES),
    "data.source": ("teacher", "random", "file"),
    "data.inputs": ("binary", "gaussian"),
    "data.labels": ("sign", "real", "logistic"),
    "data.transform": ("none", "binarise", "standardise"),
    "data.teacher.architecture": tuple(ARCHITECTURES),
    "data.teacher.weights": tuple(PRIORS),
    "data.teacher.activation": tuple(ACTIVATIONS),
    "data.teacher.second_layer": ("fixed", "sampled"),
    "sampler.method": tuple(dict.fromkeys([*SAMPLERS, *CONTINUOUS])),
    "sampler.order": ("random", "sequential"),
    "sampler.preconditioner": PRECONDITIONERS,
    "sampler.precision": ("float64", "float32"),
    "constraint.reference": ("magnetisation", "teacher", "file", "run"),
    "ladder.beta.spacing": tuple(ladder.PATHS),
    "schedule.annealing.spacing": tuple(ladder.PATHS),
    "ladder.tune": ladder.RULES,
    "schedule.start": ("random", "teacher", "both"),
}

TABLES: dict[str, type[_Table]] = {
    "": RunFile,
    "model": Model,
    "model.loss": Loss,
    "data": Data,
    "data.teacher": Teacher,
    "sampler": Sampler,
    "constraint": Constraint,
    "ladder": Ladder,
    "ladder.beta": BetaRange,
    "schedule": Schedule,
    "schedule.annealing": Annealing,
    "checkpoint": Checkpoint,
    "output": Output,
}

_STATES = {("ising", "spherical"), *((name, name) for name in PRIORS), *((name, "gaussian") for name in PRIORS)}
"""Weights of the first law are states of the second, too."""

_FILE_ONLY = ("path", "inputs_key", "labels_key", "teacher_key", "transform")
_NOT_FOR_FILES = ("alpha", "n_patterns", "inputs", "labels", "label_noise", "output_noise", "n_test")


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """The checked configuration of a run file (a path) or of a mapping with the same tables.

    Each override is `key.path=value`, the value in TOML or a bare word. Relative data paths start at the run file's
    directory, for a mapping at the working directory.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong; the message is one line.
    """
    if isinstance(source, Mapping):
        raw = _plain(source)
        return _check(_override(raw, overrides), None)
    path = Path(source)
    return loads(read(path), overrides, name=str(path), directory=str(path.parent))


def loads(text: str, overrides: Sequence[str] = (), *, name: str = "run file", directory: str = "") -> Config:
    """As `load`, from the text of a run file; `name` stands in the message about a syntax error.

    Raises:
        ConfigError: something is wrong; the message is one line.
    """
    return _check(parse(text, overrides, name=name), None if overrides else text, directory)


def parse(text: str, overrides: Sequence[str] = (), *, name: str = "run file") -> dict[str, Any]:
    """The tables of a run file, with overrides, before any check of what they say.

    Raises:
        ConfigError: it is no TOML, or an override is none.
    """
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        raise ConfigError(f"{name}: not TOML: {_one_line(str(error))}") from None
    except RecursionError:
        raw = None
    if raw is None or _is_deeper(raw := _override(raw, overrides), _DEEPEST):
        raise ConfigError(f"{name}: nested too deeply for a run file")
    return raw


def _is_deeper(node: object, levels: int) -> bool:
    """Whether tables and lists are nested beyond so many levels: such ones are not even copied."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels < 0 or any(_is_deeper(each, levels - 1) for each in inner)


def read(path: Path) -> str:
    """The text of a run file.

    Raises:
        ConfigError: there is no such file, or it is not text.
    """
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the run file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a run file: it is not UTF-8 text") from None


def template() -> str:
    """The commented run file of `mcmc new`; it runs as it is."""
    return resources.files("mcmc").joinpath("templates/run.toml").read_text()


def duration(value: object, key: str) -> float:
    """Seconds in a number, or in a string such as "30 s", "5 min", "2 h", "1 day", "23:50:00", "1-00:00:00".

    Two numbers with a colon are minutes and seconds, as in Slurm.

    Raises:
        ConfigError: `value` is nothing of the kind, or not > 0; the message starts with `key`.
    """
    seconds = math.nan
    if isinstance(value, time):  # TOML's own time of day: 23:50:00 without quotes
        value = value.isoformat()
    if isinstance(value, str):
        seconds = _seconds(value.strip().lower())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 2**63 else math.inf
    if not (seconds > 0 and math.isfinite(seconds)):
        _refuse(key, value, 'a time > 0: seconds, or a string such as "30 s", "5 min", "23:50:00"')
    return seconds


def check_one_run(directory: Path, text: str) -> None:
    """StorageError if `text`, what the results in a directory say was asked for, is another run than its run.toml.

    A run.toml that is missing or damaged contradicts nothing: the results tell themselves what they are of.
    """
    try:
        kept = (directory / "run.toml").read_text()
        changes = [] if kept == text else loads(kept).changes_since(text)
    except (OSError, UnicodeDecodeError, ConfigError):
        return
    if changes:
        raise StorageError(
            f"{directory}: its results or its checkpoint are of another run than its run.toml: {'; '.join(changes)}; "
            "restore the right ones from a backup"
        )


def differences(a: Config, b: Config) -> list[str]:
    """Keys in which `b`, asked for now, differs from `a`, the configuration of an earlier run.

    What may differ when a run is continued is left out: `checkpoint.*` and a larger `schedule.sweeps`. A smaller one is
    a difference.
    """
    return sorted(
        key
        for (key, before), now in zip(_leaves(a).items(), _leaves(b).values(), strict=True)
        if before != now
        and not key.startswith("checkpoint.")
        and not (key == "schedule.sweeps" and b.schedule.sweeps > a.schedule.sweeps)
    )


def _are_one(a: Path | None, b: Path | None) -> bool:
    """Whether two paths lead to one file or directory, which is there."""
    with suppress(OSError):
        return a is not None and b is not None and os.path.samefile(a, b)
    return False


def suggestion(word: str, known: Sequence[str]) -> str:
    """The clause "; did you mean ...?" when `word` resembles one of `known`, otherwise nothing."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _check(raw: dict[str, Any], text: str | None, directory: str = "") -> Config:
    """The configuration in `raw`, after every check; `text` None: write it from `raw`."""
    _check_names(raw)
    checked = raw | {}
    checkpoint = raw.get("checkpoint", {})
    checked["checkpoint"] = {key: duration(value, f"checkpoint.{key}") for key, value in checkpoint.items()}
    try:
        run_file = msgspec.convert(checked, RunFile)
    except msgspec.ValidationError as error:
        _translate(str(error), checked)
    tables = {name: getattr(run_file, name) for name in RunFile.__struct_fields__}
    config = Config(**tables, text=tomli_w.dumps(raw) if text is None else text, directory=directory)
    _check_model(config)
    _check_architecture(config)
    _check_data(config, raw["data"])
    _check_teacher(config)
    _check_ladder(config.ladder.beta)
    _check_schedule(config)
    _check_tuning(config)
    _check_waiting_times(config)
    _check_sampler(config, raw.get("sampler", {}))
    _check_annealing(config, raw["schedule"])
    if "constraint" in raw:
        _check_constraint(config, raw["constraint"])
    return config


def _check_names(table: dict[str, Any], path: str = "") -> None:
    """Every key is known and available, and so is every value that is a name; numbers are finite."""
    fields = TABLES[path].__struct_fields__
    for name, value in table.items():
        key = f"{path}.{name}" if path else name
        if name not in fields:
            raise ConfigError(f"{_one_line(key)}: unknown key{_known_key(name, path)}")
        if key in _CHOICES:
            _check_choice(key, value)
        elif isinstance(value, dict) and key in TABLES:
            _check_names(value, key)
        elif key in TABLES and key != "ladder.beta":
            _refuse(key, value, f"a table [{key}]")
        else:
            _check_finite(key, value)


def _check_finite(key: str, value: object) -> None:
    """TOML has nan and inf; no key takes them."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(f"{key}[{index}]", item)
    elif isinstance(value, float) and not math.isfinite(value):
        _refuse(key, value, _describe(key))


def _known_key(name: str, path: str) -> str:
    """What to say after "unknown key": the keys of the table, and the key that was probably meant."""
    here = TABLES[path].__struct_fields__
    elsewhere = [f"{table}.{name}" for table, struct in TABLES.items() if table and name in struct.__struct_fields__]
    meant = f"; did you mean '{elsewhere[0]}'?" if elsewhere else suggestion(name, here)
    if (name, path) == ("scan", ""):
        meant = "; mcmc scan runs scan files"
    return f", allowed in {f'[{path}]' if path else 'a run file'}: {', '.join(here)}{meant}"


def _check_choice(key: str, value: object) -> None:
    available = _CHOICES[key]
    if value in available:
        return
    meant = suggestion(value, available) if isinstance(value, str) else ""
    _refuse(key, value, f"one of {', '.join(available)}{meant}")


def _check_model(config: Config) -> None:
    loss = config.model.loss
    if loss.name == "square" and loss.margin != 0:
        _refuse("model.loss.margin", loss.margin, "0 (the square loss has no margin)")
    if loss.name == "symmetric" and loss.margin <= 0:
        _refuse("model.loss.margin", loss.margin, "a number > 0 (the symmetric loss counts fields beyond it)")
    if loss.name != "logistic" and loss.sharpness != 1:
        _refuse("model.loss.sharpness", loss.sharpness, f"1 (the {loss.name} loss has no sharpness)")
    if abs(loss.margin) > LARGEST:
        _refuse("model.loss.margin", loss.margin, f"a number from -{LARGEST:g} to {LARGEST:g}")
    if not 1 / LARGEST <= loss.sharpness <= LARGEST:
        _refuse("model.loss.sharpness", loss.sharpness, f"a number from {1 / LARGEST:g} to {LARGEST:g}")
    if config.model.weights != Gaussian.name and config.model.prior_precision != 1:
        _refuse("model.prior_precision", config.model.prior_precision, "1 (only gaussian weights have a variance)")
    if config.model.n_inputs is None and config.data.source != "file":
        raise ConfigError("model.n_inputs: missing, expected an integer >= 1 (only data from a file know it)")


def _check_architecture(config: Config) -> None:
    """That the student exists, and that its loss means something for it."""
    model, loss = config.model, config.model.loss
    if model.n_hidden is None and model.architecture != "perceptron":
        raise ConfigError(f"model.n_hidden: missing, expected an integer >= 1, the units of a {model.architecture}")
    _check_second_layer("model.second_layer", model.second_layer, model.architecture, model.weights)
    # where the number of inputs is in the file, n_hidden stands for it here: it fits
    student = _architecture(config.student, model.n_inputs or model.n_hidden or 1, "model")
    if model.n_inputs is not None and student.n_weights > _INT_MAX:
        _refuse("model.n_hidden", model.n_hidden, f"n_inputs n_hidden below 2**31, with n_inputs = {model.n_inputs}")
    if model.weights == "spherical" and model.n_inputs is not None and student.fan_in == 1:
        _refuse("model.weights", model.weights, "'ising': a unit of one weight on the sphere is -1 or +1")
    if loss.name == "symmetric" and student.name != "perceptron":
        _refuse("model.loss.name", loss.name, f"another loss for a {student.name}: the symmetric one is a perceptron's")
    if student.is_parity:
        if loss.name != "error-count":
            _refuse(
                "model.loss.name", loss.name, f"'error-count': the output of a {student.name} machine is only -1 or +1"
            )
        if loss.margin != 0:
            _refuse("model.loss.margin", loss.margin, f"0: the output of a {student.name} machine is only -1 or +1")
    if student.is_committee and not student.second_layer and loss.name == "error-count" and loss.margin == 0:
        if student.activation == "sign" and student.n_hidden % 2 == 0:
            allowed = "an odd integer: an even number of votes can tie (error-count at margin 0, sign activation)"
            _refuse("model.n_hidden", student.n_hidden, allowed)
        if student.activation == "relu":
            _refuse("model.activation", "relu", "another one for error-count at margin 0: relu outputs are never < 0")


def _check_second_layer(key: str, value: str | None, architecture: str, weights: str) -> None:
    if value == "sampled" and not architecture.endswith("committee"):
        _refuse(key, value, f"'fixed' for a {architecture}: only committees have a second layer")
    if value == "sampled" and weights != Gaussian.name:
        _refuse(key, value, f"'fixed' for {weights} weights: only gaussian ones can have a second layer")


def _check_teacher(config: Config) -> None:
    """That the teacher exists, and that its labels mean something.

    A committee of an even number of sign units may teach, although it may not be a student of error-count: its ties
    get the label sign(0) = +1. Most labels are +1 then, but all are as definite as labels that come from a file.
    """
    data, model = config.data, config.model
    if data.source != "teacher":
        if data.teacher != Teacher():
            where = "data.source = 'teacher'; the teacher in a file is of the student's architecture"
            given = {name: value for name, value in msgspec.structs.asdict(data.teacher).items() if value is not None}
            raise ConfigError(f"data.teacher: got {_show(given)}, allowed only with {where}")
        return
    name = data.teacher.architecture or model.architecture
    if name != "perceptron" and data.teacher.n_hidden is None and model.architecture == "perceptron":
        allowed = f"an integer >= 1, the units of a {name} (the student, a perceptron, has none)"
        raise ConfigError(f"data.teacher.n_hidden: missing, expected {allowed}")
    _check_second_layer("data.teacher.second_layer", data.teacher.second_layer, name, config.teacher_prior.name)
    student = config.student(model.n_inputs)
    teacher = _architecture(config.teacher, model.n_inputs, "data.teacher")
    if teacher.n_weights > _INT_MAX:
        allowed = f"n_inputs n_hidden below 2**31, with n_inputs = {model.n_inputs}"
        _refuse("data.teacher.n_hidden", teacher.n_hidden, allowed)
    one_sign = teacher.activation == "relu" and not teacher.second_layer
    if one_sign and data.labels == "sign":
        _refuse("data.labels", "sign", "'real' or 'logistic': the teacher's relu outputs are never < 0, all labels +1")
    if one_sign and data.labels == "logistic" and data.n_test > 0:
        _refuse("data.n_test", data.n_test, "0: the teacher's relu outputs are never < 0, all test labels +1")
    if config.schedule.start != "random" and teacher.shape != student.shape:
        allowed = f"'random': the teacher ({teacher.shape}) is not of the student's shape ({student.shape})"
        _refuse("schedule.start", config.schedule.start, allowed)
    laws = (config.teacher_prior.name, config.prior.name)
    if config.schedule.start != "random" and laws not in _STATES:
        allowed = f"'random': the teacher's {laws[0]} weights are no state of {laws[1]} ones"
        _refuse("schedule.start", config.schedule.start, allowed)


def _architecture(of: Callable[[int], Architecture], n_inputs: int, table: str) -> Architecture:
    try:
        return of(n_inputs)
    except ValueError as error:  # "n_hidden: got ..."
        raise ConfigError(f"{table}.{error}") from None


def _check_data(config: Config, given: Mapping[str, Any]) -> None:
    data = config.data
    if data.source == "file":
        _check_file(data, given)
        return
    for name in _FILE_ONLY:
        if name in given and given[name] != "none":
            raise ConfigError(f"data.{name}: got {_show(given[name])}, allowed only with data.source = 'file'")
    _check_size(config)
    _check_labels(config)


def _check_file(data: Data, given: Mapping[str, Any]) -> None:
    if data.path is None:
        raise ConfigError("data.path: missing, expected the path of a .npz, .h5 or .csv file (data.source = 'file')")
    for name in _NOT_FOR_FILES:
        if name in given:
            got = _show(given[name])
            raise ConfigError(f"data.{name}: got {got}, not allowed with data.source = 'file': the file decides")
    if data.n_instances != 1:
        _refuse("data.n_instances", data.n_instances, "1 (a file is one instance)")


def _check_size(config: Config) -> None:
    data = config.data
    if (data.alpha is None) == (data.n_patterns is None):
        given = "neither" if data.alpha is None else "both"
        raise ConfigError(f"data.alpha, data.n_patterns: got {given}, expected one of the two")
    if data.alpha is not None and not 1 <= config.n_patterns <= _INT_MAX:
        allowed = f"floor(alpha n_weights + 1/2) >= 1 and below 2**31, with n_weights = {config.n_weights}"
        _refuse("data.alpha", data.alpha, allowed)


def _check_labels(config: Config) -> None:
    data, loss = config.data, config.model.loss.name
    if data.source != "teacher":
        needs = {"labels": "sign", "label_noise": 0, "output_noise": 0, "n_test": 0}
        for name, default in needs.items():
            if getattr(data, name) != default:
                _refuse(f"data.{name}", getattr(data, name), f"{default!r} (only data.source = 'teacher' has it)")
    elif loss == "symmetric":
        _refuse("data.source", "teacher", "'random' or 'file': labels play no part in the symmetric loss")
    if data.labels == "real" and loss != "square":
        _refuse("data.labels", "real", f"'sign' or 'logistic': the {loss} loss needs labels -1 and +1")
    if data.labels != "sign" and data.label_noise != 0:
        _refuse("data.label_noise", data.label_noise, f"0 with data.labels = {data.labels!r}: only 'sign' has flips")
    if data.labels != "real" and data.output_noise != 0:
        _refuse("data.output_noise", data.output_noise, f"0 with data.labels = {data.labels!r}: only 'real' has it")


def _check_ladder(beta: list[float] | BetaRange) -> None:
    if isinstance(beta, BetaRange):
        if beta.min > beta.max:
            _refuse("ladder.beta.max", beta.max, f"a finite number >= ladder.beta.min = {beta.min}")
        if beta.n == ladder.AUTO and beta.min == beta.max:
            _refuse("ladder.beta.n", beta.n, "1 where min = max")
        if isinstance(beta.n, str) and beta.n != ladder.AUTO:
            _refuse("ladder.beta.n", beta.n, _describe("ladder.beta.n"))
        if (beta.n == 1) != (beta.min == beta.max):
            allowed = "1 where min = max" if beta.min == beta.max else "an integer >= 2 where min < max"
            _refuse("ladder.beta.n", beta.n, allowed)
        if beta.spacing != "linear" and beta.min == 0:
            _refuse("ladder.beta.min", beta.min, f"a number > 0 for {beta.spacing} spacing")
        return
    if not beta:
        _refuse("ladder.beta", beta, "at least one inverse temperature")
    if any(low >= high for low, high in pairwise(beta)):
        _refuse("ladder.beta", beta, "a strictly increasing list")


def _check_schedule(config: Config) -> None:
    schedule = config.schedule
    if schedule.burn_in >= schedule.sweeps:
        _refuse("schedule.burn_in", schedule.burn_in, f"an integer < schedule.sweeps = {schedule.sweeps}")
    if schedule.sweeps // schedule.measure_every == schedule.burn_in // schedule.measure_every:
        between = f"sweeps {schedule.burn_in + 1} to {schedule.sweeps}"
        _refuse("schedule.measure_every", schedule.measure_every, f"an integer with a multiple among {between}")
    if schedule.start != "random" and config.data.source == "random":
        _refuse("schedule.start", schedule.start, "'random': data.source = 'random' has no teacher")
    if schedule.start == "both" and config.ladder.n_copies < 2:
        _refuse("ladder.n_copies", config.ladder.n_copies, "an integer >= 2 with schedule.start = 'both'")
    if config.output.weights_every % schedule.measure_every:
        allowed = f"a multiple of schedule.measure_every = {schedule.measure_every}: snapshots are taken with the rows"
        _refuse("output.weights_every", config.output.weights_every, allowed)


def _check_tuning(config: Config) -> None:
    asked, burn_in, step_size = config.ladder, config.schedule.burn_in, config.sampler.step_size
    if asked.tune == ladder.NONE:
        if config.seeks_rungs:
            _refuse("ladder.tune", asked.tune, "'barrier' or 'flow' with ladder.beta.n = 'auto'")
        return
    if config.n_rungs < ladder.LEAST_TUNED:
        _refuse("ladder.tune", asked.tune, f"'none' with {config.n_rungs} rungs: the ends of the ladder stay")
    if not asked.exchange_every:
        _refuse("ladder.exchange_every", 0, f"an integer >= 1 with ladder.tune = {asked.tune!r}")
    least = 2 * ladder.LEAST_EXCHANGES * asked.exchange_every
    if burn_in < least:
        _refuse("schedule.burn_in", burn_in, f"an integer >= {least}, in which the ladder is tuned (ladder.tune)")
    if isinstance(step_size, list):
        allowed = f"one number or 'auto' with ladder.tune = {asked.tune!r}: the rungs move"
        _refuse("sampler.step_size", step_size, allowed)


def _check_annealing(config: Config, given: Mapping[str, Any]) -> None:
    asked = config.schedule.annealing
    if "annealing" not in given:
        return
    if asked.beta is None:
        raise ConfigError("schedule.annealing.beta: missing, expected the number >= 0 from which beta rises")
    if config.schedule.burn_in < 2:
        _refuse("schedule.burn_in", config.schedule.burn_in, "an integer >= 2, the sweeps of schedule.annealing")
    if asked.spacing != "linear" and asked.beta == 0:
        _refuse("schedule.annealing.beta", 0.0, f"a number > 0 for {asked.spacing} spacing")
    lowest = min(config.ladder.beta) if isinstance(config.ladder.beta, list) else config.ladder.beta.min
    if asked.beta > lowest:
        _refuse("schedule.annealing.beta", asked.beta, f"a number <= {lowest}, the lowest of ladder.beta")
    kind, step_size = samplers_of(config.model.weights)[config.sampler.method], config.sampler.step_size
    if kind.target is not None and step_size in (None, "auto"):
        allowed = "a number with schedule.annealing: tuned on hotter rungs it would be too large"
        _refuse("sampler.step_size", step_size, allowed)
    if config.ladder.tune != ladder.NONE:
        _refuse("ladder.tune", config.ladder.tune, "'none' with schedule.annealing: both move the rungs in the burn-in")


def _check_waiting_times(config: Config) -> None:
    times = config.output.waiting_times
    if any(low >= high for low, high in pairwise(times)):
        _refuse("output.waiting_times", times, "a strictly increasing list")
    if times and times[-1] >= config.schedule.sweeps:
        _refuse("output.waiting_times", times, f"numbers below schedule.sweeps = {config.schedule.sweeps}")
    if times and config.n_rungs > 1 and config.ladder.exchange_every:
        allowed = "0 with output.waiting_times: a walker must stay on its rung to be compared with itself"
        _refuse("ladder.exchange_every", config.ladder.exchange_every, allowed)


def _check_constraint(config: Config, given: Mapping[str, Any]) -> None:
    constraint, reference = config.constraint, config.constraint.reference
    if config.prior.is_real:
        _refuse("model.weights", config.model.weights, "'ising': [constraint] fixes the overlap of +-1 weights")
    for key in ("reference", "overlap"):
        if getattr(constraint, key) is None:
            raise ConfigError(f"constraint.{key}: missing, expected {_describe(f'constraint.{key}')}")
    if reference in ("file", "run") and constraint.path is None:
        expected = "of a .npz file with the array 'weights'" if reference == "file" else "of the directory of a run"
        raise ConfigError(
            f"constraint.path: missing, expected the path {expected} (constraint.reference = {reference!r})"
        )
    owners = {"path": ("file", "run"), "copy": ("run",), "beta": ("run",)}
    for key, of in owners.items():
        if key in given and reference not in of:
            allowed = " or ".join(f"constraint.reference = {owner!r}" for owner in of)
            raise ConfigError(f"constraint.{key}: got {_show(given[key])}, allowed only with {allowed}")
    if reference == "teacher" and config.data.source == "random":
        _refuse("constraint.reference", reference, "another: data.source = 'random' has no teacher")
    if config.n_weights is not None:
        attainable(constraint.overlap, config.n_weights)
    _check_pair_flips(config)


def _check_pair_flips(config: Config) -> None:
    method = config.sampler.method
    if not SAMPLERS[method].flips_pairs:
        able = ", ".join(name for name, sampler in SAMPLERS.items() if sampler.flips_pairs)
        _refuse("sampler.method", method, f"one of {able}: [constraint] needs pair flips")
    if config.sampler.order != "random":
        _refuse("sampler.order", config.sampler.order, "'random': pair flips have no sequence")
    if config.schedule.start != "random":
        _refuse("schedule.start", config.schedule.start, "'random': [constraint] decides how far the teacher is")


def _check_sampler(config: Config, given: Mapping[str, Any]) -> None:
    sampler, burn_in = config.sampler, config.schedule.burn_in
    kind = _sampler_class(config)
    for key in given:
        if key not in ("method", *_keys_of(kind)):
            has = ", ".join(_keys_of(kind)) or "no other"
            _refuse(f"sampler.{key}", given[key], f"no such key: sampler.method = {sampler.method!r} has {has}")
    if "order" in kind.parameters and sampler.order not in kind.orders:
        allowed = ", ".join(map(repr, kind.orders))
        _refuse(
            "sampler.order", sampler.order, f"{allowed} (sampler.method = {sampler.method!r} visits no sites in turn)"
        )
    if "step_size" in kind.parameters:
        _check_step_size(config, kind)
    if sampler.preconditioner not in (None, "none") and config.model.weights != Gaussian.name:
        _refuse("sampler.preconditioner", sampler.preconditioner, f"'none' for {config.model.weights} weights")
    if sampler.preconditioner not in (None, "none") and config.model.second_layer == "sampled":
        _refuse("sampler.preconditioner", sampler.preconditioner, "'none' for weights with a second layer")
    if "batch_size" in kind.parameters:
        _check_batch_size(config)
    if sampler.method == "auto" and burn_in < 2:
        _refuse("schedule.burn_in", burn_in, "an integer >= 2 with sampler.method = 'auto', which chooses at its end")


def _check_batch_size(config: Config) -> None:
    batch_size, n_patterns = config.sampler.batch_size, config.n_patterns
    if batch_size is None:
        raise ConfigError("sampler.batch_size: missing, expected an integer >= 1, the patterns of a minibatch")
    if n_patterns is not None and batch_size > n_patterns:
        _refuse("sampler.batch_size", batch_size, f"at most the {n_patterns} patterns that there are")


def _sampler_class(config: Config) -> type[Method]:
    """The class of the method; ConfigError where it cannot have the model's weights or its loss."""
    model, method = config.model, config.sampler.method
    kinds = samplers_of(model.weights)
    if method not in kinds:
        of = [name for name in PRIORS if method in samplers_of(name)]
        allowed = f"one of {', '.join(kinds)} for {model.weights} weights ({method} is for {' and '.join(of)} ones)"
        _refuse("sampler.method", method, allowed)
    kind = kinds[method]
    flat, layers = _without_gradient(config), model.second_layer == "sampled"
    able = ", ".join(
        name
        for name, other in kinds.items()
        if not (flat and other.needs_gradient) and not (layers and other.by_coordinate)
    )
    if flat and kind.needs_gradient:
        _refuse("sampler.method", method, f"one of {able}: {flat} has no gradient")
    if layers and kind.by_coordinate:
        _refuse("sampler.method", method, f"one of {able}: {method} moves no weights of a second layer")
    return kind


def _keys_of(kind: type[Method]) -> list[str]:
    """Keys of the table [sampler] that a method takes; precision is that of the block of machines that it drives."""
    by_products = "ising" not in kind.laws and not kind.by_coordinate
    return [*kind.parameters, *(["precision"] if by_products else [])]


def samplers_of(weights: str) -> dict[str, type[Method]]:
    """Methods for weights of a law, by name."""
    return {name: kind for kinds in (SAMPLERS, CONTINUOUS) for name, kind in kinds.items() if weights in kind.laws}


def _without_gradient(config: Config) -> str:
    """What of the energy is piecewise constant in real weights, in words; empty where it has a gradient."""
    model = config.model
    if model.loss.name in ("error-count", "symmetric"):
        return f"the {model.loss.name} loss"
    if model.architecture.endswith("committee") and model.activation == "sign":
        return "the activation sign"
    return ""


def _check_step_size(config: Config, kind: type[Method]) -> None:
    step_size, method = config.sampler.step_size, config.sampler.method
    if kind.target is None and (step_size is None or isinstance(step_size, str)):
        expected = f"a number > 0, or a list of one per rung: {method} accepts every step, there is nothing to tune by"
        if step_size is not None:
            _refuse("sampler.step_size", step_size, expected)
        raise ConfigError(f"sampler.step_size: missing, expected {expected}")
    if isinstance(step_size, str) and step_size != "auto":
        _refuse("sampler.step_size", step_size, _describe("sampler.step_size"))
    if step_size in (None, "auto") and config.schedule.burn_in < kind.least_burn_in:
        enough = f"an integer >= {kind.least_burn_in}"
        allowed = f"{enough}, in which sampler.step_size = 'auto' is tuned; or give a step size"
        _refuse("schedule.burn_in", config.schedule.burn_in, allowed)
    if isinstance(step_size, list) and len(step_size) != config.n_rungs:
        _refuse("sampler.step_size", step_size, f"{config.n_rungs} numbers, one per rung, or a single one for all")
    for value in step_size if isinstance(step_size, list) else [step_size]:
        if isinstance(value, float) and value > kind.largest_step:
            _refuse("sampler.step_size", value, f"at most {kind.largest_step:g} for {method}")


def assign(raw: dict[str, Any], settings: Mapping[str, object], where: str = "--set") -> None:
    """Sets keys such as "ladder.n_copies" in the tables `raw`. data.alpha and data.n_patterns replace each other.

    where: what the settings are called in the message of the ConfigError if a key goes through what is no table.
    """
    for key, value in settings.items():
        *path, name = key.split(".")
        table = raw
        for depth, step in enumerate(path):
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                taken = ".".join(path[: depth + 1])
                _refuse(where, f"{key}={_show(value)}", f"a key of a table, which {taken} is not")
        table[name] = value
        other = {"data.alpha": "data.n_patterns", "data.n_patterns": "data.alpha"}.get(key)
        if other and other not in settings:
            table.pop(other.removeprefix("data."), None)


def _override(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw` with each `key.path=value` set."""
    asked = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        names = [name.strip() for name in key.split(".")]
        if not equals or not all(names):
            _refuse("--set", override, "key=value, such as ladder.n_copies=4")
        asked[".".join(names)] = _value(value.strip(), override)
    assign(raw, asked)
    return raw


def _value(value: str, override: str) -> object:
    """A TOML value, or a string without quotes."""
    try:
        table = tomllib.loads(f"value = {value}")
    except ValueError:
        if not value or re.search(r"[\"'\[\]{}=#\x00-\x1f]", value):
            _refuse("--set", override, "key=value, the value in TOML or a bare word")
        return value
    if len(table) != 1:
        _refuse("--set", override, "one key=value at a time")
    return table["value"]


def _plain(value: Any) -> Any:
    """A mapping as TOML would give it: no None, and numpy scalars, arrays, tuples and paths as TOML's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _seconds(text: str) -> float:
    """The seconds in a duration; NaN if it is none."""
    clock = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+(?:\.\d*)?)", text)
    if clock:
        days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + seconds
    number = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", text)
    if not number:
        return math.nan
    units = {"": 1, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
    units |= {"d": 86400, "day": 86400}
    unit = number[2]
    return float(number[1]) * units.get(unit, units.get(unit.removesuffix("s"), math.nan))


def _patterns(alpha: float, n_weights: int) -> int:
    return math.floor(alpha * n_weights + 0.5) if alpha < _INT_MAX else _INT_MAX + 1


def _translate(message: str, raw: dict[str, Any]) -> NoReturn:
    """Raise msgspec's finding in our words."""
    found = re.search(r" - at `\$\.?(.*)`$", message)
    key = found[1] if found else ""
    missing = re.match(r"Object missing required field `(\w+)`", message)
    if missing:
        key = f"{key}.{missing[1]}" if key else missing[1]
        raise ConfigError(f"{key}: missing, expected {_describe(key)}")
    value: Any = raw
    for step in re.findall(r"\w+", key):
        value = value[int(step)] if isinstance(value, list) else value[step]
    _refuse(key, value, _describe(key))


def _describe(key: str) -> str:
    """What is allowed at a key (an element of a list: `ladder.beta[0]`), in words."""
    if key in _CHOICES:
        return f"one of {', '.join(_CHOICES[key])}"
    if key in TABLES and key != "ladder.beta":
        return f"a table [{key}]"
    if key.endswith("]"):
        return "a finite number > 0" if key.startswith("sampler.") else "a finite number >= 0"
    table, _, name = key.rpartition(".")
    hint = get_type_hints(TABLES[table], include_extras=True)[name]
    candidates = [hint, *getattr(hint, "__args__", ())]
    return next(meta.description for part in candidates for meta in getattr(part, "__metadata__", ()))


def _refuse(key: str, value: object, allowed: str) -> NoReturn:
    raise ConfigError(f"{key}: got {_show(value)}, expected {allowed}")


def _show(value: object) -> str:
    """A value on one line, as TOML would have it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    text = _one_line(repr(value) if isinstance(value, str | int | float | list | dict) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())


def settings(config: Config) -> dict[str, str]:
    """Every key of the run file with its value as in TOML, defaults included; "" for what is not set.

    Times are in seconds.
    """

    def text(value: object) -> str:
        if isinstance(value, BetaRange):
            return "{ " + ", ".join(f"{name} = {text(getattr(value, name))}" for name in value.__struct_fields__) + " }"
        return "" if value is None else json.dumps(value, ensure_ascii=False)

    return {key: text(value) for key, value in _leaves(config).items()}


def _leaves(config: Config) -> dict[str, object]:
    """Every key of the run file with its value; a generated ladder counts as one value."""
    found: dict[str, object] = {}

    def walk(table: Struct, path: str) -> None:
        for name in table.__struct_fields__:
            value = getattr(table, name)
            if isinstance(value, Struct) and not isinstance(value, BetaRange):
                walk(value, f"{path}{name}.")
            else:
                found[path + name] = value

    walk(config, "")
    del found["text"], found["directory"]
    return found
