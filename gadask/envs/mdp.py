"""`gadask/MetaMDP-v0`: every episode is a new random MDP, to be learned within the episode.

The task of Duan et al. 2016 (RL², arXiv 1611.02779). An episode draws an MDP of `n_states` states and `n_actions`
actions: the probabilities of the next state from a flat Dirichlet distribution for each state and action, mean rewards
from N(1, 1); a reward is its mean plus N(0, 1). The MDP is played `n_episodes` times for `horizon` steps each, always
from state 0 on; these short episodes are called rounds here, since what a policy plays as one episode is all of them.

| entries of the observation | hold |
| --- | --- |
| the first `n_states` | the state, one-hot |
| the next `n_actions` | the previous action, one-hot; all 0 before the first |
| the next | the previous reward, 0 before the first |
| the last | 1 in the first observation of a round, that is when the previous step ended one; else 0 |
"""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.envs.base import LaneEnv
from gadask.envs.one_lane import OneLane, check_count, episode_stream

_MAX_STATES = 100
_MAX_STEPS = 100_000
_MAX_REWARD = 30.0  # numpy's normal numbers end at 13.8: its tail is made of a logarithm of a 53-bit number


class MDPLanes(LaneEnv):
    """Many MDPs side by side."""

    means: NDArray[np.float64]
    """What no policy sees: mean rewards, shape `(n_lanes, n_states, n_actions)`."""
    transitions: NDArray[np.float64]
    """What no policy sees: the probability that a state and an action lead to one of the states up to each, shape
    `(n_lanes, n_states, n_actions, n_states)`."""

    def __init__(
        self, n_lanes: int, n_states: int = 10, n_actions: int = 5, horizon: int = 10, n_episodes: int = 10
    ) -> None:
        """Make lanes that are over until they are reset; raises `EnvError` for an impossible kwarg."""
        self.n_lanes = n_lanes
        self.n_states = check_count("n_states", n_states, 2, _MAX_STATES)
        self.n_actions = check_count("n_actions", n_actions, 2, _MAX_STATES)
        self.horizon = check_count("horizon", horizon, 1, _MAX_STEPS)
        self.n_episodes = check_count("n_episodes", n_episodes, 1, _MAX_STEPS // horizon)
        self._n_steps = horizon * n_episodes
        high = np.ones(n_states + n_actions + 2, np.float32)
        high[-2] = _MAX_REWARD
        low = np.where(high > 1, -high, 0)
        self.observation_space = gymnasium.spaces.Box(low, high)
        self.action_space = gymnasium.spaces.Discrete(n_actions)
        self.observations = np.zeros((n_lanes, n_states + n_actions + 2), np.float32)
        self.rewards = np.zeros(n_lanes)
        self.over = np.ones(n_lanes, np.bool_)
        self.means = np.zeros((n_lanes, n_states, n_actions))
        self.transitions = np.zeros((n_lanes, n_states, n_actions, n_states))

        self._reward_noise = np.zeros((n_lanes, self._n_steps))
        self._luck = np.zeros((n_lanes, self._n_steps))
        self._states = np.zeros(n_lanes, np.int64)
        self._steps = np.full(n_lanes, self._n_steps)
        self._rows = np.arange(n_lanes)

    def reset(self, lane: int, seed: int) -> None:
        """Start the episode of `seed`: draw the MDP, and for each step the numbers that decide it."""
        stream = episode_stream(seed)
        stream.standard_normal(out=self.means[lane])
        self.means[lane] += 1
        transitions = self.transitions[lane]
        stream.standard_exponential(out=transitions)  # exponential numbers over their sum are a flat Dirichlet's
        np.cumsum(transitions, axis=-1, out=transitions)
        transitions /= transitions[..., -1:].copy()
        stream.standard_normal(out=self._reward_noise[lane])
        stream.random(out=self._luck[lane])
        self.observations[lane] = 0
        self.observations[lane, [0, -1]] = 1
        self.rewards[lane] = 0
        self._states[lane] = 0
        self._steps[lane] = 0
        self.over[lane] = False

    def step(self, actions: NDArray[np.generic]) -> None:
        """Take one action in every lane."""
        rows, states, observations = self._rows, self._states, self.observations
        live = ~self.over
        acts = np.multiply(actions, live, dtype=np.int64, casting="unsafe")  # lanes that are over are given anything
        at = np.minimum(self._steps, self._n_steps - 1)
        np.add(self.means[rows, states, acts], self._reward_noise[rows, at], out=self.rewards)
        reached = self.transitions[rows, states, acts] <= self._luck[rows, at][:, None]
        reached.sum(axis=1, out=states)
        self._steps += live
        new_round = self._steps % self.horizon == 0
        states[new_round] = 0
        np.equal(self._steps, self._n_steps, out=self.over)
        observations[:] = 0
        observations[rows, states] = 1
        observations[rows, acts + self.n_states] = 1
        observations[:, -2] = self.rewards
        observations[:, -1] = new_round


class MetaMDP(OneLane):
    """One MDP; the picture is the table of its mean rewards, with the state that the policy is in."""

    def __init__(
        self,
        n_states: int = 10,
        n_actions: int = 5,
        horizon: int = 10,
        n_episodes: int = 10,
        render_mode: str | None = None,
    ) -> None:
        """Raises `EnvError` for an impossible kwarg."""
        self._lanes = MDPLanes(1, n_states, n_actions, horizon, n_episodes)
        super().__init__(self._lanes, render_mode)

    def _picture(self) -> NDArray[np.uint8]:
        from gadask.envs.pictures import BAD, FAINT, GOOD, INK, MARK, Picture

        lanes = self._lanes
        n_states, n_actions = lanes.n_states, lanes.n_actions
        means, chances = lanes.means[0], np.diff(lanes.transitions[0], axis=-1, prepend=0)
        n_steps = len(self.history)
        state = int(self._one.observations[0, :n_states].argmax())
        left, top, width, height = 70, 110, 64, 30
        picture = Picture(max(460, left + width * n_actions + 40), top + height * n_states + 70)
        picture.text(20, 16, f"round {min(n_steps // lanes.horizon + 1, lanes.n_episodes)} of {lanes.n_episodes}", 22)
        picture.text(200, 20, f"step {n_steps % lanes.horizon} of {lanes.horizon}", 18)
        picture.text(20, 50, f"reward {sum(reward for _, reward in self.history):.1f}", 16, FAINT)
        for action in range(n_actions):
            picture.text(left + width * (action + 0.5), top - 8, f"action {action}", 12, FAINT, "mb")
        for row in range(n_states):
            y = top + height * row
            picture.text(left - 10, y + height / 2, f"state {row}", 12, MARK if row == state else FAINT, "rm")
            for action in range(n_actions):
                mean = means[row, action]
                shade = min(1.0, abs(mean - 1) / 2.5)
                hue = np.array(GOOD if mean > 1 else BAD)
                fill = tuple((shade * hue + (1 - shade) * np.array((40, 40, 46))).astype(int).tolist())
                x = left + width * action
                picture.box(x + 1, y + 1, width - 2, height - 2, fill)
                picture.text(x + width / 2, y + height / 2, f"{round(mean, 1) + 0:.1f}", 13, INK, "mm")
        picture.box(left - 2, top + height * state - 2, width * n_actions + 4, height + 4, outline=MARK)
        if self.history:
            action, reward = self.history[-1]
            picture.text(200, 50, f"last: action {action}, reward {reward:+.1f}", 16, FAINT)
        foot = top + height * n_states + 14
        picture.text(left, foot, "mean reward of each state and action, hidden from the policy", 13, FAINT)
        likely = ", ".join(str(chances[state, action].argmax()) for action in range(n_actions))
        picture.text(left, foot + 18, f"from state {state} the actions lead most likely to {likely}", 13, FAINT)
        return picture.pixels()
