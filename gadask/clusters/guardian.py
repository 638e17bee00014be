"""A guardian: a small process that clears up after a master which has jobs in a queue and could not do so itself.

It waits beside the master and is told when the master has cleared up. If the master goes without a word, killed or with
its notebook's kernel, it cancels the jobs with the master's mark and removes its keys. It has its own session, runs
this file as a script, and imports Dask only when the master is gone. Where it is killed too, the next start does the
same.
"""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gadask.clusters.queue import Queue

_LOOK_S = 2.0
_CANCEL_S, _CANCEL_POLL_S = 300.0, 2.0
_DONE = b"."
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def guarded(queue: Queue, mark: str, key: Path) -> Iterator[None]:
    """Have a mark's jobs cancelled, and the folder of a key cleared of it, if this process ends in the block."""
    kind = type(queue)
    words = [sys.executable, "-P", __file__, kind.__module__, kind.__qualname__, mark, str(key), _digest(key)]
    null = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True) as guardian:
        assert guardian.stdin is not None
        try:
            yield
        finally:
            with suppress(BrokenPipeError):  # somebody killed it
                guardian.stdin.write(_DONE)
                guardian.stdin.flush()


def _guard(module: str, kind: str, mark: str, key: str, digest: str) -> None:
    """Wait for the end of the process that started this one, and clear up after it if it has not."""
    master = os.getppid()
    while not select.select([0], [], [], _LOOK_S)[0] and os.getppid() == master:
        pass  # a child that the master forked may hold the pipe
    if select.select([0], [], [], 0)[0] and os.read(0, 1) == _DONE:
        return
    sys.path.insert(0, str(_ROOT))
    import asyncio
    import importlib

    from gadask.clusters.clearing import cancel_marked
    from gadask.clusters.periods import Periods
    from gadask.clusters.security import remove_keys

    if _digest(Path(key)) == digest:  # and not that of the next start
        remove_keys(Path(key).parent)
    periods = Periods(end_s=_CANCEL_S, end_poll_s=_CANCEL_POLL_S)
    queue: Queue = getattr(importlib.import_module(module), kind)()
    asyncio.run(cancel_marked(queue, [mark], (), periods, in_doubt=True))


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


if __name__ == "__main__":
    _guard(*sys.argv[1:])
