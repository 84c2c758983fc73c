"""The multistate estimate of log Z (MBAR: Shirts, Chodera, J. Chem. Phys. 129, 124105, 2008; of histograms: WHAM).

Every row is one draw from the mixture of all rungs, sum_s N_s exp(f_s - beta_s E), f_s = -log Z_s, and log Z_r solves

    sum over rows of p_r(E) = N_r,   p_r(E) = N_r exp(f_r - beta_r E) / sum_s N_s exp(f_s - beta_s E).

These are the equations that a convex function is at its minimum, found by Newton steps. Rows that are correlated, in
time or by exchange between rungs, do not bias the solution; errors come from leaving out blocks of time, where one
Newton step from the solution is enough: they leave O(1 / blocks) relative to the error. Whole energies enter as
histograms, exactly, so all rows do; others as a part of the rows. (pymbar solves the same equations, and the tests
compare; its errors take the rows of all rungs for independent, and far from a solution it searches for minutes.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcmc.analysis.energies import DOWN, DOWN_SQUARE, Ladder, Points

MIN_ESS_REFERENCE = 100
"""Effective samples of the first rung that reweighting it to beta = 0 must leave."""
_MAX_STEPS = 100
_MAX_HALVINGS = 20
_TOLERANCE = 1e-8  # of log Z; Newton steps then leave its square
_ROUNDING = 1e-9  # by how much the convex function may seem to grow, per row


@dataclass(frozen=True)
class Mbar:
    """The solution for the first rungs of a ladder."""

    beta: np.ndarray
    """(rungs,)."""
    log_z: np.ndarray
    """log Z(beta_r) - log Z(beta_0): (rungs,)."""
    steps: np.ndarray
    """By how much leaving out a block lowers `log_z`, but for a factor near 1: (blocks, rungs)."""
    points: Points
    log_mixture: np.ndarray
    """ln of the sum over s of N_s exp(f_s - beta_s E): (points,)."""
    shares: np.ndarray
    """p_r(E) / sum_s p_s(E): (points, rungs)."""

    @property
    def left_out(self) -> np.ndarray:
        """`log_z` without one block: (blocks, rungs), NaN for one block."""
        n = len(self.steps)
        return self.log_z - self.steps * (n / (n - 1) if n > 1 else np.nan)

    def merged(self, n_blocks: int) -> Mbar:
        """The same with so many blocks, each of some that follow each other."""

        def joined(values: np.ndarray) -> np.ndarray:
            return values.reshape(n_blocks, -1, values.shape[1]).sum(axis=1)

        rows = self.points.n_rows * len(self.steps) // n_blocks
        points = Points(self.points.energy, joined(self.points.counts), rows)
        return replace(self, steps=joined(self.steps), points=points)

    def weights_left_out(self) -> np.ndarray:
        """Weights of the points without one block, for exp(-beta E - log_mixture): (blocks, points)."""
        counts, n = self.points.counts, len(self.points.counts)
        change = np.exp(self.log_z - self.left_out) @ self.shares.T
        return (counts.sum(axis=0) - counts) * (n / (n - 1)) / change


def solve(ladder: Ladder, n_rungs: int, start: np.ndarray) -> Mbar:
    """From energies of the first n_rungs, beginning with log Z(beta_r) - log Z(beta_0) as in `start` (n_rungs,).

    NaN where rungs overlap so little that there is no solution.
    """
    points, beta = ladder.points(n_rungs), ladder.beta[:n_rungs]
    rows = len(points.counts) * points.n_rows
    total = points.counts.sum(axis=0)
    exponents = np.log(rows) - beta * points.energy[:, None]  # (points, rungs)
    log_z = start - start[0]
    log_mixture, shares = _mixture(exponents - log_z)
    is_solved = False
    for _ in range(_MAX_STEPS):
        step = _newton(_curvature(shares, total), total @ shares - rows)
        here = total @ log_mixture + rows * log_z.sum()
        for _ in range(_MAX_HALVINGS):
            log_mixture, shares = _mixture(exponents - (log_z + step))
            is_lower = total @ log_mixture + rows * (log_z + step).sum() <= here + _ROUNDING * rows
            if is_lower:
                break
            step = step / 2
        log_z = log_z + step
        is_solved = bool(np.abs(step).max() < _TOLERANCE)
        if is_solved or not is_lower:
            break
    if not is_solved:
        log_z, log_mixture = np.full(n_rungs, np.nan), np.full_like(log_mixture, np.nan)
    slopes = points.counts @ shares - points.n_rows  # of each block; they add up to zero
    steps = _newton(_curvature(shares, total), slopes.T).T
    return Mbar(beta, log_z, steps, points, log_mixture, shares)


def _mixture(exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln of the sum over rungs of exp, and the share of each rung in it: (points, rungs) -> (points,), as given."""
    largest = exponents.max(axis=1, keepdims=True)
    shares = np.exp(exponents - largest)
    sums = shares.sum(axis=1, keepdims=True)
    return (largest + np.log(sums))[:, 0], shares / sums


def _curvature(shares: np.ndarray, total: np.ndarray) -> np.ndarray:
    weighted = shares * total[:, None]
    return np.diag(weighted.sum(axis=0)) - weighted.T @ shares


def _newton(curvature: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Change of log Z that takes the slope (rungs, ...) away, the first rung held; NaN where nothing determines it."""
    step = np.zeros(slope.shape)
    if len(slope) > 1:
        try:
            step[1:] = np.linalg.solve(curvature[1:, 1:], slope[1:])
        except np.linalg.LinAlgError:
            step[1:] = np.nan
    return step


def reaches_zero(ladder: Ladder) -> bool:
    """Whether the ladder has a rung at beta = 0, or its first rung can be reweighted to it."""
    if ladder.beta[0] == 0:
        return True
    mean, square = ladder.moments[:, 0, DOWN].mean(), ladder.moments[:, 0, DOWN_SQUARE].mean()
    return mean**2 / square * ladder.n_copies * ladder.n_rows / ladder.tau[0] >= MIN_ESS_REFERENCE


def log_z_of_first_rung(ladder: Ladder, moments: np.ndarray, log_states: float) -> np.ndarray:
    """log Z at the first rung from log Z(0) = log_states and Z(0) / Z(beta) = <exp(beta E)>: moments (...) -> (...).

    moments: (..., rungs, 6), as in Ladder.moments; log_states: NaN where the first rung does not reach beta = 0
    """
    if ladder.beta[0] == 0 or np.isnan(log_states):  # out of reach <exp(beta E)> may hang on one row that is left out
        return np.full(moments.shape[:-2], log_states)
    return log_states - ladder.beta[0] * ladder.high[0] - np.log(moments[..., 0, DOWN])
