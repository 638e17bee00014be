"""The images of Harlow's task: drawn at random, never the same twice, disjoint between training and test.

An image is a pattern of 8 × 8 cells, the same on both sides of its vertical middle, bright on dark in one hue. The
wheel of hues is cut into 12 sectors; training images take theirs from every other sector, test images from those
between. So no pixel of a test image ever has a colour of a training image. A tenth of each sector is left free at
either end, which is more than rounding to bytes can shift a hue.

The two hues of a pair are at least a quarter of the wheel apart: on a retina of 16 pixels an image has 8 × 8, too few
to be told from another by shape alone. The patterns are symmetric so that an image at the rim of the retina, of which
one half is in view, looks alike on the left and on the right.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

N_CELLS = 8
"""Cells along each side of an image; its least size in pixels."""
SETS = ("train", "test")
"""The names of the sets; both have as many hues."""

_N_SECTORS = 12
_MARGIN = 0.1


def draw_pair(stream: np.random.Generator, image_set: str, size: int) -> NDArray[np.uint8]:
    """Draw two images of a set: uint8, shape `(2, 3, size, size)`, for `size` at least `N_CELLS`."""
    half = N_CELLS // 2
    draws = stream.random(4 + 2 * N_CELLS * half)
    first = int(draws[0] * _N_SECTORS // 2)
    second = first + 2 + int(draws[1] * 3)  # of the 6 sectors of a set, the three that are not beside the first
    cells = draws[4:].reshape(2, N_CELLS, half) < 0.5
    rows = np.arange(size) * N_CELLS // size
    columns = np.minimum(rows, N_CELLS - 1 - rows)
    bright = cells[:, rows[:, None], columns]
    images = np.empty((2, 3, size, size), np.uint8)
    for image, sector in enumerate((first, second)):
        inside = _MARGIN + (1 - 2 * _MARGIN) * draws[2 + image]
        hue = (2 * sector + SETS.index(image_set) + inside) / _N_SECTORS
        colour = np.array(colorsys.hsv_to_rgb(hue, 1, 1))[:, None, None]
        images[image] = np.rint(np.where(bright[image], 255, 100) * colour)
    return images
