"""What every kind of cluster gives: a Dask client whose workers become nodes, and an account of them."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass

from distributed import Client

DASK_CONFIG = {
    # A worker that is preempted costs each of its tasks one strike; gadask bounds errors itself.
    "distributed.scheduler.allowed-failures": 20,
    # Chunks are placed by the master; moving them would leave a node with one chunk and its processes waiting.
    "distributed.scheduler.work-stealing": False,
    # The parents are broadcast; a worker that died a moment ago is not to hold up the others for the usual 30 s.
    "distributed.comm.timeouts.connect": "10s",
    # The shared noise table is no reason to restart a worker.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
"""Dask's settings for the process that holds the scheduler, and for workers that it starts."""

DASHBOARD_PORT = 8787


@dataclass(frozen=True)
class NodeCounts:
    """How a cluster stands: nodes, and what they have cost."""

    wanted: int
    running: int
    """Nodes whose Dask worker is connected."""
    pending: int = 0
    """Jobs that wait in the queue or start up."""
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
    """How to reach the Dask dashboard: an address on this machine, or the ssh command that makes it one."""

    @abstractmethod
    def counts(self) -> NodeCounts:
        """Return how the cluster stands now; cheap, and never waits."""


def free_port(wanted: int) -> int:
    """Return the wanted port on loopback if it is free, else 0, which lets the system choose."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted
