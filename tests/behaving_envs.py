"""Wrappers that report behaviours: `tests.behaving_envs:reporting` and `:uneven`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class Reporting(gymnasium.Wrapper):  # type: ignore[misc]
    """Reports the sum of what was observed and the number of steps; with `uneven`, in a third of episodes only that."""

    def __init__(self, env: gymnasium.Env, uneven: bool = False) -> None:
        super().__init__(env)
        self._uneven = uneven

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        self._steps, self._total, self._seed = 0, 0.0, seed
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self._steps += 1
        self._total += float(np.sum(observation))
        behaviour = [self._steps] if self._uneven and self._seed % 3 == 0 else [self._total, self._steps]
        return observation, reward, terminated, truncated, {**info, "behaviour": behaviour}


def reporting(env: gymnasium.Env) -> gymnasium.Env:
    return Reporting(env)


def uneven(env: gymnasium.Env) -> gymnasium.Env:
    return Reporting(env, uneven=True)
