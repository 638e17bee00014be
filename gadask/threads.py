"""Work in a thread, so that the event loop, which may serve a Dask scheduler too, does not wait for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns, or raise what it raises.

    A caller that is cancelled goes on only when it has ended: what is half written when a run is interrupted is written
    whole, and by then the run directory is still locked.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # or asyncio would say that nobody asked
        raise
