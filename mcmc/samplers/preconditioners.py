"""Mass matrices for the methods that follow the gradient: they make U about as steep in all directions.

M = prior_precision + b X^T X / fan_in for each unit, with b the largest beta of the ladder times the second derivative
of the loss by a hidden field, where it is largest (over K for K units; square and squared-hinge 1, logistic
sharpness/4, and 1/4 for the hinge, too, which has none). Of a perceptron with the square loss that is the Hessian of
U at this beta. One M serves all rungs, so that walkers keep their momenta in an exchange. It is divided by the mean of
its diagonal: then a step size is as long, on average over the weights, as without it.

With M = R^T R and C = R^-1, u = C^-1 w moves with unit mass. The method stays exact, or has its order, for any C.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc.errors import DivergenceError
from mcmc.kernels.cholesky import inverse_root
from mcmc.samplers.base import Parameter

if TYPE_CHECKING:
    from mcmc.kernels.gradients import Block

NONE = "none"
PRECONDITIONERS = (NONE, "diagonal", "inputs")
"""M = 1; the diagonal of M alone; M."""

PARAMETER = Parameter(
    NONE, "mass matrix, gaussian weights: none, inputs (their correlations) or diagonal (of these); see README"
)


def root(kind: str, block: Block, largest_beta: float, precision: float | None) -> NDArray[np.float64] | None:
    """C with C C^T = M^-1: the diagonal float64 (n_weights,), or (1, fan_in, fan_in) for all units, or (n_units, ...).

    None for "none". Sums have a stated order: the same bits for any block of the instance, on any machine.
    """
    if kind == NONE:
        return None
    n_weights, gram = block.weights.shape[1], block.gram()
    fan_in = gram.shape[1]
    mass = largest_beta * block.curvature / fan_in * gram
    diagonal = np.einsum("kii->ki", mass)
    diagonal += precision
    mass /= math.fsum(diagonal.ravel()) / diagonal.size
    if kind == "inputs":
        try:
            return np.stack([inverse_root(of_unit) for of_unit in mass])
        except ValueError:
            meant = "use 'diagonal', or a larger model.prior_precision"
            raise DivergenceError(f"sampler.preconditioner: the mass matrix is singular to rounding; {meant}") from None
    return np.tile((1 / np.sqrt(diagonal)).ravel(), n_weights // diagonal.size)
