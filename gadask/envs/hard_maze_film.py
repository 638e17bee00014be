"""Pictures of the hard maze for people: the maze, the way so far, the robot and what its range finders measure."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gadask.envs.hard_maze_geometry import GOAL, RANGE_ANGLES, START, WALLS, Floats
from gadask.envs.pictures import FAINT, GOOD, INK, MARK, Colour, Picture

_SCALE = 3
_MARGIN, _HEAD = 24, 56
_PATH: Colour = (90, 140, 230)


def film_picture(
    title: str,
    path: list[tuple[float, float]],
    heading: float,
    radius: float,
    goal_radius: float,
    ranges: Floats | None,
) -> NDArray[np.uint8]:
    """Return the maze, where the robot was, and where it is; uint8 `(height, width, 3)`.

    `path` ends where it is, `heading` is in degrees; `ranges`, shape `(6,)`, is what its range finders measure, if it
    has some.
    """
    right, bottom = WALLS.reshape(-1, 2).max(axis=0)
    picture = Picture(int(right * _SCALE) + 2 * _MARGIN, int(bottom * _SCALE) + _HEAD + _MARGIN)
    picture.text(_MARGIN, 18, title, 22)
    for x, y, to_x, to_y in WALLS.tolist():
        picture.line(*_at(x, y), *_at(to_x, to_y), INK, 4)
    picture.disc(*_at(*START), 4, FAINT)
    picture.disc(*_at(*GOAL), goal_radius * _SCALE, GOOD)
    for before, after in pairwise(path):
        picture.line(*_at(*before), *_at(*after), _PATH, 3)
    x, y = path[-1]
    for angle, way in zip(RANGE_ANGLES, () if ranges is None else ranges.tolist(), strict=False):
        picture.line(*_at(x, y), *_at(*_ahead(x, y, heading + angle, way)), FAINT, 1)
    picture.disc(*_at(x, y), radius * _SCALE, None, MARK)
    picture.line(*_at(x, y), *_at(*_ahead(x, y, heading, 1.6 * radius)), MARK, 4)
    return picture.pixels()


def _at(x: float, y: float) -> tuple[float, float]:
    """Return the pixel of a place in a film."""
    return _MARGIN + x * _SCALE, _HEAD + y * _SCALE


def _ahead(x: float, y: float, degrees: float, way: float) -> tuple[float, float]:
    """Return the place that lies `way` from another in a direction."""
    return x + math.cos(math.radians(degrees)) * way, y + math.sin(math.radians(degrees)) * way
