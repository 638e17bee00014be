"""What policies are shown of the hard maze: small grey pictures from above, for many lanes at once.

A picture is 84 × 84 pixels of 2.5 units: walls 128, the goal 192, the robot a disc of its own radius, whose half
towards the heading is 255 and whose other half is 64. Edges are soft, a pixel wide, so that a picture also tells of
movements of less than a pixel and of small turns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gadask.envs.hard_maze_geometry import GOAL, Floats, squared_wall_distances

SIZE = 84
"""Height and width of a picture."""

_PIXEL = 2.5
_LEFT, _TOP = -4.5, -1.5
"""Where the picture begins, so that the maze lies in its middle."""
_WALL, _GOAL, _FRONT, _BACK = 128, 192, 255, 64
_HALF_WALL = 2.0
_GOAL_RADIUS = 5.0
_REACH = 4
"""Pixels that a robot reaches to each side of the one that it stands on; its way to the walls keeps them inside."""


class MazePictures:
    """Draws the robots of many lanes."""

    def __init__(self, n_lanes: int, radius: float) -> None:
        """Draw what stays: the walls and the goal."""
        self._radius = radius
        middles = (np.arange(SIZE) + 0.5) * _PIXEL
        places = np.array(np.meshgrid(middles + _LEFT, middles + _TOP)).reshape(2, -1)
        walls = _WALL * _coverage(np.sqrt(squared_wall_distances(places)), _HALF_WALL)
        goal = _GOAL * _coverage(np.hypot(places[0] - GOAL[0], places[1] - GOAL[1]), _GOAL_RADIUS)
        self._empty = np.rint(np.maximum(walls, goal)).astype(np.uint8).reshape(SIZE, SIZE)
        self._lanes = np.arange(n_lanes)[:, None, None]
        self._around = np.arange(-_REACH, _REACH + 1)

    def draw(self, pictures: NDArray[np.uint8], places: Floats, directions: Floats) -> None:
        """Write each lane's picture; `pictures` has shape `(n_lanes, 84, 84)`, the others `(2, n_lanes)`."""
        columns, rows = (
            np.floor((place - begin) / _PIXEL).astype(np.int64)[:, None] + self._around
            for place, begin in zip(places, (_LEFT, _TOP), strict=True)
        )
        x = ((columns + 0.5) * _PIXEL + _LEFT - places[0][:, None])[:, None, :]
        y = ((rows + 0.5) * _PIXEL + _TOP - places[1][:, None])[:, :, None]
        cos, sin = directions[:, :, None, None]
        front = np.clip((x * cos + y * sin) / _PIXEL + 0.5, 0, 1)
        robots = _coverage(np.sqrt(x * x + y * y), self._radius) * (_BACK + (_FRONT - _BACK) * front)
        pictures[:] = self._empty
        where = self._lanes, rows[:, :, None], columns[:, None, :]
        pictures[where] = np.maximum(pictures[where], np.rint(robots).astype(np.uint8))


def _coverage(distances: Floats, radius: float) -> Floats:
    """Return how much of a pixel is covered by what reaches `radius` far, by its middle's distance: 0 to 1."""
    covered: Floats = np.clip((radius - distances) / _PIXEL + 0.5, 0, 1)
    return covered
