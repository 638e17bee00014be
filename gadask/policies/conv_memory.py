"""Convolutions, each through ReLU, and a memory over them, for small images.

Convolutions do not pad. A layer's parameters are one matrix `(patch + 1, filters)`, the bias in the last row; a patch
runs over its rows, columns and channels. The last convolution's activations, in the order rows, columns, filters, are
the input of the memory: `recurrent.GRU` or `fast_weights.FastWeights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.errors import PolicyError
from gadask.policies.actions import n_outputs
from gadask.policies.arguments import picture_shape, whole_number, whole_numbers
from gadask.policies.fast_weights import FastWeights
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros
from gadask.policies.recurrent import GRU, dense_layer, matrix


def conv_gru(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    filters: str = "16,32",
    kernels: str = "3,3",
    strides: str = "2,2",
    units: int = 32,
    memory_steps: int = 2,
    initial: str = "fan-in",
) -> ConvMemory:
    """Build a GRU over convolutions; `filters`, `kernels` (side length) and `strides` hold a number for each of them.

    `memory_steps` is as in `recurrent`.

    Raises `PolicyError`.
    """
    units, memory_steps = whole_number("units", units, 1), whole_number("memory_steps", memory_steps, 2)

    def memory(n_inputs: int) -> GRU:
        return GRU(n_inputs, units, n_outputs(action_space), memory_steps, initial)

    return _over_convolutions("conv-gru", observation_space, filters, kernels, strides, initial, memory)


def conv_fast_weights(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    filters: str = "16,32",
    kernels: str = "3,3",
    strides: str = "2,2",
    units: int = 4,
    initial: str = "fan-in",
) -> ConvMemory:
    """Build fast weights over convolutions: keys, queries and values of `units` numbers; the rest as in `conv_gru`.

    Raises `PolicyError`.
    """
    units = whole_number("units", units, 1)

    def memory(n_inputs: int) -> FastWeights:
        return FastWeights(n_inputs, units, n_outputs(action_space), initial)

    return _over_convolutions("conv-fast-weights", observation_space, filters, kernels, strides, initial, memory)


def _over_convolutions(
    kind: str,
    space: gymnasium.Space,
    filters: str,
    kernels: str,
    strides: str,
    initial: str,
    memory: Callable[[int], GRU | FastWeights],
) -> ConvMemory:
    shape = picture_shape(kind, space)
    check_scheme(initial)
    texts = {"filters": filters, "kernels": kernels, "strides": strides}
    columns = [whole_numbers(key, text, "numbers such as '16,32'") for key, text in texts.items()]
    if not columns[0] or len({len(column) for column in columns}) > 1:
        found = ", ".join(f"{key} = {text!r}" for key, text in texts.items())
        raise PolicyError(f"policy.kwargs: expected one number of each for every convolution, found {found}")
    return ConvMemory(shape, list(zip(*columns, strict=True)), memory, initial)


class ConvMemory(nn.Module):
    """The network; its state is the memory's."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        specifications: list[tuple[int, int, int]],
        memory: Callable[[int], GRU | FastWeights],
        initial: str = "fan-in",
    ) -> None:
        """Make convolutions of `(filters, kernel, stride)` for images of `shape` (channels, height, width).

        `memory` makes the rest for a number of inputs. Raises `PolicyError` if a kernel is larger than its image.
        """
        super().__init__()
        self.initial = initial
        self.shape = shape
        self.specifications = specifications
        channels, height, width = shape
        convolutions = []
        for filters, kernel, stride in specifications:
            if kernel > min(height, width):
                raise PolicyError(
                    f"policy.kwargs.kernels: expected at most {min(height, width)} for an image of {height} × {width},"
                    f" found {kernel}; use fewer convolutions, smaller kernels or strides"
                )
            convolutions.append(matrix(kernel * kernel * channels, filters))
            height, width = ((size - kernel) // stride + 1 for size in (height, width))
            channels = filters
        self.convolutions = nn.ParameterList(convolutions)
        self.memory = memory(height * width * channels)

    def initial_state(self) -> torch.Tensor:
        """Return the memory's."""
        return self.memory.initial_state()

    def forward(self, observation: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output, float32 `(1, n_outputs)`, and the next state for `(1, channels, height, width)`."""
        image = observation
        for parameters, (filters, kernel, stride) in zip(self.convolutions, self.specifications, strict=True):
            weight = parameters[:-1].T.reshape(filters, kernel, kernel, -1).permute(0, 3, 1, 2)
            image = nn.functional.conv2d(image, weight, parameters[-1], stride=stride).relu()
        output: tuple[torch.Tensor, torch.Tensor] = self.memory(image.permute(0, 2, 3, 1).reshape(1, -1), state)
        return output

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        convolutions = [parameters[f"convolutions.{i}"] for i in range(len(self.specifications))]
        prefix = "memory."
        of_memory = {name[len(prefix) :]: value for name, value in parameters.items() if name.startswith(prefix)}
        return _Lanes(self.shape, self.specifications, convolutions, self.memory.in_lanes(of_memory))

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return [*(dense_layer(parameters) for parameters in self.convolutions), *self.memory.layers()]


class _Lanes(LaneNetwork):
    """The network in lanes."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        specifications: list[tuple[int, int, int]],
        convolutions: list[NDArray[np.float32]],
        memory: LaneNetwork,
    ) -> None:
        """Make buffers for matrices of shape `(n_lanes, patch + 1, filters)` and images of `shape`."""
        n_lanes = len(convolutions[0])
        channels, height, width = shape
        image = aligned_zeros(n_lanes, height * width * channels).reshape(n_lanes, height, width, channels)
        self.inputs = np.moveaxis(image, 3, 1)
        self.outputs = memory.outputs
        self._memory = memory
        self._convolutions: list[tuple[NDArray[np.float32], ...]] = []
        for parameters, (filters, kernel, stride) in zip(convolutions, specifications, strict=True):
            rows, columns = ((size - kernel) // stride + 1 for size in image.shape[1:3])
            lane, row, column, item = image.strides
            length = kernel * image.shape[3]  # of a patch's row
            segments = np.lib.stride_tricks.as_strided(
                image,
                (n_lanes, rows, columns, kernel, length),
                (lane, stride * row, stride * column, row, item),
                writeable=False,
            )
            patches = aligned_zeros(n_lanes, rows * columns * (kernel * length + 1))
            patches = patches.reshape(n_lanes, rows * columns, kernel * length + 1)
            patches[:, :, -1] = 1
            target = patches[:, :, :-1].reshape(n_lanes, rows, columns, kernel, length)
            is_last = len(self._convolutions) == len(convolutions) - 1
            flat = memory.inputs if is_last else aligned_zeros(n_lanes, rows * columns * filters)
            result = flat.reshape(n_lanes, rows * columns, filters)
            self._convolutions.append((target, segments, patches, parameters, result))
            image = flat.reshape(n_lanes, rows, columns, filters)

    def step(self) -> None:
        """Compute `outputs` and the next state of every lane."""
        for target, segments, patches, parameters, result in self._convolutions:
            np.copyto(target, segments)
            np.matmul(patches, parameters, out=result)
            np.maximum(result, 0, out=result)
        self._memory.step()

    def reset(self, lane: int) -> None:
        """Set one lane's memory to 0."""
        self._memory.reset(lane)
