"""Anchors come from any node that can give one; nodes here are made up, real ones die in `test_openai_es`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gadask.algorithms.algorithm import Brood
from gadask.config import NoiseConfig, config_from_dict
from gadask.errors import ClusterError, NodeError
from gadask.master.anchoring import Anchoring
from gadask.master.dispatch import Dispatcher
from gadask.node.plugin import NodeInfo
from tests.generations import task_of

CONFIG = config_from_dict(
    {"algorithm": {"kind": "openai-es"}, "generation": {"candidates": 1}, "noise": {"size": 1000}}
)
CONTENT = np.arange(30, dtype=np.float32)


class MadeUpClient:
    """A Dask client whose nodes answer as they are told to."""

    id = "client"

    def __init__(self, answers: dict[str, list[Exception | bytes]]) -> None:
        """`answers` of each node, in order; the last one for ever."""
        self.asked: list[str] = []
        self._answers = answers

    def submit(self, *args: object, workers: list[str], **kwargs: object) -> Any:
        """Ask a node."""
        (address,) = workers
        self.asked.append(address)
        answers = self._answers[address]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]

        async def result() -> bytes:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return SimpleNamespace(result=result)

    async def cancel(self, futures: list[object], force: bool) -> None:
        """Give up what was asked for."""


def fetched(answers: dict[str, list[Exception | bytes]], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """Return the vectors that nodes gave, or what was raised, and which nodes were asked."""
    monkeypatch.setattr("gadask.master.anchoring.POLL_S", 0.01)
    client: Any = MadeUpClient(answers)

    async def fetch() -> Any:
        dispatcher = Dispatcher(client, task_of(CONFIG), 1, "digest", 60)
        info: Callable[[str], NodeInfo] = lambda a: NodeInfo(a, "host", "cpu", 1, NoiseConfig(), "digest", 0)  # noqa: E731
        dispatcher._nodes.usable.update({address: info(address) for address in answers})
        directory: Any = SimpleNamespace(path=Path())
        return await Anchoring(client, dispatcher, directory).vectors(Brood(0, ((5,),)), (5,))

    try:
        return asyncio.run(fetch()), client.asked
    except ClusterError as error:
        return error, client.asked


def test_a_node_that_fails_is_not_asked_again_while_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, list[Exception | bytes]] = {"a": [NodeError("no disk")], "b": [CONTENT.tobytes()]}
    vectors, asked = fetched(answers, monkeypatch)
    assert vectors.shape == (3, 10)
    assert vectors.ravel().tolist() == CONTENT.tolist()
    assert asked == ["a", "b"]


def test_a_connection_that_breaks_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, list[Exception | bytes]] = {"a": [*(OSError("cut") for _ in range(9)), CONTENT.tobytes()]}
    vectors, asked = fetched(answers, monkeypatch)
    assert vectors.ravel().tolist() == CONTENT.tolist()
    assert asked == ["a"] * 10


def test_nodes_that_all_fail_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, list[Exception | bytes]] = {"a": [NodeError("no disk")], "b": [NodeError("no run directory")]}
    error, asked = fetched(answers, monkeypatch)
    assert "an anchor could not be made in 5 tries, last on" in str(error)
    assert {*asked} == {"a", "b"}
    assert len(asked) == 5
