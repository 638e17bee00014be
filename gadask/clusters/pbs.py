"""PBS's queue (OpenPBS, PBS Professional), by its commands `qsub`, `qstat` and `qdel`.

Untried: written from the user's guide of OpenPBS 23 and PBS Professional 2022, and run by no test but as text. PBS
warns a job a few seconds before its time is up at most: nodes leave by themselves before (`gadask.clusters.jobqueue`).
"""

from __future__ import annotations

import json
import math
import os
import pwd
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gadask.clusters.commands import call
from gadask.clusters.directives import check_name_option, without
from gadask.clusters.jobnames import marked_names
from gadask.clusters.machine import Machine
from gadask.clusters.memory import Form
from gadask.clusters.queue import Job, NoAnswerError, Queue, State, ended_jobs, full_queue

_STATES = {
    **dict.fromkeys("QHWT", State.QUEUED),
    "R": State.RUNNING,
    "E": State.ENDING,
}
_FULL = re.compile("would exceed .*limit", re.IGNORECASE)
_FORGOTTEN = re.compile("Unknown Job Id|Job has finished", re.IGNORECASE)
_PASSES = re.compile("cannot connect|connection|communication|timed? ?out|end of file|temporarily|busy", re.IGNORECASE)


class Pbs(Queue):
    """PBS's queue."""

    name = "pbs"
    title = "PBS"
    commands = ("qsub", "qstat", "qdel")
    by_hand = "qstat -u $USER -w"
    is_tried = False

    def check_machine(self, machine: Machine) -> None:
        """Raise `ConfigError` at an option that job scripts cannot have."""
        check_name_option(machine, "-N")

    def header(self, machine: Machine, folder: Path) -> list[str]:
        """Return the directives: gadask's own and the machine's."""
        memory = machine.job_memory
        select = f"select=1:ncpus={machine.cores}"
        if size := memory.of_job(machine.cores):
            select += f":mem={math.ceil(size / 2**20)}mb"  # which are powers of 1024 to PBS
        options = [
            f"-N gadask-{machine.name}",
            *([f"-q {machine.partition}"] if machine.partition else []),
            *([f"-A {machine.account}"] if machine.account else []),
            f"-l {select}",
            *(["-l place=excl"] if memory.form is Form.ALL else []),
            f"-l walltime={machine.wall_time_s}",
            "-j oe",
            f'-o "{folder}/"',
            "-k doe",  # the log is written where it stays
            "-r n",
            "-S /bin/bash",
            "-V",  # as Slurm does
            *machine.extra_directives,
        ]
        return [f"#PBS {text}" for text in without(machine.skip_directives, options)]

    def log_path(self, folder: Path, job_id: str) -> Path:
        """Return where a job's output goes: PBS has no pattern for it, but a folder."""
        return folder / f"{job_id}.OU"

    async def submit(self, name: str, script: str, timeout_s: float) -> str:
        """Submit a file as a job of this name; returns its number.

        Raises `ClusterError` with the reason if it was refused, `FullQueueError` if that is for the number of jobs
        that the user has there; `NoAnswerError` if it is in doubt.
        """
        with full_queue(_FULL):
            answer = await _call("qsub", "-N", name, script, timeout_s=timeout_s)
        match = re.search(r"(?m)^\d+(\.[\w.-]+)?$", answer)
        if match is None:
            raise NoAnswerError(f"qsub: expected the number of a job, found {' '.join(answer.split())[:200]!r}")
        return match[0]

    async def states(self, marks: Collection[str], timeout_s: float) -> list[Job]:
        """Return this user's jobs that carry one of the marks and have not ended.

        Raises `NoAnswerError` if the queue does not answer.
        """
        answer = await _call("qstat", "-f", "-F", "json", timeout_s=timeout_s)
        try:
            document = json.loads(answer[max(0, answer.find("{")) :], strict=False)
            entries = document.get("Jobs", {}) if document["pbs_server"] else {}
            jobs = [_job(job_id, entry) for job_id, entry in entries.items() if _is_own(entry)]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise NoAnswerError(f"qstat: expected a list of jobs, found {' '.join(answer.split())[:200]!r}") from None
        is_marked = marked_names(marks)
        return sorted((job for job in jobs if is_marked(job.name)), key=lambda job: int(job.job_id.partition(".")[0]))

    async def cancel(self, job_ids: Collection[str], timeout_s: float) -> None:
        """Cancel jobs; those that have ended are left alone. Raises `ClusterError` if the queue does not answer."""
        if job_ids:
            with ended_jobs(_FORGOTTEN):
                await _call("qdel", *job_ids, timeout_s=timeout_s)


def _is_own(entry: Mapping[str, Any]) -> bool:
    owner: str = entry["Job_Owner"]
    return owner.partition("@")[0] == pwd.getpwuid(os.getuid()).pw_name


def _job(job_id: str, entry: Mapping[str, Any]) -> Job:
    """Return a job of PBS's list."""
    word = entry["job_state"]
    seconds = 0
    for part in entry.get("resources_used", {}).get("walltime", "0").split(":"):
        seconds = 60 * seconds + int(part)
    state = _STATES.get(word, State.OTHER)
    return Job(
        state=state,
        word=word,
        seconds=seconds,
        cores=int(entry.get("Resource_List", {}).get("ncpus", 0)),
        node=entry.get("exec_host", "").partition("/")[0],
        reason=entry.get("comment", "") if state is State.QUEUED else "",
        job_id=job_id,
        name=entry["Job_Name"],
    )


async def _call(*command: str, timeout_s: float) -> str:
    return await call(*command, timeout_s=timeout_s, environ=os.environ, passes=_PASSES)
