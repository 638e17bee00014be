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
    steps_per_s: float = 30.0
    """Agent steps a second at which a film runs at its own speed; 30 where the environment does not say."""
    has_paired_tasks: bool = False
    """Whether seeds 2i and 2i + 1 are opposite tasks; see `config.GenerationConfig.paired_tasks`."""
    n_starts: int = 0
    """How many different episodes the same actions can give; `seeding.start_of` says which a seed means. 0: each seed
    has its own."""
    action_meanings: tuple[str, ...] = ()
    """Name of each action of a Discrete space; empty where actions have none."""

    @abstractmethod
    def reset(self, seed: int) -> Observation:
        """Start an episode. The array is valid until the next call of `reset` or `step`."""

    @abstractmethod
    def step(self, action: Action) -> tuple[Observation, float, bool]:
        """Play one step; return observation (valid until the next call), reward, and whether the episode ended.

        A reward that is no number comes back as NaN.
        """

    def behaviour(self) -> NDArray[np.float32] | None:
        """Return what the episode came to, a vector of shape `(n,)` with the same n in every episode; None of nothing.

        Asked for once, after the episode's last step, also where it was cut at `max_steps`.
        """
        return None

    @abstractmethod
    def render(self) -> NDArray[np.uint8]:
        """Return the present picture in colour, uint8 `(height, width, 3)`; raises `EnvError` if there is none."""

    @abstractmethod
    def close(self) -> None:
        """Release what the environment holds; it cannot be used after."""


class LaneEnv(ABC):
    """Many lanes of one cheap environment, stepped together; each lane plays its own episode.

    A lane's episode is a pure function of its seed and its actions, whatever the other lanes do. All arrays have one
    entry a lane, are written in place, and are valid until the next call of `reset` or `step`.
    """

    observation_space: gymnasium.Space
    """Space of one lane's observation: a Box."""
    action_space: gymnasium.Space
    """Space of one lane's action: a Discrete or a Box."""
    n_lanes: int

    observations: NDArray[np.generic]
    """What each lane sees now: shape `(n_lanes, *observation_space.shape)`, of the space's dtype."""
    rewards: NDArray[np.float64]
    """Reward of each lane's last step, shape `(n_lanes,)`."""
    over: NDArray[np.bool_]
    """Whether each lane's episode has ended, shape `(n_lanes,)`; true until the lane's first `reset`."""

    @abstractmethod
    def reset(self, lane: int, seed: int) -> None:
        """Start an episode in one lane."""

    @abstractmethod
    def step(self, actions: NDArray[np.generic]) -> None:
        """Play one step in every lane; what a lane that is over is given or shows has no meaning.

        `actions` holds one action a lane: int64, shape `(n_lanes,)`, or float32, shape `(n_lanes, *action shape)`.
        """

    def behaviour(self, lane: int) -> NDArray[np.float32] | None:
        """Return what a lane's episode came to, as `Env.behaviour` does; asked for before any lane's next step."""
        return None
