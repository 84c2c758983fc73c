"""What is sampled: one kind of architecture per file."""

from __future__ import annotations

from mcmc.models.base import Model
from mcmc.models.committee import Committee
from mcmc.models.parity import Parity
from mcmc.models.perceptron import Perceptron

MODELS: dict[str, type[Model]] = {
    name: model for model in (Perceptron, Committee, Parity) for name in model.architectures
}
"""Architectures by name."""
