"""Environments that go wrong on purpose: `tests.faulty_envs:Faulty-v0`.

An episode is a walk whose length and rewards follow from its seed; the fault strikes in episodes whose seed is
divisible by `every`, at step 3. With `once`, a path, it strikes only as long as that file does not exist, and makes it.
An environment that raised is broken for good: only a fresh one can play on. `wait` ends when the file `until` exists.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete
from numpy.typing import NDArray

FAULTS = ("none", "make", "reset", "step", "hang", "hang-in-c", "kill", "nan", "inf", "text", "slow", "babble", "wait")


class Faulty(gymnasium.Env):  # type: ignore[misc]
    """A walk with a fault."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        fault: str = "none",
        every: int = 1,
        once: str = "",
        step_s: float = 0.0,
        until: str = "",
        n_entries: int = 3,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.observation_space = Box(-1, 1, (n_entries,), np.float32)
        self.action_space = Discrete(2)
        self._fault, self._every, self._once, self._step_s, self._until = fault, every, once, step_s, until
        self._broken = False
        if fault == "make" and self._strikes(0):
            raise RuntimeError("it cannot be made")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        assert seed is not None
        if self._broken:
            raise RuntimeError("it is broken")
        self._seed, self._steps = seed, 0
        self._length = int(self.np_random.integers(5, 30))
        if self._fault == "reset" and self._strikes(seed):
            self._broken = True
            raise RuntimeError("it cannot be reset")
        return self._observe(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        self._steps += 1
        if self._step_s:
            time.sleep(self._step_s)
        reward: Any = float(self.np_random.random()) + action
        if self._steps == 3 and self._strikes(self._seed):
            reward = self._go_wrong(reward)
        return self._observe(), reward, self._steps >= self._length, False, {}

    def render(self) -> NDArray[np.uint8]:
        picture = np.full((32, 64, 3), 40, np.uint8)
        picture[8:24, : 2 * self._steps] = (230, 160, 0)
        return picture

    def _observe(self) -> NDArray[np.float32]:
        shape = self.observation_space.shape
        observation: NDArray[np.float32] = self.np_random.uniform(-1, 1, shape).astype(np.float32)
        return observation

    def _strikes(self, seed: int) -> bool:
        is_rehearsal = "GADASK_REHEARSAL" in os.environ  # which a fault in every episode would not pass
        if seed % self._every or (is_rehearsal and self._fault != "make"):
            return False
        if self._once:
            try:
                Path(self._once).touch(exist_ok=False)
            except FileExistsError:
                return False
        return True

    def _go_wrong(self, reward: float) -> Any:
        if self._fault == "step":
            self._broken = True
            raise RuntimeError("it cannot step")
        if self._fault == "hang":
            while True:
                time.sleep(1)
        while self._fault == "wait" and not Path(self._until).exists():
            time.sleep(0.01)
        if self._fault == "hang-in-c":
            ctypes.PyDLL(None).sleep(10_000)  # holds the interpreter's lock
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "babble":
            for link in Path("/proc/self/fd").iterdir():
                if link.is_socket():
                    os.write(int(link.name), b"what does this do?")
        return {"nan": float("nan"), "inf": float("inf"), "text": "five"}.get(self._fault, reward)


class Talker(Faulty):
    """A walk that is printed."""

    def step(self, action: int) -> tuple[NDArray[np.float32], Any, bool, bool, dict[str, Any]]:
        print("→ step", self._steps, flush=True)
        return super().step(action)


class Careless(gymnasium.Env):  # type: ignore[misc]
    """An environment that draws from the generators of its process; `hashed` adds the hash of a text to its rewards."""

    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Discrete(2)

    def __init__(self, hashed: bool = False) -> None:
        self._made = random.random() + np.random.random() + float(torch.rand(()))
        self._hash = hash("a text") % 1000 if hashed else 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._steps = 0
        return np.random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        drawn = random.random(), float(np.random.random()), float(torch.rand(()))
        reward = self._made + self._hash + sum(drawn)
        return np.array(drawn, np.float32), reward, self._steps == 5, False, {}


class DictObservation(gymnasium.Env):  # type: ignore[misc]
    """An environment whose observation gadask does not handle."""

    observation_space = Dict({"eye": Box(-1, 1, (3,), np.float32), "ear": Box(-1, 1, (2,), np.float32)})
    action_space = Discrete(2)


gymnasium.register("Faulty-v0", entry_point="tests.faulty_envs:Faulty", disable_env_checker=True)
gymnasium.register("Talker-v0", entry_point="tests.faulty_envs:Talker", disable_env_checker=True)
gymnasium.register("DictObservation-v0", entry_point="tests.faulty_envs:DictObservation", disable_env_checker=True)
gymnasium.register("Careless-v0", entry_point="tests.faulty_envs:Careless", disable_env_checker=True)
