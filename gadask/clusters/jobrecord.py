"""The record of a run's jobs: the marks by which they are known if their master is killed.

Every start has its own mark, a random word that the names of its jobs carry: `gadask-MACHINE-MARK-NUMBER`. The record,
`jobs.txt`, ties it to a queue and to one folder, the run's, by the folder's inode number: to copy a run directory is to
copy the record, but the original's jobs are not the copy's to cancel. A folder that was moved keeps its jobs.

Each line is a table in JSON. The first of a start is on disk before a job is asked for; the numbers of jobs behind it
are for messages alone. Lines that cannot be read are reported and left out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gadask.clusters.security import remove_keys
from gadask.record.files import atomic_write, remove, temporary_files

_logger = logging.getLogger(__name__)

_NAME = "jobs.txt"
_MARK_BYTES = 5
_FIRST_QUEUE = "slurm"  # of a record that names none: there was no other


@dataclass(frozen=True)
class EarlierStart:
    """What a record says of one start that could not clear up."""

    mark: str
    queue: str
    """The name of the queue that has its jobs."""
    key_folder: Path
    job_ids: tuple[str, ...]
    """Numbers of some of its jobs."""
    lines: tuple[str, ...]
    """The record's lines about it."""


@dataclass(frozen=True)
class EarlierJobs:
    """What a record says of earlier starts that could not clear up."""

    starts: tuple[EarlierStart, ...] = ()

    @property
    def marks(self) -> frozenset[str]:
        """Their marks."""
        return frozenset(start.mark for start in self.starts)

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Numbers of some of their jobs."""
        return tuple(job_id for start in self.starts for job_id in start.job_ids)

    def within(self, queue: str) -> EarlierJobs:
        """Return those whose jobs are in the queue of a name."""
        return EarlierJobs(tuple(start for start in self.starts if start.queue == queue))

    def remove_keys(self) -> None:
        """Remove the keys that they may have left; nobody uses them who has the record's folder locked."""
        for folder in {start.key_folder for start in self.starts}:
            remove_keys(folder)


@dataclass
class JobRecord:
    """The record of a start and of earlier ones, in a folder that its owner has locked."""

    folder: Path
    queue: str
    """The name of the queue that this start hands its jobs in to."""
    earlier: EarlierJobs
    """Earlier starts, with whatever queue."""
    mark: str = field(default_factory=lambda: secrets.token_hex(_MARK_BYTES))
    """The mark of this start."""

    @property
    def marks(self) -> frozenset[str]:
        """The marks of all starts in the record whose jobs are in the same queue."""
        return self.earlier.within(self.queue).marks | {self.mark}

    def begin(self, key_folder: Path) -> None:
        """Write that jobs with this mark may be in the queue, and keys in `key_folder`. Raises `RecordError`."""
        head = {
            **{"mark": self.mark, "inode": _inode(self.folder), "folder": str(self.folder), "keys": str(key_folder)},
            **({} if self.queue == _FIRST_QUEUE else {"queue": self.queue}),
        }
        self._write(self.earlier.starts, json.dumps(head))

    def add(self, job_id: str) -> None:
        """Note the number of a job."""
        with contextlib.suppress(OSError), (self.folder / _NAME).open("a") as file:  # its mark is written already
            file.write(json.dumps({"mark": self.mark, "job": job_id}) + "\n")

    def remove(self) -> None:
        """No job is left in the queue; what earlier starts left in others stays in the record."""
        elsewhere = [start for start in self.earlier.starts if start.queue != self.queue]
        if elsewhere:
            self._write(elsewhere)
        else:
            remove_record(self.folder)

    def _write(self, starts: Iterable[EarlierStart], *heads: str) -> None:
        lines = [*(line for start in starts for line in start.lines), *heads]
        atomic_write(self.folder / _NAME, "".join(f"{line}\n" for line in lines).encode())


def read_earlier(folder: Path, by_hand: str) -> EarlierJobs:
    """Return what the record in `folder` says of jobs that are this folder's.

    Warns of what it cannot tell, and of the command by which a user finds jobs `by_hand`.
    """
    path = folder / _NAME
    for temporary in temporary_files(folder):
        temporary.unlink(missing_ok=True)
    try:
        texts = path.read_bytes().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return EarlierJobs()
    except OSError as error:
        _logger.warning("%s cannot be read (%s): look for jobs of an earlier start with %s", path, error, by_hand)
        return EarlierJobs()
    tables = [_table(text) for text in texts if text.strip()]
    heads = [table for table in tables if "inode" in table]
    own = [table for table in heads if _is_own(table, folder)]
    if {} in tables:
        _logger.warning("%s is damaged: look for jobs of an earlier start with %s", path, by_hand)
    if len(own) < len(heads):
        _logger.warning(
            "%s came with a copy of %s, whose jobs are left alone", path, heads[-1]["folder"]
        )  # by its own master they are not
    return EarlierJobs(
        tuple(_start(head, [table for table in tables if table.get("mark") == head["mark"]]) for head in own)
    )


def remove_record(folder: Path) -> None:
    """Remove the record in `folder`, where there is one. Raises `RecordError`."""
    remove(folder / _NAME)


def has_record(folder: Path) -> bool:
    """Whether there is a record in `folder`."""
    return (folder / _NAME).exists()


def _table(text: str) -> dict[str, Any]:
    """Return the table in a line, empty where it is none of a record's."""
    try:
        table = json.loads(text)
    except ValueError:
        return {}
    head = {"mark": str, "inode": int, "folder": str, "keys": str}
    for types in (head, {**head, "queue": str}, {"mark": str, "job": str}):
        if isinstance(table, dict) and {key: type(value) for key, value in table.items()} == types:
            return table
    return {}


def _start(head: dict[str, Any], tables: list[dict[str, Any]]) -> EarlierStart:
    """Return the start of a head, from all tables with its mark."""
    return EarlierStart(
        mark=head["mark"],
        queue=head.get("queue", _FIRST_QUEUE),
        key_folder=Path(head["keys"]),
        job_ids=tuple(table["job"] for table in tables if "job" in table),
        lines=tuple(map(json.dumps, tables)),
    )


def _is_own(head: dict[str, Any], folder: Path) -> bool:
    """Whether a record was begun in this folder, which may have been moved since, and not in one it is a copy of."""
    if head["inode"] != _inode(folder):
        return False
    before = Path(head["folder"])
    try:
        return not before.exists() or before.samefile(folder)
    except OSError:
        return False


def _inode(folder: Path) -> int:
    return os.stat(folder).st_ino  # noqa: PTH116
