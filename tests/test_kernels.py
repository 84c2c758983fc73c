"""Random numbers, elementary functions, acceptance and exchange: what every kernel is made of.

Errors are measured in units in the last place against 60-digit arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest
import scipy.special

from enumeration import all_states
from mcmc.kernels import cpu, exchange, fields, flips, quadratic, random, special
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.reference import exchange as twin_exchange
from mcmc.reference import flips as twin
from mcmc.reference import losses as reference_losses
from mcmc.reference import philox as twin_philox
from mcmc.samplers import Metropolis
from problems import INPUT_LAWS, PERCEPTRON, VARIANTS, Problem, label, problem, random_weights

RNG_SEED = 20240601
DIGITS = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


@pytest.fixture
def levels():
    """Names of the instruction-set levels, portable first; the one in use is restored afterwards."""
    level = cpu.level()
    yield cpu.available()
    cpu.use(level)


# Random numbers

# kat_vectors of Random123 (Salmon, Moraes, Dror, Shaw, SC'11): counter, key, result
PHILOX_VECTORS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), PHILOX_VECTORS)
def test_philox_known_answers(counter, key, expected):
    key = key[1] << 32 | key[0]
    assert random.philox(counter, key).tolist() == expected
    assert twin_philox.philox(tuple(counter), key).tolist() == expected


KEYS = [0, 1, 2**32, 2**64 - 1, 0x123456789ABCDEF0]
ROWS = [0, 1, 2**32 - 2, 2**64 - 3]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("row", ROWS)
def test_every_level_fills_like_the_twin(key, row, levels):
    rows = np.array([[row], [row + 1], [row + 2]], dtype=np.uint64)
    words, uniforms64 = twin_philox.words(key, rows, np.arange(150)), twin_philox.uniforms64(key, rows, np.arange(150))
    for level in levels:
        cpu.use(level)
        for n in (*range(42), 63, 64, 65, 127, 150):
            np.testing.assert_array_equal(random.words(key, row, 3, n), words[:, :n])
            np.testing.assert_array_equal(random.uniforms64(key, row, 3, n), uniforms64[:, :n])


@pytest.mark.parametrize("key", KEYS)
def test_uniforms_are_the_midpoints_of_cells(key):
    uniforms = random.uniforms(key, 5, 4, 1000)
    np.testing.assert_array_equal(uniforms, twin_philox.uniforms(key, np.arange(5, 9)[:, None], np.arange(1000)))
    assert ((uniforms * 2**53) % 2 == 1).all()
    np.testing.assert_array_equal(random.normals(key, 5, 4, 1000), special.normal_quantile(uniforms))


def test_stream_keys_are_those_of_the_twin():
    for number, purpose in enumerate(twin_philox.PURPOSES):
        assert getattr(random, purpose.upper().replace("-", "_")) == number
        for address in [(0, 0, 0), (1, 2, 3), (2**31, 5, 0)]:
            for seed in (0, 1, 2**64 - 1):
                assert random.stream_key(seed, number, *address) == twin_philox.stream_key(seed, purpose, *address)


def test_streams_are_distinct():
    purposes = range(len(twin_philox.PURPOSES))
    addresses = list(product((0, 1, 2**40), purposes, range(10), range(10), range(25)))
    assert len({random.stream_key(*address) for address in addresses}) == len(addresses)


def test_streams_look_independent():
    """Correlations of neighbouring streams, rows and slots: each below 4.9 standard errors (1e-6)."""
    keys = [random.stream_key(3, random.MOVES, i, c, r) for i, c, r in product(range(2), range(3), range(4))]
    n_rows, n = 64, 256
    u = (np.array([random.uniforms(key, 0, n_rows, n) for key in keys]) - 0.5) * math.sqrt(12)
    for moved in (np.roll(u, 1, 0), np.roll(u, 1, 1), np.roll(u, 1, 2), np.roll(u, 4, 2)):
        assert abs((u * moved).mean()) * math.sqrt(u.size) < 4.9
    assert abs(u.mean()) * math.sqrt(u.size) < 4.9
    assert abs((u**2).mean() - 1) * math.sqrt(u.size / 0.8) < 4.9


# Elementary functions


def ulps(function: Callable[[np.ndarray], np.ndarray], exact: Callable[[Decimal], Decimal], x: np.ndarray) -> float:
    """Largest error of function(x), in units in the last place of the result."""
    worst = 0.0
    with localcontext() as context:
        context.prec = DIGITS
        for argument, value in zip(x.tolist(), function(x).tolist(), strict=True):
            error = abs(Decimal(value) - exact(Decimal(argument)))
            worst = max(worst, float(error / Decimal(math.ulp(value))))
    return worst


def softplus(x: np.ndarray) -> np.ndarray:
    return fields.losses("logistic", -x, 1.0)


def exact_softplus(x: Decimal) -> Decimal:
    return (1 + x.exp()).ln() if x > -60 else x.exp() - (2 * x).exp() / 2


def test_exp():
    rng = np.random.default_rng(RNG_SEED)
    x = np.concatenate([rng.uniform(-708, 709, 3000), rng.uniform(-2, 2, 3000), rng.normal(size=1000) * 1e-8, [0.0]])
    assert ulps(special.exp, Decimal.exp, x) < 1.0  # 0.91 in larger samples
    assert special.exp(0.0) == 1
    np.testing.assert_array_equal(special.exp([-1e3, 1e3]), special.exp([-708.0, 709.0]))


def test_log():
    rng = np.random.default_rng(RNG_SEED)
    x = np.concatenate([rng.random(3000), 1 + rng.normal(size=3000) * 1e-3, 2 ** rng.uniform(-1000, 1000, 3000)])
    assert ulps(special.log, Decimal.ln, x) < 2.0  # 1.88
    assert special.log(1.0) == 0


def test_softplus():
    rng = np.random.default_rng(RNG_SEED)
    x = np.concatenate([rng.uniform(-40, 40, 3000), rng.uniform(-2, 2, 3000), rng.uniform(-700, 700, 500), [0.0]])
    assert ulps(softplus, exact_softplus, x) < 2.5  # 2.31


def exact_tanh(x: Decimal) -> Decimal:
    return 1 - 2 / ((2 * x).exp() + 1)


def exact_erf(x: Decimal) -> Decimal:
    """2/sqrt(pi) exp(-x^2) (x + 2 x^3/3 + 4 x^5/15 + ...)."""
    term = total = x
    n = 0
    while abs(term) > abs(total) * Decimal(10) ** -DIGITS:
        n += 1
        term *= 2 * x * x / (2 * n + 1)
        total += term
    return 2 / PI.sqrt() * (-x * x).exp() * total


def around_the_joints(joints: list[float]) -> np.ndarray:
    """Numbers from 1e-9 to 7, of either sign, more of them about some."""
    rng = np.random.default_rng(RNG_SEED)
    near = [joint + rng.normal(size=500) * 0.03 for joint in joints]
    x = np.concatenate([rng.uniform(0, 7, 2000), rng.uniform(0, 1, 2000), 10 ** rng.uniform(-9, -1, 1000), *near])
    return x * rng.choice([-1.0, 1.0], x.size)


TANH_JOINTS = [0.1733, 0.5199, 0.5493, 0.8664]
"""Where 2 x changes its power of two in exp, (k + 1/2) ln(2) / 2, and where tanh is 1/2."""
ERF_JOINTS = [0.875]
"""From the series to the rational approximation."""


def test_tanh():
    x = around_the_joints(TANH_JOINTS)
    assert ulps(special.tanh, exact_tanh, x) < 2.5  # 2.30 in larger samples
    np.testing.assert_allclose(special.tanh(x), np.tanh(x), rtol=1e-15, atol=0)


def test_erf():
    x = around_the_joints(ERF_JOINTS)
    assert ulps(special.erf, exact_erf, x) < 2.0  # 1.69
    np.testing.assert_allclose(special.erf(x), scipy.special.erf(x), rtol=1e-15, atol=0)


@pytest.mark.parametrize(("function", "joints"), [(special.tanh, TANH_JOINTS), (special.erf, ERF_JOINTS)])
def test_tanh_and_erf_are_odd_bounded_and_monotone(function, joints):
    x = around_the_joints(joints)
    np.testing.assert_array_equal(function(-x), -function(x))
    steps = np.arange(-2000, 2000) * 1e-15  # some units in the last place apart, which is more than the errors
    for joint in (*joints, 0.3, 0.6, 0.75):
        assert (np.diff(function(joint + 4 * steps)) >= 0).all(), joint
    everywhere = function(np.linspace(-30, 30, 600001))
    assert (np.diff(everywhere) >= 0).all()
    assert (np.abs(everywhere) <= 1).all()
    ends = [0.0, 5e-324, 25.0, 1e300, np.inf]
    np.testing.assert_array_equal(function([ends])[0, [0, 2, 3, 4]], [0, 1, 1, 1])
    assert 0 < function(5e-324) < 1e-300
    assert np.signbit(function(-0.0))
    assert np.isnan(function(np.nan))
    assert function(np.zeros((2, 0, 3))).shape == (2, 0, 3)


def exact_sincos(x: Decimal) -> tuple[Decimal, Decimal]:
    """By Taylor series about the nearest multiple of pi/2."""
    quarters = (x * 2 / PI).to_integral_value()
    r = x - quarters * PI / 2
    sums = []
    for n, term in ((1, r), (0, Decimal(1))):
        total = term
        while abs(term) > Decimal(10) ** -DIGITS:
            term *= -r * r / ((n + 1) * (n + 2))
            total += term
            n += 2
        sums.append(total)
    s, c = sums
    return [(s, c), (c, -s), (-s, -c), (-c, s)][int(quarters) % 4]


def exact_sin(x: Decimal) -> Decimal:
    return exact_sincos(x)[0]


def exact_cos(x: Decimal) -> Decimal:
    return exact_sincos(x)[1]


def test_sin_and_cos():
    rng = np.random.default_rng(RNG_SEED)
    multiples = rng.integers(-60000, 60000, 500) * (math.pi / 2)
    small = np.concatenate([rng.uniform(-1, 1, 1000), rng.uniform(-7, 7, 1000), 10 ** rng.uniform(-9, -1, 300)])
    large = np.concatenate([rng.uniform(-1e5, 1e5, 1000), rng.uniform(-1e6, 1e6, 500), multiples, multiples * 0.5])
    for function, exact in ((special.sin, exact_sin), (special.cos, exact_cos)):
        assert ulps(function, exact, small) < 1.5  # 1.33 in larger samples
        assert ulps(function, exact, large) < 2.5  # 2.26
        with localcontext() as context:
            context.prec = DIGITS
            errors = [abs(Decimal(v) - exact(Decimal(x))) for x, v in zip(large.tolist(), function(large), strict=True)]
        assert max(errors) < Decimal(1.5 * 2.0**-53)  # 1.34
        assert (np.abs(function(np.linspace(-1e6, 1e6, 200001))) <= 1).all()
        assert np.isnan(function([np.nan, np.inf])).all()
    np.testing.assert_array_equal(special.sin(-large), -special.sin(large))
    np.testing.assert_array_equal(special.cos(-large), special.cos(large))
    np.testing.assert_array_equal([special.sin(0.0), special.cos(0.0)], [0, 1])


def normal_cumulative(x: Decimal, density: Decimal) -> Decimal:
    """1/2 + density(x) (x + x^3/3 + x^5/15 + ...)."""
    term = total = x
    n = 1
    while abs(term) > Decimal(10) ** -DIGITS:
        n += 2
        term *= x * x / n
        total += term
    return Decimal(1) / 2 + density * total


def quantile_ulps(u: np.ndarray) -> float:
    """Largest error of the normal quantile: (cumulative(x) - u) / density(x), in units in the last place of x."""
    worst = 0.0
    with localcontext() as context:
        context.prec = DIGITS
        root = (2 * PI).sqrt()
        for argument, value in zip(u.tolist(), special.normal_quantile(u).tolist(), strict=True):
            x = Decimal(value)
            density = (-x * x / 2).exp() / root
            error = abs(normal_cumulative(x, density) - Decimal(argument)) / density
            worst = max(worst, float(error / Decimal(math.ulp(value))))
    return worst


def test_normal_quantile():
    rng = np.random.default_rng(RNG_SEED)
    cells = np.concatenate([rng.integers(0, 2**52, 1500), 2 ** rng.integers(0, 52, 300), rng.integers(0, 1000, 100)])
    u = (cells + 0.5) * 2.0**-52
    assert quantile_ulps(u) < 5.0  # 4.83
    np.testing.assert_array_equal(special.normal_quantile(1 - u), -special.normal_quantile(u))


def test_normal_quantile_is_monotone():
    # runs of neighbouring cells: the centre, the joints of the approximations, and all over
    joints = [0.5, 0.075, 0.925, math.exp(-25), 1 - math.exp(-25), *np.linspace(1e-6, 1 - 1e-6, 50)]
    for joint in joints:
        middle = int(joint * 2**52)
        cells = np.clip(np.arange(middle - 1000, middle + 1000), 0, 2**52 - 1)
        assert (np.diff(special.normal_quantile((cells + 0.5) * 2.0**-52)) >= 0).all(), joint
    ends = special.normal_quantile(np.array([0.5 * 2.0**-52, 1 - 0.5 * 2.0**-52]))
    assert np.isfinite(ends).all()


# Noise


def noise_keys(width: int) -> np.ndarray:
    return np.array([random.stream_key(5, random.NOISE, 0, 0, lane) for lane in range(width)], dtype=np.uint64)


@pytest.mark.parametrize("row", ROWS)
def test_noise_is_the_quantile_of_its_word_at_every_width_and_level(row, levels):
    """Widths and lengths about those of vectors and of the buffer; a lane's numbers depend on its key alone."""
    keys = np.concatenate([noise_keys(20), np.array(KEYS, dtype=np.uint64)])
    n = 2100
    words = np.stack([random.words(int(key), row, 1, n)[0] for key in keys], axis=1)
    expected = special.normal_quantile((words + 0.5) * 2.0**-32)
    np.testing.assert_allclose(expected, twin_philox.noise(keys, row, n), rtol=1e-14, atol=1e-14)
    for level in levels:
        cpu.use(level)
        for width in (1, 2, 3, 7, 8, 9, 16, keys.size):
            np.testing.assert_array_equal(random.noise(keys[:width], row, n), expected[:, :width])
            np.testing.assert_array_equal(random.noise(keys[::-1][:width], row, n), expected[:, ::-1][:, :width])
        for length in (0, 1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 511, 1023, 1025, 2047, 2048, 2049):
            for width in (1, 8):
                np.testing.assert_array_equal(random.noise(keys[:width], row, length), expected[:length, :width])
    assert random.noise([], row, 3).shape == (3, 0)


def test_noise_of_known_words():
    """The streams of philox's known answers: key 0, row 0, slots 0 to 3."""
    words = PHILOX_VECTORS[0][2]
    expected = [scipy.special.ndtri((word + 0.5) / 2**32) for word in words]
    np.testing.assert_allclose(random.noise([0], 0, 4)[:, 0], expected, rtol=1e-14)


def test_noise_is_standard_normal():
    """Moments, tails and neighbours of 4e6 numbers: each of 15 statistics within 4.9 standard errors (1e-6)."""
    x = np.stack([random.noise(noise_keys(40), row, 1000) for row in range(100)])
    moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96), 6: (15, 10170)}  # mean and variance of x^k
    for power, (mean, variance) in moments.items():
        assert abs((x**power).mean() - mean) < 4.9 * math.sqrt(variance / x.size), power
    for edge in (-4.5, -3.0, -1.4395, 0.0, 1.4395, 3.0, 4.5):  # 1.4395: between centre and tail
        p = scipy.special.ndtr(edge)
        assert abs((x < edge).mean() - p) < 4.9 * math.sqrt(p * (1 - p) / x.size), edge
    for axis in range(3):
        assert abs((x * np.roll(x, 1, axis)).mean()) * math.sqrt(x.size) < 4.9
    assert 5 < np.abs(x).max() < 6.34


@pytest.mark.parametrize("loss", VARIANTS, ids=label)
def test_losses_equal_their_formulas(loss):
    f = np.concatenate([np.linspace(-3, 3, 601), [0.0, -0.0, loss.margin, -loss.margin]])
    for y in (-1.0, 1.0):
        expected = reference_losses.LOSSES[loss.name](f, y, loss.margin, loss.sharpness)
        np.testing.assert_allclose(loss.values(f, y), expected, rtol=1e-14, atol=0)


# Acceptance


def exact_probability(rule: str, x: Decimal) -> Decimal:
    if rule == "metropolis":
        return min(Decimal(1), (-x).exp())
    return 1 / (1 + x.exp())


@pytest.mark.parametrize("rule", flips.RULES)
def test_thresholds_are_the_probabilities(rule):
    """To 2^-52 of the probability and one of the 2^64 cells."""
    beta, largest = np.array([0.0, 1e-9, 0.1, 0.7, 1.0, 3.3, 50.0]), 40
    thresholds = flips.thresholds(rule, beta, largest)
    assert thresholds.shape == (beta.size, 2 * largest + 1)
    with localcontext() as context:
        context.prec = DIGITS
        for b, row in zip(beta, thresholds, strict=True):
            for delta, threshold in zip(range(-largest, largest + 1), row.tolist(), strict=True):
                exact = exact_probability(rule if b else "heat-bath", Decimal(b * delta))  # beta = 0: see acceptance.h
                accepting = Decimal(threshold + 1) / 2**64
                assert abs(accepting - exact) <= exact / 2**52 + Decimal(2) ** -64, (b, delta)


def test_heat_bath_and_metropolis_satisfy_detailed_balance():
    x = np.linspace(0.0, 30.0, 301)
    for rule in flips.RULES:
        up = np.array([flips.probability(rule, v) for v in x])
        down = np.array([flips.probability(rule, -v) for v in x])
        np.testing.assert_allclose(up / down, np.exp(-x), rtol=1e-14)
        np.testing.assert_allclose(up, twin.RULES[rule](x), rtol=1e-14)


N = 8
BELOW, ABOVE = 1 - 1e-10, 1 + 1e-10


def sweep_beginning_with(site: int) -> tuple[int, int]:
    """A key and a sweep that visits `site` first and never again."""
    for sweep in range(1, 10**5):
        sites = twin_philox.visits(0, sweep, N)
        if sites[0] == site and (sites == site).sum() == 1:
            return 0, sweep
    raise AssertionError("no such sweep")


def keys_by_uniform(sweep: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys whose first uniform of a sweep is below and above 1/2."""
    keys = np.arange(200, dtype=np.uint64)
    small = twin_philox.move_uniforms(keys, sweep, 0) < 0.5
    return keys[small], keys[~small]


@pytest.mark.parametrize("loss", VARIANTS, ids=label)
@pytest.mark.parametrize("inputs", INPUT_LAWS)
@pytest.mark.parametrize("rule", flips.RULES)
def test_kernel_accepts_with_the_exact_probability(loss, inputs, rule):
    """Every state and flip: the first proposal of a sweep with uniform u is accepted iff u < p(beta dE).

    Each walker starts at a state of its own and on a rung of its own, whose beta puts p within 1e-10 of u, once on
    either side. So the beta at which the decision changes is measured, not a frequency.
    """
    task = problem(loss, inputs, N, 11)
    states = all_states(N)
    energy = task.energy(states)
    for site in range(N):
        site_key, sweep = sweep_beginning_with(site)
        dE = energy[np.arange(2**N) ^ 1 << site] - energy
        dE[np.abs(dE) < 1e-9] = 0.0
        for keys in keys_by_uniform(sweep):
            keys = np.resize(keys, 2**N)
            u = twin_philox.move_uniforms(keys, sweep, 0)
            # the value of beta dE at which p = u
            x = -np.log(u) if rule == "metropolis" else np.log((1 - u) / u)
            decides = x * dE > 0  # elsewhere the decision is the same at any beta
            critical = np.divide(x, dE, out=np.ones_like(x), where=decides)
            for factor in (BELOW, ABOVE):
                beta = critical * factor
                expected = u < twin.RULES[rule](beta * dE)
                np.testing.assert_array_equal(expected[decides], (dE[decides] > 0) == (factor == BELOW))
                chain = chain_on_rungs(task, rule, states, beta, site_key, keys)
                chain.sweep(sweep, sweep)
                np.testing.assert_array_equal(chain.block.weights[:, site] != states[:, site], expected)


def chain_on_rungs(
    task: Problem, rule: str, states: np.ndarray, beta: np.ndarray, site_key: int, keys: np.ndarray
) -> flips.Flips:
    """One walker a rung, without exchange, with streams that are given."""
    return flips.Flips(
        task.model.block(task.instance, states),
        rule=rule,
        order="random",
        n_copies=1,
        first=0,
        beta=beta,
        site_keys=np.array([site_key], dtype=np.uint64),
        move_keys=keys,
        swap_keys=np.zeros(1, dtype=np.uint64),
        exchange_every=0,
        burn_in=0,
        measure_every=0,
    )


# Exchange


def test_exchange_is_that_of_the_twin():
    rng = np.random.default_rng(RNG_SEED)
    n_swapped = n_tried = 0
    for number in range(1, 2000):
        n = int(rng.integers(1, 9))
        beta, energy = np.sort(rng.random(n)) * 2, rng.integers(0, 6, n) + rng.integers(0, 2) * rng.random(n)
        key = random.stream_key(number, random.SWAPS, 0, int(rng.integers(5)))
        at = rng.permutation(n).astype(np.int32)
        after, swapped = exchange.decide(beta, energy, key, number, at)
        expected, expected_swapped = twin_exchange.exchange_round(beta, energy, key, number, at)
        np.testing.assert_array_equal(after, expected)
        np.testing.assert_array_equal(swapped, expected_swapped)
        assert not swapped[1 - number % 2 :: 2].any()  # the round's parity alone
        n_swapped, n_tried = n_swapped + swapped.sum(), n_tried + len(swapped[number % 2 :: 2])
    assert 0.2 < n_swapped / n_tried < 0.9


@pytest.mark.parametrize("copy", [0, 1, 7])
@pytest.mark.parametrize("number", [1, 2, 12345, 2**33])
@pytest.mark.parametrize("s", [0, 1, 2, 5])
def test_swap_decides_at_its_own_uniform(copy, number, s):
    """Energies that put the swap probability of pair s within 1e-10 of the uniform of (copy, round, swap)."""
    key, n = random.stream_key(9, random.SWAPS, 4, copy), 7
    number += (number - s) % 2  # a round that tries the pair
    u = float(twin_philox.uniforms(twin_philox.stream_key(9, "swaps", 4, copy), number, s))
    beta, at = np.arange(n) * 0.5, np.arange(n, dtype=np.int32)
    for factor, expected in ((BELOW, True), (ABOVE, False)):
        energy = np.zeros(n)
        energy[: s + 1] = -2 * math.log(u) * factor  # probability u^factor: the colder rung has the lower energy
        energy = np.ascontiguousarray(energy)
        assert exchange.decide(beta, energy, key, number, at)[1][s] == expected
        # and always when the colder rung has the higher energy
        assert exchange.decide(beta, -energy, key, number, at)[1][s]


def test_chain_exchanges_every_copy_at_its_own_uniforms():
    task = problem(Loss("hinge", 0.5), "gaussian", 9, 12)
    n_copies, beta = 4, np.linspace(0.2, 1.5, 5)
    walkers = np.tile(all_states(9)[5:10], (n_copies, 1))  # all copies alike: only their uniforms differ
    chain = Metropolis().chain(
        task.model.block(task.instance, walkers),
        seed=3,
        beta=beta,
        n_copies=n_copies,
        exchange_every=2,
        measure_every=0,
    )
    energy = chain.block.energy.copy()
    at = chain.walker_at.copy()
    differing = 0
    for sweep in range(2, 60, 2):
        chain.exchange(sweep, energy)
        for copy in range(n_copies):
            key = random.stream_key(3, random.SWAPS, 0, copy)
            e = energy.reshape(n_copies, -1)[copy]
            at[copy] = twin_exchange.exchange_round(beta, e, key, sweep // 2, at[copy])[0]
        np.testing.assert_array_equal(chain.walker_at, at)
        differing += (at != at[0]).any()
    assert differing > 10


# Sizes: the compiled loops check nothing, so what reaches them must fit


def block_of(n_walkers: int = 8, n: int = 21):
    task = problem(Loss("error-count"), "binary", n, 29)
    return task.model.block(task.instance, random_weights(n_walkers, n))


@pytest.mark.parametrize(
    "arguments",
    [
        {"beta": [1.0]},  # 8 walkers on one rung
        {"beta": [0.5, 1.0], "n_copies": 3},
        {"beta": [0.5, 1.0], "n_copies": 4, "first": 1},
        {"beta": [0.5, np.nan], "n_copies": 4},
        {"beta": [-0.5, 1.0], "n_copies": 4},
        {"beta": [0.5, 1.0], "n_copies": 4, "exchange_every": -1},
    ],
)
def test_chains_that_do_not_fit_their_block_are_refused(arguments):
    chain = Metropolis().chain
    block = block_of()
    with pytest.raises(ValueError, match="expected"):
        chain(block, seed=1, **arguments)


def test_calls_that_do_not_fit_the_chain_are_refused():
    part = Metropolis().chain(block_of(2), seed=1, beta=[0.5, 1.0, 1.5])
    with pytest.raises(ValueError, match="a part of its instance"):
        part.advance(1, 10)
    with pytest.raises(ValueError, match="energies"):
        part.exchange(1, np.zeros(2))
    still = Metropolis().chain(block_of(2), seed=1, beta=[0.5, 1.0], exchange_every=0)
    with pytest.raises(ValueError, match="exchange_every = 0"):
        still.exchange(1, np.zeros(2))
    with pytest.raises(ValueError, match="permutations"):
        still.restore(still.state() | {"walker_at": np.zeros((1, 2), dtype=np.int32)})


@pytest.mark.parametrize("loss", VARIANTS, ids=label)
@pytest.mark.parametrize("inputs", INPUT_LAWS)
@pytest.mark.parametrize(
    "weights",
    [np.ones(21, dtype=np.int8), np.ones((3, 1), dtype=np.int8), np.ones((0, 21), dtype=np.int8), np.zeros((2, 21))],
    ids=["one-dimensional", "narrow", "no walkers", "zeros"],
)
def test_weights_that_do_not_fit_are_refused(loss, inputs, weights):
    task = problem(loss, inputs, 21, 29)
    with pytest.raises(ValueError, match="weights"):
        task.model.block(task.instance, weights)
    with pytest.raises(ValueError, match="weights"):
        task.model.block(task.instance, random_weights(2, 21)).restore(weights, {})


def test_instances_that_do_not_fit_the_model_are_refused():
    task = problem(Loss("error-count"), "binary", 21, 29)
    with pytest.raises(ValueError, match="21 inputs, expected 20"):
        MODELS["perceptron"](PERCEPTRON.of(20), Loss("error-count")).block(task.instance, random_weights(2, 20))


def test_large_integer_couplings_do_not_overflow():
    """Fields up to N P: beyond 2^31 the couplings are float64, which is exact for these integers."""
    n, p = 12, 2**28
    columns = np.full((n, p // 64), 2**64 - 1, dtype=np.uint64)  # every input +1
    coupling = quadratic.couplings_of_bits(columns, p)
    assert (coupling[:, :n] == p).all()
    block = quadratic.Block(coupling.astype(np.float64), 1 / n, np.zeros(n), 0.0, np.ones((1, n), dtype=np.int8))
    assert block.energy[0] == p * n / 2
