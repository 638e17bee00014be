"""What the pool knows of its rollout processes and of the jobs that they play."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass, field

from gadask.errors import NodeError
from gadask.messages import Status
from gadask.node.batch import Batch
from gadask.node.jobs import Job, PlayJob
from gadask.node.packets import send
from gadask.rows import Rows


@dataclass
class Pending:
    """A job that waits or is being played."""

    number: int
    job: Job
    batch: Batch
    timeout_s: float
    deaths: int = 0
    """Rollout processes that died under its episode."""
    stopped_at: float | None = None
    sent_at: float = 0.0

    def answer_unplayed(self, status: Status, reason: str) -> None:
        """Answer for a job that no process can answer for: one row per episode, with this status."""
        job = self.job
        if not isinstance(job, PlayJob):
            self.batch.add(Rows(), reason)
            return
        episodes = [(planned.slot, planned.episode) for planned in job.episodes]
        reason = "" if status is Status.STOPPED else reason
        self.batch.add(Rows.unplayed(job.generation, job.kind, episodes, status, reason))


@dataclass
class Process:
    """One rollout process."""

    index: int
    channel: socket.socket
    pid: int = 0
    """0 until it said that it is ready."""
    pending: Pending | None = None
    """What it plays."""
    overdue_place: int | None = None
    """Place of the episode for which it was killed."""
    fault: NodeError | None = None
    """For which it was killed, beside that."""
    known_tasks: set[int] = field(default_factory=set)
    closing: set[int] = field(default_factory=set)
    """Tasks that were removed, whose environments it closes."""
    close_by_s: float = 0.0

    @property
    def is_watched(self) -> bool:
        """Whether a deadline runs: of an episode, or of environments that are to close."""
        return not self.is_dying and (self.pending is not None or bool(self.closing))

    @property
    def is_dying(self) -> bool:
        """Whether it was killed and has only its socket left to close."""
        return self.overdue_place is not None or self.fault is not None

    def kill(self) -> None:
        """Kill it, once it is ready: before that its socket is all there is to close."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def tell(self, message: object, *fds: int) -> None:
        """Send a message. One that does not take it is killed; that it has died shows when its socket reads empty."""
        if self.is_dying:
            return
        try:
            send(self.channel, message, *fds)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except OSError as error:  # it has not read for long, or the machine has no memory for a large message
            self.fault = NodeError(f"its process cannot be told of it: {error.strerror}")
            self.kill()
