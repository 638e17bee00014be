"""What the dense layer reads from memory: `python -m tests.benchmarks.bench_traffic [GAME …]`.

Bytes a step are counted: a row of weights for every input that the kernels have to read again. The layer is timed warm,
as emulator and convolutions have left the caches, and in every other step cold, after 128 MB of something else went
through them, as on a node where 31 processes' weights do not fit them together. Means of 600 steps of one process.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gadask.bench.traffic import CountingNetwork
from gadask.config import Precision
from gadask.play.rollout import play_episode
from gadask.policies.kernels import CompiledNetwork
from tests.benchmarks.bench_evolution import NETWORKS
from tests.benchmarks.children import open_game
from tests.benchmarks.network_in_parts import NetworkInParts

_EPISODES, _STEPS = 12, 50
_OTHER = np.zeros(2**25, np.float32)


class _TimedNetwork(CountingNetwork):
    """Times the dense layer beside."""

    def __init__(self, network: CompiledNetwork, precision: str) -> None:
        super().__init__(network, precision)
        self.network = NetworkInParts(network, precision, self._after)
        self.seconds: tuple[list[float], list[float]] = [], []
        """Warm and cold."""
        self._first, self._begin = True, 0.0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._first = bool(self.structure.fresh)
        return super().__call__(image)

    def _after(self, part: str) -> None:
        cold = len(self.n_bytes) % 2
        if part == "convolution 3":
            if cold:
                _OTHER.max()
            self._begin = time.perf_counter()
        elif part == "dense layer" and not self._first:
            self.seconds[cold].append(time.perf_counter() - self._begin)


def measure(game: str, kind: str, precision: Precision) -> tuple[float, float, float, float]:
    """Return megabytes a step and their share of the layer's, and microseconds warm and cold."""
    env, policy = open_game(game, kind, precision)
    assert isinstance(policy._compiled, CompiledNetwork)
    network = policy._compiled = _TimedNetwork(policy._compiled, precision)
    for seed in range(_EPISODES):
        policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed)))
        play_episode(env, policy, seed, _STEPS)
    warm, cold = (statistics.mean(seconds) for seconds in network.seconds)
    n_bytes = statistics.mean(network.n_bytes)
    share = n_bytes / (network.structure.n_features * network.row_bytes)
    return n_bytes / 1e6, share, warm * 1e6, cold * 1e6


def main(games: Sequence[str]) -> None:
    """Print a table."""
    torch.set_num_threads(1)
    table = Table("game", "network", "MB a step", "of all", "warm, µs", "cold, µs", "cold, GB/s")
    for game in games:
        for kind, precision in NETWORKS:
            megabytes, share, warm_us, cold_us = measure(game, kind, precision)
            figures = f"{megabytes:.2f}", f"{share:.2f}", f"{warm_us:.0f}", f"{cold_us:.0f}"
            table.add_row(game, f"{kind} {precision}", *figures, f"{megabytes / cold_us * 1e3:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main(sys.argv[1:] or ["Frostbite", "Asteroids", "Kangaroo"])
