"""One job of a cluster as its keeper sees it: what came of handing it in, and what the queue said of it last."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from gadask.clusters.jobqueue import Submission
from gadask.clusters.keptmachine import KeptMachine
from gadask.clusters.queue import Job, State


@dataclass
class KeptNode:
    """A job and what is known of it."""

    submission: Submission
    machine: KeptMachine
    job: Job = field(default_factory=Job)
    never_was: bool = False
    """Whether it is known that nothing came of the submission."""
    silent_since: float | None = None
    """Since when all answers say that it runs, and it has no worker."""
    absent_since: float | None = None
    """Since when all answers lack it."""
    is_held_up: bool = False
    """Whether it is known that the queue holds it up."""
    is_short_of_memory: bool = False
    """Whether processes of it were killed for want of memory."""
    earlier_s: int = 0
    """Wall time of the job before the queue put it back."""
    looked_at: float = field(default_factory=time.monotonic)
    """When the queue told of this job."""

    @property
    def job_id(self) -> str:
        """The job's number, empty while it is in doubt whether there is one."""
        return self.job.job_id or self.submission.job_id

    @property
    def seconds(self) -> float:
        """Wall time that is charged for."""
        since_s = time.monotonic() - self.looked_at if self.job.state is State.RUNNING else 0.0
        return self.earlier_s + self.job.seconds + since_s

    @property
    def core_s(self) -> float:
        """Core-seconds that are charged for."""
        return self.job.cores * self.seconds

    def see(self, job: Job, now: float, is_connected: bool) -> None:
        """Take note of what the queue says; `now` is the keeper's time."""
        if job.seconds < self.job.seconds:
            self.earlier_s += self.job.seconds
        self.job, self.looked_at, self.absent_since = job, time.monotonic(), None
        if job.state is not State.RUNNING or is_connected:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = now


def jobs_text(nodes: Iterable[KeptNode]) -> str:
    """Return the numbers of jobs, but not of very many."""
    numbers = [node.job_id for node in nodes]
    more = f" and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return f"{'jobs' if len(numbers) > 1 else 'job'} {', '.join(numbers[:3])}{more}"
