"""Fast weights: a memory that multiplies (Schmidhuber 1992; Schlag et al. 2021, arXiv 2102.11174).

    k, q, v = tanh(W x + b)        y = M q        M ← M + v kᵀ        output = V [x, y] + c

What the network sees at a step is stored in the matrix M under a key and read later by a query: y is the sum of the
values stored so far, each weighted by how much its key is like the query. A GRU has to build such a product from gates;
here random weights already make some. M starts at 0 and nothing fades, so it suits episodes with few events.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.policies.initial import Layer
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros
from gadask.policies.recurrent import dense, dense_layer, matrix


class FastWeights(nn.Module):
    """The memory and a dense layer over it; the state is M, transposed: shape `(units, units)`."""

    def __init__(self, n_inputs: int, units: int, n_outputs: int, initial: str = "fan-in") -> None:
        """Make a network with keys, queries and values of `units` numbers."""
        super().__init__()
        self.initial = initial
        self.units = units
        self.project = matrix(n_inputs, 3 * units)
        self.output = matrix(n_inputs + units, n_outputs)

    def initial_state(self) -> torch.Tensor:
        """Return zeros."""
        return torch.zeros(self.units, self.units)

    def forward(self, observation: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output, float32 `(1, n_outputs)`, and the next state."""
        key, query, value = dense(observation, self.project).tanh().chunk(3, 1)
        output = dense(torch.cat([observation, query @ state], 1), self.output)
        return output, state + key.T @ value

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        return _Lanes(parameters["project"], parameters["output"])

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return [dense_layer(self.project), dense_layer(self.output, is_output=True)]


class _Lanes(LaneNetwork):
    """The network in lanes."""

    def __init__(self, project: NDArray[np.float32], to_output: NDArray[np.float32]) -> None:
        """Make state and buffers for the two matrices, each `(n_lanes, inputs + 1, outputs)`."""
        n_lanes, n_rows, n_projected = project.shape
        n_inputs, units = n_rows - 1, n_projected // 3
        # x, y and a 1. The bias of `project` is added apart, since y lies where its 1 would be.
        given = aligned_zeros(n_lanes, n_inputs + units + 1)
        given[:, -1] = 1
        self.inputs = given[:, :n_inputs]
        self.outputs = aligned_zeros(n_lanes, to_output.shape[2])
        read = given[:, n_inputs:-1]
        self._projected = aligned_zeros(n_lanes, n_projected)
        key, query, value = (self._projected[:, start : start + units] for start in range(0, n_projected, units))
        self._bias = project[:, -1]
        self._memory = aligned_zeros(n_lanes, units * units).reshape(n_lanes, units, units)
        self._written = np.zeros_like(self._memory)
        self._project = (self.inputs[:, None], project[:, :-1], self._projected[:, None])
        self._read = (query[:, None], self._memory, read[:, None])
        self._answer = (given[:, None], to_output, self.outputs[:, None])
        self._write = (key[:, :, None], value[:, None])

    def step(self) -> None:
        """Compute `outputs` and the next M of every lane."""
        left, right, result = self._project
        np.matmul(left, right, out=result)
        np.add(self._projected, self._bias, out=self._projected)
        np.tanh(self._projected, out=self._projected)
        for left, right, result in (self._read, self._answer):
            np.matmul(left, right, out=result)
        np.multiply(*self._write, out=self._written)
        np.add(self._memory, self._written, out=self._memory)

    def reset(self, lane: int) -> None:
        """Set one lane's M to 0."""
        self._memory[lane] = 0
