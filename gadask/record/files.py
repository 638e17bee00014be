"""Files that survive a crash: atomic writes, a log that only grows, a lock.

After `atomic_write` a file holds either its old bytes or all of its new ones, whenever the process or the machine
dies: the bytes go to a temporary file in the same directory, which is flushed to disk and renamed over the old one,
and the directory is flushed. A process that is killed in between leaves a file that `temporary_files` finds. Every
failure is a `RecordError` that names the path and the reason.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from gadask.errors import RecordError, RunDirectoryError

_logger = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 20
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class Digest(Protocol):
    """What `hashlib.sha256()` returns."""

    def update(self, data: bytes, /) -> None:
        """Add bytes to what is hashed."""

    def copy(self) -> Self:
        """Return an independent hash of the same bytes."""

    def hexdigest(self) -> str:
        """Return the hash of the bytes so far."""


def atomic_write(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`.

    Raises:
        RecordError: the disk is full, the directory cannot be written, or any other reason of the system; the old
            file is whole and no temporary file is left.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with _descriptor(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 -- one spelling for all system calls, which fault tests count
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise RecordError(_cannot("write", path, error)) from None


def append(path: Path, size_bytes: int, content: bytes) -> None:
    """Cut the file at `path`, made where it is missing, to `size_bytes`; add `content`; flush it to disk.

    Cutting first drops what an earlier append that failed may have left.

    Raises:
        RecordError: the file is shorter than that, or any reason of the system; it was cut back to `size_bytes` where
            the system let us.
    """
    try:
        with _descriptor(path, os.O_WRONLY | os.O_CREAT) as descriptor:
            found_bytes = os.fstat(descriptor).st_size
            if found_bytes < size_bytes:
                raise RecordError(
                    f"{path}: expected at least {size_bytes} bytes, found {found_bytes}; another program cut it:"
                    " restore it from a copy"
                )
            try:
                os.ftruncate(descriptor, size_bytes)
                os.lseek(descriptor, size_bytes, os.SEEK_SET)
                _write_all(descriptor, content)
                os.fsync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size_bytes)
                raise
        sync_directory(path.parent)
    except OSError as error:
        raise RecordError(_cannot("write", path, error)) from None


def read(path: Path) -> bytes | None:
    """Return the file's bytes, None where there is no such file.

    Raises:
        RecordError: the file is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(_cannot("read", path, error)) from None


def sha256_of_prefix(path: Path, size_bytes: int) -> Digest | None:
    """Return the hash of the file's first `size_bytes`, ready to be updated; None where the file is shorter.

    A missing file is an empty one.

    Raises:
        RecordError: the file is there and cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while size_bytes > 0 and (block := file.read(min(size_bytes, _BLOCK_BYTES))):
                digest.update(block)
                size_bytes -= len(block)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RecordError(_cannot("read", path, error)) from None
    return digest if size_bytes == 0 else None


def remove(path: Path) -> None:
    """Remove the file at `path`, where there is one.

    Raises:
        RecordError: the file cannot be removed.
    """
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RecordError(_cannot("remove", path, error)) from None


def temporary_files(directory: Path) -> list[Path]:
    """Return what killed calls of `atomic_write` left in `directory`, which may be missing."""
    return sorted(directory.glob(".*.tmp"))


def sync_directory(directory: Path) -> None:
    """Flush a directory's entries to disk: files made, renamed and removed in it. Raises `OSError`."""
    with _descriptor(directory, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


class FileLock:
    """An exclusive lock on a file, from construction to `release` or the end of the process.

    The file stays; it names the host and process that locked it last. Processes forked off do not share the lock.
    On a file system without locks a warning is logged and nothing is locked.
    """

    def __init__(self, path: Path, kind: str = "run directory") -> None:
        """Take the lock, or raise `RunDirectoryError` at once if another process, or another lock here, has it.

        `kind` says what the file's directory is.
        """
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunDirectoryError(_cannot("write", path, error)) from None
        try:
            self._take(path)
        except OSError as error:
            os.close(self._descriptor)
            if error.errno != errno.EWOULDBLOCK:
                raise RunDirectoryError(_cannot("lock", path, error)) from None
            owner = path.read_text(errors="replace").strip() or "unknown"
            raise RunDirectoryError(
                f"{path.parent}: another master is writing this {kind} ({owner}); end it first,"
                " or choose another directory"
            ) from None
        _held.add(self)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self in _held:
            _held.remove(self)
            os.close(self._descriptor)

    def _take(self, path: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _logger.warning("%s: no file locks here (%s): two masters could both write this run", path, error.strerror)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(self._descriptor, 0)
            _write_all(self._descriptor, f"host {socket.gethostname()}, process {os.getpid()}\n".encode())


_held: set[FileLock] = set()
"""The locks that this process has; not their descriptors, whose numbers others get after a release."""


def _close_inherited_locks() -> None:
    # A lock lasts as long as any copy of its descriptor: a forked child would keep it after its parent was killed.
    for lock in _held:
        os.close(lock._descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


@contextlib.contextmanager
def _descriptor(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _cannot(verb: str, path: Path, error: OSError) -> str:
    return f"{path}: cannot {verb} it: {error.strerror}"
