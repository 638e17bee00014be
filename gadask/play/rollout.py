"""The inner loop: one policy plays one seeded episode of one environment.

One genome at a time: interleaving several in one process made each step slower, since the weights of large networks
evict each other from the cache. `lanes` plays small ones together.

An environment should draw from the generator that its seed makes. For one that draws from the global generators all the
same, those are seeded before each episode, and before it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from gadask.envs import Env
from gadask.envs.base import Action, Observation
from gadask.genomes.seeding import seed_global_generators
from gadask.messages import Status


class Actor(Protocol):
    """What chooses the actions: a `Policy`, or `lanes.FirstLane`."""

    def reset(self, stream: np.random.Generator | None = None) -> None:
        """Begin an episode, whose sampled actions are drawn from `stream`."""

    def act(self, observation: Observation) -> Action:
        """Return the action for the next observation."""


@dataclass(frozen=True)
class Episode:
    """One episode's result."""

    return_: float
    """Sum of the rewards; NaN or infinite only with `Status.NONFINITE`."""
    steps: int
    """Agent decisions."""
    frames: int
    """Emulator frames that the steps stand for, no-ops before the first not counted."""
    status: Status
    """`OK`, `NONFINITE` or `STOPPED`."""


def play_episode(
    env: Env,
    policy: Actor,
    seed: int,
    max_steps: int,
    stopped: Callable[[], bool] = lambda: False,
    stream: np.random.Generator | None = None,
) -> Episode:
    """Play until the environment ends the episode, `max_steps` steps were played, or `stopped()` is true.

    `stopped` is asked before every step; `max_steps` is at least 1; `stream` is for sampled actions. What the
    environment or the policy raises is not caught.
    """
    steps, return_ = 0, 0.0
    status = Status.OK
    with torch.inference_mode():
        for steps, return_, over in watch_episode(env, policy, seed, max_steps, stream):  # noqa: B007
            if not over and stopped():
                status = Status.STOPPED
                break
    if not math.isfinite(return_):
        status = Status.NONFINITE
    return Episode(return_, steps, steps * env.frames_per_step, status)


def watch_episode(
    env: Env, policy: Actor, seed: int, max_steps: int, stream: np.random.Generator | None = None
) -> Iterator[tuple[int, float, bool]]:
    """Play an episode and yield `(steps, return so far, whether it is over)` after the reset and after every step.

    The environment may be rendered between two yields. Seeds the global generators of Python, numpy and torch.
    """
    act, step = policy.act, env.step
    seed_global_generators(seed)
    observation = env.reset(seed)
    policy.reset(stream)
    steps, return_ = 0, 0.0
    over = False
    yield steps, return_, over
    while not over:
        observation, reward, done = step(act(observation))
        return_ += reward
        steps += 1
        over = done or steps == max_steps
        yield steps, return_, over
