"""Architectures: how weights and inputs give an output, for students and teachers alike.

The weights of a multi-unit machine are one vector, a unit after the other. In a fully connected machine every unit sees
all inputs, in a tree unit k sees inputs k N/K ... (k+1) N/K - 1 alone. The units of a committee are added with weights
v_k, its second layer: all 1, or, as `second_layer`, the last K weights of the vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc.kernels.fields import HOMOGENEOUS, activations

if TYPE_CHECKING:
    from mcmc.data import Inputs

ARCHITECTURES: dict[str, str] = {
    "perceptron": "f = h = w.x / sqrt(N)",
    "committee": "f = (1/sqrt K) sum_k v_k g(h_k), h_k = w_k.x / sqrt(N), v_k = 1 or sampled",
    "tree-committee": "f = (1/sqrt K) sum_k v_k g(h_k), h_k = w_k.x_k / sqrt(N/K), v_k = 1 or sampled",
    "parity": "f = prod_k sign(h_k), h_k = w_k.x / sqrt(N)",
    "tree-parity": "f = prod_k sign(h_k), h_k = w_k.x_k / sqrt(N/K)",
}
"""Names and outputs."""

ACTIVATIONS: dict[str, str] = {
    "sign": "sign(h), sign(0) = +1",
    "erf": "erf(h / sqrt 2)",
    "tanh": "tanh(h)",
    "relu": "max(0, h)",
    "linear": "h",
}
"""Names and formulas of g, the output of a hidden unit of a committee."""


MOST_UNITS = 2**16
"""So many outputs of units add up exactly, see ext/include/activations_body.h, and can be numbered by the kernels."""


@dataclass(frozen=True)
class Architecture:
    """An architecture with its sizes; second_layer: whether the v_k are weights, not 1.

    Raises ValueError for unknown names and sizes that do not fit together; the message begins with the field.
    """

    name: str
    n_inputs: int
    n_hidden: int = 1
    activation: str = "sign"
    second_layer: bool = False

    def __post_init__(self) -> None:
        if self.name not in ARCHITECTURES:
            raise ValueError(f"architecture: got {self.name!r}, expected one of {', '.join(ARCHITECTURES)}")
        if self.activation not in ACTIVATIONS or (self.activation != "sign" and not self.is_committee):
            allowed = f"one of {', '.join(ACTIVATIONS)}" if self.is_committee else "'sign' (others are for committees)"
            raise ValueError(f"activation: got {self.activation!r}, expected {allowed}")
        if self.second_layer and not self.is_committee:
            raise ValueError(f"second_layer: got True, expected False for a {self.name}: only committees have one")
        if self.n_inputs < 1:
            raise ValueError(f"n_inputs: got {self.n_inputs}, expected an integer >= 1")
        if not 1 <= self.n_hidden <= MOST_UNITS or (self.name == "perceptron" and self.n_hidden != 1):
            most = "1 (a perceptron is one unit)" if self.name == "perceptron" else f"an integer from 1 to {MOST_UNITS}"
            raise ValueError(f"n_hidden: got {self.n_hidden}, expected {most}")
        if self.is_tree and self.n_inputs % self.n_hidden:
            allowed = f"a divisor of n_inputs = {self.n_inputs} (the units of a tree share the inputs out equally)"
            raise ValueError(f"n_hidden: got {self.n_hidden}, expected {allowed}")

    @property
    def is_tree(self) -> bool:
        """True if the units see different inputs."""
        return self.name.startswith("tree-")

    @property
    def is_committee(self) -> bool:
        """True if the output is a sum over units."""
        return self.name.endswith("committee")

    @property
    def is_parity(self) -> bool:
        """True if the output is a product over units."""
        return self.name.endswith("parity")

    @property
    def fan_in(self) -> int:
        """Inputs of a unit, which is the number of its weights in the first layer."""
        return self.n_inputs // self.n_hidden if self.is_tree else self.n_inputs

    @property
    def shape(self) -> str:
        """What decides how many weights mean what, in words."""
        if self.name == "perceptron":
            return self.name
        return f"{self.name}, n_hidden = {self.n_hidden}" + (", second layer sampled" if self.second_layer else "")

    @property
    def n_first(self) -> int:
        """Weights of the first layer, of all units."""
        return self.n_hidden * self.fan_in

    @property
    def n_weights(self) -> int:
        return self.n_first + (self.n_hidden if self.second_layer else 0)

    def units(self, weights: NDArray) -> NDArray:
        """The first layer of weights (..., n_weights): a view (..., n_hidden, fan_in)."""
        return weights[..., : self.n_first].reshape(*weights.shape[:-1], self.n_hidden, self.fan_in)

    def hidden_fields(self, inputs: Inputs, weights: ArrayLike) -> NDArray[np.int64] | NDArray[np.float64]:
        """Unscaled sums w_k.x of weights (..., n_weights): (..., n_hidden, n_patterns), see `Inputs.fields`."""
        units = self.units(np.asarray(weights))
        if not self.is_tree:
            return inputs.fields(units)
        starts = [k * self.fan_in for k in range(self.n_hidden)]
        blocks = (inputs.block(start, start + self.fan_in) for start in starts)
        return np.stack([block.fields(units[..., k, :]) for k, block in enumerate(blocks)], axis=-2)

    def output(self, inputs: Inputs, weights: ArrayLike) -> NDArray[np.float64]:
        """f of weights (..., n_weights) on every pattern, (..., n_patterns), the same bits on every machine.

        Ties are exact without a second layer: fields of integer weights and +-1 inputs are integers, and outputs of
        units lie on a grid (see ext/include/activations_body.h), so that units that cancel add up to 0 in any order.
        """
        fields = self.hidden_fields(inputs, weights)
        if self.name == "perceptron":
            return fields[..., 0, :] / math.sqrt(self.fan_in)
        if self.is_parity:
            return np.where(fields >= 0, 1.0, -1.0).prod(axis=-2)
        # as in the kernels: what is homogeneous is scaled after the sum, which is then exact for integers
        inside, outside = (1, self.fan_in) if self.activation in HOMOGENEOUS else (self.fan_in, 1)
        hidden = activations(self.activation, fields * (1 / math.sqrt(inside)))
        total = np.zeros(hidden.shape[:-2] + hidden.shape[-1:])
        second = np.asarray(weights)[..., self.n_first :] if self.second_layer else np.ones(self.n_hidden)
        for k in range(self.n_hidden):  # in order: numpy's sums are not the same on every machine
            total += second[..., k, None] * hidden[..., k, :]
        return total * (1 / math.sqrt(self.n_hidden * outside))
