"""Generalisation error of every sample: the chance that student and teacher disagree on a fresh pattern.

From the overlaps with the teacher where an exact law is known, else from the test set of the run.

One field: perceptrons, and machines of one unit, whose sign is that of its field. The chance is arccos(R)/pi for
Gaussian inputs, R being the cosine of the angle between the weights, and the binomial law of
`disagreement_probability` for +-1 inputs and weights.

Trees on the same blocks of inputs: the pairs of units k of student and teacher see independent inputs, so each pair has
a joint law of its own for its two signs, from its overlap R_k, and the numbers of positive units of both machines
decide the outputs of committees of signs and of parity machines. With blocks of even length and +-1 inputs fields may
be 0, and sign(0) = +1 is taken into account. The joint law of a pair that disagrees with chance e is linear in e, so it
is a mixture of the laws at R = 1, equal pairs, and at R = -1, opposed ones, which disagree but for ties: opposed with
chance e / (1 - P(tie)). What matters of the overlaps is the number of opposed pairs alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

WINDOW_SIGMAS = 10  # a binomial is below 1e-22 further out
CHUNK_BYTES = 1 << 20
"""Of the laws of as many samples as are worked on at a time."""


def generalisation_error(dataset: xr.Dataset, config: dict[str, Any]) -> xr.DataArray | None:
    """Generalisation error of each sample, dims (instance, sample, copy, rung); None if the run does not tell it.

    `config` is the run file; it decides whether a law is exact, see the head of the file. Otherwise it is the variable
    `test_error`.
    """
    law = exact_law(config)
    if law is None:
        return dataset.get("test_error")
    student, teacher = machines(config)
    if student["n_hidden"] == 1:
        overlap, norms = dataset["teacher_overlap"], dataset.get("norm", 1.0) * dataset.get("teacher_norm", 1.0)
        cosine = (overlap / norms**0.5).transpose(*overlap.dims)
        return overlap.copy(data=unit_disagreement(law, cosine.to_numpy(), int(dataset.attrs["n_weights"])))
    overlap = dataset["hidden_teacher_overlap"].transpose(..., "hidden")
    fan_in = int(dataset.attrs["n_weights"]) // student["n_hidden"]
    errors = unit_disagreement(law, overlap.to_numpy(), fan_in)
    ties = tie_probability(fan_in) if law == "binary" else 0.0
    return overlap.isel(hidden=0).copy(
        data=tree_disagreement(errors, ties, *(m["architecture"] for m in (student, teacher)))
    )


def exact_law(config: dict[str, Any]) -> str | None:
    """Which law gives the error from the overlaps: "gaussian", "binary" (the inputs), or None if neither is exact."""
    data = config["data"]
    if data["source"] != "teacher" or data.get("labels", "sign") == "real":
        return None
    student, teacher = machines(config)
    one_field = _is_one_field(student) and _is_one_field(teacher)
    if not one_field and not (
        _is_tree_of_signs(student) and _is_tree_of_signs(teacher) and student["n_hidden"] == teacher["n_hidden"]
    ):
        return None
    weights = {student["weights"], teacher["weights"]}
    inputs = data.get("inputs", "binary")
    if inputs == "gaussian" and (one_field or "gaussian" not in weights):  # norms of the units of trees are not stored
        return "gaussian"
    return "binary" if inputs == "binary" and weights == {"ising"} else None


def machines(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables [model] and [data.teacher] of student and teacher with what they leave out filled in."""
    defaults = {"architecture": "perceptron", "weights": "ising", "n_hidden": 1}
    defaults |= {"activation": "sign", "second_layer": "fixed"}
    student = defaults | config["model"]
    asked = config["data"].get("teacher", {})
    teacher = student | asked
    if teacher["architecture"] == "perceptron":  # has no number of units to take over
        teacher["n_hidden"] = 1
    is_committee = teacher["architecture"].endswith("committee")
    if not is_committee:
        teacher["activation"] = "sign"
    if not is_committee or teacher["weights"] != "gaussian":
        teacher["second_layer"] = "fixed"
    return student, teacher


def _is_one_field(machine: dict[str, Any]) -> bool:
    """Whether the sign of the output is that of one field; relu has no negative output, a v of its own any sign."""
    return machine["n_hidden"] == 1 and machine["activation"] != "relu" and machine["second_layer"] == "fixed"


def _is_tree_of_signs(machine: dict[str, Any]) -> bool:
    is_tree = machine["architecture"].startswith("tree-")
    return is_tree and machine["activation"] == "sign" and machine["second_layer"] == "fixed"


def unit_disagreement(law: str, overlap: np.ndarray, fan_in: int) -> np.ndarray:
    """Chance that the signs of two fields differ at overlap R of their weights: float64, shape of `overlap`."""
    if law == "gaussian":
        return np.arccos(np.clip(overlap, -1.0, 1.0)) / np.pi
    return binary_disagreement(overlap, fan_in)


def tree_disagreement(errors: np.ndarray, ties: float, student: str, teacher: str) -> np.ndarray:
    """Chance that two trees disagree whose units k do with chance errors[..., k]: (..., n_hidden) -> float64 (...).

    ties: chance of a field 0, counted as +1, the same for all units; student, teacher: "tree-committee" (of signs, a
    tied vote counts as +1) or "tree-parity". Of two parity machines the outputs multiply to the product of independent
    factors of mean 1 - 2 error, ties or not. Otherwise see the head of the file; n_hidden^2 operations for a sample.
    """
    n = errors.shape[-1]
    if student == teacher == "tree-parity":
        return (1 - (1 - 2 * errors).prod(axis=-1)) / 2
    disagree = _disagreement_by_opposed(n, ties, _sign_by_count(student, n)[:, None] != _sign_by_count(teacher, n))
    opposed = errors.reshape(-1, n).T / (1 - ties)
    out = np.empty(opposed.shape[1])
    step = max(1, CHUNK_BYTES // (8 * (n + 1)))
    for start in range(0, out.size, step):
        out[start : start + step] = disagree @ _number_law(opposed[:, start : start + step])
    return out.reshape(errors.shape[:-1])


def _sign_by_count(architecture: str, n: int) -> np.ndarray:
    """Output +-1 of a tree of n signs by how many of them are positive, 0 .. n."""
    positive = np.arange(n + 1)
    is_positive = (n - positive) % 2 == 0 if architecture == "tree-parity" else 2 * positive >= n
    return np.where(is_positive, 1, -1)


def _number_law(chances: np.ndarray) -> np.ndarray:
    """Law of how many of n independent events happen: chances (n, samples) -> (n + 1, samples)."""
    n, n_samples = chances.shape
    law = np.zeros((n + 1, n_samples))
    law[0] = 1.0
    for k, chance in enumerate(chances):
        happens = law[: k + 1] * chance
        law[: k + 1] -= happens
        law[1 : k + 2] += happens
    return law


def _disagreement_by_opposed(n: int, ties: float, wrong: np.ndarray) -> np.ndarray:
    """Chance that two trees of n units disagree by how many pairs are opposed, the others being equal: (n + 1,).

    wrong: bool (n + 1, n + 1), by the numbers of positive units of the one and the other tree
    """
    fair, tied, positive = (_binomials(n, chance) for chance in (1 / 2, ties, (1 + ties) / 2))
    # of r opposed pairs without a tie b are (+, -), r - b are (-, +); of the other pairs m are (+, +), n - r - m (-, -)
    given = np.zeros((n + 1, n + 1))  # by r and m
    for r in range(n + 1):
        b, m = np.arange(r + 1), np.arange(n - r + 1)[:, None]
        given[r, : n - r + 1] = wrong[m + b, m + r - b] @ fair[r, : r + 1]
    law = np.empty(n + 1)
    for d in range(n + 1):
        t, a = np.arange(d + 1)[:, None], np.arange(n - d + 1)  # ties among the opposed, (+, +) among the equal pairs
        law[d] = tied[d, : d + 1] @ given[d - t, t + a] @ positive[n - d, : n - d + 1]
    return law


def _binomials(n: int, chance: float) -> np.ndarray:
    """Row m is the law of Binomial(m, chance), m = 0 .. n: (n + 1, n + 1)."""
    laws = np.zeros((n + 1, n + 1))
    laws[0, 0] = 1.0
    for before, law in pairwise(laws):
        law[:] = (1 - chance) * before
        law[1:] += chance * before[:-1]
    return laws


def tie_probability(n: int) -> float:
    """P(w.x = 0) for x uniform on +-1 and w in +-1 with n entries: C(n, n/2) / 2^n, 0 for odd n."""
    counts, chance = _binomial(n)
    return float(chance[2 * counts == n].sum())


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
