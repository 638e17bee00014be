"""What plays the random MDP without having evolved: baselines of Duan et al. 2016 (RL², arXiv 1611.02779).

Except for `Random`, all hold a belief about the MDP, plan for it once at the start of a round by value iteration, and
follow that plan through the round. They see what a policy sees.

`Greedy` and `PSRL` expect a mean reward of 0 from what they never tried, as the agents of Osband's TabulaRL do that RL²
took for its table. In truth it is 1, so that `Greedy` soon stays with what it knows; `InformedGreedy` knows the truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gadask.envs.mdp import MDPLanes


class Random:
    """Takes any action."""

    def __init__(self, lanes: MDPLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        self._lanes = lanes
        self._rng = rng

    def act(self) -> NDArray[np.int64]:
        """Return an action for each lane, shape `(n_lanes,)`."""
        return self._rng.integers(self._lanes.n_actions, size=self._lanes.n_lanes)


class Greedy:
    """Plans for the MDP that is most likely, with next to no belief beforehand."""

    prior_reward = 0.0
    """Expected mean reward of what was never tried."""
    prior_weight = 1e-4
    """How many observations the belief beforehand is worth, of a reward and of each next state."""

    def __init__(self, lanes: MDPLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        n_lanes, n_states, n_actions = lanes.n_lanes, lanes.n_states, lanes.n_actions
        self._lanes = lanes
        self._rng = rng
        self._rewards = np.full((n_lanes, n_states, n_actions), self.prior_reward)
        self._weights = np.full((n_lanes, n_states, n_actions), self.prior_weight)
        self._arrivals = np.full((n_lanes, n_states, n_actions, n_states), self.prior_weight)
        self._rows = np.arange(n_lanes)
        self._states = np.zeros(n_lanes, np.int64)
        self._step = 0  # of all rounds together; they last equally long in all lanes
        self._plan = np.zeros((lanes.horizon, n_lanes, n_states, n_actions))

    def act(self) -> NDArray[np.int64]:
        """Look at the observations and return an action for each lane, shape `(n_lanes,)`."""
        step_of_round = self._step % self._lanes.horizon
        states = self._lanes.observations[:, : self._lanes.n_states].argmax(axis=1)
        if self._step:
            self._learn(states, ends_round=step_of_round == 0)
        if step_of_round == 0:
            self._make_plan(*self._imagined())
        values = self._plan[step_of_round, self._rows, states]
        best = values == values.max(axis=1, keepdims=True)
        actions: NDArray[np.int64] = (best * (1 - self._rng.random(values.shape))).argmax(axis=1)
        self._states = states
        self._step += 1
        return actions

    def _imagined(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean rewards and the transitions to plan for."""
        return self._rewards, self._arrivals / self._arrivals.sum(axis=-1, keepdims=True)

    def _learn(self, states: NDArray[np.int64], ends_round: bool) -> None:
        """Take in the previous step, which led to `states`, or to the start of a round."""
        n_states, observations = self._lanes.n_states, self._lanes.observations
        actions = observations[:, n_states:-2].argmax(axis=1)
        at = (self._rows, self._states, actions)
        weights = self._weights[at]
        self._rewards[at] = (self._rewards[at] * weights + observations[:, -2]) / (weights + 1)
        self._weights[at] = weights + 1
        if not ends_round:
            self._arrivals[(*at, states)] += 1

    def _make_plan(self, rewards: NDArray[np.float64], transitions: NDArray[np.float64]) -> None:
        """Value every state and action for each step of a round."""
        later = np.zeros(rewards.shape[:2])
        for step in range(self._lanes.horizon - 1, -1, -1):
            self._plan[step] = rewards + (transitions @ later[:, None, :, None])[..., 0]
            later = self._plan[step].max(axis=-1)


class InformedGreedy(Greedy):
    """Plans for the expected MDP, given the distribution that MDPs are drawn from."""

    prior_reward = 1.0
    prior_weight = 1.0


class PSRL(Greedy):
    """Plans for an MDP drawn from what is believed: posterior sampling (Strens 2000; Osband et al. 2013)."""

    prior_weight = 1.0

    def _imagined(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rewards = self._rewards + self._rng.standard_normal(self._rewards.shape) / np.sqrt(self._weights)
        arrivals = self._rng.standard_gamma(self._arrivals)
        return rewards, arrivals / arrivals.sum(axis=-1, keepdims=True)
