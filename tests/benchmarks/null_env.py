"""An environment whose episodes take one step and no time: `tests.benchmarks.null_env:Null-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray


class Null(gymnasium.Env):  # type: ignore[misc]
    """One observation, one action, one reward that follows from the seed."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Discrete(2)
    _observation = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode."""
        self._reward = float((seed or 0) % 1000)
        return self._observation, {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """End it."""
        return self._observation, self._reward, True, False, {}


gymnasium.register("Null-v0", entry_point="tests.benchmarks.null_env:Null", disable_env_checker=True)
