"""Slurm's commands: submit a job script, ask for the state of jobs, cancel them.

They run in sessions of their own, so that Ctrl-C on the terminal does not reach a submission that is under way.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass

from gadask.errors import ClusterError

_COMMANDS = ("sbatch", "squeue", "scancel")
_TIMEOUT_S = 120.0  # a busy controller is slow; the commands give up by themselves long before
_OVER = frozenset({"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY"})
_OVER |= {"BOOT_FAIL", "DEADLINE", "REVOKED"}
_FORGOTTEN = "Invalid job id"
_FORMAT = "%A|%T|%M|%C|%N|%r"


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

    @property
    def over(self) -> bool:
        """Whether it runs no more and will not by itself."""
        return self.state in _OVER

    @property
    def to_cancel(self) -> bool:
        """Whether it waits or runs; a job that completes is only being cleared away."""
        return not self.over and self.state != "COMPLETING"


def check_commands() -> None:
    """Raise `ClusterError` unless jobs can be submitted from this machine."""
    for command in _COMMANDS:
        if shutil.which(command) is None:
            raise ClusterError(
                f"expected Slurm's commands, found no {command} in PATH; run this on a login node, after whatever"
                " makes Slurm's commands known there, or choose --cluster local"
            )


async def submit(script: str) -> str:
    """Submit a file as a job; returns its number. Raises `ClusterError` with the reason if it is refused."""
    answer = await _call("sbatch", "--parsable", script)
    match = re.search(r"(?m)^(\d+)(;\S*)?$", answer)
    if match is None:
        raise ClusterError(f"sbatch: expected the number of a job, found {answer.strip()!r}")
    return match[1]


async def job_states(job_ids: Collection[str]) -> dict[str, JobState]:
    """Return the states of jobs, without those that the queue has forgotten; they ended some minutes ago.

    Raises `ClusterError` if the queue does not answer.
    """
    if not job_ids:
        return {}
    try:
        answer = await _call(
            "squeue", "--noheader", "--states=all", f"--jobs={','.join(job_ids)}", f"--format={_FORMAT}"
        )
    except ClusterError as error:
        if _FORGOTTEN in str(error):  # all of them
            return {}
        raise
    states = {}
    for line in answer.splitlines():
        job_id, state, time, cores, node, reason = line.strip().split("|", 5)
        states[job_id] = JobState(state, _seconds(time), int(cores), node, reason)
    return states


async def cancel(job_ids: Collection[str]) -> None:
    """Cancel jobs; those that have ended are left alone. Raises `ClusterError` if the queue does not answer."""
    if job_ids:
        try:
            await _call("scancel", *job_ids)
        except ClusterError as error:
            if _FORGOTTEN not in str(error):
                raise


async def node_names(node_list: str) -> list[str]:
    """Return the names in a list such as `n[1-3]`. Raises `ClusterError` if Slurm's commands are missing."""
    return (await _call("scontrol", "show", "hostnames", node_list)).split()


async def _call(*command: str) -> str:
    """Run a command; returns what it prints. Raises `ClusterError` with what it complains of."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ClusterError(f"{command[0]} cannot be run: {error}") from None
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    except TimeoutError:
        raise ClusterError(f"{command[0]} gave no answer within {_TIMEOUT_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = complaint.decode(errors="replace").splitlines()
        reasons = [re.sub(rf"^{command[0]}: (error: )?", "", line).strip() for line in lines]
        raise ClusterError(f"{command[0]}: {'; '.join(filter(None, reasons)) or f'exit status {process.returncode}'}")
    return output.decode(errors="replace")


def _seconds(time: str) -> int:
    """Return the seconds of `D-HH:MM:SS`, `HH:MM:SS` or `MM:SS`; 0 for a job that has not run."""
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", time)
    if match is None:
        return 0
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((24 * days + hours) * 60 + minutes) * 60 + seconds
