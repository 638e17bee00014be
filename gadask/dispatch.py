"""Nodes and the chunks in flight on them: the master's hands.

`Dispatcher` finds the nodes of a Dask cluster, refuses those whose noise table differs, keeps each supplied with chunks
(`pace.py` says how many and how large), and hands back rows as they arrive. A chunk whose node was lost is played again
elsewhere; it gives the same rows, so nothing else has to be put right.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import TypeVar

import dask
import numpy as np
from distributed import Client, Future, Scheduler, as_completed
from distributed.client import ClosedClientError
from numpy.typing import NDArray

from gadask import node
from gadask.errors import ClusterError, NodeError
from gadask.ledger import Ledger
from gadask.messages import Breeding, Chunk, Kind, Status, Task, pack_breeding, pack_chunk, unpack_rows
from gadask.node import ChunkResult, NodeInfo, NodePlugin
from gadask.pace import Pace

_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")

_MAX_ERRORS = 5  # of one chunk; lost nodes are not counted
_POLL_S = 1.0
_SCHEDULER_TIMEOUT_S = 100.0  # longer than a connection survives a cut; a lost scheduler breaks it at once
_ALL_REFUSED_S = 20.0  # others may be about to connect
_DRAIN_S = 5.0  # a node that stands still is not waited for
_RECONNECT_S = 8.0  # Dask's client tries for 30 s; a scheduler on a busy machine takes it back within a few


@dataclass(frozen=True)
class Arrival:
    """Rows that arrived together: dtype `ROW`, played on `node`; `reasons` says what went wrong, by place.

    `moments` holds those of observed episodes, by place; see `observations`.
    """

    node: str
    rows: NDArray[np.void]
    reasons: dict[int, str]
    moments: dict[int, bytes]

    def where(self, mask: NDArray[np.bool_]) -> Arrival:
        """Return the arrival of those rows alone."""
        places = np.flatnonzero(mask).tolist()
        reasons = {i: self.reasons[place] for i, place in enumerate(places) if place in self.reasons}
        moments = {i: self.moments[place] for i, place in enumerate(places) if place in self.moments}
        return Arrival(self.node, self.rows[mask], reasons, moments)


@dataclass(frozen=True)
class _InFlight:
    chunk: Chunk
    breeding: Breeding
    address: str
    n_errors: int


class Dispatcher:
    """The nodes that play one task, and what they are playing."""

    def __init__(
        self, client: Client, task: Task, n_processes: int | None, digest: str | None, node_timeout_s: float
    ) -> None:
        """`digest=None` takes the first node's noise table as the run's.

        After `node_timeout_s` without a usable node, or soon if all that are connected are refused, `start` and `play`
        raise `ClusterError`.
        """
        self.nodes: dict[str, NodeInfo] = {}
        """Usable nodes by address."""
        self.refused: dict[str, str] = {}
        """Why a node is not used, by address."""
        self.digest = digest
        self._client = client
        self._task = task
        self._n_processes = n_processes
        self._in_flight: dict[Future, _InFlight] = {}
        self._again: list[_InFlight] = []
        self._last_packed: tuple[Breeding, bytes] | None = None
        self._arrivals: as_completed | None = None
        self._next: asyncio.Future[tuple[Future, object]] | None = None
        self._n_outstanding: Counter[str] = Counter()
        self._pace = Pace(node.LANE_ROUNDS * task.n_lanes)
        self._process_s = 0.0
        self._counted_at = time.monotonic()
        self._node_timeout_s = node_timeout_s
        self._connected_at = time.monotonic()
        self._last_node_at = time.monotonic()
        self._watch: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._cpus: set[str] = set()
        self._told_cpus = False

    @property
    def n_processes(self) -> int:
        """Rollout processes of all nodes."""
        return sum(info.n_processes for info in self.nodes.values())

    async def start(self) -> None:
        """Set up the nodes and wait for the first."""
        await self._register_plugin()
        self._arrivals = as_completed(loop=self._client.loop, with_results=True, raise_errors=False)
        self._watch = asyncio.create_task(self._watch_nodes())
        self._last_node_at = time.monotonic()
        while not self.nodes:
            await self._wait_for_nodes()

    async def play(self, ledger: Ledger, breeding: Breeding) -> AsyncIterator[list[Arrival]]:
        """Issue the ledger's chunks until it closes; yields all arrivals, those of earlier generations too.

        About once a second it yields whatever there is, perhaps nothing.
        """
        while not ledger.closed:
            self._fill(ledger, breeding)
            if self.nodes and not self._in_flight and not self._again:
                raise ClusterError(
                    f"generation {breeding.generation}: {ledger.n_wanted} results were wanted, nothing is left to play"
                    " and some came back unusable; nodes and master may be of different versions"
                )
            yield await self._next_arrivals()

    async def close_generation(self, generation: int, kinds: tuple[Kind, ...]) -> None:
        """Stop what is still played of these kinds; the rows come back as `STOPPED`."""
        for kind in kinds:
            stopping = self._client.run(
                node.close_generation, self._task, kind, generation, workers=list(self.nodes), on_error="ignore"
            )
            with _scheduler_errors():
                await self._ask(stopping)

    def take_process_seconds(self) -> float:
        """Return the process time that passed on all nodes since the last call."""
        self._tally()
        seconds, self._process_s = self._process_s, 0.0
        return seconds

    async def close(self) -> None:
        """Take back what is in flight and free what the nodes keep for this task."""
        waiting = [task for task in (self._watch, self._next) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        futures = list(self._in_flight)
        self._in_flight.clear()
        if self._client.status == "running":
            # A lost scheduler has lost all this anyway.
            with contextlib.suppress(OSError, TimeoutError, ClosedClientError):
                await self._client.cancel(futures, force=True)
                await self._client.run(node.forget, self._task, on_error="ignore")
                await asyncio.wait_for(self._drain(), _DRAIN_S)

    async def _drain(self) -> None:
        """Wait until Dask has followed all futures to their end.

        A result still being fetched when the client is closed is a traceback in the log.
        """
        if self._arrivals is not None:
            async for _ in self._arrivals:
                pass

    async def _register_plugin(self) -> None:
        """Register `NodePlugin` unless nodes are there that fit, as between two runs on one cluster.

        Raises `NodeError` if no node can be set up, or if another run uses nodes that do not fit.
        """
        infos = [info for info in (await self._describe(await self._worker_addresses())).values() if info is not None]
        fits = [info.noise == self._task.noise and self._n_processes in (None, info.n_processes) for info in infos]
        if infos and all(fits):
            return  # late joiners get the plugin that is registered
        if any(info.n_tasks for info in infos):
            raise NodeError(
                f"another run uses these nodes with {infos[0].noise} and {infos[0].n_processes} processes; give this"
                " run the same, or a cluster of its own"
            )
        try:
            await self._client.register_plugin(NodePlugin(self._task.noise, self._n_processes))
        except Exception as error:  # what any worker's setup raised, or the loss of one
            if not any((await self._describe(await self._worker_addresses())).values()):
                raise NodeError(f"no node could be set up: {error}") from error

    async def _watch_nodes(self) -> None:
        hopeful_at = time.monotonic()
        while True:
            addresses = await self._worker_addresses()
            for address in self.nodes.keys() - addresses:
                self._tally()
                del self.nodes[address]
            new = addresses - self.nodes.keys() - self.refused.keys()
            for address, info in (await self._describe(new)).items():
                self._admit(address, info)
            if not addresses or addresses - self.refused.keys():
                hopeful_at = time.monotonic()
            elif time.monotonic() - hopeful_at > _ALL_REFUSED_S:
                raise ClusterError(
                    f"all nodes are refused ({len(addresses)}), the first: {self.refused[min(addresses)]};"
                    " compare their environment with provenance.json"
                )
            await self._take_back_stranded()
            self._changed.set()
            await asyncio.sleep(_POLL_S)

    async def _take_back_stranded(self) -> None:
        """Take back chunks whose node went when no other was there.

        Dask gives a lost node's chunks to others, but to one that comes later only if they were meant for it: that they
        may go anywhere is not looked at (distributed 2026.8.0, `bulk_schedule_unrunnable_after_adding_worker`).
        """
        astray = {future.key: future for future, item in self._in_flight.items() if item.address not in self.nodes}
        if not astray or not self.nodes:
            return
        with _scheduler_errors():
            keys = await self._ask(self._client.run_on_scheduler(_unrunnable))
            await self._ask(self._client.cancel([astray[key] for key in keys if key in astray], force=True))

    def _admit(self, address: str, info: NodeInfo | None) -> None:
        if info is None:
            return  # still being set up
        if self.digest is None:
            self.digest = info.digest
        if info.noise != self._task.noise:
            self._refuse(address, info, f"its noise table is {info.noise}, the run's is {self._task.noise}")
        elif info.digest != self.digest:
            self._refuse(address, info, f"its noise table's digest is {info.digest}, the run's is {self.digest}")
        else:
            self._tally()
            self.nodes[address] = info
            self._cpus.add(info.cpu)
            if len(self._cpus) > 1 and not self._told_cpus:
                self._told_cpus = True
                _logger.warning(
                    "nodes have different CPUs, which may round differently: %s; a run repeats exactly on equal ones",
                    ", ".join(sorted(self._cpus)),
                )

    def _refuse(self, address: str, info: NodeInfo, why: str) -> None:
        self.refused[address] = f"{address} ({info.host}): {why}"
        _warn_once(f"a node is refused and plays nothing: {self.refused[address]}")

    async def _worker_addresses(self) -> set[str]:
        self._check_connection()  # a client that has given up has no scheduler to ask
        asking = asyncio.wait_for(self._client.scheduler.ncores(), _SCHEDULER_TIMEOUT_S)
        with _scheduler_errors():
            return set(await self._ask(asking))

    async def _describe(self, addresses: set[str]) -> dict[str, NodeInfo | None]:
        if not addresses:
            return {}
        with _scheduler_errors():
            infos = await self._ask(self._client.run(node.describe, workers=list(addresses), on_error="return"))
        return {a: info if isinstance(info, NodeInfo) else None for a, info in infos.items()}

    def _fill(self, ledger: Ledger, breeding: Breeding) -> None:
        """Give every node as many episodes as keep it busy, the emptiest first."""
        if not self._again and not ledger.n_to_issue and not ledger.quota.first:
            return
        depth = self._pace.depth(ledger.n_to_issue)
        processes = [info.n_processes for info in self.nodes.values()]
        n_in_flight = self._n_outstanding.total()
        size = self._pace.chunk_size(ledger.n_to_issue, n_in_flight, processes, first=ledger.quota.first)
        loads = [(self._n_outstanding[address] / info.n_processes, address) for address, info in self.nodes.items()]
        heapq.heapify(loads)
        items: list[_InFlight] = []
        while loads:
            load, address = loads[0]
            n_processes = self.nodes[address].n_processes
            if (depth - load) * n_processes < size / 2:
                break
            if self._again:
                item = replace(self._again.pop(), address=address)
            elif (chunk := ledger.take(size)) is not None:
                item = _InFlight(chunk, breeding, address, 0)
            else:
                break
            items.append(item)
            heapq.heapreplace(loads, (load + len(item.chunk.episodes) / n_processes, address))
        for _, group in groupby(items, lambda item: id(item.breeding)):
            self._submit(list(group))

    def _submit(self, items: list[_InFlight]) -> None:
        """Send chunks of one breeding to their nodes, all in one message to the scheduler."""
        assert self._arrivals is not None
        addresses = {
            f"play-{item.chunk.kind.name.lower()}-{self._client.id}-{next(_chunk_numbers)}": item.address
            for item in items
        }
        made_from = self._packed(items[0].breeding)
        with _scheduler_errors(), dask.annotate(workers=addresses.get, allow_other_workers=True):
            futures = self._client.map(
                node.play,
                [pack_chunk(item.chunk) for item in items],
                # No kwargs: of one above 100 kB Dask makes a task by the kwarg's name, which all chunks would share.
                [made_from] * len(items),
                [self.digest] * len(items),
                key=list(addresses),
                pure=False,
            )
        for future, item in zip(futures, items, strict=True):
            self._in_flight[future] = item
            self._n_outstanding[item.address] += len(item.chunk.episodes)
        self._arrivals.update(futures)

    def _packed(self, breeding: Breeding) -> bytes:
        """Return what a breeding's chunks carry; packed once, since chunks are issued many times in a generation."""
        if self._last_packed is None or self._last_packed[0] is not breeding:
            self._last_packed = breeding, pack_breeding(self._task, breeding)
        return self._last_packed[1]

    async def _next_arrivals(self) -> list[Arrival]:
        """Wait for results, but not for long, so that new nodes get work."""
        assert self._arrivals is not None
        self._check_nodes()
        if self._next is None and not self._arrivals.is_empty():
            self._next = asyncio.ensure_future(self._arrivals.__anext__())
        if self._next is None:
            await self._wait_for_nodes()
            return []
        await asyncio.wait({self._next}, timeout=_POLL_S)
        if not self._next.done():
            return []
        finished = [self._next.result(), *self._arrivals.next_batch(block=False)]
        self._next = None
        return [arrival for future, result in finished if (arrival := self._take(future, result)) is not None]

    def _take(self, future: Future, result: object) -> Arrival | None:
        """Return a chunk's rows, or queue it again."""
        item = self._in_flight.pop(future)
        self._n_outstanding[item.address] -= len(item.chunk.episodes)
        if future.status == "finished" and isinstance(result, ChunkResult):
            rows = unpack_rows(result.rows)
            self._pace.learn(rows["seconds"][rows["status"] == Status.OK])
            return Arrival(result.node, rows, result.reasons, result.moments)
        n_errors = item.n_errors
        if future.status == "error":
            error = result[1] if isinstance(result, tuple) else result
            n_errors += 1
            if n_errors >= _MAX_ERRORS:
                raise ClusterError(f"a chunk failed {n_errors} times, last on {item.address}: {error}")
            if isinstance(error, NodeError):  # its next description decides whether it is used again
                self._tally()
                self.nodes.pop(item.address, None)
        self._again.append(replace(item, n_errors=n_errors))
        return None

    async def _wait_for_nodes(self) -> None:
        """Wait a little for a node to come."""
        self._check_nodes()
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _POLL_S)

    def _check_nodes(self) -> None:
        """Raise `ClusterError` if the scheduler is lost or no node was there for too long."""
        if self._watch is not None and self._watch.done():
            self._watch.result()
        if self.nodes:
            self._last_node_at = time.monotonic()
        elif time.monotonic() - self._last_node_at > self._node_timeout_s:
            refusals = "".join(f"; refused {reason}" for reason in self.refused.values())
            raise ClusterError(f"no node for {self._node_timeout_s:.0f} s{refusals}")

    async def _ask(self, request: Awaitable[_Answer]) -> _Answer:
        """Return the scheduler's answer; raises `ClusterError` where the connection breaks for good before."""
        answer = asyncio.ensure_future(request)
        try:
            while not answer.done():
                await asyncio.wait({answer}, timeout=_POLL_S)
                self._check_connection()
            return answer.result()
        finally:
            answer.cancel()

    def _check_connection(self) -> None:
        if self._client.status == "running":
            self._connected_at = time.monotonic()
        elif self._client.status != "connecting" or time.monotonic() - self._connected_at > _RECONNECT_S:
            raise ClusterError("the Dask scheduler is lost: the connection to it broke and cannot be made again")

    def _tally(self) -> None:
        now_s = time.monotonic()
        self._process_s += self.n_processes * (now_s - self._counted_at)
        self._counted_at = now_s


_chunk_numbers = count()


def _unrunnable(dask_scheduler: Scheduler) -> list[str]:
    """Return the keys of tasks for which there is no worker; for `client.run_on_scheduler`."""
    return [task.key for task in dask_scheduler.unrunnable]


@functools.cache
def _warn_once(text: str) -> None:
    """Log a warning that the runs of a sweep, each with a dispatcher of its own, would repeat."""
    _logger.warning("%s", text)


@contextlib.contextmanager
def _scheduler_errors() -> Iterator[None]:
    """Turn a broken connection to the scheduler into a `ClusterError`."""
    try:
        yield
    except (TimeoutError, OSError, ClosedClientError) as error:
        raise ClusterError(f"the Dask scheduler is lost: {type(error).__name__}: {error}") from None
