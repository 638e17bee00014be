"""What plays the hard maze without having evolved: neither knows where the goal is.

`Wander` is given what range finders measure also where a policy has to look at pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gadask.envs.hard_maze import HardMazeLanes
from gadask.envs.hard_maze_geometry import measure_ranges

_STOP, _STOP_ASIDE = 15.0, 13.0
"""With less room than this ahead, or 45 degrees to a side, it stops and turns."""
_CLEAR = 40.0
"""With this much room ahead it drives as fast as it can."""
_WHIM_STEPS = 10
"""How long it keeps a bend, on average."""
_BEND = 0.3
"""The sharpest bend that it takes where no wall is near, as a share of what it can."""


class Random:
    """Turns and drives at random, anew in every step."""

    def __init__(self, lanes: HardMazeLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        self._n_lanes = lanes.n_lanes
        self._rng = rng

    def act(self) -> NDArray[np.float32]:
        """Return turn and thrust of each lane, shape `(n_lanes, 2)`."""
        return self._rng.uniform(-1, 1, (self._n_lanes, 2)).astype(np.float32)


class Wander:
    """Drives on in bends at random; before a wall it stops and turns to where there is more room."""

    def __init__(self, lanes: HardMazeLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        self._lanes = lanes
        self._rng = rng
        self._bends = np.zeros(lanes.n_lanes)
        self._ways_out = np.zeros(lanes.n_lanes)

    def act(self) -> NDArray[np.float32]:
        """Return turn and thrust of each lane, shape `(n_lanes, 2)`."""
        lanes, rng = self._lanes, self._rng
        changes = rng.random(lanes.n_lanes) < 1 / _WHIM_STEPS
        self._bends = np.where(changes, rng.uniform(-_BEND, _BEND, lanes.n_lanes), self._bends)
        left, ahead_left, ahead, ahead_right, right, _ = measure_ranges(lanes.places, lanes.directions)
        is_blocked = (ahead < _STOP) | (np.minimum(ahead_left, ahead_right) < _STOP_ASIDE)
        freer = np.where(ahead_left + left > ahead_right + right, -1, 1)
        ways_out = np.where(self._ways_out == 0, freer, self._ways_out)  # of a corner it turns to one side alone
        self._ways_out = np.where(is_blocked, ways_out, 0)
        turns = np.where(is_blocked, self._ways_out, self._bends)
        thrusts = np.where(is_blocked, 0, np.minimum(ahead / _CLEAR, 1))
        return np.stack([turns, thrusts], axis=1).astype(np.float32)
