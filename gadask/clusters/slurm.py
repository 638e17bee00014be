"""Slurm's queue, by its commands `sbatch`, `squeue` and `scancel`.

They run in an environment in which they say the same to everybody. Numbers of jobs are Slurm's, names carry the mark of
the start (`gadask.clusters.jobrecord`).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from gadask.clusters.commands import call
from gadask.clusters.jobnames import marked_names
from gadask.clusters.machine import Machine
from gadask.clusters.memory import Form, Memory
from gadask.clusters.queue import Job, NoAnswerError, Queue, State, ended_jobs, full_queue
from gadask.errors import ConfigError

_STATES = {
    "PENDING": State.QUEUED,
    "CONFIGURING": State.STARTING,
    "RUNNING": State.RUNNING,
    "COMPLETING": State.ENDING,
    "COMPLETED": State.COMPLETED,
    "PREEMPTED": State.PREEMPTED,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    **dict.fromkeys(("CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "REVOKED"), State.FAILED),
}
_FORGOTTEN = re.compile("Invalid job id")
_HEAD = re.compile(r"JOBID\|.*")
_JOB = re.compile(r"(\d+)\|([\w.-]+)\|([A-Z_]+)\|([\d:-]*|INVALID)\|(\d+)\|([^|]*)\|(.*)")
_FORMAT = "%A|%j|%T|%M|%C|%N|%r"
_NAMES_S = 120.0

_OPTIONS = frozenset(
    {
        *("job-name", "partition", "account", "ntasks", "cpus-per-task", "mem", "mem-per-cpu", "time"),
        *("signal", "output", "open-mode", "no-requeue"),
    }
)
"""Options of `sbatch` that job scripts give."""

_MEMORY_OPTIONS = frozenset({"mem", "mem-per-cpu", "mem-per-gpu"})
"""Options of which a job may give one alone."""

_SHORT_OPTIONS = {
    **{"A": "account", "C": "constraint", "D": "chdir", "G": "gpus", "J": "job-name", "M": "clusters", "N": "nodes"},
    **{"a": "array", "c": "cpus-per-task", "d": "dependency", "e": "error", "i": "input", "n": "ntasks", "o": "output"},
    **{"p": "partition", "q": "qos", "t": "time", "w": "nodelist", "x": "exclude"},
}

_SKIPPED = {
    "cpus-per-task": "a job has the cores that the site gives it; the run's largest cost is counted with the machine's",
    "time": "a job may end before its node, which leaves when the machine's wall_time says",
    "signal": "Slurm does not warn a node before its wall time ends",
    "output": "logs of jobs are where Slurm puts them, and are not quoted when a job dies",
    "no-requeue": "a job that Slurm puts back keeps its node's place until it runs again",
}
"""What it means that a job script lacks a directive."""

_DROPPED = {"SLURM_BITSTR_LEN", "SLURM_EXIT_ERROR", "SLURM_TIME_FORMAT"}
# What would change how sbatch answers, or what the job script says; what selects (account, partition, QOS, reservation,
# constraint, cluster, …) stays.
_DROPPED |= {
    f"SBATCH_{name}"
    for name in (
        *("ARRAY_INX", "DEBUG", "ERROR", "INPUT", "JOB_NAME", "MEM_PER_CPU", "MEM_PER_GPU", "MEM_PER_NODE"),
        *("NO_REQUEUE", "OPEN_MODE", "OUTPUT", "REQUEUE", "SIGNAL", "TIMELIMIT", "WAIT"),
    )
}
_PASSES = re.compile(
    "timed out|unable to contact|connection (refused|reset)|zero bytes were transmitted|transport endpoint"
    "|temporarily|resource unavailable|slurm_(receive|send)|communication",
    re.IGNORECASE,
)
_FULL = re.compile("(Grp|Max)SubmitJob")
"""In Slurm's words for limits on jobs that wait or run, such as `QOSMaxSubmitJobPerUserLimit`."""


class Slurm(Queue):
    """Slurm's queue."""

    name = "slurm"
    title = "Slurm"
    commands = ("sbatch", "squeue", "scancel")
    by_hand = "squeue --me --format='%A %j'"
    if_unreachable = f"{Queue.if_unreachable}, or run inside the job with --cluster allocation"

    def check_machine(self, machine: Machine) -> None:
        """Raise `ConfigError` at the first directive that job scripts cannot have, or cannot be without."""
        skippable = _OPTIONS - {"job-name"}
        if not skippable.issuperset(map(option_name, machine.skip_directives)):
            expected = f"some of --{', --'.join(sorted(skippable))}"
            raise ConfigError(f"skip_directives: expected {expected}, found {machine.skip_directives!r}")
        if "job-name" in map(option_name, machine.extra_directives):
            expected = "no --job-name, by which gadask knows its jobs"
            raise ConfigError(f"extra_directives: expected {expected}, found {machine.extra_directives!r}")
        given = {option_name(text) for text in (*_memory(machine.job_memory), *machine.extra_directives)}
        if len(_MEMORY_OPTIONS & given - set(map(option_name, machine.skip_directives))) > 1:
            expected = f"one kind of memory, as sbatch does, beside memory = {machine.memory!r}"
            raise ConfigError(f"extra_directives: expected {expected}, found {machine.extra_directives!r}")

    def warnings(self, machine: Machine) -> list[str]:
        """Return what it means that directives are left out."""
        names = [name for name in map(option_name, machine.skip_directives) if name in _SKIPPED]
        return [f"skip_directives leaves out --{name}: {_SKIPPED[name]}" for name in names]

    def header(self, machine: Machine, folder: Path) -> list[str]:
        """Return the directives: dask-jobqueue's, gadask's own and the machine's."""
        from gadask.clusters.dask_jobs import dask_jobqueue

        job = dask_jobqueue.slurm.SLURMJob(
            job_name=f"gadask-{machine.name}",
            queue=machine.partition,
            account=machine.account,
            walltime=machine.wall_time,
            job_cpu=machine.cores,
            job_mem="0",  # its place is taken below
            memory=0,
            cores=1,
            job_directives_skip=(),
            job_extra_directives=(),
        )
        directives = [
            *_with_memory((line.removeprefix("#SBATCH ") for line in job.job_header.splitlines()), machine.job_memory),
            f"--signal=B:TERM@{max(15, round(machine.leave_before_s / 3))}",
            f'--output="{self.log_path(Path(str(folder).replace("%", "%%")), "%j")}"',
            "--open-mode=append",
            "--no-requeue",  # a job that Slurm puts back, and may hold, would keep its node's place
            *machine.extra_directives,
        ]
        skipped = set(map(option_name, machine.skip_directives))
        return [f"#SBATCH {text}" for text in directives if option_name(text) not in skipped]

    async def submit(self, name: str, script: str, timeout_s: float) -> str:
        """Submit a file as a job of this name; returns its number.

        Raises `ClusterError` with the reason if it was refused, `FullQueueError` if that is for the number of jobs
        that the user has there; `NoAnswerError` if it is in doubt.
        """
        with full_queue(_FULL):
            answer = await _call("sbatch", "--parsable", f"--job-name={name}", script, timeout_s=timeout_s)
        match = re.search(r"(?m)^(\d+)(;\S*)?$", answer)
        if match is None:
            raise NoAnswerError(f"sbatch: expected the number of a job, found {' '.join(answer.split())[:200]!r}")
        return match[1]

    async def states(self, marks: Collection[str], timeout_s: float) -> list[Job]:
        """Return this user's jobs that carry one of the marks, also those that ended some minutes ago.

        Lines that are none of Slurm's, such as a site's banner, are skipped. Raises `NoAnswerError` if the queue does
        not answer: the list of an empty queue still has a head.
        """
        answer = await _call(
            "squeue", "--all", "--states=all", f"--user={os.getuid()}", f"--format={_FORMAT}", timeout_s=timeout_s
        )
        lines = [line.strip() for line in answer.splitlines()]
        if not any(_HEAD.fullmatch(line) for line in lines):
            raise NoAnswerError(f"squeue: expected a list of jobs, found {' '.join(answer.split())[:200]!r}")
        is_marked = marked_names(marks)
        jobs = {}
        for match in filter(None, map(_JOB.fullmatch, lines)):
            job_id, name, word, time, cores, node, reason = match.groups()
            if is_marked(name):
                jobs[job_id] = Job(
                    state=_STATES.get(word, State.OTHER),
                    word=word,
                    seconds=_seconds(time),
                    cores=int(cores),
                    node=node,
                    reason="" if reason in ("None", word) else reason,
                    job_id=job_id,
                    name=name,
                )
        return sorted(jobs.values(), key=lambda job: int(job.job_id))

    async def cancel(self, job_ids: Collection[str], timeout_s: float) -> None:
        """Cancel jobs; those that have ended are left alone. Raises `ClusterError` if the queue does not answer."""
        if job_ids:
            with ended_jobs(_FORGOTTEN):
                await _call("scancel", *job_ids, timeout_s=timeout_s)


def option_name(directive: str) -> str:
    """Return the long name of the option of `sbatch` in a directive such as `-t 12:00:00` or `--mem=60GB`."""
    if directive.startswith("--"):
        return re.split(r"[=\s]", directive.removeprefix("--"), maxsplit=1)[0]
    letter = directive[1:2]
    return _SHORT_OPTIONS.get(letter, letter)


async def node_names(node_list: str) -> list[str]:
    """Return the names in a list such as `n[1-3]`. Raises `ClusterError` if Slurm's commands are missing."""
    return (await _call("scontrol", "show", "hostnames", node_list, timeout_s=_NAMES_S)).split()


def command_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of Slurm's commands.

    It lacks what changes their answers. The cluster that `SBATCH_CLUSTERS` selects is that of all commands.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _DROPPED and not name.startswith(("SQUEUE_", "SCANCEL_"))
    }
    if cluster := kept.get("SBATCH_CLUSTERS"):
        kept["SLURM_CLUSTERS"] = cluster
    return kept


def _with_memory(directives: Iterable[str], memory: Memory) -> Iterator[str]:
    """Yield dask-jobqueue's directives with a machine's memory in the place of `--mem`, the one form that it knows."""
    for text in directives:
        if option_name(text) == "mem":
            yield from _memory(memory)
        else:
            yield text


def _memory(memory: Memory) -> list[str]:
    """Return the directive that asks for a job's memory, in a list that is empty where the site's default is wanted."""
    n_mib = math.ceil(memory.size_bytes / 2**20)
    size = f"{n_mib}M" if n_mib % 1024 else f"{n_mib // 1024}G"  # which are powers of 1024 to Slurm
    texts = {
        Form.NODE: [f"--mem={size}"],
        Form.CORE: [f"--mem-per-cpu={size}"],
        Form.ALL: ["--mem=0"],
        Form.DEFAULT: [],
    }
    return texts[memory.form]


async def _call(*command: str, timeout_s: float) -> str:
    return await call(*command, timeout_s=timeout_s, environ=command_environment(os.environ), passes=_PASSES)


def _seconds(time: str) -> int:
    """Return the seconds of `D-HH:MM:SS`, `HH:MM:SS` or `MM:SS`; 0 for a job that has not run."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", time)
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds
