"""A node: one Dask worker that owns one machine's rollout processes.

The state of a node (noise table, rollout processes, weights of the current parents) lives in `NodePlugin`; messages to
it are plain Dask tasks and `client.run` calls, which are the functions at the end of this module. A node that cannot be
set up closes its worker: Dask by itself would go on giving tasks to a worker whose plugin failed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from distributed import Worker, WorkerPlugin, get_worker, secede
from numpy.typing import NDArray

from gadask.config import NoiseConfig
from gadask.cores import granted_cores
from gadask.errors import NodeError
from gadask.forkserver import ForkServer
from gadask.genome import AncestorCache, count_genes, draw_child
from gadask.messages import (
    Breeding,
    Chunk,
    DecodeJob,
    Genome,
    Job,
    Kind,
    PlannedEpisode,
    PlayJob,
    Status,
    Task,
    pack_rows,
    unpack_breeding,
    unpack_chunk,
)
from gadask.pool import Pool
from gadask.provenance import cpu, has_compiled_kernels

PLUGIN_NAME = "gadask"

_JOB_S = 0.05
"""Cheap episodes are sent to a process several at a time, so that a job takes about this long."""

LANE_ROUNDS = 4
"""A job that is played in lanes has so many episodes for each, if there are so many."""

_MAX_EPISODES_A_JOB = 500  # beyond the fill of its lanes; what a process had is played again when it dies


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself."""

    address: str
    host: str
    cpu: str
    """What may round differently from other nodes: its model, and whether the compiled kernels are missing."""
    n_processes: int
    noise: NoiseConfig
    digest: str
    n_tasks: int
    """Runs that the node plays."""


@dataclass(frozen=True)
class ChunkResult:
    """A chunk's rows, packed by `pack_rows`, and what went wrong, by place among the rows."""

    node: str
    rows: bytes
    reasons: dict[int, str]
    moments: dict[int, bytes]
    """Moments of observed episodes, by place among the rows; see `observations`."""


class NodePlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives a Dask worker its `Node`; reaches late joiners, and is set up again when a nanny restarts a worker."""

    name = PLUGIN_NAME

    def __init__(self, noise: NoiseConfig, n_processes: int | None = None) -> None:
        """`n_processes=None` takes one less than the cores that the worker was given, but at least one."""
        self.noise = noise
        self.n_processes = n_processes
        self.node: Node | None = None
        self._torn_down = False

    async def setup(self, worker: Worker) -> None:
        """Fill the noise table and start the rollout processes; on failure close the worker and raise."""
        if worker.nanny is not None:  # a process of its own: the terminal's signals are for the master, which ends it
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        try:
            node = await asyncio.to_thread(Node, self.noise, self.n_processes)
        except Exception as error:
            worker.loop.call_later(0.5, worker.close, reason="gadask-node-failed")  # after the answer was sent
            raise NodeError(str(error)) from error
        if self._torn_down:
            await asyncio.to_thread(node.close)
        else:
            self.node = node

    async def teardown(self, worker: Worker) -> None:
        """End the rollout processes and free the table; a setup that is still under way ends what it made."""
        self._torn_down = True
        if self.node is not None:
            await asyncio.to_thread(self.node.close)


@dataclass
class _TaskState:
    """What a node keeps for one task, beside the weights that its processes share."""

    number: int
    cache: AncestorCache
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: dict[Kind, int] = field(default_factory=dict)
    """The last closed generation of each kind of episode."""
    episode_s: float = 0.0


class Node:
    """Plays chunks on its rollout processes; used by several Dask threads at once."""

    def __init__(self, noise: NoiseConfig, n_processes: int | None = None) -> None:
        """Start the fork server, fill the noise table over all cores, start the processes."""
        cpus = sorted(os.sched_getaffinity(0))
        if n_processes is None:
            n_processes = max(1, granted_cores() - 1)
        # A core is left to the Dask worker where there is one to spare. With fewer processes than that, other nodes
        # share the machine, and which cores are theirs is the kernel's to say.
        rollout_cpus = cpus[len(cpus) - n_processes :] if n_processes < len(cpus) else cpus
        pinned = n_processes >= max(2, len(cpus) - 1)
        self.noise = noise
        server = ForkServer(noise, n_processes, min(len(cpus), granted_cores()))
        self.digest = server.digest
        self.pool = Pool(server, n_processes, rollout_cpus if pinned else None)
        self._tasks: dict[str, _TaskState] = {}
        self._forgotten: set[str] = set()
        self._lock = threading.Lock()

    @property
    def n_tasks(self) -> int:
        """Tasks whose weights the node keeps."""
        return len(self._tasks)

    def play(
        self, task: Task, breeding: Breeding, chunk: Chunk
    ) -> tuple[NDArray[np.void], dict[int, str], dict[int, bytes]]:
        """Play a chunk's episodes.

        Returns one row each, in order of completion; what went wrong, by row; moments of observed episodes, by row.
        """
        state = self._state_of(task)
        weights = _weights_needed(breeding, chunk)
        with self._weights_ready(state, weights) as rows_of:
            planned = _plan(task, breeding, chunk, rows_of)
            jobs: list[Job] = []
            size = self._episodes_a_job(state, len(planned), task.n_lanes)
            for start in range(0, len(planned), size):
                episodes = tuple(planned[start : start + size])
                jobs.append(PlayJob(state.number, chunk.generation, chunk.kind, episodes, breeding.normaliser))
            batch = self.pool.submit(jobs)
            if chunk.generation <= state.closed.get(chunk.kind, -1):  # closed before its jobs could be stopped
                self._stop(state)
            rows, reasons = batch.wait()
        played = rows["seconds"][rows["status"] == Status.OK]
        if len(played):
            state.episode_s = float(played.mean())
        return rows, reasons, batch.moments

    def close_generation(self, task: Task, kind: Kind, generation: int) -> None:
        """Stop episodes of this kind in this generation and those before; later chunks of them come back unplayed."""
        state = self._state_of(task)
        state.closed[kind] = max(state.closed.get(kind, -1), generation)
        self._stop(state)

    def forget(self, task: Task) -> None:
        """End a task's episodes and free its weights."""
        with self._lock:
            state = self._tasks.pop(task.run_id, None)
            self._forgotten.add(task.run_id)  # its chunks may still be on their way
        if state is not None:
            self.pool.remove_task(state.number)

    def close(self) -> None:
        """End all processes and free all shared memory."""
        self.pool.close()

    def _state_of(self, task: Task) -> _TaskState:
        with self._lock:
            state = self._tasks.get(task.run_id)
            if task.run_id in self._forgotten:
                raise NodeError(f"the run {task.run_id} has ended")
            if state is None:
                if task.noise != self.noise:
                    raise NodeError(f"this node's noise table is {self.noise}, the run needs {task.noise}")
                number = self.pool.add_task(task, n_rows := 4 * task.n_genomes)
                state = self._tasks[task.run_id] = _TaskState(number, AncestorCache(n_rows))
            return state

    @contextmanager
    def _weights_ready(self, state: _TaskState, genomes: list[Genome]) -> Iterator[dict[Genome, int]]:
        """Have the weights of these genomes in shared memory, in the rows yielded, while the block runs."""
        with state.lock:  # the first chunk of a generation decodes, the others wait for it
            decodings = state.cache.plan(genomes)
            batch = self.pool.submit([DecodeJob(state.number, decoding) for decoding in decodings])
            try:
                _, reasons = batch.wait()
                if reasons:
                    raise NodeError(f"cannot decode a genome: {next(iter(reasons.values()))}")
            except NodeError:
                state.cache.forget([decoding.genome for decoding in decodings])
                raise
            state.cache.pin(genomes)
            rows_of = {genome: state.cache[genome] for genome in genomes}
        try:
            yield rows_of
        finally:
            with state.lock:
                state.cache.unpin(genomes)

    def _stop(self, state: _TaskState) -> None:
        def matches(job: Job) -> bool:
            return (
                isinstance(job, PlayJob)
                and job.task_number == state.number
                and job.generation <= state.closed.get(job.kind, -1)
            )

        self.pool.stop(matches)

    def _episodes_a_job(self, state: _TaskState, n_episodes: int, n_lanes: int) -> int:
        cheap = min(int(_JOB_S / state.episode_s), _MAX_EPISODES_A_JOB) if state.episode_s else 1
        if n_lanes:  # lanes idle at the end of a job, so that it should be long
            share = -(-n_episodes // self.pool.n_processes)
            return max(1, min(share, max(LANE_ROUNDS * n_lanes, cheap)))
        return max(1, min(cheap, n_episodes // (4 * self.pool.n_processes)))


def _weights_needed(breeding: Breeding, chunk: Chunk) -> list[Genome]:
    """Return the genomes whose weights a chunk starts from, each once."""
    if chunk.kind is Kind.CHILD:
        return list(dict.fromkeys(breeding.parents))
    bases = []
    for slot in {slot for slot, _ in chunk.episodes}:
        candidate = breeding.candidates[slot]
        if candidate not in breeding.parents and candidate[:-1] in breeding.parents:
            bases.append(candidate[:-1])
        elif candidate in breeding.parents or len(candidate) > 1:
            bases.append(candidate)
    return list(dict.fromkeys(bases))


def _plan(task: Task, breeding: Breeding, chunk: Chunk, rows_of: dict[Genome, int]) -> list[PlannedEpisode]:
    """Say for each episode which row of weights it starts from and which gene it adds."""
    planned: list[PlannedEpisode] = []
    if chunk.kind is Kind.CHILD:
        n_genes = count_genes(task.noise.size, task.n_params)
        for slot, episodes in groupby(chunk.episodes, itemgetter(0)):  # in slot order
            parent, gene = draw_child(task.run_seed, chunk.generation, slot, breeding.parents, n_genes)
            row = -1 if parent < 0 else rows_of[breeding.parents[parent]]
            planned.extend(PlannedEpisode(slot, episode, row, gene) for _, episode in episodes)
        return planned
    for slot, episode in chunk.episodes:
        candidate = breeding.candidates[slot]
        if candidate in rows_of:
            planned.append(PlannedEpisode(slot, episode, rows_of[candidate], -1))
        else:  # a genome of one gene is made from noise alone
            planned.append(PlannedEpisode(slot, episode, rows_of.get(candidate[:-1], -1), candidate[-1]))
    return planned


def _node() -> Node:
    plugin: Any = get_worker().plugins.get(PLUGIN_NAME)
    if plugin is None or plugin.node is None:
        raise NodeError("this Dask worker has no gadask node; its NodePlugin was not set up")
    node: Node = plugin.node
    return node


def play(chunk: bytes, made_from: bytes, digest: str) -> ChunkResult:
    """Play a chunk on this Dask worker's node; refuses if its noise table is not the run's.

    `chunk` is as `pack_chunk` gives it, `made_from` as `pack_breeding` does.

    It waits outside the worker's threads, so that the chunks of all runs are in the pool's queue at once. In the
    worker's own queue some would wait behind the last episodes of others.
    """
    secede()
    node = _node()
    if node.digest != digest:
        raise NodeError(f"noise table {node.digest} differs from the run's {digest}")
    rows, reasons, moments = node.play(*unpack_breeding(made_from), unpack_chunk(chunk))
    return ChunkResult(get_worker().address, pack_rows(rows), reasons, moments)


def describe(dask_worker: Worker) -> NodeInfo | None:
    """Return what the node says of itself, None without a node that can play; for `client.run`."""
    plugin: Any = dask_worker.plugins.get(PLUGIN_NAME)
    node: Node | None = plugin.node if plugin is not None else None
    if node is None or node.pool.closed:
        return None
    return NodeInfo(
        dask_worker.address,
        socket.gethostname(),
        cpu()["model"] + ("" if has_compiled_kernels() else " without gadask's compiled kernels"),
        node.pool.n_processes,
        node.noise,
        node.digest,
        node.n_tasks,
    )


def close_generation(task: Task, kind: Kind, generation: int, dask_worker: Worker) -> None:
    """Stop a generation on a node at once, past its busy threads; for `client.run`."""
    plugin: Any = dask_worker.plugins.get(PLUGIN_NAME)
    if plugin is not None and plugin.node is not None:
        plugin.node.close_generation(task, kind, generation)


def forget(task: Task, dask_worker: Worker) -> None:
    """Free what a node keeps for a task; for `client.run`."""
    plugin: Any = dask_worker.plugins.get(PLUGIN_NAME)
    if plugin is not None and plugin.node is not None:
        plugin.node.forget(task)
    unpack_breeding.cache_clear()  # which would hold the parents of a run that has ended; others unpack theirs again
