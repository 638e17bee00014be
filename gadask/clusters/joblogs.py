"""The logs of a cluster's jobs: one that a message names stays, the others go with their jobs.

A run of weeks has hundreds of jobs, and sites limit files as well as bytes. What stays is worth reading.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from gadask.clusters.base import end_of_log
from gadask.clusters.queue import Queue


class JobLogs:
    """The logs of jobs in one folder; those of other starts, which lie beside them, are left alone."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        """`queue` says what they are called."""
        self._queue = queue
        self._folder = folder
        self._named: set[Path] = set()

    def has(self, job_id: str) -> bool:
        """Whether there is a log of a job, which says that it ran."""
        return self._queue.log_path(self._folder, job_id).exists()

    def name(self, job_id: str) -> str:
        """Return, for a message, where the log of a job is and how it ends; it stays."""
        path = self._queue.log_path(self._folder, job_id)
        self._named.add(path)
        return end_of_log(path)

    def clear(self, job_ids: Iterable[str]) -> None:
        """Remove the logs of jobs that are over, but not those that were named."""
        for path in self._unnamed(job_ids):
            with contextlib.suppress(OSError):  # a job that never ran has none
                path.unlink()

    def clear_empty(self, job_ids: Iterable[str]) -> list[Path]:
        """Remove the logs of jobs that say nothing; returns those that stay without having been named."""
        left = [path for path in self._unnamed(job_ids) if path.exists() and path.stat().st_size]
        self._named.update(left)
        self.clear(job_ids)
        return left

    def _unnamed(self, job_ids: Iterable[str]) -> list[Path]:
        return sorted({self._queue.log_path(self._folder, job_id) for job_id in job_ids} - self._named)
