"""Environments: games and tasks, seeded per episode, one lane or many of them together.

`make_env` builds one lane of what an `EnvConfig` names: `ALE/<Game>-v5` through `atari.AtariEnv`, any other id through
`gymnasium.make` and `gymnasium_env.GymnasiumEnv`. `make_lane_env` builds many lanes of gadask's own tasks:

| id | what is to be done |
| --- | --- |
| `gadask/MetaBandit-v0` | learn within an episode which arm of a bandit pays most (`bandit`) |
| `gadask/MetaMDP-v0` | learn within an episode what to do in the states of a random MDP (`mdp`) |
| `gadask/Harlow-v0` | learn within an episode which of two images is the good one (`harlow`) |
| `gadask/HardMaze-v0` | find the goal of a maze though the straight way is a dead end (`hard_maze`) |

They are registered with Gymnasium, and `baselines` says what their scores mean. Nothing here imports torch, and ale-py
is imported only for a game of it.
"""

from __future__ import annotations

import difflib
import inspect

from gadask.config import EnvConfig
from gadask.envs.base import Env, LaneEnv
from gadask.envs.gymnasium_env import make_gymnasium_env
from gadask.envs.registration import LANE_ENVS
from gadask.errors import EnvError

__all__ = ["Env", "LaneEnv", "make_env", "make_lane_env"]


def make_env(config: EnvConfig) -> Env:
    """Build the environment that `config` names.

    Raises `EnvError` if the id or one of its kwargs is unknown, a package is missing, or a space is not supported.
    """
    if config.id.startswith("ALE/"):
        from gadask.envs.atari import make_atari_env

        return make_atari_env(config)
    return make_gymnasium_env(config)


def make_lane_env(config: EnvConfig, n_lanes: int) -> LaneEnv | None:
    """Build `n_lanes` lanes of the task of gadask's own that `config` names; None for others, and with wrappers.

    Each lane plays the episodes that `make_env(config)` plays for the same seeds. There is no picture of lanes, so that
    `render_mode` has no effect. Raises `EnvError` if a kwarg is unknown or impossible.
    """
    lane_env = LANE_ENVS.get(config.id)
    if lane_env is None or config.wrappers:
        return None
    kwargs = {key: value for key, value in config.kwargs.items() if key != "render_mode"}
    known = list(inspect.signature(lane_env).parameters)[1:]
    for key in kwargs:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise EnvError(f"env.kwargs: unknown key {key!r} for {config.id!r}; {hint}")
    return lane_env(n_lanes, **kwargs)
