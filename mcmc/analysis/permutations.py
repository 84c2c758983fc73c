"""Overlaps up to the symmetries of a machine: the order of its hidden units, and their signs in a parity machine.

A fully connected machine is the same after any permutation of its units. A parity machine, f = prod_k sign(w_k.x),
also stays the same when the weights of two units change sign, hence of any even number of units, with any permutation
on top if it is fully connected; an odd number turns f into -f. Two machines that do the same may thus have any overlap
in units taken one by one; what counts is the best over the symmetry. Being a maximum, it is above zero even where two
machines have nothing in common, by some 1/sqrt(fan-in).

With a sampled second layer a unit is the vector (w_k, v_k). Units of a fully connected machine can be permuted, turned
round one by one if the activation is odd, and if it is linear rotated into each other: f is made of W^T v alone, and
the prior is isotropic. In a tree they can be turned round. There is no specialisation then: how much a unit does is
free, and of linear units so is the basis.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

MAX_EXACT = 8  # units; the sums over subsets below grow as 2^n
CHUNK = 4096  # matrices at a time
SOURCES = ("hidden_overlap", "hidden_teacher_overlap", "second_layer", "teacher_second_layer")
"""The variables that `aligned_series` is made of."""
UNITS = ("hidden", "hidden_b", "teacher_hidden")  # the dimensions of overlaps of units


def aligned_series(dataset: xr.Dataset, config: dict[str, Any]) -> dict[str, xr.DataArray]:
    """Of every sample, what exists of aligned_overlap (of two copies), aligned_teacher_overlap and specialisation.

    Dims (instance, sample, pair or copy, rung). They exist for several units whose order or signs mean nothing, with a
    teacher of as many; specialisation, which is that in the teacher, for fully connected machines. `config` is the run
    file.
    """
    if "second_layer" in dataset:
        return _aligned_layers(dataset, config)
    architecture = config["model"].get("architecture", "perceptron")
    parity = architecture.endswith("parity")
    found = {}
    for name, source in (("aligned_overlap", "hidden_overlap"), ("aligned_teacher_overlap", "hidden_teacher_overlap")):
        units = [dim for dim in UNITS if source in dataset and dim in dataset[source].dims]
        sizes = {dataset.sizes[dim] for dim in units}
        if len(sizes) != 1 or sizes == {1}:
            continue
        values = dataset[source].transpose(..., *units)
        hidden, alone = values.to_numpy(), values.isel(dict.fromkeys(units, 0))
        if architecture in ("committee", "parity"):
            found[name] = alone.copy(data=aligned_overlap(hidden, parity))
            if name == "aligned_teacher_overlap":
                found["specialisation"] = alone.copy(data=specialisation(hidden, parity))
        elif architecture == "tree-parity" and len(units) == 1:
            found[name] = alone.copy(data=aligned_signs(hidden))
    return found


def log_n_images(machine: dict[str, Any]) -> float | None:
    """ln of the number of states of Ising weights that do the same as a given one, by the symmetries above.

    None where there are many more, or no finite number: linear units, real weights. `machine` is the table [model] with
    all its keys, as `generalisation.machines` gives it.
    """
    n_units, architecture = machine["n_hidden"], machine["architecture"]
    if machine["weights"] != "ising" or (n_units > 1 and machine["activation"] == "linear"):
        return None
    orders = 0.0 if architecture.startswith("tree-") else float(gammaln(n_units + 1))
    signs = (n_units - 1) * np.log(2) if architecture.endswith("parity") else 0.0
    return orders + signs


def _aligned_layers(dataset: xr.Dataset, config: dict[str, Any]) -> dict[str, xr.DataArray]:
    """`aligned_series` of machines with a second layer; R with a teacher that has the same shape."""
    tree, activation = config["model"]["architecture"].startswith("tree-"), config["model"].get("activation", "sign")
    if tree and activation == "relu":
        return {}
    v = dataset["second_layer"].transpose("instance", "sample", "copy", "rung", "hidden").to_numpy()
    layers = {}
    if "hidden_overlap" in dataset:
        pairs = np.array(list(combinations(range(v.shape[2]), 2))).T
        layers["aligned_overlap"] = "hidden_overlap", v[:, :, pairs[0]], v[:, :, pairs[1]]
    if "teacher_overlap" in dataset:
        of_teacher = dataset["teacher_second_layer"].transpose("instance", "teacher_hidden").to_numpy()
        layers["aligned_teacher_overlap"] = "hidden_teacher_overlap", v, of_teacher[:, None, None, None]
    found = {}
    for name, (source, left, right) in layers.items():
        units = [dim for dim in UNITS if dim in dataset[source].dims]
        values = dataset[source].transpose("instance", "sample", ..., "rung", *units)
        diagonal = len(units) == 1
        products = left * right if diagonal else left[..., :, None] * right[..., None, :]
        fan_in = int(dataset.attrs["n_weights"]) // v.shape[-1] - 1
        whole = (fan_in * values.to_numpy() + products) / (fan_in + 1)
        found[name] = values.isel(dict.fromkeys(units, 0)).copy(data=aligned_layers(whole, activation, diagonal))
    return found


def aligned_layers(hidden: np.ndarray, activation: str, diagonal: bool = False) -> np.ndarray:
    """The best overlap of machines with a second layer, from those of their units (w_k, v_k): float64 (...).

    hidden: (..., K, K), or, of trees of an odd activation, the diagonal (..., K)
    """
    if diagonal:
        return np.abs(hidden).mean(axis=-1)
    if activation == "linear":  # the trace of Q O, best over the orthogonal O, is the sum of the singular values
        return np.linalg.svd(hidden, compute_uv=False).sum(axis=-1) / _n_units(hidden)
    return aligned_overlap(hidden if activation == "relu" else np.abs(hidden))


def aligned_overlap(hidden: np.ndarray, parity: bool = False) -> np.ndarray:
    """max over permutations pi of (1/K) sum_k Q[k, pi(k)], for matrices of overlaps (..., K, K): float64 (...).

    parity: of (1/K) sum_k s_k Q[k, pi(k)], signs s_k = +-1 with product +1 besides. Exact up to `MAX_EXACT` units, and
    beyond for committees. Beyond, a parity machine gets the best assignment of the moduli and, where its signs have the
    wrong product, the cheapest one turned round: a lower bound, short of the maximum by less than 2 min_k |Q| / K.
    ValueError unless the matrices are square.
    """
    n = _n_units(hidden)
    if n > MAX_EXACT:
        best = _each(hidden, _assigned_parity if parity else _assigned)
    else:
        best = _chunked(hidden, _best_even if parity else _best)
    return best / n


def aligned_signs(hidden: np.ndarray) -> np.ndarray:
    """max of (1/K) sum_k s_k q_k over signs s_k = +-1 with product +1, as of tree-parity: (..., K) -> float64 (...)."""
    moduli = np.abs(hidden)
    odd = np.count_nonzero(hidden < 0, axis=-1) % 2  # then the least of them has to be against its sign
    return (moduli.sum(axis=-1) - 2 * odd * moduli.min(axis=-1)) / hidden.shape[-1]


def specialisation(hidden: np.ndarray, parity: bool = False) -> np.ndarray:
    """Mean of the K entries of the best assignment less the mean of all others: (..., K, K) -> float64 (...).

    0 where all units are alike, 1 where each unit has one partner and nothing in common with the others. parity: of the
    moduli, since signs are symmetry. ValueError unless the matrices are square with K > 1.
    """
    n = _n_units(hidden)
    if n == 1:
        raise ValueError("hidden: got 1 unit, expected at least 2")
    entries = np.abs(hidden) if parity else hidden
    best = n * aligned_overlap(entries)
    return best / n - (entries.sum(axis=(-2, -1)) - best) / (n * (n - 1))


def _n_units(hidden: np.ndarray) -> int:
    if hidden.ndim < 2 or hidden.shape[-1] != hidden.shape[-2]:
        raise ValueError(f"hidden: got shape {hidden.shape}, expected (..., K, K)")
    return hidden.shape[-1]


def _chunked(hidden: np.ndarray, best: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`best` of entries (K, K, samples), which gives (samples,), over the matrices (..., K, K)."""
    n = hidden.shape[-1]
    flat = hidden.reshape(-1, n, n)
    out = np.empty(len(flat))
    for start in range(0, len(flat), CHUNK):
        out[start : start + CHUNK] = best(np.ascontiguousarray(np.moveaxis(flat[start : start + CHUNK], 0, -1)))
    return out.reshape(hidden.shape[:-2])


# The best assignment of the first k rows to a set of k columns follows from those of k - 1 rows: sums over subsets of
# the columns, all samples at once, 2^K K steps instead of K! permutations.


def _best(entries: np.ndarray) -> np.ndarray:
    n = len(entries)
    best = {(): np.zeros(entries.shape[2:])}
    for k in range(n):
        best = {
            chosen: np.max([best[_without(chosen, column)] + entries[k, column] for column in chosen], axis=0)
            for chosen in combinations(range(n), k + 1)
        }
    return best[tuple(range(n))]


def _best_even(entries: np.ndarray) -> np.ndarray:
    """As `_best`, with signs: by whether the number of minus signs so far is even or odd."""
    n = len(entries)
    nothing = np.zeros(entries.shape[2:])
    best = {(): (nothing, nothing - np.inf)}
    for k in range(n):
        following = {}
        for chosen in combinations(range(n), k + 1):
            before = [(*best[_without(chosen, column)], entries[k, column]) for column in chosen]
            even = np.max([np.maximum(even + q, odd - q) for even, odd, q in before], axis=0)
            odd = np.max([np.maximum(odd + q, even - q) for even, odd, q in before], axis=0)
            following[chosen] = even, odd
        best = following
    return best[tuple(range(n))][0]


def _without(chosen: tuple[int, ...], column: int) -> tuple[int, ...]:
    return tuple(other for other in chosen if other != column)


def _each(hidden: np.ndarray, best: Callable[[np.ndarray], float]) -> np.ndarray:
    n = hidden.shape[-1]
    return np.array([best(matrix) for matrix in hidden.reshape(-1, n, n)]).reshape(hidden.shape[:-2])


def _assigned(matrix: np.ndarray) -> float:
    return float(matrix[linear_sum_assignment(matrix, maximize=True)].sum())


def _assigned_parity(matrix: np.ndarray) -> float:
    return float(len(matrix) * aligned_signs(matrix[linear_sum_assignment(np.abs(matrix), maximize=True)]))
