"""The seam between gadask and batch systems: a second one is a class and an entry, and everything else is common."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

import gadask
from gadask.clusters import jobqueue
from gadask.clusters.clearing import cancel_earlier
from gadask.clusters.jobcluster import JobCluster, job_cluster
from gadask.clusters.jobrecord import EarlierJobs, JobRecord, read_earlier
from gadask.clusters.kinds import KINDS, kind_of, queue_kind, queues
from gadask.clusters.machine import Machine
from gadask.clusters.periods import Periods
from gadask.clusters.slurm import Slurm
from gadask.clusters.wanted import Wanted
from gadask.console.node_flags import NodeFlags, check_node_flags, dry_run
from gadask.errors import ClusterError, ConfigError, Interrupted
from tests.conftest import eventually
from tests.queues import Oar

pytestmark = pytest.mark.usefixtures("no_leaks")

MACHINE = Machine(memory="1GB", interface="lo", poll_s=1.0)
DEAF = replace(MACHINE, preamble=("echo no worker comes", "exec sleep inf"))
QUICK = Periods(soon_s=0.5, absence_s=1.0, submit_again_s=1.0, end_absence_s=0.5)


@pytest.fixture(autouse=True)
def oar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Oar]:
    """An OAR without jobs, registered by one entry; fails if the test leaves a job in it."""
    monkeypatch.setattr(Oar, "jobs", {})
    monkeypatch.setattr(Oar, "orders", [])
    monkeypatch.setattr(Oar, "room", math.inf)
    monkeypatch.setattr(Oar, "n_calls", 0)
    queue = Oar()
    monkeypatch.setitem(KINDS, "oar", queue_kind(queue))
    yield queue
    assert living(queue) == []


def living(queue: Oar) -> list[str]:
    return [job_id for job_id, job in queue.jobs.items() if job.process.poll() is None]


@asynccontextmanager
async def opened(
    queue: Oar,
    folder: Path,
    n_nodes: int = 1,
    start_timeout_s: float = 100,
    machine: Machine = MACHINE,
    others: Sequence[Wanted] = (),
) -> AsyncIterator[JobCluster]:
    wanted = [Wanted(machine, n_nodes), *others]
    async with job_cluster(
        queue, queues(), wanted, folder=folder, start_timeout_s=start_timeout_s, periods=QUICK
    ) as cluster:
        yield cluster


async def arrive(cluster: JobCluster, n_lost: int = 0) -> None:
    def arrived() -> bool:
        counts = cluster.counts()
        return counts.running >= 1 and counts.lost >= n_lost

    await eventually(arrived, 100, f"a node, {n_lost} lost")


def test_by_name_it_gives_nodes_and_ends_them(oar: Oar, tmp_path: Path) -> None:
    async def play() -> None:
        cluster = await gadask.cluster("oar", machine=MACHINE, run_dir=tmp_path)
        try:
            assert cluster.node_timeout_s > 86_400
            await eventually(lambda: cluster.counts().running == 1, 100, "a node")
            assert await cluster.client.submit(os.getppid) in {job.process.pid for job in oar.jobs.values()}
            await eventually(lambda: cluster.counts().core_hours > 0, 30, "a look that says what it costs")
            head = json.loads((tmp_path / "cluster" / "jobs.txt").read_text().splitlines()[0])
            assert head["queue"] == "oar"
        finally:
            await cluster.close()

    asyncio.run(play())
    assert (list(oar.jobs), living(oar)) == (["1.server"], [])
    left = {path.name for path in (tmp_path / "cluster").iterdir()}
    assert left == {".lock", "job.sh"}
    script = (tmp_path / "cluster" / "job.sh").read_text()
    assert "#OAR -l select=1:ncpus=32\n" in script
    assert "SBATCH" not in script


def test_the_command_line_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = NodeFlags(cluster="oar", machine=("generic",), nodes=3, dry_run=True)
    check_node_flags(flags)
    dry_run(flags, tmp_path, lambda _: "much")
    assert re.search(
        "(?s)#OAR -l walltime=12:00:00.*3 jobs of this script; largest cost: much", capsys.readouterr().out
    )
    assert (flags.left, flags.where) == (
        "jobs may be left in the queue; the next start with this directory cancels them, or qdel",
        "3 nodes of generic",
    )
    with pytest.raises(ConfigError, match="expected with --cluster local, slurm, sge, pbs, lsf or oar, found"):
        check_node_flags(NodeFlags(cluster="allocation", nodes=2, dry_run=True))
    # What Slurm's job scripts cannot have is no business of another's.
    kind_of("oar").check_machine(replace(MACHINE, skip_directives=("-l",), extra_directives=("-J 0-3",)))


@pytest.mark.parametrize("remembers", [True, False])
def test_a_job_that_dies_is_asked_for_again_also_where_the_queue_forgets_it(
    oar: Oar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, remembers: bool
) -> None:
    monkeypatch.setattr(Oar, "remembers", remembers)

    async def play() -> None:
        async with opened(oar, tmp_path) as cluster:
            await arrive(cluster)
            os.killpg(oar.jobs["1.server"].process.pid, signal.SIGKILL)
            await arrive(cluster, n_lost=1)

    asyncio.run(play())
    assert list(oar.jobs) == ["1.server", "2.server"]
    how = "F, Exit_status = -9" if remembers else "COMPLETED"
    assert f"a node was lost and another is asked for: job 1.server on here: {how} after " in caplog.text


@pytest.mark.parametrize("order", ["lose", "fail"])
def test_a_submission_without_an_answer_is_looked_for_by_its_name(
    oar: Oar, tmp_path: Path, caplog: pytest.LogCaptureFixture, order: str
) -> None:
    oar.orders.append(order)

    async def play() -> None:
        async with opened(oar, tmp_path) as cluster:
            await arrive(cluster)

    asyncio.run(play())
    assert list(oar.jobs) == ["1.server"]
    assert "a job may have been accepted; gadask looks for it: qsub: cannot connect to server" in caplog.text
    assert ("1 job not accepted, and asked for again later: qsub: cannot" in caplog.text) == (order == "fail")


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if "not accepted" in message]


FULL = "qsub: would exceed complex's per-user limit of jobs"


@pytest.mark.parametrize("room", [0, 3])
def test_where_the_queue_is_full_the_rest_is_asked_for_later_and_that_is_said_once(
    oar: Oar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    monkeypatch.setattr(Oar, "room", room)
    monkeypatch.setattr(jobqueue, "_MOST_SUBMISSIONS", 2)

    async def play() -> None:
        async with opened(oar, tmp_path, n_nodes=12, machine=DEAF) as cluster:
            assert len(living(oar)) == room
            assert Oar.n_calls in (room + 1, room + 2)  # not twelve
            first = Oar.n_calls
            await eventually(lambda: Oar.n_calls >= first + 3, 60, "three more tries")
            assert (len(living(oar)), cluster.counts().lost) == (room, 0)
            assert refusals(caplog) == [f"{12 - room} jobs not accepted, and asked for again later: {FULL}"]
            monkeypatch.setattr(Oar, "room", 12)
            await eventually(lambda: len(living(oar)) == 12, 60, "all of them")
            assert len(refusals(caplog)) == 1
            os.killpg(oar.jobs["1.server"].process.pid, signal.SIGKILL)
            monkeypatch.setattr(Oar, "room", 11)
            await eventually(lambda: len(refusals(caplog)) == 2, 60, "said again, for it had been well")

    asyncio.run(play())


def test_a_queue_that_stays_full_is_the_reason_why_no_node_came(
    oar: Oar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        async with opened(oar, tmp_path, start_timeout_s=3):
            await asyncio.sleep(1000)

    monkeypatch.setattr(Oar, "room", 0)
    with pytest.raises(ClusterError, match=f"no node for 3 s: no job was accepted: {FULL}; a larger --start-timeout"):
        asyncio.run(play())


@pytest.mark.parametrize("error", [None, ZeroDivisionError("mine"), Interrupted("enough")])
def test_logs_of_jobs_stay_where_the_work_failed(
    oar: Oar, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    async def play() -> None:
        async with opened(oar, tmp_path, n_nodes=3, machine=DEAF):
            logs = [tmp_path / f"{number}.server.OU" for number in (1, 2, 3)]
            await eventually(lambda: all(log.exists() and log.stat().st_size for log in logs), 60, "their logs")
            logs[1].write_text("")
            if error is not None:
                raise error

    with nullcontext() if error is None else pytest.raises(type(error)):
        asyncio.run(play())
    left = sorted(path.name for path in tmp_path.glob("*.OU"))
    failed = isinstance(error, ZeroDivisionError)
    assert left == (["1.server.OU", "3.server.OU"] if failed else [])
    assert (f"the nodes' logs are in {tmp_path}/1.server.OU and 1 more" in caplog.text) == failed


def test_the_log_of_a_job_that_died_is_named_and_stays(
    oar: Oar, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        async with opened(oar, tmp_path, n_nodes=2, machine=DEAF) as cluster:
            log = tmp_path / "1.server.OU"
            await eventually(lambda: log.exists() and log.stat().st_size, 60, "its log")
            os.killpg(oar.jobs["1.server"].process.pid, signal.SIGKILL)
            await eventually(lambda: cluster.counts().lost == 1, 60, "its loss")
            await eventually(lambda: len(oar.jobs) == 3, 60, "another job")

    asyncio.run(play())
    assert re.search(
        rf"1\.server on here: F, Exit_status = -9 after \d+ s; its log {tmp_path}/1.server.OU ends: no worker",
        caplog.text,
    )
    assert [path.name for path in tmp_path.glob("*.OU")] == ["1.server.OU"]


def test_what_is_refused_and_what_does_not_arrive_is_said_in_its_words(oar: Oar, tmp_path: Path) -> None:
    async def play(folder: str, start_timeout_s: float) -> None:
        async with opened(oar, tmp_path / folder, start_timeout_s=start_timeout_s):
            await asyncio.sleep(1000)

    oar.orders.append("refuse")
    with pytest.raises(ClusterError, match="the job was refused: qsub: Unknown queue; compare --machine"):
        asyncio.run(play("refused", 100))
    with pytest.raises(ClusterError, match=r"no worker of job 1\.server .* set the machine's scheduler_interface; its"):
        asyncio.run(play("late", 0.1))


def test_jobs_of_an_earlier_start_are_cancelled_in_the_queue_that_has_them(
    oar: Oar, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = JobRecord(tmp_path, "oar", EarlierJobs())
    record.begin(tmp_path)
    script = tmp_path / "script"
    script.write_text(f"#OAR -o {tmp_path}\nexec sleep inf\n")
    job_id = asyncio.run(oar.submit(f"gadask-x-{record.mark}-0", str(script), 1))
    record.add(job_id)

    left = asyncio.run(cancel_earlier(tmp_path, {"slurm": Slurm()}, QUICK))
    assert (left.job_ids, living(oar)) == ((job_id,), [job_id])
    assert f"{tmp_path}: jobs of an earlier start may be left in a queue that is not asked here" in caplog.text
    later = JobRecord(tmp_path, "slurm", left)
    later.begin(tmp_path)
    assert later.marks == {later.mark}  # the other's are no business of Slurm's
    later.remove()
    assert read_earlier(tmp_path, "by hand") == left

    assert asyncio.run(cancel_earlier(tmp_path, queues(), QUICK)) == EarlierJobs()
    assert not (tmp_path / "jobs.txt").exists()


def test_a_record_that_names_no_queue_is_slurms(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, "slurm", EarlierJobs())
    record.begin(tmp_path / "keys")
    record.add("7")
    head = json.loads((tmp_path / "jobs.txt").read_text().splitlines()[0])
    assert head.keys() == {"mark", "inode", "folder", "keys"}  # as it was before there was another
    (start,) = read_earlier(tmp_path, "by hand").starts
    assert (start.queue, start.job_ids, start.key_folder) == ("slurm", ("7",), tmp_path / "keys")
