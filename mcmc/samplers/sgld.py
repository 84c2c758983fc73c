"""Stochastic gradient Langevin dynamics (Welling, Teh, ICML 28 (2011) 681): a dynamics, not a sampler of P(w).

w' = w - h (beta (P/B) dE_B + prior) + sqrt(2h) xi with the energy E_B of B = batch_size patterns, drawn anew at every
sweep. Its stationary law is NOT the Gibbs measure, at any h that is kept: beside the terms of order h of `langevin` the
minibatches exert a random force of covariance beta^2 P (P - B)/B S, S the covariance of the gradients of single
patterns. A step adds h^2 times that to the 2h of the heat bath, as if the temperature were higher by a fraction h
beta^2 P (P - B)/(2 B) S, in every direction another one. So at fixed h the bias grows as beta^2 P^2 / B; it vanishes
with h. Rungs of a copy share the minibatch, copies have different ones. Exchange takes the energies of all patterns.
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers import preconditioners
from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler


class Sgld(MoveSampler):
    """Langevin steps with gradients of minibatches: the stationary law is not the Gibbs measure."""

    name = "sgld"
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(
            None,
            "h of w' = w - h dU + sqrt(2h) xi, dU by minibatches; a number or one for each rung. The stationary law"
            " is not the Gibbs measure: noise of the gradients heats, by a fraction ~ h beta^2 P^2 / batch_size",
        ),
        "batch_size": Parameter(None, "patterns of a minibatch, drawn anew for each copy and sweep; 1 to P"),
        "preconditioner": preconditioners.PARAMETER,
    }
