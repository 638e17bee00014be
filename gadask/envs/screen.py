"""What an emulator shows, as a network sees it: grey, the larger of two frames at each pixel, shrunk by area.

`screen.c` looks up the greys of the emulator's colours, which are learnt from the emulator, and shrinks. Where that is
not compiled, the emulator makes the grey and `AreaResize` shrinks: the same pictures in some three times the time.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_float, c_int32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask import compiled
from gadask.envs.resize import AreaResize, overlaps

SIZE = 84
"""Rows and columns of a picture."""

INSTRUCTION_SETS = ("avx512vbmi", "avx2")
"""Suffixes of the library's functions; a processor that can run one can run those after it."""

_WIDTH = 160
_PER_WINDOW = 7
_WINDOW_PIXELS = 16
_NOTHING = 0x80
"""A place that gives 0 when bytes are shuffled."""
_WINDOW = np.dtype([("first", "i4"), ("pairs", "u1", (2, _WINDOW_PIXELS)), ("weights", "u1", (2, _WINDOW_PIXELS))])
"""`Window` of screen.c."""
_N_GREYS = 128
_UNKNOWN = 255
_NEW = 2
"""A bit of what the library answers."""
_PRESENT, _KEPT = 0, 1


class Screen:
    """The screen of one emulator, an `ale_py.ALEInterface` with a game."""

    def __init__(self, ale: Any, picture: NDArray[np.uint8]) -> None:
        """Make buffers; `picture` is what `shrink` writes, uint8 `(84, 84)`, contiguous."""
        self._ale = ale
        self._picture = picture
        self._frames = np.zeros((2, *ale.getScreenDims()), np.uint8)

    @functools.cached_property
    def _resize(self) -> AreaResize:
        return AreaResize(self._frames.shape[1:], self._picture.shape)

    def keep(self) -> None:
        """Keep the present frame for the next picture."""
        self._read(_KEPT)

    def shrink(self, with_kept: bool) -> None:
        """Make the picture of the present frame, or of the larger of it and the one that was kept."""
        self._read(_PRESENT)
        self._write(_KEPT if with_kept else _PRESENT)

    def _read(self, which: int) -> None:
        self._ale.getScreenGrayscale(self._frames[which])

    def _write(self, other: int) -> None:
        frame = self._frames[_PRESENT]
        self._resize(np.maximum(frame, self._frames[other], out=frame), self._picture)


class CompiledScreen(Screen):
    """The same in C."""

    def __init__(self, ale: Any, picture: NDArray[np.uint8], library: ctypes.CDLL, instructions: str) -> None:
        """Make tables for the height of the frames."""
        super().__init__(ale, picture)
        _, height, width = self._frames.shape
        self._greys = np.full(_N_GREYS, _UNKNOWN, np.uint8)
        rows, columns = overlaps(height, SIZE), overlaps(width, SIZE)
        first_rows, row_weights = _spans(rows)
        self._tables = first_rows, row_weights, _windows(*_spans(columns))  # which the structure points to
        pointers = (table.ctypes.data for table in self._tables)
        self._shrinking = _Shrinking(height, row_weights.shape[1], *pointers, rows[0].sum() * columns[0].sum())
        to_grey, shrink = getattr(library, f"to_grey_{instructions}"), library.shrink
        # Looking up an array's address takes a tenth of the time of all this.
        frames = [c_void_p(frame.ctypes.data) for frame in self._frames]
        size, greys = c_int32(height * width), c_void_p(self._greys.ctypes.data)
        self._to_grey = [functools.partial(to_grey, frame, size, greys, frame) for frame in frames]
        how, target = ctypes.byref(self._shrinking), c_void_p(picture.ctypes.data)
        self._shrink = [functools.partial(shrink, how, frames[_PRESENT], other, target) for other in frames]

    def _read(self, which: int) -> None:
        frame = self._frames[which]
        self._ale.getScreen(frame)
        found = self._to_grey[which]()
        if found:  # a colour that it does not know; odd ones, of a few games of PAL, it never does
            self._ale.getScreenGrayscale(frame)
        if found & _NEW:
            colours = self._ale.getScreen()
            even = colours % 2 == 0
            self._greys[colours[even] // 2] = frame[even]

    def _write(self, other: int) -> None:
        self._shrink[other]()


class _Shrinking(ctypes.Structure):
    """`Shrinking` of screen.c."""

    _fields_ = (
        ("height", c_int32),
        ("n_rows", c_int32),
        ("first_rows", c_void_p),
        ("row_weights", c_void_p),
        ("windows", c_void_p),
        ("total", c_float),
    )


def open_screen(ale: Any, picture: NDArray[np.uint8]) -> Screen:
    """Return an emulator's screen as `Screen` says, compiled where that can be."""
    library = load()
    instructions = compiled.instruction_set(library)
    if library is None or instructions is None or ale.getScreenDims()[1] != _WIDTH:
        return Screen(ale, picture)
    return CompiledScreen(ale, picture, library, instructions)


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not compiled; raises `UsageError` if another source lies beside it."""
    return compiled.load("gadask.envs._screen", [Path(__file__).with_name("screen.c")])


def _spans(weights: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the first column of each row that is not 0, and n weights from there on, n being what the widest needs."""
    n = int((weights > 0).sum(1).max())
    firsts = np.minimum((weights > 0).argmax(1), weights.shape[1] - n)
    return firsts.astype(np.int32), np.take_along_axis(weights, firsts[:, None] + np.arange(n), 1)


def _windows(firsts: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.void]:
    """Return the windows of columns whose pixels begin at `firsts`, shape `(84,)`, at most four for each."""
    weights = np.pad(weights, ((0, 0), (0, 4 - weights.shape[1])))
    windows = np.zeros(SIZE // _PER_WINDOW, _WINDOW)
    windows["first"] = np.minimum(firsts[::_PER_WINDOW], _WIDTH - _WINDOW_PIXELS)
    within = firsts - np.repeat(windows["first"], _PER_WINDOW)
    places = np.where(weights > 0, within[:, None] + np.arange(4), _NOTHING)
    for name, of_pixels, nothing in (("pairs", places, _NOTHING), ("weights", weights, 0)):
        pairs = of_pixels.reshape(-1, _PER_WINDOW, 2, 2).swapaxes(1, 2)  # windows × 2 × 7 × 2
        whole = np.pad(pairs, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=nothing)
        windows[name] = whole.reshape(-1, 2, _WINDOW_PIXELS)
    return windows
