"""Clusters: where nodes come from. Each kind is a file of its own.

A kind is an asynchronous context manager that yields a `Cluster` and has everything it started gone when it ends. All
connections use TLS with certificates made for this one cluster, on one machine too: whoever reaches a plain Dask port
can run code as its owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from gadask.clusters.base import Cluster, NodeCounts
from gadask.clusters.held import HeldCluster, hold
from gadask.clusters.local import local_cluster, local_processes
from gadask.clusters.machine import Machine

__all__ = [
    "Cluster",
    "HeldCluster",
    "NodeCounts",
    "hold",
    "job_folder",
    "local_cluster",
    "local_processes",
    "open_cluster",
]


def open_cluster(
    cluster: str, machine: Machine, n_nodes: int, run_dir: Path, start_timeout_s: float
) -> AbstractAsyncContextManager[Cluster]:
    """Return the context manager of a cluster: `local`, `slurm`, `allocation`, or the address of a Dask scheduler.

    `n_nodes` counts for `local` and `slurm`, the machine for `slurm` and `allocation`. Jobs and keys that an earlier
    start in the run directory left are cleared away first.
    """
    home = _home(run_dir)
    match cluster:
        case "local":
            return _cleared(home, local_cluster(n_nodes))
        case "slurm":
            from gadask.clusters.slurm import slurm_cluster

            folder = job_folder(machine, run_dir)
            return slurm_cluster(machine, n_nodes, folder=folder, home=home, start_timeout_s=start_timeout_s)
        case "allocation":
            from gadask.clusters.allocation import allocation_cluster

            return _cleared(home, allocation_cluster(machine, folder=job_folder(machine, run_dir)))
        case address:
            from gadask.clusters.existing import existing_cluster

            return _cleared(home, existing_cluster(address))


def job_folder(machine: Machine, run_dir: Path) -> Path:
    """Return the folder for keys and job logs, which all nodes see: in the run directory, or where `shared` says.

    It is the same whenever a run is resumed.
    """
    run_dir = run_dir.absolute()
    if machine.shared is None:
        return _home(run_dir)
    digest = hashlib.sha256(bytes(run_dir)).hexdigest()
    return Path(machine.shared).expanduser().absolute() / f"gadask-{run_dir.name}-{digest[:8]}"


def _home(run_dir: Path) -> Path:
    """Return the folder of a run's record of jobs."""
    return run_dir.absolute() / "cluster"


@asynccontextmanager
async def _cleared(home: Path, opening: AbstractAsyncContextManager[Cluster]) -> AsyncIterator[Cluster]:
    """Open a cluster once what an earlier start left is cleared away."""
    from gadask.clusters.clearing import clear_earlier
    from gadask.clusters.periods import Periods

    await clear_earlier(home, Periods())
    async with opening as cluster:
        yield cluster
