"""What gadask's own tasks share: an episode's random stream, checks of kwargs, and the Gymnasium form of one lane.

Each task is written once, as a `LaneEnv`. All that an episode draws at random is drawn when its lane is reset, from the
stream of its seed; a step only reads it. Lanes therefore cannot influence each other, and a step of many lanes is a
handful of numpy calls.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.envs.base import Action, LaneEnv
from gadask.errors import EnvError
from gadask.genomes.seeding import Purpose, Stream

_MAX_SEED = 2**31 - 1

_streams = Stream()


def episode_stream(seed: int) -> np.random.Generator:
    """Return the random stream of the episode with `seed`, in [0, 2**64), at its start; valid until the next call."""
    return _streams.at(seed, Purpose.TASK, 0)


class OneLane(gymnasium.Env):  # type: ignore[misc]
    """The only lane of a `LaneEnv` as a Gymnasium environment: the same episode for the same seed and actions.

    `reset(seed=...)` starts the episode of that seed, `reset()` one whose seed the environment's generator draws. The
    end of an episode is part of each task, so it is always termination. A task adds its picture, and facts to `info`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, lanes: LaneEnv, render_mode: str | None) -> None:
        """Take over `lanes`, which has one lane; `render_mode` is None or `"rgb_array"`."""
        check_choice("render_mode", render_mode, (None, "rgb_array"))
        self.render_mode = render_mode
        self.observation_space = lanes.observation_space
        self.action_space = lanes.action_space
        self.history: list[tuple[Any, float]] = []
        """Action and reward of every step of the episode so far; an int, or a copy of what a Box has."""
        self._one = lanes
        self._actions = np.zeros((1, *self.action_space.shape), self.action_space.dtype)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.generic], dict[str, Any]]:
        """Start an episode; there are no `options`."""
        super().reset(seed=seed)
        self._one.reset(0, int(self.np_random.integers(_MAX_SEED)) if seed is None else seed)
        self.history = []
        return self._one.observations[0].copy(), self._info()

    def step(self, action: Action) -> tuple[NDArray[np.generic], float, bool, bool, dict[str, Any]]:
        """Play one step; raises `EnvError` for an action outside the space or an episode that is over."""
        if not self.action_space.contains(action):
            raise EnvError(f"action: expected {_in_words(self.action_space)}, found {action!r}")
        if self._one.over[0]:
            raise EnvError("step: expected an episode that is not over; call reset first")
        self._actions[0] = action
        self._one.step(self._actions)
        reward = float(self._one.rewards[0])
        self.history.append((np.array(action) if self._actions[0].shape else int(action), reward))
        return self._one.observations[0].copy(), reward, bool(self._one.over[0]), False, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Return the present picture, uint8 `(height, width, 3)`; None without a render mode."""
        return self._picture() if self.render_mode == "rgb_array" else None

    def _info(self) -> dict[str, Any]:
        """Return what `reset` and `step` tell beside the observation."""
        return {}

    def _picture(self) -> NDArray[np.uint8]:
        """Draw the episode so far."""
        raise NotImplementedError


def _in_words(space: gymnasium.Space) -> str:
    """Return which actions there are."""
    return f"one of 0 to {space.n - 1}" if isinstance(space, gymnasium.spaces.Discrete) else f"one of {space}"


def check_count(key: str, value: object, least: int, most: int) -> int:
    """Return `value` if it is a whole number from `least` to `most`; raise `EnvError` if not."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise EnvError(f"env.kwargs.{key}: expected a whole number from {least} to {most}, found {value!r}")
    return value


def check_number(key: str, value: object) -> float:
    """Return `value` if it is a finite number; raise `EnvError` if not."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EnvError(f"env.kwargs.{key}: expected a finite number, found {value!r}")
    return value


def check_choice(key: str, value: object, choices: tuple[str | None, ...]) -> None:
    """Raise `EnvError` if `value` is none of `choices`."""
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise EnvError(f"env.kwargs.{key}: expected {expected}, found {value!r}")
