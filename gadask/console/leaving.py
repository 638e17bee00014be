"""How a command ends: asked once it stops in order, asked again it ends at once, and no thread keeps it.

`stop_on_signals` is for the time in which there is something to save, `leave` for after it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

INTERRUPTED = 130

_SAME_PRESS_S = 0.3
"""Some launchers pass on a signal that the terminal has sent to the whole group: that is one wish, not two."""

_PATIENCE_S = 3.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@asynccontextmanager
async def stop_on_signals(left: str) -> AsyncIterator[None]:
    """Cancel the task that enters this at the first SIGINT, SIGTERM or SIGHUP.

    SIGINT or SIGTERM once more, at any time until the process has ended, ends it at once with status 130; `left` says
    then what may not have been put in order. SIGHUP means that the terminal is gone: it is no second wish, and under
    nohup none at all.
    """
    this, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert this is not None
    first_at: float | None = None

    def take(number: int, frame: object) -> None:
        nonlocal first_at
        now = time.monotonic()
        if first_at is None:
            first_at = now
            with contextlib.suppress(RuntimeError):  # the loop has ended, and so will the command
                loop.call_soon_threadsafe(this.cancel)
        elif number != signal.SIGHUP and now - first_at > _SAME_PRESS_S:
            _end_at_once(left)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, take)
    with _woken_by_signals(loop):
        yield


@contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have `loop` wake at every signal.

    Python calls a handler in the main thread between two of its instructions. A signal that comes just before the loop
    begins to wait, or that the system hands to another thread, does not interrupt the wait: it would be taken only
    when something else ends it.
    """
    reads, writes = socket.socketpair()
    with reads, writes:
        reads.setblocking(False)
        writes.setblocking(False)
        loop.add_reader(reads, reads.recv, 4096)
        before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reads)


def _end_at_once(left: str) -> NoReturn:
    """End this process and those that it has started, without waiting for anything."""
    for child in multiprocessing.active_children():  # nodes on this machine; what is below them ends by itself
        child.kill()
    # No print: the signal may have come in the middle of one, whose stream is locked.
    with contextlib.suppress(OSError):
        os.write(2, f"\nended at once: {left}\n".encode())
    os._exit(INTERRUPTED)


def leave(status: int) -> NoReturn:
    """End this process with `status`; threads that others left running are given three seconds.

    Signals are ignored from here on: one that came while the interpreter ends would replace the status.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for seconds, action in ((_PATIENCE_S, _leave_threads_behind), (2 * _PATIENCE_S, os._exit)):
        timer = threading.Timer(seconds, action, (status,))
        timer.daemon = True
        timer.start()
    sys.exit(status)


def _leave_threads_behind(status: int) -> None:
    """End the process though threads of it have not: with the exit handlers that would have been called after them."""
    names = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    with contextlib.suppress(Exception):
        print(f"warning: left behind, since they do not end: {', '.join(names) or 'exit handlers'}", file=sys.stderr)
        if names:
            atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
