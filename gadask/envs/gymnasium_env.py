"""Any single Gymnasium environment.

| space | supported | becomes |
| --- | --- | --- |
| observation | Box of 1 axis; Box of 3 axes | itself; bytes with channels last become channels first |
| observation | Discrete | one-hot float32 vector |
| action | Discrete, Box | itself |
"""

from __future__ import annotations

import difflib
import math
from numbers import Real

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.config import EnvConfig
from gadask.envs.base import Action, Env, Observation
from gadask.errors import EnvError
from gadask.seeding import seed_global_generators

_MAX_CHANNELS = 4  # a last axis of this length or less, behind longer ones, counts channels


def make_gymnasium_env(config: EnvConfig) -> GymnasiumEnv:
    """Build `config.id`, also `package.module:Name-v0`, by `gymnasium.make` with `config.kwargs`.

    Raises `EnvError` if it is unknown, cannot be made, or has spaces that are not supported.
    """
    seed_global_generators(0)  # what its constructor draws from them is the same in every process
    try:
        env = gymnasium.make(config.id, disable_env_checker=True, **config.kwargs)
    except gymnasium.error.UnregisteredEnv as error:
        near = difflib.get_close_matches(config.id.rpartition(":")[2], gymnasium.registry, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "'package.module:Name-v0' imports the module that registers it"
        raise EnvError(f"env.id: expected an id registered with Gymnasium, found {config.id!r}; {hint}") from error
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise EnvError(f"env.id: cannot make {config.id!r}: {type(error).__name__}: {reason}") from error
    try:
        return GymnasiumEnv(env)
    except EnvError:
        env.close()
        raise


class GymnasiumEnv(Env):
    """One Gymnasium environment behind gadask's interface."""

    frames_per_step = 1

    def __init__(self, env: gymnasium.Env) -> None:
        """Take over `env`; raises `EnvError` for spaces that are not supported."""
        self._env = env
        self._one_hot: NDArray[np.float32] | None = None
        self._channels_last = False
        space = env.observation_space
        name = env.spec.id if env.spec else type(env).__name__
        if isinstance(space, gymnasium.spaces.Discrete):
            self._first = int(space.start)
            self._one_hot = np.zeros(int(space.n), np.float32)
            space = gymnasium.spaces.Box(0, 1, self._one_hot.shape, np.float32)
        elif not isinstance(space, gymnasium.spaces.Box) or len(space.shape) not in (1, 3):
            raise EnvError(
                f"env.id: observations of {name!r} must be a Discrete or a Box of 1 or 3 axes, found {space};"
                " wrap the environment"
            )
        elif space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] <= _MAX_CHANNELS < space.shape[0]:
            self._channels_last = True
            space = gymnasium.spaces.Box(np.moveaxis(space.low, 2, 0), np.moveaxis(space.high, 2, 0), dtype=np.uint8)
        if not isinstance(env.action_space, gymnasium.spaces.Discrete | gymnasium.spaces.Box):
            raise EnvError(
                f"env.id: actions of {name!r} must be a Discrete or a Box, found {env.action_space};"
                " wrap the environment"
            )
        self.observation_space = space
        self.action_space = env.action_space
        self.steps_per_s = float(env.metadata.get("render_fps") or self.steps_per_s)
        self.has_paired_tasks = bool(env.metadata.get("paired_tasks"))

    def reset(self, seed: int) -> Observation:
        """Start the episode that `seed` determines."""
        return self._converted(self._env.reset(seed=seed)[0])

    def step(self, action: Action) -> tuple[Observation, float, bool]:
        """Play one step; the episode ends when it is terminated or truncated."""
        observation, reward, terminated, truncated, _ = self._env.step(action)
        return self._converted(observation), _number(reward), bool(terminated or truncated)

    def render(self) -> NDArray[np.uint8]:
        """Return the picture of an environment made with `render_mode = "rgb_array"` among its kwargs."""
        if self._env.render_mode != "rgb_array":
            raise EnvError(
                f"env.kwargs.render_mode: expected 'rgb_array' to render, found {self._env.render_mode!r}; set it"
            )
        return np.asarray(self._env.render(), np.uint8)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _converted(self, observation: object) -> Observation:
        """Return the observation in the form that `observation_space` promises."""
        if self._one_hot is not None:
            self._one_hot[:] = 0
            self._one_hot[int(observation) - self._first] = 1  # type: ignore[call-overload]
            return self._one_hot
        array = np.asarray(observation)
        return np.moveaxis(array, 2, 0) if self._channels_last else array


def _number(reward: object) -> float:
    """Return a reward as a float; NaN if it is no number."""
    if isinstance(reward, np.ndarray) and reward.size == 1:
        reward = reward.item()
    return float(reward) if isinstance(reward, Real) else math.nan
