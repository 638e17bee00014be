"""Frames per second and core: the environment alone against real evolution in the pool, side by side.

All run in two pinned processes at once. The environment alone, ALE's own vector environment alone, and evolution with
each network and precision take short turns, so that a machine that speeds up or slows down does so for all of them;
ratios are taken round by round. Making environments, networks and the parents' weights is counted for none.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import get_args

import numpy as np

from gadask import compiled
from gadask.algorithms.algorithm import Brood
from gadask.config import PRESETS, EnvConfig, NoiseConfig, PolicyConfig, Precision
from gadask.envs import make_env
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Task
from gadask.node.node import Node

N_PROCESSES = 2
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
NETWORKS: list[tuple[str, Precision]] = list(itertools.product(("such2017", "nature"), PRECISIONS))
"""Kinds of policies and their precisions."""
_POLICIES = {f"{kind} {precision}": PolicyConfig(kind, precision=precision) for kind, precision in NETWORKS}
_PARENTS = tuple((gene, gene + 1) for gene in range(1_000, 21_000, 1_000))


def measure(game: str, seconds: float = 2.0, rounds: int = 15) -> dict[str, float]:
    """Return frames/s/core of each, and medians and ranges of ratios; a round gives `seconds` to each of the six."""
    env = EnvConfig(id=f"ALE/{game}-v5")
    alone: dict[str, Callable[[EnvConfig, float, int], float]] = {
        "environment": _play_random,
        "ALE vector environment": _play_random_vector,
    }
    results: dict[str, list[float]] = {name: [] for name in (*alone, *_POLICIES)}
    node = Node(NoiseConfig(), N_PROCESSES)
    try:
        evolutions = {name: Evolution(node, env, policy) for name, policy in _POLICIES.items()}
        with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
            for _ in range(rounds):
                for name, play in alone.items():
                    jobs = [(env, seconds, i) for i in range(N_PROCESSES)]
                    results[name].append(statistics.mean(pool.starmap(play, jobs, chunksize=1)))
                for name, evolution in evolutions.items():
                    results[name].append(evolution.frames_per_s(seconds))
    finally:
        node.close()
    figures = {f"{name}, frames/s/core": statistics.median(values) for name, values in results.items()}
    for name in _POLICIES:
        for baseline in alone:
            figures |= ratios(f"{name} / {baseline}", results[name], results[baseline])
    return figures


def ratios(name: str, ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Return the median and the range of what the rounds gave."""
    return summary(name, [our / their for our, their in zip(ours, theirs, strict=True)])


def summary(name: str, found: list[float]) -> dict[str, float]:
    """Return a figure's median and range."""
    return {f"{name}, median": statistics.median(found), f"{name}, lowest": min(found), f"{name}, highest": max(found)}


class Evolution:
    """One task's children on a node, as many as are asked for."""

    def __init__(self, node: Node, env: EnvConfig, policy: PolicyConfig) -> None:
        """Play a few, so that environments, networks and parents are there."""
        self._node, self._task = node, make_task(env, policy)
        self._brood = Brood(1, _PARENTS, ())
        self._slots = itertools.count()
        self.frames_per_s(0.0)

    def frames_per_s(self, seconds: float) -> float:
        """Play new children for about `seconds`; returns frames per second of process time, decoding included.

        What begins later is not counted, but played for as long as another process plays what is: one alone would have
        the memory to itself.
        """
        end = time.monotonic() + seconds
        counting = set(range(N_PROCESSES))
        with ThreadPoolExecutor(N_PROCESSES) as threads:
            found = list(threads.map(lambda number: self._keep_one_busy(number, end, counting), sorted(counting)))
        return sum(frames for frames, _ in found) / sum(busy_s for _, busy_s in found)

    def _keep_one_busy(self, number: int, end: float, counting: set[int]) -> tuple[int, float]:
        """Play until `end` and then until no number is in `counting`; returns frames and seconds until `end`."""
        frames, busy_s = 0, 0.0
        try:
            while not frames or time.monotonic() < end:
                row = self._play_a_child()
                frames += int(row["frames"])
                busy_s += float(row["seconds"])
        finally:
            counting.discard(number)
        while counting:
            self._play_a_child()
        return frames, busy_s

    def _play_a_child(self) -> np.void:
        rows = self._node.play(self._task, self._brood, children(self._brood, next(self._slots), 1))
        row: np.void = rows.table[0]
        return row


def children(brood: Brood, first: int, n: int) -> Chunk:
    """Return a chunk of so many children, from the slot `first` on."""
    return Chunk(brood.generation, Kind.CHILD, tuple((slot, 0) for slot in range(first, first + n)))


def _play_random(env_config: EnvConfig, seconds: float, seed: int) -> float:
    """Play random actions, seeded resets included; returns frames per second."""
    pin(seed)
    env = make_env(env_config)
    rng = np.random.default_rng(seed)
    actions = rng.integers(env.action_space.n, size=100_000).tolist()
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        env.reset(seed + steps)
        done = False
        while not done:
            _, _, done = env.step(actions[steps % len(actions)])
            steps += 1
    return env.frames_per_step * steps / (time.perf_counter() - begin)


def _play_random_vector(env_config: EnvConfig, seconds: float, seed: int) -> float:
    """Play random actions in one lane of ALE's native vector environment; returns frames per second."""
    from ale_py.vector_env import AtariVectorEnv

    pin(seed)
    game = re.sub(r"(?<!^)(?=[A-Z])", "_", env_config.id.removeprefix("ALE/").removesuffix("-v5")).lower()
    env = AtariVectorEnv(game, num_envs=1, num_threads=1, reward_clipping=False)
    n_actions = env.single_action_space.n
    actions = np.random.default_rng(seed).integers(n_actions, size=(100_000, 1))
    env.reset(seed=seed)
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        env.step(actions[steps % len(actions)])  # it resets itself
        steps += 1
    return 4 * steps / (time.perf_counter() - begin)


def pin(index: int) -> None:
    """Have this process, a child of the benchmark, run on one core alone."""
    cpus = sorted(os.sched_getaffinity(os.getppid()))
    os.sched_setaffinity(0, {cpus[index % len(cpus)]})


def limit(instructions: str) -> None:
    """Have this process, a child of the benchmark, use instructions such as `avx2`, and no newer ones."""

    def limited(library: ctypes.CDLL | None) -> str | None:
        return None if library is None else instructions

    compiled.instruction_set = limited


def make_task(env: EnvConfig, policy: PolicyConfig) -> Task:
    """Return the task of the preset `such2017` with this environment and policy."""
    return prepare_task(replace(PRESETS["such2017"], env=env, policy=policy))
