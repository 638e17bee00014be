"""Commands of a batch system as they are run: for a limited time, and so that nothing is left of them.

A command has its own session, so that Ctrl-C on the terminal does not reach a submission that is under way. When its
time is up, the whole session is killed: a site's `squeue` may be a script with children. What it prints goes to files
in memory, since a pipe would be waited for as long as any descendant holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from gadask.clusters.queue import NoAnswerError
from gadask.errors import ClusterError

_COMPLAINT_LINES = 3
_REAP_S = 2.0  # a killed process may hang in a file system that is away


async def call(
    *command: str, timeout_s: float, environ: Mapping[str, str], passes: re.Pattern[str], stdin: str = os.devnull
) -> str:
    """Run a command in an environment, with the file `stdin` as its standard input; returns what it prints.

    Raises `NoAnswerError` if it does not end within `timeout_s`, is killed, or complains of something that `passes`
    finds; `ClusterError` with what else it complains of. A caller that is cancelled leaves no process behind.
    """
    with _memory_file() as output, _memory_file() as complaint, Path(stdin).open("rb") as given:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=given,
                stdout=output,
                stderr=complaint,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            raise ClusterError(f"{command[0]} cannot be run: {error}") from None
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            raise NoAnswerError(f"{command[0]} gave no answer within {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                _kill_session(process.pid)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REAP_S):
                        await process.wait()
        if process.returncode == 0:
            return _text(output)
        # qdel complains on its standard output; a list of jobs there is no complaint.
        lines = _text(complaint).splitlines() or _text(output).splitlines()[-_COMPLAINT_LINES:]
    reasons = [re.sub(rf"^{command[0]}: (error: )?", "", line).strip() for line in lines]
    reason = "; ".join(filter(None, reasons)) or f"exit status {process.returncode}"
    is_passing = (process.returncode or 0) < 0 or passes.search(reason)
    raise (NoAnswerError if is_passing else ClusterError)(f"{command[0]}: {reason}")


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
