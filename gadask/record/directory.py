"""The run directory: config, provenance, episodes, generation log, checkpoint.

Everything in it is TOML, JSON or Parquet, readable without gadask; no pickle is ever loaded. A generation is closed
in the order episodes, log line, checkpoint, each flushed to disk before the next, and the checkpoint decides: what is
newer than the last good checkpoint is cut away on `resume`. So a run killed at any point goes on as if it had never
been killed, wall-clock quantities aside. These are confined to the key `timing` in the log and the checkpoint
(`without_wall_clock`), and to `WALL_CLOCK_COLUMNS` of the episodes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Json
from gadask.config import Config, dump_config, load_stored_config
from gadask.errors import ConfigError, RecordError, RunDirectoryError
from gadask.genomes import anchors, updates
from gadask.genomes.anchors import anchor_content, anchor_digest
from gadask.genomes.stored import FOLDERS, stored_path
from gadask.record import CLUSTER_FOLDER, files
from gadask.record.checkpoint import (
    Checkpoint,
    State,
    check_same_run,
    decode,
    encode,
    without_wall_clock,
)
from gadask.record.episodes import WALL_CLOCK_COLUMNS, episode_table, episodes_path, read_episodes, to_parquet
from gadask.record.generations import LOG, encode_line, read_generations, read_normaliser
from gadask.record.provenance import changes
from gadask.shipped import nearest_folder

__all__ = [
    "WALL_CLOCK_COLUMNS",
    "RunDirectory",
    "State",
    "check_same_run",
    "episode_table",
    "holds_run",
    "read_episodes",
    "read_generations",
    "read_normaliser",
    "read_run",
    "without_wall_clock",
]

_CONFIG = "config.toml"
_PROVENANCE = "provenance.json"
_EPISODES = "episodes"
_CHECKPOINT = "checkpoint.json"
_PREVIOUS = "checkpoint.previous.json"
_LOCK = ".lock"
_logger = logging.getLogger(__name__)


class RunDirectory:
    """A run directory that this process alone writes, from `create` or `resume` to `close`.

    After a `RecordError` from any method the directory holds the state of the last generation that was closed, and
    the call can be made again.
    """

    config: Config
    """The run's config."""

    def __init__(
        self, path: Path, config: Config, lock: files.FileLock, checkpoint: bytes, log_digest: files.Digest
    ) -> None:
        """For `create` and `resume`: take over a locked directory whose last good checkpoint is `checkpoint`."""
        good = decode(checkpoint)
        self.path = path
        self.config = config
        self._lock = lock
        self._checkpoint = checkpoint
        self._generation = good.state.generation
        self._log_size_bytes = good.log_size_bytes
        self._log_digest = log_digest

    @classmethod
    def create(
        cls, path: Path | str, config: Config, state: State | None = None, anchor: NDArray[np.float32] | None = None
    ) -> Self:
        """Make the directory of a new run, whose `state` before generation 0 may begin with an `anchor`.

        Raises:
            RunDirectoryError: it exists and is not empty, or it cannot be written; nothing is left behind.
        """
        path = Path(path).absolute()
        made: list[Path] = []
        lock = None
        try:
            made = [directory for directory in (path, *path.parents) if not directory.exists()]
            path.mkdir(parents=True, exist_ok=True)
            lock = files.FileLock(path / _LOCK)
            _refuse_used(path)
            log_digest = hashlib.sha256()
            checkpoint = encode(Checkpoint(state or State(), config, 0, log_digest.hexdigest()))
            try:
                if anchor is not None:
                    _store(path, anchor_digest(anchor), anchor_content(anchor))
                files.atomic_write(path / _CHECKPOINT, checkpoint)
                # Last: a directory without it holds no run, and `create` may use it again.
                files.atomic_write(path / _CONFIG, dump_config(config).encode())
                for directory in made:
                    files.sync_directory(directory.parent)
            except (OSError, RecordError):
                for name in (_CONFIG, _CHECKPOINT, _LOCK):
                    (path / name).unlink(missing_ok=True)
                shutil.rmtree(path / anchors.FOLDER, ignore_errors=True)
                raise
            return cls(path, config, lock, checkpoint, log_digest)
        except (OSError, RecordError, RunDirectoryError) as error:
            if lock is not None:
                lock.release()
            for directory in made:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            if isinstance(error, OSError):
                raise RunDirectoryError(f"{path}: cannot make this run directory: {error.strerror}") from None
            raise RunDirectoryError(str(error)) from None

    @classmethod
    def resume(cls, path: Path | str, config: Config | None = None) -> tuple[Self, State]:
        """Open the directory of an earlier run and return it with the state of its last closed generation.

        Where the last checkpoint is damaged the one before is used and a warning is logged. Log and episodes that
        are newer are removed, and so are temporary files. `config`, where given, replaces the stored one; see
        `check_same_run`.

        Raises:
            RunDirectoryError: there is no run here, or another master is writing it.
            ConfigError: the stored config is damaged, or `config` belongs to another run.
            RecordError: neither checkpoint can be trusted; nothing was changed.
        """
        path = Path(path).absolute()
        _refuse_missing(path)
        lock = files.FileLock(path / _LOCK)
        try:
            stored, name, content, log_digest = _load(path)
            if config is not None:
                check_same_run(stored, config)
            directory = cls(path, config or stored, lock, content, log_digest)
            directory._cut_newer()
            if name != _CHECKPOINT:
                files.atomic_write(path / _CHECKPOINT, content)
            if directory.config != stored:
                files.atomic_write(path / _CONFIG, dump_config(directory.config).encode())
        except BaseException:
            lock.release()
            raise
        return directory, decode(content).state

    def add_provenance(self, entry: Json) -> None:
        """Add one entry, see `gadask.record.provenance`, to `provenance.json`: one for each start of the run.

        Logs a warning if the start before was made with other code.

        Raises:
            RecordError: it cannot be written. A damaged file is put aside as `provenance.damaged.json`.
        """
        path = self.path / _PROVENANCE
        content = files.read(path)
        entries: list[Any] = []
        if content is not None:
            try:
                entries = json.loads(content)
                damaged = not isinstance(entries, list)
            except (ValueError, RecursionError):
                damaged = True
            if damaged:
                _logger.warning("%s: damaged; put aside as provenance.damaged.json", path)
                files.atomic_write(path.with_name("provenance.damaged.json"), content)
                entries = []
        if entries and (found := changes(entries[-1], entry)):
            _logger.warning(
                "%s: going on with different code, which may play differently: %s", self.path, "; ".join(found)
            )
        files.atomic_write(path, json.dumps([*entries, entry], indent=1, allow_nan=False).encode() + b"\n")

    def store(self, part: str, content: bytes) -> None:
        """Write the content of an anchor or an update, before a genome that names it is played or recorded.

        Raises `RecordError` if it cannot be written.
        """
        try:
            _store(self.path, part, content)
        except OSError as error:
            raise RecordError(f"{stored_path(self.path, part)}: cannot write this file: {error.strerror}") from None

    def close_generation(self, episodes: pa.Table, line: Json, state: State) -> None:
        """Record the generation `state.generation`, the one after the last that was closed.

        `episodes` comes from `episode_table`; `line` is one line of the log, to which `generation` is added, with all
        wall-clock quantities under `timing`.

        Raises:
            RecordError: out of turn, not strict JSON, or a file cannot be written.
        """
        if state.generation != self._generation + 1:
            raise RecordError(
                f"{self.path}: expected to close generation {self._generation + 1}, found {state.generation}"
            )
        try:
            text = encode_line({"generation": state.generation, **line})
        except (TypeError, ValueError) as error:
            raise RecordError(f"generation {state.generation}: its log line is not strict JSON: {error}") from None
        log = self.path / LOG
        digest = self._log_digest.copy()
        digest.update(text)
        size_bytes = self._log_size_bytes + len(text)
        checkpoint = encode(Checkpoint(state, self.config, size_bytes, digest.hexdigest()))

        table = episodes_path(self.path, state.generation)
        try:
            table.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise RecordError(f"{table.parent}: cannot make this directory: {error.strerror}") from None
        files.atomic_write(table, to_parquet(episodes))
        files.append(log, self._log_size_bytes, text)
        files.atomic_write(self.path / _PREVIOUS, self._checkpoint)
        files.atomic_write(self.path / _CHECKPOINT, checkpoint)
        self._checkpoint, self._generation = checkpoint, state.generation
        self._log_size_bytes, self._log_digest = size_bytes, digest

    def generations(self) -> Iterator[Json]:
        """Yield the log's lines, oldest first; see `read_generations`."""
        return read_generations(self.path)

    def episodes(self, generation: int) -> pa.Table:
        """Return the episodes of a closed generation; see `read_episodes`."""
        return read_episodes(self.path, generation)

    def close(self) -> None:
        """Let other processes write the directory; a second call does nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _cut_newer(self) -> None:
        """Remove what was written after the last good checkpoint."""
        log = self.path / LOG
        if log.exists() and log.stat().st_size > self._log_size_bytes:
            files.append(log, self._log_size_bytes, b"")
        for table in sorted((self.path / _EPISODES).glob("*.parquet")):
            if re.fullmatch(r"\d{6,}", table.stem) and int(table.stem) > self._generation:
                files.remove(table)
        for update in sorted((self.path / updates.FOLDER).glob("u*.json")):
            if (found := re.fullmatch(r"u(\d+)\..*", update.stem)) and int(found[1]) > self._generation:
                files.remove(update)
        for directory in (self.path, *(self.path / name for name in (_EPISODES, *FOLDERS))):
            for temporary in files.temporary_files(directory):
                files.remove(temporary)


def holds_run(path: Path | str) -> bool:
    """Whether `path` is the directory of a run, which is then to be resumed.

    Raises `RunDirectoryError` where that cannot be seen.
    """
    try:
        return (Path(path) / _CONFIG).exists()
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot look for a run there: {error.strerror}") from None


def folder_hint(path: Path | str) -> str:
    """Return what an error says of a folder that is not there: which one is called most like it; empty if none is."""
    near = nearest_folder(path)
    return f"; did you mean {near!r}?" if near else ""


def read_run(path: Path | str) -> tuple[Config, State]:
    """Return the config and the last good state of a run directory, which may be in use; changes nothing.

    Raises as `RunDirectory.resume` does.
    """
    if not holds_run(path):
        raise RunDirectoryError(f"{path}: expected a run directory, found no {_CONFIG} in it{folder_hint(path)}")
    path = Path(path).absolute()
    config, _, content, _ = _load(path)
    return config, decode(content).state


def _refuse_used(path: Path) -> None:
    """Raise unless the directory is empty, but for what its cluster or a process killed while it made it left there."""
    leftovers = {path / name for name in (_LOCK, _CHECKPOINT, CLUSTER_FOLDER, anchors.FOLDER)}
    if set(path.iterdir()) - leftovers - {*files.temporary_files(path)}:
        what = "holds a run already" if (path / _CONFIG).exists() else "is not empty"
        raise RunDirectoryError(
            f"{path}: {what}; use --resume (resume=True) to go on with its run, or choose another directory"
        )
    if (checkpoint := files.read(path / _CHECKPOINT)) is not None and not _is_unplayed(checkpoint):
        raise RunDirectoryError(
            f"{path}: holds the {_CHECKPOINT} of a run, and no {_CONFIG}; restore that from a copy and use --resume, or"
            " choose another directory"
        )
    for temporary in files.temporary_files(path):
        files.remove(temporary)


def _store(path: Path, part: str, content: bytes) -> None:
    file = stored_path(path, part)
    file.parent.mkdir(exist_ok=True)
    files.atomic_write(file, content)


def _is_unplayed(checkpoint: bytes) -> bool:
    """Whether a checkpoint is what `create` writes before anything was played."""
    try:
        return decode(checkpoint).state.generation < 0
    except RecordError:
        return False


def _refuse_missing(path: Path) -> None:
    if not holds_run(path):
        raise RunDirectoryError(
            f"{path}: no run here to resume (no {_CONFIG}); leave --resume (resume=True) out to start one"
            f"{folder_hint(path)}"
        )


def _load(path: Path) -> tuple[Config, str, bytes, files.Digest]:
    """Return the stored config; name and bytes of the newest checkpoint to be trusted; the hash of its log."""
    config = load_stored_config(path / _CONFIG)
    reasons: list[str] = []
    for name in (_CHECKPOINT, _PREVIOUS):
        content = files.read(path / name)
        if content is None:
            reasons.append(f"{path / name}: missing")
            continue
        try:
            checkpoint = decode(content)
            log_digest = _log_digest(path / LOG, checkpoint)
        except RecordError as error:
            reasons.append(f"{path / name}: {error}")
            continue
        try:
            check_same_run(checkpoint.config, config)
        except ConfigError as error:
            raise ConfigError(f"{path / _CONFIG}: changed since the run began: {error}") from None
        if reasons:
            _logger.warning("%s; going on from %s (generation %d)", reasons[0], name, checkpoint.state.generation)
        return config, name, content, log_digest
    raise RecordError("; ".join(reasons) + "; restore one of them from a copy, or start a new run directory")


def _log_digest(log: Path, checkpoint: Checkpoint) -> files.Digest:
    """Return the hash of the log up to the checkpoint, proved to be the log that belongs to it."""
    size_bytes = checkpoint.log_size_bytes
    digest = files.sha256_of_prefix(log, size_bytes)
    if digest is None:
        raise RecordError(f"{log.name} is shorter than the {size_bytes} bytes that belong to it")
    if digest.hexdigest() != checkpoint.log_sha256:
        raise RecordError(f"{log.name} is damaged in the first {size_bytes} bytes, which belong to it")
    return digest
