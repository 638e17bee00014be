"""Standard output that outlives its reader, and whose lines stand in a file in the order in which they came."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def outlive_terminal() -> None:
    """From now on, what is printed to a terminal or a pipe that was closed goes nowhere, instead of ending the run.

    Into a file, such as a job's log, lines are written one by one, so that errors stand where they happened.
    """
    sys.stdout, sys.stderr = _outliving(sys.stdout), _outliving(sys.stderr)


def _outliving(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's
        return stream
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:  # a test's, in memory
        return stream
    if not stream.isatty() and not stat.S_ISFIFO(mode) and not stat.S_ISSOCK(mode):
        stream.reconfigure(line_buffering=True)
        return stream
    stream.flush()
    raw = _Reader(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True)


class _Reader(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            return memoryview(data).nbytes
