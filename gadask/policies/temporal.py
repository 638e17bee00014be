"""Streaming temporal convolutions (Mishra et al. 2018, *SNAIL*, arXiv 1707.03141, without attention), for vectors.

A block for episodes of n steps is ⌈log₂ n⌉ causal convolutions over time with kernel 2 and dilations 1, 2, 4, ...; each
one's output goes through ReLU and is joined to its input. Blocks follow one another; the output is a dense layer of the
last step's vector. ga-dist's `TimeConvDiscreteOutPolicy` is such a network.

Step t needs, of the past, only the inputs of the layer with dilation d at step t − d. Those are the first entries of
that step's vector of all activations, so one ring of the last vectors serves all layers, one more than the largest
dilation. Before the episode there are zeros, as in a convolution that pads its input. A step costs the same however
long the episode is.

A layer's parameters are one matrix: a row of biases, a row for each of its inputs now, and one for each of them d steps
ago. A vector of activations begins with a 1 for the biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.policies.actions import n_outputs
from gadask.policies.arguments import vector_size, whole_number
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros


def snail(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    length: int = 100,
    blocks: int = 1,
    channels: int = 32,
    initial: str = "fan-in",
) -> TemporalConvolution:
    """Build blocks for episodes of `length` steps; raises `PolicyError`."""
    n_inputs = vector_size("snail", observation_space)
    check_scheme(initial)
    depth = (whole_number("length", length, 2) - 1).bit_length()
    dilations = [2**i for i in range(depth)] * whole_number("blocks", blocks, 1)
    channels = whole_number("channels", channels, 1)
    return TemporalConvolution(n_inputs, dilations, channels, n_outputs(action_space), initial)


@dataclass
class Past:
    """The state: the last vectors of activations, and how many were computed."""

    ring: torch.Tensor
    """Shape `(largest dilation + 1, width)`; step t's vector is row t modulo their number."""
    step: int = 0


class TemporalConvolution(nn.Module):
    """Dilated causal convolutions computed step by step; see the module's docstring."""

    def __init__(
        self, n_inputs: int, dilations: list[int], channels: int, n_outputs: int, initial: str = "fan-in"
    ) -> None:
        """Make one layer of `channels` outputs for each dilation."""
        super().__init__()
        self.initial = initial
        self.dilations = dilations
        self.channels = channels
        widths = [n_inputs + channels * i for i in range(len(dilations) + 1)]
        self.convolutions = nn.ParameterList([_matrix(2 * width, channels) for width in widths[:-1]])
        self.output = _matrix(widths[-1], n_outputs)

    def initial_state(self) -> Past:
        """Return zeros."""
        return Past(torch.zeros(max(self.dilations) + 1, self.output.shape[0]))

    def forward(self, observation: torch.Tensor, state: Past) -> tuple[torch.Tensor, Past]:
        """Return the output, float32 `(1, n_outputs)`, and the state, in which the new vector replaced the oldest."""
        ring, step = state.ring, state.step
        now = ring[step % len(ring)]
        width = 1 + observation.shape[1]
        now[0], now[1:width] = 1, observation[0]
        for parameters, dilation in zip(self.convolutions, self.dilations, strict=True):
            before = ring[(step - dilation) % len(ring), 1:width]
            sums = now[:width] @ parameters[:width] + before @ parameters[width:]
            torch.clamp_min(sums, 0, out=now[width : width + self.channels])
            width += self.channels
        return (now @ self.output)[None], Past(ring, step + 1)

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        convolutions = [parameters[f"convolutions.{i}"] for i in range(len(self.dilations))]
        return _TemporalLanes(convolutions, parameters["output"], self.dilations)

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        matrices = [*self.convolutions, self.output]
        return [Layer(m.data[1:], m.shape[0] - 1, 1, ((m.data[0], 0.0),), is_output=m is self.output) for m in matrices]


class _TemporalLanes(LaneNetwork):
    """The convolutions in lanes; all lanes share the place in the ring, wherever their episodes are."""

    def __init__(
        self, convolutions: list[NDArray[np.float32]], output: NDArray[np.float32], dilations: list[int]
    ) -> None:
        """Make ring and buffers for matrices of shape `(n_lanes, rows, columns)`."""
        n_lanes, width, n_outputs = output.shape
        channels = convolutions[0].shape[2]
        n_inputs = (convolutions[0].shape[1] - 1) // 2
        n_steps = max(dilations) + 1
        self._ring = aligned_zeros(n_steps * n_lanes, width).reshape(n_steps, n_lanes, width)
        self._ring[:, :, 0] = 1
        self._step = 0
        self.inputs = aligned_zeros(n_lanes, n_inputs)
        self.outputs = aligned_zeros(n_lanes, n_outputs)
        self._output_product = (output, self.outputs[:, None])
        sums = aligned_zeros(2 * n_lanes, channels).reshape(2, n_lanes, channels)
        self._sums = sums[0], sums[1]
        self._results = sums[0, :, None], sums[1, :, None]
        self._layers = []
        for parameters, dilation in zip(convolutions, dilations, strict=True):
            end = 1 + (parameters.shape[1] - 1) // 2
            self._layers.append((dilation, end, end + channels, parameters[:, :end], parameters[:, end:]))

    def step(self) -> None:
        """Compute `outputs` and replace the oldest vectors of the ring."""
        ring, step, n_steps = self._ring, self._step, len(self._ring)
        (sums_now, sums_before), (result_now, result_before) = self._sums, self._results
        now = ring[step % n_steps]
        now[:, 1 : 1 + self.inputs.shape[1]] = self.inputs
        for dilation, end, next_end, weights_now, weights_before in self._layers:
            np.matmul(now[:, None, :end], weights_now, out=result_now)
            np.matmul(ring[(step - dilation) % n_steps, :, None, 1:end], weights_before, out=result_before)
            np.add(sums_now, sums_before, out=sums_now)
            np.maximum(sums_now, 0, out=now[:, end:next_end])
        weights, outputs = self._output_product
        np.matmul(now[:, None], weights, out=outputs)
        self._step = step + 1

    def reset(self, lane: int) -> None:
        """Forget one lane's past."""
        self._ring[:, lane, 1:] = 0


def _matrix(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """Return a layer's parameters, the biases in the first row."""
    return nn.Parameter(torch.zeros(1 + n_inputs, n_outputs), requires_grad=False)
