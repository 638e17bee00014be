"""How fast rollout processes play, on a real node in this process."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import numpy as np

from gadask.algorithms.algorithm import Brood
from gadask.config import Config
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind
from gadask.node.node import Node
from gadask.rows import Rows

_N_PARENTS = 10
_EPISODES_A_SECOND = 100  # of a process, at most; what is not played when the time is up is dropped
_WARM_UP_S = 2.0


def played(config: Config, n_processes: int, seconds: float) -> tuple[float, float]:
    """Return the steps and the frames that each of `n_processes` plays a second, in the mean.

    They play children of random networks, as in the second generation of a run, for `seconds` seconds.
    """
    task = prepare_task(config)
    rng = np.random.default_rng(0)
    parents = tuple((gene,) for gene in rng.integers(task.n_genes, size=_N_PARENTS).tolist())
    with closing(Node(config.noise, n_processes)) as node:
        for generation, time_s in ((1, _WARM_UP_S), (2, seconds)):
            n_episodes = round(_EPISODES_A_SECOND * n_processes * time_s)
            chunk = Chunk(generation, Kind.CHILD, tuple((slot, 0) for slot in range(n_episodes)))
            found: list[Rows] = []

            def play(brood: Brood, chunk: Chunk = chunk, found: list[Rows] = found) -> None:
                found.append(node.play(task, brood, chunk))

            player = threading.Thread(target=play, args=(Brood(generation, parents, ()),))
            began_s = time.perf_counter()
            player.start()
            player.join(time_s)
            node.close_generation(task, Kind.CHILD, generation)
            passed_s = time.perf_counter() - began_s
            player.join()
        (rows,) = found
    process_s = n_processes * passed_s
    return float(rows.table["steps"].sum()) / process_s, float(rows.table["frames"].sum()) / process_s
