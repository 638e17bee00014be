"""How fast rollout processes play, on a real node in this process."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import Config
from gadask.errors import NodeError
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Task
from gadask.node.node import Node

_N_PARENTS = 10
_WARM_UP_S = 2.0
_SPARE = 4  # times as many episodes as the warm-up would need: nobody is to run out of them


def played(config: Config, n_processes: int, seconds: float) -> tuple[float, float]:
    """Return the steps and the frames that each of `n_processes` plays a second, in the mean.

    They play children of random networks, as in the second generation of a run, for `seconds` seconds. Raises
    `NodeError` where nothing can be played.
    """
    task = prepare_task(config)
    rng = np.random.default_rng(0)
    parents = tuple((gene,) for gene in rng.integers(task.n_genes, size=_N_PARENTS).tolist())
    with closing(Node(config.noise, n_processes)) as node:
        n_played, passed_s = _play(node, task, Brood(1, parents, ()), 8 * n_processes, _WARM_UP_S)
        n_episodes = n_processes * (8 + round(_SPARE * seconds * len(n_played) / n_processes / passed_s))
        rows, passed_s = _play(node, task, Brood(2, parents, ()), n_episodes, seconds)
    if not rows["steps"].sum():
        raise NodeError(f"no step of {config.env.id} was played within {seconds:g} s")
    process_s = n_processes * passed_s
    return float(rows["steps"].sum()) / process_s, float(rows["frames"].sum()) / process_s


def _play(node: Node, task: Task, brood: Brood, n_episodes: int, seconds: float) -> tuple[NDArray[np.void], float]:
    """Play children for some seconds, or until all have ended; returns the rows, and how long it took."""
    chunk = Chunk(brood.generation, Kind.CHILD, tuple((slot, 0) for slot in range(n_episodes)))
    with ThreadPoolExecutor(1) as threads:
        began_s = time.perf_counter()
        playing = threads.submit(node.play, task, brood, chunk)
        wait([playing], seconds)
        passed_s = time.perf_counter() - began_s
        node.close_generation(task, Kind.CHILD, brood.generation)
        return playing.result().table, passed_s
