"""The compiled kernels and what this processor can run of them."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from gadask import compiled

INSTRUCTION_SETS = ("avx512vnni", "avx512", "avx2", "neon_dotprod", "neon")
"""Suffixes of the functions, x86-64's before ARM's: a processor that has one also has its architecture's after it."""

_SOURCES = ("convolutional.c", "x86.h", "neon.h", "image.h", "vectors.h", "float32.h", "int8.h")


def instruction_set() -> str | None:
    """Return the best that this processor and the library have, one of `INSTRUCTION_SETS`; None without the library."""
    return compiled.instruction_set(load())


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not compiled; raises `UsageError` if other sources lie beside it."""
    sources = [Path(__file__).with_name(name) for name in _SOURCES]
    return compiled.load("gadask.policies.kernels._convolutional", sources)
