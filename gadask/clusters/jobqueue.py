"""A node as a job of dask-jobqueue: what the job script says, and how it is handed in to a queue.

One Dask worker a node: with several a job, dask-jobqueue never replaces a job that was killed. The worker replaces the
batch shell (`exec`), so that the batch system's TERM reaches it. It leaves by itself before its wall time ends
(`--lifetime`), which costs its chunks no strike; TERM, somewhat later, is for a worker that was restarted meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Status
from distributed.security import Security

from gadask.clusters.base import DEATH_TIMEOUT_S, WORKER_THREADS, dask_environment
from gadask.clusters.dask_jobs import dask_jobqueue
from gadask.clusters.jobnames import job_name
from gadask.clusters.jobrecord import JobRecord
from gadask.clusters.machine import Machine
from gadask.clusters.periods import Periods
from gadask.clusters.queue import FullQueueError, NoAnswerError, Queue
from gadask.clusters.security import load_keys
from gadask.clusters.wanted import Wanted, scheduler_interface
from gadask.errors import ClusterError
from gadask.node.cores import ROLLOUTS_VARIABLE

_MOST_SUBMISSIONS = 8  # at a time: login nodes are shared
_STAGGER_SHARE, _MAX_STAGGER_S = 0.05, 300.0


@dataclass(frozen=True)
class Submission:
    """What came of handing in a job script."""

    job_id: str = ""
    """The job's number; empty if it was refused, or if that is in doubt."""
    reason: str = ""
    """Why it has none."""
    refused: bool = False
    """Whether the queue said no, by all that is known."""
    is_full: bool = False
    """Whether it was refused because the user has as many jobs there as allowed, which passes."""


class Submissions:
    """What came of the job scripts that a cluster handed in."""

    def __init__(self, queue: Queue, record: JobRecord, periods: Periods) -> None:
        """`record` gets the number of each job."""
        self.answers: dict[str, Submission] = {}
        """Whoever reads an answer takes it out; by the names of jobs, which are those of their workers."""
        self._queue = queue
        self._record = record
        self._periods = periods
        self._turn = asyncio.Semaphore(_MOST_SUBMISSIONS)
        self._full = ""  # why nothing more is handed in for now
        self._ending = asyncio.Event()

    def begin(self) -> None:
        """Begin another try. Where the queue was full the last time, one call in vain says that it still is."""
        self._turn = asyncio.Semaphore(1 if self._full else _MOST_SUBMISSIONS)
        self._full = ""

    async def submit(self, job: NodeJob) -> None:
        """Submit a job, and put what came of it among the answers; never raises."""
        async with self._turn:
            if self._ending.is_set():
                return
            if self._full:
                self.answers[job.name] = Submission(reason=self._full, refused=True, is_full=True)
                return
            try:
                with job.job_file() as script:
                    job_id = await self._answer(job.name, script)
            except NoAnswerError as error:
                self.answers[job.name] = Submission(reason=str(error))
            except FullQueueError as error:
                self._full = str(error)
                self.answers[job.name] = Submission(reason=self._full, refused=True, is_full=True)
            except ClusterError as error:
                self.answers[job.name] = Submission(reason=str(error), refused=True)
            except OSError as error:
                self.answers[job.name] = Submission(reason=f"cannot write the job script: {error}", refused=True)
            else:
                self.answers[job.name] = Submission(job_id)
                self._record.add(job_id)

    def end(self) -> None:
        """Hand in nothing more; what is under way is to be answered soon."""
        self._ending.set()

    async def _answer(self, name: str, script: str) -> str:
        """Return the number of a job. Once the submissions end it must come soon, or counts as none."""
        answer = asyncio.ensure_future(self._queue.submit(name, script, self._periods.command_s))
        ending = asyncio.ensure_future(self._ending.wait())
        waiting: set[asyncio.Future[Any]] = {answer, ending}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({answer}, timeout=self._periods.last_answer_s)
        ending.cancel()
        if not answer.done():
            answer.cancel()
            await asyncio.wait({answer})
            raise NoAnswerError(f"{self._queue.commands[0]} gave no answer before the end")
        return answer.result()


class NodeJob(dask_jobqueue.core.Job):  # type: ignore[misc]
    """The job of one node. Whoever holds the submissions cancels it, together with others in one command."""

    config_name = "gadask"  # dask-jobqueue wants one of each class; what counts is the queue's, among the options

    def __init__(
        self, *args: Any, header: Sequence[str], submissions: Submissions | None = None, **options: Any
    ) -> None:
        """Take dask-jobqueue's options; `header` are the lines for the batch system."""
        super().__init__(*args, job_directives_skip=(), job_extra_directives=(), **options)
        self._submissions = submissions
        self.job_header = "\n".join(header)

    async def start(self) -> None:
        """Submit the job; dask-jobqueue would only log why it was refused."""
        assert self._submissions is not None  # it is not the one whose script is shown
        await self._submissions.submit(self)
        self.status = Status.running

    async def close(self) -> None:
        """Have nothing more to do with the job."""
        self.status = Status.closed


class NodeCluster(dask_jobqueue.JobQueueCluster):  # type: ignore[misc]
    """A cluster of `NodeJob`s, of one machine or several."""

    job_cls = NodeJob

    def __init__(
        self,
        queue: Queue,
        machines: Sequence[Machine],
        mark: str,
        submissions: Submissions,
        *,
        folder: Path,
        security: Security,
        dashboard_address: str,
    ) -> None:
        """Plan nothing yet; jobs carry `mark` in their names, and their logs go to `folder`."""
        self.machine_of: dict[str, Machine] = {}
        """The machine of each job in the plan, by the job's name."""
        self._mark = mark
        self._numbers = itertools.count()
        options = {machine.name: job_options(queue, machine, folder) for machine in machines}
        super().__init__(
            asynchronous=True,
            name="-".join(["gadask", *options]),
            security=security,
            shared_temp_directory=str(folder),
            silence_logs=logging.ERROR,
            scheduler_options={
                "interface": scheduler_interface(machines[0]),
                "port": 0,
                "dashboard_address": dashboard_address,
            },
            submissions=submissions,
            **options[machines[0].name],
        )
        self._options = {name: {**self.new_spec["options"], **own} for name, own in options.items()}

    def fill(self, wanted: Iterable[Wanted]) -> None:
        """Plan what is missing of each machine; who awaits the cluster then has the jobs handed in.

        Every job has a name that none had before: Dask would give that of a lost worker again.
        """
        for each in wanted:
            n_planned = sum(machine.name == each.machine.name for machine in self.machine_of.values())
            for number in itertools.islice(self._numbers, each.n_nodes - n_planned):
                name = job_name(each.machine.name, self._mark, number)
                self.machine_of[name] = each.machine
                self.worker_spec[name] = {"cls": self.job_cls, "options": self._options[each.machine.name]}

    def forget(self, names: Iterable[str]) -> None:
        """Take jobs that ended from the plan.

        `scale_down` would first wait until what their workers hold is elsewhere, and a worker can outlive its job
        without a word.
        """
        for name in names:
            self.machine_of.pop(name, None)
            self.worker_spec.pop(name, None)
            if job := self.workers.pop(name, None):
                job.status = Status.closed

    def _get_worker_security(self, security: Security) -> Security:
        """Return the settings whose paths go into the command line of the worker, unquoted by dask-jobqueue."""
        return load_keys(Path(self.shared_temp_directory), shlex.quote)


def job_options(queue: Queue, machine: Machine, folder: Path) -> dict[str, Any]:
    """Return the options of a node's job, whose log goes to `folder`."""
    lifetime_s, stagger_s = lifetime(machine)
    rollouts = machine.rollouts_per_node
    return {
        "config_name": queue.name,
        "header": queue.header(machine, folder),
        "job_name": f"gadask-{machine.name}",
        "memory": machine.job_memory.of_job(machine.cores),  # which Dask shows; 0 is no limit
        "processes": 1,
        "cores": WORKER_THREADS,  # threads of the worker
        "interface": machine.interface,
        "protocol": "tls://",
        "nanny": True,
        "death_timeout": DEATH_TIMEOUT_S,
        "local_directory": f'"{machine.scratch}"',
        "python": f"exec {shlex.join(machine.python_words)}",
        "shebang": "#!/usr/bin/env bash",
        "job_script_prologue": [
            *machine.preamble,
            *(f"export {name}={shlex.quote(value)}" for name, value in dask_environment().items()),
            "export DASK_LOGGING__DISTRIBUTED=error",
            *([] if rollouts is None else [f"export {ROLLOUTS_VARIABLE}={rollouts}"]),
        ],
        "worker_extra_args": [
            # SECONDS is the age of the batch shell: what the preamble takes is not given away.
            *("--lifetime", f'"$(({lifetime_s:.0f} - SECONDS))s"'),
            *("--lifetime-stagger", f"{stagger_s:.0f}s"),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),  # TLS does not cover it
        ],
    }


def job_script(queue: Queue, machine: Machine, folder: Path) -> str:
    """Return the script of a node's job as it would be submitted, but for the scheduler's address and its own name."""
    job = NodeJob(
        "tls://SCHEDULER",
        name=job_name(machine.name, "MARK", 0),
        security=load_keys(folder, shlex.quote),
        **job_options(queue, machine, folder),
    )
    script: str = job.job_script()
    return script


def lifetime(machine: Machine) -> tuple[float, float]:
    """Return how long a node plays and the stagger, both in seconds: nodes leave within lifetime ± stagger."""
    latest_s = machine.wall_time_s - machine.leave_before_s
    stagger_s = min(_MAX_STAGGER_S, _STAGGER_SHARE * latest_s)
    return latest_s - stagger_s, stagger_s
