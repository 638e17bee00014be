"""What a batch system is to gadask: a queue that takes jobs, says how they stand, and cancels them.

A batch system is a file with a subclass of `Queue` (Slurm's is `slurm.py`) and an entry in `kinds.py`; everything else
is common: keeper, record, clearing, guardian.

A run's jobs are known by their names, which carry a mark of the start (`gadask.clusters.jobrecord`), and not by their
numbers: the answer to a submission may be lost and its number with it, and a number that was read from somewhere may be
another job's by now.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import ClassVar

from gadask.clusters.machine import Machine
from gadask.errors import ClusterError


class NoAnswerError(ClusterError):
    """A queue gave no answer, or failed for a passing reason; what it was asked to do may still have been done."""


class FullQueueError(ClusterError):
    """A queue takes no more jobs of this user until some have ended: it refuses, and the same may be accepted later."""


@contextlib.contextmanager
def full_queue(pattern: re.Pattern[str]) -> Iterator[None]:
    """Make a `FullQueueError` of a refusal that says what `pattern` finds."""
    try:
        yield
    except NoAnswerError:
        raise
    except ClusterError as error:
        raise (FullQueueError if pattern.search(str(error)) else ClusterError)(str(error)) from None


@contextlib.contextmanager
def ended_jobs(pattern: re.Pattern[str]) -> Iterator[None]:
    """Take a refusal to cancel for done if it says what `pattern` finds: that a job has ended."""
    try:
        yield
    except ClusterError as error:
        if not pattern.search(str(error)):
            raise


class State(Enum):
    """Where a job stands. One that is missing from an answer has no state: it is gone, or the answer is incomplete."""

    QUEUED = auto()
    """It waits for a node; its `reason` says why."""
    STARTING = auto()
    """It has a node, which is made ready."""
    RUNNING = auto()
    OTHER = auto()
    """It is held up, such as suspended, or in a state that gadask does not know: left alone until the end."""
    ENDING = auto()
    """It runs no more and is being cleared away."""
    COMPLETED = auto()
    """It ended with status 0. A job that is gone counts as this, since a queue may forget those that ended."""
    PREEMPTED = auto()
    """It had to make room for another, which is nobody's failure."""
    OUT_OF_MEMORY = auto()
    FAILED = auto()
    """It ended in any other way: an error, its time limit, somebody's cancelling, a node that broke."""

    @property
    def is_over(self) -> bool:
        """Whether a job in it runs no more and will not by itself."""
        return self in (State.COMPLETED, State.PREEMPTED, State.OUT_OF_MEMORY, State.FAILED)

    @property
    def is_to_cancel(self) -> bool:
        """Whether a job in it waits or runs; one that is ending only takes its time."""
        return not self.is_over and self is not State.ENDING


@dataclass(frozen=True)
class Job:
    """A job as a queue reports it."""

    state: State = State.QUEUED
    word: str = ""
    """The batch system's own word for the state, for messages."""
    seconds: int = 0
    """Wall time that it has run since it last started."""
    cores: int = 0
    """Cores that are charged for it."""
    node: str = ""
    """Name of its machine, if it has one."""
    reason: str = ""
    """Why it waits, or why it ended, in the batch system's own words; empty where those say no more than the state."""
    job_id: str = ""
    name: str = ""


class Queue(ABC):
    """A batch system. A subclass is made without arguments and remembers nothing: another process may ask instead.

    No call lasts longer than its `timeout_s`, and one that is cancelled leaves no process behind. Three answers are
    told apart: what was asked for; a refusal, which is a `ClusterError` with the reason in one line; and no answer, a
    `NoAnswerError`, after which nothing is known. Callers try again after silence, and believe a single answer as
    little as `gadask.clusters.keeper` says. They also see to it that the queue is not asked too often: once every
    `poll_s` of the machine about all jobs of a run, and more often only for some seconds after a change.
    """

    name: ClassVar[str]
    """The kind of cluster, and the table of dask-jobqueue's settings that counts, `jobqueue.NAME`."""
    title: ClassVar[str]
    """What people call it."""
    commands: ClassVar[tuple[str, str, str]]
    """The programs that submit jobs, tell of them and cancel them, for messages."""
    by_hand: ClassVar[str]
    """The command that shows users the numbers and names of their own jobs."""
    is_tried: ClassVar[bool] = True
    """Whether it has been run with the batch system itself."""
    if_unreachable: ClassVar[str] = "set the machine's scheduler_interface"
    """What to do where jobs run whose workers do not reach the scheduler."""

    def is_here(self) -> bool:
        """Whether it can be asked from this machine."""
        return all(map(shutil.which, self.commands))

    def check(self) -> None:
        """Raise `ClusterError` unless it can be asked from this machine."""
        for command in self.commands:
            if shutil.which(command) is None:
                raise ClusterError(
                    f"expected {self.title}'s commands, found no {command} in PATH; run this on a login node, after"
                    f" whatever makes {self.title}'s commands known there, or choose --cluster local"
                )

    def check_machine(self, machine: Machine) -> None:  # noqa: B027
        """Raise `ConfigError` at the first directive that job scripts cannot have, or cannot be without."""

    def warnings(self, machine: Machine) -> list[str]:
        """Return what the user should know of the job scripts of a machine."""
        advice = "try a small run, and look at the queue when it has ended"
        return [] if self.is_tried else [f"gadask has never been run with {self.title}: {advice}"]

    @abstractmethod
    def header(self, machine: Machine, folder: Path) -> list[str]:
        """Return the lines of a job script that ask for one node of a machine.

        Its output is appended to `log_path(folder, …)`. The first process of the job has TERM at least 15 s before its
        time is up, and the batch system does not put the job back by itself. Skipped directives are left out.
        """

    def log_path(self, folder: Path, job_id: str) -> Path:
        """Return where a job's output goes."""
        return folder / f"job-{job_id}.log"

    @abstractmethod
    async def submit(self, name: str, script: str, timeout_s: float) -> str:
        """Submit a file as a job of this name, which wins over the file's own words; returns the job's number.

        Raises `ClusterError` with the reason if it was refused, `FullQueueError` if that is for the number of jobs
        that the user has there; `NoAnswerError` if it is in doubt.
        """

    @abstractmethod
    async def states(self, marks: Collection[str], timeout_s: float) -> list[Job]:
        """Return this user's jobs that carry one of the marks, in the order of submission.

        All that wait or run are among them. Jobs that ended may be, and should as long as the batch system remembers
        why they did. Raises `NoAnswerError` rather than return a list that may be cut short; an empty list means that
        the queue was asked and has none.
        """

    @abstractmethod
    async def cancel(self, job_ids: Collection[str], timeout_s: float) -> None:
        """Cancel jobs, at once as far as the batch system allows; those that have ended are left alone.

        Raises `ClusterError` if the queue does not answer.
        """
