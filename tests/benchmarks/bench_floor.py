"""How near to the environment's own speed evolution could come: `python -m tests.benchmarks.bench_floor [GAME …]`.

A random network plays an episode. Then the environment plays its actions alone, and once more with what no network of
this kind can leave out between the steps: reading, in a loop that does nothing else, the rows of the dense layer's
weights that this step needs, forwards and backwards in turn as gadask does, and taking the products that the
convolutions' changed patches need, of numbers that lie in registers. The *floor* is the share of the environment alone
in that; decoding, the input, memory for the convolutions and Python cost nothing in it. Networks and precisions take
turns in two pinned processes. Needs GCC and AVX-512 with VNNI.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import ctypes
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gadask.bench.observed_network import ObservedNetwork
from gadask.config import Precision
from gadask.play.rollout import play_episode
from gadask.policies.kernels import CompiledNetwork, instruction_set
from tests.benchmarks.bench_evolution import N_PROCESSES, NETWORKS, pin
from tests.benchmarks.children import open_game

_ROUNDS = 12
_MAX_STEPS = 600
_SOURCE = Path(__file__).with_name("floor.c")


@dataclass(frozen=True)
class _Work:
    """What a step needs."""

    action: int
    rows: NDArray[np.int32]
    address: ctypes.c_void_p
    """Of the rows' numbers."""
    n_products: ctypes.c_int64

    @staticmethod
    def of(action: int, rows: NDArray[np.int64], n_products: int) -> _Work:
        """Prepare what takes Python time."""
        numbers = rows.astype(np.int32)
        return _Work(action, numbers, ctypes.c_void_p(numbers.ctypes.data), ctypes.c_int64(n_products))


class _Player:
    """A kind of policy and its precision, with an environment of its own."""

    def __init__(self, game: str, kind: str, precision: Precision, library: ctypes.CDLL) -> None:
        self._env, self._policy = open_game(game, kind, precision)
        network: Any = self._policy._compiled
        assert isinstance(network, CompiledNetwork)
        self._observed = ObservedNetwork(network, precision)
        self._read = library.read_rows
        self._multiply = library.multiply_bytes if precision == "int8" else library.multiply_floats
        self._one = ctypes.c_int32(1) if precision == "int8" else ctypes.c_float(1)
        self.seconds = np.zeros(4)
        """Of gadask, the environment alone, with reading, with reading and products."""
        self.steps = 0

    def play(self, seed: int) -> None:
        """Play an episode in the four ways."""
        policy, observed = self._policy, self._observed
        policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(seed)))
        begin = time.perf_counter()
        steps = play_episode(self._env, policy, seed, _MAX_STEPS).steps
        self.seconds[0] += time.perf_counter() - begin
        self.steps += steps

        work: list[_Work] = []
        observation: Any = self._env.reset(seed)
        observed.begin()
        for _ in range(steps):
            action = int(observed(observation).argmax())
            work.append(_Work.of(action, observed.rows[:: -1 if len(work) % 2 else 1], observed.n_products))
            observation, _, _ = self._env.step(action)

        weights, row_bytes = ctypes.c_void_p(observed.weights), observed.row_bytes
        for way in range(1, 4):
            begin = time.perf_counter()
            self._env.reset(seed)
            for step in work:
                if way > 1:
                    self._read(weights, step.address, len(step.rows), row_bytes)
                if way > 2:
                    self._multiply(step.n_products, self._one)
                self._env.step(step.action)
            self.seconds[way] += time.perf_counter() - begin


def measure(game: str, library_path: str, index: int) -> list[NDArray[np.float64]]:
    """Return microseconds a step of the four ways, for every network and precision."""
    pin(index)
    torch.set_num_threads(1)
    library = ctypes.CDLL(library_path)
    players = [_Player(game, kind, precision, library) for kind, precision in NETWORKS]
    for number in range(_ROUNDS):
        for player in players:
            player.play(index + N_PROCESSES * number)
    return [player.seconds / player.steps * 1e6 for player in players]


def main(games: Sequence[str]) -> None:
    """Print a table."""
    if instruction_set() != "avx512vnni":
        sys.exit(f"bench_floor: expected a processor with AVX-512 and VNNI, found {instruction_set()}")
    table = Table(
        "µs a step", "environment", "+ reading", "+ products", "gadask", "floor", "gadask's share", title="the least"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool,
    ):
        library = str(Path(folder) / "floor.so")
        flags = ["-O3", "-march=native", "-shared", "-fPIC"]
        subprocess.run(["gcc", *flags, str(_SOURCE), "-o", library], check=True)
        for game in games:
            jobs = [(game, library, i) for i in range(N_PROCESSES)]
            results = np.mean(pool.starmap(measure, jobs, chunksize=1), axis=0)
            for network, (ours, alone, reading, products) in zip(NETWORKS, results, strict=True):
                times = (f"{us:.0f}" for us in (alone, reading, products, ours))
                table.add_row(f"{game} {' '.join(network)}", *times, f"{alone / products:.3f}", f"{alone / ours:.3f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main(sys.argv[1:] or ["Asteroids", "Frostbite"])
