"""Laws of weights: moments, streams, norms, and the kernel of scalar products that the sphere needs.

Statistical thresholds are two-sided normal quantiles at 1e-6 each (4.9 standard errors); seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mcmc.architectures import Architecture
from mcmc.data import teacher_instance
from mcmc.kernels import cpu
from mcmc.kernels.random import TEACHER, WEIGHTS, normals, stream_key, words
from mcmc.kernels.sums import products
from mcmc.priors import PRIORS, Gaussian, Ising, Prior, Spherical, on_sphere

QUANTILE = 4.9
LAWS = [Ising(), Gaussian(), Gaussian(4.0), Spherical()]


def in_order(a: np.ndarray, b: np.ndarray) -> float:
    """The scalar product, term i in partial sum i % 8."""
    s = [0.0] * 8
    for i, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        s[i % 8] += x * y
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


@pytest.mark.parametrize("level", cpu.available())
@pytest.mark.parametrize("length", [1, 7, 8, 9, 24, 1001])
def test_products_have_an_order_of_their_own(level: str, length: int) -> None:
    rng = np.random.default_rng(length)
    a, b = rng.normal(size=(3, 2, length)), rng.normal(size=(3, 4, length))
    before = cpu.level()
    cpu.use(level)
    try:
        each, one = products(a, b), products(a, b[:1])
    finally:
        cpu.use(before)
    expected = [[[in_order(x, y) for y in right] for x in left] for left, right in zip(a, b, strict=True)]
    assert np.array_equal(each, expected)
    assert np.array_equal(one[0], expected[0])
    assert one[2, 1, 3] == in_order(a[2, 1], b[0, 3])
    assert np.allclose(each, np.einsum("nil,njl->nij", a, b), rtol=0, atol=1e-12 * length)


def test_the_order_matters() -> None:
    """The negative control: summed in one row, such numbers have other last bits."""
    a, b = np.random.default_rng(1).normal(size=(2, 1001))
    total = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        total += x * y
    assert total != products(a.reshape(1, 1, -1), b.reshape(1, 1, -1))[0, 0, 0]


@pytest.mark.parametrize("shapes", [((2, 1, 5), (3, 1, 5)), ((2, 1, 5), (2, 1, 4)), ((2, 1, 0), (2, 1, 0))])
def test_products_of_other_shapes_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="products"):
        products(*map(np.zeros, shapes))


@pytest.mark.parametrize("prior", LAWS, ids=str)
def test_walkers_own_their_streams(prior: Prior) -> None:
    """Any range of walkers gives the same rows; other instances and seeds do not."""
    together = prior.walkers(1, 2, range(12), 4, 3, 7)
    assert together.shape == (12, 21)
    assert together.dtype == prior.dtype
    assert np.array_equal(prior.walkers(1, 2, range(5, 9), 4, 3, 7), together[5:9])
    assert np.array_equal(prior.draw(stream_key(1, WEIGHTS, 2, 1, 3), 3, 7), together[7])
    assert len({row.tobytes() for row in together}) == 12
    for seed, instance in ((1, 3), (2, 2)):
        assert not np.array_equal(prior.walkers(seed, instance, range(12), 4, 3, 7), together)


@pytest.mark.parametrize("prior", LAWS, ids=str)
def test_what_a_checkpoint_stores_is_all(prior: Prior) -> None:
    weights = prior.walkers(1, 0, range(4), 2, 5, 13)
    loaded = prior.loaded(prior.stored(weights), 65)
    assert loaded.dtype == weights.dtype
    assert np.array_equal(loaded, weights)


def test_ising_weights_are_bits_of_their_stream() -> None:
    """So that a seed means the same start in every version."""
    draws = words(stream_key(9, WEIGHTS, 3, 1, 2), 0, 1, 3)[0]
    weights = Ising().walkers(9, 3, range(6, 7), 4, 1, 70)[0]
    assert [2 * int((draws[i // 32] >> np.uint32(i % 32)) & 1) - 1 for i in range(70)] == weights.tolist()


@pytest.mark.parametrize("precision", [0.25, 1.0, 9.0])
def test_gaussian_weights_are_normals_of_their_stream(precision: float) -> None:
    drawn = Gaussian(precision).draw(5, 2, 9)
    assert np.array_equal(drawn, normals(5, 0, 1, 18)[0] / math.sqrt(precision))
    n = 100_000
    squares = precision * Gaussian(precision).draw(7, 1, n) ** 2
    assert abs(squares.mean() - 1) < QUANTILE * math.sqrt(2 / n)
    assert abs((squares**2).mean() - 3) < QUANTILE * math.sqrt(96 / n)


def test_a_second_layer_has_the_law_of_the_first() -> None:
    """And leaves that as it is; Ising and spherical weights have none."""
    drawn, first = Gaussian(4.0).draw(5, 3, 9, True), Gaussian(4.0).draw(5, 3, 9)
    assert np.array_equal(drawn[:27], first)
    assert np.array_equal(drawn, normals(5, 0, 1, 30)[0] / 2)
    assert np.array_equal(
        Gaussian(4.0).walkers(1, 2, range(2, 5), 4, 3, 9, True)[:, :27],
        Gaussian(4.0).walkers(1, 2, range(2, 5), 4, 3, 9),
    )
    for prior in (Ising(), Spherical()):
        with pytest.raises(ValueError, match=f"second_layer: got True, expected False for {prior.name} weights"):
            prior.draw(5, 3, 9, True)


@pytest.mark.parametrize("fan_in", [2, 3, 50])
def test_spherical_units_have_their_norm_and_no_direction(fan_in: int) -> None:
    n = 40_000
    units = Spherical().draw(3, n, fan_in).reshape(n, fan_in)
    np.testing.assert_allclose((units**2).sum(axis=1), fan_in, rtol=1e-14)
    for component in (units[:, 0], units[:, -1], units @ np.ones(fan_in) / math.sqrt(fan_in)):
        # a component of a uniform direction: variance 1, fourth moment 3 n / (n + 2)
        assert abs(component.mean()) < QUANTILE / math.sqrt(n)
        fourth = 3 * fan_in / (fan_in + 2)
        assert abs((component**2).mean() - 1) < QUANTILE * math.sqrt((fourth - 1) / n)
    # the negative control: the normals themselves are not on the sphere
    assert not np.allclose((normals(3, 0, 1, n * fan_in).reshape(n, fan_in) ** 2).sum(axis=1), fan_in, rtol=0.1)


def test_on_sphere_keeps_directions() -> None:
    weights = np.random.default_rng(2).normal(size=15) * 1e-3
    scaled = on_sphere(weights, 3).reshape(3, 5)
    np.testing.assert_allclose((scaled**2).sum(axis=1), 5)
    ratios = scaled / weights.reshape(3, 5)
    np.testing.assert_allclose(ratios, ratios[:, :1].repeat(5, axis=1))


@pytest.mark.parametrize("prior", LAWS, ids=str)
@pytest.mark.parametrize("labels", ["sign", "real", "logistic"])
def test_teachers_of_every_law(prior: Prior, labels: str) -> None:
    """The same inputs and noise whatever the law; the weights are drawn from the teacher's own stream."""
    machine = Architecture("committee", 20, 3, "tanh")
    options = {"labels": labels, "output_noise": 0.5 if labels == "real" else 0.0, "teacher": machine, "n_test": 30}
    instance = teacher_instance(4, 2, 20, 60, "gaussian", prior=prior, **options)
    assert instance.teacher.dtype == prior.dtype
    assert np.array_equal(instance.teacher, prior.draw(stream_key(4, TEACHER, 2), 3, 20))
    ising = teacher_instance(4, 2, 20, 60, "gaussian", **options)
    assert np.array_equal(instance.inputs.values, ising.inputs.values)
    output = machine.output(instance.inputs, instance.teacher)
    clean = machine.output(instance.test[0], instance.teacher)
    if labels == "real":
        noise = ising.labels - machine.output(ising.inputs, ising.teacher)
        np.testing.assert_allclose(instance.labels - output, noise, rtol=0, atol=1e-12)
        assert np.array_equal(instance.test[1], clean)
    else:
        assert set(instance.labels) <= {-1, 1}
        assert np.array_equal(instance.test[1], np.where(clean >= 0, 1, -1))
    if labels == "sign":
        assert np.array_equal(instance.labels, np.where(output >= 0, 1, -1))


def test_laws_have_names() -> None:
    assert [(name, law().is_real) for name, law in PRIORS.items()] == [
        ("ising", False),
        ("spherical", True),
        ("gaussian", True),
    ]
