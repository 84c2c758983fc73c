"""Moves of all weights at once, by their plain formulas. Twin of ext/include/moves.h.

Langevin steps are written as they stand in the literature, not as leapfrog steps. On the sphere weights (n, n_weights)
are units on |w_k|^2 = fan_in each; momenta are tangent and positions follow great circles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag

from mcmc.reference import philox
from mcmc.reference.flips import Trajectory, drive

Reals = NDArray[np.float64]
Evaluate = Callable[[Reals], tuple[Reals, Reals]]
"""E (n,) and dE/dw (n, n_weights) of weights (n, n_weights)."""
EvaluateBatch = Callable[[Reals, NDArray[np.int64]], tuple[Reals, Reals]]
"""The same of some patterns (batch_size,) alone."""


class Flat:
    """The whole space, with the Gaussian prior of a precision."""

    def __init__(self, precision: float, root: Reals | None = None) -> None:
        """root: C (n_weights, n_weights) if the coordinates are not the weights w but u, w = C u."""
        self.precision, self.root = precision, root

    def weights(self, u: Reals) -> Reals:
        return u if self.root is None else u @ self.root.T

    def pull(self, gradient: Reals) -> Reals:
        """A gradient by w as one by u."""
        return gradient if self.root is None else gradient @ self.root

    def tangent(self, w: Reals, p: Reals) -> Reals:
        return p

    def move(self, w: Reals, p: Reals, time: Reals) -> tuple[Reals, Reals]:
        """Weights and momenta after that time (n, 1)."""
        return w + time * p, p

    def log_prior(self, w: Reals) -> Reals:
        return -0.5 * self.precision * (self.weights(w) ** 2).sum(axis=1)

    def log_prior_gradient(self, w: Reals) -> Reals:
        return self.pull(-self.precision * self.weights(w))


class Spheres:
    """Each of n_units units on its sphere, uniformly."""

    def __init__(self, n_units: int) -> None:
        self.n_units = n_units

    def _units(self, x: Reals) -> Reals:
        return x.reshape(len(x), self.n_units, -1)

    def tangent(self, w: Reals, p: Reals) -> Reals:
        w_, p_ = self._units(w), self._units(p)
        return (p_ - w_ * ((w_ * p_).sum(axis=2) / (w_**2).sum(axis=2))[..., None]).reshape(p.shape)

    def move(self, w: Reals, p: Reals, time: Reals) -> tuple[Reals, Reals]:
        w_, p_ = self._units(w), self._units(p)
        radius, speed = (np.linalg.norm(x, axis=2, keepdims=True) for x in (w_, p_))
        speed = np.maximum(speed, 1e-300)
        angle = time[:, :, None] * speed / radius
        moved = w_ * np.cos(angle) + p_ * (radius / speed) * np.sin(angle)
        velocity = p_ * np.cos(angle) - w_ * (speed / radius) * np.sin(angle)
        moved *= np.sqrt(moved.shape[2]) / np.linalg.norm(moved, axis=2, keepdims=True)
        return moved.reshape(w.shape), velocity.reshape(p.shape)

    def log_prior(self, w: Reals) -> Reals:
        return np.zeros(len(w))

    def log_prior_gradient(self, w: Reals) -> Reals:
        return np.zeros_like(w)


@dataclass
class Walkers:
    """What a method sees at a sweep: all arrays by walker, (n, 1) where they multiply weights."""

    evaluate: Evaluate
    space: Flat | Spheres
    beta: Reals  # (n, 1)
    step: Reals  # (n, 1)
    noise: Reals  # (n, n_weights)
    uniforms: Callable[[int], Reals]  # slot -> (n,)
    n_leapfrog: int
    friction: float
    momenta: Reals  # (n, n_weights), kept from sweep to sweep
    estimate: Evaluate | None = None  # by minibatches

    def potential(self, w: Reals) -> Reals:
        """U (n,)."""
        return self.beta[:, 0] * self.evaluate(w)[0] - self.space.log_prior(w)

    def force(self, w: Reals) -> Reals:
        """-dU/dw, tangent."""
        return self.space.tangent(w, self.space.log_prior_gradient(w) - self.beta * self.evaluate(w)[1])

    def decide(self, w: Reals, proposed: Reals, log_ratio: Reals) -> NDArray[np.bool_]:
        """Metropolis' decision, carried out in w."""
        taken = self.uniforms(0) < np.exp(np.minimum(log_ratio, 0.0))
        w[taken] = proposed[taken]
        return taken


def _square(p: Reals) -> Reals:
    return (p**2).sum(axis=1)


def langevin(s: Walkers, w: Reals) -> None:
    if isinstance(s.space, Flat):
        w[:] = w + s.step * s.force(w) + np.sqrt(2 * s.step) * s.noise
    else:
        time = np.sqrt(2 * s.step)
        w[:] = s.space.move(w, s.space.tangent(w, s.noise) + 0.5 * time * s.force(w), time)[0]


def sgld(s: Walkers, w: Reals) -> None:
    langevin(replace(s, evaluate=s.estimate), w)


def mala(s: Walkers, w: Reals) -> NDArray[np.bool_]:
    """In flat space with the ratio of the two normal densities."""
    if not isinstance(s.space, Flat):
        return _trajectory(s, w, np.sqrt(2 * s.step), 1)
    h = s.step
    proposed = w + h * s.force(w) + np.sqrt(2 * h) * s.noise
    forth, back = proposed - w - h * s.force(w), w - proposed - h * s.force(proposed)
    log_ratio = s.potential(w) - s.potential(proposed) + (_square(forth) - _square(back)) / (4 * h[:, 0])
    return s.decide(w, proposed, log_ratio)


def hmc(s: Walkers, w: Reals) -> NDArray[np.bool_]:
    return _trajectory(s, w, s.step, s.n_leapfrog)


def _trajectory(s: Walkers, w: Reals, step: Reals, n: int) -> NDArray[np.bool_]:
    q, p = w.copy(), s.space.tangent(w, s.noise)
    before = s.potential(w) + 0.5 * _square(p)
    for _ in range(n):
        p = p + 0.5 * step * s.force(q)
        q, p = s.space.move(q, p, step)
        p = p + 0.5 * step * s.force(q)
    return s.decide(w, q, before - s.potential(q) - 0.5 * _square(p))


def underdamped(s: Walkers, w: Reals) -> None:
    h, p = s.step, s.momenta
    p = p + 0.5 * h * s.force(w)
    w[:], p = s.space.move(w, p, 0.5 * h)
    decay = np.exp(-s.friction * h)
    p = s.space.tangent(w, decay * p + np.sqrt(1 - decay**2) * s.noise)
    w[:], p = s.space.move(w, p, 0.5 * h)
    s.momenta[:] = p + 0.5 * h * s.force(w)


def pcn(s: Walkers, w: Reals) -> NDArray[np.bool_]:
    proposed = np.sqrt(1 - s.step**2) * w + s.step * s.noise / np.sqrt(s.space.precision)
    return s.decide(w, proposed, s.beta[:, 0] * (s.evaluate(w)[0] - s.evaluate(proposed)[0]))


def elliptical_slice(s: Walkers, w: Reals) -> None:
    """Walker by walker."""
    other, level, angles = s.noise / np.sqrt(s.space.precision), np.log(s.uniforms(0)), s.uniforms(2)
    start = w.copy()
    for i, beta in enumerate(s.beta[:, 0]):
        threshold = level[i] - beta * s.evaluate(start[i : i + 1])[0][0]
        angle = high = 2 * np.pi * angles[i]
        low, slot = angle - 2 * np.pi, 3
        while True:
            w[i] = start[i] * np.cos(angle) + other[i] * np.sin(angle)
            if -beta * s.evaluate(w[i : i + 1])[0][0] >= threshold:
                break
            low, high = (angle, high) if angle < 0 else (low, angle)
            angle = low + (high - low) * s.uniforms(slot)[i]
            slot += 1


def random_walk(s: Walkers, w: Reals) -> NDArray[np.bool_]:
    proposed, _ = s.space.move(w, s.space.tangent(w, s.noise), s.step)
    return s.decide(w, proposed, s.potential(w) - s.potential(proposed))


METHODS: dict[str, Callable[[Walkers, Reals], NDArray[np.bool_] | None]] = {
    "langevin": langevin,
    "sgld": sgld,
    "mala": mala,
    "hmc": hmc,
    "underdamped": underdamped,
    "pcn": pcn,
    "elliptical-slice": elliptical_slice,
    "random-walk": random_walk,
}
"""One sweep: changes weights (n, n_weights); returns who accepted (n,), or None where nobody is asked."""


def inverse_root(
    inputs: Reals, kind: str, precision: float, stiffness: float, n_units: int = 1, tree: bool = False
) -> Reals:
    """C (n_weights, n_weights) with C C^T = M^-1, M = precision + stiffness X^T X / fan_in over its mean diagonal.

    inputs: (n_patterns, n_inputs), of which each unit of a tree sees its own; kind: "inputs", or "diagonal" for the
    diagonal of M alone
    """
    views = np.split(inputs, n_units, axis=1) if tree else [inputs] * n_units
    fan_in = views[0].shape[1]
    mass = block_diag(*(precision * np.eye(fan_in) + stiffness / fan_in * x.T @ x for x in views))
    mass = mass if kind == "inputs" else np.diag(np.diag(mass))
    return np.linalg.inv(np.linalg.cholesky(mass / np.diag(mass).mean())).T


def minibatch(key: int, sweep: int, n_patterns: int, batch_size: int) -> NDArray[np.int64]:
    """Distinct patterns (batch_size,), each set of them equally likely: Floyd's algorithm."""
    chosen: list[int] = []
    for k, word in enumerate(philox.words(key, sweep, np.arange(batch_size))):
        last = n_patterns - batch_size + k
        drawn = int(word) * (last + 1) >> 32
        chosen.append(last if drawn in chosen else drawn)
    return np.array(chosen)


def run(
    evaluate: Evaluate,
    weights: Reals,
    *,
    method: str,
    prior: str,
    seed: int,
    beta: Reals,
    sweeps: int,
    step_size: ArrayLike = 1.0,
    precision: float = 1.0,
    n_steps: int = 1,
    friction: float = 1.0,
    n_units: int = 1,
    batch_size: int = 0,
    n_patterns: int = 0,
    evaluate_batch: EvaluateBatch | None = None,
    root: Reals | None = None,
    n_copies: int = 1,
    instance: int = 0,
    exchange_every: int = 1,
    burn_in: int = 0,
    measure_every: int = 1,
) -> Trajectory:
    """Sweeps 1 .. sweeps from weights (n_copies * n_rungs, n_weights), walkers ordered by copy, then rung of birth.

    step_size: one for all or one for each rung; evaluate_batch: of batch_size patterns out of n_patterns, for sgld
    root: the map C from what is moved to the weights, None where these are the same
    """
    n_rungs, n = len(beta), weights.shape[1]
    space = Flat(precision, root) if prior == "gaussian" else Spheres(n_units)
    steps = np.broadcast_to(np.asarray(step_size, dtype=np.float64), (n_rungs,))
    walkers = [divmod(walker, n_rungs) for walker in range(n_copies * n_rungs)]
    noise_keys, move_keys = (
        np.array([philox.stream_key(seed, purpose, instance, *walker) for walker in walkers], dtype=np.uint64)
        for purpose in ("noise", "moves")
    )
    length_key = philox.stream_key(seed, "lengths", instance)
    start = weights if root is None else np.linalg.solve(root, weights.T).T

    def by_u(u: Reals, evaluate: Callable[..., tuple[Reals, Reals]] = evaluate, *more: object) -> tuple[Reals, Reals]:
        if root is None:
            return evaluate(u, *more)
        energy, gradient = evaluate(space.weights(u), *more)
        return energy, space.pull(gradient)

    momenta = space.tangent(start, philox.noise(noise_keys, 0, n).T)
    batch_keys = [philox.stream_key(seed, "batches", instance, copy) for copy in range(n_copies)]

    def estimate(sweep: int, w: Reals) -> tuple[Reals, Reals]:
        """With one minibatch for the n_rungs walkers of each copy."""
        parts = [
            by_u(part, evaluate_batch, minibatch(key, sweep, n_patterns, batch_size))
            for key, part in zip(batch_keys, np.split(w, n_copies), strict=True)
        ]
        energy, gradient = (n_patterns / batch_size * np.concatenate(column) for column in zip(*parts, strict=True))
        return energy, gradient

    def sweep_once(sweep: int, w: Reals, e: Reals, rungs: NDArray[np.intp]) -> NDArray[np.int64]:
        state = Walkers(
            evaluate=by_u,
            space=space,
            beta=beta[rungs, None],
            step=steps[rungs, None],
            noise=philox.noise(noise_keys, sweep, n).T,
            uniforms=lambda slot: philox.uniforms(move_keys, sweep, slot),
            n_leapfrog=1 + int(philox.words(length_key, sweep, 0)) * (2 * n_steps - 1) // 2**32,
            friction=friction,
            momenta=momenta,
            estimate=lambda w: estimate(sweep, w),
        )
        taken = METHODS[method](state, w)
        e[:] = by_u(w)[0]
        return np.zeros(len(w), dtype=np.int64) if taken is None else taken.astype(np.int64)

    around = {"exchange_every": exchange_every, "burn_in": burn_in, "measure_every": measure_every}
    found = drive(sweep_once, lambda u: by_u(u)[0], start, seed, instance, beta, n_copies, sweeps, **around)
    return replace(found, weights=found.weights if root is None else found.weights @ root.T)
