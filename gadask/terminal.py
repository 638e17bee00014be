"""Standard output and standard error that never end a run, whatever they lead to and whatever is printed.

A terminal or pipe that was closed, a full disk, a descriptor that is missing: what cannot be written goes nowhere. A
character that the encoding does not have is written in a plain form. Into a file, such as a job's log, lines go one by
one, so that errors stand where they happened.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PLAIN = {"×": "x", "±": "+-", "…": "...", "–": "-", "—": "-", "−": "-", "≥": ">=", "≤": "<=", "·": ".", "→": "->"}
_ERRORS = "gadask-plain"


def outlive_terminal() -> None:
    """From now on no print raises, whatever standard output and standard error lead to."""
    _fill_descriptors()
    codecs.register_error(_ERRORS, _in_plain)
    sys.stdout, sys.stderr = _outliving(sys.stdout, 1), _outliving(sys.stderr, 2)


def _fill_descriptors() -> None:
    """Open `/dev/null` where standard input, output or error is closed: the next file would get its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _outliving(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream that takes the place of `stream`; a notebook's or a test's stays as it is."""
    if stream is None:  # its descriptor was closed when Python started
        encoding = "utf-8"
    elif isinstance(stream, io.TextIOWrapper):
        try:
            descriptor = stream.fileno()
            stream.flush()
        except io.UnsupportedOperation:
            return stream
        except OSError:
            pass
        encoding = stream.encoding
    else:
        return stream
    raw = io.BufferedWriter(_Patient(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=encoding, errors=_ERRORS, line_buffering=True)


class _Patient(io.FileIO):
    """A descriptor that takes everything; what cannot be written is dropped."""

    def write(self, data: ReadableBuffer, /) -> int:
        size_bytes = memoryview(data).nbytes
        try:
            while (written := super().write(data)) is None:  # another program has made it non-blocking
                select.select([], [self], [])
        except OSError:
            return size_bytes
        return written


def _in_plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for the characters that cannot be encoded; the bytes of a file's name are as they were."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in text):
        return text.encode("utf-8", "surrogateescape"), error.end
    plain = "".join(_PLAIN.get(character, "?") for character in text)
    return plain, error.end
