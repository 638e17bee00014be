"""What every kind of cluster gives: a Dask client whose workers become nodes, and an account of them."""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, SpecCluster

from gadask.clusters.links import cluster_html, cluster_text, page_link

DASK_CONFIG = {
    # A worker that is preempted costs each of its tasks one strike; gadask bounds errors itself.
    "distributed.scheduler.allowed-failures": 20,
    # Chunks are placed by the master; moving them would leave a node with one chunk and its processes waiting.
    "distributed.scheduler.work-stealing": False,
    # A worker that died a moment ago is not to hold up the others for the usual 30 s.
    "distributed.comm.timeouts.connect": "10s",
    # How long a connection may be silent before it counts as broken, which ends its worker. While the network is cut
    # the kernel sends again and again, and doubles the pause each time: the first try after a cut of 40 s may come at
    # 80 s. So 90 s survive a cut of 45 s; with Dask's 30 s one of 15 s can cost a node. The price: a node that vanishes
    # without a word, as in a power cut, holds up the generation for 90 s.
    "distributed.comm.timeouts.tcp": "90s",
    # A worker that says nothing for so long, its connection open all the while, is replaced (Dask: 5 min). It is longer
    # than a cut that its connection rides out.
    "distributed.scheduler.worker-ttl": "2 minutes",
    # Dask's profiler looks at the threads of all waiting chunks 100 times a second. That takes up to a tenth of a core
    # from the rollout processes and shows nothing, since episodes are played in those
    # (`tests/benchmarks/bench_overhead.py`).
    "distributed.worker.profile.enabled": False,
    # The shared noise table is no reason to restart a worker.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
"""Dask's settings for the process that holds the scheduler, and for workers that it starts."""

DEATH_TIMEOUT_S = 300
"""A worker that cannot reach the scheduler, or set up its node, for this long gives up."""

WORKER_THREADS = 2
"""Threads of a node's Dask worker; a chunk that waits for its episodes holds none of them."""

_DASHBOARD_PORT = 8787
_LOG_LINES, _LOG_BYTES = 3, 4000
_FILES, _FILES_A_NODE = 500, 4  # open at once; a node's own connection, and one or two for requests


def allow_connections(n_nodes: int) -> None:
    """Let this process open as many files as connections to `n_nodes` need, if the machine grants them.

    Many login nodes begin with a limit of 1024. It is not raised without need, since jobs inherit it.
    """
    needed = _FILES + _FILES_A_NODE * n_nodes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))


@dataclass(frozen=True)
class NodeCounts:
    """How a cluster stands: nodes, and what they have cost."""

    wanted: int
    running: int
    """Nodes whose Dask worker is connected."""
    pending: int = 0
    """Jobs that wait in the queue."""
    starting: int = 0
    """Jobs that run, and whose Dask worker is not connected yet."""
    lost: int = 0
    """Nodes that went before their time, over the whole run."""
    pending_reason: str = ""
    """Why jobs wait, in the queue's own word, such as `Priority` or `Resources`."""
    core_hours: float = 0.0
    """Core-hours charged so far: cores of each job × the wall time it ran."""


class Cluster(ABC):
    """A running cluster; its context manager ends everything that it started."""

    client: Client
    """Asynchronous."""
    dashboard: str
    """How to reach the Dask dashboard: its address, and behind it the ssh command that may be needed first."""
    n_processes: int | None = None
    """Rollout processes that a node of it should have; None leaves it to the node."""
    node_timeout_s: float = math.inf
    """How long a run on it waits for a node."""

    @property
    def page(self) -> str:
        """Address of gadask's page of the dashboard, reached as that is; empty where it has none."""
        return page_link(self.dashboard)

    @abstractmethod
    def counts(self) -> NodeCounts:
        """Return how the cluster stands now; cheap, and never waits."""

    def __repr__(self) -> str:
        return f"<cluster: {self._standing()}; dashboard {self.dashboard}>"

    def _repr_html_(self) -> str:
        """Return how the cluster stands, and where its dashboard is."""
        return cluster_html(self._standing(), self.n_processes, self.dashboard, self.page)

    def _standing(self) -> str:
        counts = self.counts()
        return cluster_text(counts.running, counts.wanted, counts.core_hours)


def dask_environment() -> dict[str, str]:
    """Return `DASK_CONFIG` as the environment variables that give it to workers which are started by a command."""
    return {
        f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(value) for key, value in DASK_CONFIG.items()
    }


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Do some work while the block runs; what it raises ends the block and comes out of it."""
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as failures:
        failure = failures.exceptions[0]  # what came first: the work's, or the block's own
    if failure is not None:
        raise failure


def end_of_log(log: Path) -> str:
    """Return the last lines of a log, as one."""
    try:
        text = log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
    except OSError as error:
        return f"its log {log} cannot be read: {error.strerror}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"its log {log} ends: {' | '.join(lines[-_LOG_LINES:])}" if lines else f"its log {log} is empty"


def dashboard_address() -> str:
    """Return where Dask is to put the dashboard: on loopback, since TLS does not cover it, at a port that is free."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", _DASHBOARD_PORT))
        except OSError:
            return "127.0.0.1:0"  # the system chooses
    return f"127.0.0.1:{_DASHBOARD_PORT}"


@contextmanager
def port_may_be_taken() -> Iterator[None]:
    """Keep Dask from warning, in four lines, that another run took the dashboard's port a moment ago.

    Dask puts it at another port then, and gadask prints where it is.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Port [0-9]+ is already in use", UserWarning)
        yield


async def start(cluster: SpecCluster) -> None:
    """Start a cluster. Dask cannot close one that is half started: an interrupt waits until it has."""
    starting = asyncio.ensure_future(cluster)
    with port_may_be_taken():
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.gather(starting, return_exceptions=True)
            raise
