"""A second batch system, as small as one can be: its jobs are processes of this machine."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gadask.clusters.machine import Machine
from gadask.clusters.queue import FullQueueError, Job, NoAnswerError, Queue, State
from gadask.errors import ClusterError

_CORES = re.compile("(?m)^#OAR .*ncpus=([0-9]+)$")
_OUTPUT = re.compile("(?m)^#OAR -o (.*)$")


@dataclass
class _Process:
    name: str
    process: subprocess.Popen[bytes]
    cores: int
    began_at: float = field(default_factory=time.monotonic)


class Oar(Queue):
    """What OAR would be; it submits as its orders say, the first of them first."""

    name = "oar"
    title = "OAR"
    commands = ("qsub", "qstat", "qdel")
    by_hand = "qstat -w"

    orders: ClassVar[list[str]] = []
    """`refuse`, `lose` (accept, and give no answer) or `fail` (give no answer, and do not accept)."""
    refused: ClassVar[set[str]] = set()
    """Machines whose jobs are refused."""
    room: ClassVar[float] = math.inf
    """How many jobs may run at once."""
    n_calls: ClassVar[int] = 0
    """How often a job was handed in, whatever came of it."""
    remembers: ClassVar[bool] = True
    """Whether `states` tells of jobs that ended."""
    jobs: ClassVar[dict[str, _Process]] = {}

    def is_here(self) -> bool:
        return True

    def check(self) -> None:
        pass

    def header(self, machine: Machine, folder: Path) -> list[str]:
        lines = [f"-l select=1:ncpus={machine.cores}", f"-l walltime={machine.wall_time}", f"-o {folder}"]
        return [f"#OAR {line}" for line in (*lines, *machine.extra_directives)]

    def log_path(self, folder: Path, job_id: str) -> Path:
        return folder / f"{job_id}.OU"

    async def submit(self, name: str, script: str, timeout_s: float) -> str:
        type(self).n_calls += 1
        if sum(job.process.poll() is None for job in self.jobs.values()) >= self.room:
            raise FullQueueError("qsub: would exceed complex's per-user limit of jobs")
        order = self.orders.pop(0) if self.orders else ""
        if order == "refuse" or any(name.startswith(f"gadask-{machine}-") for machine in self.refused):
            raise ClusterError("qsub: Unknown queue")
        if order != "fail":
            text = Path(script).read_text()
            job_id = f"{len(self.jobs) + 1}.server"
            with self.log_path(Path(_OUTPUT.findall(text)[0]), job_id).open("ab") as log:
                process = subprocess.Popen(["bash", "-c", text], stdout=log, stderr=log, start_new_session=True)
            self.jobs[job_id] = _Process(name, process, int(next(iter(_CORES.findall(text)), 1)))
        if order:
            raise NoAnswerError("qsub: cannot connect to server")
        return job_id

    async def states(self, marks: Collection[str], timeout_s: float) -> list[Job]:
        jobs = [self._state(job_id) for job_id, job in self.jobs.items() if any(f"-{m}-" in job.name for m in marks)]
        return [job for job in jobs if self.remembers or not job.state.is_over]

    async def cancel(self, job_ids: Collection[str], timeout_s: float) -> None:
        for job_id in job_ids:
            if self.jobs[job_id].process.poll() is None:
                os.killpg(self.jobs[job_id].process.pid, signal.SIGKILL)

    def _state(self, job_id: str) -> Job:
        job = self.jobs[job_id]
        status = job.process.poll()
        state, word = {None: (State.RUNNING, "R"), 0: (State.COMPLETED, "F")}.get(status, (State.FAILED, "F"))
        reason = "" if status is None else f"Exit_status = {status}"
        seconds = round(time.monotonic() - job.began_at)
        return Job(state, word, seconds, cores=job.cores, node="here", reason=reason, job_id=job_id, name=job.name)
