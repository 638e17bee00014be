"""A small GRU for each action, all with the same weights, for tasks in which no action is known before it is tried.

In a bandit the arms differ only by what was found out about them. A network with its own weights for each arm has to
discover the same rule once for every arm; here it is discovered once, and a genome that was evolved on few arms plays
any number of them. Where states differ likewise, as in a random MDP, each pair of state and action has a cell.

The observation is read as `[state, previous action, v]`: a one-hot state of `states` entries, none by default; one
entry u for each action, 1 if it was the previous one; and all others, v, such as its reward. When the step from state s
to state t is observed, the cells of s learn from it. Each has its own state h and is given

    x = [u, u v, v, mean of h over the cells of s, mean of h over the cells of t, 1]

by which actions know of each other, and of what the step led to (Zaheer et al. 2017, *Deep sets*, arXiv 1703.06114).
Without states s and t are the same and the second mean is left out. The output is one number for each action, a dense
layer of the h of t's cells. Initial scales and gates are those of `recurrent.GRU`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.errors import PolicyError
from gadask.policies.arguments import vector_size, whole_number
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros
from gadask.policies.recurrent import dense, gru_layers, matrix, next_gru, sigmoid, step_gru


def gru_per_action(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    units: int = 8,
    states: int = 0,
    memory_steps: int = 2,
    initial: str = "fan-in",
) -> GRUPerAction:
    """Build the network with cells of `units` units; `memory_steps` is as in `recurrent`. Raises `PolicyError`."""
    n_entries = vector_size("gru-per-action", observation_space)
    if not isinstance(action_space, gymnasium.spaces.Discrete):
        raise PolicyError(f"policy 'gru-per-action' needs Discrete actions, found {action_space}; use 'gru'")
    n_actions = int(action_space.n)
    check_scheme(initial)
    units, memory_steps = whole_number("units", units, 1), whole_number("memory_steps", memory_steps, 2)
    states = whole_number("states", states, 0)
    if states + n_actions > n_entries:
        raise PolicyError(
            f"policy 'gru-per-action' needs an observation of {states} entries for the state and {n_actions} for the"
            f" previous action, found {n_entries} in all"
        )
    return GRUPerAction(n_entries, n_actions, states, units, memory_steps, initial)


class GRUPerAction(nn.Module):
    """The network; its state is the h of every cell, `(states or 1, n_actions, units)`, and where it was last."""

    def __init__(
        self,
        n_entries: int,
        n_actions: int,
        states: int = 0,
        units: int = 8,
        memory_steps: int = 2,
        initial: str = "fan-in",
    ) -> None:
        """Make a network for observations of `n_entries` numbers."""
        super().__init__()
        self.initial = initial
        self.n_actions, self.states, self.units, self.memory_steps = n_actions, states, units, memory_steps
        n_means = 2 if states else 1
        self.input = matrix(1 + 2 * (n_entries - states - n_actions) + n_means * units, 3 * units)
        self.hidden = matrix(units, 3 * units)
        self.output = matrix(units, 1)

    def initial_state(self) -> tuple[torch.Tensor, int]:
        """Return zeros; −1 says that there was no step before."""
        return torch.zeros(max(1, self.states), self.n_actions, self.units), -1

    def forward(
        self, observation: torch.Tensor, state: tuple[torch.Tensor, int]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, int]]:
        """Return the output, float32 `(1, n_actions)`, and the next state."""
        n_actions, states = self.n_actions, self.states
        cells, before = state
        now = int(observation[0, :states].argmax()) if states else 0
        before = now if before < 0 else before
        own = observation[0, states : states + n_actions, None]
        others = observation[:, states + n_actions :].expand(n_actions, -1)
        means = [cells[place].mean(0).expand(n_actions, -1) for place in ((before, now) if states else (now,))]
        given = torch.cat([own, own * others, others, *means], 1)
        hidden = cells[before]
        from_input, from_hidden = dense(given, self.input), dense(hidden, self.hidden)
        cells[before] = next_gru(hidden, from_input, from_hidden)
        return dense(cells[now], self.output).T, (cells, now)

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        return _Lanes(self.n_actions, self.states, parameters["input"], parameters["hidden"], parameters["output"])

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return gru_layers(self.input, self.hidden, self.output, self.memory_steps)


class _Lanes(LaneNetwork):
    """The network in lanes."""

    def __init__(
        self,
        n_actions: int,
        states: int,
        from_input: NDArray[np.float32],
        from_hidden: NDArray[np.float32],
        to_output: NDArray[np.float32],
    ) -> None:
        """Make state and buffers for the three matrices, each `(n_lanes, inputs + 1, outputs)`."""
        n_lanes, n_rows, n_sums = from_input.shape
        units = n_sums // 3
        n_others = (n_rows - 2 - (2 if states else 1) * units) // 2
        self.inputs = aligned_zeros(n_lanes, states + n_actions + n_others)
        self.outputs = aligned_zeros(n_lanes, n_actions)
        self._places = self.inputs[:, :states]
        self._own = self.inputs[:, states : states + n_actions, None]
        self._others = self.inputs[:, None, states + n_actions :]
        given = _blocks(n_lanes, n_actions, n_rows)
        given[:, :, -1] = 1
        ends = np.cumsum([0, 1, n_others, n_others, units, units if states else 0]).tolist()
        self._parts = [given[:, :, start:end] for start, end in pairwise(ends)]
        # All cells; a bias's 1 ends each. Without states a lane has one block, which is the one at hand.
        self._cells = np.zeros((n_lanes, max(1, states), n_actions, units + 1), np.float32)
        self._cells[..., -1] = 1
        self._at_hand = _blocks(n_lanes, n_actions, units + 1)
        self._at_hand[:, :, -1] = 1
        self._hidden = self._at_hand[:, :, :-1]
        self._rows = np.arange(n_lanes)
        self._before = np.full(n_lanes, -1)
        sums = [_blocks(n_lanes, n_actions, n_sums) for _ in range(2)]
        self._gates = np.zeros((n_lanes, n_actions, 2 * units), np.float32)
        self._reset, self._update = self._gates[:, :, :units], self._gates[:, :, units:]
        self._gate_sums = sums[0][:, :, : 2 * units], sums[1][:, :, : 2 * units]
        self._new = sums[0][:, :, 2 * units :], sums[1][:, :, 2 * units :]
        self._candidate = np.zeros((n_lanes, n_actions, units), np.float32)
        self._total = np.zeros((n_lanes, units), np.float32)
        self._products = ((given, from_input, sums[0]), (self._at_hand, from_hidden, sums[1]))
        self._output_product = (self._at_hand, to_output, self.outputs[:, :, None])
        self._share = np.float32(1 / n_actions)

    def step(self) -> None:
        """Compute `outputs` and the next h of the cells concerned in every lane."""
        own, credited, others, mean_before, mean_now = self._parts
        own[:] = self._own
        np.multiply(self._own, self._others, out=credited)
        others[:] = self._others
        if self._places.shape[1]:
            now = self._places.argmax(axis=1)
            before = np.where(self._before < 0, now, self._before)
            self._at_hand[:] = self._cells[self._rows, now]
            self._average(mean_now)
            self._at_hand[:] = self._cells[self._rows, before]
        self._average(mean_before)
        self._learn()
        if self._places.shape[1]:
            self._cells[self._rows, before] = self._at_hand
            self._at_hand[:] = self._cells[self._rows, now]
            self._before[:] = now
        state, to_output, result = self._output_product
        np.matmul(state, to_output, out=result)

    def reset(self, lane: int) -> None:
        """Set every h of one lane to 0."""
        self._hidden[lane] = 0
        self._cells[lane, :, :, :-1] = 0
        self._before[lane] = -1

    def _average(self, out: NDArray[np.float32]) -> None:
        """Write the mean h of the cells at hand for each of them."""
        np.add.reduce(self._hidden, axis=1, out=self._total)
        np.multiply(self._total[:, None], self._share, out=out)

    def _learn(self) -> None:
        """Compute the next h of the cells at hand."""
        for left, right, result in self._products:
            np.matmul(left, right, out=result)
        np.add(*self._gate_sums, out=self._gates)
        sigmoid(self._gates)
        step_gru(self._hidden, self._reset, self._update, *self._new, self._candidate)


def _blocks(n_lanes: int, n_rows: int, n_columns: int) -> NDArray[np.float32]:
    """Return zeros of shape `(n_lanes, n_rows, n_columns)`, each lane's block contiguous and 64-byte aligned."""
    return aligned_zeros(n_lanes, n_rows * n_columns).reshape(n_lanes, n_rows, n_columns)
