"""A compiled network that tells after every step what it could not have done without."""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gadask.policies.kernels import CompiledNetwork


class _Network(Protocol):
    def begin(self) -> None: ...
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class ObservedNetwork:
    """Plays as the network does and says which weights it read, and how many products it took."""

    rows: NDArray[np.int64]
    """Rows of the dense layer's weights that the last step read."""
    n_products: int
    """Products of the convolutions in the last step: those of patches with a changed input, of inputs that are not 0
    with float32."""
    row_bytes: int
    """Length of a row of the dense layer's weights."""
    weights: int
    """Address of the first row."""

    def __init__(self, network: CompiledNetwork, precision: str) -> None:
        """`precision` is the network's, `float32` or `int8`."""
        self.network: _Network = network
        self.mutate = network.mutate
        self.structure = network._network
        structure, last = self.structure, self.structure.layers[2]
        self._bytes = precision == "int8"
        self.row_bytes = structure.n_hidden if self._bytes else structure.n_hidden * 5 // 2
        self.weights = structure.dense_weights if self._bytes else structure.dense_words
        kind = ctypes.c_uint8 if self._bytes else ctypes.c_float
        self._features = array_at(kind, structure.n_features, structure.features)
        self._seen = array_at(ctypes.c_uint8, structure.n_features, structure.seen) if self._bytes else None
        self._cells_changed = array_at(ctypes.c_uint8, last.rows * last.columns, last.target_changed)
        self._sources = [_Source(layer, self._bytes) for layer in structure.layers]

    def begin(self) -> None:
        """Begin an episode."""
        self.network.begin()

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the network's outputs, and note what they took."""
        fresh = self.structure.fresh
        before = None if self._seen is None or fresh else self._seen.copy()
        output = self.network(image)
        self.n_products = sum(source.n_products() for source in self._sources)
        positive = self._features != 0
        if not self._bytes:
            read = positive & np.repeat(self._cells_changed != 0, len(positive) // len(self._cells_changed))
        elif before is None:
            read = positive
        else:
            differing = self._features != before
            read = positive if differing.sum() > positive.sum() else differing
        self.rows = np.flatnonzero(read)
        return output


def array_at(kind: Any, size: int, address: int) -> NDArray[Any]:
    """Return the memory at an address of the kernels' structures as an array."""
    return np.ctypeslib.as_array((kind * size).from_address(address))


class _Source:
    """What a layer reads: the grid of its source."""

    def __init__(self, layer: Any, is_bytes: bool) -> None:
        self._layer = layer
        shape = layer.step * (layer.rows - 1) + layer.window, layer.source_columns
        n_cells = shape[0] * shape[1]
        self._changed = array_at(ctypes.c_uint8, n_cells, layer.source_changed).reshape(shape)
        values = None if is_bytes else array_at(ctypes.c_float, n_cells * layer.n_inputs, layer.source)
        self._values = None if values is None else values.reshape(*shape, layer.n_inputs)

    def n_products(self) -> int:
        """Return how many the patches with a changed cell need."""
        n_inputs = self._layer.n_inputs
        needed = np.full(self._changed.shape, n_inputs) if self._values is None else (self._values != 0).sum(axis=2)
        in_patches = self._windows(needed).sum(axis=(2, 3))[self._windows(self._changed).any(axis=(2, 3))]
        return int(in_patches.sum()) * int(self._layer.n_outputs)

    def _windows(self, grid: NDArray[Any]) -> NDArray[Any]:
        """Return a patch's cells for every patch, shape `(rows, columns, window, window)`."""
        layer = self._layer
        windows = np.lib.stride_tricks.sliding_window_view(grid, (layer.window, layer.window))
        view: NDArray[Any] = windows[:: layer.step, :: layer.step][: layer.rows, : layer.columns]
        return view
