"""What a master reports never disturbs its run."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from distributed import Client

from gadask.dashboard.reporter import Reporter


class FakeClient:
    """A client whose scheduler takes an event when it is told to."""

    status = "running"

    def __init__(self) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def log_event(self, topic: str, event: Any) -> None:
        self.asked.set()
        await self.may_answer.wait()


def test_an_interrupt_that_comes_with_the_schedulers_answer_is_not_lost() -> None:
    """As Python 3.11's `wait_for` loses it: a run would go on to its end."""
    client = FakeClient()

    async def run() -> None:
        await Reporter(cast("Client", client)).send({"type": "progress"})
        await asyncio.Event().wait()  # what it would do next

    async def interrupted() -> bool:
        task = asyncio.ensure_future(run())
        await client.asked.wait()
        client.may_answer.set()
        asyncio.get_running_loop().call_soon(task.cancel)  # when the answer is there and nobody has taken it
        await asyncio.wait({task}, timeout=10)
        return task.cancelled()

    assert asyncio.run(interrupted())
