"""The nodes of a Dask cluster as a master knows them: found, asked, refused, lost.

A node that stands still (a stopped process, a file system that hangs) keeps its connections open and answers nothing.
So every question has a deadline. A node that does not answer in time is *silent* until it does: it is asked again, with
more time, but nobody waits for it; and if it does not answer then either, it is given no chunks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

from distributed import Client
from distributed.client import ClosedClientError

from gadask.errors import ClusterError, NodeError
from gadask.master import questions
from gadask.messages import Kind, Task
from gadask.node import plugin
from gadask.node.deadlines import RunningClock
from gadask.node.plugin import FAREWELL_TOPIC, NodeInfo, NodePlugin
from gadask.record.provenance import emulators, libraries
from gadask.units import many

_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_Answers = dict[str, NodeInfo | NodeError | None]

POLL_S = 1.0
_ANSWER_S = 5.0
_LATE_ANSWER_S = 30.0  # of a silent node; on a busy machine a handshake can take 10 s
_SILENT = 2  # questions, after which a node is not counted on
_RENEW_S = 30.0  # a third of a lease, of a node from which no rows came
_SCHEDULER_TIMEOUT_S = 100.0  # longer than a connection survives a cut; a lost scheduler breaks it at once
_ALL_REFUSED_S = 20.0  # others may be about to connect
_OTHERS_S = 10.0  # when one node is set up, others that need not much longer are waited for
_AGAIN_S, _TRIES = 0.2, 3  # where a connection broke
_RECONNECT_S = 8.0  # Dask's client tries for 30 s; a scheduler on a busy machine takes it back within a few


class Nodes:
    """The nodes that can play one task."""

    def __init__(
        self, client: Client, task: Task, n_processes: int | None, digest: str | None, node_timeout_s: float
    ) -> None:
        """`digest=None` takes the first node's noise table as the run's."""
        self.usable: dict[str, NodeInfo] = {}
        """By address; silent ones too."""
        self.silent: Counter[str] = Counter()
        """Questions in a row that a node left unanswered, by address."""
        self.refused: dict[str, str] = {}
        """Why a node is not used, by address."""
        self.digest = digest
        self.cpus: dict[str, str] = {}
        """What may round differently, of each node that was ever used, by address."""
        self._client = client
        self._task = task
        self._n_processes = n_processes
        self._closed: dict[Kind, int] = {}
        self._asked: set[str] = set()
        self._connected: set[str] = set()
        self._heard_at: dict[str, float] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._process_s = 0.0
        self._counted_at = time.monotonic()
        self._node_timeout_s = node_timeout_s
        self._clock = RunningClock(3 * POLL_S)
        self._connected_at = self._clock()
        self._last_node_at = self._clock()
        self._hopeful_at = self._clock()
        self._changed = asyncio.Event()
        self._told_cpus = False

    @property
    def playing(self) -> dict[str, NodeInfo]:
        """Usable nodes that are to be given chunks."""
        return {address: info for address, info in self.usable.items() if self.silent[address] < _SILENT}

    async def register_plugin(self) -> None:
        """Register `NodePlugin` unless nodes are there that fit, as between two runs on one cluster.

        Raises `NodeError` if no node can be set up, or if another run uses nodes that do not fit.
        """
        for tries_left in reversed(range(_TRIES)):
            try:
                await self._register_plugin()
                break
            except OSError as error:  # a connection broke, the master's or that of the only node
                if not tries_left:
                    raise NodeError(f"no node could be set up: {error}") from error
            await asyncio.sleep(_AGAIN_S)

    async def _register_plugin(self) -> None:
        infos = _infos(await self._describe_all())
        fits = [info.noise == self._task.noise and self._n_processes in (None, info.n_processes) for info in infos]
        if infos and all(fits):
            return  # late joiners get the plugin that is registered
        masters = frozenset[str]().union(*(info.client_ids for info in infos))
        if masters and masters & set(await self.ask(lambda: self._client.run_on_scheduler(questions.lister()))):
            raise NodeError(
                f"another run uses these nodes with {infos[0].noise} and"
                f" {many(infos[0].n_processes, 'process', 'processes')}; give this run the same, or its own cluster"
            )
        registering = asyncio.ensure_future(
            self._client.register_plugin(NodePlugin(self._task.noise, self._n_processes))
        )
        if not await self._is_set_up(registering):
            return  # on those that are silent it is set up when they go on
        try:
            registering.result()
        except Exception as error:  # what any worker's setup raised, or the loss of one
            answers = await self._describe_all()
            if not _infos(answers):
                if isinstance(error, OSError):
                    raise
                refusals = [answer for answer in answers.values() if isinstance(answer, NodeError)]
                raise NodeError(f"no node could be set up: {refusals[0] if refusals else error}") from error

    def begin_waiting(self) -> None:
        """Count the time without a node from now on."""
        self._last_node_at = self._clock()

    async def look(self) -> None:
        """Find nodes that came, left or speak again; to be called about once a `POLL_S`.

        Raises `ClusterError` if the scheduler is lost, or all nodes that are connected were refused for a while.
        """
        addresses = await self._worker_addresses()
        gone = (self.usable.keys() | self._connected) - addresses  # dispatch may have dropped it first
        self._connected = addresses
        for address in gone:
            self.drop(address)
        for address in self.silent.keys() - addresses:
            del self.silent[address]
        if gone - self.refused.keys():
            await self._hear_farewells(gone)
        now_s = time.monotonic()
        unknown = addresses - self.usable.keys() - self.refused.keys()
        due = {a for a in self.usable if a in self.silent or now_s - self._heard_at[a] > _RENEW_S}
        silent = self.silent.keys()
        for addresses_alike in (unknown - silent, unknown & silent):
            self._in_background(self._admit_all, addresses_alike - self._asked)
        for addresses_alike in (due - silent, due & silent):
            self._in_background(self._attend, addresses_alike - self._asked)
        if not addresses or addresses - self.refused.keys():
            self._hopeful_at = self._clock()
        elif self._clock() - self._hopeful_at > _ALL_REFUSED_S:
            raise ClusterError(
                f"all nodes are refused ({len(addresses)}), the first: {self.refused[min(addresses)]};"
                " compare their environment with provenance.json"
            )
        self._changed.set()

    async def wait(self) -> None:
        """Wait a little for a node to come."""
        self.check()
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._changed.wait()

    def check(self) -> None:
        """Raise `ClusterError` if no node was there for too long."""
        if self.usable:
            self._last_node_at = self._clock()
        elif self._clock() - self._last_node_at > self._node_timeout_s:
            refusals = "".join(f"; refused {reason}" for reason in self.refused.values())
            raise ClusterError(f"no node for {self._node_timeout_s:.0f} s{refusals}")

    def note_rows(self, address: str) -> None:
        """Take note that a chunk came back, which was a sign of life for its node too."""
        self._heard_at[address] = time.monotonic()

    def drop(self, address: str) -> None:
        """Use a node no more; its next description decides whether it is used again."""
        self.tally()
        self.usable.pop(address, None)

    async def close_generation(self, generation: int, kinds: Collection[Kind]) -> None:
        """Stop what is still played of these kinds; a silent node is told when it speaks again."""
        self._closed |= dict.fromkeys(kinds, generation)
        await self._attend(self.usable.keys() - self.silent.keys())

    async def forget_task(self) -> None:
        """Free what the nodes keep for the task; on a silent one its lease ends."""
        await self._ask_nodes(await self._worker_addresses() - self.silent.keys(), plugin.forget, self._task)

    async def close(self) -> None:
        """Ask nothing any more."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def take_process_seconds(self) -> float:
        """Return the process time that passed on all usable nodes since the last call."""
        self.tally()
        seconds, self._process_s = self._process_s, 0.0
        return seconds

    def tally(self) -> None:
        """Count the process time up to now; before the nodes change."""
        now_s = time.monotonic()
        self._process_s += sum(info.n_processes for info in self.usable.values()) * (now_s - self._counted_at)
        self._counted_at = now_s

    async def ask(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return the scheduler's answer, asking again where a connection broke.

        Raises `ClusterError` where connections break for good.
        """
        broken_at: float | None = None
        while True:
            with scheduler_errors():
                try:
                    return await self._answer(request())
                except TimeoutError:
                    raise
                except OSError:
                    broken_at = self._clock() if broken_at is None else broken_at
                    if self._clock() - broken_at > _RECONNECT_S:
                        raise
            await asyncio.sleep(_AGAIN_S)

    async def _answer(self, request: Awaitable[_Answer]) -> _Answer:
        answer = asyncio.ensure_future(request)
        try:
            while not answer.done():
                await asyncio.wait({answer}, timeout=POLL_S)
                self._check_connection()
            return answer.result()
        finally:
            answer.cancel()

    async def _is_set_up(self, registering: asyncio.Future[Any]) -> bool:
        """Wait until all workers have the plugin; returns False if some are silent and others ready."""
        ready_at = None
        self._background.add(registering)  # type: ignore[arg-type]
        while not registering.done():
            await asyncio.wait({registering}, timeout=POLL_S)
            self._check_connection()
            if ready_at is None:
                if _infos(await self._ask_nodes(await self._worker_addresses() - self.silent.keys(), plugin.describe)):
                    ready_at = time.monotonic()
            elif time.monotonic() - ready_at > _OTHERS_S:
                return False
        return True

    async def _describe_all(self) -> _Answers:
        """Ask all workers; if none says anything, not even that it is no node, once more, since all may be busy."""
        addresses = await self._worker_addresses()
        answers = await self._ask_nodes(addresses, plugin.describe)
        if addresses <= self.silent.keys():
            answers = await self._ask_nodes(addresses, plugin.describe)
        return answers

    async def _admit_all(self, addresses: Collection[str]) -> None:
        for address, answer in (await self._ask_nodes(addresses, plugin.describe)).items():
            if isinstance(answer, NodeInfo):
                self._admit(address, answer)
            elif isinstance(answer, NodeError):
                self._refuse(address, address, str(answer))

    async def _attend(self, addresses: Collection[str]) -> None:
        """Tell usable nodes that the run goes on, and what of it is closed."""
        answers = await self._ask_nodes(addresses, plugin.attend, self._task, dict(self._closed))
        for address, answer in answers.items():
            if answer is None and address not in self.silent:
                self.drop(address)
            elif isinstance(answer, NodeError):
                self.drop(address)
                self._refuse(address, address, str(answer))

    def _admit(self, address: str, info: NodeInfo) -> None:
        if self.digest is None:
            self.digest = info.digest
        name = f"{address} ({info.host})"
        if info.noise != self._task.noise:
            self._refuse(address, name, f"its noise table is {info.noise}, the run's is {self._task.noise}")
        elif info.digest != self.digest:
            self._refuse(address, name, f"its noise table's digest is {info.digest}, the run's is {self.digest}")
        elif differing := _differing(info.libraries):
            self._refuse(address, name, f"{differing}; install the same on all nodes and start them again")
        else:
            self.tally()
            self.usable[address] = info
            self._changed.set()
            self.cpus[address] = info.cpu
            if len(cpus := set(self.cpus.values())) > 1 and not self._told_cpus:
                self._told_cpus = True
                _logger.warning(
                    "nodes have different CPUs, which may round differently: %s; a run repeats exactly on equal ones",
                    "; ".join(sorted(cpus)),
                )

    def _refuse(self, address: str, name: str, why: str) -> None:
        self.refused[address] = f"{name}: {why}"
        _warn_once(f"a node is refused and plays nothing: {self.refused[address]}")

    async def _hear_farewells(self, gone: Collection[str]) -> None:
        """Say of nodes that closed themselves why they did."""
        for _, farewell in await self.ask(lambda: self._client.get_events(FAREWELL_TOPIC)):
            address = farewell["address"]
            if address in gone and address not in self.refused:
                self._refuse(address, f"{address} ({farewell['host']})", farewell["reason"])

    async def _worker_addresses(self) -> set[str]:
        self._check_connection()  # a client that has given up has no scheduler to ask

        async def cores() -> dict[str, int]:
            async with asyncio.timeout(_SCHEDULER_TIMEOUT_S):
                found: dict[str, int] = await self._client.scheduler.ncores()
                return found

        return set(await self.ask(cores))

    async def _ask_nodes(self, addresses: Collection[str], question: Callable[..., Any], *args: object) -> _Answers:
        """Return what nodes answer in time, more of it where one of them is silent: None of those that did not."""
        if not addresses:
            return {}
        message = questions.message(question, *args)
        deadline_s = _LATE_ANSWER_S if self.silent.keys() & addresses else _ANSWER_S
        self._asked.update(addresses)
        try:
            packed = await self.ask(
                lambda: self._client.run_on_scheduler(questions.asker(), message, list(addresses), deadline_s)
            )
        finally:
            self._asked.difference_update(addresses)
        answers: _Answers = {}
        for address, answer in packed.items():
            if answer is None:
                self.silent[address] += 1
            else:
                self.silent.pop(address, None)
                self._heard_at[address] = time.monotonic()
            answers[address] = questions.understood(answer) if answer else None
        return answers

    def _in_background(
        self, ask: Callable[[Collection[str]], Coroutine[Any, Any, None]], addresses: Collection[str]
    ) -> None:
        """Ask nodes what may take until a deadline; a lost scheduler is noticed elsewhere too."""

        async def quietly() -> None:
            with contextlib.suppress(ClusterError):
                await ask(addresses)

        if addresses:
            task = asyncio.create_task(quietly())
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    def _check_connection(self) -> None:
        if self._client.status == "running":
            self._connected_at = self._clock()
        elif self._client.status != "connecting" or self._clock() - self._connected_at > _RECONNECT_S:
            raise ClusterError("the Dask scheduler is lost: the connection to it broke and cannot be made again")


@contextlib.contextmanager
def scheduler_errors() -> Iterator[None]:
    """Turn a broken connection to the scheduler into a `ClusterError`."""
    try:
        yield
    except (TimeoutError, OSError, ClosedClientError) as error:
        raise ClusterError(f"the Dask scheduler is lost: {type(error).__name__}: {error}") from None


def _differing(theirs: Mapping[str, str]) -> str:
    """Return in which libraries a node differs from this process, in words; empty where it does not.

    An emulator that one of them lacks is no difference: the task may do without.
    """
    ours, both = {**libraries(), **emulators()}, emulators().keys() & theirs.keys()
    names = [name for name in (*libraries(), *both) if ours[name] != theirs.get(name)]
    return ", ".join(f"its {name} is {theirs.get(name, 'missing')}, the run's is {ours[name]}" for name in names)


def _infos(answers: _Answers) -> list[NodeInfo]:
    return [answer for answer in answers.values() if isinstance(answer, NodeInfo)]


@functools.cache
def _warn_once(text: str) -> None:
    """Log a warning that the runs of a sweep, each with its own nodes, would repeat."""
    _logger.warning("%s", text)
