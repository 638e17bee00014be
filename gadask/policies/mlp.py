"""Dense layers with tanh between them, for vector observations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import gymnasium
import numpy as np
from numpy.typing import NDArray
from torch import nn

from gadask.policies.actions import n_outputs
from gadask.policies.arguments import vector_size, whole_numbers
from gadask.policies.initial import check_scheme
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros


class MLP(nn.Sequential):
    """Input → hidden widths, each through tanh → output."""

    def __init__(self, widths: list[int], initial: str) -> None:
        """Make the layers; `widths` runs from the input's to the output's."""
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.Tanh()]
        super().__init__(*layers[:-1])
        self.initial = initial

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        return _MLPLanes(list(parameters.values()))


def mlp(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    hidden: str = "64,64",
    initial: str = "fan-in",
) -> MLP:
    """Build a multilayer perceptron; `hidden` holds the widths joined by commas, empty for a linear policy."""
    n_inputs = vector_size("mlp", observation_space)
    check_scheme(initial)
    widths = whole_numbers("hidden", hidden, "widths such as '64,64'")
    return MLP([n_inputs, *widths, n_outputs(action_space)], initial)


class _MLPLanes(LaneNetwork):
    """The layers in lanes."""

    def __init__(self, parameters: list[NDArray[np.float32]]) -> None:
        """Make buffers for `parameters`, a weight and a bias for each layer."""
        n_lanes, _, n_inputs = parameters[0].shape
        self.inputs = self.outputs = aligned_zeros(n_lanes, n_inputs)
        self._layers = []
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            given, self.outputs = self.outputs, aligned_zeros(n_lanes, weight.shape[1])
            self._layers.append((weight, given[:, :, None], bias, self.outputs[:, :, None], self.outputs))

    def step(self) -> None:
        """Compute the outputs."""
        for i, (weight, given, bias, product, result) in enumerate(self._layers):
            if i:
                np.tanh(given, out=given)
            np.matmul(weight, given, out=product)
            np.add(result, bias, out=result)
