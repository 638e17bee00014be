"""Finds the compiled kernels and says what this processor can run of them."""

from __future__ import annotations

import ctypes
import functools
import importlib.util

INSTRUCTION_SETS = ("avx512vnni", "avx512", "avx2")
"""Each does all that those after it do; the functions of the library have these suffixes."""


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
    """Return the library, or None where it was not compiled."""
    found = importlib.util.find_spec("gadask.policies.kernels._convolutional")
    return None if found is None or found.origin is None else ctypes.CDLL(found.origin)
