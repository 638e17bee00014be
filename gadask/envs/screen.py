"""What an emulator shows, as a network sees it: grey, the larger of two frames at each pixel, shrunk.

| `Look` | a frame is kept as | the larger is of | shrunk |
| --- | --- | --- | --- |
| `area`, `greys` | the emulator's own greys, bytes | greys | by area, to bytes |
| `area`, `colours` | colours | red, green and blue, each by itself; then OpenCV's grey, a byte | by area, to bytes |
| `bilinear`, `greys` | greys that are not rounded, 0 to 1 | greys | between pixels, to float32 |

Here are the definitions, in numpy; `screen_compiled` makes the same pictures in a third of the time.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gadask.envs.palette import Palette, grey_bytes, grey_floats
from gadask.envs.resize import AreaResize, BilinearResize

SIZE = 84
"""Rows and columns of a picture."""


class Look(NamedTuple):
    """How the frames of an emulator become a picture; see the module's docstring."""

    resize: Literal["area", "bilinear"]
    maximum_of: Literal["greys", "colours"]

    @property
    def dtype(self) -> type[np.generic]:
        """Of a picture: bytes, or float32 from 0 to 1."""
        return np.float32 if self.resize == "bilinear" else np.uint8


class PlainScreen:
    """The screen of one emulator, an `ale_py.ALEInterface` with a game."""

    def __init__(self, ale: Any, picture: NDArray[Any], look: Look) -> None:
        """Make buffers; `picture` is what `shrink` writes, `(84, 84)` of the look's dtype, contiguous."""
        self._ale = ale
        self._picture = picture
        self._look = look
        shape = ale.getScreenDims()
        self._palette = Palette(ale)
        resize = BilinearResize if look.resize == "bilinear" else AreaResize
        self._resize: Any = resize(shape, picture.shape)
        self._kept: NDArray[Any] | None = None

    def keep(self) -> None:
        """Keep the present frame for the next picture."""
        self._kept = self._frame()

    def shrink(self, with_kept: bool) -> None:
        """Make the picture of the present frame, or of the larger of it and the one that was kept."""
        frame = self._frame()
        if with_kept:
            assert self._kept is not None
            frame = np.maximum(frame, self._kept)
        self._resize(grey_bytes(frame) if self._look.maximum_of == "colours" else frame, self._picture)

    def _frame(self) -> NDArray[Any]:
        """Return the present frame as it is kept."""
        frame: NDArray[np.uint8]
        if self._look.maximum_of == "colours":
            frame = self._ale.getScreenRGB()
            return frame
        if self._look.resize == "area":
            frame = self._ale.getScreenGrayscale()
            return frame
        numbers: NDArray[np.uint8] = self._ale.getScreen()
        self._palette.learn(numbers)
        return grey_floats(self._palette.rgb)[numbers]
