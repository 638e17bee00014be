"""Gymnasium's `CartPole-v1` in lanes, its physics written for all of them at once.

One step of Gymnasium's takes longer than the policy's share of a step in lanes. The formulas are those of
`gymnasium.envs.classic_control.CartPoleEnv` (Barto, Sutton and Anderson 1983), operation by operation in float64, and a
reset is Gymnasium's own: an episode is the one that `make_env` plays, bit for bit.
"""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.envs.base import LaneEnv


class CartPoleLanes(LaneEnv):
    """Many carts side by side."""

    def __init__(self, n_lanes: int) -> None:
        """Make lanes that are over until they are reset."""
        env = gymnasium.make("CartPole-v1", disable_env_checker=True)
        assert env.spec is not None  # it was made from one
        self.n_lanes = n_lanes
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.observations = np.zeros((n_lanes, 4), np.float32)
        self.rewards = np.ones(n_lanes)  # every step is worth 1, the last one too
        self.over = np.ones(n_lanes, np.bool_)
        self._physics = env.unwrapped
        self._max_steps = env.spec.max_episode_steps or np.iinfo(np.int64).max
        self._state = np.zeros((4, n_lanes))
        self._steps = np.zeros(n_lanes, np.int64)

    def reset(self, lane: int, seed: int) -> None:
        """Start the episode that `seed` determines."""
        self.observations[lane], _ = self._physics.reset(seed=seed)
        self._state[:, lane] = self._physics.state
        self._steps[lane] = 0
        self.over[lane] = False

    def step(self, actions: NDArray[np.generic]) -> None:
        """Play one step in every lane; one that is over stays where it is."""
        p, state = self._physics, self._state
        _, x_dot, theta, theta_dot = state
        force = np.where(actions == 1, p.force_mag, -p.force_mag)
        cos, sin = np.cos(theta), np.sin(theta)
        temp = (force + p.polemass_length * np.square(theta_dot) * sin) / p.total_mass
        theta_acc = (p.gravity * sin - cos * temp) / (
            p.length * (4.0 / 3.0 - p.masspole * np.square(cos) / p.total_mass)
        )
        x_acc = temp - p.polemass_length * theta_acc * cos / p.total_mass
        speeds = np.stack([x_dot, x_acc, theta_dot, theta_acc])
        np.add(state, p.tau * speeds, out=state, where=~self.over)
        self.observations[:] = state.T
        self._steps += 1
        self.over |= np.abs(state[0]) > p.x_threshold
        self.over |= np.abs(state[2]) > p.theta_threshold_radians
        self.over |= self._steps >= self._max_steps
