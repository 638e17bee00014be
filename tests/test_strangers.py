"""Strangers at the ports of a running cluster are turned away, and the run does not notice (fault 14)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import stat
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security

from gadask.clusters.base import Cluster
from gadask.clusters.local import local_cluster
from gadask.clusters.security import load_keys, temporary_keys
from gadask.errors import ClusterError
from gadask.master.evolve import evolve
from gadask.record.directory import read_generations, without_wall_clock
from tests.conftest import faulty_config

pytestmark = pytest.mark.usefixtures("no_leaks")

Address = tuple[str, int]


def listeners(processes: Iterable[psutil.Process]) -> set[Address]:
    """Return the addresses on which these processes take TCP connections."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add((connection.laddr.ip, connection.laddr.port))
    return found


def open_to_strangers(addresses: Iterable[Address]) -> list[Address]:
    """Return those that talk to someone without a certificate, except dashboards on loopback."""
    return [
        (ip, port)
        for ip, port in addresses
        if not (ipaddress.ip_address(ip).is_loopback and _talks_http((ip, port))) and not _turns_away((ip, port))
    ]


def _talks_http(address: Address) -> bool:
    url = "http://{}:{}/health".format(*address)
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=60) as answer:
        return bool(answer.status == 200)
    return False


def _turns_away(address: Address) -> bool:
    """Whether a connection in plain TCP ends without a word, and an encrypted one for want of a certificate."""
    with socket.create_connection(address, timeout=5) as plain:
        try:
            plain.sendall(b"\x00" * 64)
            if plain.recv(1):
                return False
        except ConnectionError:
            pass
        except TimeoutError:
            return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, timeout=5) as stream,
            context.wrap_socket(stream) as encrypted,
        ):
            encrypted.recv(1)
    except (ssl.SSLError, ConnectionError):
        return True
    except TimeoutError:
        pass
    return False


class WithoutCertificate(Security):  # type: ignore[misc]
    """Knows whom to trust, and has nothing to show."""

    def get_connection_args(self, role: str) -> dict[str, Any]:
        context = ssl.create_default_context(cadata=self.tls_ca_file)
        context.check_hostname = False
        return {"ssl_context": context, "require_encryption": True}


async def refused(address: str, security: Security) -> None:
    """Assert that a client with these credentials gets nothing within 5 s."""
    async with asyncio.timeout(5):
        client = Client(address, security=security, asynchronous=True, set_as_default=False, timeout=2)
        try:
            with pytest.raises((OSError, TimeoutError)):
                await client
        finally:
            await client.close()


def test_strangers_are_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    async def play(cluster: Cluster, run_dir: Path, step_s: float) -> None:
        async for _ in evolve(faulty_config(step_s=step_s), cluster.client, run_dir, n_processes=2, node_timeout_s=60):
            pass

    this = psutil.Process()
    others = set(this.children(recursive=True))  # such as the daemons that other tests share

    async def visit(cluster: Cluster) -> None:
        address, ours = cluster.client.scheduler.address, cluster.client.security
        addresses = listeners({this, *this.children(recursive=True)} - others)
        assert len(addresses) >= 4  # scheduler, its dashboard, nanny, worker
        assert {ip for ip, _ in addresses} == {"127.0.0.1"}
        assert await asyncio.to_thread(open_to_strangers, addresses) == []
        await refused(address.replace("tls", "tcp"), Security(require_encryption=False))
        await refused(address, Security.temporary())
        await refused(address, WithoutCertificate(tls_ca_file=ours.tls_ca_file))
        assert cluster.dashboard.startswith("http://127.0.0.1:")

    async def main() -> None:
        async with local_cluster() as cluster:
            await play(cluster, tmp_path / "undisturbed", 0.0)
            playing = asyncio.create_task(play(cluster, tmp_path / "visited", 0.02))
            await visit(cluster)
            assert not playing.done()
            await playing

    asyncio.run(main())
    undisturbed, visited = (
        [without_wall_clock(line) for line in read_generations(tmp_path / name)] for name in ("undisturbed", "visited")
    )
    assert visited == undisturbed


def test_keys_are_for_their_owner_and_go_with_the_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "cluster"
    with temporary_keys(folder) as keys:
        files = [Path(path) for path in (keys.tls_ca_file, keys.tls_worker_cert, keys.tls_worker_key)]
        assert {file.parent for file in files} == {folder}
        assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *files)] == [0o700, 0o600, 0o600, 0o600]
        assert files[2].read_text().startswith("-----BEGIN PRIVATE KEY")
        assert load_keys(folder).get_connection_args("worker")["ssl_context"] is not None
    assert not list(folder.iterdir())


def test_keys_are_not_written_to_where_others_may_look(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(0o777)
    with temporary_keys(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(ClusterError, match="cannot write"), temporary_keys(Path("/proc/keys")):
        pass
