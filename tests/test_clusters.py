"""Keys, and nodes that leave; clusters on a real Slurm are tested in `tests/slurm/`."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Worker
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Brood
from gadask.clusters import local
from gadask.clusters.allocation import allocation_cluster
from gadask.clusters.base import NodeCounts
from gadask.clusters.jobcluster import job_cluster
from gadask.clusters.jobqueue import lifetime
from gadask.clusters.jobrecord import EarlierJobs, JobRecord, read_earlier
from gadask.clusters.kinds import queues
from gadask.clusters.local import local_cluster
from gadask.clusters.machine import Machine
from gadask.clusters.periods import Periods
from gadask.clusters.security import load_keys, locked_folder, temporary_keys
from gadask.clusters.slurm import Slurm
from gadask.clusters.wanted import Wanted
from gadask.errors import ClusterError, GadaskError, RunDirectoryError
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, pack_brood, pack_chunk
from gadask.node import plugin
from gadask.node.plugin import NodePlugin
from gadask.rows import Rows
from tests.conftest import eventually, faulty_config

SLURM = Slurm()
QUEUES = queues()


def test_keys_can_be_read_by_their_owner_alone_and_go_with_the_cluster(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "cluster"
    old = os.umask(0)
    try:
        with temporary_keys(folder) as security:
            paths = [Path(path) for path in {security.tls_ca_file, security.tls_worker_key}]
            modes = {stat.S_IMODE(path.stat().st_mode) for path in paths}
            assert (modes, stat.S_IMODE(folder.stat().st_mode)) == ({0o600}, 0o700)
            assert {path.parent for path in paths} == {folder}
            assert load_keys(folder).get_tls_config_for_role("worker") == security.get_tls_config_for_role("worker")
            assert security.get_listen_args("scheduler")["ssl_context"] is not None
    finally:
        os.umask(old)
    assert list(folder.iterdir()) == []


def test_keys_of_a_killed_master_are_replaced_and_a_failure_leaves_none(tmp_path: Path) -> None:
    for name in ("key.pem", "certificate.pem"):
        (tmp_path / name).write_text("old")
    tmp_path.chmod(0o755)

    def fail() -> None:
        with temporary_keys(tmp_path) as security:
            assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
            assert "PRIVATE KEY" in Path(str(security.tls_scheduler_key)).read_text()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_hold_keys_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ClusterError, match=r"cannot write the cluster's keys: .*file"), temporary_keys(file):
        pass
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, -1)
        with pytest.raises(ClusterError, match="found somebody else's"), temporary_keys(tmp_path):
            pass


@pytest.mark.parametrize("kind", ["slurm", "allocation"])
def test_a_second_cluster_in_the_same_folder_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder, asked = tmp_path / "run" / "cluster", tmp_path / "asked"
    for name in ("sbatch", "squeue", "scancel"):
        write_command(tmp_path, monkeypatch, name, f"echo {name} >> {asked}")
    write_command(tmp_path, monkeypatch, "scontrol", "echo n1")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n1")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "2")

    async def second() -> None:
        opening = (
            job_cluster(SLURM, QUEUES, [Wanted(Machine(), 1)], folder=folder, start_timeout_s=9)
            if kind == "slurm"
            else allocation_cluster(Machine(), folder=folder)
        )
        async with opening:
            pass

    with locked_folder(folder), temporary_keys(folder):
        (folder / "jobs.txt").write_text('{"mark": "m", "job": "7"}\n')
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(RunDirectoryError, match=r"cluster: another master is writing this cluster folder \(host"):
            asyncio.run(second())
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not asked.exists()
    with locked_folder(folder):  # a job that was requeued takes it again
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "jobs.txt"]


@pytest.mark.usefixtures("no_leaks")
def test_jobs_of_a_killed_master_are_remembered_until_the_queue_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        write_command(tmp_path, monkeypatch, name, "echo no controller >&2; exit 1")
    record = JobRecord(tmp_path, "slurm", EarlierJobs())
    record.begin(tmp_path)
    record.add("7")
    record.add("8")
    (tmp_path / "key.pem").write_text("old")

    async def start() -> None:
        periods = Periods(end_s=1.0, end_poll_s=0.1, end_absence_s=0.2)
        async with job_cluster(
            SLURM, QUEUES, [Wanted(Machine(interface="lo"), 1)], folder=tmp_path, start_timeout_s=9, periods=periods
        ):
            pass

    with pytest.raises(ClusterError, match="the job was refused: sbatch: no controller"):
        asyncio.run(start())
    assert read_earlier(tmp_path, "hand").job_ids == ("7", "8")
    assert record.mark in read_earlier(tmp_path, "hand").marks
    assert not (tmp_path / "key.pem").exists()
    assert "jobs may be left in the queue" in caplog.text
    assert "let them go: squeue: no controller; scancel 7 8; squeue --me" in caplog.text
    write_command(tmp_path, monkeypatch, "squeue", "echo 'JOBID|NAME|ST'")  # they are forgotten
    with pytest.raises(ClusterError, match="the job was refused"):
        asyncio.run(start())
    assert not (tmp_path / "jobs.txt").exists()


@pytest.mark.parametrize("name", ["job.sh", "jobs.txt"])
def test_a_file_that_cannot_be_written_is_one_line_and_no_key_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for command in ("sbatch", "squeue", "scancel"):
        write_command(tmp_path, monkeypatch, command, "echo 'JOBID|NAME|ST'; echo no account >&2; exit 1")
    folder = tmp_path / "cluster"
    (folder / name / "in the way").mkdir(parents=True)

    async def start() -> None:
        periods = Periods(end_s=0.5, end_poll_s=0.1, end_absence_s=0.2)
        async with job_cluster(
            SLURM, QUEUES, [Wanted(Machine(interface="lo"), 1)], folder=folder, start_timeout_s=9, periods=periods
        ):
            pass

    with pytest.raises(GadaskError) as caught:
        asyncio.run(start())
    expected = {"job.sh": "sbatch: no account", "jobs.txt": f"{folder}/jobs.txt: cannot remove it: Is a directory"}
    assert expected[name] in str(caught.value)
    assert (f"cannot write {folder}/job.sh: Is a directory" in caplog.text) == (name == "job.sh")
    assert not list(folder.glob("*.pem"))


def test_keys_that_were_not_written_whole_go(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))  # as a disk that is full
    try:
        with (
            pytest.raises(ClusterError, match=r"cannot write the cluster's keys: .*File too large"),
            temporary_keys(tmp_path),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@given(wall_s=st.integers(60, 10**6), share=st.floats(0, 0.999))
def test_every_node_leaves_in_time(wall_s: int, share: float) -> None:
    hours, rest = divmod(wall_s, 3600)
    days, hours = divmod(hours, 24)
    wall_time = f"{days}-{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    machine = Machine(wall_time=wall_time, leave_before_s=share * wall_s)
    lifetime_s, stagger_s = lifetime(machine)
    assert 0 < lifetime_s - stagger_s <= lifetime_s + stagger_s <= wall_s - share * wall_s + 1e-6


def test_importing_dask_jobqueue_leaves_ctrl_c_as_it_was() -> None:
    now = "signal.getsignal(signal.SIGINT)"
    code = f"import signal; before = {now}; import gadask.clusters.jobcluster; print({now} == before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("True\n", "")


@pytest.mark.parametrize(
    ("answer", "found"),
    [("echo 123", "123"), ("echo '45;cluster2'", "45"), ("echo Welcome to node 7; echo 123", "123")],
)
def test_the_number_of_a_job_is_found_in_what_a_sites_sbatch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, found: str
) -> None:
    write_command(tmp_path, monkeypatch, "sbatch", answer)
    assert asyncio.run(SLURM.submit("gadask-x-mark-0", "job.sh", 60)) == found


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("printf 'sbatch: error: no account\nsbatch: error: Failed' >&2; exit 1", "sbatch: no account; Failed$"),
        ("exit 3", "sbatch: exit status 3$"),
        ("echo hello", "sbatch: expected the number of a job, found 'hello'$"),
    ],
)
def test_the_reason_of_a_refusal_is_slurms_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, reason: str
) -> None:
    write_command(tmp_path, monkeypatch, "sbatch", answer)
    with pytest.raises(ClusterError, match=reason):
        asyncio.run(SLURM.submit("gadask-x-mark-0", "job.sh", 60))


def write_command(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Put a shell script in the place of one of Slurm's commands."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Dask forgets to close its first try
def test_a_dashboard_whose_port_was_just_taken_is_elsewhere_and_dask_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dashboard() -> str:
        async with local_cluster() as cluster:
            return cluster.dashboard

    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setattr(local, "dashboard_address", lambda: address)
        found = asyncio.run(dashboard())
    assert re.fullmatch("http://127.0.0.1:[0-9]+/status", found)
    assert address not in found


@pytest.mark.usefixtures("no_leaks")
def test_a_node_that_leaves_gives_its_chunk_back_without_an_error() -> None:
    config = faulty_config("slow", step_s=0.03)
    task = prepare_task(config)
    chunk = Chunk(0, Kind.CHILD, tuple((slot, 0) for slot in range(6)))

    def digest(dask_worker: Worker) -> str:
        info = plugin.describe(dask_worker)
        assert info is not None
        return plugin.identity(info.digest)

    def is_playing(dask_worker: Worker) -> bool:
        node: Any = dask_worker.plugins[plugin.PLUGIN_NAME].node
        return node is not None and node.n_tasks > 0

    def leave(dask_worker: Worker) -> None:
        dask_worker.loop.add_callback(dask_worker.close)

    async def play() -> tuple[str, plugin.ChunkResult]:
        async with local_cluster(2) as cluster:
            client: Client = cluster.client
            counts.append(cluster.counts())
            await client.register_plugin(NodePlugin(task.noise, 1))
            digests = await client.run(digest)
            first = next(iter(digests))
            future = client.submit(
                plugin.play,
                pack_chunk(chunk),
                pack_brood(task, Brood(0, (), ())),
                digests[first],
                pure=False,
                workers=[first],
                allow_other_workers=True,
            )

            async def plays() -> bool:
                return bool((await client.run(is_playing, workers=[first]))[first])

            await eventually(plays, 60, "the first node plays")
            await client.run(leave, workers=[first])
            result = await future
            counts.append(cluster.counts())
            return first, result

    counts: list[NodeCounts] = []
    first, result = asyncio.run(play())
    assert [(count.running, count.wanted) for count in counts] == [(2, 2), (1, 2)]
    assert counts[1].core_hours > counts[0].core_hours >= 0
    assert result.node != first
    assert sorted(Rows.unpacked(result.packed).table["slot"]) == [0, 1, 2, 3, 4, 5]


def test_more_connections_are_allowed_where_nodes_need_them() -> None:
    code = (
        "import resource\n"
        "from gadask.clusters.base import allow_connections\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4000))\n"
        "for n_nodes in (8, 500, 100_000):\n"
        "    allow_connections(n_nodes)\n"
        "    print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.splitlines() == ["1024 4000", "2500 4000", "4000 4000"], ended.stderr
