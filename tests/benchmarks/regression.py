"""Fails if the compiled kernels have lost their lead over the module: `python -m tests.benchmarks.regression`.

Both take turns on the frames of one episode, so that other load slows both. The bounds are well below what the Xeon of
docs/performance.md gives, since another machine may have vectors of half the width, or less bandwidth.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from gadask.config import EnvConfig, PolicyConfig
from gadask.envs import make_env
from gadask.policies import make_policy
from gadask.policies.kernels import instruction_set

_BOUNDS = {("such2017", "float32"): 2.0, ("such2017", "int8"): 4.0, ("nature", "float32"): 2.0, ("nature", "int8"): 4.0}
"""How many times as fast as the module, at least; those of int8 with VNNI."""
_ROUNDS = 15
_FRAMES = 40


def main() -> int:
    """Print a line for each network; returns 1 if one is too slow."""
    torch.set_num_threads(1)
    slow = False
    for (kind, precision), bound in _BOUNDS.items():
        if precision == "int8" and instruction_set() != "avx512vnni":
            continue
        ratio = _lead(kind, precision)
        slow |= ratio < bound
        print(f"{kind} {precision}: {ratio:.2f} × the module's speed, expected at least {bound:g}")
    return int(slow)


def _lead(kind: str, precision: str) -> float:
    """Return the median ratio of the module's time to the kernels'."""
    env = make_env(EnvConfig("ALE/Frostbite-v5"))
    policy = make_policy(PolicyConfig(kind, precision=precision), env.observation_space, env.action_space)  # type: ignore[arg-type]
    policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(0)))
    policy.reset()
    frames = [env.reset(0).copy(), *(env.step(step % 18)[0].copy() for step in range(_FRAMES))]
    module: Callable[[NDArray[Any]], Any] = lambda frame: policy.module(torch.from_numpy(frame[None]))  # noqa: E731
    found = []
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            found.append(_seconds(module, frames) / _seconds(policy.output, frames))
    return statistics.median(found)


def _seconds(network: Callable[[NDArray[Any]], Any], frames: Sequence[NDArray[Any]]) -> float:
    begin = time.perf_counter()
    for frame in frames:
        network(frame)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
