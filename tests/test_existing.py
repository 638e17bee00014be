"""`--cluster ADDRESS`: somebody's scheduler, its workers before, during and after runs."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster, Worker
from distributed.comm import registry
from distributed.comm.core import CommClosedError
from distributed.comm.tcp import TLSConnector
from distributed.security import Security

from gadask.clusters import existing
from gadask.clusters.connector import survive_cut_handshakes
from gadask.clusters.existing import existing_cluster
from gadask.clusters.local import local_cluster
from gadask.errors import ClusterError, UsageError
from gadask.master.evolve import evolve
from gadask.record.directory import read_episodes, read_generations, without_wall_clock
from tests.conftest import faulty_config, is_of_fork_server

pytestmark = pytest.mark.usefixtures("no_leaks")


@asynccontextmanager
async def somebodys_scheduler(n_workers: int, security: Security | None = None) -> AsyncIterator[LocalCluster]:
    cluster = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        security=security,
        protocol="tls" if security else "tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        asynchronous=True,
        silence_logs=logging.CRITICAL,
    )
    async with cluster:
        yield cluster


def tls_files(folder: Path, security: Security) -> dict[str, str]:
    """Write a client's TLS files; returns Dask's configuration that names them."""
    config = {}
    for key, name in [("ca-file", "tls_ca_file"), ("client.cert", "tls_client_cert"), ("client.key", "tls_client_key")]:
        path = folder / f"{name}.pem"
        path.write_text(getattr(security, name))
        config[f"distributed.comm.tls.{key}"] = str(path)
    return config


async def play(address: str, run_dir: Path, *, ready: asyncio.Event | None = None) -> None:
    """Evolve on a scheduler; sets `ready` after the first generation."""
    async with existing_cluster(address) as cluster:
        async for _ in evolve(faulty_config(step_s=0.001), cluster.client, run_dir, n_processes=1, node_timeout_s=60):
            assert cluster.counts().running == cluster.counts().wanted > 0
            if ready:
                ready.set()


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def plugins(dask_worker: Worker) -> list[str]:
    return sorted(name for name in dask_worker.plugins if name == "gadask")


def rollout_processes() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if is_of_fork_server(p)]


def test_a_run_leaves_the_workers_as_they_were(tmp_path: Path) -> None:
    async def elsewhere() -> None:
        async with local_cluster() as cluster:
            async for _ in evolve(faulty_config(step_s=0.001), cluster.client, tmp_path / "local", n_processes=2):
                pass

    async def main() -> None:
        security = Security.temporary()
        async with somebodys_scheduler(1, security) as theirs, Client(theirs, asynchronous=True) as client:
            before = set((await client.run(lambda: 0)).keys())
            with dask.config.set(tls_files(tmp_path, security)):
                await play(theirs.scheduler_address, tmp_path / "run")
            assert await client.run(plugins) == {address: [] for address in before}
            assert not rollout_processes()
            theirs.scale(2)
            await client.wait_for_workers(2, timeout=60)
            after = await client.run(plugins)
            assert before < after.keys()
            assert not any(after.values())
            assert set(read_episodes(tmp_path / "run", 3)["node"].to_pylist()) == before

    asyncio.run(main())
    asyncio.run(elsewhere())
    assert log(tmp_path / "run") == log(tmp_path / "local")


def test_a_client_that_cannot_be_closed_does_not_hide_why_a_run_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Client._close

    async def close_badly(self: Client, *args: Any, **kwargs: Any) -> None:
        await close(self, *args, **kwargs)
        raise ValueError("IOStream is not idle; cannot convert to SSL")

    async def main() -> None:
        async with somebodys_scheduler(0) as theirs:
            monkeypatch.setattr(Client, "_close", close_badly)
            try:
                async with existing_cluster(theirs.scheduler_address):
                    raise ClusterError("the Dask scheduler is lost")
            finally:
                monkeypatch.undo()

    with pytest.raises(ClusterError, match="the Dask scheduler is lost"):
        asyncio.run(main())


def test_the_first_of_two_runs_to_end_leaves_the_nodes_to_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with somebodys_scheduler(1) as theirs, Client(theirs, asynchronous=True) as client:
            playing = asyncio.Event()
            async with existing_cluster(theirs.scheduler_address) as cluster:
                generations = evolve(faulty_config(), cluster.client, tmp_path / "long", n_processes=1)
                await anext(generations)
                await play(theirs.scheduler_address, tmp_path / "short", ready=playing)
                assert playing.is_set()
                async for _ in generations:
                    pass
                assert set(map(tuple, (await client.run(plugins)).values())) == {("gadask",)}
            assert set(map(tuple, (await client.run(plugins)).values())) == {()}

    asyncio.run(main())
    assert len(log(tmp_path / "long")) == len(log(tmp_path / "short")) == 4


async def refusal(address: str) -> str:
    with pytest.raises((ClusterError, UsageError)) as raised:
        async with asyncio.timeout(20), existing_cluster(address):
            pass
    assert "\n" not in str(raised.value)
    return f"{type(raised.value).__name__}: {raised.value}"


def test_an_address_where_no_scheduler_answers_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing, "_CONNECT_S", 1.0)

    async def talk_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        writer.close()

    async def main() -> None:
        ours, foreign = (tmp_path / "ours"), (tmp_path / "foreign")
        ours.mkdir()
        foreign.mkdir()
        security = Security.temporary()
        web = await asyncio.start_server(talk_http, "127.0.0.1", 0)
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            socket.create_server(("127.0.0.1", 0)) as closed,
        ):
            ports = [s.getsockname()[1] for s in (silent, closed, web.sockets[0])]
            closed.close()
            async with somebodys_scheduler(0, security) as encrypted, somebodys_scheduler(0) as plain:
                tls, tcp = encrypted.scheduler_address, plain.scheduler_address
                assert "expected three TLS files" in await refusal(tls)
                assert "ClusterError" in await refusal(tls.replace("tls", "tcp"))
                for port in ports:
                    assert f":{port}: expected a Dask scheduler" in await refusal(f"tcp://127.0.0.1:{port}")
                with dask.config.set(tls_files(ours, security)):
                    for port in ports:
                        assert f":{port}: expected a Dask scheduler" in await refusal(f"tls://127.0.0.1:{port}")
                    assert "expected a Dask scheduler" in await refusal("tls://nowhere.invalid:8786")
                    assert "ClusterError" in await refusal(tcp.replace("tcp", "tls"))
                with dask.config.set(tls_files(foreign, Security.temporary())):
                    assert "certificate" in await refusal(tls)
                with dask.config.set({"distributed.comm.tls.ca-file": str(tmp_path / "none.pem")}):
                    assert "UsageError" in await refusal(tls)
        web.close()
        await web.wait_closed()
        for address in ("", "login:8786", "tls://login", "tls:/login:8786", "ucx://login:8786", "tls://login:eight"):
            assert "UsageError: --cluster: expected an address such as tls://host:8786" in await refusal(address)

    asyncio.run(main())


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("192.0.2.1", True)])
def test_an_unencrypted_scheduler_on_a_network_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, host: str, warned: bool
) -> None:
    monkeypatch.setattr(existing, "_CONNECT_S", 0.2)
    asyncio.run(refusal(f"tcp://{host}:1"))
    assert ("not encrypted" in caplog.text) == warned


def test_a_handshake_that_is_cut_is_a_broken_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Dask's own reconnecting takes it; what tornado raises would end that for good."""

    async def cut(*arguments: object, **kwargs: object) -> None:
        raise ValueError("IOStream is not idle; cannot convert to SSL")

    monkeypatch.setitem(registry.backends, "tls", registry.backends["tls"])
    monkeypatch.setattr(TLSConnector, "connect", cut)
    survive_cut_handshakes()
    connector = registry.get_backend("tls").get_connector()
    with pytest.raises(CommClosedError, match="not idle"):
        asyncio.run(connector.connect("127.0.0.1:1", ssl_context=None))
