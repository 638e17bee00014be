"""LSF's queue, by its commands `bsub`, `bjobs` and `bkill`.

Untried: written from IBM's reference of LSF 10.1, and run by no test but as text. Memory is in units that a site
chooses, and by job or by core as it likes, so the machine file's directives ask for it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from gadask.clusters.commands import call
from gadask.clusters.directives import check_name_option, unasked_memory, without
from gadask.clusters.jobnames import marked_names
from gadask.clusters.machine import Machine
from gadask.clusters.queue import Job, NoAnswerError, Queue, State, ended_jobs

_STATES = {
    **dict.fromkeys(("PEND", "WAIT", "PROV"), State.QUEUED),
    "RUN": State.RUNNING,
    "DONE": State.COMPLETED,
    "EXIT": State.FAILED,
}
_FIELDS = "jobid stat job_name exec_host run_time slots pend_reason exit_reason"
_NONE = "-"  # a field without a value
_FORGOTTEN = re.compile("already finished|No matching job|is not found", re.IGNORECASE)
_PASSES = re.compile(
    "not responding|communication|connection|timed? ?out|trying|temporarily|lim is down", re.IGNORECASE
)


class Lsf(Queue):
    """LSF's queue."""

    name = "lsf"
    title = "LSF"
    commands = ("bsub", "bjobs", "bkill")
    by_hand = "bjobs -w"
    is_tried = False

    def check_machine(self, machine: Machine) -> None:
        """Raise `ConfigError` at an option that job scripts cannot have."""
        check_name_option(machine, "-J")

    def warnings(self, machine: Machine) -> list[str]:
        """Return what the user should know: memory that nobody asks for."""
        return [*super().warnings(machine), *unasked_memory(machine, self.title, "-M 4GB")]

    def header(self, machine: Machine, folder: Path) -> list[str]:
        """Return the directives: gadask's own and the machine's."""
        n_minutes = math.ceil(machine.wall_time_s / 60)
        options = [
            f"-J gadask-{machine.name}",
            *([f"-q {machine.partition}"] if machine.partition else []),
            *([f"-P {machine.account}"] if machine.account else []),
            f"-n {machine.cores}",
            '-R "span[hosts=1]"',
            f"-W {n_minutes // 60}:{n_minutes % 60:02}",
            "-wa TERM",
            f"-wt {max(1, round(machine.leave_before_s / 180))}",  # minutes
            f'-o "{self.log_path(folder, "%J")}"',
            "-rn",
            "-L /bin/bash",
            *machine.extra_directives,
        ]
        return [f"#BSUB {text}" for text in without(machine.skip_directives, options)]

    async def submit(self, name: str, script: str, timeout_s: float) -> str:
        """Submit a file as a job of this name; returns its number.

        Raises `ClusterError` with the reason if it was refused; `NoAnswerError` if that is in doubt.
        """
        # It reads directives from its standard input alone.
        answer = await _call("bsub", "-J", name, timeout_s=timeout_s, stdin=script)
        match = re.search(r"Job <(\d+)> is submitted", answer)
        if match is None:
            raise NoAnswerError(f"bsub: expected the number of a job, found {' '.join(answer.split())[:200]!r}")
        return match[1]

    async def states(self, marks: Collection[str], timeout_s: float) -> list[Job]:
        """Return this user's jobs that carry one of the marks, also those that ended lately.

        Raises `NoAnswerError` if the queue does not answer.
        """
        answer = await _call("bjobs", "-a", "-json", "-o", _FIELDS, timeout_s=timeout_s)
        try:
            jobs = [_job(entry) for entry in json.loads(answer[max(0, answer.find("{")) :])["RECORDS"]]
        except (KeyError, TypeError, ValueError):
            raise NoAnswerError(f"bjobs: expected a list of jobs, found {' '.join(answer.split())[:200]!r}") from None
        is_marked = marked_names(marks)
        return sorted((job for job in jobs if is_marked(job.name)), key=lambda job: int(job.job_id))

    async def cancel(self, job_ids: Collection[str], timeout_s: float) -> None:
        """Cancel jobs; those that have ended are left alone. Raises `ClusterError` if the queue does not answer."""
        if job_ids:
            with ended_jobs(_FORGOTTEN):
                await _call("bkill", *job_ids, timeout_s=timeout_s)


def _job(entry: Mapping[str, str]) -> Job:
    """Return a job of LSF's list."""
    word = entry["STAT"]
    state = _STATES.get(word, State.OTHER)
    reason = entry.get("PEND_REASON" if state is State.QUEUED else "EXIT_REASON", "")
    hosts = entry.get("EXEC_HOST", "").strip(_NONE).split(":")
    n_seconds = re.match(r"\d+", entry.get("RUN_TIME", ""))
    slots = entry.get("SLOTS", "")
    return Job(
        state=state,
        word=word,
        seconds=int(n_seconds[0]) if n_seconds else 0,
        cores=int(slots) if slots.isdecimal() else 0,
        node=hosts[0].rpartition("*")[2],
        reason="" if reason == _NONE else " ".join(reason.split()),
        job_id=entry["JOBID"],
        name=entry["JOB_NAME"],
    )


async def _call(*command: str, timeout_s: float, stdin: str = os.devnull) -> str:
    return await call(*command, timeout_s=timeout_s, environ=os.environ, passes=_PASSES, stdin=stdin)
