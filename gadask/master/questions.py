"""What a master asks nodes and the scheduler: functions that travel pickled by value.

So they need no gadask where they arrive: a node that has another version, or none, answers with that.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Coroutine
from typing import Any

from distributed import Scheduler, Worker
from distributed.protocol.pickle import dumps

from gadask.errors import NodeError
from gadask.node import plugin
from gadask.node.plugin import NodeInfo


def message(question: Callable[..., Any], *args: object) -> dict[str, Any]:
    """Return the message that asks a worker's node, of this gadask, a question of `gadask.node.plugin`."""
    return {
        "op": "run",
        "function": dumps(_answerer()),
        "args": dumps((plugin.CODE, dumps((question, *args)))),
        "kwargs": dumps({}),
        "wait": True,
    }


def understood(answer: bytes) -> NodeInfo | NodeError | None:
    """Return what a node answers; a `NodeError` of one that has another gadask, which is not asked."""
    code, host, answered = pickle.loads(answer)
    if code == plugin.CODE:
        return pickle.loads(answered)  # type: ignore[no-any-return]
    return NodeError(
        f"its gadask, on {host}, is {code}, the run's is {plugin.CODE}; install the same on all nodes and start them"
        " again, or, where the run began before gadask was changed, end it with Ctrl-C and go on with --resume"
    )


def asker() -> Callable[..., Coroutine[Any, Any, dict[str, bytes | None]]]:
    """Return a function for `client.run_on_scheduler`: an inner one, pickled by value, needs no gadask there.

    `Client.run` gives no answer before it has all, and one that is given up leaves its questions running (distributed
    2026.8.0, `Scheduler.broadcast`).
    """

    async def ask(
        message: dict[str, Any], addresses: list[str], deadline_s: float, dask_scheduler: Scheduler
    ) -> dict[str, bytes | None]:
        import asyncio

        from distributed.core import send_recv
        from distributed.protocol import deserialize

        async def exchange(address: str) -> Any:
            comm = await dask_scheduler.rpc.connect(address)
            try:
                return await send_recv(comm, close=True, **message)
            finally:
                dask_scheduler.rpc.reuse(address, comm)

        async def ask_one(address: str) -> bytes | None:
            try:
                async with asyncio.timeout(deadline_s):
                    reply = await exchange(address)
                result = reply["result"]
                return result if isinstance(result, bytes) else deserialize(result.header, result.frames)
            except TimeoutError:
                return None
            except Exception:  # it has gone, or has no gadask
                return b""

        return dict(zip(addresses, await asyncio.gather(*map(ask_one, addresses)), strict=True))

    return ask


def _answerer() -> Callable[..., bytes]:
    """Return a function that asks a worker's node a question, if it has this gadask; pickled by value, too.

    It answers with the worker's gadask, its host, and what the node answers, pickled, if that can be understood.
    """

    def answer_if_alike(code: str, asked: bytes, dask_worker: Worker) -> bytes:
        import importlib
        import importlib.metadata
        import importlib.util
        import pickle
        import socket

        answered = b""
        try:
            from gadask.node import plugin

            own_code = plugin.CODE
        except (ImportError, AttributeError):  # one from before that name, or none
            if importlib.util.find_spec("gadask") is None:
                raise
            try:
                own_code = getattr(importlib.import_module("gadask.node"), "CODE", "")
            except ImportError:
                own_code = ""
            try:
                own_code = own_code or importlib.metadata.version("gadask")
            except importlib.metadata.PackageNotFoundError:
                own_code = "of no version"
        if own_code == code:
            question, *args = pickle.loads(asked)
            answered = plugin.answer(question, *args, dask_worker=dask_worker)
        return pickle.dumps((own_code, socket.gethostname(), answered))

    return answer_if_alike


def lister() -> Callable[..., list[str]]:
    """Return a function for `client.run_on_scheduler`, which tells the clients that are connected."""

    def list_clients(dask_scheduler: Scheduler) -> list[str]:
        return list(dask_scheduler.clients)

    return list_clients
