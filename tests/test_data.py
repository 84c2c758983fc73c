"""Ensembles of the data: laws, nesting, determinism, packing, memory.

Statistical thresholds are two-sided normal quantiles at 1e-6 each (4.9 standard errors); seeds are fixed.
"""

from __future__ import annotations

import dataclasses
import math
import time
import tracemalloc

import numpy as np
import pytest

from mcmc.architectures import ACTIVATIONS, ARCHITECTURES, Architecture
from mcmc.data import Inputs, Instance, fingerprint, random_instance, teacher_instance
from mcmc.kernels.random import INPUTS, TEACHER, normals, stream_key, words
from mcmc.reference import machines

QUANTILE = 4.9
SHAPES = [(1, 1), (31, 63), (32, 64), (33, 65), (101, 511), (64, 512), (7, 513), (200, 1100)]


def within(count: int, n: int, p: float) -> bool:
    return abs(count - n * p) <= QUANTILE * np.sqrt(n * p * (1 - p))


def outputs(instance: Instance) -> np.ndarray:
    return instance.inputs.dense() @ instance.teacher.astype(float) / np.sqrt(instance.inputs.n_inputs)


MACHINES = [
    Architecture(name, 42, n_hidden, activation)
    for name in ARCHITECTURES
    for n_hidden in ((1,) if name == "perceptron" else (1, 2, 3, 6))
    for activation in (ACTIVATIONS if name.endswith("committee") and n_hidden > 1 else ("sign",))
]
SIGN_TEACHERS = [machine for machine in MACHINES if machine.activation != "relu"]  # relu outputs are never negative
TWO_LAYERS = [
    Architecture(name, 42, n_hidden, activation, second_layer=True)
    for name in ("committee", "tree-committee")
    for n_hidden in (1, 2, 3)
    for activation in ACTIVATIONS
]


def name_of(machine: Architecture) -> str:
    return f"{machine.name}-{machine.n_hidden}-{machine.activation}" + ("-second" if machine.second_layer else "")


def plain_output(machine: Architecture, dense: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """f on every pattern of the dense inputs, unit after unit."""
    n, k = dense.shape[1], machine.n_hidden
    size = n // k if machine.name.startswith("tree") else n
    hidden = []
    for unit in range(k):
        seen = dense[:, unit * size : (unit + 1) * size] if machine.name.startswith("tree") else dense
        hidden.append(seen.astype(float) @ weights[unit * size : (unit + 1) * size] / math.sqrt(size))
    if machine.name == "perceptron":
        return hidden[0]
    if machine.name.endswith("parity"):
        return np.prod(machines.ACTIVATIONS["sign"](np.array(hidden)), axis=0)
    second = weights[k * size :] if machine.second_layer else np.ones(k)
    assert len(second) == k
    return second @ machines.ACTIVATIONS[machine.activation](np.array(hidden)) / math.sqrt(k)


# Representation


@pytest.mark.parametrize(("n_inputs", "n_patterns"), SHAPES)
def test_packed_inputs_equal_the_dense_ones(n_inputs, n_patterns):
    dense = np.random.default_rng(n_inputs).choice(np.array([-1, 1], np.int8), size=(n_patterns, n_inputs))
    inputs = Inputs.from_dense(dense)
    assert inputs.binary
    assert inputs.columns.shape == (n_inputs, 8 * -(-n_patterns // 512))
    assert inputs.columns.ctypes.data % 64 == 0
    for mu, i in {(0, 0), (n_patterns - 1, n_inputs - 1), (n_patterns // 2, n_inputs // 2)}:
        assert (int(inputs.columns[i, mu // 64]) >> (mu % 64)) & 1 == (dense[mu, i] == 1)
    assert np.bitwise_count(inputs.columns).sum() == (dense == 1).sum()  # the padding is zero
    np.testing.assert_array_equal(inputs.dense(), dense)
    assert inputs.dense().dtype == np.int8


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_signs_of_any_type_are_packed_and_other_values_are_not(dtype):
    signs = np.array([[1, -1, 1], [-1, -1, 1]], dtype)
    assert Inputs.from_dense(signs).binary
    for other in (0, 2):
        values = Inputs.from_dense(np.where(signs == -1, other, signs))
        assert not values.binary
        assert values.values.dtype == np.float64
        assert values.values.flags.c_contiguous


@pytest.mark.parametrize(("n_inputs", "n_patterns"), SHAPES)
@pytest.mark.parametrize("law", ["binary", "gaussian"])
def test_fields_equal_the_matrix_product(n_inputs, n_patterns, law):
    inputs = random_instance(3, 0, n_inputs, n_patterns, law).inputs
    dense = inputs.dense()
    rng = np.random.default_rng(0)
    signs = rng.choice(np.array([-1, 1], np.int8), size=(2, 3, n_inputs))
    fields = inputs.fields(signs)
    assert fields.shape == (2, 3, n_patterns)
    if law == "binary":
        assert fields.dtype == np.int64
        np.testing.assert_array_equal(fields, signs.astype(np.int64) @ dense.T.astype(np.int64))
        large = rng.integers(-(10**9), 10**9, size=n_inputs)
        np.testing.assert_array_equal(inputs.fields(large), dense.astype(np.int64) @ large)
    else:
        np.testing.assert_allclose(fields, signs @ dense.T, rtol=0, atol=1e-12 * n_inputs)
    real = rng.normal(size=n_inputs)
    in_order = np.zeros(n_patterns)
    for i in range(n_inputs):
        in_order += real[i] * dense[:, i]
    np.testing.assert_array_equal(inputs.fields(real), in_order)


@pytest.mark.parametrize("law", ["binary", "gaussian"])
@pytest.mark.parametrize(("start", "stop"), [(0, 33), (0, 11), (11, 22), (32, 33)])
def test_a_block_is_some_inputs_of_every_pattern(law, start, stop):
    inputs = random_instance(3, 0, 33, 600, law).inputs
    block = inputs.block(start, stop)
    assert block.binary == inputs.binary
    np.testing.assert_array_equal(block.dense(), inputs.dense()[:, start:stop])
    weights = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), size=stop - start)
    embedded = np.zeros(33, np.int8)
    embedded[start:stop] = weights
    np.testing.assert_array_equal(block.fields(weights), inputs.fields(embedded))
    if law == "binary":
        assert np.shares_memory(block.columns, inputs.columns)
        assert block.columns.ctypes.data % 64 == 0
        assert not block.columns.flags.writeable


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (5, 5), (0, 34)])
def test_a_block_beyond_the_inputs_is_an_error(start, stop):
    with pytest.raises(ValueError, match=rf"block: got inputs {start} to {stop}, expected some of 0 to 33"):
        random_instance(3, 0, 33, 20).inputs.block(start, stop)


def test_arrays_are_read_only_and_shapes_are_checked():
    instance = teacher_instance(1, 0, 11, 20, n_test=5)
    for values in (instance.inputs.columns, instance.labels, instance.teacher, instance.test[1]):
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        instance.labels = None
    with pytest.raises(ValueError, match="exactly one"):
        Inputs(3, 3)
    with pytest.raises(ValueError, match="expected"):
        Instance(instance.inputs, instance.labels[1:])
    with pytest.raises(ValueError, match="weights"):
        instance.inputs.fields(np.ones(10))
    with pytest.raises(ValueError, match=r"\(11,\), expected \(33,\)"):
        dataclasses.replace(instance, teacher_architecture=Architecture("committee", 11, 3))


# Laws


def test_patterns_are_the_rows_of_their_stream():
    """The address of every bit and number is part of the format: a seed means the same data in every version."""
    n_inputs, n_patterns = 70, 1100
    key = stream_key(9, INPUTS, 3)
    binary = random_instance(9, 3, n_inputs, n_patterns).inputs.dense()
    draws = words(key, 0, n_patterns, 3)
    for i in (0, 1, 31, 32, 69):
        np.testing.assert_array_equal(binary[:, i], 2 * ((draws[:, i // 32] >> np.uint32(i % 32)) & 1).astype(int) - 1)
    gaussian = random_instance(9, 3, n_inputs, n_patterns, "gaussian").inputs.values
    np.testing.assert_array_equal(gaussian, normals(key, 0, n_patterns, n_inputs))
    assert len(np.unique(binary, axis=0)) == len(np.unique(gaussian[:, 0])) == n_patterns


def test_data_of_a_seed_are_the_same_in_every_version():
    digests = [
        fingerprint(teacher_instance(1, 0, 33, 70, label_noise=0.2, n_test=5)),
        fingerprint(teacher_instance(2, 3, 40, 600, "gaussian", "real", output_noise=0.3, n_test=7)),
        fingerprint(teacher_instance(3, 1, 64, 90, "gaussian", "logistic", sharpness=2.0)),
    ]
    assert digests == [
        "c1ba941a7163e3ceb03c8902f4dce14392f0bae93616aa25bb73e3077288a135",
        "18ed9f8e81569571ced43ad1c793dc0a50bba4efb7e424f3e330ae15db7e4935",
        "cb39c173b031c8e348448502bac8e710557a69f3648880b989a1dea42b10d1cc",
    ]


@pytest.mark.parametrize("law", ["binary", "gaussian"])
@pytest.mark.parametrize("labels", ["random", "sign", "real", "logistic"])
@pytest.mark.parametrize("teacher", [None, Architecture("committee", 33, 3), Architecture("tree-parity", 33, 11)])
def test_data_sets_of_different_size_are_nested(law, labels, teacher):
    def draw(n_patterns: int) -> Instance:
        if labels == "random":
            return random_instance(5, 1, 33, n_patterns, law)
        noise = {"label_noise": 0.3, "output_noise": 0.5}
        return teacher_instance(5, 1, 33, n_patterns, law, labels, **noise, n_test=4, teacher=teacher)

    small, large = draw(70), draw(1200)
    np.testing.assert_array_equal(small.inputs.dense(), large.inputs.dense()[:70])
    np.testing.assert_array_equal(small.labels, large.labels[:70])
    np.testing.assert_array_equal(small.teacher, large.teacher)


def test_instances_and_seeds_differ_and_repeat():
    prints = [fingerprint(teacher_instance(seed, k, 33, 70)) for seed in (1, 2) for k in (0, 1)]
    assert len(set(prints)) == 4
    assert fingerprint(teacher_instance(2, 1, 33, 70)) == prints[-1]


def test_a_slot_belongs_to_its_pattern_whatever_the_noise():
    """Raising the noise flips more labels and takes no flip back; the inputs and the teacher stay."""
    low, high = (teacher_instance(1, 0, 51, 2000, label_noise=p) for p in (0.1, 0.3))
    clean = np.where(outputs(low) >= 0, 1, -1)
    assert set(np.flatnonzero(low.labels != clean)) < set(np.flatnonzero(high.labels != clean))
    np.testing.assert_array_equal(low.inputs.columns, high.inputs.columns)
    one, four = (teacher_instance(1, 0, 51, 2000, labels="real", output_noise=v) for v in (1.0, 4.0))
    np.testing.assert_allclose(four.labels - outputs(four), 2 * (one.labels - outputs(one)), atol=1e-12)


@pytest.mark.parametrize("law", ["binary", "gaussian"])
def test_law_of_the_inputs_and_of_random_labels(law):
    instance = random_instance(1, 0, 101, 2000, law)
    dense = instance.inputs.dense().astype(float)
    n = dense.size
    assert instance.teacher is None
    assert abs(dense.mean()) < QUANTILE / np.sqrt(n)
    if law == "gaussian":
        assert abs((dense**2).mean() - 1) < QUANTILE * np.sqrt(2 / n)
    assert within((instance.labels == 1).sum(), 2000, 0.5)
    assert set(instance.labels) == {-1.0, 1.0}
    neighbours = (dense[:, 1:] * dense[:, :-1]).mean(), (dense[1:] * dense[:-1]).mean()
    assert max(map(abs, neighbours)) < QUANTILE / np.sqrt(dense[1:, :-1].size)
    assert np.abs(dense.T @ instance.labels).max() / np.sqrt(2000) < QUANTILE + 1  # 101 columns at once


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize(("law", "n_inputs"), [("binary", 101), ("binary", 100), ("gaussian", 100)])
def test_sign_labels_are_the_teachers_up_to_the_noise(noise, law, n_inputs):
    """n_inputs = 100 has ties, which count as +1."""
    instance = teacher_instance(2, 0, n_inputs, 5000, law, label_noise=noise)
    output = outputs(instance)
    assert (output == 0).any() == (law == "binary" and n_inputs % 2 == 0)
    wrong = (instance.labels != np.where(output >= 0, 1, -1)).sum()
    assert within(wrong, 5000, noise)
    assert set(instance.teacher) == {-1, 1}
    assert instance.teacher.dtype == np.int8


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_real_labels_carry_normal_noise_of_the_stated_variance(noise):
    instance = teacher_instance(3, 0, 100, 5000, "gaussian", "real", output_noise=noise)
    residual = instance.labels - outputs(instance)
    assert abs((residual**2).mean() - noise) <= QUANTILE * noise * np.sqrt(2 / 5000) + 1e-12
    assert abs(residual.mean()) <= QUANTILE * np.sqrt(noise / 5000) + 1e-12


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 1e4])
def test_logistic_labels_follow_their_probability(sharpness):
    n_patterns = 40000
    instance = teacher_instance(4, 0, 51, n_patterns, labels="logistic", sharpness=sharpness)
    output = outputs(instance)
    for low, high in ((-9, -1), (-1, 0), (0, 1), (1, 9)):
        here = (output >= low) & (output < high)
        p = 1 / (1 + np.exp(np.clip(-sharpness * output[here], -700, 700)))
        spread = np.sqrt((p * (1 - p)).sum())
        assert abs((instance.labels[here] == 1).sum() - p.sum()) <= QUANTILE * spread + 1e-9
    # The score of the sharpness, the most powerful statistic against another value of it.
    mean = np.tanh(sharpness * output / 2)
    score = (output * (instance.labels - mean)).sum()
    assert abs(score) <= QUANTILE * np.sqrt((output**2 * (1 - mean**2)).sum()) + 1e-9


# Teachers of every architecture


@pytest.mark.parametrize("machine", SIGN_TEACHERS, ids=name_of)
@pytest.mark.parametrize("law", ["binary", "gaussian"])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_signs_of_every_teacher_are_its_outputs_up_to_the_noise(machine, law, noise):
    """n_inputs = 42 and even numbers of votes have ties: exact where sums are integers, decided by us elsewhere."""
    instance = teacher_instance(8, 0, 42, 2000, law, label_noise=noise, n_test=500, teacher=machine)
    assert instance.teacher_architecture == machine
    assert instance.teacher.shape == (machine.n_weights,)
    assert set(instance.teacher) == {-1, 1}
    output = plain_output(machine, instance.inputs.dense(), instance.teacher)
    clear = np.abs(output) > 1e-12 if machine.activation in ("erf", "tanh", "linear") else np.full(2000, True)
    assert clear.mean() > 0.8
    wrong = instance.labels != np.where(output >= 0, 1, -1)
    assert within(wrong[clear].sum(), clear.sum(), noise)
    clean = plain_output(machine, instance.test[0].dense(), instance.teacher)
    clear = np.abs(clean) > 1e-12 if machine.activation in ("erf", "tanh", "linear") else np.full(500, True)
    np.testing.assert_array_equal(instance.test[1][clear], np.where(clean >= 0, 1, -1)[clear])


@pytest.mark.parametrize("machine", MACHINES, ids=name_of)
@pytest.mark.parametrize("law", ["binary", "gaussian"])
def test_real_labels_of_every_teacher_are_its_outputs(machine, law):
    instance = teacher_instance(8, 1, 42, 700, law, "real", n_test=60, teacher=machine)
    for inputs, labels in ((instance.inputs, instance.labels), instance.test):
        np.testing.assert_allclose(labels, plain_output(machine, inputs.dense(), instance.teacher), atol=1e-10, rtol=0)


@pytest.mark.parametrize("machine", [m for m in MACHINES if m.n_hidden in (1, 3)], ids=name_of)
def test_logistic_labels_of_every_teacher_follow_its_output(machine):
    instance = teacher_instance(8, 2, 42, 20000, labels="logistic", sharpness=1.5, teacher=machine)
    output = plain_output(machine, instance.inputs.dense(), instance.teacher)
    mean = np.tanh(0.75 * output)
    score = (output * (instance.labels - mean)).sum()
    assert abs(score) <= QUANTILE * np.sqrt((output**2 * (1 - mean**2)).sum())


@pytest.mark.parametrize("machine", MACHINES, ids=name_of)
def test_a_teacher_takes_nothing_from_the_rest(machine):
    """The inputs, the noise, and the first 42 weights are those of the perceptron, whatever the teacher."""
    options = {"labels": "real", "output_noise": 0.5, "n_test": 9}
    default = teacher_instance(4, 0, 42, 90, **options)
    other = teacher_instance(4, 0, 42, 90, **options, teacher=machine)
    np.testing.assert_array_equal(other.inputs.columns, default.inputs.columns)
    np.testing.assert_array_equal(other.test[0].columns, default.test[0].columns)
    np.testing.assert_array_equal(other.teacher[:42], default.teacher)
    noise = [
        instance.labels - plain_output(instance.teacher_architecture, instance.inputs.dense(), instance.teacher)
        for instance in (default, other)
    ]
    np.testing.assert_allclose(*noise, atol=1e-10, rtol=0)


def test_weights_of_a_teacher_are_the_bits_of_its_stream():
    """Unit after unit, so that a seed means the same teacher in every version."""
    instance = teacher_instance(9, 3, 42, 5, teacher=Architecture("committee", 42, 3))
    draws = words(stream_key(9, TEACHER, 3), 0, 1, 4)[0]
    for i in (0, 31, 32, 41, 42, 125):
        assert instance.teacher[i] == 2 * int((draws[i // 32] >> np.uint32(i % 32)) & 1) - 1


def test_a_teacher_of_other_inputs_is_an_error():
    with pytest.raises(ValueError, match=r"teacher: got 42 inputs, expected n_inputs = 41"):
        teacher_instance(1, 0, 41, 5, teacher=Architecture("committee", 42, 3))


def test_ties_of_an_even_committee_are_plus_one():
    """Two units, +-1 inputs: half of all patterns tie, and all of those are +1."""
    machine = Architecture("committee", 41, 2)
    instance = teacher_instance(2, 0, 41, 5000, teacher=machine)
    tied = plain_output(machine, instance.inputs.dense(), instance.teacher) == 0
    assert 0.2 < tied.mean() < 0.8
    assert (instance.labels[tied] == 1).all()
    assert (instance.labels[~tied] == -1).any()


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("committe", 9, 3), ["architecture: got 'committe'", "tree-parity"]),
        (("committee", 9, 3, "relu6"), ["activation: got 'relu6'", "relu, linear"]),
        (("parity", 9, 3, "erf"), ["activation: got 'erf'", "'sign'"]),
        (("perceptron", 9, 3), ["n_hidden: got 3", "expected 1"]),
        (("committee", 9, 0), ["n_hidden: got 0", "1 to 65536"]),
        (("committee", 0, 3), ["n_inputs: got 0", ">= 1"]),
        (("tree-parity", 9, 2), ["n_hidden: got 2", "divisor of n_inputs = 9"]),
        (("parity", 9, 2, "sign", True), ["second_layer: got True", "expected False for a parity", "only committees"]),
    ],
)
def test_an_architecture_that_cannot_be(arguments, fragments):
    with pytest.raises(ValueError, match="got") as error:
        Architecture(*arguments)
    assert all(fragment in str(error.value) for fragment in fragments)


@pytest.mark.parametrize("machine", TWO_LAYERS, ids=name_of)
def test_the_second_layer_comes_last(machine):
    """One weight more for each unit, and all of them 1 is the machine without."""
    plain = dataclasses.replace(machine, second_layer=False)
    assert machine.n_weights == plain.n_weights + machine.n_hidden == plain.n_first + machine.n_hidden
    weights = np.random.default_rng(1).normal(size=(4, machine.n_weights))
    assert np.shares_memory(machine.units(weights), weights)
    np.testing.assert_array_equal(machine.units(weights).reshape(4, -1), weights[:, : plain.n_weights])
    weights[:, plain.n_weights :] = 1.0
    inputs = random_instance(3, 0, 42, 100, "gaussian").inputs
    np.testing.assert_array_equal(machine.output(inputs, weights), plain.output(inputs, weights[:, : plain.n_weights]))


@pytest.mark.parametrize("machine", MACHINES + TWO_LAYERS, ids=name_of)
def test_outputs_of_many_weights_at_once_are_those_of_each(machine):
    inputs = random_instance(3, 0, 42, 600, "gaussian").inputs
    weights = np.random.default_rng(1).normal(size=(2, 3, machine.n_weights))
    outputs = machine.output(inputs, weights)
    assert outputs.shape == (2, 3, 600)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(outputs[index], machine.output(inputs, weights[index]))
        np.testing.assert_allclose(
            outputs[index], plain_output(machine, inputs.dense(), weights[index]), atol=1e-10, rtol=0
        )


@pytest.mark.parametrize("labels", ["sign", "real", "logistic"])
def test_test_patterns_are_fresh_and_clean(labels):
    instance = teacher_instance(6, 0, 51, 300, labels=labels, label_noise=0.5, output_noise=1.0, n_test=400)
    inputs, clean = instance.test
    output = inputs.dense() @ instance.teacher / np.sqrt(51)
    np.testing.assert_allclose(clean, output if labels == "real" else np.where(output >= 0, 1, -1), atol=1e-12)
    overlap = inputs.dense().astype(int) @ instance.inputs.dense().T.astype(int)
    assert np.abs(overlap).max() < 51  # no test pattern is a training pattern or its mirror image


# Fingerprint


def test_fingerprint_sees_every_array():
    instance = teacher_instance(1, 0, 33, 70, n_test=5)
    dense, labels, teacher = instance.inputs.dense(), instance.labels, instance.teacher
    test_inputs, test_labels = instance.test
    flipped = dense.copy()
    flipped[69, 32] *= -1
    others = [
        dataclasses.replace(instance, inputs=Inputs.from_dense(flipped)),
        dataclasses.replace(instance, inputs=Inputs(70, 33, values=dense)),
        dataclasses.replace(instance, labels=np.where(np.arange(70) == 3, -labels, labels)),
        dataclasses.replace(instance, teacher=-teacher),
        dataclasses.replace(instance, teacher=None),
        dataclasses.replace(instance, test=None),
        dataclasses.replace(instance, test=(test_inputs, -test_labels)),
    ]
    assert len({fingerprint(other) for other in [instance, *others]}) == 8
    assert fingerprint(dataclasses.replace(instance, inputs=Inputs.from_dense(dense))) == fingerprint(instance)


def test_fingerprint_sees_what_the_teacher_is():
    instance = teacher_instance(1, 0, 33, 70)
    machines = [Architecture("perceptron", 33), Architecture("tree-parity", 33, 3), Architecture("tree-parity", 33, 11)]
    machines += [Architecture("tree-committee", 33, 3), Architecture("tree-committee", 33, 3, "erf")]
    others = [dataclasses.replace(instance, teacher_architecture=machine) for machine in machines]
    assert len({fingerprint(other) for other in others}) == 5
    assert fingerprint(others[0]) == fingerprint(instance)


# Size


def test_large_binary_instances_need_little_memory_and_time():
    """N = 10001, P = 8000: 10 MB packed; a dense int8 copy would be 80 MB, a float one 640 MB."""
    started = time.perf_counter()
    tracemalloc.start()
    try:
        instance = teacher_instance(1, 0, 10001, 8000)
        fields = instance.inputs.fields(np.stack([instance.teacher, -instance.teacher]))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        real = random_instance(1, 0, 2001, 4000, "gaussian")
        peak_real = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    assert peak_real < 2 * real.inputs.values.nbytes
    assert instance.inputs.columns.nbytes < 10.3e6
    np.testing.assert_array_equal(np.where(fields[0] >= 0, 1, -1), instance.labels)
    np.testing.assert_array_equal(fields[0], -fields[1])
    assert time.perf_counter() - started < 30
