"""A node: one Dask worker that owns one machine's rollout processes.

The state of a node (noise table, rollout processes, weights of the current parents) lives in `NodePlugin`; messages to
it are plain Dask tasks, and questions that are asked past them (`nodes.py`): the functions at the end of this module. A
node that cannot be set up, or fails later, says so and closes its worker: Dask by itself would go on giving it tasks.
"""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker, secede
from tornado.ioloop import PeriodicCallback

from gadask.config import NoiseConfig
from gadask.errors import NodeError
from gadask.genomes.genome import from_text
from gadask.messages import Kind, Task, unpack_brood, unpack_chunk
from gadask.node.memory_kills import memory_kills
from gadask.node.node import Node
from gadask.record.provenance import code, cpu_text, emulators, libraries

PLUGIN_NAME = "gadask"

CODE = code()
"""The gadask of this process, as it was when it was imported."""

FAREWELL_TOPIC = "gadask-farewells"
"""Dask events `{"address", "host", "reason"}` of nodes that close their worker."""

_TEND_S = 2.0
_FAREWELL_S = 0.5  # until an answer and a farewell are sent


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself."""

    address: str
    host: str
    cpu: str
    """What may round differently from other nodes: its model and its vector instructions."""
    n_processes: int
    noise: NoiseConfig
    digest: str
    n_tasks: int
    """Runs that the node plays."""
    client_ids: frozenset[str] = frozenset()
    """Their masters' Dask clients."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of what decides a row beside gadask, by name; of emulators those that are installed."""


@dataclass(frozen=True)
class ChunkResult:
    """What came of a chunk."""

    node: str
    """Address of the node that played it."""
    packed: bytes
    """Its `Rows`, packed."""


class NodePlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives a Dask worker its `Node`; reaches late joiners, and is set up again when a nanny restarts a worker."""

    name = PLUGIN_NAME

    def __init__(self, noise: NoiseConfig, n_processes: int | None = None) -> None:
        """`n_processes=None` takes what the worker's job says, by default one less than its cores, but at least one."""
        self.noise = noise
        self.n_processes = n_processes
        self.node: Node | None = None
        self._torn_down = False
        self._tending: PeriodicCallback | None = None

    async def setup(self, worker: Worker) -> None:
        """Fill the noise table and start the rollout processes; on failure close the worker and raise."""
        if worker.nanny is not None:  # its own process: the terminal's signals are for the master, which ends it
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        worker.metrics["memory_kills"] = lambda _: memory_kills()

        def fail(reason: str) -> None:
            if not self._torn_down:
                _close_worker(worker, reason)

        try:
            node = await asyncio.to_thread(
                Node, self.noise, self.n_processes, lambda reason: worker.loop.add_callback(fail, reason)
            )
        except Exception as error:
            fail(str(error))
            raise NodeError(str(error)) from error
        if self._torn_down:
            await asyncio.to_thread(node.close)
            return
        self.node = node
        self._tending = PeriodicCallback(node.tend, 1000 * _TEND_S)
        self._tending.start()

    async def teardown(self, worker: Worker) -> None:
        """End the rollout processes and free the table; a setup that is still under way ends what it made."""
        self._torn_down = True
        if self._tending is not None:
            self._tending.stop()
        if self.node is not None:
            await asyncio.to_thread(self.node.close)


def _node() -> Node:
    plugin: Any = get_worker().plugins.get(PLUGIN_NAME)
    if plugin is None or plugin.node is None:
        raise NodeError("this Dask worker has no gadask node; its NodePlugin was not set up")
    node: Node = plugin.node
    return node


def _close_worker(worker: Worker, reason: str) -> None:
    """Close a worker whose node cannot play, and say why to those who look at its scheduler's events."""
    farewell = {"address": worker.address, "host": socket.gethostname(), "reason": reason}
    worker.log_event(FAREWELL_TOPIC, farewell)
    worker.loop.call_later(_FAREWELL_S, worker.close, reason="gadask-node-failed")


def identity(digest: str | None) -> str:
    """Return what master and node must agree in: the noise table and the libraries, by their digests, and gadask.

    It travels with every chunk, so it is short.
    """
    return f"noise {digest}, gadask {CODE}, libraries {hashlib.sha256(_libraries_text().encode()).hexdigest()[:8]}"


def _libraries_text() -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries().items())


def play(chunk: bytes, made_from: bytes, expected: str) -> ChunkResult:
    """Play a chunk on this Dask worker's node; refuses if its `identity` is not as the run expects.

    `chunk` is as `pack_chunk` gives it, `made_from` as `pack_brood` does. Dask may bring a chunk to a node that the
    master has refused.

    It waits outside the worker's threads, so that the chunks of all runs are in the pool's queue at once. In the
    worker's own queue some would wait behind the last episodes of others.
    """
    worker = get_worker()
    key = worker.get_current_task()
    secede()
    node = _expected_node(expected)

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"  # as it is once the scheduler gave it up

    rows = node.play(*unpack_brood(made_from), unpack_chunk(chunk), is_wanted)
    return ChunkResult(worker.address, rows.packed())


def vectors(made_from: bytes, genome: str, expected: str) -> bytes:
    """Return the vectors of a genome, float32, that this Dask worker's node has or makes; arguments as for `play`."""
    secede()
    node = _expected_node(expected)
    task, _ = unpack_brood(made_from)
    return node.vectors(task, from_text(genome))


def _expected_node(expected: str) -> Node:
    """Return this Dask worker's node; raises `NodeError` if its `identity` is another."""
    node = _node()
    if identity(node.digest) != expected:
        raise NodeError(f"this node has {identity(node.digest)} ({_libraries_text()}); the run has {expected}")
    return node


def answer(question: Callable[..., object], *args: object, dask_worker: Worker) -> bytes:
    """Return, pickled, what one of the functions below answers, or the `NodeError` that it raises.

    So the scheduler, through which answers come, need not know what is in them.
    """
    try:
        return pickle.dumps(question(*args, dask_worker=dask_worker))
    except Exception as error:  # a question must not pass for unanswered
        return pickle.dumps(error if isinstance(error, NodeError) else NodeError(f"{type(error).__name__}: {error}"))


def describe(dask_worker: Worker) -> NodeInfo | None:
    """Return what the node says of itself, None while it is being set up.

    Raises `NodeError` if it can play nothing any more.
    """
    plugin: Any = dask_worker.plugins.get(PLUGIN_NAME)
    node: Node | None = plugin.node if plugin is not None else None
    if node is None:
        return None
    if node.pool.closed:
        raise NodeError(node.pool.failure or "its rollout processes have been ended")
    return NodeInfo(
        dask_worker.address,
        socket.gethostname(),
        cpu_text(),
        node.pool.n_processes,
        node.noise,
        node.digest,
        node.n_tasks,
        node.client_ids,
        {**libraries(), **emulators()},
    )


def attend(task: Task, closed: Mapping[Kind, int], dask_worker: Worker) -> NodeInfo | None:
    """Renew a run's lease and close its generations, past the worker's busy threads.

    `closed` is the last closed generation of each kind. Answers and raises as `describe` does.
    """
    info = describe(dask_worker)
    if info is not None:
        node: Node = dask_worker.plugins[PLUGIN_NAME].node
        node.renew(task.run_id)
        for kind, generation in closed.items():
            node.close_generation(task, kind, generation)
    return info


def forget(task: Task, dask_worker: Worker) -> None:
    """Free what a node keeps for a task."""
    plugin: Any = dask_worker.plugins.get(PLUGIN_NAME)
    if plugin is not None and plugin.node is not None:
        plugin.node.forget(task)
    unpack_brood.cache_clear()  # which would hold the parents of a run that has ended; others unpack theirs again
