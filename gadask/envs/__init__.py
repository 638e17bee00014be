"""Environments: one lane of one game or task, seeded per episode.

`make_env` builds what an `EnvConfig` names: `ALE/<Game>-v5` through `atari.AtariEnv`, any other id through
`gymnasium.make` and `gymnasium_env.GymnasiumEnv`. Nothing here imports torch, and ale-py is imported only for a
game of it.
"""

from __future__ import annotations

from gadask.config import EnvConfig
from gadask.envs.base import Env
from gadask.envs.gymnasium_env import make_gymnasium_env

__all__ = ["Env", "make_env"]


def make_env(config: EnvConfig) -> Env:
    """Build the environment that `config` names.

    Raises `EnvError` if the id or one of its kwargs is unknown, a package is missing, or a space is not supported.
    """
    if config.id.startswith("ALE/"):
        from gadask.envs.atari import make_atari_env

        return make_atari_env(config)
    return make_gymnasium_env(config)
