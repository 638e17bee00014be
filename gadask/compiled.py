"""Finds gadask's compiled libraries, and makes sure that they were compiled from the sources that lie there.

Each library exports the text of its sources as `text_of_<file>`, since a structure that C and Python lay out
differently, as after an update without a new installation, would silently corrupt memory; and `instruction_set`, which
says what this processor can run of it.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from gadask.errors import UsageError


def load(module: str, sources: Sequence[Path]) -> ctypes.CDLL | None:
    """Return the library of that name, or None where it was not compiled.

    Raises `UsageError` if it was compiled from others than those of `sources` that exist.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return None
    library = ctypes.CDLL(found.origin)
    for source in sources:
        if source.exists() and source.read_bytes() != _text(library, f"text_of_{source.name.replace('.', '_')}"):
            raise UsageError(
                f"{found.origin}: compiled from other sources than {source}; run `make setup`, or install"
                " gadask again, on a machine with GCC"
            )
    return library


def instruction_set(library: ctypes.CDLL | None) -> str | None:
    """Return the suffix of the library's functions to call on this processor; None if there are none."""
    if library is None:
        return None
    library.instruction_set.restype = ctypes.c_char_p
    found: bytes | None = library.instruction_set()
    return found.decode() if found else None


def _text(library: ctypes.CDLL, symbol: str) -> bytes:
    try:
        return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, symbol)))
    except ValueError:  # a library from before the texts
        return b""
