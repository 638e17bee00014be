"""Which job of a node comes next, so that the runs that share it get equal process time.

Jobs of one run keep their order. Between runs, the one that has had the least process time comes first, what its
running jobs will take included: start-time fair queueing (Goyal, Vin & Cheng 1996) over rollout processes. A run that
had nothing to play is owed at most `CREDIT_S` of all processes, so that it makes up for a short wait, such as the one
for the last episode of a generation, and not for an hour's. No process is left idle while any run has a job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar

CREDIT_S = 10.0
"""Process time, for each process of the node, that a run can make up for."""

_SMOOTHING = 0.25

T = TypeVar("T")


@dataclass
class _Account(Generic[T]):
    spent_s: float
    job_s: float
    n_running: int = 0
    jobs: deque[T] = field(default_factory=deque)

    @property
    def expected_s(self) -> float:
        """Process time once the running jobs have ended."""
        return self.spent_s + self.n_running * self.job_s


class FairQueue(Generic[T]):
    """Jobs of several runs, each run known by a number; not thread-safe.

    Every job taken is to be closed by one call of `done`.
    """

    def __init__(self, n_processes: int) -> None:
        """Serve `n_processes` processes."""
        self._credit_s = CREDIT_S * n_processes
        self._accounts: dict[int, _Account[T]] = {}
        self._clock_s = 0.0  # process time of a run that always had jobs
        self._job_s = 1.0  # of any run; what a new one's jobs are expected to take

    def __len__(self) -> int:
        return sum(len(account.jobs) for account in self._accounts.values())

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(account.jobs for account in self._accounts.values())

    def put(self, run: int, job: T) -> None:
        """Add a job behind the others of its run."""
        self._awake(run).jobs.append(job)

    def put_back(self, run: int, jobs: Iterable[T]) -> None:
        """Add jobs before the others of their run, in this order."""
        self._awake(run).jobs.extendleft(reversed(list(jobs)))

    def take(self) -> T | None:
        """Return the next job; None if there is none."""
        waiting = [account for account in self._accounts.values() if account.jobs]
        if not waiting:
            return None
        account = min(waiting, key=lambda account: account.expected_s)
        self._clock_s = max(self._clock_s, account.expected_s)
        account.n_running += 1
        return account.jobs.popleft()

    def done(self, run: int, seconds: float) -> None:
        """Charge a run for a job that was taken: 0 s if it was not played."""
        account = self._accounts[run]
        account.n_running -= 1
        account.spent_s += seconds
        if seconds:
            account.job_s += _SMOOTHING * (seconds - account.job_s)
            self._job_s = account.job_s

    def drop(self, matches: Callable[[T], bool]) -> list[T]:
        """Remove all matching jobs and return them."""
        dropped = []
        for account in self._accounts.values():
            dropped += [job for job in account.jobs if matches(job)]
            account.jobs = deque(job for job in account.jobs if not matches(job))
        return dropped

    def _awake(self, run: int) -> _Account[T]:
        """Return the account of a run that is about to get a job, without the credit that it has lost."""
        account = self._accounts.get(run)
        if account is None:
            account = self._accounts[run] = _Account(self._clock_s, self._job_s)
        elif not account.jobs:
            account.spent_s = max(account.spent_s, self._clock_s - self._credit_s)
        return account
