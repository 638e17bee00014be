"""The convolutional networks of Such et al. 2017 (arXiv 1712.06567) and Mnih et al. 2015 (`nature`).

    pixels → conv 32 8×8 stride 4 → conv 64 4×4 stride 2 → conv 64 3×3 stride 1
           → dense 512 → dense n_outputs

with ReLU after every layer but the last. Pixels are float32 from 0 to 1, or bytes, which are divided by 255. `such2017`
pads as TensorFlow's SAME does, asymmetrically where it does not divide (84 → 21 → 11 → 11; 4,052,658 parameters at 18
actions); `nature` does not pad (VALID, 84 → 20 → 9 → 7; 1,693,362). `conv_activation = False` leaves out the ReLU of
the convolutions, as ga-dist's code does.

Every layer's parameters are one matrix `(inputs + 1, outputs)`, the last row the bias. A patch of the second and third
convolution runs over row, column and channel; one of the first over the row and column of its blocks of 4 × 4 pixels,
then channel, row and column within the block. Activations are channels-last.

The module is the definition, and what plays where the compiled kernels are missing; `kernels` computes the same in a
fraction of the time.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gadask.errors import PolicyError
from gadask.policies.actions import n_outputs
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.kernels import CompiledNetwork, Convolution, instruction_set
from gadask.policies.pixels import image_of, windows_of

_HIDDEN = 512
_KERNELS = (8, 4), (4, 2), (3, 1)
"""Kernel and stride of the three convolutions."""
_MAX_INT8_INPUTS = (2**31 - 1) // (255 * 127)
"""Of an output whose sum of products of bytes surely fits 32 bits."""


def such2017(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str = "fan-in",
    conv_activation: bool = True,
) -> ConvolutionalNetwork:
    """Build the network of Such et al. 2017, with SAME padding; raises `PolicyError`."""
    shape, dtype = image_of("such2017", observation_space)
    return ConvolutionalNetwork(shape, dtype, n_outputs(action_space), initial, conv_activation, same=True)


def nature(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str = "fan-in",
    conv_activation: bool = True,
) -> ConvolutionalNetwork:
    """Build the network of Mnih et al. 2015, with VALID padding; raises `PolicyError`."""
    shape, dtype = image_of("nature", observation_space)
    return ConvolutionalNetwork(shape, dtype, n_outputs(action_space), initial, conv_activation, same=False)


class ConvolutionalNetwork(nn.Module):
    """Three convolutions and two dense layers; see the module's docstring."""

    takes_uint8 = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        n_outputs: int,
        initial: str,
        conv_activation: bool,
        same: bool,
    ) -> None:
        """Make a network for images of `shape` (channels, height, width); raises `PolicyError` for a wrong kwarg."""
        check_scheme(initial)
        if not isinstance(conv_activation, bool):
            raise PolicyError(f"policy.kwargs.conv_activation: expected true or false, found {conv_activation!r}")
        super().__init__()
        self.initial = initial
        channels, height, width = self._shape = shape
        self._dtype = dtype
        self._relu = conv_activation
        self._windows = windows_of(_KERNELS, height, width, same)
        last = self._windows[-1]
        self.conv1 = _matrix(8 * 8 * channels, 32)
        self.conv2 = _matrix(4 * 4 * 32, 64)
        self.conv3 = _matrix(3 * 3 * 64, 64)
        self.dense = _matrix(last.rows * last.columns * 64, _HIDDEN)
        self.output = _matrix(_HIDDEN, n_outputs)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the output, float32 `(1, n_outputs)`, for an image `(1, channels, height, width)`."""
        x = observation.float()
        if observation.dtype == torch.uint8:
            x = x / 255
        n_channels = observation.shape[1]
        kernels = (
            self.conv1[:-1].view(2, 2, n_channels, 4, 4, 32).permute(5, 2, 0, 3, 1, 4).reshape(32, n_channels, 8, 8),
            self.conv2[:-1].view(4, 4, 32, 64).permute(3, 2, 0, 1),
            self.conv3[:-1].view(3, 3, 64, 64).permute(3, 2, 0, 1),
        )
        biases = self.conv1[-1], self.conv2[-1], self.conv3[-1]
        for window, kernel, bias in zip(self._windows, kernels, biases, strict=True):
            x = functional.pad(x, (window.left, window.right, window.top, window.bottom))
            x = functional.conv2d(x, kernel, bias, window.stride)
            if self._relu:
                x = x.relu()
        features = x.permute(0, 2, 3, 1).reshape(1, -1)
        hidden = torch.addmm(self.dense[-1], features, self.dense[:-1]).relu()
        return torch.addmm(self.output[-1], hidden, self.output[:-1])

    def compiled(self, precision: str) -> CompiledNetwork | None:
        """Return the same network as `kernels` compute it, None where they cannot run; raises `PolicyError`.

        It reads the parameters where they are now.
        """
        if precision == "int8" and not self._relu:
            raise PolicyError(
                "policy.precision: expected 'float32' with conv_activation = false, found 'int8', whose activations are"
                " not negative"
            )
        n_inputs = max(self.conv1.shape[0], self.dense.shape[0]) - 1
        if precision == "int8" and n_inputs > _MAX_INT8_INPUTS:
            raise PolicyError(
                f"policy.precision: expected 'float32' for images of {self._shape} (channels, height, width), whose"
                f" largest layer has {n_inputs} inputs; found 'int8', which sums at most {_MAX_INT8_INPUTS}"
            )
        if instruction_set() is None:
            return None
        convolutions = (self.conv1, self.conv2, self.conv3)
        layers = [Convolution(*pair) for pair in zip(convolutions, self._windows, strict=True)]
        return CompiledNetwork(self._shape, layers, self.dense, self.output, self._relu, precision, self._dtype)

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return [
            Layer(matrix.data[:-1], matrix.shape[0] - 1, 1, ((matrix.data[-1], 0.0),), is_output=matrix is self.output)
            for matrix in (self.conv1, self.conv2, self.conv3, self.dense, self.output)
        ]


def _matrix(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """Return a layer's parameters, the bias in the last row."""
    return nn.Parameter(torch.zeros(n_inputs + 1, n_outputs), requires_grad=False)
