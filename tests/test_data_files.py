"""Data files: what is read, what is done to it, and one clear line for every file that cannot be used."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from mcmc.architectures import Architecture
from mcmc.data import fingerprint, load_file, random_instance
from mcmc.errors import ConfigError

RUNS = Path(__file__).parent.parent / "runs"
P, N = 600, 7
REAL = np.random.default_rng(1).normal(size=(P, N))
SIGNS = np.where(REAL > 0, 1, -1)
LABELS = np.where(REAL[:, 0] > 0.3, 1, -1)
TEACHER = np.array([1, -1, 1, 1, -1, -1, 1])


def write(path: Path, inputs, labels, **more) -> Path:
    """The same arrays in the format that the extension names."""
    if path.suffix == ".npz":
        np.savez_compressed(path, inputs=inputs, labels=labels, **more)
    elif path.suffix == ".csv":
        np.savetxt(path, np.column_stack([inputs, labels]), delimiter=",", fmt="%.17g")
    else:
        with h5py.File(path, "w") as file:
            for name, values in {"inputs": inputs, "labels": labels, **more}.items():
                file[name] = values
    return path


def load(path: Path, **options):
    return load_file(path, **{"classification": True, "n_inputs": None, **options})


# Good files


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.hdf5", "a.csv", "A.NPZ"])
def test_every_format_gives_the_same_instance(tmp_path, name):
    path = tmp_path / name
    write(path.with_suffix(path.suffix.lower()), REAL, LABELS).rename(path)
    instance = load(path, n_inputs=N)
    assert not instance.inputs.binary
    assert instance.teacher is instance.test is None
    np.testing.assert_array_equal(instance.inputs.values, REAL)
    np.testing.assert_array_equal(instance.labels, LABELS)
    assert fingerprint(instance) == fingerprint(load(write(tmp_path / "reference.npz", REAL, LABELS)))


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.csv"])
@pytest.mark.parametrize("dtype", ["i1", ">i4", "f4", "f8"])
def test_signs_are_packed_whatever_their_type(tmp_path, name, dtype):
    instance = load(write(tmp_path / name, np.asfortranarray(SIGNS.astype(dtype)), LABELS.astype(dtype)))
    assert instance.inputs.binary
    np.testing.assert_array_equal(instance.inputs.dense(), SIGNS)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_an_instance_survives_the_way_through_a_file(tmp_path, name):
    instance = random_instance(1, 0, 33, 700)
    back = load(write(tmp_path / name, instance.inputs.dense(), instance.labels))
    assert fingerprint(back) == fingerprint(instance)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_teacher_and_other_names(tmp_path, name):
    path = write(tmp_path / name, SIGNS, LABELS, teacher=TEACHER.astype(float), x=REAL, y=-LABELS, w=-TEACHER)
    np.testing.assert_array_equal(load(path).teacher, TEACHER)
    other = load(path, inputs_key="x", labels_key="y", teacher_key="w")
    np.testing.assert_array_equal(other.inputs.values, REAL)
    np.testing.assert_array_equal(other.labels, -LABELS)
    np.testing.assert_array_equal(other.teacher, -TEACHER)


@pytest.mark.parametrize(("name", "n_weights"), [("committee", 21), ("tree-parity", 9)])
def test_a_teacher_in_a_file_is_of_the_models_architecture(tmp_path, name, n_weights):
    inputs = np.column_stack([SIGNS, SIGNS[:, :2]])[:, : 7 if name == "committee" else 9]
    teacher = np.resize(TEACHER, n_weights)
    path = write(tmp_path / "a.npz", inputs, LABELS, teacher=teacher)
    instance = load(path, architecture=partial(Architecture, name, n_hidden=3))
    assert instance.teacher_architecture == Architecture(name, inputs.shape[1], 3)
    np.testing.assert_array_equal(instance.teacher, teacher)


def test_a_file_without_a_teacher_has_none_of_any_architecture(tmp_path):
    path = write(tmp_path / "a.npz", SIGNS, LABELS)
    assert load(path, architecture=partial(Architecture, "committee", n_hidden=3)).teacher_architecture is None


def test_arrays_in_a_group(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["task/x"], file["task/y"] = SIGNS, LABELS
    assert load(path, inputs_key="task/x", labels_key="/task/y").inputs.binary


@pytest.mark.parametrize(
    "head", ["", "a,b,label\n", "# a comment, 1\n\na,b,label\n", "\ufeffa,b,label\n", '"a","b",""\n']
)
def test_csv_header_comments_and_blank_lines(tmp_path, head):
    path = tmp_path / "a.csv"
    path.write_text(head + "0.5, -2e3,1\r\n\n# between\n1,2,-1\n", encoding="utf-8")
    instance = load(path)
    np.testing.assert_array_equal(instance.inputs.values, [[0.5, -2000.0], [1.0, 2.0]])
    np.testing.assert_array_equal(instance.labels, [1, -1])


def test_real_labels_without_classification(tmp_path):
    np.testing.assert_array_equal(
        load(write(tmp_path / "a.h5", SIGNS, REAL[:, 1]), classification=False).labels, REAL[:, 1]
    )


def test_binarise_splits_at_the_mean(tmp_path):
    rare = np.where(np.arange(P) < 3, 5, 0)  # its median equals its minimum, minus it its maximum
    path = write(tmp_path / "a.npz", np.column_stack([REAL, rare, -rare, SIGNS]), LABELS)
    dense = load(path, transform="binarise").inputs.dense()
    np.testing.assert_array_equal(dense[:, :N], np.sign(REAL - REAL.mean(axis=0)))
    np.testing.assert_array_equal(dense[:, N], np.where(rare > 0, 1, -1))
    np.testing.assert_array_equal(dense[:, N + 1], -dense[:, N])
    np.testing.assert_array_equal(dense[:, N + 2 :], SIGNS)  # signs stay what they are


@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_standardise(tmp_path, dtype):
    inputs = (40 * REAL + 130).clip(0, 255).astype(dtype)
    values = load(write(tmp_path / "a.h5", inputs, LABELS), transform="standardise").inputs.values
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((values**2).mean(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(np.corrcoef(values[:, 2], inputs[:, 2])[0, 1], 1)


def test_a_constant_column_may_serve_as_a_threshold_and_a_single_pattern_is_a_data_set(tmp_path):
    assert load(write(tmp_path / "a.npz", np.column_stack([SIGNS, np.ones(P)]), LABELS)).inputs.n_inputs == N + 1
    assert load(write(tmp_path / "b.npz", SIGNS[:1], LABELS[:1])).inputs.n_patterns == 1


# Bad files: name, options of load_file, what to write, what the one line must say


def arrays(inputs=SIGNS, labels=LABELS, **more):
    return lambda path: write(path, inputs, labels, **more)


def only(**named):
    return lambda path: np.savez(path, **named)


def text(content: str | bytes):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(share: float):
    def shorten(path: Path) -> None:
        write(path, REAL, LABELS)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return shorten


def changed(position, value, source=REAL):
    values = source.astype(float)
    values[position] = value
    return values


def hdf5_empty(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["labels"], file["inputs"] = LABELS, h5py.Empty("f8")


def hdf5_group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["labels"], file["inputs/x"] = LABELS, SIGNS


def damaged_npz(path: Path) -> None:
    write(path, REAL, LABELS)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x55
    path.write_bytes(content)


ZERO = np.column_stack([REAL, np.zeros(P)])
SEVEN = np.column_stack([REAL, np.full(P, 7.0)])
BAD = {
    "missing": ("a.npz", {}, lambda path: None, "no such file"),
    "folder": ("a.h5", {}, lambda path: path.mkdir(), "no such file"),
    "no extension": ("data", {}, text("1,1"), "expected one of .npz, .h5, .hdf5, .csv"),
    "other extension": ("a.npy", {}, lambda path: np.save(path, SIGNS), "got extension '.npy'"),
    "npz: empty file": ("a.npz", {}, text(""), "no archive, or one that was cut short"),
    "npz: text": ("a.npz", {}, text("1,2,3\n"), "no archive"),
    "npz: truncated": ("a.npz", {}, cut(0.9), "cut short"),
    "npz: damaged": ("a.npz", {}, damaged_npz, "cannot be read as .npz"),
    "npz: objects": ("a.npz", {}, arrays(labels=np.array([1, None] * (P // 2))), "Object arrays cannot be loaded"),
    "h5: empty file": ("a.h5", {}, text(""), "cannot be read as .h5"),
    "h5: text": ("a.hdf5", {}, text("1,2,3\n"), "cannot be read as .hdf5"),
    "h5: truncated": ("a.h5", {}, cut(0.5), "cannot be read as .h5"),
    "h5: null dataspace": ("a.h5", {}, hdf5_empty, "array 'inputs': got type object"),
    "h5: group": ("a.h5", {}, hdf5_group, "no array 'inputs', it has 'inputs/x', 'labels'"),
    "h5: strings": ("a.h5", {}, arrays(labels=["odd", "even"]), "array 'labels': got type object"),
    "csv: empty file": ("a.csv", {}, text(""), "got 0 numbers"),
    "csv: header only": ("a.csv", {}, text("a,b,label\n"), "got 0 numbers"),
    "csv: one column": ("a.csv", {}, text("1\n-1\n"), "in 1 columns"),
    "csv: ragged": ("a.csv", {}, text("1,2,1\n3,4,-1\n5,-1\n"), "line 3: got 2 columns, expected 3"),
    "csv: word": ("a.csv", {}, text("a,b,y\n1,2,1\n1,x,-1\n"), "line 3, column 2: got 'x', expected a number"),
    "csv: mixed first line": ("a.csv", {}, text("1,x,1\n1,2,-1\n"), "line 1, column 2: got 'x'"),
    "csv: gap": ("a.csv", {}, text("1,2,1\n1,,-1\n"), "line 2, column 2: got ''"),
    "csv: semicolons": ("a.csv", {}, text("a;b;y\n1;2;1\n"), "got '1;2;1', expected a number"),
    "csv: quote": ("a.csv", {}, text('1,"2,1\n'), "cannot be read as .csv"),
    "csv: binary": ("a.csv", {}, text(bytes(range(256))), "cannot be read as .csv"),
    "csv: utf-16": ("a.csv", {}, text("1,2,1\n".encode("utf-16")), "cannot be read as .csv"),
    "csv: names": ("a.csv", {"labels_key": "y"}, text("x,y\n1,1\n"), "data.labels_key: {path} has no array 'y'"),
    "csv: nan": ("a.csv", {}, text("1,2,1\n1,nan,-1\n"), "array 'inputs': got nan at [1, 1]"),
    "no inputs": (
        "a.npz",
        {},
        only(x=SIGNS, labels=LABELS),
        "data.inputs_key: {path} has no array 'inputs', it has 'x'",
    ),
    "no labels": ("a.npz", {}, only(inputs=SIGNS), "data.labels_key: {path} has no array 'labels', it has 'inputs'"),
    "no arrays": ("a.npz", {}, only(), "it has none"),
    "no teacher": ("a.npz", {"teacher_key": "w"}, arrays(), "data.teacher_key: {path} has no array 'w'"),
    "one dimension": ("a.npz", {}, arrays(inputs=SIGNS[0]), "got shape (7,), expected (n_patterns, n_inputs)"),
    "three dimensions": ("a.npz", {}, arrays(inputs=SIGNS[None]), "got shape (1, 600, 7)"),
    "no patterns": ("a.npz", {}, arrays(SIGNS[:0], LABELS[:0]), "got shape (0, 7)"),
    "no columns": ("a.npz", {}, arrays(SIGNS[:, :0]), "got shape (600, 0)"),
    "complex": ("a.npz", {}, arrays(inputs=SIGNS * 1j), "array 'inputs': got type complex128, expected real numbers"),
    "strings": ("a.npz", {}, arrays(labels=LABELS.astype(str)), "array 'labels': got type <U"),
    "dates": ("a.npz", {}, arrays(inputs=SIGNS.astype("M8[s]")), "got type datetime64"),
    "nan input": ("a.npz", {}, arrays(changed((599, 2), np.nan)), "array 'inputs': got nan at [599, 2]"),
    "infinite input": ("a.h5", {}, arrays(changed((3, 4), -np.inf)), "array 'inputs': got -inf at [3, 4]"),
    "nan label": ("a.h5", {}, arrays(labels=changed(9, np.nan, LABELS)), "array 'labels': got nan at [9]"),
    "short labels": (
        "a.npz",
        {},
        arrays(labels=LABELS[1:]),
        "got shape (599,), expected (600,), one label per pattern",
    ),
    "two-dimensional labels": ("a.npz", {}, arrays(labels=LABELS[:, None]), "got shape (600, 1), expected (600,)"),
    "0/1 labels": ("a.npz", {}, arrays(labels=LABELS > 0), "0 and 1 become -1 and +1 by 2 x - 1"),
    "real labels": ("a.csv", {}, arrays(labels=changed(5, 0.25, LABELS)), "got 1 of 600 values other than -1 and +1"),
    "teacher of one unit": (
        "a.npz",
        {"architecture": partial(Architecture, "committee", n_hidden=3)},
        arrays(teacher=TEACHER),
        "array 'teacher': got shape (7,), expected (21,), one number per weight of a committee",
    ),
    "short teacher": ("a.npz", {}, arrays(teacher=TEACHER[1:]), "array 'teacher': got shape (6,), expected (7,)"),
    "real teacher": (
        "a.npz",
        {},
        arrays(teacher=TEACHER / 2),
        "array 'teacher': got 7 of 7 values other than -1 and +1",
    ),
    "other n_inputs": ("a.npz", {"n_inputs": 8}, arrays(), "got 7 columns, expected model.n_inputs = 8"),
    "transposed": (
        "a.npz",
        {"n_inputs": 7},
        arrays(SIGNS.T),
        "got 600 columns, expected model.n_inputs = 7; is it transp",
    ),
    "equal patterns": ("a.npz", {}, arrays(np.ones((P, N))), "all 600 patterns are equal"),
    "zero column": ("a.npz", {}, arrays(ZERO), "got 1 columns (7) that are zero in every pattern"),
    "zero inputs": (
        "a.csv",
        {"transform": "binarise"},
        arrays(0 * ZERO),
        "got 8 columns (0, 1, 2, 3, 4, 5, 6, 7) that are",
    ),
    "constant, binarise": ("a.npz", {"transform": "binarise"}, arrays(SEVEN), "(7) that are constant, which transform"),
    "constant, standardise": ("a.h5", {"transform": "standardise"}, arrays(SEVEN), "(7) that are constant"),
    "underflow": ("a.h5", {"transform": "standardise"}, arrays(1e-200 * SIGNS), "out of the range of float64"),
    "squares that overflow": ("a.h5", {}, arrays(1e154 * SIGNS), "got 1e+154 at [0, 0], expected finite numbers up to"),
}


def test_inputs_that_a_tree_cannot_share_out(tmp_path):
    path = write(tmp_path / "a.npz", SIGNS, LABELS)
    with pytest.raises(ConfigError) as error:
        load(path, architecture=partial(Architecture, "tree-parity", n_hidden=3))
    line = str(error.value)
    assert line.startswith("model.n_hidden: got 3, expected a divisor of n_inputs = 7")
    assert line.endswith(f"; the array 'inputs' of {path} has 7 columns")
    assert line.isprintable()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gives_one_clear_line(tmp_path, case):
    name, options, make, expected = BAD[case]
    path = tmp_path / name
    make(path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as error:
        load(path, **options)
    line = str(error.value)
    assert expected.format(path=path) in line
    assert line.startswith("data.")
    assert str(path) in line
    assert line.isprintable()  # no line breaks either
    assert len(line) < len(str(path)) * 3 + 250
    assert sorted(tmp_path.rglob("*")) == before


def refusal(path: Path) -> str | None:
    try:
        load(path)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_damage_anywhere_is_an_error_of_ours_or_harmless(tmp_path, name):
    """Bytes changed at random: never an exception of another kind. HDF5 files: test_mutated_data.py."""
    content = write(tmp_path / name, REAL[:40], LABELS[:40], teacher=TEACHER).read_bytes()
    rng = np.random.default_rng(7)
    refused = 0
    for trial in range(300):
        damaged = np.frombuffer(content, np.uint8).copy()
        where = rng.integers(len(content), size=1 + trial % 3)
        damaged[where] = rng.integers(256, size=len(where))
        path = tmp_path / f"damaged{Path(name).suffix}"
        path.write_bytes(damaged.tobytes())
        line = refusal(path)
        refused += line is not None
        assert line is None or line.isprintable()
    assert refused > 20


# The example


def test_the_digits_script_makes_a_file_that_loads(tmp_path):
    pytest.importorskip("sklearn")
    path = tmp_path / "digits.npz"
    subprocess.run([sys.executable, RUNS / "make_digits.py", path], check=True)
    instance = load(path, transform="binarise", n_inputs=61)
    assert instance.inputs.binary
    assert instance.inputs.n_patterns == 1797
    assert (instance.labels == 1).sum() == 906
    assert not load(path).inputs.binary
