"""What plays Harlow's task without having evolved.

Both shift their gaze as well as possible and differ only in what they choose. They are given the lanes' state where a
policy has to look at the wall: where the gaze is, what hangs there, and which image it was that hung left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gadask.envs.harlow import CHOICE, OUTCOME, HarlowLanes


class Random:
    """Chooses either image."""

    def __init__(self, lanes: HarlowLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        self._lanes = lanes
        self._sides = rng.integers(2, size=(lanes.n_lanes, lanes.n_trials)) * 2 - 1
        self._rows = np.arange(lanes.n_lanes)

    def act(self) -> NDArray[np.int64]:
        """Return an action for each lane, shape `(n_lanes,)`."""
        lanes = self._lanes
        trials = np.minimum(lanes.trials, lanes.n_trials - 1)
        aims = np.where(lanes.phases == CHOICE, self._chosen_sides(trials) * lanes.reach, 0)
        return 1 + np.sign(aims - lanes.gazes)

    def _chosen_sides(self, trials: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the side to choose in each lane: −1 left, 1 right."""
        sides: NDArray[np.int64] = self._sides[self._rows, trials]
        return sides


class OneShot(Random):
    """Chooses either image in the first trial, and from then on the one that this has shown to be good."""

    def __init__(self, lanes: HarlowLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        super().__init__(lanes, rng)
        self._good = np.zeros(lanes.n_lanes, np.int64)

    def act(self) -> NDArray[np.int64]:
        """Look at the first outcome, and return an action for each lane, shape `(n_lanes,)`."""
        lanes = self._lanes
        first = (lanes.phases == OUTCOME) & (lanes.trials == 1)
        chosen = lanes.left_images[:, 0] ^ (self._sides[:, 0] > 0)
        self._good = np.where(first, chosen ^ (lanes.trials_correct[:, 0] == 0), self._good)
        return super().act()

    def _chosen_sides(self, trials: NDArray[np.int64]) -> NDArray[np.int64]:
        known = np.where(self._lanes.left_images[self._rows, trials] == self._good, -1, 1)
        return np.where(trials == 0, self._sides[:, 0], known)
