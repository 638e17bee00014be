"""Film one episode: open an environment that can be rendered, play, and keep as many pictures as a film needs.

Beside each picture stand the return so far, the action that led to it and, on request, the observation that the policy
is given next.

MuJoCo draws with OpenGL, on a machine without a display through EGL or OSMesa. One of them is chosen where neither
DISPLAY nor MUJOCO_GL is set, and for the film's environment alone: afterwards MUJOCO_GL is unset again. So is
SDL_VIDEODRIVER, which keeps pygame from looking for a display.
"""

from __future__ import annotations

import ctypes.util
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gadask.analysis.movie import Film, Picture
from gadask.config import EnvConfig
from gadask.envs import Env, make_env
from gadask.envs.base import Action, Observation
from gadask.errors import EnvError
from gadask.play.rollout import Actor, watch_episode

MAX_S = 60.0
_PICTURES_PER_S = 15
_MAX_WIDTH = 960  # pixels; all environments of Gymnasium's and most of gadask's are narrower
_MAX_ENTRIES = 4  # of an action in words
_logger = logging.getLogger(__name__)


def open_env(config: EnvConfig, seed: int) -> Env | None:
    """Return an environment that can be rendered; None, with the reason logged, where it cannot.

    Raises:
        EnvError: it is not installed here.
    """
    kwargs = dict(config.kwargs)
    if not config.id.startswith("ALE/"):  # an emulator always has its screen
        kwargs["render_mode"] = "rgb_array"
    env = None
    try:
        with _offscreen(config):
            env = make_env(replace(config, kwargs=kwargs))
            env.reset(seed)
            env.render()
    except Exception as error:  # whatever an environment or its display raises
        if env is None:
            make_env(config).close()  # raises unless rendering is all that is wrong
        else:
            env.close()
        reason = str(error) if isinstance(error, EnvError) else f"{type(error).__name__}: {error}".partition("\n")[0]
        _logger.warning("no film: %s cannot be rendered here: %s", config.id, reason)
        return None
    return env


def film_episode(
    env: Env,
    policy: Actor,
    seed: int,
    max_steps: int,
    actions: np.random.Generator | None = None,
    max_s: float = MAX_S,
    with_inputs: bool = False,
) -> Film:
    """Play the episode that `rollout.play_episode` plays, and keep as many pictures as its film needs.

    The film lasts at most about `max_s` seconds: an episode that is longer is shown two, four, ... times as fast.
    """
    watched = _Watched(env)
    every = max(1, round(env.steps_per_s / _PICTURES_PER_S))
    picture_s, speed = every / env.steps_per_s, 1
    taken: list[tuple[Picture, int, float, str, Observation]] = []
    now = (0, 0.0)

    def take() -> None:
        taken.append((_shrunk(env.render()), *now, _in_words(watched.action, env), watched.observation.copy()))

    with torch.inference_mode():
        for steps, return_, _ in watch_episode(watched, policy, seed, max_steps, actions):
            now = steps, return_
            if steps % every == 0:
                take()
            if len(taken) * picture_s > max_s:
                speed *= 2
                if picture_s * _PICTURES_PER_S >= 2:
                    picture_s /= 2
                else:
                    taken, every = taken[::2], every * 2
        if taken[-1][1] != now[0]:
            take()
    pictures, decisions, returns, words, inputs = map(list, zip(*taken, strict=True))
    return Film(pictures, decisions, returns, words, picture_s, speed, inputs if with_inputs else None)


class _Watched(Env):
    """An environment that keeps the last action and the last observation."""

    def __init__(self, env: Env) -> None:
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.frames_per_step = env.frames_per_step
        self.action: Action | None = None
        self._env = env

    def reset(self, seed: int) -> Observation:
        self.observation, self.action = self._env.reset(seed), None
        return self.observation

    def step(self, action: Action) -> tuple[Observation, float, bool]:
        self.action = action
        self.observation, reward, done = self._env.step(action)
        return self.observation, reward, done

    def render(self) -> NDArray[np.uint8]:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


def _in_words(action: Action | None, env: Env) -> str:
    """Return an action for the caption: its name, its number, or its first entries; nothing before the first."""
    if action is None:
        return ""
    if isinstance(action, int):
        return env.action_meanings[action] if env.action_meanings else f"action {action}"
    entries = action.reshape(-1).tolist()
    more = " ..." if len(entries) > _MAX_ENTRIES else ""  # the font has no ellipsis
    numbers = " ".join(f"{round(entry, 2) + 0:+.2f}" for entry in entries[:_MAX_ENTRIES])  # + 0: no -0.00
    return f"action {numbers}{more}"


def _shrunk(picture: NDArray[np.uint8]) -> Picture:
    """Return a copy, shrunk by a whole factor to at most `_MAX_WIDTH`."""
    factor = -(-picture.shape[1] // _MAX_WIDTH)
    return np.array(Image.fromarray(picture).reduce(factor) if factor > 1 else picture)


@contextmanager
def _offscreen(config: EnvConfig) -> Iterator[None]:
    """Have MuJoCo and SDL draw without a display where there is none and the user has not said how.

    Raises:
        EnvError: the environment is one of Gymnasium's with MuJoCo, and nothing draws without a display.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield
        return
    has_only_osmesa = ctypes.util.find_library("EGL") is None and ctypes.util.find_library("OSMesa") is not None
    how = {
        "MUJOCO_GL": "osmesa" if has_only_osmesa else "egl",
        "SDL_VIDEODRIVER": "dummy",  # without it SDL, with which CartPole draws, prints an error and draws all the same
    }
    ours = how.keys() - os.environ.keys()
    os.environ.update({variable: how[variable] for variable in ours})
    try:
        spec = gymnasium.registry.get(config.id)
        if "MUJOCO_GL" in ours and spec is not None and "mujoco" in str(spec.entry_point):
            _check_drawing(how["MUJOCO_GL"])
        yield
    finally:
        for variable in ours:
            del os.environ[variable]


def _check_drawing(how: str) -> None:
    """Raise `EnvError` if MuJoCo cannot draw with `how`: Gymnasium's own attempt says much, and nothing clearly."""
    try:
        importlib.import_module(f"mujoco.{how}").GLContext(8, 8).free()
    except Exception as error:  # whatever OpenGL's bindings raise
        raise EnvError(
            "expected EGL or OSMesa, since there is no display, found neither; on Debian or Ubuntu: apt-get install"
            " libegl1 libgl1-mesa-dri"
        ) from error
