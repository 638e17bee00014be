"""The convolutional networks of Such et al. 2017 (arXiv 1712.06567) and Mnih et al. 2015 (`nature`).

    observation / 255 → conv 32 8×8 stride 4 → conv 64 4×4 stride 2 → conv 64 3×3 stride 1
                      → dense 512 → dense n_outputs

with ReLU after every layer but the last. `such2017` pads as TensorFlow's SAME does, asymmetrically where it does not
divide (84 → 21 → 11 → 11, 4,052,658 parameters at 18 actions); `nature` does not pad (VALID, 84 → 20 → 9 → 7,
1,693,362). `conv_activation = False` leaves out the ReLU of the convolutions, as ga-dist's code does.

A rollout process computes this once a step for a batch of one, so the layout of the weights and the kernels are
chosen for that; figures are of one 2.6 GHz AVX-512 core.

- Every convolution is a copy of its input patches into the rows of a matrix and one product by the weights, stored
  `(output channels, patch)`, with bias and ReLU in the same kernel. oneDNN's matrix product takes 153 µs for the
  three of `such2017`, its convolutions 203 µs in channels-last layout, MKL's matrix product 263 µs.
- Activations are channels-last, so a patch's row lies together in memory. Padding is the border, always zero, of
  the buffer that activations are copied into.
- The first dense layer is stored input-major, `(inputs, 512)`: after ReLU about half of its inputs are zero and the rows
  of those are skipped. It reads 16 MB otherwise, and memory is what limits it (110 instead of 220 µs).
"""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gadask.errors import PolicyError
from gadask.policies.initial import Layer, check_scheme
from gadask.policies.policy import n_outputs

_HIDDEN = 512
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def such2017(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str = "fan-in",
    conv_activation: bool = True,
) -> ConvolutionalNetwork:
    """Build the network of Such et al. 2017, with SAME padding."""
    return _build("such2017", observation_space, action_space, initial, conv_activation, same=True)


def nature(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str = "fan-in",
    conv_activation: bool = True,
) -> ConvolutionalNetwork:
    """Build the network of Mnih et al. 2015, with VALID padding."""
    return _build("nature", observation_space, action_space, initial, conv_activation, same=False)


class ConvolutionalNetwork(nn.Module):
    """Three convolutions and two dense layers; see the module's docstring."""

    takes_uint8 = True

    def __init__(
        self, shape: tuple[int, int, int], n_outputs: int, initial: str, conv_activation: bool, same: bool
    ) -> None:
        """Make a network for images of `shape` (channels, height, width)."""
        super().__init__()
        self.initial = initial
        self.conv1 = BytesConvolution(shape, 32, stride=4, same=same, relu=conv_activation)
        self.conv2 = Convolution(self.conv1.shape, 64, kernel=4, stride=2, same=same, relu=conv_activation)
        self.conv3 = Convolution(self.conv2.shape, 64, kernel=3, stride=1, same=same, relu=conv_activation)
        n_inputs = int(np.prod(self.conv3.shape))
        self.dense_weight = nn.Parameter(torch.zeros(n_inputs, _HIDDEN))
        self.dense_bias = nn.Parameter(torch.zeros(_HIDDEN))
        self.output_weight = nn.Parameter(torch.zeros(n_outputs, _HIDDEN))
        self.output_bias = nn.Parameter(torch.zeros(n_outputs))
        self._sparse = conv_activation
        self._offsets = torch.zeros(1, dtype=torch.int64)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the output, float32 `(1, n_outputs)`, for a uint8 image `(1, channels, height, width)`."""
        features = self.conv3(self.conv2(self.conv1(observation))).view(-1)
        if self._sparse:
            inputs = features.nonzero().view(-1)
            values = features.index_select(0, inputs)
            hidden = F.embedding_bag(
                inputs, self.dense_weight, self._offsets, mode="sum", per_sample_weights=values
            )
        else:
            hidden = torch.mv(self.dense_weight.t(), features).unsqueeze(0)
        hidden.add_(self.dense_bias).relu_()
        return F.linear(hidden, self.output_weight, self.output_bias)

    def layers(self) -> list[Layer]:
        """State each layer's fan-in and output units."""
        return [
            *(
                Layer(conv.weight.data, conv.weight.shape[1], 0, ((conv.bias.data, 0.0),))
                for conv in (self.conv1, self.conv2, self.conv3)
            ),
            Layer(self.dense_weight.data, self.dense_weight.shape[0], 1, ((self.dense_bias.data, 0.0),)),
            Layer(self.output_weight.data, _HIDDEN, 0, ((self.output_bias.data, 0.0),), is_output=True),
        ]


class Convolution(nn.Module):
    """A convolution of one channels-last image; `weight` is `(output channels, kernel × kernel × channels)`.

    A weight's row runs over the patch's rows, then its columns, then the input channels.
    """

    def __init__(
        self, shape: tuple[int, int, int], n_outputs: int, kernel: int, stride: int, same: bool, relu: bool
    ) -> None:
        """Make a layer for inputs of `shape` (height, width, channels); `self.shape` is the output's."""
        super().__init__()
        height, width, channels = shape
        rows, top, bottom = _padding(height, kernel, stride, same)
        columns, left, right = _padding(width, kernel, stride, same)
        self.shape = (rows, columns, n_outputs)
        self.weight = nn.Parameter(torch.zeros(n_outputs, kernel * kernel * channels))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self._relu = relu
        padded = torch.zeros(top + height + bottom, left + width + right, channels)
        self._inside = padded[top : top + height, left : left + width].view(height, width, channels)
        row, column, _ = padded.stride()
        self._source = padded.as_strided(
            (rows, columns, kernel, kernel * channels), (stride * row, stride * column, row, 1)
        )
        self._patches = torch.zeros(rows * columns, kernel * kernel * channels)
        self._target = self._patches.view(self._source.shape)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the activations, float32 `(rows × columns, channels)`, of an image in the same form."""
        self._inside.copy_(image.view(self._inside.shape))
        self._target.copy_(self._source)
        return _dense(self._patches, self.weight, self.bias, self._relu)


class BytesConvolution(nn.Module):
    """The first convolution: bytes, channels first, kernel twice the stride.

    The image is cut into blocks of stride × stride pixels; a patch is 2 × 2 blocks and a block's bytes lie together.
    A weight's row runs over (block row, block column, channel, row in the block, column in the block).
    """

    def __init__(self, shape: tuple[int, int, int], n_outputs: int, stride: int, same: bool, relu: bool) -> None:
        """Make a layer for inputs of `shape` (channels, height, width); `self.shape` is the output's, channels last."""
        super().__init__()
        channels, height, width = shape
        rows, top, _ = _padding(height, 2 * stride, stride, same)
        columns, left, _ = _padding(width, 2 * stride, stride, same)
        self.shape = (rows, columns, n_outputs)
        block = channels * stride * stride
        self.weight = nn.Parameter(torch.zeros(n_outputs, 4 * block))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self._relu = relu
        # VALID leaves out the pixels at the far edge that no patch reaches.
        self._height = min(height, (rows + 1) * stride)
        self._width = min(width, (columns + 1) * stride)
        padded = np.zeros((channels, rows + 1, stride, columns + 1, stride), np.uint8)
        flat = padded.reshape(1, channels, (rows + 1) * stride, (columns + 1) * stride)
        self._inside = flat[:, :, top : top + self._height, left : left + self._width]
        # A block's row of 4 bytes is moved as one 32-bit word.
        self._source = padded.view(np.uint32)[..., 0].transpose(1, 3, 0, 2)
        self._blocks = np.zeros(self._source.shape, np.uint32)
        self._bytes = torch.from_numpy(self._blocks.view(np.uint8).reshape(-1))
        self._scaled = torch.zeros((rows + 1) * (columns + 1) * block)
        row = (columns + 1) * block
        self._patch_source = self._scaled.as_strided((rows, columns, 2, 2 * block), (row, block, row, 1))
        self._patches = torch.zeros(rows * columns, 4 * block)
        self._patch_target = self._patches.view(self._patch_source.shape)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the activations, float32 `(rows × columns, channels)`, of bytes `(1, channels, height, width)`."""
        np.copyto(self._inside, image.numpy()[:, :, : self._height, : self._width])
        np.copyto(self._blocks, self._source)
        self._scaled.copy_(self._bytes)
        self._scaled.div_(255)
        self._patch_target.copy_(self._patch_source)
        return _dense(self._patches, self.weight, self.bias, self._relu)


def _build(
    kind: str,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    initial: str,
    conv_activation: bool,
    same: bool,
) -> ConvolutionalNetwork:
    """Check the spaces and build the network."""
    shape = observation_space.shape
    image = (
        isinstance(observation_space, gymnasium.spaces.Box)
        and observation_space.dtype == np.uint8
        and shape is not None
        and len(shape) == 3
        and min(shape[1:]) >= 36
    )
    if not image:
        raise PolicyError(
            f"policy {kind!r} needs a Box observation of uint8 with shape (channels, height, width), such as (4, 84, 84),"
            f" at least 36 high and wide; found {observation_space}; use 'mlp' for vectors"
        )
    check_scheme(initial)
    if not isinstance(conv_activation, bool):
        raise PolicyError(f"policy.kwargs.conv_activation: expected true or false, found {conv_activation!r}")
    return ConvolutionalNetwork(shape, n_outputs(action_space), initial, conv_activation, same)


def _padding(size: int, kernel: int, stride: int, same: bool) -> tuple[int, int, int]:
    """Return the output's size and the padding before and after, as TensorFlow's SAME or VALID have it."""
    if not same:
        return (size - kernel) // stride + 1, 0, 0
    outputs = -(-size // stride)
    padding = max((outputs - 1) * stride + kernel - size, 0)
    return outputs, padding // 2, padding - padding // 2


def _dense(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool) -> torch.Tensor:
    """Return inputs × weightᵀ + bias, through ReLU if asked."""
    if _HAS_ONEDNN:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
            inputs, weight, bias, "relu" if relu else "none", [], ""
        )
        return result
    result = F.linear(inputs, weight, bias)
    return result.relu_() if relu else result
