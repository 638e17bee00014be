"""Sends a master's events to the scheduler, without ever disturbing the run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from distributed import Client

from gadask.dashboard.events import TOPIC, Event

_PROGRESS_EVERY_S = 1.0
_TIMEOUT_S = 5.0


class Reporter:
    """One master's voice."""

    def __init__(self, client: Client) -> None:
        """Report through an asynchronous client."""
        self._client = client
        self._progress_at = 0.0

    async def send(self, event: Event) -> None:
        """Report an event; one that cannot be sent in some seconds is dropped."""
        if self._client.status == "running":
            with contextlib.suppress(OSError, TimeoutError):  # a lost scheduler is for others to notice
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._client.log_event(TOPIC, event)

    async def send_progress(self, make: Callable[[], Event]) -> None:
        """Report where the run stands, at most once a second."""
        now_s = time.monotonic()
        if now_s - self._progress_at >= _PROGRESS_EVERY_S:
            self._progress_at = now_s
            await self.send(make())
