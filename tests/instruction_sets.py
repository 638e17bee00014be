"""Which functions of a compiled library can be tested here."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from gadask import compiled


def runnable(library: ctypes.CDLL | None, names: Sequence[str], function: str) -> list[str]:
    """Return those of `names`, a module's `INSTRUCTION_SETS`, that this processor can run, the best first.

    The library has `function` with each as its suffix. Without a library, or on an older processor, there are none.
    """
    best = compiled.instruction_set(library)
    if best is None:
        return []
    return [name for name in names[names.index(best) :] if hasattr(library, f"{function}_{name}")]
