"""Work in a thread, so that the event loop, which may serve a Dask scheduler too, does not wait for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns, or raise what it raises.

    A caller that is cancelled meanwhile gets the result too, and is cancelled where it next gives way to the loop: what
    is half written when a run is interrupted is written whole, and whoever follows the run hears of it.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        if working.cancelled() or working.exception() is not None:
            raise
        caller = asyncio.current_task()
        assert caller is not None
        caller.uncancel()  # or the same request would count twice
        caller.cancel()
        return working.result()
