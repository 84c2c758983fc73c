"""What is sampled: one architecture per file."""

from __future__ import annotations

from mcmc.models.perceptron import Perceptron

MODELS = {"perceptron": Perceptron}
"""Architectures by name."""
