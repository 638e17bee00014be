"""Nodes of a Dask scheduler that runs already, on whatever workers it has.

TLS files come from Dask's own configuration, `distributed.comm.tls`. The scheduler and its workers belong to their
owner: when the last run that uses them ends, gadask's noise table and rollout processes go, the workers stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import dask
from distributed import Client, Lock, Scheduler, Semaphore
from distributed.security import Security

from gadask.clusters.base import DASK_CONFIG, Cluster, NodeCounts, meanwhile
from gadask.clusters.connector import survive_cut_handshakes
from gadask.clusters.links import dashboard_link
from gadask.dashboard.history import PLUGIN_NAME as HISTORY
from gadask.errors import ClusterError, UsageError
from gadask.node.plugin import PLUGIN_NAME

_logger = logging.getLogger(__name__)

_CONNECT_S = 8.0
_LEAVE_S = 15.0
_POLL_S = 2.0
_MOST_RUNS = 10**6


class Existing(Cluster):
    """Nodes of somebody's scheduler; what they cost is not known here."""

    def __init__(self, client: Client, dashboard: str, n_workers: int, has_page: bool) -> None:
        """Describe a scheduler that the client is connected to."""
        self.client = client
        self.dashboard = dashboard
        self._has_page = has_page
        self._n_workers = n_workers
        self._n_lost = 0

    @property
    def page(self) -> str:
        """Empty where the scheduler was started without gadask's page."""
        return super().page if self._has_page else ""

    def counts(self) -> NodeCounts:
        """Return how the cluster stood a moment ago."""
        return NodeCounts(wanted=self._n_workers, running=self._n_workers, lost=self._n_lost)

    async def poll(self) -> None:
        """Bring the counts up to date."""
        identity = await self.client.scheduler.identity(n_workers=0)
        self._n_lost += max(0, self._n_workers - identity["n_workers"])
        self._n_workers = identity["n_workers"]


@asynccontextmanager
async def existing_cluster(address: str) -> AsyncIterator[Existing]:
    """Use the scheduler at `address`, such as `tls://login:8786`; it may have workers already.

    Raises `UsageError` for a text that is no such address, or if Dask's configuration lacks TLS files that it needs;
    `ClusterError` if no scheduler answers there within seconds.
    """
    security = _security(address)
    survive_cut_handshakes()
    with dask.config.set(DASK_CONFIG):
        async with _closed_at_the_end(await _connect(address, security)) as client:
            identity = await client.scheduler.identity(n_workers=-1)
            port = identity["services"].get("dashboard")
            has_page = port is not None and await _has_page(client)
            cluster = Existing(client, _dashboard(address, port), identity["n_workers"], has_page)
            _warn_of_shared_hosts(worker["host"] for worker in identity["workers"].values())
            async with meanwhile(_poll_for_ever(cluster)), _shared_plugin(client):
                yield cluster


def _security(address: str) -> Security:
    """Return Dask's configured TLS, checked; warn where there is none on a network."""
    match = re.fullmatch(r"(tls|tcp)://(.+):(\d+)", address)
    if match is None:
        raise UsageError(f"--cluster: expected an address such as tls://host:8786, found {address!r}")
    encrypted = match[1] == "tls"
    try:
        security = Security(require_encryption=encrypted)
        context = security.get_connection_args("client")["ssl_context"]
    except OSError as error:
        raise UsageError(f"{address}: the TLS files in Dask's configuration cannot be used: {error}") from None
    if encrypted and context is None:
        raise UsageError(
            f"{address}: expected three TLS files in Dask's configuration, found fewer; set"
            " DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY"
        )
    if not encrypted and not _is_loopback(match[2]):
        _logger.warning(
            "%s is not encrypted: anyone who reaches that port can run code as its owner; use tls:// with certificates",
            address,
        )
    return security


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine under an address that only this machine has."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_loopback for entry in found)


async def _connect(address: str, security: Security) -> Client:
    client = Client(address, security=security, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
    try:
        async with asyncio.timeout(_CONNECT_S + 1):  # for a port that takes connections and says nothing
            return await client
    except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:  # whatever may answer there
        await client.close()
        found = " ".join(str(error).split()) or f"no answer ({type(error).__name__})"
        raise ClusterError(
            f"{address}: expected a Dask scheduler, found: {found}; compare host, port and tls:// or tcp:// with the"
            " scheduler's log"
        ) from None


@asynccontextmanager
async def _closed_at_the_end(client: Client) -> AsyncIterator[Client]:
    """Close the client after the block, whose error is the one to tell of.

    A client that is closed while it connects again raises whatever its attempt ends with (distributed 2026.8.0).
    """
    try:
        yield client
    finally:
        try:
            await client.close()
        except Exception as error:
            _logger.debug("the client did not close as it should: %r", error)


def _dashboard(address: str, port: int | None) -> str:
    host = address.partition("://")[2].rpartition(":")[0]
    return "none on this scheduler" if port is None else dashboard_link(host, port)


async def _has_page(client: Client) -> bool:
    """Whether the scheduler was started with gadask's page, which remembers from then on what masters report."""
    history = HISTORY

    # Functions inside functions travel by value: the scheduler may know no gadask.
    def remembers(dask_scheduler: Scheduler) -> bool:
        return history in dask_scheduler.plugins

    try:
        return bool(await client.run_on_scheduler(remembers))
    except ValueError:  # it runs no functions: distributed.scheduler.pickle
        return False


def _warn_of_shared_hosts(hosts: Iterable[str]) -> None:
    for host, n_workers in Counter(hosts).items():
        if n_workers > 1:
            _logger.warning("%d workers share %s: --rollouts-per-node counts for each of them", n_workers, host)


async def _poll_for_ever(cluster: Existing) -> None:
    while True:
        await asyncio.sleep(_POLL_S)
        if cluster.client.status == "running":  # a lost scheduler is the master's to report
            with contextlib.suppress(OSError):
                await cluster.poll()


@asynccontextmanager
async def _shared_plugin(client: Client) -> AsyncIterator[None]:
    """Unregister `NodePlugin` at the end unless another run uses this scheduler.

    Runs are counted by leases of a Dask semaphore, which end with their client, however that ends. The lock keeps a run
    that starts from taking nodes for its own that one which ends is about to free.
    """
    lock = Lock(f"{PLUGIN_NAME}-leaving", client.scheduler, client.loop)
    runs = Semaphore(_MOST_RUNS, f"{PLUGIN_NAME}-runs", client.scheduler, client.loop)
    refresh = runs.refresh_callback.callback

    async def refresh_quietly() -> None:
        with contextlib.suppress(OSError):  # Dask would log a traceback when the scheduler is lost
            await refresh()

    runs.refresh_callback.callback = refresh_quietly
    async with lock:
        await runs.acquire()
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_LEAVE_S):
                if client.status == "running":
                    async with lock:
                        await runs.release()
                        if not await runs.get_value():
                            await client.unregister_worker_plugin(PLUGIN_NAME)
        except ValueError:
            pass  # never registered
        except OSError as error:
            _logger.warning("gadask's processes may be left on the workers of this scheduler: %s", error)
        finally:
            for leases in (lock, runs):
                leases.refresh_callback.stop()
