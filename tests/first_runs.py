"""Runs that close at the first results, and their first node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from distributed import Client

from gadask.config import Config
from gadask.master.nodes import Nodes
from gadask.master.task import prepare_task
from tests.conftest import faulty_config

DEADLINE_S = 170.0


def first_config(late: str = "drop", generations: int = 1000, fault: str = "none", **kwargs: object) -> Config:
    """Return a run whose generations close at the first results."""
    config = faulty_config(fault, **kwargs)  # type: ignore[arg-type]
    generation = replace(config.generation, closing="first", late=late, candidates=0)  # type: ignore[arg-type]
    return replace(config, generation=generation, budget=replace(config.budget, generations=generations))


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Return as soon as the condition is true."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_S} s: {what}")


async def first_node(client: Client) -> tuple[Nodes, str]:
    """Set up nodes; returns them with the address of the first that is ready."""
    nodes = Nodes(client, prepare_task(first_config()), 1, None, node_timeout_s=60)
    await nodes.register_plugin()

    async def is_usable() -> bool:
        await nodes.look()
        return bool(nodes.usable)

    await until(is_usable, "a node")
    return nodes, next(iter(nodes.usable))
