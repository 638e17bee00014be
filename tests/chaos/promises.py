"""What is raised when gadask does not keep a promise, and how to wait for one to be kept."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable


class BrokenError(Exception):
    """A promise was broken."""


async def until(condition: Callable[[], object], deadline_s: float, what: str) -> None:
    """Return as soon as `condition()`, awaited if it can be, is true; raises `BrokenError` after `deadline_s`."""
    try:
        async with asyncio.timeout(deadline_s):
            while not (await value if inspect.isawaitable(value := condition()) else value):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BrokenError(f"not within {deadline_s:g} s: {what}") from None
