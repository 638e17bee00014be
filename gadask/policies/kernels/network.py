"""Three convolutions and two dense layers as `convolutional.c` computes them, with its buffers.

`float32` sums what the module's parameters say, in its own order. It reads the weights of the hidden layer at 20
bits, in steps of 2⁻¹⁹ of their output's largest: outputs are off by some 10⁻⁶ of the largest, twice torch's.
`int8` keeps every weight of the convolutions and of the hidden layer as a byte, in steps of 1/127 of its output's
largest, and every activation between them as a byte, in steps of 1/255 of the layer's largest at this observation,
rounded up to a power of two. Sums are exact integers, biases and the output layer float32; pixels are bytes
as they are. Neither result depends on the processor.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from gadask.errors import PolicyError
from gadask.policies.kernels.library import instruction_set, load

_BLOCK = 4
"""Pixels of a side of the blocks that the image is cut into."""
_ALIGNMENT_BYTES = 64
_SPARE = 64
"""Entries of the scratch list that the kernels write before the first and beyond the last."""


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class _Layer(ctypes.Structure):
    """`Layer` of convolutional.c."""

    _fields_ = (
        *_fields(c_int32, "rows columns window step n_inputs n_outputs source_columns target_columns relu"),
        *_fields(c_void_p, "source target source_changed target_changed parameters weights scales sums largest"),
        *_fields(c_float, "source_scale target_full"),
    )


class _Network(ctypes.Structure):
    """`Network` of convolutional.c."""

    _fields_ = (
        ("image", c_void_p),
        *_fields(c_int32, "channels height width is_float top left block_rows block_columns fresh measured"),
        *_fields(c_void_p, "blocks scaled changed"),
        ("layers", _Layer * 3),
        *_fields(c_int32, "n_features n_hidden n_outputs"),
        *_fields(c_void_p, "features dense output dense_words partials dense_scales hidden result list"),
        ("backwards", c_int32),
        *_fields(c_void_p, "dense_weights dense_sums seen"),
    )


@dataclass(frozen=True)
class Window:
    """Where a convolution's patches lie."""

    kernel: int
    stride: int
    rows: int
    """Of patches."""
    columns: int
    top: int
    """Rows of zeros before the image."""
    left: int
    bottom: int
    """Rows of zeros behind it."""
    right: int


@dataclass(frozen=True)
class Convolution:
    """A convolution: its parameters, float32 `(inputs of a patch + 1, outputs)`, and its patches."""

    parameters: torch.Tensor
    window: Window


_NOTHING_FOLLOWS = Window(kernel=0, stride=0, rows=0, columns=0, top=0, left=0, bottom=0, right=0)


@dataclass(frozen=True)
class _Grid:
    """Cells in rows, which a layer reads or writes."""

    cells: int
    """The address of the first."""
    changed: int
    """The address of the first of the bytes that say which cells have changed."""
    columns: int
    depth: int
    """Entries of a cell."""


class CompiledNetwork:
    """The network of these parameters, at one observation after the other."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        convolutions: list[Convolution],
        dense: torch.Tensor,
        output: torch.Tensor,
        relu: bool,
        precision: str,
        dtype: np.dtype[Any],
    ) -> None:
        """Prepare for images of `shape` (channels, height, width); the first convolution reads blocks of 4 × 4 pixels.

        `dtype` is the image's: bytes, or float32 from 0 to 1, which `precision` "int8" rounds to bytes.

        `relu` is that of the convolutions, and true with `precision` "int8".
        """
        library = load()
        assert library is not None
        self._bytes = precision == "int8"
        self.kernels = f"gadask's compiled kernels ({instruction_set()}, {precision})"
        self._forward = getattr(library, f"forward_{'bytes' if self._bytes else 'float'}_{instruction_set()}")
        self._mutate = getattr(library, f"mutate_{instruction_set()}")
        self._mutate.argtypes = c_void_p, c_void_p, c_int64, c_void_p, c_void_p, c_float
        self._parameters = [*(convolution.parameters for convolution in convolutions), dense, output]
        self._buffers: list[NDArray[Any]] = []  # which the structures point to
        self._shape, self._dtype = shape, dtype
        self._image = self._contiguous = np.zeros(0, dtype)
        self._result = np.zeros((1, output.shape[1]), np.float32)
        self._network = self._build(shape, convolutions, dense, output, relu)
        self._address = ctypes.byref(self._network)
        self._written: list[torch.Tensor] = []  # by `mutate`
        self._n_writes = 0.0

    def mutate(self, flat: torch.Tensor, parent: torch.Tensor, noise: torch.Tensor, weight: float) -> None:
        """Write `parent + weight × noise` to `flat`, the vector of the parameters, in the bits of `torch.add`.

        All are contiguous float32 of shape `(n_params,)`, `flat` 64-byte aligned. The hidden layer is measured on the
        way, which spares the first observation a pass over its weights, unless torch writes to them until `begin`.
        """
        for each in flat, parent, noise:
            assert (each.dtype, each.shape, each.is_contiguous()) == (torch.float32, flat.shape, True)
        assert flat.data_ptr() == self._parameters[0].data_ptr()
        assert flat.data_ptr() % _ALIGNMENT_BYTES == 0
        pointers = flat.data_ptr(), flat.numel(), parent.data_ptr(), noise.data_ptr()
        self._mutate(ctypes.addressof(self._network), *pointers, weight)
        self._written = [flat, *self._parameters]
        self._n_writes = _count_writes(self._written)

    def begin(self) -> None:
        """Take note that the parameters may have changed; to be called before the first observation of an episode."""
        self._network.fresh = 1
        if _count_writes(self._written) != self._n_writes:
            self._network.measured = 0

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the output, float32 `(1, n_outputs)`, valid until the next call.

        Raises `PolicyError` for an image of another dtype or shape, of which the kernels would read other memory.
        """
        if image is not self._image:  # environments write theirs over and over
            if image.dtype != self._dtype or image.shape != self._shape:
                raise PolicyError(
                    f"observation: expected {self._dtype} of shape {self._shape}, found {image.dtype} of shape"
                    f" {image.shape}"
                )
            self._image = image
            self._contiguous = np.ascontiguousarray(image)
            self._network.image = self._contiguous.ctypes.data
        elif self._contiguous is not image:
            np.copyto(self._contiguous, image)
        self._forward(self._address)
        return self._result

    def _build(
        self,
        shape: tuple[int, int, int],
        convolutions: list[Convolution],
        dense: torch.Tensor,
        output: torch.Tensor,
        relu: bool,
    ) -> _Network:
        channels, height, width = shape
        first = convolutions[0].window
        assert (first.kernel, first.stride) == (2 * _BLOCK, _BLOCK)
        block_rows, block_columns = first.rows + 1, first.columns + 1
        n_blocks, block_pixels = block_rows * block_columns, channels * _BLOCK**2
        network = _Network(
            channels=channels,
            height=height,
            width=width,
            is_float=self._dtype == np.float32,
            top=first.top,
            left=first.left,
            block_rows=block_rows,
            block_columns=block_columns,
            fresh=1,
            blocks=self._buffer(n_blocks * block_pixels, np.uint8),
            scaled=None if self._bytes else self._buffer(n_blocks * block_pixels, np.float32),
            changed=self._buffer(n_blocks, np.uint8),
            result=self._result.ctypes.data,
        )
        source = _Grid(network.blocks if self._bytes else network.scaled, network.changed, block_columns, block_pixels)
        window, step = 2, 1  # in blocks, what the first convolution's kernel and stride are in pixels
        following = [*(convolution.window for convolution in convolutions[1:]), _NOTHING_FOLLOWS]
        for layer, convolution, after in zip(network.layers, convolutions, following, strict=True):
            layer.window, layer.step, layer.relu = window, step, relu
            source = self._connect(layer, source, convolution, after)
            window, step = after.kernel, after.stride
        network.features = source.cells
        self._add_dense_layers(network, dense, output, source.depth)
        size = max(first.rows * first.columns, network.n_features) + 2 * _SPARE
        network.list = self._buffer(size, np.int32) + _SPARE * np.dtype(np.int32).itemsize
        return network

    def _connect(self, layer: _Layer, source: _Grid, convolution: Convolution, after: Window) -> _Grid:
        """Have a layer read `source`; returns what it writes, inside the zeros that the convolution `after` needs."""
        this, parameters = convolution.window, convolution.parameters
        n_outputs, n_patches = parameters.shape[1], this.rows * this.columns
        columns = after.left + this.columns + after.right
        n_cells = (after.top + this.rows + after.bottom) * columns
        dtype = np.dtype(np.uint8 if self._bytes else np.float32)
        target = _Grid(self._buffer(n_cells * n_outputs, dtype), self._buffer(n_cells, np.uint8), columns, n_outputs)
        n_before = after.top * columns + after.left  # cells before the first that is written
        layer.rows, layer.columns = this.rows, this.columns
        layer.n_inputs, layer.n_outputs = source.depth, n_outputs
        layer.source, layer.source_changed, layer.source_columns = source.cells, source.changed, source.columns
        layer.target = target.cells + n_before * n_outputs * dtype.itemsize
        layer.target_changed, layer.target_columns = target.changed + n_before, columns
        layer.parameters = parameters.data_ptr()
        if self._bytes:
            layer.weights = self._buffer(parameters.numel() - n_outputs, np.int8)
            layer.scales = self._buffer(n_outputs, np.float32)
            layer.sums = self._buffer(n_patches * n_outputs, np.int32)
            layer.largest = self._buffer(n_patches, np.float32)
        return target

    def _add_dense_layers(self, network: _Network, dense: torch.Tensor, output: torch.Tensor, depth: int) -> None:
        """Add the hidden layer, which reads cells of `depth` features, and the output layer."""
        network.n_features, network.n_hidden, network.n_outputs = dense.shape[0] - 1, dense.shape[1], output.shape[1]
        network.dense, network.output = dense.data_ptr(), output.data_ptr()
        network.hidden = self._buffer(network.n_hidden, np.float32)
        network.dense_scales = self._buffer(network.n_hidden, np.float32)
        n_weights = network.n_features * network.n_hidden
        if self._bytes:
            network.dense_weights = self._buffer(n_weights, np.int8)
            network.dense_sums = self._buffer(network.n_hidden, np.int32)
            network.seen = self._buffer(network.n_features, np.uint8)
        else:
            network.dense_words = self._buffer(n_weights * 5 // 8, np.int32)  # 20 bits each
            network.partials = self._buffer(network.n_features // depth * network.n_hidden, np.float32)

    def _buffer(self, size: int, dtype: DTypeLike) -> int:
        """Return the address of new zeros, which live as long as this."""
        n_bytes = size * np.dtype(dtype).itemsize
        buffer = np.zeros(n_bytes + _ALIGNMENT_BYTES, np.uint8)
        self._buffers.append(buffer)
        return int(buffer.ctypes.data + -buffer.ctypes.data % _ALIGNMENT_BYTES)


def _count_writes(tensors: list[torch.Tensor]) -> float:
    """Return how often torch has written to the tensors, NaN for those of which it does not keep count."""
    return math.nan if any(tensor.is_inference() for tensor in tensors) else sum(tensor._version for tensor in tensors)
