"""Finds the compiled kernels and says what this processor can run of them."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

from gadask.errors import PolicyError

INSTRUCTION_SETS = ("avx512vnni", "avx512", "avx2")
"""Each does all that those after it do; the functions of the library have these suffixes."""

_SOURCES = ("convolutional.c", "vectors.h", "float32.h", "int8.h")


def instruction_set() -> str | None:
    """Return the best that this processor and the library have, one of `INSTRUCTION_SETS`; None without the library."""
    library = load()
    if library is None:
        return None
    library.instruction_set.restype = ctypes.c_char_p
    found: bytes | None = library.instruction_set()
    return found.decode() if found else None


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not compiled; raises `PolicyError` if other sources lie beside it.

    Its structures are laid out as `network.py` says only if it was compiled from these.
    """
    found = importlib.util.find_spec("gadask.policies.kernels._convolutional")
    if found is None or found.origin is None:
        return None
    library = ctypes.CDLL(found.origin)
    for name in _SOURCES:
        source = Path(__file__).with_name(name)
        if source.exists() and source.read_bytes() != _text(library, f"text_of_{name.replace('.', '_')}"):
            raise PolicyError(
                f"{found.origin}: compiled from other sources than {source}; run `make setup`, or install"
                " gadask again, on a machine with GCC"
            )
    return library


def _text(library: ctypes.CDLL, symbol: str) -> bytes:
    try:
        return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, symbol)))
    except ValueError:  # a library of before the texts
        return b""
