"""Cheap Gymnasium environments in lanes: one instance a lane, stepped one after the other.

Their step takes a few microseconds, the policy for a single observation several times that. In lanes the policy's
share all but vanishes. What is played is the environment that `make_env` makes, so that an episode is the same
in either form; Gymnasium's own vector forms have one random stream for all lanes, and their episodes depend on each
other. CartPole, the usual first example, is written out for all lanes in `cartpole_lanes`.

Only environments known to be cheap have this form: one lane too many of an expensive one costs memory and cache, and
gains nothing.
"""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.config import EnvConfig
from gadask.envs.base import LaneEnv
from gadask.envs.cartpole_lanes import CartPoleLanes
from gadask.envs.gymnasium_env import GymnasiumEnv, make_gymnasium_env

_CHEAP = ("gymnasium.envs.classic_control.", "gymnasium.envs.toy_text.")


def make_gymnasium_lanes(config: EnvConfig, n_lanes: int) -> LaneEnv | None:
    """Build `n_lanes` lanes of an environment of Gymnasium's that is known to be cheap; None for any other.

    There is no picture of lanes, so that `render_mode` has no effect. Raises `EnvError` as `make_env` does.
    """
    spec = gymnasium.registry.get(config.id)
    if spec is None or not str(spec.entry_point).startswith(_CHEAP):
        return None
    kwargs = {key: value for key, value in config.kwargs.items() if key != "render_mode"}
    if config.id == "CartPole-v1" and not kwargs and not config.wrappers:
        return CartPoleLanes(n_lanes)
    return GymnasiumLanes([make_gymnasium_env(replace(config, kwargs=kwargs)) for _ in range(n_lanes)])


class GymnasiumLanes(LaneEnv):
    """Single environments, a lane each."""

    def __init__(self, envs: list[GymnasiumEnv]) -> None:
        """Take over the environments."""
        self.n_lanes = len(envs)
        self.observation_space, self.action_space = envs[0].observation_space, envs[0].action_space
        space = self.observation_space
        self.observations: NDArray[np.generic] = np.zeros((self.n_lanes, *space.shape), space.dtype)
        self.rewards = np.zeros(self.n_lanes)
        self.over = np.ones(self.n_lanes, np.bool_)
        self._envs = envs
        self._is_discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)

    def reset(self, lane: int, seed: int) -> None:
        """Start the episode that `seed` determines."""
        self.observations[lane] = self._envs[lane].reset(seed)
        self.rewards[lane] = 0
        self.over[lane] = False

    def step(self, actions: NDArray[np.generic]) -> None:
        """Play one step in every lane that is not over."""
        observations, rewards, over = self.observations, self.rewards, self.over
        chosen = actions.tolist() if self._is_discrete else actions
        for lane in np.flatnonzero(~over).tolist():
            observations[lane], rewards[lane], over[lane] = self._envs[lane].step(chosen[lane])

    def behaviour(self, lane: int) -> NDArray[np.float32] | None:
        """Return what the lane's environment reports."""
        return self._envs[lane].behaviour()
