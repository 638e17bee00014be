"""Observations of random play, for networks that measure something on them: see `gadask.policies.policy`.

They follow from the run's seed and the environment alone, so that all processes of a run, its films, tests and exports
have the same ones, and a genome means the same network everywhere. Each process plays them once, when it makes the
policy.
"""

from __future__ import annotations

import copy

import gymnasium
import numpy as np

from gadask.config import EnvConfig, PolicyConfig
from gadask.envs import Env
from gadask.envs.base import Action, Observation
from gadask.genomes.seeding import Purpose, env_seed, stream
from gadask.play.rollout import watch_episode
from gadask.policies import Policy, make_policy

_KEPT_SHARE = 1 / 8
"""Of the observations. The code of Such et al. 2017 keeps all of 128 steps, nine seconds of a game; these are from more
than a minute, of some 1,000 steps, which take Atari less than a second."""


def policy_for(env: Env, env_config: EnvConfig, config: PolicyConfig, run_seed: int) -> Policy:
    """Return the policy of a run, as `make_policy` makes it and `give_reference` completes it; raises what they do."""
    policy = make_policy(config, env.observation_space, env.action_space)
    give_reference(policy, env, env_config, run_seed)
    return policy


def give_reference(policy: Policy, env: Env, env_config: EnvConfig, run_seed: int) -> None:
    """Give a policy its reference observations, if it needs any, which `env` plays; raises what `env` raises."""
    if policy.reference_size:
        policy.refer_to(reference_batch(env, run_seed, policy.reference_size, env_config.max_steps))


def reference_batch(env: Env, run_seed: int, n: int, max_steps: int) -> list[Observation]:
    """Return `n` observations of uniformly random play, in the order in which they were made.

    Each observation that is acted on is kept with a probability of 1/8. Episodes end as the environment says, or after
    `max_steps`; the next one follows. Seeds the global generators of Python, numpy and torch.
    """
    player = _RandomPlayer(env.action_space, stream(run_seed, Purpose.REFERENCE, 0, 1))
    episode = 0
    while len(player.kept) < n:
        for _ in watch_episode(env, player, env_seed(run_seed, Purpose.REFERENCE, 0, 0, episode), max_steps):
            if len(player.kept) == n:
                break
        episode += 1
    return player.kept


class _RandomPlayer:
    """An actor that chooses uniformly, and keeps some of what it sees."""

    def __init__(self, space: gymnasium.Space, draws: np.random.Generator) -> None:
        self._space = copy.deepcopy(space)  # the environment may draw from its own
        self._space.seed(int(draws.integers(2**31)))
        self._draws = draws
        self.kept: list[Observation] = []

    def reset(self, stream: np.random.Generator | None = None) -> None:
        """Do nothing: there is nothing to forget."""

    def act(self, observation: Observation) -> Action:
        """Return a random action."""
        if self._draws.random() < _KEPT_SHARE:
            self.kept.append(np.array(observation))
        action = self._space.sample()
        return int(action) if isinstance(self._space, gymnasium.spaces.Discrete) else action
