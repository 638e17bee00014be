"""Nodes that play nothing: real Dask workers, real messages, and episodes that only take their time.

`simulated_nodes` starts processes that hold many workers each. On every worker stands a `SimulatedNode` where the
node's plugin would put its own. It answers a chunk when rollout processes would have played it, with episodes whose
lengths follow from their slots: a log-normal distribution cut at `MAX_STEPS`, at the speed of one Peta4 core.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import multiprocessing
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import dask
import numpy as np
from distributed import Client, Worker, WorkerPlugin
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.clusters.base import DASK_CONFIG
from gadask.config import NoiseConfig
from gadask.messages import Chunk, Kind, Status, Task
from gadask.node.plugin import PLUGIN_NAME
from gadask.rows import ROW, Rows

N_PROCESSES = 31
MEAN_STEPS = 1000
MAX_STEPS = 5000
FRAMES_PER_S = 4600
"""Of one core."""

_SIGMA = 0.7
_WORKERS_A_PROCESS = 125
_DASK_CONFIG = DASK_CONFIG | {  # many workers in one process are not to watch themselves many times a second
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.tick.limit": "60s",
}
_CALLBACKS = {"heartbeat", "keep-alive"}  # what a scheduler notices; a real node does the rest on its own machine


@dataclass(frozen=True)
class _Pool:
    n_processes: int
    closed: bool = False
    failure: str | None = None


class SimulatedNode:
    """What `gadask.node.plugin` expects of a worker's node."""

    digest = "simulated"
    leaving = False
    n_tasks = 0
    client_ids: frozenset[str] = frozenset()

    def __init__(self, noise: NoiseConfig, n_processes: int, speed: float) -> None:
        """Play `speed` times as fast as a real node."""
        self.noise = noise
        self.pool = _Pool(n_processes)
        self._speed = speed
        self._free_at = [0.0] * n_processes
        self._lock = threading.Lock()

    def play(self, task: Task, brood: Brood, chunk: Chunk, is_wanted: Callable[[], bool]) -> Rows:
        """Wait as long as the chunk takes, and return its rows."""
        rows = simulated_rows(chunk)
        now = time.monotonic()
        end = now
        with self._lock:
            for seconds in rows["seconds"].tolist():
                free = max(now, self._free_at[0]) + seconds / self._speed
                heapq.heapreplace(self._free_at, free)
                end = max(end, free)
        time.sleep(end - now)
        rows["seconds"] /= self._speed
        return Rows(rows)

    def renew(self, run_id: str) -> None:
        """Nothing is kept."""

    def close_generation(self, task: Task, kind: Kind, generation: int) -> None:
        """Let late chunks end by themselves."""

    def forget(self, task: Task) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing was started."""


def simulated_rows(chunk: Chunk) -> NDArray[np.void]:
    """Return the rows of a chunk's episodes; an episode's depends on its kind, generation, slot and number alone."""
    rows = np.zeros(len(chunk.episodes), ROW)
    rows["generation"], rows["kind"], rows["status"] = chunk.generation, chunk.kind, Status.OK
    rows["slot"], rows["episode"] = np.array(chunk.episodes).T
    key = (chunk.generation * 4 + int(chunk.kind)) << 40
    random = [_uniform(key + rows["slot"].astype(np.uint64) * 1000 + rows["episode"] * 2 + i) for i in range(2)]
    normal = np.sqrt(-2 * np.log(random[0])) * np.cos(2 * np.pi * random[1])
    steps = np.exp(np.log(MEAN_STEPS) - _SIGMA**2 / 2 + _SIGMA * normal).clip(1, MAX_STEPS)
    rows["steps"] = steps
    rows["frames"] = 4 * rows["steps"]
    rows["seconds"] = rows["frames"] / FRAMES_PER_S
    rows["return"] = np.round(steps / 10) * 10
    rows["start_s"] = time.time()
    return rows


def _uniform(keys: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers in (0, 1) that follow from 64-bit keys (SplitMix64, Steele et al. 2014)."""
    z = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.float64] = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54
    return result


@asynccontextmanager
async def simulated_nodes(
    client: Client, n_nodes: int, noise: NoiseConfig, *, speed: float = 1.0, n_processes: int = N_PROCESSES,
    at_once: bool = False,
) -> AsyncIterator[list[int]]:  # fmt: skip
    """Connect nodes to the client's scheduler; yields the process numbers of what simulates them.

    Those of one process connect in turn, or `at_once` with all others, when all processes are ready.
    """
    context = multiprocessing.get_context("spawn")
    processes = []
    pipes = []
    try:
        for first in range(0, n_nodes, _WORKERS_A_PROCESS):
            n_workers = min(_WORKERS_A_PROCESS, n_nodes - first)
            ours, theirs = context.Pipe()
            arguments = (
                client.scheduler.address,
                client.security,
                n_workers,
                noise,
                n_processes,
                speed,
                at_once,
                theirs,
            )
            process = context.Process(target=_host, args=arguments, daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        for pipe in pipes:
            await asyncio.to_thread(pipe.recv)
        for pipe in pipes:
            pipe.send("connect")
        for pipe in pipes:
            await asyncio.to_thread(pipe.recv)
        yield [process.pid or 0 for process in processes]
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            await asyncio.to_thread(process.join, 30)
            process.kill()


def _host(
    address: str, security: Any, n_workers: int, noise: NoiseConfig, n_processes: int, speed: float, at_once: bool,
    pipe: Connection,
) -> None:  # fmt: skip
    """Run workers in this process until the pipe closes."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # at the end the scheduler goes before they do

    async def main() -> None:
        with dask.config.set(_DASK_CONFIG), tempfile.TemporaryDirectory() as directory:
            workers = [
                Worker(
                    address,
                    nthreads=2,
                    security=security,
                    memory_limit=0,
                    dashboard=False,
                    local_directory=f"{directory}/{number}",  # in a common one each looks for what others left
                    plugins=[_SimulatedPlugin(SimulatedNode(noise, n_processes, speed))],
                )
                for number in range(n_workers)
            ]
            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            if at_once:
                await asyncio.gather(*workers)
            for worker in workers:
                await worker
                for name, callback in worker.periodic_callbacks.items():
                    if name not in _CALLBACKS:
                        callback.stop()
            pipe.send(len(workers))
            await asyncio.to_thread(_wait_for_end, pipe)
            await asyncio.gather(*(worker.close(timeout=1, nanny=False) for worker in workers))

    asyncio.run(main())


def _wait_for_end(pipe: Connection) -> None:
    try:
        pipe.recv()
    except EOFError:
        return


class _SimulatedPlugin(WorkerPlugin):  # type: ignore[misc]
    name = PLUGIN_NAME

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
