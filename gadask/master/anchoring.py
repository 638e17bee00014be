"""What moving algorithms need of the run directory: the content of their updates, and of their anchors.

Nodes read it there, so it is written before a genome with it is played. An anchor's numbers come from a node; any will
do, since all have the same bits, and one that is lost, or fails, is replaced by another.
"""

from __future__ import annotations

import asyncio
import contextlib
from itertools import chain, count
from typing import Any

import numpy as np
from distributed import Client, Future
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, moving
from gadask.errors import ClusterError, GenomeError, RecordError
from gadask.genomes.anchors import anchor_content, anchor_digest, read_vectors
from gadask.genomes.genome import Genome, is_update, stored_parts, to_text
from gadask.genomes.stored import stored_path
from gadask.genomes.updates import read_update
from gadask.master.dispatch import Dispatcher
from gadask.master.nodes import POLL_S
from gadask.messages import Task, pack_brood
from gadask.node import plugin
from gadask.record.directory import RunDirectory, State
from gadask.threads import in_thread

_MAX_ERRORS = 5  # of the nodes; lost ones are not counted
_numbers = count()


def check_stored(task: Task, directory: RunDirectory, state: State) -> None:
    """Make sure that a run that goes on has what its genomes name, before any node is asked for.

    Raises `RecordError` where an anchor or an update is missing or damaged. The last update is in the checkpoint too.
    """
    if not state.algorithm:
        return
    before = task.algorithm.from_json(state.algorithm)
    if (moves := moving(task.algorithm)) is not None:
        for update in moves.updates(before):
            directory.store(update.name, update.content())
    elite = [state.elite.genome] if state.elite is not None else []
    for part in dict.fromkeys(chain.from_iterable(map(stored_parts, (*task.algorithm.bases(before), *elite)))):
        path = stored_path(directory.path, part)
        try:
            if is_update(part):
                read_update(path.parent, part)
            else:
                read_vectors(path.parent, part, task.n_params, task.n_vectors)
        except GenomeError as error:
            raise RecordError(f"{error}; restore it from a copy") from None


class Anchoring:
    """Keeps a run directory supplied with what genomes name."""

    def __init__(self, client: Client, dispatcher: Dispatcher, directory: RunDirectory) -> None:
        """Ask the dispatcher's nodes."""
        self._client = client
        self._task = dispatcher.task
        self._dispatcher = dispatcher
        self._directory = directory

    async def settled(self, brood: Brood, state: Any) -> Any:
        """Return the state that followed from `brood`, with a new anchor where one is due.

        Raises `RecordError` if the directory cannot be written, and as `vectors` does.
        """
        moves = moving(self._task.algorithm)
        if moves is None:
            return state
        for update in moves.updates(state):
            await self._store(update.name, update.content())
        genome = moves.due(state)
        if genome is None:
            return state
        vectors = await self.vectors(brood, genome)
        digest = anchor_digest(vectors)
        await self._store(digest, anchor_content(vectors))
        return moves.anchored(state, digest)

    async def _store(self, part: str, content: bytes) -> None:
        await in_thread(lambda: self._directory.store(part, content))

    async def vectors(self, brood: Brood, genome: Genome) -> NDArray[np.float32]:
        """Return a genome's vectors, shape `(1 + n_vectors, n_params)`.

        Raises `ClusterError` if there is no node for too long, or nodes fail again and again.
        """
        n_errors = 0
        failed: set[str] = set()
        while True:
            address = await self._dispatcher.any_node(failed)
            future = self._client.submit(
                plugin.vectors,
                pack_brood(self._task, brood),
                to_text(genome),
                plugin.identity(self._dispatcher.digest),
                key=f"vectors-{self._client.id}-{next(_numbers)}",
                workers=[address],
                pure=False,
            )
            try:
                content = await self._result(future, address)
            except Exception as error:  # what the node raised, or a broken connection
                if isinstance(error, ClusterError):
                    raise
                if not isinstance(error, OSError):  # a broken connection is nobody's error
                    n_errors += 1
                    failed.add(address)
                if n_errors >= _MAX_ERRORS:
                    tries = f"{n_errors} tries, last on {address}"
                    raise ClusterError(f"an anchor could not be made in {tries}: {error}") from None
                await asyncio.sleep(POLL_S)
                continue
            finally:
                with contextlib.suppress(Exception):  # of a connection that is lost, as the next question will say
                    await self._client.cancel([future], force=True)
            if content is not None:
                return np.frombuffer(content, np.float32).reshape(-1, self._task.n_params)

    async def _result(self, future: Future, address: str) -> bytes | None:
        """Return what came of it; None where its node was lost."""
        result = asyncio.ensure_future(future.result())
        try:
            while not result.done():
                await asyncio.wait({result}, timeout=POLL_S)
                self._dispatcher.check()
                if address not in self._dispatcher.nodes:
                    return None
            content: bytes = result.result()
            return content
        finally:
            result.cancel()
