"""A compiled network that tells after every step what it could not have done without."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.policies.kernels import CompiledNetwork


class ObservedNetwork:
    """Plays as the network does and says which weights it read, and how many products it took."""

    rows: NDArray[np.int64]
    """Rows of the dense layer's weights that the last step read."""
    n_products: int
    """Products of the convolutions in the last step: those of patches with a changed input."""
    row_bytes: int
    """Length of a row of the dense layer's weights."""
    weights: int
    """Address of the first row."""

    def __init__(self, network: CompiledNetwork, precision: str) -> None:
        self.network, self.structure = network, network._network
        structure, last = self.structure, self.structure.layers[2]
        self._bytes = precision == "int8"
        self.row_bytes = structure.n_hidden * (1 if self._bytes else 4)
        self.weights = structure.dense_weights if self._bytes else structure.dense
        kind = ctypes.c_uint8 if self._bytes else ctypes.c_float
        self._features = array_at(kind, structure.n_features, structure.features)
        self._seen = array_at(ctypes.c_uint8, structure.n_features, structure.seen) if self._bytes else None
        self._cells_changed = array_at(ctypes.c_uint8, last.rows * last.columns, last.target_changed)
        self._sources = [_changed_cells(layer) for layer in structure.layers]

    def begin(self) -> None:
        self.network.begin()

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        fresh = self.structure.fresh
        before = None if self._seen is None or fresh else self._seen.copy()
        output = self.network(image)
        self.n_products = sum(map(_n_products, self.structure.layers, self._sources))
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


def _changed_cells(layer: Any) -> NDArray[np.uint8]:
    """Return the flags of the layer's source, in its grid."""
    rows = layer.step * (layer.rows - 1) + layer.window
    flags = array_at(ctypes.c_uint8, rows * layer.source_columns, layer.source_changed)
    return flags.reshape(rows, layer.source_columns)


def _n_products(layer: Any, changed: NDArray[np.uint8]) -> int:
    windows = np.lib.stride_tricks.sliding_window_view(changed, (layer.window, layer.window))
    patches = windows[:: layer.step, :: layer.step][: layer.rows, : layer.columns].any(axis=(2, 3))
    products: int = layer.window**2 * layer.n_inputs * layer.n_outputs
    return int(patches.sum()) * products
