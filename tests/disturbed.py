"""A dispatcher whose nodes are made up: what an episode comes to follows from the episode, when it arrives from chance.

Rows arrive shuffled, some of them twice; some episodes fail. With `closing = "first"` children are late, and some of
those of the generation before arrive in the middle of the next.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from gadask.algorithms.algorithm import Brood, moving
from gadask.genomes.genome import to_text
from gadask.master.dispatch import Arrival
from gadask.master.generation import Settled
from gadask.master.ledger import Ledger
from gadask.messages import Chunk, Status, Task
from gadask.node.plugin import NodeInfo
from gadask.rows import BEHAVIOUR, ROW, Rows

_RETURNS = 7  # so few that there are ties
_FAILS_ONE_IN = 11


class DisturbedDispatcher:
    """What `GenerationPlayer` asks of a `Dispatcher`."""

    n_processes = 1
    nodes: dict[str, NodeInfo]
    cpus: dict[str, str]

    def __init__(self, seed: int, *, disturbed: bool, n_behaviour: int = 0) -> None:
        """Deliver in order and once, or disturbed in a way that follows from `seed`; behaviours of so many entries."""
        self.nodes, self.cpus = {}, {}
        self._draw = random.Random(seed)
        self._disturbed = disturbed
        self._n_behaviour = n_behaviour
        self._on_their_way: list[Rows] = []

    def take_process_seconds(self) -> float:
        """Return the time that passed: none."""
        return 0.0

    async def close_generation(self, generation: int, kinds: tuple[Any, ...]) -> None:
        """Let late episodes end by themselves."""

    async def play(self, ledger: Ledger, brood: Brood) -> AsyncIterator[list[Arrival]]:
        """Play what the ledger issues, a few chunks at a time."""
        while not ledger.closed:
            for _ in range(4 if self._disturbed else 1):
                if chunk := ledger.take(3):
                    self._on_their_way += _split(played(chunk, self._n_behaviour))
            yield [Arrival("node", rows) for rows in self._arriving()]

    def _arriving(self) -> list[Rows]:
        if not self._disturbed:
            arriving, self._on_their_way = self._on_their_way, []
            return arriving
        self._draw.shuffle(self._on_their_way)
        n = max(1, len(self._on_their_way) // 2)
        arriving, self._on_their_way = self._on_their_way[:n], self._on_their_way[n:]
        return arriving + [rows for rows in arriving if self._draw.random() < 0.3]


def played(chunk: Chunk, n_behaviour: int = 0) -> Rows:
    """Return what a chunk's episodes come to."""
    table = np.zeros(len(chunk.episodes), ROW)
    table["generation"], table["kind"] = chunk.generation, chunk.kind
    table["slot"], table["episode"] = np.array(chunk.episodes).T
    behaviours: dict[int, bytes] = {}
    for place, row in enumerate(table):
        draw = random.Random(str((chunk.generation, int(chunk.kind), int(row["slot"]), int(row["episode"]))))
        row["return"], row["steps"] = draw.randrange(_RETURNS), draw.randrange(1, 9)
        row["status"] = Status.ERROR if draw.randrange(_FAILS_ONE_IN) == 0 else Status.OK
        if n_behaviour and row["status"] == Status.OK:
            behaviours[place] = np.array([draw.random() for _ in range(n_behaviour)], "<f4").tobytes()
    return Rows(table, {BEHAVIOUR: behaviours} if n_behaviour else {})


def _split(rows: Rows) -> list[Rows]:
    return [rows.where(np.arange(len(rows)) == place) for place in range(len(rows))]


class SilentReporter:
    """What `GenerationPlayer` asks of a `Reporter`."""

    async def send(self, event: object) -> None:
        """Tell nobody."""

    async def send_progress(self, make_event: object) -> None:
        """Tell nobody."""


def settled_by(task: Task) -> Settled:
    """Return what gives a moving algorithm its anchors: numbers that nobody computes, named as they would be."""

    async def settled(brood: Brood, state: Any) -> Any:
        moves = moving(task.algorithm)
        genome = None if moves is None else moves.due(state)
        if moves is None or genome is None:
            return state
        return moves.anchored(state, hashlib.sha256(to_text(genome).encode()).hexdigest()[:32])

    return settled
