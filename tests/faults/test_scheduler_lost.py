"""Fault 4: a scheduler of its own that is killed, a connection that breaks, a worker that stands still."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.comm.core import CommClosedError
from distributed.security import Security

from gadask.clusters.base import DASK_CONFIG
from gadask.clusters.local import local_cluster
from gadask.errors import ClusterError
from gadask.master.evolve import evolve
from gadask.master.generation import Progress
from gadask.record.directory import read_generations, without_wall_clock
from tests.conftest import faulty_config, is_of_fork_server, wait_until

ROOT = Path(__file__).parents[2]
CONFIG = faulty_config(step_s=0.004)
CONFIG = replace(CONFIG, budget=replace(CONFIG.budget, generations=3))
Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run, which the others must equal."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    asyncio.run(evolve_locally(run_dir))
    return run_dir


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What makes Dask use TLS, and no log, in this process's children."""
    security, pem = Security.temporary(), tmp_path / "tls.pem"
    pem.write_text(security.tls_ca_file + security.tls_client_key)
    files = {"CA_FILE"} | {f"{role}__{part}" for role in ("SCHEDULER", "WORKER", "CLIENT") for part in ("CERT", "KEY")}
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        **{f"DASK_DISTRIBUTED__COMM__TLS__{file}": str(pem) for file in files},
    }


def test_everything_ends_and_the_resumed_run_gives_the_same(
    environment: dict[str, str], whole: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    with (
        cluster(environment, tmp_path / "first.json") as (address, scheduler, worker),
        started(environment, "-m", __name__, address, run_dir) as master,
    ):
        assert master.stdout is not None
        for line in master.stdout:
            generation, n_counted = map(int, line.split())
            if generation == 1 and n_counted:
                break
        node = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        scheduler.kill()
        _, errors = master.communicate(timeout=40)
        wait_until(lambda: not any(map(is_alive, node)), 5, "worker, nanny and rollout processes gone")
    assert master.returncode == 1
    assert "ClusterError: the Dask scheduler is lost" in errors
    assert f"{run_dir} holds everything up to the last closed generation" in errors
    assert 1 <= len(log(run_dir)) < 3

    with (
        cluster(environment, tmp_path / "second.json") as (address, _, _),
        started(environment, "-m", __name__, address, run_dir) as master,
    ):
        _, errors = master.communicate(timeout=120)
    assert master.returncode == 0, errors
    assert log(run_dir) == log(whole)
    assert checkpoint(run_dir) == checkpoint(whole)


def test_a_connection_that_is_made_again_changes_nothing(whole: Path, tmp_path: Path) -> None:
    broken: list[int] = []

    def break_once(progress: Progress, client: Client) -> None:
        if progress.generation == 1 and progress.n_counted and not broken:
            broken.append(progress.n_counted)
            client.scheduler_comm.comm.abort()

    asyncio.run(evolve_locally(tmp_path / "run", break_once))
    assert broken
    assert log(tmp_path / "run") == log(whole)


def test_a_result_that_cannot_be_fetched_is_played_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a connection breaks under a request while the client's own is whole."""
    errors = iter([CommClosedError("in gather: Stream is closed"), ValueError("IOStream is not idle")])
    fail_to_fetch(monkeypatch, errors)
    asyncio.run(asyncio.wait_for(evolve_locally(tmp_path / "run"), 150))
    assert next(errors, None) is None
    assert log(tmp_path / "run") == log(whole)


def test_results_that_never_can_be_fetched_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_fetch(monkeypatch, repeat(ValueError("no such class")))
    with pytest.raises(ClusterError, match=r"a chunk failed 5 times.*no such class"):
        asyncio.run(asyncio.wait_for(evolve_locally(tmp_path / "run"), 150))


def test_a_worker_that_stands_still_is_replaced(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection stays open, so that nothing but its silence tells."""
    monkeypatch.setitem(DASK_CONFIG, "distributed.scheduler.worker-ttl", "5s")
    stopped: list[psutil.Process] = []

    def stop_once(progress: Progress, client: Client) -> None:
        if progress.generation == 1 and progress.n_counted and not stopped:
            stopped.append(workers()[0])
            stopped[0].suspend()

    asyncio.run(asyncio.wait_for(evolve_locally(tmp_path / "run", stop_once), 150))
    assert stopped
    assert not stopped[0].is_running()
    assert log(tmp_path / "run") == log(whole)


def test_a_worker_that_dies_while_the_parents_are_sent_is_not_waited_for(whole: Path, tmp_path: Path) -> None:
    async def evolve_and_kill() -> None:
        async with local_cluster(2) as cluster:
            generations = evolve(CONFIG, cluster.client, tmp_path / "run", n_processes=1, node_timeout_s=60)
            async with aclosing(generations):
                async for _ in generations:
                    worker = workers()[-1]
                    worker.suspend()
                    asyncio.get_running_loop().call_later(1.0, worker.kill)

    asyncio.run(asyncio.wait_for(evolve_and_kill(), 150))
    assert log(tmp_path / "run") == log(whole)


def fail_to_fetch(monkeypatch: pytest.MonkeyPatch, errors: Iterable[Exception]) -> None:
    """Have the client's first requests for results end with these errors."""
    fetch, left = Client._gather_remote, iter(errors)

    async def fetch_or_fail(client: Client, *arguments: object) -> object:
        result = await fetch(client, *arguments)
        if error := next(left, None):
            raise error
        return result

    monkeypatch.setattr(Client, "_gather_remote", fetch_or_fail)


def workers() -> list[psutil.Process]:
    """Return this process's workers that are nodes by now."""
    children = psutil.Process().children(recursive=True)
    parents = [p.parent() for p in children if is_of_fork_server(p)]
    return [p for p in parents if p is not None and not is_of_fork_server(p)]


async def evolve_locally(
    run_dir: Path, on_progress: Callable[[Progress, Client], None] = lambda progress, client: None
) -> None:
    async with local_cluster(1) as cluster:
        await drive(cluster.client, run_dir, lambda progress: on_progress(progress, cluster.client))


@contextmanager
def started(environment: dict[str, str], *arguments: object) -> Iterator[Process]:
    """Run Python with these arguments; kill it at the end."""
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def cluster(environment: dict[str, str], file: Path) -> Iterator[tuple[str, Process, Process]]:
    """Start a scheduler and a worker; yields the scheduler's address and both processes."""
    flags = ("--scheduler-file", file, "--no-dashboard")
    where = ("--protocol", "tls", "--host", "127.0.0.1", "--port", "0")
    with started(environment, "-m", "dask", "scheduler", *where, *flags) as scheduler:
        wait_until(lambda: file.exists() and file.read_text().endswith("\n}"), 60, "the scheduler's file")
        with started(environment, "-m", "dask", "worker", "--nthreads", "2", "--memory-limit", "0", *flags) as worker:
            yield json.loads(file.read_text())["address"], scheduler, worker


def is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def checkpoint(run_dir: Path) -> dict[str, Any]:
    return without_wall_clock(json.loads((run_dir / "checkpoint.json").read_text()))


async def drive(client: Client, run_dir: Path, on_progress: Callable[[Progress], None]) -> None:
    """Start the run or go on with it."""
    generations = evolve(
        CONFIG, client, run_dir, resume=run_dir.exists(), n_processes=2, node_timeout_s=60, on_progress=on_progress
    )
    async with aclosing(generations):
        async for _ in generations:
            pass


async def main(address: str, run_dir: Path) -> None:
    """Be a master that prints how far it is."""
    async with Client(address, asynchronous=True, set_as_default=False) as client:
        await drive(client, run_dir, lambda progress: print(progress.generation, progress.n_counted, flush=True))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
