"""The quenched disorder of one instance: inputs, labels and teacher, drawn from addressed streams or read from a file.

Everything about pattern mu is row mu of its stream, so data sets that differ in n_patterns alone are nested.
Inputs that are +-1 are kept as bits, one column of bits per input, which is what the bit-sliced kernels read.
"""

from __future__ import annotations

import csv
import hashlib
import os
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc import hdf5
from mcmc.architectures import Architecture
from mcmc.errors import ConfigError
from mcmc.kernels import aligned, special
from mcmc.kernels.fields import project
from mcmc.kernels.random import INPUTS, LABELS, TEACHER, TEST_INPUTS, normals, stream_key, uniforms, words
from mcmc.priors import Ising, Prior, Weights

InputLaw = Literal["binary", "gaussian"]
LabelLaw = Literal["sign", "real", "logistic"]
Transform = Literal["none", "binarise", "standardise"]

_ISING = Ising()

_BLOCK = 512
"""Patterns handled at a time: one 512-bit word of each packed column, and a bound on temporary memory."""

_LARGEST = np.float64(1e100)
"""Of the numbers in a file: their squares, and sums of them, are finite."""

_SLOTS = 4
_RANDOM_LABEL, _FLIP, _LOGISTIC, _NOISE = range(_SLOTS)
"""Columns of the label stream. Each pattern owns all of them, used or not."""


# The two representations of the inputs


@dataclass(frozen=True, eq=False)
class Inputs:
    """The patterns of one instance, or of its test set, in one of two representations. Arrays are read-only.

    columns: uint64 (n_inputs, words), +-1 inputs: bit mu % 64 of word mu // 64 of row i is 1 where x_i^mu = +1.
        words = 8 ceil(n_patterns / 512), the bits beyond n_patterns are 0, and rows begin on 64-byte boundaries.
    values: float64 (n_patterns, n_inputs), C-contiguous, real-valued inputs.
    """

    n_patterns: int
    n_inputs: int
    columns: NDArray[np.uint64] | None = None
    values: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if (self.columns is None) == (self.values is None):
            raise ValueError("Inputs: exactly one of columns and values must be given")
        if self.columns is not None:
            shape = (self.n_inputs, _n_words(self.n_patterns))
            object.__setattr__(self, "columns", _read_only(self.columns, np.uint64, shape))
        else:
            shape = (self.n_patterns, self.n_inputs)
            object.__setattr__(self, "values", _read_only(self.values, np.float64, shape))

    @classmethod
    def from_dense(cls, dense: ArrayLike) -> Inputs:
        """Inputs from a (n_patterns, n_inputs) array of any real type; packed if every entry is -1 or +1."""
        dense = np.asarray(dense)
        n_patterns, n_inputs = dense.shape
        blocks = [slice(start, start + _BLOCK) for start in range(0, n_patterns, _BLOCK)]
        if all(((dense[rows] == 1) | (dense[rows] == -1)).all() for rows in blocks):
            return cls(n_patterns, n_inputs, columns=_pack((dense[rows] == 1 for rows in blocks), n_patterns, n_inputs))
        return cls(n_patterns, n_inputs, values=dense)

    @property
    def binary(self) -> bool:
        """True if the inputs are +-1 and packed."""
        return self.columns is not None

    def dense(self) -> NDArray[np.int8] | NDArray[np.float64]:
        """All inputs (n_patterns, n_inputs): int8 +-1, or float64."""
        if self.values is not None:
            return self.values
        dense = np.empty((self.n_patterns, self.n_inputs), np.int8)
        for rows, bits in self._bits():
            dense[rows] = bits.T
        dense *= 2
        dense -= 1
        return dense

    def block(self, start: int, stop: int) -> Inputs:
        """The inputs start .. stop - 1 of every pattern: a view of +-1 inputs, a copy of real ones."""
        if not 0 <= start < stop <= self.n_inputs:
            raise ValueError(f"block: got inputs {start} to {stop}, expected some of 0 to {self.n_inputs}")
        if self.columns is not None:
            return Inputs(self.n_patterns, stop - start, columns=self.columns[start:stop])
        return Inputs(self.n_patterns, stop - start, values=self.values[:, start:stop])

    def fields(self, weights: ArrayLike) -> NDArray[np.int64] | NDArray[np.float64]:
        """Unscaled sums w.x of weights (..., n_inputs) with every pattern, (..., n_patterns).

        Integer weights on +-1 inputs give exact int64. Otherwise float64, summed over the inputs in order, so that
        neither the machine nor the number of patterns changes a bit.
        """
        weights = np.asarray(weights)
        if weights.shape[-1:] != (self.n_inputs,):
            raise ValueError(f"weights: got shape {weights.shape}, expected (..., {self.n_inputs})")
        flat = weights.reshape(-1, self.n_inputs)
        if self.binary and flat.dtype.kind in "iu":
            fields = self._exact_fields(flat)
        else:
            fields = self._ordered_fields(flat.astype(np.float64))
        return fields.reshape(*weights.shape[:-1], self.n_patterns)

    def _exact_fields(self, weights: NDArray[Any]) -> NDArray[np.int64]:
        largest = max(abs(int(weights.min(initial=0))), int(weights.max(initial=0)))
        exact = np.float32 if largest * self.n_inputs < 2**24 else np.float64  # integers below 2^24, 2^53 are exact
        total = weights.sum(axis=1, dtype=np.int64)[:, None]
        factors = weights.astype(exact)
        fields = np.empty((len(weights), self.n_patterns), np.int64)
        for rows, bits in self._bits():
            fields[:, rows] = 2 * (factors @ bits.astype(exact)).astype(np.int64) - total
        return fields

    def _ordered_fields(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        fields = np.empty((len(weights), self.n_patterns))
        for rows, block in self.blocks():
            # in order; a matrix product of numpy's would depend on the BLAS and on the shape
            fields[:, rows] = project(np.ascontiguousarray(block.T), weights)
        return fields

    def _bits(self) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """Blocks of patterns of +-1 inputs: their range, and 0/1 bits (n_inputs, patterns)."""
        octets = self.columns.view(np.uint8)
        for start in range(0, self.n_patterns, _BLOCK):
            rows = slice(start, min(start + _BLOCK, self.n_patterns))
            block = octets[:, start // 8 : (start + _BLOCK) // 8]
            yield rows, np.unpackbits(block, axis=1, count=rows.stop - rows.start, bitorder="little")

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Blocks of patterns: their range, and the inputs as float64 (patterns, n_inputs)."""
        if self.values is None:
            for rows, bits in self._bits():
                yield rows, 2.0 * np.ascontiguousarray(bits.T) - 1.0
        else:
            for start in range(0, self.n_patterns, _BLOCK):
                rows = slice(start, min(start + _BLOCK, self.n_patterns))
                yield rows, self.values[rows]

    def chunks(self, size: int) -> Iterator[tuple[slice, Inputs]]:
        """The patterns in pieces of `size`, a multiple of 512: their range, and inputs that hold them alone."""
        for start in range(0, self.n_patterns, size):
            rows = slice(start, min(start + size, self.n_patterns))
            n_patterns = rows.stop - start
            if self.values is not None:
                yield rows, Inputs(n_patterns, self.n_inputs, values=self.values[rows])
                continue
            columns = aligned((self.n_inputs, _n_words(n_patterns)), np.uint64)
            columns[:] = self.columns[:, start // 64 : start // 64 + columns.shape[1]]
            yield rows, Inputs(n_patterns, self.n_inputs, columns=columns)


@dataclass(frozen=True, eq=False)
class Instance:
    """One draw of the quenched disorder. Arrays are read-only.

    labels: float64 (n_patterns,), +-1 for classification.
    teacher: (n_weights,) int8 +-1, or float64; or None.
    test: fresh patterns and their clean labels float64 (n_test,), or None.
    teacher_architecture: what the teacher's weights are weights of, by default a perceptron; None without a teacher.
    """

    inputs: Inputs
    labels: NDArray[np.float64]
    teacher: Weights | None = None
    test: tuple[Inputs, NDArray[np.float64]] | None = None
    teacher_architecture: Architecture | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _read_only(self.labels, np.float64, (self.inputs.n_patterns,)))
        if self.teacher is None:
            object.__setattr__(self, "teacher_architecture", None)
        else:
            architecture = self.teacher_architecture or _perceptron(self.inputs.n_inputs)
            object.__setattr__(self, "teacher_architecture", architecture)
            kind = np.float64 if np.asarray(self.teacher).dtype.kind == "f" else np.int8
            object.__setattr__(self, "teacher", _read_only(self.teacher, kind, (architecture.n_weights,)))
        if self.test is not None:
            inputs, labels = self.test
            object.__setattr__(self, "test", (inputs, _read_only(labels, np.float64, (inputs.n_patterns,))))


def to_arrays(instance: Instance) -> dict[str, NDArray[Any]]:
    """What an instance without a test set holds, by name; `from_arrays` is the way back."""
    parts = {"columns": instance.inputs.columns, "values": instance.inputs.values}
    parts |= {"labels": instance.labels, "teacher": instance.teacher}
    return {name: part for name, part in parts.items() if part is not None}


def from_arrays(arrays: Mapping[str, NDArray[Any]], architecture: Callable[[int], Architecture]) -> Instance:
    """The instance of which `to_arrays` gave the arrays; architecture: of its teacher, by the number of inputs."""
    columns, labels = arrays.get("columns"), arrays["labels"]
    if columns is None:
        inputs = Inputs(*arrays["values"].shape, values=arrays["values"])
    else:
        rows = aligned(columns.shape, np.uint64)
        rows[:] = columns
        inputs = Inputs(len(labels), len(rows), columns=rows)
    return Instance(inputs, labels, arrays.get("teacher"), teacher_architecture=architecture(inputs.n_inputs))


def fingerprint(instance: Instance) -> str:
    """SHA-256, in hexadecimal, of everything the instance holds: equal if and only if the data are."""
    test_inputs, test_labels = instance.test or (None, None)
    parts: list[NDArray[Any] | None] = [instance.labels, instance.teacher, test_labels]
    for inputs in (instance.inputs, test_inputs):
        parts += [inputs.columns, inputs.values] if inputs else []
    digest = hashlib.sha256()
    for part in parts:
        if part is None:
            digest.update(b"none;")
        else:
            digest.update(f"{part.dtype.str}{part.shape};".encode())
            digest.update(part.reshape(-1).view(np.uint8))
    teacher = instance.teacher_architecture
    if teacher is not None and teacher.name != "perceptron":
        digest.update(f"{teacher.name},{teacher.n_inputs},{teacher.n_hidden},{teacher.activation};".encode())
    return digest.hexdigest()


def _perceptron(n_inputs: int) -> Architecture:
    return Architecture("perceptron", n_inputs)


def _read_only(values: ArrayLike, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """A read-only, C-contiguous view of `values` (a copy only where type or layout ask for one)."""
    view = np.ascontiguousarray(values, dtype).view()
    if view.shape != shape:
        raise ValueError(f"data: got an array of shape {view.shape}, expected {shape}")
    view.flags.writeable = False
    return view


def _n_words(n_patterns: int) -> int:
    return _BLOCK // 64 * -(-n_patterns // _BLOCK)


def _pack(blocks: Iterable[NDArray[Any]], n_patterns: int, n_inputs: int) -> NDArray[np.uint64]:
    """Packed columns from consecutive blocks of 0/1 rows (_BLOCK or fewer patterns, n_inputs)."""
    n_words = _n_words(n_patterns)
    buffer = np.zeros(n_inputs * n_words + 7, np.uint64)
    aligned = -buffer.ctypes.data // 8 % 8  # words up to the next 64-byte boundary
    columns = buffer[aligned : aligned + n_inputs * n_words].reshape(n_inputs, n_words)
    octets = columns.view(np.uint8)  # little-endian words: octet j holds patterns 8 j .. 8 j + 7
    for number, block in enumerate(blocks):
        packed = np.packbits(np.ascontiguousarray(block.T), axis=1, bitorder="little")
        start = number * (_BLOCK // 8)
        octets[:, start : start + packed.shape[1]] = packed
    return columns


# Ensembles


def random_instance(seed: int, instance: int, n_inputs: int, n_patterns: int, inputs: InputLaw = "binary") -> Instance:
    """The storage problem: random inputs (+-1 or standard normal), labels +-1 with equal probability."""
    slots = uniforms(stream_key(seed, LABELS, instance), 0, n_patterns, _SLOTS)
    return Instance(
        inputs=_draw_inputs(stream_key(seed, INPUTS, instance), n_patterns, n_inputs, inputs),
        labels=np.where(slots[:, _RANDOM_LABEL] < 0.5, -1.0, 1.0),
    )


def teacher_instance(
    seed: int,
    instance: int,
    n_inputs: int,
    n_patterns: int,
    inputs: InputLaw = "binary",
    labels: LabelLaw = "sign",
    label_noise: float = 0.0,
    output_noise: float = 0.0,
    sharpness: float = 1.0,
    n_test: int = 0,
    teacher: Architecture | None = None,
    prior: Prior = _ISING,
) -> Instance:
    """Random inputs, labelled by the output f of a machine with random weights.

    labels: "sign": sign(f) with sign(0) = +1, flipped with probability label_noise; "real": f plus normal noise of
    variance output_noise; "logistic": +1 with probability 1 / (1 + exp(-sharpness f)).
    n_test fresh patterns carry the clean label: f if labels are real, sign(f) otherwise.
    teacher: the machine, by default a perceptron; prior: the law of its weights. Inputs and noise are the same
    whatever they are.

    Raises ValueError if the teacher has another number of inputs.
    """
    teacher = teacher or _perceptron(n_inputs)
    if teacher.n_inputs != n_inputs:
        raise ValueError(f"teacher: got {teacher.n_inputs} inputs, expected n_inputs = {n_inputs}")
    key = stream_key(seed, TEACHER, instance)
    weights = prior.draw(key, teacher.n_hidden, teacher.fan_in, teacher.second_layer)
    patterns = _draw_inputs(stream_key(seed, INPUTS, instance), n_patterns, n_inputs, inputs)
    output = teacher.output(patterns, weights)
    key = stream_key(seed, LABELS, instance)
    if labels == "real":
        noisy = output + np.sqrt(output_noise) * normals(key, 0, n_patterns, _SLOTS)[:, _NOISE]
    elif labels == "logistic":
        probability = 1.0 / (1.0 + special.exp(-sharpness * output))
        noisy = np.where(uniforms(key, 0, n_patterns, _SLOTS)[:, _LOGISTIC] < probability, 1.0, -1.0)
    else:
        flipped = uniforms(key, 0, n_patterns, _SLOTS)[:, _FLIP] < label_noise
        noisy = np.where(flipped, -1.0, 1.0) * _sign(output)
    test = None
    if n_test > 0:
        fresh = _draw_inputs(stream_key(seed, TEST_INPUTS, instance), n_test, n_inputs, inputs)
        clean = teacher.output(fresh, weights)
        test = (fresh, clean if labels == "real" else _sign(clean))
    return Instance(inputs=patterns, labels=noisy, teacher=weights, test=test, teacher_architecture=teacher)


def _draw_inputs(key: int, n_patterns: int, n_inputs: int, law: InputLaw) -> Inputs:
    blocks = [(start, min(_BLOCK, n_patterns - start)) for start in range(0, n_patterns, _BLOCK)]
    if law == "gaussian":
        values = np.empty((n_patterns, n_inputs))
        for start, rows in blocks:
            values[start : start + rows] = normals(key, start, rows, n_inputs)
        return Inputs(n_patterns, n_inputs, values=values)
    bits = (_unpack_words(words(key, start, rows, _n_draws(n_inputs)), n_inputs) for start, rows in blocks)
    return Inputs(n_patterns, n_inputs, columns=_pack(bits, n_patterns, n_inputs))


def _n_draws(n_inputs: int) -> int:
    return -(-n_inputs // 32)


def _unpack_words(draws: NDArray[np.uint32], n_inputs: int) -> NDArray[np.uint8]:
    """Bit b of word w becomes column 32 w + b, (rows, n_inputs)."""
    return np.unpackbits(draws.view(np.uint8), axis=1, count=n_inputs, bitorder="little")


def _sign(output: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(output >= 0, 1.0, -1.0)


# Files

_LONGEST_REASON = 200
"""Letters of what a reader says about a file."""


def load_file(
    path: str | os.PathLike[str],
    *,
    inputs_key: str = "inputs",
    labels_key: str = "labels",
    teacher_key: str = "teacher",
    transform: Transform = "none",
    classification: bool,
    n_inputs: int | None,
    architecture: Callable[[int], Architecture] = _perceptron,
    real_weights: bool = False,
) -> Instance:
    """An instance from a data file.

    .npz, .h5, .hdf5: arrays inputs (n_patterns, n_inputs), labels (n_patterns,), optionally teacher (n_weights,), under
        the names given.
    .csv: one pattern per line, separated by commas, the label last; lines that start with # are skipped, and a first
        line without a single number is a header.

    transform: "binarise" gives +1 above the mean of the column and -1 otherwise (the mean splits every column that is
        not constant, the median does not); "standardise" gives each column zero mean and unit variance.
    classification: labels must be +-1.
    n_inputs: what the model expects; None takes what the file has.
    architecture: of the model, and so of the teacher, by the number of inputs; ValueError where that does not fit.
    real_weights: the model's, and so the teacher's, which are +-1 otherwise.

    Inputs that are all +-1 (after the transform) are packed, whatever their type in the file. A constant column is an
    error under a transform, which has no meaning for it. Without a transform it is an error if it is zero, since its
    weight would be free; another constant acts as a threshold and is allowed. All patterns equal is an error.

    Raises ConfigError, in one line with the path, the array, what was found and what is allowed.
    """
    path = Path(path)
    arrays, names = _read(path, (inputs_key, labels_key, teacher_key))
    for key, name in (("inputs_key", inputs_key), ("labels_key", labels_key)):
        if name not in arrays:
            raise ConfigError(f"data.{key}: {path} has no array {name!r}, it has {_listed(names)}")
    where = f"data.path: {path}: array"
    inputs = _checked_inputs(arrays[inputs_key], f"{where} {inputs_key!r}", n_inputs)
    n_patterns, n_columns = inputs.shape
    labels = _checked_vector(arrays[labels_key], f"{where} {labels_key!r}", n_patterns, "one label per pattern")
    if classification:
        _check_signs(labels, f"{where} {labels_key!r}")
    try:
        model = architecture(n_columns)
    except ValueError as error:
        raise ConfigError(f"model.{error}; the array {inputs_key!r} of {path} has {n_columns} columns") from None
    teacher = None
    if teacher_key in arrays:
        meaning = f"one number per weight of a {model.name}" + (", second layer last" if model.second_layer else "")
        teacher = _checked_vector(arrays[teacher_key], f"{where} {teacher_key!r}", model.n_weights, meaning)
        if real_weights:
            teacher = teacher.astype(np.float64)
        else:
            _check_signs(teacher, f"{where} {teacher_key!r}")
            teacher = teacher.astype(np.int8)
    elif teacher_key != "teacher":
        raise ConfigError(f"data.teacher_key: {path} has no array {teacher_key!r}, it has {_listed(names)}")
    patterns = Inputs.from_dense(_transformed(inputs, f"{where} {inputs_key!r}", transform))
    return Instance(inputs=patterns, labels=labels, teacher=teacher, teacher_architecture=model)


def _read(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """The wanted arrays that the file has, as they are, and the names of all its arrays."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"data.path: {path}: got extension {path.suffix!r}, expected one of {', '.join(_READERS)}")
    if not os.path.isfile(path):
        raise ConfigError(f"data.path: {path}: no such file")
    with _readable(f"data.path: {path}", path.suffix):
        return reader(path, wanted)


@contextmanager
def _readable(where: str, kind: str) -> Iterator[None]:
    """What goes wrong inside is the fault of the file, in one line."""
    try:
        yield
    except Exception as error:  # numpy and zipfile raise almost anything on a file that is damaged
        words = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        reason = "".join(letter if letter.isprintable() else "?" for letter in words)
        shown = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
        raise ConfigError(f"{where}: cannot be read as {kind} ({shown})") from error


def read_reference(path: Path, where: str) -> NDArray[Any]:
    """The array `weights` of a .npz file, of any type and shape. Raises ConfigError that begins with `where`."""
    with _readable(where, ".npz"):
        arrays, names = _read_npz(path, ("weights",))
    if "weights" not in arrays:
        raise ConfigError(f"{where}: has no array 'weights', it has {_listed(names)}")
    return np.asarray(arrays["weights"])


def _read_npz(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no archive, or one that was cut short")
        file.seek(0)
        with np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in wanted if name in archive.files}, archive.files


def _read_csv(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """The arrays `inputs`, all columns but the last, and `labels`, the last."""
    numbers = array("d")
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True, skipinitialspace=True)
        rows = (row for row in reader if row and not row[0].startswith("#"))
        head = next(rows, [])
        width = len(head)
        for row in chain([head] if any(map(_is_number, head)) else [], rows):
            if len(row) != width:
                raise ValueError(f"line {reader.line_num}: got {len(row)} columns, expected {width}")
            try:
                numbers.extend(map(float, row))
            except ValueError:
                column = next(number for number, entry in enumerate(row) if not _is_number(entry))
                got = f"got {row[column]!r}, expected a number"
                raise ValueError(f"line {reader.line_num}, column {column + 1}: {got}") from None
    if not numbers or width < 2:
        raise ValueError(f"got {len(numbers)} numbers in {width} columns, expected inputs and, last, the label")
    table = np.frombuffer(numbers).reshape(-1, width)
    arrays = {"inputs": table[:, :-1], "labels": table[:, -1]}
    return {name: arrays[name] for name in wanted if name in arrays}, list(arrays)


def _is_number(entry: str) -> bool:
    try:
        float(entry)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Path, tuple[str, ...]], tuple[dict[str, Any], list[str]]]] = {
    ".npz": _read_npz,
    ".h5": hdf5.read,
    ".hdf5": hdf5.read,
    ".csv": _read_csv,
}


def _checked_inputs(inputs: Any, where: str, n_inputs: int | None) -> NDArray[Any]:
    inputs = _numbers(inputs, where)
    if inputs.ndim != 2 or inputs.size == 0:
        raise ConfigError(f"{where}: got shape {inputs.shape}, expected (n_patterns, n_inputs), not empty")
    if n_inputs is not None and inputs.shape[1] != n_inputs:
        hint = "; is it transposed?" if inputs.shape[0] == n_inputs else ""
        raise ConfigError(f"{where}: got {inputs.shape[1]} columns, expected model.n_inputs = {n_inputs}{hint}")
    _check_finite(inputs, where)
    return inputs


def _checked_vector(vector: Any, where: str, length: int, meaning: str) -> NDArray[Any]:
    vector = _numbers(vector, where)
    if vector.shape != (length,):
        raise ConfigError(f"{where}: got shape {vector.shape}, expected ({length},), {meaning}")
    _check_finite(vector, where)
    return vector


def _numbers(values: Any, where: str) -> NDArray[Any]:
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: got type {values.dtype}, expected real numbers")
    return values


def _check_finite(values: NDArray[Any], where: str) -> None:
    for start in range(0, len(values), _BLOCK):
        bad = np.argwhere(~(np.abs(values[start : start + _BLOCK]) <= _LARGEST))
        if len(bad):
            place = (start + int(bad[0][0]), *map(int, bad[0][1:]))
            at = ", ".join(map(str, place))
            raise ConfigError(f"{where}: got {values[place]} at [{at}], expected finite numbers up to {_LARGEST:.0e}")


def _check_signs(values: NDArray[Any], where: str) -> None:
    wrong = np.flatnonzero((values != 1) & (values != -1))
    if len(wrong):
        first = f"the first is {values[wrong[0]]} at [{wrong[0]}]"
        hint = "; 0 and 1 become -1 and +1 by 2 x - 1" if np.isin(values, (0, 1)).all() else ""
        raise ConfigError(f"{where}: got {len(wrong)} of {len(values)} values other than -1 and +1 ({first}){hint}")


def _transformed(inputs: NDArray[Any], where: str, transform: Transform) -> NDArray[Any]:
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    constant = low == high
    if transform == "none":
        if len(inputs) > 1 and constant.all():
            raise ConfigError(f"{where}: all {len(inputs)} patterns are equal, expected different ones")
        _refuse_columns(constant & (low == 0), where, "zero in every pattern, their weights would be free; remove them")
        return inputs
    _refuse_columns(constant, where, f"constant, which transform = {transform!r} cannot use; remove them")
    if transform == "binarise":
        mean = inputs.mean(axis=0, dtype=np.float64)
        return np.where(inputs > mean, np.int8(1), np.int8(-1))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values = inputs - inputs.mean(axis=0, dtype=np.float64)
        values /= values.std(axis=0)
    if not np.isfinite(values).all():
        raise ConfigError(f"{where}: the variance of a column is out of the range of float64, rescale the column")
    return values


def _refuse_columns(refused: NDArray[np.bool_], where: str, reason: str) -> None:
    columns = np.flatnonzero(refused).tolist()
    if columns:
        raise ConfigError(f"{where}: got {len(columns)} columns ({_listed(columns)}) that are {reason}")


def _listed(names: Iterable[object]) -> str:
    """The first eight names, separated by commas."""
    names = [repr(name) for name in names]
    return ", ".join(names[:8] + ["..."] * (len(names) > 8)) or "none"
