"""Slurm's commands as they are run: for a limited time, and in an environment in which they say the same to everybody.

A command has a session of its own, so that Ctrl-C on the terminal does not reach a submission that is under way. When
its time is over all of that session is killed: a site's `squeue` may be a script with children. What it prints goes to
files in memory, since a pipe would be waited for as long as any descendant holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping

import psutil

from gadask.errors import ClusterError

_COMMANDS = ("sbatch", "squeue", "scancel")
_REAP_S = 2.0  # a killed process may hang in a file system that is away

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


class NoAnswerError(ClusterError):
    """A command gave no answer, or failed for a reason that passes; what it was to do may be done all the same."""


def check_commands() -> None:
    """Raise `ClusterError` unless jobs can be submitted from this machine."""
    for command in _COMMANDS:
        if shutil.which(command) is None:
            raise ClusterError(
                f"expected Slurm's commands, found no {command} in PATH; run this on a login node, after whatever"
                " makes Slurm's commands known there, or choose --cluster local"
            )


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


async def call(*command: str, timeout_s: float) -> str:
    """Run a command; returns what it prints.

    Raises `NoAnswerError` if it does not end within `timeout_s`, is killed, or complains of something that passes;
    `ClusterError` with what else it complains of. A caller that is cancelled leaves no process behind.
    """
    with _memory_file() as output, _memory_file() as complaint:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=complaint,
                env=command_environment(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            raise ClusterError(f"{command[0]} cannot be run: {error}") from None
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            raise NoAnswerError(f"{command[0]} gave no answer within {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                _kill_session(process.pid)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _REAP_S)
        if process.returncode == 0:
            return _text(output)
        lines = _text(complaint).splitlines()
    reasons = [re.sub(rf"^{command[0]}: (error: )?", "", line).strip() for line in lines]
    reason = "; ".join(filter(None, reasons)) or f"exit status {process.returncode}"
    passes = (process.returncode or 0) < 0 or _PASSES.search(reason)
    raise (NoAnswerError if passes else ClusterError)(f"{command[0]}: {reason}")


@contextlib.contextmanager
def _memory_file() -> Iterator[int]:
    descriptor = os.memfd_create("answer")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def _kill_session(leader: int) -> None:
    """Kill every process of a session, the leader last: as long as it lives its number means no other session."""
    for pid in [*(pid for pid in psutil.pids() if pid != leader and _session(pid) == leader), leader]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
