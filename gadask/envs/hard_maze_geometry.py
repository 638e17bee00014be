"""The walls of the hard maze, and what a robot among them measures: distances to walls, range finders, radars.

Lengths are in units of the maze, x to the right and y down, and headings turn from x to y. All is computed for many
lanes at once, each lane by itself and in float64: sums, products and roots, which have the same bits on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

START = (36.0, 184.0)
GOAL = (31.0, 20.0)
RANGE = 100.0
"""How far a range finder looks."""
RANGE_ANGLES = (-90, -45, 0, 45, 90, -180)
"""Where the range finders look, in degrees from the heading; their order in an observation."""
WALLS = np.array(
    [
        (41, 5, 3, 8),
        (3, 8, 4, 49),
        (4, 49, 57, 53),
        (4, 49, 7, 202),
        (7, 202, 195, 198),
        (195, 198, 186, 8),
        (186, 8, 39, 5),
        (56, 54, 56, 157),
        (57, 106, 158, 162),
        (77, 201, 108, 164),
        (6, 80, 33, 121),
        (192, 146, 87, 91),
        (56, 55, 133, 30),
    ],
    np.float64,
)
"""Both ends of each wall, x1, y1, x2, y2; shape `(13, 4)`."""

_X, _Y = WALLS[:, 0:1], WALLS[:, 1:2]
_DX, _DY = WALLS[:, 2:3] - _X, WALLS[:, 3:4] - _Y
_LENGTHS2 = _DX * _DX + _DY * _DY
_RAY_DX, _RAY_DY = _DX[:, None], _DY[:, None]
_HALF_ROOT = math.sqrt(0.5)


def squared_wall_distances(places: Floats) -> Floats:
    """Return the square of the distance from each place to the nearest wall, shape `(n,)`.

    `places` holds x and y, shape `(2, n)`.
    """
    dx, dy = places[0] - _X, places[1] - _Y
    along = np.clip((dx * _DX + dy * _DY) / _LENGTHS2, 0, 1)
    dx -= along * _DX
    dy -= along * _DY
    nearest: Floats = (dx * dx + dy * dy).min(axis=0)
    return nearest


def measure_ranges(places: Floats, directions: Floats) -> Floats:
    """Return the way to the nearest wall in the directions of `RANGE_ANGLES`, at most `RANGE`, shape `(6, n)`.

    `directions` holds cosine and sine of each heading, shape `(2, n)`. Two pairs of range finders look along one line
    forth and back, so that each wall is cut with four lines, those at −45, 45, 0 and 90 degrees.
    """
    cos, sin = directions
    sums, differences = (cos + sin) * _HALF_ROOT, (cos - sin) * _HALF_ROOT
    x, y = np.array([sums, differences, cos, -sin]), np.array([-differences, sums, sin, cos])
    to_x, to_y = _X - places[0], _Y - places[1]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # a line along a wall does not cut it
        scale = 1 / (x * _RAY_DY - y * _RAY_DX)
        ways = (to_x * _DY - to_y * _DX)[:, None] * scale
        shares = (to_x[:, None] * y - to_y[:, None] * x) * scale
        is_cut = (shares >= 0) & (shares <= 1)
        forth = np.where(is_cut & (ways >= 0), ways, RANGE).min(axis=0)
        back = np.where(is_cut[:, 2:] & (ways[:, 2:] <= 0), -ways[:, 2:], RANGE).min(axis=0)
    ranges: Floats = np.array([back[1], forth[0], forth[2], forth[1], forth[3], back[0]])
    np.minimum(ranges, RANGE, out=ranges)
    return ranges


def find_goal(places: Floats, directions: Floats) -> NDArray[np.bool_]:
    """Return in which quarter around the robot the goal lies: ahead, at 90, behind, or at −90 degrees; `(4, n)`.

    A quarter begins 45 degrees before its middle and ends before the next one begins.
    """
    cos, sin = directions
    dx, dy = GOAL[0] - places[0], GOAL[1] - places[1]
    ahead, aside = dx * cos + dy * sin, dy * cos - dx * sin
    first, second = ahead + aside, ahead - aside
    return np.array(
        [
            (first >= 0) & (second > 0),
            (first > 0) & (second <= 0),
            (first <= 0) & (second < 0),
            (first < 0) & (second >= 0),
        ]
    )


def goal_distances(places: Floats) -> Floats:
    """Return each place's distance to the goal, shape `(n,)`."""
    dx, dy = places[0] - GOAL[0], places[1] - GOAL[1]
    distances: Floats = np.sqrt(dx * dx + dy * dy)
    return distances
