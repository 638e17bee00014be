"""A compiled network whose parts are called from Python one by one, for benchmarks that look at a part."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gadask.policies.kernels import CompiledNetwork, instruction_set
from gadask.policies.kernels.library import load


class NetworkInParts:
    """Computes what the network computes, and says behind each part which it was."""

    def __init__(self, network: CompiledNetwork, precision: str, after: Callable[[str], None]) -> None:
        library, suffix = load(), instruction_set()
        assert library is not None
        self._network, self._structure, self._after = network, network._network, after
        self.mutate = network.mutate
        self._bytes = precision == "int8"
        self._image = np.zeros(0, np.uint8)
        self._pack = getattr(library, f"pack_{'bytes' if self._bytes else 'words'}_{suffix}")
        self._take_image = library.take_image
        self._convolve = getattr(library, f"convolve{'_bytes' if self._bytes else ''}_{suffix}")
        self._convolve.restype = ctypes.c_float if self._bytes else None
        self._dense = getattr(library, f"dense{'_bytes' if self._bytes else ''}_{suffix}")
        self._output = getattr(library, f"output_{suffix}")

    def begin(self) -> None:
        self._network.begin()
        self._pack(ctypes.byref(self._structure))
        self._after("packing")

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        structure, after = self._structure, self._after
        if image is not self._image:  # as `CompiledNetwork`: looking up an address takes as long as a part
            self._image, structure.image = image, image.ctypes.data
        pointer = ctypes.byref(structure)
        self._take_image(pointer)
        after("image to blocks")
        scale, scratch = 1 / 255, ctypes.c_void_p(structure.list)
        for number, layer in enumerate(structure.layers, 1):
            if self._bytes:
                scale = self._convolve(ctypes.byref(layer), ctypes.c_float(scale), structure.fresh, scratch)
            else:
                self._convolve(ctypes.byref(layer), scratch)
            after(f"convolution {number}")
        structure.fresh = 0
        self._dense(pointer, *((ctypes.c_float(scale),) if self._bytes else ()))
        after("dense layer")
        self._output(pointer)
        after("output layer")
        return self._network._result
