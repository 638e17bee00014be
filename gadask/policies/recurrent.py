"""GRU and LSTM (Cho et al. 2014, arXiv 1406.1078; Hochreiter and Schmidhuber 1997), for vector observations.

    GRU   r, z = σ(W x + b + U h + c)        n = tanh(W x + b + r (U h + c))        h ← (1 − z) n + z h
    LSTM  i, f, o = σ(W x + U h + b)         g = tanh(W x + U h + b)                c ← f c + i g        h ← o tanh(c)

The output is a dense layer of h. Gates stand in the order of PyTorch's cells: r, z, n and i, f, g, o. A layer's
parameters are one matrix `(inputs + 1, outputs)`, the bias in the last row, since every input ends with a 1. Initial
scales are those of PyTorch's cells: W and U each by its own number of inputs.

Biases start at 0, except those of the gates that keep the memory. These make each unit forget at its own pace:
the times lie between 2 and `memory_steps` steps, evenly spaced in the logarithm (Tallec and Ollivier 2018, arXiv
1804.11188). With `memory_steps = 2` all these biases are 0 too; a task that asks for hundreds of steps of memory would
then need many small mutations in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.policies.actions import n_outputs
from gadask.policies.arguments import vector_size, whole_number
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros, padded_zeros


def gru(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    units: int = 32,
    memory_steps: int = 2,
    initial: str = "fan-in",
) -> GRU:
    """Build a GRU of `units` units, which at first remember 2 to `memory_steps` steps; raises `PolicyError`."""
    n_inputs = vector_size("gru", observation_space)
    check_scheme(initial)
    units, memory_steps = whole_number("units", units, 1), whole_number("memory_steps", memory_steps, 2)
    return GRU(n_inputs, units, n_outputs(action_space), memory_steps, initial)


def lstm(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    units: int = 32,
    memory_steps: int = 2,
    initial: str = "fan-in",
) -> LSTM:
    """Build an LSTM of `units` units, which at first remember 2 to `memory_steps` steps; raises `PolicyError`."""
    n_inputs = vector_size("lstm", observation_space)
    check_scheme(initial)
    units, memory_steps = whole_number("units", units, 1), whole_number("memory_steps", memory_steps, 2)
    return LSTM(n_inputs, units, n_outputs(action_space), memory_steps, initial)


class GRU(nn.Module):
    """One GRU cell and a dense layer; the state is h, shape `(1, units)`."""

    def __init__(
        self, n_inputs: int, units: int, n_outputs: int, memory_steps: int = 2, initial: str = "fan-in"
    ) -> None:
        """Make a network of `n_inputs` → `units` → `n_outputs`."""
        super().__init__()
        self.initial = initial
        self.units = units
        self.memory_steps = memory_steps
        self.input = matrix(n_inputs, 3 * units)
        self.hidden = matrix(units, 3 * units)
        self.output = matrix(units, n_outputs)

    def initial_state(self) -> torch.Tensor:
        """Return zeros."""
        return torch.zeros(1, self.units)

    def forward(self, observation: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output, float32 `(1, n_outputs)`, and the next state."""
        from_input, from_hidden = dense(observation, self.input), dense(state, self.hidden)
        state = next_gru(state, from_input, from_hidden)
        return dense(state, self.output), state

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        return GRULanes(parameters["input"], parameters["hidden"], parameters["output"])

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return gru_layers(self.input, self.hidden, self.output, self.memory_steps)


class LSTM(nn.Module):
    """One LSTM cell and a dense layer; the state is h and c, each of shape `(1, units)`."""

    def __init__(
        self, n_inputs: int, units: int, n_outputs: int, memory_steps: int = 2, initial: str = "fan-in"
    ) -> None:
        """Make a network of `n_inputs` → `units` → `n_outputs`."""
        super().__init__()
        self.initial = initial
        self.units = units
        self.memory_steps = memory_steps
        self.cell = matrix(n_inputs + units, 4 * units)
        self.output = matrix(units, n_outputs)

    def initial_state(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return zeros."""
        return torch.zeros(1, self.units), torch.zeros(1, self.units)

    def forward(
        self, observation: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return the output, float32 `(1, n_outputs)`, and the next state."""
        hidden, memory = state
        enter, keep, new, show = dense(torch.cat([observation, hidden], 1), self.cell).chunk(4, 1)
        memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
        hidden = show.sigmoid() * memory.tanh()
        return dense(hidden, self.output), (hidden, memory)

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        return _LSTMLanes(parameters["cell"], parameters["output"])

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units; W and U are two layers in one matrix."""
        n_inputs = self.cell.shape[0] - 1 - self.units
        enter, keep, new, show = self.cell.data[-1].chunk(4)
        keeping = _keeping_biases(self.units, self.memory_steps)
        constants = ((enter, -keeping), (keep, keeping), (new, 0.0), (show, 0.0))
        return [
            Layer(self.cell.data[:n_inputs], n_inputs, 1, ()),
            Layer(self.cell.data[n_inputs:-1], self.units, 1, constants),
            dense_layer(self.output, is_output=True),
        ]


class GRULanes(LaneNetwork):
    """The GRU in lanes."""

    def __init__(
        self, from_input: NDArray[np.float32], from_hidden: NDArray[np.float32], to_output: NDArray[np.float32]
    ) -> None:
        """Make state and buffers for the three matrices, each `(n_lanes, inputs + 1, outputs)`."""
        n_lanes, n_rows, _ = from_input.shape
        units = from_hidden.shape[1] - 1
        given = aligned_zeros(n_lanes, n_rows)
        given[:, -1] = 1
        self.inputs = given[:, :-1]
        hidden = aligned_zeros(n_lanes, units + 1)
        hidden[:, -1] = 1
        self._hidden = hidden[:, :-1]
        self.outputs = aligned_zeros(n_lanes, to_output.shape[2])
        # Whole rows with their padding: numpy takes a contiguous array in one go, parts of rows one by one.
        self._sums = input_sums, hidden_sums = padded_zeros(n_lanes, 3 * units), padded_zeros(n_lanes, 3 * units)
        self._gates = padded_zeros(n_lanes, 3 * units)
        self._candidate = np.zeros((n_lanes, units), np.float32)
        self._new = (input_sums[:, 2 * units : 3 * units], hidden_sums[:, 2 * units : 3 * units])
        self._reset, self._update = self._gates[:, :units], self._gates[:, units : 2 * units]
        self._products = (
            (given[:, None], from_input, input_sums[:, None, : 3 * units]),
            (hidden[:, None], from_hidden, hidden_sums[:, None, : 3 * units]),
        )
        self._output_product = (hidden[:, None], to_output, self.outputs[:, None])

    def step(self) -> None:
        """Compute `outputs` and the next h of every lane."""
        hidden, gates, candidate = self._hidden, self._gates, self._candidate
        for given, parameters, result in self._products:
            np.matmul(given, parameters, out=result)
        np.add(*self._sums, out=gates)  # a third of them is not used
        sigmoid(gates)
        step_gru(hidden, self._reset, self._update, *self._new, candidate)
        given, parameters, result = self._output_product
        np.matmul(given, parameters, out=result)

    def reset(self, lane: int) -> None:
        """Set one lane's h to 0."""
        self._hidden[lane] = 0


class _LSTMLanes(LaneNetwork):
    """The LSTM in lanes."""

    def __init__(self, cell: NDArray[np.float32], to_output: NDArray[np.float32]) -> None:
        """Make state and buffers for the two matrices, each `(n_lanes, inputs + 1, outputs)`."""
        n_lanes, n_rows, n_gates = cell.shape
        units = n_gates // 4
        given = aligned_zeros(n_lanes, n_rows)
        given[:, -1] = 1
        self.inputs, self._hidden = given[:, : -1 - units], given[:, -1 - units : -1]
        self.outputs = aligned_zeros(n_lanes, to_output.shape[2])
        self._gates = padded_zeros(n_lanes, n_gates)
        self._memory, self._shown = (np.zeros((n_lanes, units), np.float32) for _ in range(2))
        self._enter, self._keep, self._new, self._show = (
            self._gates[:, start : start + units] for start in range(0, n_gates, units)
        )
        # σ(a) = ½ + ½ tanh(a / 2): one call of tanh serves gates and candidate.
        self._scale = np.full(self._gates.shape[1], 0.5, np.float32)
        self._scale[2 * units : 3 * units] = 1
        self._shift = 1 - self._scale
        self._cell_product = (given[:, None], cell, self._gates[:, None, :n_gates])
        self._output_product = (given[:, None, -1 - units :], to_output, self.outputs[:, None])

    def step(self) -> None:
        """Compute `outputs` and the next h and c of every lane."""
        gates, memory = self._gates, self._memory
        given, parameters, result = self._cell_product
        np.matmul(given, parameters, out=result)
        np.multiply(gates, self._scale, out=gates)
        np.tanh(gates, out=gates)
        np.multiply(gates, self._scale, out=gates)
        np.add(gates, self._shift, out=gates)
        np.multiply(memory, self._keep, out=memory)
        np.multiply(self._new, self._enter, out=self._new)
        np.add(memory, self._new, out=memory)
        np.tanh(memory, out=self._shown)
        np.multiply(self._show, self._shown, out=self._hidden)
        given, parameters, result = self._output_product
        np.matmul(given, parameters, out=result)

    def reset(self, lane: int) -> None:
        """Set one lane's h and c to 0."""
        self._hidden[lane] = 0
        self._memory[lane] = 0


def matrix(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """Return a layer's parameters, the bias in the last row."""
    return nn.Parameter(torch.zeros(n_inputs + 1, n_outputs), requires_grad=False)


def dense(value: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    """Return a dense layer of `value`, shape `(1, inputs)`."""
    return torch.addmm(parameters[-1], value, parameters[:-1])


def next_gru(state: torch.Tensor, from_input: torch.Tensor, from_hidden: torch.Tensor) -> torch.Tensor:
    """Return a GRU's next h, of as many cells as `state` has rows; the others are W x + b and U h + c."""
    units = state.shape[1]
    reset, update = (from_input + from_hidden)[:, : 2 * units].sigmoid().chunk(2, 1)
    candidate = torch.tanh(from_input[:, 2 * units :] + reset * from_hidden[:, 2 * units :])
    return candidate + update * (state - candidate)


def step_gru(
    hidden: NDArray[np.float32],
    reset: NDArray[np.float32],
    update: NDArray[np.float32],
    from_input: NDArray[np.float32],
    from_hidden: NDArray[np.float32],
    candidate: NDArray[np.float32],
) -> None:
    """Write a GRU's next h over `hidden`: r, z, and n's parts of W x + b and U h + c; `candidate` is scratch for n."""
    np.multiply(reset, from_hidden, out=candidate)
    np.add(candidate, from_input, out=candidate)
    np.tanh(candidate, out=candidate)
    np.subtract(hidden, candidate, out=hidden)
    np.multiply(hidden, update, out=hidden)
    np.add(hidden, candidate, out=hidden)


def gru_layers(given: nn.Parameter, hidden: nn.Parameter, output: nn.Parameter, memory_steps: int) -> list[Layer]:
    """State the layers of a GRU and of the dense layer over it."""
    reset, update, candidate = given.data[-1].chunk(3)
    keeping = _keeping_biases(len(update), memory_steps)
    return [
        replace(dense_layer(given), constants=((reset, 0.0), (update, keeping), (candidate, 0.0))),
        dense_layer(hidden),
        dense_layer(output, is_output=True),
    ]


def _keeping_biases(units: int, memory_steps: int) -> torch.Tensor:
    """Return the biases with which a gate's value is 1 − 1/T, T from 2 to `memory_steps`; shape `(units,)`."""
    steps = 2 * (memory_steps / 2) ** torch.linspace(0, 1, units, dtype=torch.float64)
    return torch.log(steps - 1).float()


def dense_layer(parameters: nn.Parameter, is_output: bool = False) -> Layer:
    """State fan-in and output units of a dense layer."""
    weight = parameters.data[:-1]
    return Layer(weight, weight.shape[0], 1, ((parameters.data[-1], 0.0),), is_output=is_output)


def sigmoid(values: NDArray[np.float32]) -> None:
    """Compute σ(a) = ½ + ½ tanh(a / 2) in place."""
    np.multiply(values, np.float32(0.5), out=values)
    np.tanh(values, out=values)
    np.multiply(values, np.float32(0.5), out=values)
    np.add(values, np.float32(0.5), out=values)
