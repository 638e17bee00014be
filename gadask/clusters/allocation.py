"""Nodes inside one Slurm job: the batch script runs the master on the first node, `srun` a Dask worker on each.

This is ga-dist's shape, for sites whose compute nodes cannot reach the login node. The scheduler lives in the master's
process; a worker has its address from its command line, so that there is no file which could be torn, or stale after a
requeue. A worker that dies is started again, unless its node fails too often.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import re
import socket
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import dask
from distributed import Client, Scheduler
from distributed.security import Security

from gadask.clusters.base import (
    DASK_CONFIG,
    DEATH_TIMEOUT_S,
    WORKER_THREADS,
    Cluster,
    NodeCounts,
    allow_connections,
    dashboard_address,
    dask_environment,
    end_of_log,
    meanwhile,
    port_may_be_taken,
)
from gadask.clusters.links import dashboard_link
from gadask.clusters.machine import Machine
from gadask.clusters.resubmission import allocation_script
from gadask.clusters.security import locked_folder, temporary_keys
from gadask.clusters.slurm import node_names
from gadask.dashboard.page import install, remember
from gadask.errors import ClusterError, UsageError

_logger = logging.getLogger(__name__)

_FREE_FAILURES = 3
"""Failures of a node that are not held against it, on top of the machine's rate."""
_MAX_PAUSE_S = 60.0
_END_S = 5.0


@dataclass(frozen=True)
class _Job:
    """The Slurm job that this process runs in."""

    nodes: list[str]
    n_cores: int
    started_at: float
    """Unix time."""


class Allocation(Cluster):
    """The nodes of the Slurm job that this process runs in."""

    def __init__(
        self, client: Client, scheduler: Scheduler, job: _Job, workers: list[_NodeWorker], n_processes: int | None
    ) -> None:
        """Describe a cluster that runs."""
        self.n_processes = n_processes
        self.client = client
        user, login = getpass.getuser(), os.environ.get("SLURM_SUBMIT_HOST", "LOGIN-NODE")
        port = scheduler.http_server.port
        ssh = f"ssh -N -J {user}@{login} -L {port}:127.0.0.1:{port} {user}@{socket.gethostname()}"
        self.dashboard = dashboard_link("127.0.0.1", port, after=ssh)
        self._scheduler = scheduler
        self._job = job
        self._workers = workers

    def counts(self) -> NodeCounts:
        """Return how the nodes stand now."""
        names = {worker.name for worker in self._scheduler.workers.values()}
        connected = [worker.name in names for worker in self._workers]
        given_up = [worker.given_up for worker in self._workers]
        return NodeCounts(
            wanted=len(self._workers),
            running=sum(connected),
            starting=len(self._workers) - sum(connected) - sum(given_up),
            lost=sum(worker.n_failures for worker in self._workers),
            core_hours=self._job.n_cores * (time.time() - self._job.started_at) / 3600,
        )


@asynccontextmanager
async def allocation_cluster(machine: Machine, *, folder: Path) -> AsyncIterator[Allocation]:
    """Start a worker on every node of the Slurm job that this process runs in; `folder` must be seen by all of them.

    Raises `UsageError` outside a job, or if another master uses the folder; `ClusterError`, also in the middle of what
    the caller awaits, if no node is left whose worker stays alive.
    """
    job = await _this_job()
    allow_connections(len(job.nodes))
    workers: list[_NodeWorker] = []
    with locked_folder(folder):
        try:
            with temporary_keys(folder) as keys, dask.config.set(DASK_CONFIG):
                scheduler = await _start_scheduler(machine, keys)
                workers += [_NodeWorker(node, machine, scheduler.address, keys, folder) for node in job.nodes]
                async with (
                    scheduler,
                    Client(scheduler.address, security=keys, asynchronous=True, set_as_default=False) as client,
                    meanwhile(_keep(workers)),
                ):
                    yield Allocation(client, scheduler, job, workers, machine.rollouts_per_node)
        finally:  # with the keys already removed: Slurm may kill a cancelled job while a step is slow to end
            await asyncio.gather(*(worker.end() for worker in workers))


async def _this_job() -> _Job:
    try:
        nodes = os.environ["SLURM_JOB_NODELIST"]
        cores = os.environ["SLURM_JOB_CPUS_PER_NODE"]
    except KeyError as error:
        raise UsageError(
            f"an allocation: expected inside a Slurm job, found no {error} in the environment; submit it with sbatch"
            f" {allocation_script()}"
        ) from None
    return _Job(
        nodes=await node_names(nodes),
        # Such as 32(x7),16.
        n_cores=sum(int(n) * int(times or 1) for n, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", cores)),
        started_at=float(os.environ.get("SLURM_JOB_START_TIME", time.time())),
    )


async def _start_scheduler(machine: Machine, keys: Security) -> Scheduler:
    install()
    try:
        with port_may_be_taken():
            scheduler = await Scheduler(
                protocol="tls",
                interface=machine.interface,
                security=keys,
                dashboard_address=dashboard_address(),
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the Dask scheduler cannot start: {error}") from None
    remember(scheduler)
    return scheduler


async def _keep(workers: list[_NodeWorker]) -> NoReturn:
    """Keep the workers until cancelled; raises `ClusterError` when every node is given up."""
    await asyncio.gather(*(worker.keep() for worker in workers))
    raise ClusterError(f"no node is left whose worker stays alive; the last was {workers[-1].last_failure}")


class _NodeWorker:
    """The Dask worker of one node, a job step that is started again when it ends."""

    def __init__(self, node: str, machine: Machine, scheduler: str, keys: Security, folder: Path) -> None:
        self.name = node
        """The worker's name, a new one each time: the scheduler might refuse the name of the one that died."""
        self.n_failures = 0
        self.given_up = False
        self.last_failure = ""
        self._node = node
        self._machine = machine
        self._scheduler = scheduler
        self._keys = keys
        self._log = folder / f"{node}.log"
        self._process: Process | None = None

    async def keep(self) -> None:
        """Have a worker on the node until it fails too often."""
        kept_at = time.monotonic()
        while True:
            started_at = time.monotonic()
            await self._run()
            self.n_failures += 1
            lived_s = time.monotonic() - started_at
            self.last_failure = f"on {self._node}, after {lived_s:.0f} s; {end_of_log(self._log)}"
            hours = (time.monotonic() - kept_at) / 3600
            if self.n_failures > _FREE_FAILURES + self._machine.max_failures_per_node_hour * hours:
                self.given_up = True
                _logger.warning("a worker ended too often, so its node is given up: %s", self.last_failure)
                return
            _logger.warning("a worker ended and is started again: %s", self.last_failure)
            await asyncio.sleep(min(_MAX_PAUSE_S, 2.0 ** (self.n_failures - 1)))

    async def end(self) -> None:
        """See that the job step is gone, which ends by itself when the scheduler does; what went well needs no log."""
        if self._process is not None:
            try:
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.terminate()  # at which srun kills the step
                await self._process.wait()
        if not self.n_failures:
            self._log.unlink(missing_ok=True)

    async def _run(self) -> None:
        """Start the job step and wait for its end."""
        self.name = f"{self._node}-{self.n_failures}"
        command = _step(self._node, self.name, self._machine, self._scheduler, self._keys)
        try:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    env={**os.environ, **dask_environment()},
                    stdin=DEVNULL,
                    stdout=log,
                    stderr=STDOUT,
                    start_new_session=True,  # Ctrl-C in an interactive job is for the master
                )
        except OSError as error:
            raise ClusterError(f"cannot start a worker on {self._node}: {error}") from None
        await self._process.wait()


def _step(node: str, name: str, machine: Machine, scheduler: str, keys: Security) -> list[str]:
    """Return the command of a job step: one worker, with all that the job has on its node."""
    interface = ["--interface", machine.interface] if machine.interface else []
    worker = [
        *(*machine.python_words, "-m", "distributed.cli.dask_worker", scheduler, "--name", name, *interface),
        *("--tls-ca-file", keys.tls_ca_file, "--tls-cert", keys.tls_worker_cert, "--tls-key", keys.tls_worker_key),
        *("--nthreads", str(WORKER_THREADS), "--memory-limit", "0", "--death-timeout", str(DEATH_TIMEOUT_S)),
        *("--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
    ]
    return [
        *("srun", "--nodes=1", "--ntasks=1", "--ntasks-per-node=1", f"--nodelist={node}", f"--job-name={name}"),
        # A step that is dying must not hold up its successor, and neither memory nor cores are split between steps.
        *("--overlap", "--mem=0", "--cpu-bind=none"),
        *("bash", "-c", "\n".join([*machine.preamble, f'exec "$@" --local-directory "{machine.scratch}"']), name),
        *worker,
    ]
