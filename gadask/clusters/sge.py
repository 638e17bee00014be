"""Grid Engine's queue, by its commands `qsub`, `qstat` and `qdel`.

Written for Son of Grid Engine 8.1, with which the tests run it; Univa's and Altair's have the same commands. What its
sites name as they like, a parallel environment and memory, the machine file says. Grid Engine does not tell how a job
ended without reading its whole accounts, so a job that has left the queue counts as completed; its log says more. It
warns no job before its time is up: nodes leave by themselves before (`gadask.clusters.jobqueue`).
"""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from gadask.clusters.commands import call
from gadask.clusters.directives import check_name_option, unasked_memory, without
from gadask.clusters.jobnames import marked_names
from gadask.clusters.machine import Machine
from gadask.clusters.queue import Job, NoAnswerError, Queue, State, ended_jobs, full_queue

_PASSES = re.compile(
    "unable to contact|commlib error|communication|connection|unable to send|timed? ?out|temporarily"
    "|has been submitted",  # beside a warning, and with exit status 1
    re.IGNORECASE,
)
_FULL = re.compile(r"only \d+ jobs are allowed per")
_FORGOTTEN = re.compile(r'denied: job "\d+" does not exist')
_SKIPPED = {
    "-pe": "a job has the cores that the site gives it; the run's largest cost is counted with the machine's",
    "-l": "a job may end before its node, which leaves when the machine's wall_time says",
    "-o": "logs of jobs are where Grid Engine puts them, and are not quoted when a job dies",
    "-r": "a job that Grid Engine puts back keeps its node's place until it runs again",
}
"""What it means that a job script lacks an option of gadask's own."""


class GridEngine(Queue):
    """Grid Engine's queue."""

    name = "sge"
    title = "Grid Engine"
    commands = ("qsub", "qstat", "qdel")
    by_hand = "qstat -u $USER -xml"

    def check_machine(self, machine: Machine) -> None:
        """Raise `ConfigError` at the first option that job scripts cannot have, or cannot be without."""
        check_name_option(machine, "-N")

    def warnings(self, machine: Machine) -> list[str]:
        """Return what the user should know: options that are left out, and memory that nobody asks for."""
        words = {text.split()[0] for text in machine.skip_directives}
        found = [f"skip_directives leaves out {word}: {_SKIPPED[word]}" for word in sorted(words & _SKIPPED.keys())]
        return [*found, *unasked_memory(machine, self.title, "-l h_vmem=4G")]

    def header(self, machine: Machine, folder: Path) -> list[str]:
        """Return the options: dask-jobqueue's, gadask's own and the machine's."""
        from gadask.clusters.dask_jobs import dask_jobqueue

        job = dask_jobqueue.sge.SGEJob(
            job_name=f"gadask-{machine.name}",
            queue=machine.partition,
            project=machine.account,
            walltime=machine.wall_time_s,
            memory=0,
            cores=1,
            job_directives_skip=(),
            job_extra_directives=(),
        )
        options = [
            *(line.removeprefix("#$ ") for line in job.job_header.splitlines()),
            f"-pe {machine.parallel_environment} {machine.cores}",
            f'-o "{self.log_path(folder, "$JOB_ID")}"',
            "-r n",
            "-S /bin/bash",
            "-V",  # as Slurm does
            *machine.extra_directives,
        ]
        return [f"#$ {text}" for text in without(machine.skip_directives, options)]

    async def submit(self, name: str, script: str, timeout_s: float) -> str:
        """Submit a file as a job of this name; returns its number.

        Raises `ClusterError` with the reason if it was refused, `FullQueueError` if that is for the number of jobs
        that the user has there; `NoAnswerError` if it is in doubt.
        """
        with full_queue(_FULL):
            answer = await _call("qsub", "-terse", "-N", name, script, timeout_s=timeout_s)
        match = re.search(r"(?m)^(\d+)$", answer)
        if match is None:
            raise NoAnswerError(f"qsub: expected the number of a job, found {' '.join(answer.split())[:200]!r}")
        return match[1]

    async def states(self, marks: Collection[str], timeout_s: float) -> list[Job]:
        """Return this user's jobs that carry one of the marks and have not ended.

        Raises `NoAnswerError` if the queue does not answer: the list of an empty queue is a document too.
        """
        user = pwd.getpwuid(os.getuid()).pw_name
        answer = await _call("qstat", "-u", user, "-s", "prs", "-xml", timeout_s=timeout_s)
        try:
            document = ElementTree.fromstring(answer[max(0, answer.find("<?xml")) :])
            jobs = sorted(map(_job, document.iter("job_list")), key=lambda job: int(job.job_id))
        except (ElementTree.ParseError, ValueError):
            raise NoAnswerError(f"qstat: expected a list of jobs, found {' '.join(answer.split())[:200]!r}") from None
        is_marked = marked_names(marks)
        return [job for job in jobs if is_marked(job.name)]

    async def cancel(self, job_ids: Collection[str], timeout_s: float) -> None:
        """Cancel jobs; those that have ended are left alone. Raises `ClusterError` if the queue does not answer."""
        if job_ids:
            with ended_jobs(_FORGOTTEN):
                await _call("qdel", *job_ids, timeout_s=timeout_s)


def _job(entry: ElementTree.Element) -> Job:
    """Return a job of Grid Engine's list."""

    def text(tag: str) -> str:
        return (entry.findtext(tag) or "").strip()

    word, started = text("state"), text("JAT_start_time")
    state, reason = _state(word)
    since_s = time.time() - datetime.fromisoformat(started).timestamp() if started else 0.0
    return Job(
        state=state,
        word=word,
        seconds=max(0, round(since_s)),
        cores=int(text("slots") or 0),
        node=text("queue_name").partition("@")[2],
        reason=reason,
        job_id=text("JB_job_number"),
        name=text("JB_name"),
    )


def _state(word: str) -> tuple[State, str]:
    """Return what the letters of a state mean, and why a job waits; `man qstat` lists them."""
    if "d" in word:
        return State.ENDING, ""
    if "E" in word:
        return State.QUEUED, "it could not be started: qstat -j says why"
    if set(word) & {"s", "S", "T"}:
        return State.OTHER, ""
    if "q" in word:
        return State.QUEUED, "held" if "h" in word else ""
    return (State.STARTING if "t" in word else State.RUNNING if "r" in word else State.OTHER), ""


async def _call(*command: str, timeout_s: float) -> str:
    return await call(*command, timeout_s=timeout_s, environ=os.environ, passes=_PASSES)
