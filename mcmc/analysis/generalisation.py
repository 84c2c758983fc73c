"""Generalisation error of every sample: the chance that student and teacher disagree on a fresh pattern.

From the overlap with the teacher where an exact law is known, else from the test set of the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

WINDOW_SIGMAS = 10  # a binomial is below 1e-22 further out


def generalisation_error(dataset: xr.Dataset, config: dict[str, Any]) -> xr.DataArray | None:
    """Generalisation error of each sample, dims (instance, sample, copy, rung); None if the run does not tell it.

    `config` is the run file; it decides which law is exact: arccos(R)/pi for Gaussian inputs, the binomial law for
    +-1 inputs and weights, both for the perceptron whose teacher is one too. Otherwise the variable `test_error`.
    """
    law = exact_law(config)
    if law is not None and "teacher_overlap" in dataset:
        overlap = dataset["teacher_overlap"]
        if law == "gaussian":
            return np.arccos(overlap.clip(-1.0, 1.0)) / np.pi
        return overlap.copy(data=binary_disagreement(overlap.to_numpy(), int(dataset.attrs["n_weights"])))
    return dataset.get("test_error")


def exact_law(config: dict[str, Any]) -> str | None:
    """Which law gives the error from the overlap: "gaussian", "binary", or None if neither is exact."""
    data = config["data"]
    model = {"architecture": "perceptron", "weights": "ising"} | config["model"]
    teacher = model | data.get("teacher", {})
    perceptrons = model["architecture"] == teacher["architecture"] == "perceptron"
    if data["source"] != "teacher" or not perceptrons or data.get("labels", "sign") == "real":
        return None
    weights = {model["weights"], teacher["weights"]}
    inputs = data.get("inputs", "binary")
    if inputs == "gaussian" and weights <= {"ising", "spherical"}:  # norms are fixed: R is the cosine
        return "gaussian"
    return "binary" if inputs == "binary" and weights == {"ising"} else None


def binary_disagreement(overlap: np.ndarray, n_weights: int) -> np.ndarray:
    """Exact error for +-1 inputs and weights at overlaps R = (2 m - n_weights) / n_weights: float64, shape of R."""
    agreeing = np.rint((1.0 + overlap) * (n_weights / 2)).astype(np.intp)
    occurs = np.flatnonzero(np.bincount(agreeing.ravel(), minlength=n_weights + 1))
    law = np.zeros(n_weights + 1)
    law[occurs] = [disagreement_probability(int(m), n_weights) for m in occurs]
    return law[agreeing]


def disagreement_probability(n_agreeing: int, n_weights: int) -> float:
    """P(sign(w.x) != sign(t.x)), sign(0) = +1, for x uniform on +-1 and w, t in +-1 that agree in `n_agreeing` places.

    With A the sum over the agreeing and B over the other places, t.x = A + B and w.x = A - B: by the symmetry
    B -> -B the probability is 2 P(-B <= A < B).
    """
    plus, chance = _binomial(n_weights - n_agreeing)
    b = 2 * plus - (n_weights - n_agreeing)
    chance, b = chance[b > 0], b[b > 0]
    first, agreeing_chance = _binomial(n_agreeing)
    below = np.concatenate([[0.0], np.cumsum(agreeing_chance)])  # below[k] = P(plus signs in A < first[0] + k)
    low, high = (np.clip(-((n_agreeing + s * b) // -2) - first[0], 0, len(first)) for s in (-1, 1))
    return float(2 * np.sum(chance * (below[high] - below[low])))


def _binomial(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts around n/2 and their probabilities under Binomial(n, 1/2), by ratios of neighbours: no factorials."""
    reach = int(WINDOW_SIGMAS * np.sqrt(n) / 2) + 1
    counts = np.arange(max(0, n // 2 - reach), min(n, n // 2 + reach) + 1)
    steps = np.log((n - counts[:-1]) / (counts[:-1] + 1))
    log_weights = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(log_weights - log_weights.max())
    return counts, weights / weights.sum()
