"""Environments that start processes of their own: `tests.simulator_envs:Starter-v0`.

Each environment starts one helper of every kind in `HELPERS`, and names all of them in the file `started` of the folder
`notes`, one number a line; closing it in order ends its child alone and adds a line to the file `closed`.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

_LONG_S = "98765"


def _child() -> int:
    return subprocess.Popen(["sleep", _LONG_S]).pid


def _in_its_own_session() -> int:
    return subprocess.Popen(["sleep", _LONG_S], start_new_session=True).pid


def _daemon() -> int:
    """Start a process whose parent ends at once, in a session of its own and without our environment."""
    command = f"setsid env -i sleep {_LONG_S} >/dev/null 2>&1 & echo $!"
    return int(subprocess.run(["sh", "-c", command], check=True, capture_output=True).stdout)


def _stubborn() -> int:
    return subprocess.Popen(["sh", "-c", f"trap '' TERM; exec sleep {_LONG_S}"]).pid


def _forked() -> int:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(float(_LONG_S),))
    process.start()  # it holds every descriptor of the rollout process, its socket too
    assert process.pid is not None
    return process.pid


HELPERS = (_child, _in_its_own_session, _daemon, _stubborn, _forked)


class Simulator(gymnasium.Env):  # type: ignore[misc]
    """A walk of `n_steps`; `fault` strikes at step 3 of episodes whose seed is divisible by `every`."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012
    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Discrete(2)

    def __init__(
        self,
        notes: str,
        fault: str = "none",
        every: int = 1,
        n_steps: int = 20,
        step_s: float = 0.0,
        close_s: float = 0.0,
    ) -> None:
        self._notes, self._fault, self._every = Path(notes), fault, every
        self._n_steps, self._step_s, self._close_s = n_steps, step_s, close_s
        self._helpers = [start() for start in HELPERS]
        self._note("started", *self._helpers)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._seed, self._steps = seed or 0, 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        time.sleep(self._step_s)
        if self._steps == 3 and self._seed % self._every == 0:
            if self._fault == "hang":
                time.sleep(1000)
            if self._fault == "kill":
                os.kill(os.getpid(), 9)
            if self._fault == "raise":
                raise RuntimeError("connection lost")
        return self._observe(), float(action), self._steps >= self._n_steps, False, {}

    def close(self) -> None:
        time.sleep(self._close_s)
        os.kill(self._helpers[0], 15)
        self._note("closed", os.getpid())

    def _note(self, name: str, *numbers: int) -> None:
        with (self._notes / name).open("a") as file:
            file.write("".join(f"{number}\n" for number in numbers))

    def _observe(self) -> NDArray[np.float32]:
        observation: NDArray[np.float32] = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return observation


def noted(notes: Path, name: str) -> list[int]:
    """Return the process numbers in one of the files."""
    path = notes / name
    return list(map(int, path.read_text().split())) if path.exists() else []


gymnasium.register("Starter-v0", entry_point="tests.simulator_envs:Simulator", disable_env_checker=True)
