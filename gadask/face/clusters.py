"""Clusters by name, opened as suits a script or a notebook."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from distributed import Client

from gadask.clusters.base import Cluster, NodeCounts
from gadask.clusters.held import HeldCluster, hold
from gadask.clusters.kinds import kind_of, names, open_cluster
from gadask.clusters.machine import Machine, check_complete, load_machine
from gadask.clusters.wanted import Wanted, nodes_of_all
from gadask.errors import ConfigError

_Result = TypeVar("_Result")

Machines = Mapping[str, int] | Mapping[Path, int] | Mapping[Machine, int]
"""Several machines, with the nodes of each."""


class Opening:
    """A cluster about to be opened.

    - `async with opening as cluster:` has it open for a block.
    - `cluster = await opening` leaves it open until `await cluster.close()`, as notebooks need.
    - `with opening as cluster:` is for code that is not asynchronous; its `client` is a blocking one.

    Example:
        >>> import asyncio
        >>> import gadask
        >>> async def main():
        ...     async with gadask.cluster("local") as cluster:
        ...         return await cluster.client.submit(sum, [1, 2])
        >>> asyncio.run(main())
        3
    """

    def __init__(self, opening: AbstractAsyncContextManager[Cluster], node_timeout_s: float) -> None:
        """Take over a context manager that was not entered yet."""
        self._opening = opening
        self._node_timeout_s = node_timeout_s
        self._blocking: BlockingCluster | None = None

    def __repr__(self) -> str:
        return "<a cluster that is not open yet; in a notebook: cluster = await gadask.cluster(…)>"

    async def __aenter__(self) -> Cluster:
        cluster = await self._opening.__aenter__()
        cluster.node_timeout_s = self._node_timeout_s
        return cluster

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._opening.__aexit__(kind, error, traceback)

    def __await__(self) -> Generator[Any, None, HeldCluster]:
        return hold(self).__await__()

    def __enter__(self) -> BlockingCluster:
        self._blocking = BlockingCluster(self)
        return self._blocking

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._blocking is not None
        self._blocking.close()


class BlockingCluster:
    """A cluster whose event loop runs in its own thread, for code that is not asynchronous.

    Example:
        >>> import gadask
        >>> with gadask.cluster("local") as cluster:
        ...     cluster.client.submit(sum, [1, 2]).result()
        3
    """

    client: Client
    """A blocking one."""

    def __init__(self, opening: AbstractAsyncContextManager[Cluster]) -> None:
        """Open it; raises what opening it raises, and leaves nothing open then."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gadask-cluster", daemon=True)
        self._thread.start()
        self._held: HeldCluster | None = None
        try:
            self._held = self.wait_for(hold(opening))
            inner = self._held.client
            self.client = Client(inner.scheduler.address, security=inner.security, set_as_default=False)
        except BaseException:
            self.close()
            raise

    @property
    def asynchronous(self) -> HeldCluster:
        """The same cluster, for what is awaited in its loop."""
        assert self._held is not None
        return self._held

    @property
    def dashboard(self) -> str:
        """As `Cluster.dashboard`."""
        return self.asynchronous.dashboard

    @property
    def page(self) -> str:
        """As `Cluster.page`."""
        return self.asynchronous.page

    @property
    def n_processes(self) -> int | None:
        """As `Cluster.n_processes`."""
        return self.asynchronous.n_processes

    @property
    def node_timeout_s(self) -> float:
        """As `Cluster.node_timeout_s`."""
        return self.asynchronous.node_timeout_s

    def counts(self) -> NodeCounts:
        """Return how the cluster stands now."""

        async def count() -> NodeCounts:  # in the thread that changes what is counted
            return self.asynchronous.counts()

        return self.wait_for(count())

    def __repr__(self) -> str:
        return repr(self.asynchronous)

    def _repr_html_(self) -> str:
        """Return how the cluster stands, and where its dashboard is."""
        return self.asynchronous._repr_html_()

    def wait_for(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Return what a coroutine returns in the cluster's loop; an interrupt cancels it and waits for its end."""

        async def begin() -> asyncio.Task[_Result]:
            return asyncio.create_task(work)

        task = asyncio.run_coroutine_threadsafe(begin(), self._loop).result()
        try:
            return asyncio.run_coroutine_threadsafe(_result_of(task), self._loop).result()
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(task.cancel)
            asyncio.run_coroutine_threadsafe(asyncio.wait({task}), self._loop).result()
            raise

    def close(self) -> None:
        """End everything that the cluster started; a second call does nothing."""
        if self._loop.is_closed():
            return
        try:
            if hasattr(self, "client"):
                self.client.close()
        finally:
            try:
                if self._held is not None:
                    self.wait_for(self._held.close())
            finally:
                asyncio.run_coroutine_threadsafe(_end_all(), self._loop).result()
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()


async def _result_of(task: asyncio.Task[_Result]) -> _Result:
    return await asyncio.shield(task)


async def _end_all() -> None:
    """End what is left in the loop, as `asyncio.run` does."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def cluster(
    name: str = "local",
    nodes: int | None = None,
    *,
    machine: Machine | Path | str | Machines | None = None,
    run_dir: Path | str | None = None,
    start_timeout_s: float | None = None,
) -> Opening:
    """Return a cluster to be opened: `"local"`, `"slurm"`, `"allocation"`, or the address of a Dask scheduler.

    It has one node unless `nodes` says how many. `machine` is a machine file, the name of one in `~/.config/gadask` or
    of gadask's own, or a `Machine`; where jobs wait in a queue it may be several, with their nodes in place of `nodes`,
    such as `{"csd3-cclake": 6, "csd3-icelake": 2}`. `run_dir` is the directory of the run that the cluster is for,
    needed by `slurm` and `allocation`: keys and job logs go there, and jobs that an earlier start left are cleared
    away. A run that has no node for `start_timeout_s` gives up, by default after 2 minutes, or a day where jobs wait in
    a queue.

    Raises:
        ConfigError: there is no such kind of cluster or machine, or what it needs is missing.

    Example:
        >>> import gadask
        >>> with gadask.cluster("local") as cluster:
        ...     cluster.dashboard.startswith("http://127.0.0.1:")
        True
    """
    kind = kind_of(name)
    wanted = _wanted(machine, nodes)
    if machine is not None and not kind.takes_machine:
        raise ConfigError(f"machine: expected with {names(lambda kind: kind.takes_machine)}, found with {name}")
    try:
        kind.check_wanted(wanted)
    except ConfigError as error:
        raise ConfigError(f"machine: {error}") from None
    if nodes_of_all(wanted) > 1 and not kind.takes_nodes:
        raise ConfigError(f"nodes: expected with {names(lambda kind: kind.takes_nodes)}, found with {name}")
    for key, value, is_needed in (("machine", machine, kind.needs_machine), ("run_dir", run_dir, kind.takes_machine)):
        if value is None and is_needed:
            raise ConfigError(f"{key}: expected with {name}, found none")
    if start_timeout_s is not None and not start_timeout_s > 0:
        raise ConfigError(f"start_timeout_s: expected more than 0, found {start_timeout_s:g}")
    kind.check()
    for each in wanted:
        kind.check_machine(each.machine)
        if kind.needs_machine:
            check_complete(each.machine, has_flags=False)
    timeout_s = kind.start_timeout_s if start_timeout_s is None else start_timeout_s
    opening = open_cluster(name, wanted, None if run_dir is None else Path(run_dir), timeout_s)
    return Opening(opening, timeout_s + kind.speaks_first_s)


def _wanted(machine: Machine | Path | str | Machines | None, nodes: int | None) -> tuple[Wanted, ...]:
    """Return what is asked for. Raises `ConfigError` unless every number of nodes is given once."""
    if not isinstance(machine, Mapping):
        n_nodes = 1 if nodes is None else nodes
        if n_nodes < 1:
            raise ConfigError(f"nodes: expected at least 1, found {n_nodes}")
        return (Wanted(_machine(machine), n_nodes),)
    if nodes is not None:
        raise ConfigError(f"nodes: expected none beside several machines, which say how many, found {nodes}")
    wanted = tuple(Wanted(_machine(each), n_nodes) for each, n_nodes in machine.items())
    for each in wanted:
        if each.n_nodes < 1:
            raise ConfigError(f"machine: expected at least 1 node of {each.machine.name}, found {each.n_nodes}")
    if not wanted:
        raise ConfigError("machine: expected at least one machine, found none")
    return wanted


def _machine(given: Machine | Path | str | None) -> Machine:
    if given is None:
        return Machine()
    return given if isinstance(given, Machine) else load_machine(str(given))
