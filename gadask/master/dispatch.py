"""The chunks in flight on the nodes: the master's hands.

`Dispatcher` keeps each node (`nodes.py`) supplied with chunks, of which `pace.py` says how many and how large, and
hands back rows as they arrive. A chunk whose node was lost is played again
elsewhere; it gives the same rows, so nothing else has to be put right.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, groupby

import dask
import numpy as np
from distributed import Client, Future, Scheduler, as_completed
from distributed.client import ClosedClientError
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.errors import ClusterError, NodeError
from gadask.master.ledger import Ledger
from gadask.master.nodes import POLL_S, Nodes, scheduler_errors
from gadask.master.pace import Pace
from gadask.master.starts import Starts
from gadask.messages import Chunk, Kind, Status, Task, pack_brood, pack_chunk
from gadask.node import plugin
from gadask.node.node import LANE_ROUNDS
from gadask.node.plugin import ChunkResult, NodeInfo
from gadask.rows import Rows
from gadask.units import many

_MAX_ERRORS = 5  # of one chunk; lost nodes are not counted
_DRAIN_S = 5.0  # a node that stands still is not waited for


@dataclass(frozen=True)
class Arrival:
    """Rows that arrived together, played on the node with this address."""

    node: str
    rows: Rows
    are_filled: bool = False
    """They were not played: another episode of the same genome and start gave them."""

    def where(self, mask: NDArray[np.bool_]) -> Arrival:
        """Return the arrival of those rows alone."""
        return replace(self, rows=self.rows.where(mask))


@dataclass(frozen=True)
class _InFlight:
    chunk: Chunk
    brood: Brood
    address: str
    n_errors: int


class _Arrivals(as_completed):  # type: ignore[misc]
    """Chunks and what came of them, as they finish; one whose result cannot be fetched arrives too, cancelled.

    Dask's own loses such a future (distributed 2026.8.0), and a generation would wait for it forever.
    """

    def __init__(self, client: Client) -> None:
        """Begin with none."""
        super().__init__(loop=client.loop, with_results=True, raise_errors=False)
        self.unfetched: dict[Future, Exception] = {}
        """Why results did not come."""

    async def _track_future(self, future: Future) -> None:
        try:
            await super()._track_future(future)
        except Exception as error:  # a connection broke, the master's or the scheduler's to the node
            self.unfetched[future] = error
            await future.cancel(reason="unfetched", msg=f"{error}")
            await super()._track_future(future)


class Dispatcher:
    """The nodes that play one task, and what they are playing."""

    def __init__(
        self, client: Client, task: Task, n_processes: int | None, digest: str | None, node_timeout_s: float
    ) -> None:
        """`digest=None` takes the first node's noise table as the run's.

        After `node_timeout_s` without a usable node, or soon if all that are connected are refused, `start` and `play`
        raise `ClusterError`.
        """
        self._client = client
        self.task = replace(task, client_id=client.id)
        self._nodes = Nodes(client, self.task, n_processes, digest, node_timeout_s)
        self._in_flight: dict[Future, _InFlight] = {}
        self._again: list[_InFlight] = []
        self._last_packed: tuple[Brood, bytes] | None = None
        self._arrivals: _Arrivals | None = None
        self._next: asyncio.Future[tuple[Future, object]] | None = None
        self._n_outstanding: Counter[str] = Counter()
        self._pace = Pace(LANE_ROUNDS * task.n_lanes)
        self._watch: asyncio.Task[None] | None = None

    @property
    def cpus(self) -> dict[str, str]:
        """What may round differently, of each node that was ever used, by address."""
        return self._nodes.cpus

    @property
    def nodes(self) -> dict[str, NodeInfo]:
        """Usable nodes by address."""
        return self._nodes.usable

    @property
    def digest(self) -> str | None:
        """Digest of the run's noise table, once it is known."""
        return self._nodes.digest

    @property
    def n_processes(self) -> int:
        """Rollout processes of all nodes."""
        return sum(info.n_processes for info in self.nodes.values())

    async def start(self) -> None:
        """Set up the nodes and wait for the first."""
        await self._nodes.register_plugin()
        self._nodes.begin_waiting()
        self._arrivals = _Arrivals(self._client)
        self._watch = asyncio.create_task(self._watch_nodes())
        await self.any_node()

    def check(self) -> None:
        """Raise `ClusterError` if the scheduler is lost or no node was there for too long."""
        if self._watch is not None and self._watch.done():
            self._watch.result()
        self._nodes.check()

    async def any_node(self, failed: Collection[str] = ()) -> str:
        """Wait for a usable node, and return its address, of one that has not `failed` if there is one.

        Raises as `check` does.
        """
        while True:
            self.check()
            if nodes := self._nodes.playing:
                return min(nodes, key=lambda address: (address in failed, address))
            await self._nodes.wait()

    async def play(self, ledger: Ledger, brood: Brood) -> AsyncIterator[list[Arrival]]:
        """Issue the ledger's chunks until it closes; yields all arrivals, those of earlier generations too.

        About once a second it yields whatever there is, perhaps nothing. What the ledger need not have played arrives
        behind what it comes from.
        """
        starts = ledger.starts
        while not ledger.closed:
            self._fill(ledger, brood)
            if starts is not None and (filled := _filled(starts)):
                yield filled
                continue
            if self._nodes.playing and not self._in_flight and not self._again:
                raise ClusterError(
                    f"generation {brood.generation}: {many(ledger.n_wanted, 'result')} wanted, nothing is left to play"
                    " and some came back unusable; nodes and master may be of different versions"
                )
            arrivals = await self._next_arrivals()
            yield arrivals if starts is None else list(_shared(arrivals, ledger, starts))

    async def close_generation(self, generation: int, kinds: tuple[Kind, ...]) -> None:
        """Stop what is still played of these kinds; the rows come back as `STOPPED`."""
        await self._nodes.close_generation(generation, kinds)

    def take_process_seconds(self) -> float:
        """Return the process time that passed on all nodes since the last call."""
        return self._nodes.take_process_seconds()

    async def close(self) -> None:
        """Take back what is in flight and free what the nodes keep for this task."""
        waiting = [task for task in (self._watch, self._next) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._nodes.close()
        futures = list(self._in_flight)
        self._in_flight.clear()
        if self._client.status == "running":
            # A lost scheduler has lost all this anyway.
            with contextlib.suppress(OSError, TimeoutError, ClosedClientError, ClusterError):
                await self._client.cancel(futures, force=True)
                await asyncio.gather(self._nodes.forget_task(), self._drain())

    async def _drain(self) -> None:
        """Wait a while until Dask has followed all futures to their end.

        A result still being fetched when the client is closed is a traceback in the log.
        """
        if self._arrivals is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    async for _ in self._arrivals:
                        pass

    async def _watch_nodes(self) -> None:
        while True:
            await self._nodes.look()
            await self._take_back_stranded()
            await self._take_back_silent()
            await asyncio.sleep(POLL_S)

    async def _take_back_stranded(self) -> None:
        """Take back chunks whose node went when no other was there.

        Dask gives a lost node's chunks to others, but to one that comes later only if they were meant for it: that they
        may go anywhere is not looked at (distributed 2026.8.0, `bulk_schedule_unrunnable_after_adding_worker`).
        """
        astray = {future.key: future for future, item in self._in_flight.items() if item.address not in self.nodes}
        if not astray or not self.nodes:
            return
        keys = await self._nodes.ask(lambda: self._client.run_on_scheduler(_unrunnable))
        unrunnable = [astray[key] for key in keys if key in astray]
        await self._nodes.ask(lambda: self._client.cancel(unrunnable, force=True))

    async def _take_back_silent(self) -> None:
        """Take back chunks from nodes that stand still, such as suspended ones, as soon as others can play them.

        Dask waits for them until their workers count as lost, which takes minutes.
        """
        playing = self._nodes.playing
        still = self.nodes.keys() - playing.keys()
        if still and playing:
            stuck = [future for future, item in self._in_flight.items() if item.address in still]
            if stuck:
                await self._nodes.ask(lambda: self._client.cancel(stuck, force=True))

    def _fill(self, ledger: Ledger, brood: Brood) -> None:
        """Give every node as many episodes as keep it busy, the emptiest first."""
        if not self._again and not ledger.n_to_issue and not ledger.quota.first:
            return
        depth = self._pace.depth(ledger.n_to_issue)
        nodes = self._nodes.playing
        processes = [info.n_processes for info in nodes.values()]
        n_in_flight = self._n_outstanding.total()
        size = self._pace.chunk_size(ledger.n_to_issue, n_in_flight, processes, first=ledger.quota.first)
        loads = [(self._n_outstanding[address] / info.n_processes, address) for address, info in nodes.items()]
        heapq.heapify(loads)
        items: list[_InFlight] = []
        while loads:
            load, address = loads[0]
            n_processes = nodes[address].n_processes
            if (depth - load) * n_processes < size / 2:
                break
            if self._again:
                item = replace(self._again.pop(), address=address)
            elif (chunk := ledger.take(size)) is not None:
                item = _InFlight(chunk, brood, address, 0)
            else:
                break
            items.append(item)
            heapq.heapreplace(loads, (load + len(item.chunk.episodes) / n_processes, address))
        for _, group in groupby(items, lambda item: id(item.brood)):
            self._submit(list(group))

    def _submit(self, items: list[_InFlight]) -> None:
        """Send chunks of one brood to their nodes, all in one message to the scheduler."""
        assert self._arrivals is not None
        addresses = {
            f"play-{item.chunk.kind.name.lower()}-{self._client.id}-{next(_chunk_numbers)}": item.address
            for item in items
        }
        made_from = self._packed(items[0].brood)
        with scheduler_errors(), dask.annotate(workers=addresses.get, allow_other_workers=True):
            futures = self._client.map(
                plugin.play,
                [pack_chunk(item.chunk) for item in items],
                # No kwargs: of one above 100 kB Dask makes a task by the kwarg's name, which all chunks would share.
                [made_from] * len(items),
                [plugin.identity(self.digest)] * len(items),
                key=list(addresses),
                pure=False,
            )
        for future, item in zip(futures, items, strict=True):
            self._in_flight[future] = item
            self._n_outstanding[item.address] += len(item.chunk.episodes)
        self._arrivals.update(futures)

    def _packed(self, brood: Brood) -> bytes:
        """Return what a brood's chunks carry; packed once, since chunks are issued many times in a generation."""
        if self._last_packed is None or self._last_packed[0] is not brood:
            self._last_packed = brood, pack_brood(self.task, brood)
        return self._last_packed[1]

    async def _next_arrivals(self) -> list[Arrival]:
        """Wait for results, but not for long, so that new nodes get work."""
        assert self._arrivals is not None
        self.check()
        if self._next is None and not self._arrivals.is_empty():
            self._next = asyncio.ensure_future(self._arrivals.__anext__())
        if self._next is None:
            await self._nodes.wait()
            return []
        await asyncio.wait({self._next}, timeout=POLL_S)
        if not self._next.done():
            return []
        finished = [self._next.result(), *self._arrivals.next_batch(block=False)]
        self._next = None
        return [arrival for future, result in finished if (arrival := self._take(future, result)) is not None]

    def _take(self, future: Future, result: object) -> Arrival | None:
        """Return a chunk's rows, or queue it again."""
        assert self._arrivals is not None
        item = self._in_flight.pop(future)
        self._n_outstanding[item.address] -= len(item.chunk.episodes)
        if future.status == "finished" and isinstance(result, ChunkResult):
            self._nodes.note_rows(result.node)
            rows = Rows.unpacked(result.packed)
            self._pace.learn(rows.table["seconds"][rows.table["status"] == Status.OK])
            return Arrival(result.node, rows)
        n_errors = item.n_errors
        error: object = self._arrivals.unfetched.pop(future, None)
        if isinstance(error, OSError):
            error = None  # a connection broke, which is nobody's error
        elif future.status == "error":
            error = result[1] if isinstance(result, tuple) else result
        if error is not None:
            n_errors += 1
            if n_errors >= _MAX_ERRORS:
                raise ClusterError(f"a chunk failed {n_errors} times, last on {item.address}: {error}")
            if isinstance(error, NodeError):
                self._nodes.drop(item.address)
        self._again.append(replace(item, n_errors=n_errors))
        return None


def _shared(arrivals: Iterable[Arrival], ledger: Ledger, starts: Starts) -> Iterator[Arrival]:
    """Yield each arrival, and behind it what is filled from it.

    With `closing = "first"` a spare evaluation that came in the same chunk counts before those: a further start in the
    place of one again. Which it is depends on who arrives when, as always, and not on what an episode gave.
    """
    for arrival in arrivals:
        ledger.give_back(starts.note(arrival.node, arrival.rows))
        yield arrival
        yield from _filled(starts)


def _filled(starts: Starts) -> list[Arrival]:
    """Return the rows that need not be played and that nobody has taken."""
    return [Arrival(node, rows, are_filled=True) for node, rows in starts.take_filled()]


_chunk_numbers = count()


def _unrunnable(dask_scheduler: Scheduler) -> list[str]:
    """Return the keys of tasks for which there is no worker; for `client.run_on_scheduler`."""
    return [task.key for task in dask_scheduler.unrunnable]
