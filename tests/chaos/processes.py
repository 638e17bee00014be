"""Which processes belong to a chaos run, what each is, and what they leave behind.

Everything that a chaos run starts inherits two environment variables: a mark that no other process of the machine has,
and a role, such as `node-1` or `master-3`. So processes are found whoever their parent is by now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

MARK, ROLE, STACKS = "GADASK_CHAOS", "GADASK_CHAOS_ROLE", "GADASK_CHAOS_STACKS"

Part = Literal["nanny", "worker", "fork server", "rollout", "other"]


@dataclass(frozen=True)
class Found:
    """A live process of this chaos run."""

    process: psutil.Process
    role: str
    command: str

    @property
    def part(self) -> Part:
        """What it is on its node; `other` for everything that is on none."""
        if "gadask.node.forkserver" in self.command:
            return "rollout" if _is_fork_server(self.process) else "fork server"
        if "multiprocessing.spawn" in self.command:
            return "worker"
        if " worker " in self.command and "dask" in self.command:
            return "nanny"
        return "other"

    def __str__(self) -> str:
        """Return its number, role, part and command."""
        return f"{self.process.pid} ({self.role}, {self.part}): {self.command[:150]}"


def new_mark() -> str:
    """Return a mark for everything that one chaos run starts."""
    return uuid.uuid4().hex


def find(mark: str, role: str = "") -> list[Found]:
    """Return all live processes with this mark, and this role if one is given, but for the calling process."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            if f"{MARK}={mark}".encode() not in environ or process.status() == psutil.STATUS_ZOMBIE:
                continue
            variables = dict(item.split("=", 1) for item in environ.decode(errors="replace").split("\0") if "=" in item)
            if not role or variables.get(ROLE) == role:
                found.append(Found(process, variables.get(ROLE, ""), " ".join(process.cmdline())))
    return found


def send(processes: Iterable[Found], number: int) -> None:
    """Send a signal to processes; those that have ended are passed over."""
    for found in processes:
        with contextlib.suppress(psutil.Error):
            found.process.send_signal(number)


def is_alive(found: Found) -> bool:
    """Whether a process has not ended yet."""
    try:
        return bool(found.process.is_running() and found.process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_all(mark: str) -> None:
    """Kill everything that carries the mark, again until nothing is left."""
    end = time.monotonic() + 20
    while (left := find(mark)) and time.monotonic() < end:
        send(left, signal.SIGKILL)
        time.sleep(0.05)


def stacks(mark: str, folder: Path) -> str:
    """Return what all marked Python processes are doing; the others are named with the place in the kernel."""
    found = find(mark)
    send(found, signal.SIGCONT)
    send([one for one in found if _catches(one.process.pid, signal.SIGUSR1)], signal.SIGUSR1)
    time.sleep(2)  # nothing says when they have written
    parts = []
    for one in found:
        text = folder / f"{one.process.pid}.txt"
        with contextlib.suppress(psutil.Error, OSError):
            where = Path(f"/proc/{one.process.pid}/wchan").read_text() or "running"
            parts.append(f"--- {one}\n    {one.process.status()}, in {where}")
            parts.append(text.read_text() if text.exists() else "")
    return "\n".join(filter(None, parts))


def memory_files(processes: Iterable[Found]) -> list[str]:
    """Return the memory files of gadask that these processes hold open."""
    held = []
    for found in processes:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{found.process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if "memfd:gadask" in str(target := link.readlink()):
                        held.append(f"{found}: {target}")
    return held


def _is_fork_server(process: psutil.Process) -> bool:
    """Whether the parent of a process is a fork server."""
    try:
        parent = process.parent()
        return parent is not None and "gadask.node.forkserver" in parent.cmdline()
    except psutil.Error:
        return False


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, which would end it otherwise."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)
