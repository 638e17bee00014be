"""Slurm's queue: submit a job script, ask for the jobs of a run, cancel them.

A run's jobs are known by their names, which carry its mark (`gadask.clusters.jobrecord`): a number that was read from
somewhere may be another job's by now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from gadask.clusters.commands import NoAnswerError, call
from gadask.errors import ClusterError

_OVER = frozenset({"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY"})
_OVER |= {"BOOT_FAIL", "DEADLINE", "REVOKED"}
_FORGOTTEN = "Invalid job id"
_HEAD = re.compile(r"JOBID\|.*")
_JOB = re.compile(r"(\d+)\|([\w.-]+)\|([A-Z_]+)\|([\d:-]*|INVALID)\|(\d+)\|([^|]*)\|(.*)")
_FORMAT = "%A|%j|%T|%M|%C|%N|%r"
_NAMES_S = 120.0


@dataclass(frozen=True)
class JobState:
    """A job as the queue tells of it."""

    state: str
    """Slurm's word: `PENDING`, `RUNNING`, `COMPLETING`, `COMPLETED`, `FAILED`, …"""
    seconds: int = 0
    """Wall time that it has run."""
    cores: int = 0
    """Cores that are charged for it."""
    node: str = ""
    """Name of its machine, if it has one."""
    reason: str = ""
    """Why it waits, or why it ended."""
    job_id: str = ""
    name: str = ""

    @property
    def over(self) -> bool:
        """Whether it runs no more and will not by itself."""
        return self.state in _OVER

    @property
    def to_cancel(self) -> bool:
        """Whether it waits or runs; a job that completes is only being cleared away."""
        return not self.over and self.state != "COMPLETING"


async def submit(name: str, script: str, timeout_s: float) -> str:
    """Submit a file as a job of this name; returns its number.

    Raises `ClusterError` with the reason if it was refused; `NoAnswerError` if that is in doubt.
    """
    answer = await call("sbatch", "--parsable", f"--job-name={name}", script, timeout_s=timeout_s)
    match = re.search(r"(?m)^(\d+)(;\S*)?$", answer)
    if match is None:
        raise NoAnswerError(f"sbatch: expected the number of a job, found {' '.join(answer.split())[:200]!r}")
    return match[1]


async def marked_jobs(marks: Collection[str], timeout_s: float) -> list[JobState]:
    """Return this user's jobs that carry one of the marks, also those that ended some minutes ago.

    Lines that are none of Slurm's, such as a site's banner, are skipped. Raises `ClusterError` if the queue does not
    answer: the list of an empty queue still has a head.
    """
    answer = await call(
        "squeue", "--all", "--states=all", f"--user={os.getuid()}", f"--format={_FORMAT}", timeout_s=timeout_s
    )
    lines = [line.strip() for line in answer.splitlines()]
    if not any(_HEAD.fullmatch(line) for line in lines):
        raise NoAnswerError(f"squeue: expected a list of jobs, found {' '.join(answer.split())[:200]!r}")
    is_marked = re.compile(rf".+-({'|'.join(map(re.escape, marks))})-\d+")
    jobs = {}
    for match in filter(None, map(_JOB.fullmatch, lines)):
        job_id, name, state, time, cores, node, reason = match.groups()
        if marks and is_marked.fullmatch(name):
            jobs[job_id] = JobState(state, _seconds(time), int(cores), node, reason, job_id, name)
    return sorted(jobs.values(), key=lambda job: int(job.job_id))


async def cancel(job_ids: Collection[str], timeout_s: float) -> None:
    """Cancel jobs; those that have ended are left alone. Raises `ClusterError` if the queue does not answer."""
    if job_ids:
        try:
            await call("scancel", *job_ids, timeout_s=timeout_s)
        except ClusterError as error:
            if _FORGOTTEN not in str(error):
                raise


async def node_names(node_list: str) -> list[str]:
    """Return the names in a list such as `n[1-3]`. Raises `ClusterError` if Slurm's commands are missing."""
    return (await call("scontrol", "show", "hostnames", node_list, timeout_s=_NAMES_S)).split()


def _seconds(time: str) -> int:
    """Return the seconds of `D-HH:MM:SS`, `HH:MM:SS` or `MM:SS`; 0 for a job that has not run."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", time)
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds
