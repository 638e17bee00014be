"""What the dense layer reads from memory: `python -m tests.benchmarks.bench_traffic [GAME …]`.

Bytes a step are counted: a row of weights for every input that the kernels have to read again. The layer is timed in
every other step warm, right after the convolutions, and in the others cold, after 128 MB of something else went through
the caches, as on a node where 31 processes' weights do not fit them together. Means of 600 steps of one process.
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

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gadask.config import Precision
from gadask.policies.kernels import CompiledNetwork, instruction_set
from gadask.policies.kernels.library import load
from gadask.rollout import play_episode
from tests.benchmarks.bench_evolution import NETWORKS
from tests.benchmarks.children import open_game
from tests.benchmarks.observed_network import ObservedNetwork, array_at

_EPISODES, _STEPS = 12, 50
_OTHER = np.zeros(2**25, np.float32)


class _TimedNetwork(ObservedNetwork):
    """Times the dense layer at the same work once more."""

    def __init__(self, network: CompiledNetwork, precision: str) -> None:
        super().__init__(network, precision)
        library = load()
        assert library is not None
        self.n_bytes: list[int] = []
        self.seconds: tuple[list[float], list[float]] = [], []
        structure = self.structure
        self._dense = getattr(library, f"dense{'_bytes' if self._bytes else ''}_{instruction_set()}")
        self._sums = array_at(ctypes.c_int32, structure.n_hidden, structure.dense_sums) if self._bytes else None

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        fresh = self.structure.fresh
        state = [(each, each.copy()) for each in (self._seen, self._sums) if each is not None]
        output = super().__call__(image)
        if fresh:
            return output
        self.n_bytes.append(len(self.rows) * self.row_bytes)
        for each, before in state:
            each[:] = before
        cold = len(self.n_bytes) % 2
        if cold:
            _OTHER.max()
        begin = time.perf_counter()
        self._dense(ctypes.byref(self.structure))
        self.seconds[cold].append(time.perf_counter() - begin)
        return output


def measure(game: str, kind: str, precision: Precision) -> tuple[float, float, float]:
    """Return megabytes a step, and microseconds warm and cold."""
    env, policy = open_game(game, kind, precision)
    assert isinstance(policy._compiled, CompiledNetwork)
    network = policy._compiled = _TimedNetwork(policy._compiled, precision)
    for seed in range(_EPISODES):
        policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed)))
        play_episode(env, policy, seed, _STEPS)
    warm, cold = (statistics.mean(seconds) for seconds in network.seconds)
    return statistics.mean(network.n_bytes) / 1e6, warm * 1e6, cold * 1e6


def main(games: Sequence[str]) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    table = Table("game", "network", "MB a step", "warm, µs", "cold, µs", "cold, GB/s")
    for game in games:
        for kind, precision in NETWORKS:
            megabytes, warm_us, cold_us = measure(game, kind, precision)
            speed = f"{megabytes / cold_us * 1e3:.1f}"
            table.add_row(game, f"{kind} {precision}", f"{megabytes:.2f}", f"{warm_us:.0f}", f"{cold_us:.0f}", speed)
    Console(width=100).print(table)


if __name__ == "__main__":
    main(sys.argv[1:] or ["Frostbite", "Asteroids", "Kangaroo"])
