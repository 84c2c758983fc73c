"""Continuous weights: every sampler against the law it must have, known exactly.

Samplers with a decision against the posterior, those without against their own biased laws. Walkers are many and
independent, so that the error of an average over walkers and rows needs no autocorrelation time; an average is wrong
beyond the normal quantile of FAMILY_ERROR over all averages of this file. Each test has a control: a law that is
slightly off, or a sampler with a fault, which must be found.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import plain_moves
import sphere
from gaussian_posterior import GaussianPosterior
from mcmc.losses import Loss
from moving import Floats, Rows, deviations, run
from problems import PERCEPTRON, Machine, Problem, problem

FAMILY_ERROR = 1e-3
N_AVERAGES = 3000
"""At least the number of averages in this file."""
THRESHOLD = float(stats.norm.isf(FAMILY_ERROR / N_AVERAGES / 2))
RNG_SEED = 20240607

PRECISION = 0.8
"""Of the Gaussian prior."""
GAUSSIAN = {
    "mala": {"step_size": 0.25},
    "hmc": {"step_size": 0.6, "n_steps": 3},
    "pcn": {"step_size": 0.6},
    "elliptical-slice": {},
    "random-walk": {"step_size": 0.6},
}
"""Exact samplers of Gaussian weights, with what they are given."""
SWEEPS = {"mala": 1000, "hmc": 400, "pcn": 1000, "elliptical-slice": 500, "random-walk": 2000}
"""That a thousand walkers need to tell a beta that is off by 3 %."""
EVERY = {"hmc": 2, "elliptical-slice": 5}
"""Sweeps between rows, where not 10."""
SPHERICAL = {"mala": {"step_size": 0.3}, "hmc": {"step_size": 0.6, "n_steps": 3}, "random-walk": {"step_size": 1.0}}
GRADIENT_FREE = ("pcn", "elliptical-slice", "random-walk")
"""Samplers that energies with jumps can have."""


def worst(z: object) -> float:
    return float(np.abs(np.concatenate([np.ravel(part) for part in np.atleast_1d(z)])).max())


# The exact results against each other


def test_gaussian_posterior_is_the_integral():
    rng = np.random.default_rng(RNG_SEED)
    beta = 1.7
    law = GaussianPosterior(rng.normal(size=(4, 2)), rng.normal(size=4), beta, PRECISION)
    axis = np.linspace(-9, 9, 401)
    w = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    points = sphere.Law.of(w, law.energy, np.exp(-PRECISION * (w**2).sum(1) / 2), beta)
    mean = points.mean(points.energy)
    assert points.log_z() == pytest.approx(law.log_z(), rel=1e-9)
    assert mean == pytest.approx(law.mean_energy(), rel=1e-9)
    assert points.mean((points.energy - mean) ** 2) == pytest.approx(law.variance_of_energy(), rel=1e-9)
    np.testing.assert_allclose(points.mean(w), law.mean, rtol=1e-9)
    covariance = points.mean(w[:, :, None] * w[:, None]) - np.outer(law.mean, law.mean)
    np.testing.assert_allclose(covariance, np.linalg.inv(law.precision), atol=1e-9)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("beta", [0.3, 3.0, 30.0])
def test_contour_integral_is_quadrature(n, beta):
    rng = np.random.default_rng(RNG_SEED)
    g, y = rng.normal(size=(4, n)), rng.normal(size=4)
    law = (sphere.on_circles if n == 2 else sphere.on_sphere)(lambda w: ((y - w @ g.T) ** 2).sum(1) / 2, beta)
    exact = sphere.square_loss(g, y, beta)
    mean = law.mean(law.energy)
    np.testing.assert_allclose([law.log_z(), mean], [exact.log_z, exact.mean_energy], rtol=1e-10)
    np.testing.assert_allclose(law.mean((law.energy - mean) ** 2), exact.variance_of_energy, rtol=1e-8)
    np.testing.assert_allclose(law.mean(law.points), exact.mean, atol=1e-10)
    np.testing.assert_allclose(law.mean(law.points[:, :, None] * law.points[:, None]), exact.second, atol=1e-10)


@pytest.mark.parametrize("n", [10, 100])
def test_contour_integral_is_consistent(n):
    """<w.w> = n, and derivatives of log Z by beta."""
    rng = np.random.default_rng(RNG_SEED)
    g, y = rng.normal(size=(n, n)) / math.sqrt(n), rng.normal(size=n)
    low, middle, high = (sphere.square_loss(g, y, 1 + change) for change in (-1e-3, 0, 1e-3))
    assert np.trace(middle.second) == pytest.approx(n, rel=1e-12)
    assert (low.log_z - high.log_z) / 2e-3 == pytest.approx(middle.mean_energy, rel=1e-5)
    assert (low.mean_energy - high.mean_energy) / 2e-3 == pytest.approx(middle.variance_of_energy, rel=1e-5)


def test_arcs_are_the_circle():
    for margin, thresholds in ((0.0, [0.0]), (0.4, [0.4, -0.4])):
        task = problem(Loss("error-count", margin), "gaussian", 2, 7)
        arcs = sphere.Arcs.of(task.instance.inputs.dense(), thresholds, task.energy, 1.3)
        fine = sphere.on_circles(task.energy, 1.3, n_points=100000)
        assert arcs.lengths.sum() == pytest.approx(2 * np.pi)
        assert arcs.log_z() == pytest.approx(fine.log_z(), abs=1e-4)
        assert arcs.mean_energy() == pytest.approx(fine.mean(fine.energy), abs=1e-4)
        first, second = fine.mean(fine.points), fine.mean(fine.points[:, :, None] * fine.points[:, None])
        assert arcs.harmonic(1) * math.sqrt(2) == pytest.approx(complex(*first), abs=1e-4)
        assert arcs.harmonic(2) == pytest.approx(complex(second[0, 0] - 1, second[0, 1]), abs=1e-4)


def test_few_patterns_are_the_whole_sphere():
    rng = np.random.default_rng(RNG_SEED)
    g, y = rng.normal(size=(3, 100)) / 10, rng.normal(size=3)
    law = sphere.few_patterns(g, lambda f: ((y - f) ** 2).sum(1) / 2, 2.0, prior_precision=None)
    exact = sphere.square_loss(g, y, 2.0)
    np.testing.assert_allclose([law.log_z(), law.mean(law.energy)], [exact.log_z, exact.mean_energy], rtol=1e-9)
    np.testing.assert_allclose(law.mean(law.points), g @ exact.mean, atol=1e-8)
    gaussian = sphere.few_patterns(g, lambda f: ((y - f) ** 2).sum(1) / 2, 2.0, prior_precision=PRECISION)
    posterior = GaussianPosterior(g, y, 2.0, PRECISION)
    np.testing.assert_allclose(gaussian.log_z(), posterior.log_z(), rtol=1e-7)
    np.testing.assert_allclose(gaussian.mean(gaussian.energy), posterior.mean_energy(), rtol=1e-7)


# Gaussian posterior

BETA = 1.3
MACHINES = {"perceptron": PERCEPTRON, "tree": Machine("tree-committee", 2, "linear")}


def regression(
    machine: Machine = PERCEPTRON, n: int = 8, p: int = 12, beta: float = BETA
) -> tuple[Problem, GaussianPosterior]:
    """Noisy real labels under the square loss, and the posterior at beta."""
    task = problem(Loss("square"), "gaussian", n, p, machine, label_noise=0.5)
    architecture = machine.of(n)
    outputs = architecture.output(task.instance.inputs, np.eye(architecture.n_weights)).T
    return task, GaussianPosterior(outputs, task.instance.labels, beta, PRECISION)


def gaussian_deviations(posterior: GaussianPosterior, weights: Floats, energy: Floats, variances: Floats) -> Floats:
    """Of mean and variance along every mode, and of mean and variance of the energy; rows (rows, walkers, ...)."""
    amplitudes, mean = posterior.amplitudes(weights), posterior.mean_energy(variances)
    return np.concatenate(
        [
            deviations(amplitudes, 0.0),
            deviations(amplitudes**2, variances),
            [deviations(energy, mean)],
            [deviations((energy - mean) ** 2, posterior.variance_of_energy(variances))],
        ]
    )


def from_prior(n_walkers: int, n: int, seed: int = 0) -> Floats:
    return np.random.default_rng([RNG_SEED, seed]).normal(size=(n_walkers, n)) / math.sqrt(PRECISION)


def sampled(task: Problem, method: str, parameters: dict, beta: float = BETA, **other: object) -> Rows:
    """A thousand walkers, from the prior."""
    arguments = {"burn_in": 200, "sweeps": SWEEPS.get(method, 2000), "every": EVERY.get(method, 10)} | other
    start = from_prior(1000, task.n_weights)
    return run(task, method, parameters, start, beta=beta, precision=PRECISION, **arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("method", GAUSSIAN)
def test_exact_samplers_have_the_gaussian_posterior(method, machine):
    task, posterior = regression(MACHINES[machine])
    rows = sampled(task, method, GAUSSIAN[method])
    assert worst(gaussian_deviations(posterior, rows.weights, rows.energy, posterior.exact)) < THRESHOLD
    _, off = regression(MACHINES[machine], beta=0.97 * BETA)
    assert worst(gaussian_deviations(off, rows.weights, rows.energy, off.exact)) > THRESHOLD


# Integrators without a decision


def relative_steps(posterior: GaussianPosterior) -> list[float]:
    """Step sizes h of Euler and Maruyama: some parts of the largest, 2 / largest curvature."""
    return [part * 2 / posterior.curvatures.max() for part in (0.05, 0.3, 0.7)]


@pytest.mark.parametrize("number", range(3))
def test_langevin_has_its_biased_law(number):
    task, posterior = regression()
    h = relative_steps(posterior)[number]
    rows = sampled(task, "langevin", {"step_size": h}, burn_in=200)
    z = gaussian_deviations(posterior, rows.weights, rows.energy, posterior.euler_maruyama(h))
    assert worst(z) < THRESHOLD
    assert worst(gaussian_deviations(posterior, rows.weights, rows.energy, posterior.exact)) > THRESHOLD
    if number:  # at the smallest step the law hardly depends on it
        off = posterior.euler_maruyama(1.05 * h)
        assert worst(gaussian_deviations(posterior, rows.weights, rows.energy, off)) > THRESHOLD


def test_noise_that_is_wrong_by_three_per_cent_is_found():
    """Noise c sqrt(2h) under U is the step c^2 h under U / c^2."""
    task, posterior = regression()
    h, c = relative_steps(posterior)[1], 1.03
    start = from_prior(1000, task.n_weights)
    rows = run(
        task,
        "langevin",
        {"step_size": c**2 * h},
        start,
        beta=BETA / c**2,
        precision=PRECISION / c**2,
        burn_in=200,
        sweeps=2000,
        every=10,
    )
    assert worst(gaussian_deviations(posterior, rows.weights, rows.energy, posterior.euler_maruyama(h))) > THRESHOLD
    exact = c**2 * posterior.euler_maruyama(h)
    assert worst(gaussian_deviations(posterior, rows.weights, rows.energy, exact)) < THRESHOLD


@pytest.mark.parametrize("friction", [0.3, 2.0])
@pytest.mark.parametrize("part", [0.2, 0.6])
def test_underdamped_langevin_has_the_exact_law_of_weights(part, friction):
    """BAOAB: the weights have the posterior at any step size, the momenta a variance of 1 - eps^2 a / 4."""
    task, posterior = regression()
    eps = part * 2 / math.sqrt(posterior.curvatures.max())
    rows = sampled(task, "underdamped", {"step_size": eps, "friction": friction}, burn_in=200)
    assert worst(gaussian_deviations(posterior, rows.weights, rows.energy, posterior.exact)) < THRESHOLD
    kinetic = rows.rows["kinetic"]
    assert abs(deviations(kinetic, posterior.baoab_momenta(eps).mean())) < THRESHOLD
    assert abs(deviations(kinetic, 1.0)) > THRESHOLD


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_leapfrog_without_decision_has_its_biased_law(part, n_steps):
    """What hmc would sample without its decision, which hides errors: the same law for trajectories of any length."""
    task, posterior = regression()
    eps = part * 2 / math.sqrt(posterior.curvatures.max())
    rows = sampled(task, "leapfrog", {"step_size": eps, "n_steps": n_steps})

    def off(variances: Floats) -> float:
        return worst(gaussian_deviations(posterior, rows.weights, rows.energy, variances))

    assert off(posterior.leapfrog(eps)) < THRESHOLD
    assert off(posterior.exact) > THRESHOLD
    if part > 0.3:  # at the smallest step the law hardly depends on it
        assert off(posterior.leapfrog(1.05 * eps)) > THRESHOLD


# Decisions


def test_acceptance_of_mala_at_large_n():
    """Against the limit of many weights, at three sizes of a step; it must also follow from the energy errors."""
    n, walkers = 400, 64
    task, posterior = regression(n=n, p=600)
    start = posterior.draw(walkers, np.random.default_rng(RNG_SEED))
    for s in (0.5, 1.0, 2.0):
        h = (2 * s**2 / (posterior.curvatures**3).sum()) ** (1 / 3)
        rows = run(task, "mala", {"step_size": h}, start, beta=BETA, precision=PRECISION, sweeps=100)
        expected = posterior.mala_acceptance(h)
        accepted = rows.rows["accepted"].reshape(100, walkers)
        assert accepted.mean() == pytest.approx(expected, abs=0.02)
        chances = np.exp(np.minimum(0.0, -rows.rows["energy_error"].reshape(100, walkers)))
        assert abs(deviations(accepted - chances, 0.0)) < THRESHOLD


def plain_target(posterior: GaussianPosterior) -> plain_moves.Target:
    g, y = posterior.outputs, posterior.labels
    return plain_moves.Target(lambda w: (posterior.energy(w), (w @ g.T - y) @ g), BETA, PRECISION)


@pytest.mark.parametrize("n_steps", [1, 4])
@pytest.mark.parametrize("part", [0.15, 0.5])
def test_energy_error_of_hmc_is_that_of_leapfrog(n_steps, part):
    """<(H' - H)^2> at equilibrium, which names the length of each trajectory: all of 1 .. 2 n_steps - 1, as often.

    All walkers share the length of a sweep. And <H' - H>, and <exp(H - H')> = 1 at any length.
    """
    task, posterior = regression()
    start, sweeps = posterior.draw(4000, np.random.default_rng(RNG_SEED)), 200
    eps = part * 2 / math.sqrt(posterior.curvatures.max())
    parameters = {"step_size": eps, "n_steps": n_steps}
    rows = run(task, "hmc", parameters, start, beta=BETA, precision=PRECISION, sweeps=sweeps)
    error = rows.rows["energy_error"].reshape(sweeps, -1)  # (sweeps, walkers), each a copy
    lengths = np.arange(1, 2 * n_steps)
    mean, variance = np.transpose([posterior.energy_error(eps, length) for length in lengths])
    square = variance + mean**2
    z = np.abs([[deviations(row[None] ** 2, value) for value in square] for row in error])
    assert z.min(axis=1).max() < THRESHOLD
    used = np.bincount(z.argmin(axis=1), minlength=lengths.size)
    if n_steps > 1:
        assert stats.chisquare(used).pvalue > 1e-5, used
    assert abs(deviations(error, mean @ used / sweeps)) < THRESHOLD
    assert abs(deviations(error**2, square @ used / sweeps)) < THRESHOLD
    assert abs(deviations(error**2, 1.03 * square @ used / sweeps)) > THRESHOLD
    assert abs(deviations(np.exp(-error), 1.0)) < THRESHOLD


@pytest.mark.parametrize("part", [0.3, 0.7])
def test_plain_leapfrog_without_decision_has_its_biased_law(part):
    """The law of which <H' - H> above is made. A missing decision is so found, and noise wrong by 3 %."""
    _, posterior = regression()
    target, rng = plain_target(posterior), np.random.default_rng(RNG_SEED)
    eps = part * 2 / math.sqrt(posterior.curvatures.max())

    def off(expected: Floats, **fault: float) -> float:
        weights = plain_moves.hmc(target, from_prior(4000, 8), eps, 3, 60, rng, plain_moves.Fault(**fault))[20:]
        return worst(gaussian_deviations(posterior, weights, posterior.energy(weights), expected))

    assert off(posterior.leapfrog(eps), accepts=False) < THRESHOLD
    assert off(posterior.exact, accepts=False) > THRESHOLD
    assert off(posterior.leapfrog(eps), accepts=False, noise=1.03) > THRESHOLD
    assert off(posterior.exact) < THRESHOLD
    assert off(posterior.exact, noise=1.03) > THRESHOLD


# Energy errors: what a wrong gradient spoils, although the decision would repair it

SMOOTH = {
    "perceptron-logistic": (PERCEPTRON, Loss("logistic", sharpness=2.0)),
    "committee-erf-square": (Machine("committee", 3, "erf"), Loss("square")),
    "tree-tanh-logistic": (Machine("tree-committee", 3, "tanh"), Loss("logistic")),
}


def order_of_energy_error(task: Problem, precision: float | None, start: Floats) -> float:
    """Power of the step size that the energy error of one leapfrog step goes with."""
    sizes = np.array([0.02, 0.04])
    errors = []
    for eps in sizes:
        parameters = {"step_size": eps, "n_steps": 1}
        rows = run(task, "hmc", parameters, start, beta=BETA, precision=precision, sweeps=1)
        errors.append(np.sqrt((rows.rows["energy_error"] ** 2).mean()))
    return float(np.diff(np.log(errors))[0] / np.diff(np.log(sizes))[0])


def on_spheres(weights: Floats, n_units: int) -> Floats:
    units = weights.reshape(len(weights), n_units, -1)
    return (units * np.sqrt(units.shape[2] / (units**2).sum(2))[..., None]).reshape(weights.shape)


@pytest.mark.parametrize("precision", [PRECISION, None])
@pytest.mark.parametrize("case", SMOOTH)
def test_energy_error_of_a_step_is_of_third_order(case, precision):
    machine, loss = SMOOTH[case]
    task = problem(loss, "gaussian", 12, 20, machine, label_noise=0.3)
    start = from_prior(500, task.n_weights)
    start = start if precision else on_spheres(start, machine.n_hidden)
    assert order_of_energy_error(task, precision, start) == pytest.approx(3, abs=0.1)


def test_a_wrong_gradient_keeps_the_law_and_spoils_the_energy_error():
    """In plain numpy: with the sign of the force reversed the decision still leads to the posterior."""
    _, posterior = regression()
    target, rng = plain_target(posterior), np.random.default_rng(RNG_SEED)
    reversed_force = plain_moves.Fault(gradient=-1.0)
    weights = plain_moves.hmc(target, posterior.draw(4000, rng), 0.15, 1, 600, rng, reversed_force)[::20]
    z = gaussian_deviations(posterior, weights, posterior.energy(weights), posterior.exact)
    assert worst(z) < THRESHOLD
    orders = {}
    for fault in (plain_moves.NONE, reversed_force, plain_moves.Fault(gradient=1.01)):
        errors = []
        for eps in (0.02, 0.04):
            momenta = np.random.default_rng([RNG_SEED, 1]).normal(size=(500, 8))
            *_, error = plain_moves.trajectory(target, from_prior(500, 8), momenta, eps, 1, fault)
            errors.append(np.sqrt((error**2).mean()))
        orders[fault] = math.log2(errors[1] / errors[0])
    assert orders[plain_moves.NONE] == pytest.approx(3, abs=0.1)
    assert all(order < 2.5 for fault, order in orders.items() if fault != plain_moves.NONE)


# Spheres


def spherical(task: Problem, method: str, parameters: dict, beta: float, **other: object) -> Rows:
    """Two thousand walkers from random directions."""
    start = on_spheres(from_prior(2000, task.n_weights), task.model.architecture.n_hidden)
    arguments = {"burn_in": 100, "sweeps": SWEEPS.get(method, 1000) // 2, "every": EVERY.get(method, 10)} | other
    return run(task, method, parameters, start, beta=beta, precision=None, **arguments)


def law_deviations(law: sphere.Law, weights: Floats, energy: Floats) -> Floats:
    """Of the mean weights, of their products, and of mean and variance of the energy."""
    upper = np.triu_indices(weights.shape[-1])
    mean = law.mean(law.energy)
    second = law.mean(law.points[:, :, None] * law.points[:, None, :])
    return np.concatenate(
        [
            deviations(weights, law.mean(law.points)),
            deviations(weights[..., upper[0]] * weights[..., upper[1]], second[upper]),
            [deviations(energy, mean), deviations((energy - mean) ** 2, law.mean((law.energy - mean) ** 2))],
        ]
    )


ON_SPHERES = {
    "circle-logistic": (PERCEPTRON, 2, Loss("logistic", sharpness=2.0)),
    "circle-square": (PERCEPTRON, 2, Loss("square")),
    "sphere-logistic": (PERCEPTRON, 3, Loss("logistic", sharpness=2.0)),
    "sphere-squared-hinge": (PERCEPTRON, 3, Loss("squared-hinge", 0.5)),
    "circles-committee-tanh": (Machine("committee", 2, "tanh"), 2, Loss("square")),
    "circles-tree-erf": (Machine("tree-committee", 2, "erf"), 4, Loss("logistic")),
}
"""Machine, inputs and loss; every unit has 2 or 3 weights."""


def law_on_spheres(task: Problem, beta: float) -> sphere.Law:
    if task.n_weights == 3:
        return sphere.on_sphere(task.energy, beta, n_points=120)
    units = task.n_weights // 2
    return sphere.on_circles(task.energy, beta, units, n_points=2048 if units == 1 else 96)


@pytest.mark.parametrize("case", ON_SPHERES)
@pytest.mark.parametrize("method", SPHERICAL)
def test_exact_samplers_have_the_law_on_spheres(method, case):
    machine, n, loss = ON_SPHERES[case]
    task = problem(loss, "gaussian", n, 5, machine, label_noise=0.3)
    rows = spherical(task, method, SPHERICAL[method], BETA)
    assert worst(law_deviations(law_on_spheres(task, BETA), rows.weights, rows.energy)) < THRESHOLD
    assert worst(law_deviations(law_on_spheres(task, 0.97 * BETA), rows.weights, rows.energy)) > THRESHOLD


@pytest.mark.parametrize("method", SPHERICAL)
def test_exact_samplers_have_the_law_of_the_square_loss_on_a_large_sphere(method):
    n, p = 20, 30
    task = problem(Loss("square"), "gaussian", n, p, label_noise=0.5)
    rows = spherical(task, method, SPHERICAL[method] | {"step_size": 0.4}, BETA, burn_in=400, sweeps=SWEEPS[method])
    g = task.instance.inputs.dense() / math.sqrt(n)

    def off(beta: float) -> float:
        law = sphere.square_loss(g, task.instance.labels, beta)
        square = (rows.energy - law.mean_energy) ** 2
        return worst(
            np.concatenate(
                [
                    deviations(rows.weights, law.mean),
                    deviations(rows.weights**2, law.second.diagonal()),
                    [deviations(rows.energy, law.mean_energy), deviations(square, law.variance_of_energy)],
                ]
            )
        )

    assert off(BETA) < THRESHOLD < off(0.97 * BETA)


@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_random_walk_has_the_law_of_error_count_on_the_circle(margin):
    task = problem(Loss("error-count", margin), "gaussian", 2, 7)
    rows = spherical(task, "random-walk", SPHERICAL["random-walk"], BETA)
    turns = (rows.weights[..., 0] + 1j * rows.weights[..., 1]) / math.sqrt(2)

    def off(beta: float) -> float:
        thresholds = [margin, -margin] if margin else [0.0]
        arcs = sphere.Arcs.of(task.instance.inputs.dense(), thresholds, task.energy, beta)
        harmonics = [
            deviations(part(turns**k), part(arcs.harmonic(k))) for k in (1, 2, 3) for part in (np.real, np.imag)
        ]
        return worst([*harmonics, deviations(rows.energy, arcs.mean_energy())])

    assert off(BETA) < THRESHOLD < off(0.97 * BETA)


@pytest.mark.parametrize("method", ["langevin", "underdamped"])
@pytest.mark.parametrize("step_size", [0.1, 0.7])
def test_unadjusted_samplers_are_uniform_on_spheres_at_beta_0(method, step_size):
    """At any step size: the free motion is a symmetry of the sphere."""
    task = problem(Loss("logistic"), "gaussian", 4, 5, Machine("tree-committee", 2, "tanh"))
    parameters = {"step_size": step_size} | ({"friction": 1.0} if method == "underdamped" else {})
    rows = spherical(task, method, parameters, 0.0, burn_in=300, sweeps=500)
    law = sphere.on_circles(task.energy, 0.0, 2, n_points=64)
    assert worst(law_deviations(law, rows.weights, rows.energy)) < THRESHOLD
    np.testing.assert_allclose((rows.weights.reshape(-1, 2, 2) ** 2).sum(2), 2, rtol=1e-12)


# Few patterns


def few(loss: Loss, n_patterns: int, n: int = 100) -> tuple[Problem, Floats]:
    """A perceptron of many weights, and its fields as a matrix."""
    task = problem(loss, "binary", n, n_patterns, labels="random")
    return task, task.instance.inputs.dense() / math.sqrt(n)


def few_start(method: str, precision: float | None) -> Floats:
    start = from_prior(1000, 100)
    return start if precision else on_spheres(start, 1)


FEW = {"mala": 0.15, "hmc": 0.4, "pcn": 0.6, "random-walk": 0.15}
"""Step sizes at 100 weights."""
BURN_IN = {"mala": 200, "hmc": 50, "pcn": 100, "elliptical-slice": 50, "random-walk": 500}


def with_step(method: str) -> dict:
    return {} if method == "elliptical-slice" else GAUSSIAN[method] | {"step_size": FEW[method]}


FEW_CASES = [(method, PRECISION) for method in GAUSSIAN] + [(method, None) for method in SPHERICAL]


@pytest.mark.parametrize(("method", "precision"), FEW_CASES)
def test_exact_samplers_have_the_law_of_few_patterns(method, precision):
    task, g = few(Loss("logistic", sharpness=2.0), 3)
    y = task.instance.labels
    rows = run(
        task,
        method,
        with_step(method),
        few_start(method, precision),
        beta=3.0,
        precision=precision,
        burn_in=BURN_IN[method],
        sweeps=SWEEPS[method],
        every=EVERY.get(method, 10),
    )
    fields = rows.weights @ g.T

    def off(beta: float) -> float:
        law = sphere.few_patterns(
            g, lambda f: np.logaddexp(0, -2 * y * f).sum(1) / 2, beta, prior_precision=precision, n_points=31
        )
        mean = law.mean(law.energy)
        z = [
            deviations(fields, law.mean(law.points)),
            deviations(
                fields[..., :, None] * fields[..., None, :], law.mean(law.points[:, :, None] * law.points[:, None])
            ),
            deviations(rows.energy, mean),
            deviations((rows.energy - mean) ** 2, law.mean((law.energy - mean) ** 2)),
        ]
        if precision:  # the weights across the patterns keep their prior
            along = law.mean(((law.points @ np.linalg.inv(g @ g.T)) * law.points).sum(1))
            z.append(deviations((rows.weights**2).sum(-1), (100 - 3) / precision + along))
        return worst(np.concatenate([np.ravel(part) for part in z]))

    assert off(3.0) < THRESHOLD < off(2.8)


@pytest.mark.parametrize(("method", "precision"), [case for case in FEW_CASES if case[0] in GRADIENT_FREE])
def test_samplers_without_gradients_have_the_law_of_few_patterns_under_error_count(method, precision):
    task, g = few(Loss("error-count"), 3)
    y = task.instance.labels
    start = few_start(method, precision)
    rows = run(
        task,
        method,
        with_step(method),
        start,
        beta=1.5,
        precision=precision,
        burn_in=BURN_IN[method],
        sweeps=SWEEPS[method],
        every=EVERY.get(method, 10),
    )
    signs = np.where(rows.weights @ g.T >= 0, 1.0, -1.0)

    def off(beta: float) -> float:
        law = sphere.sign_patterns(g, lambda s: (s != y).sum(1) * 1.0, beta)
        pairs = law.points[:, :, None] * law.points[:, None]
        upper = np.triu_indices(3, 1)
        return worst(
            np.concatenate(
                [
                    deviations(signs, law.mean(law.points)),
                    deviations((signs[..., :, None] * signs[..., None, :])[..., *upper], law.mean(pairs)[upper]),
                    [deviations(rows.energy, law.mean(law.energy))],
                ]
            )
        )

    assert off(1.5) < THRESHOLD < off(1.35)
