"""What plays the bandit without having evolved: the baselines of Duan et al. 2016 (RL², arXiv 1611.02779).

Each starts from the belief that every probability is as likely as every other, Beta(1, 1), and sees what a policy sees:
the previous action and its reward. Of equal arms the first is pulled; that favours none, since arms are exchangeable.

Two have a parameter. RL² chose it for every setting from a grid, by the score; here one value serves all five published
settings, found on 5,000 to 20,000 bandits of each.

| baseline | parameter | grid | the value's mean against the grid's best |
| --- | --- | --- | --- |
| `epsilon-greedy` | share of random pulls | 0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1 | at worst 0.8 % below |
| `ucb1` | scale of the bonus | 0.05, 0.1, 0.15, 0.2, 0.25, 0.3 | at worst 0.2 % below |
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from gadask.envs.bandit import BanditLanes
from gadask.envs.baselines.gittins import gittins_indices

_EPSILON = 0.02
_BONUS_SCALE = 0.2


class BanditBaseline(ABC):
    """Plays many bandits by the value that a rule gives to each arm."""

    def __init__(self, lanes: BanditLanes, rng: np.random.Generator) -> None:
        """Start with lanes whose episodes have just started."""
        self._lanes = lanes
        self._rng = rng
        self._wins = np.ones((lanes.n_lanes, lanes.n_arms))
        self._pulls = np.full((lanes.n_lanes, lanes.n_arms), 2.0)

    def act(self) -> NDArray[np.int64]:
        """Look at the observations and return the arm to pull in each lane, shape `(n_lanes,)`."""
        arms, rewards = np.split(self._lanes.observations[:, :-1], [self._lanes.n_arms], axis=1)
        self._pulls += arms
        self._wins += arms * rewards
        actions: NDArray[np.int64] = self._values().argmax(axis=1)
        return actions

    @abstractmethod
    def _values(self) -> NDArray[np.float64]:
        """Return what each arm is worth, shape `(n_lanes, n_arms)`; one of greatest value is pulled."""


class Random(BanditBaseline):
    """Pulls any arm."""

    def _values(self) -> NDArray[np.float64]:
        return self._rng.random(self._pulls.shape)


class Greedy(BanditBaseline):
    """Pulls the arm that is expected to pay most."""

    def _values(self) -> NDArray[np.float64]:
        means: NDArray[np.float64] = self._wins / self._pulls
        return means


class EpsilonGreedy(Greedy):
    """Pulls any arm now and then, else the arm that is expected to pay most."""

    def _values(self) -> NDArray[np.float64]:
        explores = self._rng.random((len(self._pulls), 1)) < _EPSILON
        return np.where(explores, self._rng.random(self._pulls.shape), super()._values())


class UCB1(Greedy):
    """Adds to what is expected a bonus for arms pulled little (Auer et al. 2002)."""

    def _values(self) -> NDArray[np.float64]:
        n_pulled = self._pulls.sum(axis=1, keepdims=True) - 2 * self._lanes.n_arms
        values: NDArray[np.float64] = super()._values()
        values += _BONUS_SCALE * np.sqrt(2 * np.log(np.maximum(n_pulled, 1)) / self._pulls)
        return values


class Thompson(BanditBaseline):
    """Draws a probability for each arm from what is believed, and pulls the greatest (Thompson 1933)."""

    def _values(self) -> NDArray[np.float64]:
        return self._rng.beta(self._wins, self._pulls - self._wins)


class Gittins(BanditBaseline):
    """Pulls the arm of greatest Gittins index, with the discount 1 − 1 / `n_pulls`.

    That is optimal for an endless bandit with this discount. For one that ends after `n_pulls` it is a choice: between
    half and three times that distance from 1, the means of the published settings differ by less than 1 %.
    """

    def __init__(self, lanes: BanditLanes, rng: np.random.Generator) -> None:
        """Compute the indices; raises `EnvError` for more pulls than their table can hold."""
        super().__init__(lanes, rng)
        self._indices = gittins_indices(lanes.n_pulls)

    def _values(self) -> NDArray[np.float64]:
        values: NDArray[np.float64] = self._indices[self._pulls.astype(int) - 2, self._wins.astype(int) - 1]
        return values
