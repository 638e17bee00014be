"""The pictures of `screen.PlainScreen`, bit for bit, by `screen.c`.

The library looks up what stands for each of the emulator's colours, which are learnt from what it shows, and shrinks.
It knows only colours with an even number: games for NTSC, and most for PAL, have no others. Frames with one of the
others are looked up by numpy.
"""

from __future__ import annotations

import ctypes
import functools
from abc import ABC, abstractmethod
from ctypes import c_float, c_int32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask import compiled
from gadask.envs.palette import N_COLOURS, Palette, grey_bytes, grey_floats
from gadask.envs.resize import between, overlaps
from gadask.envs.screen import SIZE, Look, PlainScreen

INSTRUCTION_SETS = ("avx512vbmi", "avx2", "neon")
"""Suffixes of the functions, x86-64's before ARM's: a processor that has one also has its architecture's after it."""

_SOURCES = ("screen.c", "screen_x86.h", "screen_neon.h")

_WIDTH = 160
_PER_WINDOW = 7
_WINDOW_PIXELS = 16
_NOTHING = 0x80
"""A place that gives 0 when bytes are shuffled."""
_WINDOW = np.dtype([("first", "i4"), ("pairs", "u1", (2, _WINDOW_PIXELS)), ("weights", "u1", (2, _WINDOW_PIXELS))])
"""`Window` of screen.c."""
_PADDED = 88
"""`PADDED` of screen.c."""
_N_EVEN = N_COLOURS // 2
_UNKNOWN = 255
_ODD, _NEW = 1, 2
"""Bits of what the library answers."""
_PRESENT, _KEPT = 0, 1


def open_screen(ale: Any, picture: NDArray[Any], look: Look) -> PlainScreen | CompiledScreen:
    """Return the screen of an emulator with a game, compiled where that can be; see `PlainScreen`."""
    library = load()
    instructions = compiled.instruction_set(library)
    if library is None or instructions is None or ale.getScreenDims()[1] != _WIDTH:
        return PlainScreen(ale, picture, look)
    return compiled_screen(ale, picture, look, library, instructions)


def compiled_screen(
    ale: Any, picture: NDArray[Any], look: Look, library: ctypes.CDLL, instructions: str
) -> CompiledScreen:
    """Return the screen of a look as the library has it, by functions with the suffix `instructions`."""
    return _KINDS[look](ale, picture, library, instructions)


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not compiled; raises `UsageError` if other sources lie beside it."""
    return compiled.load("gadask.envs._screen", [Path(__file__).with_name(name) for name in _SOURCES])


class CompiledScreen(ABC):
    """What all looks share: the present frame and the kept one, as bytes that stand for colours."""

    def __init__(self, ale: Any, picture: NDArray[Any], library: ctypes.CDLL, instructions: str) -> None:
        """Make buffers; arguments as for `PlainScreen`."""
        self._ale = ale
        self._picture = picture
        height, width = ale.getScreenDims()
        self._frames = np.zeros((2, height, width), np.uint8)
        self._table = np.full(_N_EVEN, _UNKNOWN, np.uint8)
        """What stands for each even colour."""
        self._n_pixels = c_int32(height * width)
        self._to_grey = getattr(library, f"to_grey_{instructions}")
        # Looking up an array's address takes a tenth of the time of all this.
        self._addresses = [c_void_p(frame.ctypes.data) for frame in self._frames]
        self._table_address = c_void_p(self._table.ctypes.data)

    def keep(self) -> None:
        """Keep the present frame for the next picture."""
        self._read(_KEPT)

    def shrink(self, with_kept: bool) -> None:
        """Make the picture of the present frame, or of the larger of it and the one that was kept."""
        self._read(_PRESENT)
        self._write(_KEPT if with_kept else _PRESENT)

    @abstractmethod
    def _read(self, which: int) -> None:
        """Read the present frame as one of the two."""

    @abstractmethod
    def _write(self, other: int) -> None:
        """Make the picture of the larger of the present frame and one of the two."""

    def _looks_up(self, source: c_void_p, target: c_void_p) -> Any:
        """Return what looks up all of `source` in the table, to `target`."""
        return functools.partial(self._to_grey, source, self._n_pixels, self._table_address, target)


class CompiledGreys(CompiledScreen):
    """By area, of the larger grey: frames are kept as the emulator's greys."""

    def __init__(self, ale: Any, picture: NDArray[Any], library: ctypes.CDLL, instructions: str) -> None:
        """Make tables for the height of the frames."""
        super().__init__(ale, picture, library, instructions)
        self._look_up = [self._looks_up(frame, frame) for frame in self._addresses]
        self._area = _Area(library, self._frames.shape[1], picture)
        self._shrink = [self._area.of(self._addresses[_PRESENT], other) for other in self._addresses]

    def _read(self, which: int) -> None:
        frame = self._frames[which]
        self._ale.getScreen(frame)
        found = self._look_up[which]()
        if found:
            self._ale.getScreenGrayscale(frame)
        if found & _NEW:
            numbers = self._ale.getScreen()
            even = numbers % 2 == 0
            self._table[numbers[even] // 2] = frame[even]

    def _write(self, other: int) -> None:
        self._shrink[other]()


class CompiledColours(CompiledScreen):
    """By area, of the larger red, green and blue: frames are kept as the numbers of their colours."""

    def __init__(self, ale: Any, picture: NDArray[Any], library: ctypes.CDLL, instructions: str) -> None:
        """Make tables for the height of the frames."""
        super().__init__(ale, picture, library, instructions)
        self._palette = Palette(ale)
        self._pairs = np.zeros((_N_EVEN, _N_EVEN), np.uint8)
        self._greys = np.zeros_like(self._frames[_PRESENT])
        greys = c_void_p(self._greys.ctypes.data)
        self._look_up = [self._looks_up(frame, greys) for frame in self._addresses]
        pairs = c_void_p(self._pairs.ctypes.data)
        self._grey_of_larger = functools.partial(library.grey_of_larger, *self._addresses, self._n_pixels, pairs, greys)
        self._area = _Area(library, self._frames.shape[1], picture)
        self._shrink = self._area.of(greys, greys)
        self._has_odd = [False, False]

    def _read(self, which: int) -> None:
        frame = self._frames[which]
        self._ale.getScreen(frame)
        found = self._look_up[which]()
        self._has_odd[which] = bool(found & _ODD)
        if found and self._palette.learn(frame):
            even = self._palette.rgb[::2]
            self._pairs[:] = grey_bytes(np.maximum(even[:, None], even[None]))
            self._table[:] = np.where(self._palette.known[::2], self._pairs.diagonal(), _UNKNOWN)
            self._look_up[which]()

    def _write(self, other: int) -> None:
        if self._has_odd[_PRESENT] or self._has_odd[other]:
            rgb = self._palette.rgb
            self._greys[:] = grey_bytes(np.maximum(rgb[self._frames[_PRESENT]], rgb[self._frames[other]]))
        elif other == _KEPT:
            self._grey_of_larger()
        self._shrink()


class CompiledFloats(CompiledScreen):
    """Between pixels, of the larger grey: frames are kept as the ranks of their greys among all that are known."""

    def __init__(self, ale: Any, picture: NDArray[Any], library: ctypes.CDLL, instructions: str) -> None:
        """Make tables for the height of the frames."""
        super().__init__(ale, picture, library, instructions)
        self._palette = Palette(ale)
        self._ranks = np.zeros(N_COLOURS, np.uint8)  # of each colour
        self._values = np.zeros(N_COLOURS, np.float32)  # of each rank
        self._n_ranks = 0
        self._look_up = [self._looks_up(frame, frame) for frame in self._addresses]
        _, height, width = self._frames.shape
        rows, columns = between(height, SIZE), between(width, SIZE)
        padded = [np.pad(each, (0, _PADDED - SIZE)) for each in columns]
        self._tables = *rows, *padded, self._values  # which the structure points to
        how = self._interpolating = _Interpolating(*(table.ctypes.data for table in self._tables))
        self._interpolate = [
            functools.partial(
                library.interpolate, ctypes.byref(how), self._addresses[_PRESENT], other, c_void_p(picture.ctypes.data)
            )
            for other in self._addresses
        ]

    def _read(self, which: int) -> None:
        frame = self._frames[which]
        self._ale.getScreen(frame)
        if self._look_up[which]():  # a new colour, or one with an odd number
            numbers = self._ale.getScreen()
            if self._palette.learn(numbers):
                self._rank_again()
            np.take(self._ranks, numbers, out=frame)

    def _rank_again(self) -> None:
        known = self._palette.known
        greys = grey_floats(self._palette.rgb)
        values = np.unique(greys[known])
        before = self._values[: self._n_ranks].copy()
        self._n_ranks = len(values)
        self._values[: len(values)] = values
        self._ranks[known] = np.searchsorted(values, greys[known])
        self._table[:] = np.where(known[::2], self._ranks[::2], _UNKNOWN)
        if len(before):
            moved = np.searchsorted(values, before).astype(np.uint8)
            self._frames[_KEPT] = moved[np.minimum(self._frames[_KEPT], len(before) - 1)]

    def _write(self, other: int) -> None:
        self._interpolate[other]()


_KINDS: dict[Look, type[CompiledScreen]] = {
    Look("area", "greys"): CompiledGreys,
    Look("area", "colours"): CompiledColours,
    Look("bilinear", "greys"): CompiledFloats,
}


class _Area:
    """Shrinks by area, to one picture."""

    def __init__(self, library: ctypes.CDLL, height: int, picture: NDArray[np.uint8]) -> None:
        """Make the tables for frames of `height` rows."""
        rows, columns = overlaps(height, SIZE), overlaps(_WIDTH, SIZE)
        first_rows, row_weights = _spans(rows)
        self._tables = first_rows, row_weights, _windows(*_spans(columns))  # which the structure points to
        pointers = (table.ctypes.data for table in self._tables)
        self._shrinking = _Shrinking(height, row_weights.shape[1], *pointers, rows[0].sum() * columns[0].sum())
        self._shrink = functools.partial(library.shrink, ctypes.byref(self._shrinking))
        self._picture = c_void_p(picture.ctypes.data)

    def of(self, frame: c_void_p, other: c_void_p) -> Any:
        """Return what shrinks the larger of the frames at two addresses."""
        return functools.partial(self._shrink, frame, other, self._picture)


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


class _Interpolating(ctypes.Structure):
    """`Interpolating` of screen.c."""

    _fields_ = (
        ("row_firsts", c_void_p),
        ("row_seconds", c_void_p),
        ("row_shares", c_void_p),
        ("column_firsts", c_void_p),
        ("column_seconds", c_void_p),
        ("column_shares", c_void_p),
        ("values", c_void_p),
    )


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
