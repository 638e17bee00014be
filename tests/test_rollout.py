"""The inner loop: episodes played by hand-made environments and policies, and by real ones."""

from __future__ import annotations

import itertools
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from gadask.config import EnvConfig, PolicyConfig
from gadask.envs import Env, make_env
from gadask.envs.base import Action, Observation
from gadask.messages import Status
from gadask.play.rollout import Episode, play_episode, watch_episode
from gadask.policies import Policy, make_policy

VECTOR = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
BUTTONS = gymnasium.spaces.Discrete(3)


class Script(Env):
    """Pays the given rewards one by one and then ends; an exception among them is raised."""

    observation_space = VECTOR
    action_space = BUTTONS
    frames_per_step = 4

    def __init__(self, *rewards: Any) -> None:
        self.rewards = rewards
        self.actions: list[Action] = []
        self.seeds: list[int] = []

    def reset(self, seed: int) -> Observation:
        self.seeds.append(seed)
        self.left = list(self.rewards)
        return np.zeros(2, np.float32)

    def step(self, action: Action) -> tuple[Observation, float, bool]:
        self.actions.append(action)
        reward = self.left.pop(0)
        if isinstance(reward, Exception):
            raise reward
        return np.zeros(2, np.float32), reward, not self.left

    def render(self) -> NDArray[np.uint8]:
        return np.full((1, 1, 3), len(self.actions), np.uint8)

    def close(self) -> None:
        pass


def constant_policy(action: int) -> Policy:
    policy = Policy(nn.Linear(2, 3), VECTOR, BUTTONS)
    policy.flat.zero_()
    policy.flat[6 + action] = 1
    return policy


@given(rewards=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), max_steps=st.integers(1, 25))
def test_an_episode_ends_with_the_environment_or_after_max_steps(rewards: list[float], max_steps: int) -> None:
    env = Script(*rewards)
    counted = rewards[:max_steps]
    episode = play_episode(env, constant_policy(2), 11, max_steps)
    assert episode == Episode(sum(counted), len(counted), 4 * len(counted), Status.OK)
    assert env.actions == [2] * len(counted)
    assert env.seeds == [11]


@given(stop_at=st.integers(0, 9))
def test_stopping_is_noticed_before_the_next_step(stop_at: int) -> None:
    env = Script(*[1.0] * 8)
    polls = itertools.count()
    episode = play_episode(env, constant_policy(0), 0, 100, lambda: next(polls) >= stop_at)
    assert episode.steps == min(stop_at, 8) == len(env.actions)
    assert episode.return_ == episode.steps
    assert episode.status == (Status.STOPPED if stop_at < 8 else Status.OK)  # a complete episode counts


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf])
def test_a_return_that_is_not_finite_has_its_status(reward: float) -> None:
    episode = play_episode(Script(1.0, reward, 1.0), constant_policy(0), 0, 100)
    assert episode.status == Status.NONFINITE
    assert episode.steps == 3
    assert not math.isfinite(episode.return_)


def test_infinities_that_cancel_are_not_finite() -> None:
    assert play_episode(Script(math.inf, -math.inf), constant_policy(0), 0, 100).status == Status.NONFINITE


def test_what_the_environment_or_the_policy_raises_is_not_caught() -> None:
    with pytest.raises(OSError, match="lost"):
        play_episode(Script(1.0, OSError("lost")), constant_policy(0), 0, 100)
    policy = constant_policy(0)
    policy.module.forward = lambda *_: torch.zeros(1, 2)[5]
    with pytest.raises(IndexError):
        play_episode(Script(1.0), policy, 0, 100)


def test_watching_yields_the_start_and_every_step() -> None:
    env = Script(1.0, 2.0, 4.0)
    pictures = []
    seen = []
    for place in watch_episode(env, constant_policy(1), 5, 100):
        seen.append(place)
        pictures.append(int(env.render()[0, 0, 0]))
    assert seen == [(0, 0.0, False), (1, 1.0, False), (2, 3.0, False), (3, 7.0, True)]
    assert pictures == [0, 1, 2, 3]
    assert list(watch_episode(env, constant_policy(1), 5, 2)) == [*seen[:2], (2, 3.0, True)]


def test_no_gradients_are_recorded() -> None:
    policy = constant_policy(0)
    modes = []
    policy.module.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    play_episode(Script(1.0, 1.0), policy, 0, 100)
    assert modes == [False, False]
    assert not any(parameter.requires_grad for parameter in policy.module.parameters())


@pytest.mark.parametrize("kind", ["such2017", "nature"])
def test_an_atari_episode_is_a_function_of_weights_and_seed(kind: str) -> None:
    def made() -> tuple[Env, Policy]:
        env = make_env(EnvConfig("ALE/Frostbite-v5"))
        return env, make_policy(PolicyConfig(kind), env.observation_space, env.action_space)

    env, policy = made()
    noise = torch.randn(2, policy.n_params, generator=torch.Generator().manual_seed(0))
    results = []
    for weights, seed in [(0, 3), (1, 3), (0, 4), (0, 3)]:
        policy.initialise(noise[weights])
        results.append(play_episode(env, policy, seed, 120))
    assert results[0] == results[3]
    other_env, other_policy = made()
    other_policy.initialise(noise[0])
    assert play_episode(other_env, other_policy, 3, 120) == results[0]
    assert results[0].frames == 4 * results[0].steps


@pytest.mark.parametrize("kind", ["gru", "lstm", "snail", "mlp"])
def test_an_episode_with_memory_and_sampled_actions_is_a_function_of_weights_seed_and_stream(kind: str) -> None:
    env = make_env(EnvConfig("CartPole-v1"))
    policy = make_policy(PolicyConfig(kind, {"actions": "sampled"}), env.observation_space, env.action_space)
    policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(0)))
    results = []
    for seed, actions in [(3, 1), (4, 1), (3, 2), (3, 1)]:
        places = watch_episode(env, policy, seed, 60, np.random.default_rng(actions))
        observed = [(steps, np.array(env._env.unwrapped.state).tolist()) for steps, _, _ in places]  # type: ignore[attr-defined]
        results.append(observed)
    assert results[0] == results[3]
    assert results[0] != results[1]
    assert results[0] != results[2]
    assert results[0][0] == results[2][0]  # the stream is for actions alone


def test_continuous_control_is_played() -> None:
    env = make_env(EnvConfig("Pendulum-v1"))
    policy = make_policy(PolicyConfig("mlp"), env.observation_space, env.action_space)
    policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(0)))
    episode = play_episode(env, policy, 1, 1000)
    assert episode.status == Status.OK
    assert episode.steps == episode.frames == 200
    assert -2000 < episode.return_ < 0
