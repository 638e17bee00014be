"""Jobs that were submitted together, and what comes of them."""

from __future__ import annotations

import threading

from gadask.errors import NodeError
from gadask.rows import Rows


class Batch:
    """Jobs submitted together; filled by the pool's thread, waited for by another."""

    def __init__(self, n_jobs: int) -> None:
        """Expect the answers of `n_jobs` jobs."""
        self._n_open = n_jobs
        self._parts: list[Rows] = []
        self.failures: list[str] = []
        """Why genomes were not decoded, one text each."""
        self._failure: str | None = None
        self._done = threading.Event()
        if not n_jobs:
            self._done.set()

    def wait(self) -> Rows:
        """Return all rows, in order of completion. Raises `NodeError` if the pool closed."""
        self._done.wait()
        if self._failure is not None:
            raise NodeError(self._failure)
        return Rows.joined(self._parts)

    def add(self, rows: Rows, failure: str = "") -> None:
        """Take what came of one job, as in `jobs.Answer`."""
        self._parts.append(rows)
        if failure:
            self.failures.append(failure)
        self._n_open -= 1
        if not self._n_open:
            self._done.set()

    def expect(self, n_more: int) -> None:
        """Expect more jobs: one was split."""
        self._n_open += n_more

    def fail(self, reason: str) -> None:
        """Give up on what is missing."""
        self._failure = reason
        self._done.set()
