"""What the inner loop asks of an environment."""

from __future__ import annotations

from abc import ABC, abstractmethod

import gymnasium
import numpy as np
from numpy.typing import NDArray

Observation = NDArray[np.generic]
"""One observation, of the observation space's shape and dtype."""
Action = int | NDArray[np.generic]
"""One action: an int for a Discrete action space, an array for a Box."""


class Env(ABC):
    """One environment. An episode is a pure function of its seed and the actions, whatever was played before."""

    observation_space: gymnasium.Space
    """Space of one observation: a Box."""
    action_space: gymnasium.Space
    """Space of one action: a Discrete or a Box."""
    frames_per_step: int
    """Emulator frames that a step stands for; 1 where there is no emulator."""

    @abstractmethod
    def reset(self, seed: int) -> Observation:
        """Start an episode. The array is valid until the next call of `reset` or `step`."""

    @abstractmethod
    def step(self, action: Action) -> tuple[Observation, float, bool]:
        """Play one step; return observation (valid until the next call), reward, and whether the episode ended.

        A reward that is no number comes back as NaN.
        """

    @abstractmethod
    def render(self) -> NDArray[np.uint8]:
        """Return the present picture in colour, uint8 `(height, width, 3)`; raises `EnvError` if there is none."""

    @abstractmethod
    def close(self) -> None:
        """Release what the environment holds; it cannot be used after."""
