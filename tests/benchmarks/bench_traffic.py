"""What the dense layer reads from memory: `python -m tests.benchmarks.bench_traffic [GAME …]`.

Bytes a step are counted: a row of weights for every input that is not zero. The layer is timed warm, right after it was
computed, and cold, after 128 MB of something else went through the caches, as on a node where 31 processes' weights do
not fit them together. Medians of 500 steps of one process.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import ctypes
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from gadask.config import EnvConfig, PolicyConfig
from gadask.envs import make_env
from gadask.policies import make_policy
from gadask.policies.kernels import CompiledNetwork, instruction_set
from gadask.policies.kernels.library import load
from tests.benchmarks.bench_evolution import PRECISIONS

_STEPS = 500
_OTHER = np.zeros(2**25, np.float32)


def measure(game: str, kind: str, precision: str) -> tuple[float, float, float]:
    """Return megabytes a step, and microseconds warm and cold."""
    library = load()
    assert library is not None
    dense = getattr(library, f"dense{'_bytes' if precision == 'int8' else ''}_{instruction_set()}")
    env = make_env(EnvConfig(f"ALE/{game}-v5"))
    policy = make_policy(PolicyConfig(kind, precision=precision), env.observation_space, env.action_space)  # type: ignore[arg-type]
    network = policy._compiled
    assert isinstance(network, CompiledNetwork)
    structure = network._network
    item = ctypes.c_uint8 if precision == "int8" else ctypes.c_float
    features = np.ctypeslib.as_array((item * structure.n_features).from_address(structure.features))
    row_bytes = structure.n_hidden * features.itemsize
    n_bytes, warm, cold = [], [], []
    for seed in range(_STEPS // 50):
        policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed)))
        policy.reset()
        observation = env.reset(seed)
        for _ in range(50):
            action = policy.act(observation)
            n_bytes.append(int((features != 0).sum()) * row_bytes)
            warm.append(_seconds(dense, structure))
            _OTHER.max()
            cold.append(_seconds(dense, structure))
            observation, _, done = env.step(action)
            if done:
                break
    return statistics.mean(n_bytes) / 1e6, statistics.median(warm) * 1e6, statistics.median(cold) * 1e6


def _seconds(dense: Any, structure: ctypes.Structure) -> float:
    begin = time.perf_counter()
    dense(ctypes.byref(structure))
    return time.perf_counter() - begin


def main(games: Sequence[str]) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    table = Table("game", "network", "MB a step", "warm, µs", "cold, µs", "cold, GB/s")
    for game in games:
        for kind in ("such2017", "nature"):
            for precision in PRECISIONS:
                megabytes, warm_us, cold_us = measure(game, kind, precision)
                speed = f"{megabytes / cold_us * 1e3:.1f}"
                table.add_row(
                    game, f"{kind} {precision}", f"{megabytes:.2f}", f"{warm_us:.0f}", f"{cold_us:.0f}", speed
                )
    Console(width=100).print(table)


if __name__ == "__main__":
    main(sys.argv[1:] or ["Frostbite", "Asteroids", "Kangaroo"])
