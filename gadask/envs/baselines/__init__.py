"""Baselines of gadask's own tasks, so that a score means something.

| environment | baselines | best |
| --- | --- | --- |
| `gadask/MetaBandit-v0` | random, greedy, epsilon-greedy, ucb1, thompson, gittins | gittins |
| `gadask/MetaMDP-v0` | random, greedy, psrl, informed-greedy | informed-greedy for few rounds, psrl for many |
| `gadask/Harlow-v0` | random, one-shot | one-shot |
| `gadask/HardMaze-v0` | random, wander | wander |

`python -m gadask.envs.baselines` plays the published settings and prints the means beside the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gadask.config import EnvConfig
from gadask.envs import make_lane_env
from gadask.envs.baselines import bandit, hard_maze, harlow, mdp
from gadask.envs.harlow import HarlowLanes
from gadask.errors import EnvError

_MAX_LANES = 200


class Baseline(Protocol):
    """Plays all lanes of one environment, from the start of their episodes."""

    def act(self) -> NDArray[np.generic]:
        """Return an action for each lane, as `LaneEnv.step` takes them."""


_CLASSES: dict[str, dict[str, Callable[[Any, np.random.Generator], Baseline]]] = {
    "gadask/MetaBandit-v0": {
        "random": bandit.Random,
        "greedy": bandit.Greedy,
        "epsilon-greedy": bandit.EpsilonGreedy,
        "ucb1": bandit.UCB1,
        "thompson": bandit.Thompson,
        "gittins": bandit.Gittins,
    },
    "gadask/MetaMDP-v0": {
        "random": mdp.Random,
        "greedy": mdp.Greedy,
        "psrl": mdp.PSRL,
        "informed-greedy": mdp.InformedGreedy,
    },
    "gadask/Harlow-v0": {"random": harlow.Random, "one-shot": harlow.OneShot},
    "gadask/HardMaze-v0": {"random": hard_maze.Random, "wander": hard_maze.Wander},
}

BASELINES: dict[str, tuple[str, ...]] = {env_id: tuple(classes) for env_id, classes in _CLASSES.items()}
"""The names of the baselines of each environment that has some."""


@dataclass(frozen=True)
class BaselineEpisodes:
    """What a baseline reached, episode by episode."""

    returns: NDArray[np.float64]
    """Sum of rewards, shape `(n_episodes,)`."""
    trials_correct: NDArray[np.int8] | None
    """Of Harlow's task: each trial's choice, 1 right, 0 wrong, −1 not made; shape `(n_episodes, n_trials)`."""


def play_baseline(name: str, env: EnvConfig, seeds: Sequence[int]) -> BaselineEpisodes:
    """Play one episode for each of `seeds`, which are the environment's seeds, by the baseline `name` of `env.id`.

    The baseline's own random numbers follow from the seeds too. An episode is cut where one of
    a test is. Raises `EnvError` if the environment has no such baseline.
    """
    if name not in BASELINES.get(env.id, ()):
        known = ", ".join(BASELINES.get(env.id, ())) or f"none for {env.id!r}, only for {', '.join(BASELINES)}"
        raise EnvError(f"baseline: expected one of {known}; found {name!r}")
    batches = [_play(name, env, seeds[start : start + _MAX_LANES]) for start in range(0, len(seeds), _MAX_LANES)]
    returns, trials = zip(*batches, strict=True)
    return BaselineEpisodes(np.concatenate(returns), None if trials[0] is None else np.concatenate(trials))


def _play(name: str, env: EnvConfig, seeds: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int8] | None]:
    """Play the seeds' episodes side by side."""
    lanes = make_lane_env(env, len(seeds))
    assert lanes is not None
    for lane, seed in enumerate(seeds):
        lanes.reset(lane, seed)
    baseline = _CLASSES[env.id][name](lanes, np.random.default_rng(seeds))
    returns = np.zeros(len(seeds))
    for _ in range(env.longest_test):
        live = ~lanes.over
        if not live.any():
            break
        lanes.step(baseline.act())
        returns += np.where(live, lanes.rewards, 0)
    return returns, lanes.trials_correct if isinstance(lanes, HarlowLanes) else None
