"""The names of jobs, by which a run knows its own: they carry a mark of the start (`gadask.clusters.jobrecord`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection


def job_name(machine: str, mark: str, number: int) -> str:
    """Return the name of a job, which no other job has."""
    return f"gadask-{machine}-{mark}-{number}"


def marked_names(marks: Collection[str]) -> Callable[[str], bool]:
    """Return what tells whether a name is that of a job with one of the marks."""
    pattern = re.compile(rf".+-({'|'.join(map(re.escape, marks))})-\d+")
    return lambda name: bool(marks) and pattern.fullmatch(name) is not None
