"""Jobs that were submitted together, and what comes of them."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from gadask.errors import NodeError
from gadask.messages import ROW


class Batch:
    """Jobs submitted together; filled by the pool's thread, waited for by another."""

    def __init__(self, n_jobs: int) -> None:
        """Expect the answers of `n_jobs` jobs."""
        self._n_open = n_jobs
        self._rows: list[bytes] = []
        self._n_rows = 0
        self._reasons: dict[int, str] = {}
        self.moments: dict[int, bytes] = {}
        """Moments of observed episodes, by place among the rows."""
        self._failure: str | None = None
        self._done = threading.Event()
        if not n_jobs:
            self._done.set()

    def wait(self) -> tuple[NDArray[np.void], dict[int, str]]:
        """Return all rows (dtype `ROW`, in order of completion) and what went wrong, by place among the rows.

        A failed decoding has no row; its reason stands at a negative place. Raises `NodeError` if the pool closed.
        """
        self._done.wait()
        if self._failure is not None:
            raise NodeError(self._failure)
        return np.frombuffer(b"".join(self._rows), ROW), self._reasons

    def add(self, rows: bytes, reasons: dict[int, str], moments: dict[int, bytes] | None = None) -> None:
        """Take one job's answer."""
        self.moments |= {self._n_rows + place: packed for place, packed in (moments or {}).items()}
        for place, reason in reasons.items():
            self._reasons[self._n_rows + place if rows else -1 - len(self._reasons)] = reason
        self._rows.append(rows)
        self._n_rows += len(rows) // ROW.itemsize
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
