"""A policy that goes wrong on purpose where it plays in lanes: `tests.faulty_policies:faulty`.

The fault strikes whenever it plays an episode whose first weight is above `above`. With `once`, a path, it strikes only
as long as that file does not exist, and makes it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.policies.lane_policy import LaneNetwork
from gadask.policies.recurrent import GRU


def faulty(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    fault: str = "none",
    above: float = 0.0,
    once: str = "",
    step_s: float = 0.0,
) -> Faulty:
    """Make a small GRU with a fault."""
    return Faulty(observation_space.shape[0], int(action_space.n), fault, above, once, step_s)


class Faulty(GRU):
    """A GRU whose form for lanes has the fault."""

    def __init__(self, n_inputs: int, n_outputs: int, fault: str, above: float, once: str, step_s: float) -> None:
        super().__init__(n_inputs, 6, n_outputs)
        self.fault, self.above, self.once, self.step_s = fault, above, once, step_s

    def in_lanes(self, parameters: Mapping[str, NDArray[np.float32]]) -> LaneNetwork:
        return _FaultyLanes(super().in_lanes(parameters), parameters["input"][:, 0, 0], self)


class _FaultyLanes(LaneNetwork):
    def __init__(self, sound: LaneNetwork, first_weights: NDArray[np.float32], module: Faulty) -> None:
        self.inputs, self.outputs = sound.inputs, sound.outputs
        self._sound, self._first_weights, self._module = sound, first_weights, module

    def step(self) -> None:
        self._sound.step()
        if self._module.step_s:
            time.sleep(self._module.step_s)
        if self._module.fault != "none" and (self._first_weights > self._module.above).any() and self._strikes():
            self._go_wrong()

    def reset(self, lane: int) -> None:
        self._sound.reset(lane)

    def _strikes(self) -> bool:
        if self._module.once:
            try:
                Path(self._module.once).touch(exist_ok=False)
            except FileExistsError:
                return False
        return True

    def _go_wrong(self) -> None:
        if self._module.fault == "raise":
            raise RuntimeError("it cannot compute")
        if self._module.fault == "hang":
            ctypes.PyDLL(None).sleep(10_000)  # holds the interpreter's lock
        if self._module.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
