"""The colours of an emulator, learnt from what it shows, and their greys.

An emulator numbers its colours, and which colours they are depends on the game's cartridge: NTSC or PAL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

N_COLOURS = 256


class Palette:
    """The colours that one emulator, an `ale_py.ALEInterface`, has shown so far."""

    def __init__(self, ale: Any) -> None:
        """Begin with none."""
        self._ale = ale
        self.rgb = np.zeros((N_COLOURS, 3), np.uint8)
        """Red, green and blue by number; 0 of those that are not known."""
        self.known = np.zeros(N_COLOURS, np.bool_)
        """Which of them were shown."""

    def learn(self, numbers: NDArray[np.uint8]) -> bool:
        """Learn the colours of the present frame, whose numbers these are; returns whether one is new."""
        if self.known[numbers].all():
            return False
        self.rgb[numbers] = self._ale.getScreenRGB()
        self.known[numbers] = True
        return True


def grey_floats(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the grey, 0 to 1, of colours of shape `(..., 3)`, as Such et al. 2017 have it: not rounded."""
    red, green, blue = np.moveaxis(rgb.astype(np.float32) * np.float32(1 / 255), -1, 0)
    grey: NDArray[np.float32] = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    return grey


def grey_bytes(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey of colours of shape `(..., 3)` as OpenCV's `COLOR_RGB2GRAY` has it: in 15 bits, rounded."""
    sums = rgb @ np.array([9798, 19235, 3735], np.int32) + (1 << 14)
    grey: NDArray[np.uint8] = (sums >> 15).astype(np.uint8)
    return grey
