"""Registers gadask's own tasks with Gymnasium, and knows their many-lanes form.

`import gadask.envs` does it, so `gymnasium.make("gadask/MetaBandit-v0")` works after it; without it,
`gymnasium.make("gadask.envs:gadask/MetaBandit-v0")` imports it. Gymnasium 1 no longer has entry points for plugins.
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium

from gadask.envs.bandit import BanditLanes, MetaBandit
from gadask.envs.base import LaneEnv
from gadask.envs.hard_maze import HardMaze, HardMazeLanes
from gadask.envs.harlow import Harlow, HarlowLanes
from gadask.envs.mdp import MDPLanes, MetaMDP
from gadask.envs.one_lane import OneLane

LANE_ENVS: dict[str, Callable[..., LaneEnv]] = {
    "gadask/MetaBandit-v0": BanditLanes,
    "gadask/MetaMDP-v0": MDPLanes,
    "gadask/Harlow-v0": HarlowLanes,
    "gadask/HardMaze-v0": HardMazeLanes,
}
"""The many-lanes form of each task: called with the number of lanes and the task's kwargs."""

_ENVS: dict[str, type[OneLane]] = {
    "gadask/MetaBandit-v0": MetaBandit,
    "gadask/MetaMDP-v0": MetaMDP,
    "gadask/Harlow-v0": Harlow,
    "gadask/HardMaze-v0": HardMaze,
}

for _id, _env in _ENVS.items():
    gymnasium.register(_id, f"{_env.__module__}:{_env.__name__}")
