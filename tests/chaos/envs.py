"""An environment that goes wrong in every way, in episodes that its seed decides: `tests.chaos.envs:Chaotic-v0`.

The same episodes fail in every play of a run, disturbed or not, so that rows and parents can be compared.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray


class Chaotic(gymnasium.Env):  # type: ignore[misc]
    """A walk of 5 to 29 steps. Each of the first four numbers is "one episode in so many", 0 for none."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, raises: int = 0, hangs: int = 0, dies: int = 0, lingers: int = 0, step_s: float = 0.0) -> None:
        self.observation_space = Box(-1, 1, (3,), np.float32)
        self.action_space = Discrete(2)
        self._faults = {"raises": raises, "hangs": hangs, "dies": dies, "lingers": lingers}
        self._step_s = step_s

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._length = int(self.np_random.integers(5, 30))
        struck = [bool(every) and int(self.np_random.integers(every)) == 0 for every in self._faults.values()]
        self._fault = next((fault for fault, strikes in zip(self._faults, struck, strict=True) if strikes), "")
        return self._observe(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        time.sleep(self._step_s)
        if self._steps == 3:
            self._go_wrong()
        reward = float(self.np_random.random()) + float(action)
        return self._observe(), reward, self._steps >= self._length, False, {}

    def _observe(self) -> NDArray[np.float32]:
        observation: NDArray[np.float32] = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return observation

    def _go_wrong(self) -> None:
        if self._fault == "raises":
            raise RuntimeError("it cannot step")
        if self._fault == "hangs":
            ctypes.PyDLL(None).sleep(10_000)  # holds the interpreter's lock
        if self._fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "lingers":
            time.sleep(6)


gymnasium.register("Chaotic-v0", entry_point="tests.chaos.envs:Chaotic", disable_env_checker=True)
