"""The convolutional networks of Such et al. 2017 (arXiv 1712.06567) and Mnih et al. 2015 (`nature`).

    observation / 255 → conv 32 8×8 stride 4 → conv 64 4×4 stride 2 → conv 64 3×3 stride 1
                      → dense 512 → dense n_outputs

with ReLU after every layer but the last. `such2017` pads as TensorFlow's SAME does, asymmetrically where it does not
divide (84 → 21 → 11 → 11; 4,052,658 parameters at 18 actions); `nature` does not pad (VALID, 84 → 20 → 9 → 7;
1,693,362). `conv_activation = False` leaves out the ReLU of the convolutions, as ga-dist's code does.

A rollout process computes this once a step for one observation, and the layout and the kernels are chosen for that.

- Every layer's parameters are one matrix `(inputs + 1, outputs)`; the last row is the bias, since every input ends
  with a 1.
- A convolution copies its input patches into the rows of a matrix and multiplies. Activations are channels-last, so the
  rows of a patch are contiguous; padding is the border, always zero, of the buffer that the patches are copied from.
- After ReLU about half of the dense layer's inputs are zero; the rows of its matrix that belong to them are skipped.
  That layer is limited by the memory that it reads (16 MB in full).

Measured on one core (AMD Zen 5, AVX-512), weights in the cache: the three convolutions of `such2017` take 170 µs so,
240 µs by oneDNN's in channels-last layout; its dense layer 125 µs, 220 µs without skipping. For matrices this small
numpy's product (OpenBLAS) beats torch's: MKL does not use AVX-512 on AMD, and a call of oneDNN costs 14 µs. With
`OPENBLAS_CORETYPE=Haswell` in the environment OpenBLAS leaves AVX-512 out as well, and the convolutions take 270 µs.
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gadask.errors import PolicyError
from gadask.policies.actions import n_outputs
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.kernels import CompiledNetwork, Convolution, instruction_set

_HIDDEN = 512
_MIN_SIZE = 36  # the least height and width that leaves a pixel after three convolutions without padding


def such2017(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str = "fan-in",
    conv_activation: bool = True,
) -> ConvolutionalNetwork:
    """Build the network of Such et al. 2017, with SAME padding; raises `PolicyError`."""
    shape = _image_shape("such2017", observation_space)
    return ConvolutionalNetwork(shape, n_outputs(action_space), initial, conv_activation, same=True)


def nature(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str = "fan-in",
    conv_activation: bool = True,
) -> ConvolutionalNetwork:
    """Build the network of Mnih et al. 2015, with VALID padding; raises `PolicyError`."""
    shape = _image_shape("nature", observation_space)
    return ConvolutionalNetwork(shape, n_outputs(action_space), initial, conv_activation, same=False)


class ConvolutionalNetwork(nn.Module):
    """Three convolutions and two dense layers; see the module's docstring."""

    takes_uint8 = True

    def __init__(
        self, shape: tuple[int, int, int], n_outputs: int, initial: str, conv_activation: bool, same: bool
    ) -> None:
        """Make a network for images of `shape` (channels, height, width); raises `PolicyError` for a wrong kwarg."""
        check_scheme(initial)
        if not isinstance(conv_activation, bool):
            raise PolicyError(f"policy.kwargs.conv_activation: expected true or false, found {conv_activation!r}")
        super().__init__()
        self.initial = initial
        self._conv1 = _BytesConvolution(shape, 32, stride=4, same=same, relu=conv_activation)
        self._conv2 = _Convolution(self._conv1.result, 64, kernel=4, stride=2, same=same, relu=conv_activation)
        self._conv3 = _Convolution(self._conv2.result, 64, kernel=3, stride=1, same=same, relu=conv_activation)
        self._features = self._conv3.flat
        self.conv1 = _matrix(self._conv1.n_inputs, 32)
        self.conv2 = _matrix(self._conv2.n_inputs, 64)
        self.conv3 = _matrix(self._conv3.n_inputs, 64)
        self.dense = _matrix(self._features.numel() - 1, _HIDDEN)
        self.output = _matrix(_HIDDEN, n_outputs)
        self._shape = shape
        self._same = same
        self._sparse = conv_activation
        self._hidden = torch.ones(1, _HIDDEN + 1)
        self._activations = self._hidden[:, :-1]
        self._bag = torch.zeros(1, dtype=torch.int64)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the output, float32 `(1, n_outputs)`, for a uint8 image `(1, channels, height, width)`."""
        self._conv1(observation.numpy(), self.conv1)
        self._conv2(self.conv2)
        self._conv3(self.conv3)
        features = self._features
        if self._sparse:
            inputs = features.nonzero().view(-1)
            values = features.index_select(0, inputs)
            sums = nn.functional.embedding_bag(inputs, self.dense, self._bag, mode="sum", per_sample_weights=values)
        else:
            sums = features.unsqueeze(0) @ self.dense
        torch.clamp_min(sums, 0, out=self._activations)
        return self._hidden @ self.output

    def compiled(self, precision: str) -> CompiledNetwork | None:
        """Return the same network as `kernels` compute it, None where they cannot run; raises `PolicyError`.

        It reads the parameters where they are now.
        """
        if precision == "int8" and not self._sparse:
            raise PolicyError(
                "policy.precision: expected 'float32' with conv_activation = false, found 'int8', whose activations are"
                " not negative"
            )
        if instruction_set() is None:
            return None
        _, height, width = self._shape
        convolutions = []
        for parameters, kernel, stride in ((self.conv1, 8, 4), (self.conv2, 4, 2), (self.conv3, 3, 1)):
            rows, top, bottom = _padding(height, kernel, stride, self._same)
            columns, left, right = _padding(width, kernel, stride, self._same)
            padding = {"top": top, "left": left, "bottom": bottom, "right": right}
            convolutions.append(Convolution(parameters, kernel, stride, rows, columns, **padding))
            height, width = rows, columns
        return CompiledNetwork(self._shape, convolutions, self.dense, self.output, self._sparse, precision)

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return [
            Layer(matrix.data[:-1], matrix.shape[0] - 1, 1, ((matrix.data[-1], 0.0),), is_output=matrix is self.output)
            for matrix in (self.conv1, self.conv2, self.conv3, self.dense, self.output)
        ]


class _PatchProduct:
    """Gathers the patches of an image into the rows of a matrix and multiplies them by a layer's parameters."""

    n_inputs: int
    """Length of a patch."""
    flat: torch.Tensor
    """The activations and a 1 behind them: float32, shape `(rows × columns × n_outputs + 1,)`."""
    result: NDArray[np.float32]
    """The activations, channels last: a view of `flat`, shape `(rows, columns, n_outputs)`."""

    def __init__(
        self, image: NDArray[np.float32], shape: tuple[int, ...], strides: tuple[int, ...], n_outputs: int, relu: bool
    ) -> None:
        """Prepare to view `image` as `shape` (rows, columns, segments of a patch, segment), with `strides` in bytes."""
        self._segments = np.lib.stride_tricks.as_strided(image, shape, strides, writeable=False)
        rows, columns, n_segments, length = shape
        self.n_inputs = n_segments * length
        self._patches = np.ones((rows * columns, self.n_inputs + 1), np.float32)
        row, item = self._patches.strides
        self._target = np.lib.stride_tricks.as_strided(self._patches, shape, (columns * row, row, length * item, item))
        self.flat = torch.ones(rows * columns * n_outputs + 1)
        self._sums = self.flat[:-1]
        self._out = self._sums.numpy().reshape(rows * columns, n_outputs)
        self.result = self._sums.numpy().reshape(rows, columns, n_outputs)
        self._relu = relu

    def _multiply(self, parameters: torch.Tensor) -> None:
        np.copyto(self._target, self._segments)
        np.dot(self._patches, parameters.numpy(), out=self._out)
        if self._relu:
            self._sums.relu_()


class _Convolution(_PatchProduct):
    """A convolution of one channels-last image; a patch runs over its rows, columns and channels."""

    def __init__(
        self, source: NDArray[np.float32], n_outputs: int, kernel: int, stride: int, same: bool, relu: bool
    ) -> None:
        """Make a layer that reads `source`, shape (height, width, channels), at every call."""
        height, width, channels = source.shape
        rows, top, bottom = _padding(height, kernel, stride, same)
        columns, left, right = _padding(width, kernel, stride, same)
        padded = np.zeros((top + height + bottom, left + width + right, channels), np.float32)
        self._source = source
        self._inside = padded[top : top + height, left : left + width]
        row, column, item = padded.strides
        shape = (rows, columns, kernel, kernel * channels)
        super().__init__(padded, shape, (stride * row, stride * column, row, item), n_outputs, relu)

    def __call__(self, parameters: torch.Tensor) -> None:
        """Compute `result`."""
        np.copyto(self._inside, self._source)
        self._multiply(parameters)


class _BytesConvolution(_PatchProduct):
    """The first convolution: bytes, channels first, kernel twice the stride.

    The image is cut into blocks of stride × stride pixels; a block's bytes lie together, and a patch is 2 × 2 blocks.
    It runs over block row, block column, channel, row in the block and column in the block.
    """

    def __init__(self, shape: tuple[int, int, int], n_outputs: int, stride: int, same: bool, relu: bool) -> None:
        """Make a layer for images of `shape` (channels, height, width)."""
        channels, height, width = shape
        rows, top, _ = _padding(height, 2 * stride, stride, same)
        columns, left, _ = _padding(width, 2 * stride, stride, same)
        # Without padding, no patch reaches the last pixels of some sizes.
        self._height = min(height, (rows + 1) * stride)
        self._width = min(width, (columns + 1) * stride)
        padded = np.zeros((1, channels, (rows + 1) * stride, (columns + 1) * stride), np.uint8)
        self._inside = padded[:, :, top : top + self._height, left : left + self._width]
        # A block's row of 4 bytes is moved as one 32-bit word.
        words = padded.view(np.uint32).reshape(channels, rows + 1, stride, columns + 1)
        self._words = words.transpose(1, 3, 0, 2)
        self._blocks = np.zeros(self._words.shape, np.uint32)
        self._bytes = torch.from_numpy(self._blocks.view(np.uint8).reshape(-1))
        self._scaled = torch.zeros(self._bytes.shape)
        block = channels * stride * stride
        item = self._scaled.itemsize
        column = block * item
        row = (columns + 1) * column
        segments = (rows, columns, 2, 2 * block)
        super().__init__(self._scaled.numpy(), segments, (row, column, row, item), n_outputs, relu)

    def __call__(self, image: NDArray[np.uint8], parameters: torch.Tensor) -> None:
        """Compute `result` from bytes `(1, channels, height, width)`."""
        np.copyto(self._inside, image[:, :, : self._height, : self._width])
        np.copyto(self._blocks, self._words)
        self._scaled.copy_(self._bytes)
        self._scaled.mul_(1 / 255)
        self._multiply(parameters)


def _image_shape(kind: str, space: gymnasium.Space) -> tuple[int, int, int]:
    """Return (channels, height, width) of an image space; raise `PolicyError` if it is none."""
    if isinstance(space, gymnasium.spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        channels, height, width = space.shape
        if min(height, width) >= _MIN_SIZE:
            return channels, height, width
    raise PolicyError(
        f"policy {kind!r} needs a Box observation of uint8 with shape (channels, height, width), such as (4, 84, 84),"
        f" at least {_MIN_SIZE} high and wide; found {space}; use 'mlp' for vectors"
    )


def _matrix(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """Return a layer's parameters, the bias in the last row."""
    return nn.Parameter(torch.zeros(n_inputs + 1, n_outputs), requires_grad=False)


def _padding(size: int, kernel: int, stride: int, same: bool) -> tuple[int, int, int]:
    """Return the output's size and the padding before and after, as TensorFlow's SAME or VALID have it."""
    if not same:
        return (size - kernel) // stride + 1, 0, 0
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + kernel - size, 0)
    return outputs, padding // 2, padding - padding // 2
