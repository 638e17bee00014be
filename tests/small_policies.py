"""Policies for spaces that tests use."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from gadask.config import EnvConfig, PolicyConfig, Scalar
from gadask.envs import make_env
from gadask.policies import Policy, make_policy

IMAGE = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)


VECTOR = gymnasium.spaces.Box(-1, 1, (5,), np.float32)


BUTTONS = gymnasium.spaces.Discrete(18)


def policy_of(
    kind: str,
    observation_space: gymnasium.Space = IMAGE,
    action_space: gymnasium.Space = BUTTONS,
    **kwargs: Scalar,
) -> Policy:
    return make_policy(PolicyConfig(kind, kwargs), observation_space, action_space)


def noise_for(policy: Policy, seed: int = 0) -> torch.Tensor:
    return torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed))


def real_frames() -> list[NDArray[np.uint8]]:
    """Observations of a game that random actions lead to."""
    env = make_env(EnvConfig("ALE/Frostbite-v5"))
    actions = np.random.default_rng(0).integers(0, 18, 60)
    frames = [env.reset(3).copy()] + [env.step(int(action))[0].copy() for action in actions]
    return [np.asarray(frame, np.uint8) for frame in frames[::12]]
