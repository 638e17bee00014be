"""Any single Gymnasium environment.

| space | supported | becomes |
| --- | --- | --- |
| observation | Box of 1 axis; Box of 3 axes | itself; channels last become channels first, see `channels` |
| observation | Box without axes; Box of 2 axes of uint8 | a vector of one entry; a picture of one channel |
| observation | Discrete | one-hot float32 vector |
| observation | any other | what the `wrappers` of the config make of it |
| action | Discrete, Box | itself; a Discrete action is given as the space's own type, `np.int64` |

What an environment gives is checked against what it announces at every step (`contract`).
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import re
import sys
from collections.abc import Mapping
from numbers import Real
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.blame import in_one_line, is_of_user, place_of_class, value_in_short
from gadask.config import Channels, EnvConfig
from gadask.contract import Announced, AnnouncedNumber, behaviour_of, reward_of
from gadask.envs.base import Action, Env, Observation
from gadask.errors import EnvError
from gadask.genomes.seeding import seed_global_generators
from gadask.imports import find_user_function, import_user_module
from gadask.spaces import ChannelsFirst, are_last, in_short

_FLATTEN = 'wrappers = ["gymnasium.wrappers.FlattenObservation"]'
_OLD_GAME = re.compile(r"([A-Z][A-Za-z0-9]*?)(?:-ram)?(?:NoFrameskip|Deterministic)?-v\d+")
_STEP = "step: expected (observation, reward, terminated, truncated, info)"


def make_gymnasium_env(config: EnvConfig) -> GymnasiumEnv:
    """Build `config.id`, also `package.module:Name-v0`, by `gymnasium.make` with `config.kwargs`, and wrap it.

    Raises `EnvError` if it is unknown, cannot be made, or has spaces that are not supported.
    """
    module, colon, _ = config.id.partition(":")
    if colon:
        import_user_module(module, "env.id", EnvError)
    _check_old_game(config.id)
    seed_global_generators(0)  # what its constructor draws from them is the same in every process
    try:
        # An environment may change what it is given.
        env = gymnasium.make(config.id, disable_env_checker=True, **copy.deepcopy(config.kwargs))
    except gymnasium.error.UnregisteredEnv as error:
        near = difflib.get_close_matches(config.id.rpartition(":")[2], gymnasium.registry, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "'package.module:Name-v0' imports the module that registers it"
        raise EnvError(f"env.id: expected an id registered with Gymnasium, found {config.id!r}; {hint}") from error
    except (Exception, SystemExit) as error:  # whatever a constructor raises
        raise EnvError(f"env.id: cannot make {config.id!r}: {in_one_line(error)}") from error
    try:
        for name in config.wrappers:
            env = _wrapped(env, name)
        made = GymnasiumEnv(env, config.channels)
        if config.wrappers:
            made.n_starts = 0  # what a wrapper draws at random is not known
        return made
    except EnvError:
        with contextlib.suppress(Exception, SystemExit):
            env.close()
        raise


def _check_old_game(id_: str) -> None:
    """Raise `EnvError` for one of the many names that a game had, each with other preprocessing."""
    game = _OLD_GAME.fullmatch(id_)
    spec = gymnasium.registry.get(id_)
    if game is None or (spec is not None and not str(spec.entry_point).startswith("ale_py.")):
        return
    with contextlib.suppress(ImportError):
        import ale_py

        gymnasium.register_envs(ale_py)
    if f"ALE/{game[1]}-v5" in gymnasium.registry:
        raise EnvError(f"env.id: expected 'ALE/{game[1]}-v5', found {id_!r}; env.preprocessing chooses its pictures")


def _wrapped(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """Put around `env` the wrapper that `package.module.Name` or `package.module:factory` names."""
    module_name, colon, function_name = name.partition(":")
    if not colon:
        module_name, _, function_name = name.rpartition(".")
    if not module_name or not function_name:
        raise EnvError(
            f"env.wrappers: expected names such as 'gymnasium.wrappers.FlattenObservation' or"
            f" 'package.module:factory', found {name!r}"
        )
    module = import_user_module(module_name, "env.wrappers", EnvError)
    wrapper = find_user_function(module, function_name, "env.wrappers", EnvError)
    try:
        wrapped = wrapper(env)
    except (Exception, SystemExit) as error:  # whatever a wrapper raises
        raise EnvError(f"env.wrappers: cannot put {name!r} around the environment: {in_one_line(error)}") from error
    if not isinstance(wrapped, gymnasium.Env):
        raise EnvError(f"env.wrappers: expected {name!r} to return a gymnasium.Env, found {value_in_short(wrapped)}")
    return wrapped


class GymnasiumEnv(Env):
    """One Gymnasium environment behind gadask's interface."""

    frames_per_step = 1

    def __init__(self, env: gymnasium.Env, channels: Channels = "auto") -> None:
        """Take over `env`; `channels` says which axis of a picture holds them.

        Raises `EnvError` for spaces that are not supported.
        """
        self._env = env
        spec = getattr(env, "spec", None)
        self._name = spec.id if spec else type(env).__name__
        self._info: object = {}  # of the last step
        self.max_steps: int | None = spec.max_episode_steps if spec else None
        space, action_space = (self._space(name) for name in ("observation_space", "action_space"))
        self._fit: Announced | AnnouncedNumber
        self._shape: tuple[int, ...] | None = None
        """Of what policies are given, where it is not the environment's."""
        self._channels_last = False
        if isinstance(space, gymnasium.spaces.Discrete):
            self._fit = AnnouncedNumber(int(space.start), int(space.n))
            space = gymnasium.spaces.Box(0, 1, (int(space.n),), np.float32)
        elif isinstance(space, gymnasium.spaces.Box):
            self._fit = self._announced(space)
            space = self._shown(space, channels)
        else:
            raise self._unsupported(space)
        if channels != "auto" and not isinstance(space, ChannelsFirst):
            raise EnvError(f"env.channels: expected pictures of 3 axes, found {in_short(space)}; leave it out")
        if not isinstance(action_space, gymnasium.spaces.Discrete | gymnasium.spaces.Box):
            raise EnvError(
                f"env.id: actions of {self._name!r} must be a Discrete or a Box, found {in_short(action_space)}; put a"
                ' wrapper around it that makes them from one: wrappers = ["package.module:factory"] under [env]'
            )
        if isinstance(action_space, gymnasium.spaces.Box) and 0 in action_space.shape:
            raise EnvError(f"env.id: actions of {self._name!r} must have entries, found shape {action_space.shape}")
        self.observation_space = space
        self.action_space = action_space
        is_discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        self._action_type: Any = action_space.dtype.type if is_discrete else np.asarray
        metadata = getattr(env, "metadata", None) or {}
        with contextlib.suppress(TypeError, ValueError):  # for films alone
            self.steps_per_s = float(metadata.get("render_fps") or self.steps_per_s)
        self.has_paired_tasks = bool(metadata.get("paired_tasks"))
        n_starts = metadata.get("n_starts")
        self.n_starts = n_starts if isinstance(n_starts, int) and n_starts > 0 else 0

    def reset(self, seed: int) -> Observation:
        """Start the episode that `seed` determines."""
        try:
            answer = self._env.reset(seed=seed)
        except TypeError as error:
            if is_of_user(error):
                raise
            raise self._broken(f"reset: expected def reset(self, *, seed=None, options=None), found {error}") from error
        if not isinstance(answer, tuple | list) or len(answer) != 2 or isinstance(answer[1], Real | np.ndarray):
            raise self._broken(f"reset: expected (observation, info), found {value_in_short(answer)}")
        return self._converted(answer[0])

    def step(self, action: Action) -> tuple[Observation, float, bool]:
        """Play one step; the episode ends when it is terminated or truncated."""
        try:
            answer = self._env.step(self._action_type(action))
        except ValueError as error:
            if is_of_user(error):
                raise
            raise self._broken(f"{_STEP}, found in Gymnasium's wrapper {in_one_line(error)}") from error
        try:
            observation, reward, terminated, truncated, self._info = answer
        except (TypeError, ValueError) as error:
            raise self._broken(f"{_STEP}, found {value_in_short(answer)}") from error
        if type(reward) is not float:
            try:
                reward = reward_of(reward)
            except EnvError as error:
                raise self._broken(str(error)) from error
        return self._converted(observation), reward, bool(terminated or truncated)

    def behaviour(self) -> NDArray[np.float32] | None:
        """Return `info["behaviour"]` of the last step, or where there is none the position of a robot in MuJoCo.

        That is x, y and z of the model's first body: the torso of whatever walks or swims, the cart of a pendulum.
        Every model has it, and it says how far a robot got. MuJoCo computes it before it moves the joints, so it is one
        step of the simulation old, not of the agent. The first body of an arm (Reacher, Pusher) does not move: there a
        wrapper must report something better.

        Raises `EnvError` for what is no vector of finite numbers.
        """
        reported = self._info.get("behaviour") if isinstance(self._info, Mapping) else None
        if reported is None:
            reported = _root_position(self._env.unwrapped)
        if reported is None:
            return None
        try:
            return behaviour_of(reported)
        except EnvError as error:
            raise self._broken(str(error)) from error

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
        try:
            array = self._fit(observation)
        except EnvError as error:
            raise self._broken(str(error)) from error
        if self._channels_last:
            return np.moveaxis(array, 2, 0)
        return array if self._shape is None else array.reshape(self._shape)

    def _space(self, name: str) -> gymnasium.Space:
        """Return one of the environment's spaces."""
        space = getattr(self._env, name, None)
        if not isinstance(space, gymnasium.Space):
            raise self._broken(
                f"expected its {name} to be a space of gymnasium.spaces once it is made, found {value_in_short(space)}"
            )
        return space

    def _announced(self, space: gymnasium.spaces.Box) -> Announced:
        """Return the check of what a Box announces."""
        try:
            return Announced(space.dtype, space.shape)
        except EnvError as error:
            raise self._broken(str(error)) from error

    def _shown(self, space: gymnasium.spaces.Box, channels: Channels) -> gymnasium.spaces.Box:
        """Return the space that policies are shown for an environment's Box."""
        low, high, n_axes = space.low, space.high, len(space.shape)
        if n_axes == 3:
            self._channels_last = channels == "last" or (channels == "auto" and are_last(space))
            if self._channels_last:
                low, high = (np.moveaxis(bound, 2, 0) for bound in (low, high))
            return ChannelsFirst(low, high, dtype=space.dtype) if self._channels_last or channels == "first" else space
        if n_axes == 1:
            return space
        if n_axes == 2 and space.dtype == np.uint8:
            self._shape = (1, *space.shape)
            return ChannelsFirst(low[None], high[None], dtype=space.dtype)
        if n_axes == 0:
            self._shape = (1,)
            return gymnasium.spaces.Box(low.reshape(1), high.reshape(1), dtype=space.dtype)
        raise self._unsupported(space)

    def _unsupported(self, space: gymnasium.Space) -> EnvError:
        return EnvError(
            f"env.id: observations of {self._name!r} must be a Discrete or a Box of 1 or 3 axes, found"
            f" {in_short(space)}; to make them one vector, add {_FLATTEN} under [env]"
        )

    def _broken(self, what: str) -> EnvError:
        """Return the error of an environment that does not do what it announces."""
        unwrapped = getattr(self._env, "unwrapped", self._env)
        place = place_of_class(unwrapped)
        return EnvError(f"env.id: {self._name!r}{f' ({place})' if place else ''}: {what}")


def _root_position(env: object) -> object:
    """Return the position of the first body after the world, float64 `(3,)`; None without MuJoCo."""
    mujoco = sys.modules.get("mujoco")  # imported by whoever has made a simulation
    data = getattr(env, "data", None)
    return data.xpos[1] if mujoco is not None and isinstance(data, mujoco.MjData) else None
