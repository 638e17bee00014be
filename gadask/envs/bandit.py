"""`gadask/MetaBandit-v0`: every episode is a new bandit, to be learned within the episode.

An episode draws for each arm a probability, uniform in [0, 1). A pull of the arm is rewarded 1 with that probability
and 0 otherwise; the episode ends after `n_pulls` pulls. The task is the one of Duan et al. 2016 (RL², arXiv 1611.02779)
and of ga-dist, which showed its policy one step late what it had done and never that it had pulled arm 0.

| entries of the observation | hold |
| --- | --- |
| the first `n_arms` | the previous action, one-hot; all 0 before the first pull |
| the next | the previous reward |
| the last | pulls left: as a fraction of `n_pulls`, or with `pulls_left = "count"` their number |
"""

from __future__ import annotations

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.envs.base import LaneEnv
from gadask.envs.one_lane import OneLane, check_choice, check_count, episode_stream

_MAX_ARMS = 1000
_MAX_PULLS = 100_000


class BanditLanes(LaneEnv):
    """Many bandits side by side."""

    probabilities: NDArray[np.float64]
    """What no policy sees: each arm's probability of reward, shape `(n_lanes, n_arms)`."""

    def __init__(self, n_lanes: int, n_arms: int = 5, n_pulls: int = 10, pulls_left: str = "fraction") -> None:
        """Make lanes that are over until they are reset; raises `EnvError` for an impossible kwarg."""
        self.n_lanes = n_lanes
        self.n_arms = check_count("n_arms", n_arms, 2, _MAX_ARMS)
        self.n_pulls = check_count("n_pulls", n_pulls, 1, _MAX_PULLS)
        check_choice("pulls_left", pulls_left, ("fraction", "count"))
        most_left = n_pulls if pulls_left == "count" else 1
        high = np.ones(n_arms + 2, np.float32)
        high[-1] = most_left
        self.observation_space = gymnasium.spaces.Box(np.zeros_like(high), high)
        self.action_space = gymnasium.spaces.Discrete(n_arms)
        self.observations = np.zeros((n_lanes, n_arms + 2), np.float32)
        self.rewards = np.zeros(n_lanes)
        self.over = np.ones(n_lanes, np.bool_)
        self.probabilities = np.zeros((n_lanes, n_arms))

        self._luck = np.zeros((n_lanes, n_pulls))
        self._pulled = np.full(n_lanes, n_pulls)
        self._left = (np.arange(n_pulls, -1, -1) * (most_left / n_pulls)).astype(np.float32)  # after each pull
        lanes = np.arange(n_lanes)
        self._first_arm, self._first_pull, self._first_entry = lanes * n_arms, lanes * n_pulls, lanes * (n_arms + 2)
        self._live = np.zeros(n_lanes, np.bool_)
        self._won = np.zeros(n_lanes, np.bool_)
        self._arms, self._places = np.zeros(n_lanes, np.int64), np.zeros(n_lanes, np.int64)
        self._chances, self._drawn = np.zeros(n_lanes), np.zeros(n_lanes)

    def reset(self, lane: int, seed: int) -> None:
        """Start the episode of `seed`: draw the arms, and for each pull the number that decides it."""
        stream = episode_stream(seed)
        stream.random(out=self.probabilities[lane])
        stream.random(out=self._luck[lane])
        self.observations[lane] = 0
        self.observations[lane, -1] = self._left[0]
        self.rewards[lane] = 0
        self._pulled[lane] = 0
        self.over[lane] = False

    def step(self, actions: NDArray[np.generic]) -> None:
        """Pull one arm in every lane."""
        live, arms, places, observations = self._live, self._arms, self._places, self.observations
        np.logical_not(self.over, out=live)
        np.multiply(actions, live, out=arms, casting="unsafe")  # lanes that are over are given anything
        np.add(self._first_arm, arms, out=places)
        self.probabilities.take(places, out=self._chances, mode="clip")
        np.add(self._first_pull, self._pulled, out=places)
        self._luck.take(places, out=self._drawn, mode="clip")  # a lane that is over has no next pull
        np.less(self._drawn, self._chances, out=self._won)
        np.copyto(self.rewards, self._won)
        self._pulled += live
        np.equal(self._pulled, self.n_pulls, out=self.over)
        observations[:, : self.n_arms] = 0
        np.add(self._first_entry, arms, out=places)
        observations.reshape(-1)[places] = 1
        observations[:, -2] = self.rewards
        observations[:, -1] = self._left[self._pulled]


class MetaBandit(OneLane):
    """One bandit; the picture shows each arm's probability, and what was found out about it."""

    def __init__(
        self, n_arms: int = 5, n_pulls: int = 10, pulls_left: str = "fraction", render_mode: str | None = None
    ) -> None:
        """Raises `EnvError` for an impossible kwarg."""
        self._lanes = BanditLanes(1, n_arms, n_pulls, pulls_left)
        super().__init__(self._lanes, render_mode)

    def _picture(self) -> NDArray[np.uint8]:
        from gadask.envs.pictures import BAD, FAINT, GOOD, INK, MARK, Picture

        n_arms, n_pulls = self._lanes.n_arms, self._lanes.n_pulls
        chances = self._lanes.probabilities[0]
        pulls, wins = np.zeros(n_arms, int), np.zeros(n_arms, int)
        for arm, reward in self.history:
            pulls[arm] += 1
            wins[arm] += int(reward)
        pitch = max(12, min(80, 800 // n_arms))
        left, top, bottom = 60, 90, 310
        width = max(460, left + pitch * n_arms + 20)
        picture = Picture(width, 380)
        reward_so_far = f"reward {wins.sum()}, the best arm pays {len(self.history) * chances.max():.1f} on average"
        picture.text(20, 16, f"pull {len(self.history)} of {n_pulls}", 22)
        picture.text(20, 50, reward_so_far, 16, FAINT)
        for share in (0, 0.5, 1):
            y = bottom - share * (bottom - top)
            picture.text(left - 10, y, f"{share:g}", 13, FAINT, "rm")
            picture.line(left, y, width - 20, y, (60, 60, 66), 1)
        for arm in range(n_arms):
            x = left + arm * pitch
            height = chances[arm] * (bottom - top)
            picture.box(x + 2, bottom - height, pitch - 4, height, (70, 90, 130))
            if pulls[arm]:
                y = bottom - wins[arm] / pulls[arm] * (bottom - top)
                picture.line(x + 2, y, x + pitch - 3, y, MARK, 3)
            if self.history and arm == self.history[-1][0]:
                won = self.history[-1][1] > 0
                picture.box(x, top - 2, pitch, bottom - top + 4, outline=GOOD if won else BAD)
            if pitch >= 18:
                picture.text(x + pitch / 2, bottom + 10, f"{wins[arm]}/{pulls[arm]}", min(14, pitch // 3), INK, "mt")
        picture.text(left, bottom + 40, "blue: probability, hidden from the policy", 13, FAINT)
        picture.text(left, bottom + 56, "yellow: share of rewarded pulls; frame: last pull", 13, FAINT)
        return picture.pixels()
