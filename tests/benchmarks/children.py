"""Children as evolution makes them, for benchmarks that play in their own process."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.config import EnvConfig, GAConfig, NoiseConfig, PolicyConfig, Precision
from gadask.envs import Env, make_env
from gadask.envs.base import Action
from gadask.genomes.weights import as_tensor
from gadask.policies import Policy, make_policy

_N_PARENTS = 10
_DISTINCT = 12_000_000


class _RepeatedNoise:
    """A table as large as the real one, hence as much in no cache, and made in a hundredth of the time."""

    config = NoiseConfig()

    def __init__(self) -> None:
        distinct = np.random.default_rng(0).standard_normal(_DISTINCT, np.float32)
        self._samples = np.resize(distinct, self.config.size)

    def slice(self, index: int, n: int) -> NDArray[np.float32]:
        return self._samples[index : index + n]


class Nursery:
    """Decodes children of a few parents, which are random networks."""

    def __init__(self, seed: int) -> None:
        """Fill the noise table."""
        self._noise = _RepeatedNoise()
        self._rng = np.random.default_rng(seed)
        self._parents: dict[int, list[torch.Tensor]] = {}
        self._mutation_power = GAConfig().mutation_power

    def decode(self, policy: Policy) -> None:
        """Write a new child's parameters; the first call for a size makes its parents."""
        n = policy.n_params
        if n not in self._parents:
            self._parents[n] = [
                policy.initialise(as_tensor(self._noise.slice(self._gene(n), n))).clone() for _ in range(_N_PARENTS)
            ]
        parent = self._parents[n][self._rng.integers(_N_PARENTS)]
        policy.mutate(parent, self._noise, self._gene(n), self._mutation_power)

    def _gene(self, n_params: int) -> int:
        return int(self._rng.integers(self._noise.config.size - n_params))


class RecordingPolicy:
    """A policy that keeps the actions of an episode."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.actions: list[int] = []

    def reset(self, stream: np.random.Generator | None = None) -> None:
        self.actions = []
        self._policy.reset(stream)

    def act(self, observation: NDArray[np.generic]) -> Action:
        action = self._policy.act(observation)
        self.actions.append(int(action))
        return action

    def replay(self, env: Env, seed: int) -> None:
        """Have the environment play the same episode without a network."""
        env.reset(seed)
        for action in self.actions:
            env.step(action)


def open_game(game: str, kind: str, precision: Precision) -> tuple[Env, Policy]:
    """Return a game's environment and a policy for it."""
    env = make_env(EnvConfig(f"ALE/{game}-v5"))
    return env, make_policy(PolicyConfig(kind, precision=precision), env.observation_space, env.action_space)
