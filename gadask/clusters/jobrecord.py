"""The record of a run's jobs: by which marks they are known, should their master be killed.

Every start has a mark of its own, a random word that the names of its jobs carry: `gadask-MACHINE-MARK-NUMBER`. The
record, `jobs.txt`, ties it to one folder, the run's, by the folder's inode number: who copies a run directory copies
the record, and jobs of the original are not the copy's to cancel. A folder that was moved keeps its jobs.

Each line is a table in JSON. The first of a start is on disk before a job is asked for; the numbers of jobs behind it
are for messages alone. Lines that cannot be read are told of and left out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gadask.clusters.security import remove_keys
from gadask.record.files import atomic_write, remove, temporary_files

_logger = logging.getLogger(__name__)

_NAME = "jobs.txt"
_MARK_BYTES = 5


def job_name(machine: str, mark: str, number: int) -> str:
    """Return the name of a job, which no other job has."""
    return f"gadask-{machine}-{mark}-{number}"


@dataclass(frozen=True)
class EarlierJobs:
    """What a record says of earlier starts that could not clear up."""

    marks: frozenset[str] = frozenset()
    job_ids: tuple[str, ...] = ()
    """Numbers of some of their jobs."""
    key_folders: frozenset[Path] = frozenset()
    lines: tuple[str, ...] = ()
    """The record's lines about them."""

    def remove_keys(self) -> None:
        """Remove the keys that they may have left; nobody uses them who has the record's folder locked."""
        for folder in self.key_folders:
            remove_keys(folder)


@dataclass
class JobRecord:
    """The record of a start and of earlier ones, in a folder that its owner has locked."""

    folder: Path
    earlier: EarlierJobs
    mark: str = field(default_factory=lambda: secrets.token_hex(_MARK_BYTES))
    """The mark of this start."""

    @property
    def marks(self) -> frozenset[str]:
        """The marks of all starts in the record."""
        return self.earlier.marks | {self.mark}

    def begin(self, key_folder: Path) -> None:
        """Write that jobs with this mark may be in the queue, and keys in `key_folder`. Raises `RecordError`."""
        line = json.dumps(
            {"mark": self.mark, "inode": _inode(self.folder), "folder": str(self.folder), "keys": str(key_folder)}
        )
        atomic_write(self.folder / _NAME, "".join(f"{text}\n" for text in (*self.earlier.lines, line)).encode())

    def add(self, job_id: str) -> None:
        """Note the number of a job."""
        with contextlib.suppress(OSError), (self.folder / _NAME).open("a") as file:  # its mark is written already
            file.write(json.dumps({"mark": self.mark, "job": job_id}) + "\n")

    def remove(self) -> None:
        """No job is left."""
        remove_record(self.folder)


def read_earlier(folder: Path) -> EarlierJobs:
    """Return what the record in `folder` says of jobs that are this folder's; warns of what it cannot tell."""
    path = folder / _NAME
    for temporary in temporary_files(folder):
        temporary.unlink(missing_ok=True)
    try:
        texts = path.read_bytes().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return EarlierJobs()
    except OSError as error:
        _logger.warning("%s cannot be read (%s): look for jobs of an earlier start with squeue --me", path, error)
        return EarlierJobs()
    tables = [_table(text) for text in texts if text.strip()]
    heads = [table for table in tables if "inode" in table]
    own = {table["mark"]: Path(table["keys"]) for table in heads if _is_own(table, folder)}
    if {} in tables:
        _logger.warning("%s is damaged: look for jobs of an earlier start with squeue --me --format='%%A %%j'", path)
    if any(table["mark"] not in own for table in heads):
        _logger.warning(
            "%s came with a copy of %s, whose jobs are left alone", path, heads[-1]["folder"]
        )  # by its own master they are not
    return EarlierJobs(
        marks=frozenset(own),
        job_ids=tuple(table["job"] for table in tables if "job" in table and table["mark"] in own),
        key_folders=frozenset(own.values()),
        lines=tuple(json.dumps(table) for table in tables if table and table["mark"] in own),
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
    heads = {"mark": str, "inode": int, "folder": str, "keys": str}, {"mark": str, "job": str}
    for head in heads:
        if isinstance(table, dict) and {key: type(value) for key, value in table.items()} == head:
            return table
    return {}


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
