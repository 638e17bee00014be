"""A cluster's folder, and the keys in it: a self-signed certificate that is its own authority.

Only their owner can read the files, and only one master at a time uses the folder.
Whoever holds the key may join the cluster and run code as its owner; nobody else may. Nodes read the files from a
shared file system, so the key is as safe as that. It lasts as long as the cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distributed.security import Security

from gadask.errors import ClusterError
from gadask.record.files import FileLock

_LOCK = ".lock"
_CERTIFICATE, _KEY = "certificate.pem", "key.pem"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other masters out of `folder`, made where it is missing, while the block runs.

    Raises `RunDirectoryError` if one has it; `ClusterError` as `temporary_keys` does.
    """
    _make_private(folder)
    lock = FileLock(folder / _LOCK, "cluster folder")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def temporary_keys(folder: Path) -> Iterator[Security]:
    """Yield TLS settings with fresh keys in `folder`, which is closed to others; removes the keys at the end.

    Raises `ClusterError` if the folder is somebody else's or cannot be written.
    """
    _make_private(folder)
    made = Security.temporary()
    files = {folder / _CERTIFICATE: made.tls_ca_file, folder / _KEY: made.tls_client_key}
    try:
        try:
            for path, text in files.items():
                path.unlink(missing_ok=True)  # of a master that was killed
                with open(path, "x", opener=_private) as file:
                    file.write(text)
        except OSError as error:
            raise _not_written(error) from None
        yield load_keys(folder)
    finally:
        remove_keys(folder)


def remove_keys(folder: Path) -> None:
    """Remove the keys in `folder`, where there are any, as far as the system lets us."""
    for name in (_CERTIFICATE, _KEY):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def load_keys(folder: Path, written: Callable[[str], str] = str) -> Security:
    """Return TLS settings for every role with the keys that `temporary_keys` wrote to `folder`.

    `written` says how a path is written, as for a shell.
    """
    certificate, key = written(str(folder / _CERTIFICATE)), written(str(folder / _KEY))
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_client_cert=certificate,
        tls_client_key=key,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
    )


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise ClusterError(f"{folder}: expected a folder of yours for the cluster's keys, found somebody else's")
        folder.chmod(0o700)
    except OSError as error:
        raise _not_written(error) from None


def _not_written(error: OSError) -> ClusterError:
    return ClusterError(f"cannot write the cluster's keys: {error}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
