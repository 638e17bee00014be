"""Convolutions, each through ReLU, and a GRU over them, for small images.

Convolutions do not pad. A layer's parameters are one matrix `(patch + 1, filters)`, the bias in the last row; a patch
runs over its rows, columns and channels. The last convolution's activations, in the order rows, columns, filters, are
the input of `recurrent.GRU`.
"""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.errors import PolicyError
from gadask.policies.actions import n_outputs
from gadask.policies.arguments import whole_number, whole_numbers
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.lane_policy import LaneNetwork, aligned_zeros
from gadask.policies.recurrent import GRU, GRULanes, dense_layer, matrix


def conv_gru(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    filters: str = "16,32",
    kernels: str = "3,3",
    strides: str = "2,2",
    units: int = 32,
    memory_steps: int = 2,
    initial: str = "fan-in",
) -> ConvGRU:
    """Build the network; `filters`, `kernels` (side length) and `strides` hold a number for each convolution.

    `memory_steps` is as in `recurrent`.

    Raises `PolicyError`.
    """
    space = observation_space
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 3:
        raise PolicyError(
            f"policy 'conv-gru' needs a Box observation with shape (channels, height, width), found {space};"
            " use 'gru' for vectors"
        )
    check_scheme(initial)
    texts = {"filters": filters, "kernels": kernels, "strides": strides}
    columns = [whole_numbers(key, text, "numbers such as '16,32'") for key, text in texts.items()]
    if not columns[0] or len({len(column) for column in columns}) > 1:
        found = ", ".join(f"{key} = {text!r}" for key, text in texts.items())
        raise PolicyError(f"policy.kwargs: expected one number of each for every convolution, found {found}")
    specifications = list(zip(*columns, strict=True))
    units, memory_steps = whole_number("units", units, 1), whole_number("memory_steps", memory_steps, 2)
    return ConvGRU(tuple(space.shape), specifications, units, n_outputs(action_space), memory_steps, initial)


class ConvGRU(nn.Module):
    """The network; its state is the GRU's."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        specifications: list[tuple[int, int, int]],
        units: int,
        n_outputs: int,
        memory_steps: int = 2,
        initial: str = "fan-in",
    ) -> None:
        """Make convolutions of `(filters, kernel, stride)` for images of `shape` (channels, height, width).

        Raises `PolicyError` if a kernel is larger than its image.
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
        self.gru = GRU(height * width * channels, units, n_outputs, memory_steps, initial)

    def initial_state(self) -> torch.Tensor:
        """Return zeros."""
        return self.gru.initial_state()

    def forward(self, observation: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output, float32 `(1, n_outputs)`, and the next state for `(1, channels, height, width)`."""
        image = observation
        for parameters, (filters, kernel, stride) in zip(self.convolutions, self.specifications, strict=True):
            weight = parameters[:-1].T.reshape(filters, kernel, kernel, -1).permute(0, 3, 1, 2)
            image = nn.functional.conv2d(image, weight, parameters[-1], stride=stride).relu()
        output: tuple[torch.Tensor, torch.Tensor] = self.gru(image.permute(0, 2, 3, 1).reshape(1, -1), state)
        return output

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        """Return the network in lanes."""
        convolutions = [parameters[f"convolutions.{i}"] for i in range(len(self.specifications))]
        gru = GRULanes(*(parameters[f"gru.{name}"] for name in ("input", "hidden", "output")))
        return _ConvGRULanes(self.shape, self.specifications, convolutions, gru)

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return [*(dense_layer(parameters) for parameters in self.convolutions), *self.gru.layers()]


class _ConvGRULanes(LaneNetwork):
    """The network in lanes."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        specifications: list[tuple[int, int, int]],
        convolutions: list[NDArray[np.float32]],
        gru: GRULanes,
    ) -> None:
        """Make buffers for matrices of shape `(n_lanes, patch + 1, filters)` and images of `shape`."""
        n_lanes = len(convolutions[0])
        channels, height, width = shape
        image = aligned_zeros(n_lanes, height * width * channels).reshape(n_lanes, height, width, channels)
        self.inputs = np.moveaxis(image, 3, 1)
        self.outputs = gru.outputs
        self._gru = gru
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
            flat = gru.inputs if is_last else aligned_zeros(n_lanes, rows * columns * filters)
            result = flat.reshape(n_lanes, rows * columns, filters)
            self._convolutions.append((target, segments, patches, parameters, result))
            image = flat.reshape(n_lanes, rows, columns, filters)

    def step(self) -> None:
        """Compute `outputs` and the next state of every lane."""
        for target, segments, patches, parameters, result in self._convolutions:
            np.copyto(target, segments)
            np.matmul(patches, parameters, out=result)
            np.maximum(result, 0, out=result)
        self._gru.step()

    def reset(self, lane: int) -> None:
        """Set one lane's state to 0."""
        self._gru.reset(lane)
