"""A whole chaos run: undisturbed plays, disturbed plays, the end."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import dask
from distributed import Client

from gadask.clusters.existing import existing_cluster
from gadask.node import plugin as gadask_node
from tests.chaos import processes
from tests.chaos.arena import Arena
from tests.chaos.checks import check_equal, check_run, count_failures
from tests.chaos.cluster import ChaosCluster, environment
from tests.chaos.disk import SmallDisk
from tests.chaos.injectors import INJECTORS
from tests.chaos.masters import Master
from tests.chaos.promises import BrokenError, until
from tests.chaos.proxy import Proxy
from tests.chaos.runs import KINDS, Kind

_N_NODES = 2
_STILL_S = 240.0
"""A run that closes no generation for so long hangs."""
_VICTIM_S = 120.0
_AT_ONCE = 3
_LET_PLAY_S = 20.0


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    seconds: float
    kinds: Sequence[Kind] = KINDS
    injectors: Sequence[str] = tuple(INJECTORS)
    parallel: int = 3
    """Runs that are played at the same time."""


@dataclass
class Chaos:
    """One chaos run in a folder."""

    plan: Plan
    folder: Path
    mark: str = field(default_factory=processes.new_mark)
    stacks: str = ""
    """What all processes did when a promise was broken."""
    n_finished: Counter[str] = field(default_factory=Counter)
    n_struck: Counter[str] = field(default_factory=Counter)
    n_closed: int = 0
    """Generations of all runs."""
    began_at: float = field(default_factory=time.monotonic)

    async def play(self) -> None:
        """Play to the end; raises `BrokenError` at the first promise that is not kept."""
        self._environ = environment(self.folder, self.mark)
        disk = SmallDisk(self.folder / "disk")
        cluster = ChaosCluster(self.folder, self._environ, _N_NODES)
        self.arena = Arena(self.mark, cluster, disk)
        with self._stacks_if_broken():
            await cluster.open()
        async with self._lease(cluster.address) as client:
            with self._stacks_if_broken():
                await self._play_undisturbed()
                async with asyncio.TaskGroup() as group:
                    keeping = group.create_task(cluster.keep_nodes())
                    disturbing = group.create_task(self._disturb())
                    await self._play_while(disturbing)
                    keeping.cancel()
                await self._check_forgotten(client)
        with self._stacks_if_broken():
            await self._check_freed()
            await cluster.close()
            await self._check_nothing_left()

    @contextlib.contextmanager
    def _stacks_if_broken(self) -> Iterator[None]:
        """Note what all processes do at the moment when a promise is broken."""
        try:
            yield
        except (BrokenError, ExceptionGroup):
            self.stacks = processes.stacks(self.mark, self.folder / "stacks")
            raise

    @contextlib.asynccontextmanager
    async def _lease(self, address: str) -> AsyncIterator[Client]:
        """Use the scheduler as another run would, so that nodes stay nodes while masters come and go."""
        pem = str(self.folder / "tls.pem")
        files = {f"client.{part}": pem for part in ("cert", "key")} | {"ca-file": pem}
        with dask.config.set({f"distributed.comm.tls.{key}": value for key, value in files.items()}):
            async with existing_cluster(address) as cluster:
                yield cluster.client

    async def _play_undisturbed(self) -> None:
        """Play every kind once, all at the same time, with nothing in the way."""
        masters = [await self._new_master(kind, 0) for kind in self.plan.kinds]
        waiting, playing = list(masters), list[Master]()
        while waiting or playing:
            while waiting and len(playing) < self.plan.parallel:
                playing.append(waiting.pop(0))
            playing = [master for master in playing if not await self._stepped(master)]
            await asyncio.sleep(0.1)
        for master in masters:
            if master.n_starts > 1:
                raise BrokenError(f"{master.name} was started {master.n_starts} times though nothing disturbed it")

    async def _play_while(self, disturbing: asyncio.Task[None]) -> None:
        """Play runs of all kinds in turns as long as they are disturbed, and those that have begun to their end."""
        numbers: Counter[str] = Counter()
        order = Random(self.plan.seed)
        waiting: list[Kind] = []
        masters = self.arena.masters
        while masters or not disturbing.done():
            while len(masters) < self.plan.parallel and not disturbing.done():
                if not waiting:
                    waiting = order.sample(list(self.plan.kinds), len(self.plan.kinds))
                kind = waiting.pop()
                numbers[kind.name] += 1
                masters.append(await self._new_master(kind, numbers[kind.name]))
            for master in list(masters):
                if await self._stepped(master):
                    masters.remove(master)
            await asyncio.sleep(0.1)

    async def _new_master(self, kind: Kind, number: int) -> Master:
        proxy = Proxy(self.arena.cluster.scheduler_port)
        name = f"{kind.name}-{number}"
        return Master(
            kind,
            number,
            self.arena.disk.folder / name,
            self._environ,
            self.folder,
            proxy,
            await proxy.start(),
            lambda sort, since: self.arena.suffered(name, sort, since),
        )

    async def _stepped(self, master: Master) -> bool:
        """Look at a run; returns whether it has finished, and was checked."""
        if master.n_starts and time.monotonic() - master.progress_at > _STILL_S:
            raise BrokenError(f"{master.name} stands still: no generation was closed for {_STILL_S:g} s")
        before = master.generation
        finished = master.step()
        self.n_closed += master.generation - before
        if not finished:
            return False
        await master.proxy.close()
        check_run(master.directory, master.n_starts)
        if master.kind.repeats and master.number:
            check_equal(master.directory, self.arena.disk.folder / f"{master.kind.name}-0")
        self.n_finished[master.kind.name] += 1
        failures = ", ".join(f"{n} {status}" for status, n in count_failures(master.directory).items())
        said = "is as undisturbed" if master.kind.repeats and master.number else "is whole"
        self._say(f"{master.name} {said}: started {master.n_starts} ×, failed episodes: {failures or 'none'}")
        return True

    async def _disturb(self) -> None:
        """Strike at moments from the seed: every injector once, in an order from the seed, then again."""
        random = Random(self.plan.seed)
        places = asyncio.Semaphore(_AT_ONCE)
        end = time.monotonic() + self.plan.seconds
        async with asyncio.TaskGroup() as group:
            n_decks = 0
            while not n_decks or time.monotonic() < end:
                for name in random.sample(list(self.plan.injectors), len(self.plan.injectors)):
                    own = Random(random.getrandbits(64))
                    await self._let_them_play(own.uniform(0.2, 3.0))
                    if n_decks and time.monotonic() >= end:
                        break
                    await places.acquire()
                    group.create_task(self._strike(name, own, places))
                n_decks += 1

    async def _let_them_play(self, seconds: float) -> None:
        """Wait so long, and on a slow machine until a generation was closed meanwhile, if that is soon."""
        n_closed = self.n_closed
        await asyncio.sleep(seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LET_PLAY_S):
                while self.n_closed == n_closed:
                    await asyncio.sleep(0.1)

    async def _strike(self, name: str, random: Random, places: asyncio.Semaphore) -> None:
        """Let one injector strike, as soon as it finds a victim."""
        try:
            async with asyncio.timeout(_VICTIM_S) as waiting:
                while True:
                    with self.arena.struck(name) as strike:
                        found = asyncio.ensure_future(INJECTORS[name](self.arena, random, strike))
                        waiting.reschedule(None)
                        if await found:
                            break
                    self.arena.strikes.remove(strike)
                    await asyncio.sleep(0.2)
            self.n_struck[name] += 1
            self._say(f"{name}: {strike.what}")
        finally:
            places.release()

    async def _check_forgotten(self, client: Client) -> None:
        """The nodes keep nothing of runs that have ended, killed masters' starts included."""

        async def is_forgotten() -> bool:
            infos = await client.run(gadask_node.describe, on_error="ignore")
            return len(infos) == _N_NODES and all(info is not None and info.n_tasks == 0 for info in infos.values())

        await until(is_forgotten, 120, "all nodes are back and keep nothing of the runs that have ended")

    async def _check_freed(self) -> None:
        """The last run has taken its noise table and rollout processes along, and the workers stay."""

        def is_freed() -> bool:
            return not [found for found in processes.find(self.mark) if found.part in ("fork server", "rollout")]

        await until(is_freed, 60, "rollout processes are gone when the last run has left the scheduler")
        if held := processes.memory_files(processes.find(self.mark)):
            raise BrokenError(f"memory files that are held open by nobody's run: {held}")

    async def _check_nothing_left(self) -> None:
        await until(lambda: not processes.find(self.mark), 30, "all processes have ended")
        left = [path.name for path in (self.folder / "tmp").iterdir()]
        left += [path.name for path in Path("/dev/shm").iterdir() if "gadask" in path.name]
        if left:
            raise BrokenError(f"temporary files: expected none, found {left}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began_at:7.1f} s  {text}", flush=True)


def log_of(chaos: Chaos) -> str:
    """Return what was done, a line each."""
    lines = []
    for strike in chaos.arena.strikes:
        end = "now" if strike.ended_at is None else f"{strike.ended_at - chaos.began_at:.1f}"
        lines.append(f"{strike.began_at - chaos.began_at:7.1f} – {end} s  {strike.injector}: {strike.what}")
    return "\n".join(lines)


def new_folder() -> Path:
    """Return a folder for a chaos run's files."""
    return Path(tempfile.mkdtemp(prefix="gadask-chaos-"))
