"""Says what a command is doing while nothing else is to be seen."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_AFTER_S = 1.0


@contextmanager
def saying(what: str, *, in_files: bool = True, after_s: float = _AFTER_S) -> Iterator[None]:
    """Print what the block does if it is not over after a second: on a terminal a line that goes again.

    Output that is kept holds the line too, unless `in_files` is false: bad input is to be answered in one line there.
    """
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    lock = threading.Lock()
    is_over = is_shown = False

    def show() -> None:
        nonlocal is_shown
        with lock:
            if not is_over:
                is_shown = True
                print(f"{what} …", end="" if is_terminal else "\n", flush=True)

    timer = threading.Timer(after_s, show)
    timer.daemon = True
    if is_terminal or in_files:
        timer.start()
    try:
        yield
    finally:
        with lock:
            is_over = True
        timer.cancel()
        if is_shown and is_terminal:
            print("\r\x1b[2K", end="", flush=True)
