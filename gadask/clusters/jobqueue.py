"""A node as a job of dask-jobqueue's `SLURMCluster`: what the job script says, and how it is submitted.

One Dask worker a node: with several a job, dask-jobqueue never replaces a job that was killed. The worker replaces the
batch shell (`exec`), so that Slurm's TERM reaches it. It leaves by itself before its wall time ends (`--lifetime`),
which costs its chunks no strike; TERM, somewhat later, is for a worker that was restarted meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import shlex
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distributed import Status
from distributed.security import Security

from gadask.clusters.base import DEATH_TIMEOUT_S, WORKER_THREADS, dask_environment
from gadask.clusters.queue import submit
from gadask.clusters.security import load_keys
from gadask.errors import ClusterError
from gadask.machine import Machine

_interrupt = signal.getsignal(signal.SIGINT)
from dask_jobqueue.slurm import SLURMCluster, SLURMJob  # noqa: E402

if _interrupt is not None:
    signal.signal(signal.SIGINT, _interrupt)  # importing dask-jobqueue replaces it

_MOST_SUBMISSIONS = 8  # at a time: login nodes are shared
_STAGGER_SHARE, _MAX_STAGGER_S = 0.05, 300.0


class Submissions:
    """What came of the job scripts that a cluster handed in."""

    def __init__(self, record: Path) -> None:
        """`record` is a file that gets a line with the number of each job."""
        self.accepted: dict[str, str] = {}
        """Numbers of jobs by the names of their workers."""
        self.refused: dict[str, str] = {}
        """Slurm's reasons by the names of the workers."""
        self._record = record
        self._turn = asyncio.Semaphore(_MOST_SUBMISSIONS)

    async def submit(self, name: str, script: str) -> None:
        """Submit a job script."""
        async with self._turn:
            try:
                self.accepted[name] = job_id = await submit(script)
            except ClusterError as error:
                self.refused[name] = str(error)
                return
        with self._record.open("a") as record:
            record.write(f"{job_id}\n")


class NodeJob(SLURMJob):  # type: ignore[misc]
    """The job of one node. Whoever holds the submissions cancels it, together with others in one command."""

    def __init__(self, *args: Any, submissions: Submissions, **options: Any) -> None:
        """Take dask-jobqueue's options."""
        super().__init__(*args, **options)
        self._submissions = submissions

    async def start(self) -> None:
        """Submit the job; dask-jobqueue would only log why it was refused."""
        with self.job_file() as script:
            await self._submissions.submit(self.name, script)
        self.status = Status.running

    async def close(self) -> None:
        """Have nothing more to do with the job."""
        self.status = Status.closed


class NodeCluster(SLURMCluster):  # type: ignore[misc]
    """A `SLURMCluster` of `NodeJob`s."""

    job_cls = NodeJob

    def __init__(self, **options: Any) -> None:
        """Take dask-jobqueue's options."""
        self._numbers = itertools.count()
        super().__init__(**options)

    def _new_worker_name(self, _: int) -> str:
        """Return a name that no job had before: Dask would give that of a lost worker again."""
        return f"{self._name}-{next(self._numbers)}"

    def forget(self, names: Iterable[str]) -> None:
        """Take jobs that ended from the plan.

        `scale_down` would first wait until what their workers hold is elsewhere, and a worker can outlive its job
        without a word.
        """
        for name in names:
            self.worker_spec.pop(name, None)
            self.workers.pop(name, None)

    def _get_worker_security(self, security: Security) -> Security:
        """Return the settings whose paths go into the command line of the worker, unquoted by dask-jobqueue."""
        return load_keys(Path(self.shared_temp_directory), shlex.quote)


def job_options(machine: Machine, folder: Path) -> dict[str, Any]:
    """Return the options of a node's job, whose log goes to `folder`."""
    lifetime_s, stagger_s = lifetime(machine)
    term_s = max(15, round(machine.leave_before_s / 3))
    return {
        "job_name": f"gadask-{machine.name}",
        "queue": machine.partition,
        "account": machine.account,
        "walltime": machine.wall_time,
        "job_cpu": machine.cores,
        "memory": machine.memory,
        "processes": 1,
        "cores": WORKER_THREADS,  # threads of the worker
        "interface": machine.interface,
        "protocol": "tls://",
        "nanny": True,
        "death_timeout": DEATH_TIMEOUT_S,
        "local_directory": f'"{machine.scratch}"',
        "python": f"exec {shlex.quote(machine.python or sys.executable)}",
        "shebang": "#!/usr/bin/env bash",
        "job_directives_skip": machine.skip_directives,
        "job_extra_directives": [
            f"--signal=B:TERM@{term_s}",
            f'--output="{log_path(folder, "%j")}"',
            "--open-mode=append",
            "--no-requeue",  # a job that Slurm puts back, and may hold, would keep its node's place
            *machine.extra_directives,
        ],
        "job_script_prologue": [
            *machine.preamble,
            *(f"export {name}={shlex.quote(value)}" for name, value in dask_environment().items()),
            "export DASK_LOGGING__DISTRIBUTED=error",
        ],
        "worker_extra_args": [
            # SECONDS is the age of the batch shell: what the preamble takes is not given away.
            *("--lifetime", f'"$(({lifetime_s:.0f} - SECONDS))s"'),
            *("--lifetime-stagger", f"{stagger_s:.0f}s"),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),  # TLS does not cover it
        ],
    }


def job_script(machine: Machine, folder: Path) -> str:
    """Return the script of a node's job as it would be submitted, but for the scheduler's address."""
    job = NodeJob(
        "tls://SCHEDULER",
        name="gadask-0",
        submissions=Submissions(folder),
        security=load_keys(folder, shlex.quote),
        **job_options(machine, folder),
    )
    script: str = job.job_script()
    return script


def lifetime(machine: Machine) -> tuple[float, float]:
    """Return how long a node plays and the stagger, both in seconds: nodes leave within lifetime ± stagger."""
    latest_s = machine.wall_time_s - machine.leave_before_s
    stagger_s = min(_MAX_STAGGER_S, _STAGGER_SHARE * latest_s)
    return latest_s - stagger_s, stagger_s


def log_path(folder: Path, job_id: str) -> Path:
    """Return where a job's output goes."""
    return folder / f"job-{job_id}.log"
