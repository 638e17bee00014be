"""What a policy was given, as a picture that stands beside the environment's.

| observation | is drawn as |
| --- | --- |
| image of 1 channel or 3 | a picture, of 3 channels in colour |
| image of several channels | a stack of pictures: the last one enlarged, below it all of them, the oldest left |
| vector | a bar for each entry, with its number where there is room |

A bar's full length is the largest magnitude that its entry has in the film. What the policy sees as one pixel is a
square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gadask.envs.pictures import FAINT, INK, Picture
from gadask.units import many

_GREY_STEP = 4  # 64 greys leave room for a game's colours in the palette of a GIF
_ABOVE, _BELOW = (86, 180, 233), (230, 159, 0)  # of Okabe and Ito (2008)
_LEAST_ROW, _MOST_ROW = 14, 28  # pixels
_WIDE, _NARROW = 200, 30
_MAX_WIDE_COLUMNS = 2


def draw_inputs(inputs: Sequence[NDArray[Any]], height: int) -> tuple[Callable[[int], NDArray[np.uint8]], str]:
    """Return what draws the i-th observation, uint8 `(height, width, 3)` of one width, and in words what it shows."""
    shape = inputs[0].shape
    if len(shape) == 1:
        largest = np.abs(np.stack(inputs)).max(axis=0).astype(float)
        largest[largest == 0] = 1
        return lambda i: _bars(inputs[i], inputs[i] / largest, height), many(shape[0], "number")
    least, most = min(one.min() for one in inputs), max(one.max() for one in inputs)

    def as_bytes(i: int) -> NDArray[np.uint8]:
        """Return channels of bytes."""
        if inputs[i].dtype == np.uint8:
            return np.asarray(inputs[i], np.uint8)
        return np.asarray((inputs[i] - least) * (255 / max(most - least, 1e-9)), np.uint8)

    n_channels, rows, columns = shape
    if n_channels in (1, 3):
        return lambda i: _centred(_resized(_image(as_bytes(i)), height), height), f"{columns} x {rows} pixels"
    return lambda i: _centred(_stack(as_bytes(i), height), height), f"the last {n_channels} of {columns} x {rows}"


def _image(channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 or 3 channels as a picture in colour."""
    if len(channels) == 1:
        channels = (channels // _GREY_STEP * _GREY_STEP).repeat(3, axis=0)
    return np.moveaxis(channels, 0, 2)


def _stack(channels: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Return the last channel enlarged, and all of them in a row as wide."""
    n = len(channels)
    newest = _resized(_image(channels[-1:]), math.floor(height / (1 + 1 / n)))
    width = newest.shape[1]
    edges = np.linspace(0, width, n + 1).astype(int)
    small_height = round(newest.shape[0] / n)
    small = [
        np.array(Image.fromarray(_image(channels[i : i + 1])).resize((edges[i + 1] - edges[i], small_height)))
        for i in range(n)
    ]
    return np.concatenate([newest, np.concatenate(small, axis=1)])


def _resized(image: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Return an image enlarged by a whole factor to at most `height`, or shrunk to it."""
    rows, columns, _ = image.shape
    if rows > height:
        return np.array(Image.fromarray(image).resize((columns * height // rows, height), Image.Resampling.BOX))
    return image.repeat(height // rows, axis=0).repeat(height // rows, axis=1)


def _centred(image: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    above = (height - len(image)) // 2
    return np.pad(image, ((above, height - len(image) - above), (0, 0), (0, 0)))


def _bars(values: NDArray[Any], shares: NDArray[np.floating], height: int) -> NDArray[np.uint8]:
    """Draw entries in columns from top to bottom: `shares` in [-1, 1] are the bars, `values` the numbers."""
    n = len(values)
    n_columns = math.ceil(n / max(1, height // _LEAST_ROW))
    n_rows = math.ceil(n / n_columns)
    row = min(_MOST_ROW, height // n_rows)
    has_numbers = n_columns <= _MAX_WIDE_COLUMNS
    pitch = _WIDE if has_numbers else _NARROW
    left, right = (34, 62) if has_numbers else (2, 2)
    picture = Picture(pitch * n_columns, height)
    top = (height - row * n_rows) // 2
    half = (pitch - left - right) // 2
    for i, (value, share) in enumerate(zip(values.tolist(), shares.tolist(), strict=True)):
        column, place = divmod(i, n_rows)
        x, y = pitch * column, top + row * place
        zero = x + left + half
        length = round(abs(share) * half)
        if share > 0:
            picture.box(zero, y + 2, length, row - 4, _ABOVE)
        else:
            picture.box(zero - length, y + 2, length, row - 4, _BELOW)
        picture.line(zero, y, zero, y + row - 1, FAINT, 1)
        if has_numbers:
            size = min(14, row - 2)
            picture.text(x + left - 8, y + row / 2, str(i), size, FAINT, "rm")
            picture.text(x + pitch - 8, y + row / 2, _number(value), size, INK, "rm")
    return picture.pixels()


def _number(value: float) -> str:
    return f"{round(value, 2) + 0:.2f}" if abs(value) < 100 else f"{value:.3g}"
