"""Work in a thread: the loop goes on, and an interrupt waits for what is half done."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gadask.threads import in_thread


def test_the_loop_goes_on_meanwhile() -> None:
    async def main() -> str:
        going_on = threading.Event()
        asyncio.get_running_loop().call_soon(going_on.set)
        return await in_thread(lambda: "done" if going_on.wait(30) else "the loop stood still")

    assert asyncio.run(main()) == "done"


def test_what_the_work_raises_comes_out() -> None:
    async def main() -> None:
        await in_thread(lambda: dict[str, int]()["nothing"])

    with pytest.raises(KeyError, match="nothing"):
        asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_a_caller_that_is_cancelled_waits_for_the_end(fails: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[bool] = []
    got: list[str] = []

    def work() -> str:
        begun.set()
        assert go_on.wait(30)
        done.append(True)
        if fails:
            raise OSError("the disk is full")
        return "result"

    async def call() -> None:
        got.append(await in_thread(work))
        await asyncio.sleep(0)
        got.append("not cancelled")

    async def main() -> None:
        caller = asyncio.create_task(call())
        await asyncio.to_thread(begun.wait, 30)
        caller.cancel()
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert done

    asyncio.run(main())
    assert got == ([] if fails else ["result"])


def test_a_deadline_counts_a_request_once() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(30)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):  # noqa: PT012
            async with asyncio.timeout(None) as deadline:
                loop.run_in_executor(None, begun.wait, 30).add_done_callback(lambda _: deadline.reschedule(loop.time()))
                loop.call_later(0.2, go_on.set)
                await in_thread(work)
                await asyncio.sleep(30)

    asyncio.run(main())
