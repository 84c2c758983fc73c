"""What is sampled: one architecture per file."""

from __future__ import annotations

from collections.abc import Callable

from mcmc.losses import Loss
from mcmc.models.base import Model
from mcmc.models.perceptron import Perceptron

MODELS: dict[str, Callable[[int, Loss], Model]] = {"perceptron": Perceptron}
"""Architectures by name."""
