"""A Slurm whose commands hang, fail, chatter, forget and repeat: no job is lost, left, or taken for another's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gadask.clusters.clearing import cancel_earlier
from gadask.clusters.jobcluster import JobCluster
from gadask.clusters.jobnames import job_name
from gadask.clusters.jobrecord import EarlierJobs, JobRecord
from gadask.clusters.kinds import queues
from tests.conftest import wait_until
from tests.slurm.hostile import Hostile, hostile
from tests.slurm.kept import DEAF, MACHINE, QUICK, arrive, keep
from tests.slurm.local_slurm import LocalSlurm
from tests.slurm.runs import slurm_command, started, write_files

__all__ = ["hostile"]

pytestmark = pytest.mark.usefixtures("no_leaks")

WAITING = replace(MACHINE, partition="closed")
LIVE = ("PENDING", "RUNNING")


@pytest.fixture
def scripts(hostile: Hostile, slurm: LocalSlurm, monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """The scripts in front of the commands that this process calls."""
    monkeypatch.setenv("PATH", hostile.path)
    return hostile


async def until(condition: Callable[[], object], deadline_s: float = 60) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.05)


async def looks(scripts: Hostile, n: int) -> None:
    """Return when `squeue` was called so many times more."""
    before = scripts.n_calls("squeue")
    await until(lambda: scripts.n_calls("squeue") >= before + n)


@pytest.mark.parametrize("order", ["done-slow", "done-hang"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_job_is_submitted_leaves_no_job(
    slurm: LocalSlurm, hostile: Hostile, tmp_path: Path, order: str, number: signal.Signals
) -> None:
    write_files(tmp_path)
    hostile.order("sbatch", order)
    with started(slurm_command(tmp_path, "--nodes", 2), tmp_path, PATH=hostile.path) as run:
        wait_until(lambda: hostile.is_done, 60, "a job is accepted")
        run.process.send_signal(number)
        hostile.behave("sbatch")
        assert run.finish(30) == 130
    assert "Traceback" not in run.err
    assert slurm.in_state(*LIVE) == []
    left = {path.name for path in (tmp_path / "run" / "cluster").iterdir() if path.suffix != ".log"}
    assert left == {".lock", "job.sh"}


@pytest.mark.parametrize("order", ["hang", "child", "nothing", "busy"])
def test_a_queue_that_says_nothing_changes_nothing(
    slurm: LocalSlurm, scripts: Hostile, tmp_path: Path, order: str
) -> None:
    async def be_silent(cluster: JobCluster) -> None:
        await until(lambda: cluster.counts().pending_reason)
        scripts.order("squeue", order)
        await looks(scripts, 5)  # each of which takes longer than a silent worker may
        scripts.behave("squeue")
        await looks(scripts, 3)
        (job,) = slurm.in_state(*LIVE)
        assert (job.state, scripts.n_calls("sbatch"), cluster.counts().lost) == ("PENDING", 1, 0)

    keep(tmp_path, WAITING, be_silent, periods=replace(QUICK, silent_s=0.5, command_s=0.8))
    assert slurm.in_state(*LIVE) == []


def test_a_node_that_plays_is_not_cancelled_for_a_slow_answer(
    slurm: LocalSlurm, scripts: Hostile, tmp_path: Path
) -> None:
    async def be_slow(cluster: JobCluster) -> None:
        await arrive(cluster)
        scripts.order("squeue", "child", once=True)
        await looks(scripts, 4)
        assert cluster.counts().lost == 0
        assert [job.state for job in slurm.jobs(ended=True)] == ["RUNNING"]

    keep(tmp_path, MACHINE, be_slow, periods=replace(QUICK, silent_s=40.0, command_s=41.0))


@pytest.mark.slow
def test_ctrl_c_ends_a_run_whose_queue_has_gone_silent(slurm: LocalSlurm, hostile: Hostile, tmp_path: Path) -> None:
    write_files(tmp_path)
    words = slurm_command(tmp_path, "--machine.partition", "closed")
    with started(words, tmp_path, PATH=hostile.path) as run:
        run.wait_for(r"nodes: 0 of 1 running, 1 pending \(")
        before = hostile.n_calls("squeue")
        hostile.order("squeue", "child")
        wait_until(lambda: hostile.n_calls("squeue") > before, 60, "a squeue that hangs")
        run.process.send_signal(signal.SIGINT)
        assert run.finish(30) == 130
    (job,) = slurm.in_state(*LIVE)
    assert f"scancel {job.id}; squeue --me" in run.err
    assert not list((tmp_path / "run").glob("**/*.pem"))
    hostile.behave("squeue")
    with started([*words, "--resume"], tmp_path, PATH=hostile.path) as run:
        slurm.wait_for(1, "CANCELLED", deadline_s=60)
        run.wait_for("1 pending")
        run.process.send_signal(signal.SIGINT)
        assert (run.finish(30), run.err) == (130, "")
    assert job.id in [other.id for other in slurm.in_state("CANCELLED")]


def test_a_job_that_answers_lack_is_forgotten_late_and_never_left(
    slurm: LocalSlurm, scripts: Hostile, tmp_path: Path
) -> None:
    async def forget(cluster: JobCluster) -> None:
        await until(lambda: cluster.counts().pending_reason)
        scripts.order("squeue", "lack", once=True)
        await looks(scripts, 4)
        assert scripts.n_calls("sbatch") == 1
        scripts.order("squeue", "lack")
        await until(lambda: len(slurm.in_state(*LIVE)) == 2)
        first, second = slurm.in_state(*LIVE)
        scripts.behave("squeue")
        await until(lambda: slurm.in_state("CANCELLED"))
        assert [job.id for job in slurm.in_state(*LIVE)] == [second.id]
        assert second.id > first.id

    keep(tmp_path, WAITING, forget)
    assert slurm.in_state(*LIVE) == []


def test_a_node_that_answers_lack_plays_on(slurm: LocalSlurm, scripts: Hostile, tmp_path: Path) -> None:
    async def lack(cluster: JobCluster) -> None:
        await arrive(cluster)
        scripts.order("squeue", "lack")
        await looks(scripts, 6)
        assert (cluster.counts().running, scripts.n_calls("sbatch")) == (1, 1)
        scripts.behave("squeue")

    keep(tmp_path, MACHINE, lack)
    assert slurm.in_state(*LIVE) == []


def test_a_job_that_the_last_answer_lacks_is_cancelled(slurm: LocalSlurm, scripts: Hostile, tmp_path: Path) -> None:
    async def lack(cluster: JobCluster) -> None:
        await until(lambda: cluster.counts().pending_reason)
        scripts.order("squeue", "lack", once=True)

    keep(tmp_path, replace(WAITING, poll_s=60), lack)
    assert slurm.in_state(*LIVE) == []
    assert not (tmp_path / "jobs.txt").exists()


def test_a_banner_is_no_answer(slurm: LocalSlurm, scripts: Hostile, tmp_path: Path) -> None:
    for name in ("sbatch", "squeue", "scancel"):
        scripts.order(name, "banner")
    keep(tmp_path, MACHINE, arrive)
    assert (slurm.in_state(*LIVE), len(slurm.jobs(ended=True))) == ([], 1)


@pytest.mark.parametrize("order", ["done-busy", "done-hang", "done-refuse", "twice"])
def test_a_job_that_was_accepted_without_an_answer_is_found_and_is_the_only_one(
    slurm: LocalSlurm, scripts: Hostile, tmp_path: Path, order: str
) -> None:
    async def found(cluster: JobCluster) -> None:
        await arrive(cluster)
        await looks(scripts, 4)
        assert (scripts.n_calls("sbatch"), len(slurm.in_state(*LIVE)), cluster.counts().lost) == (1, 1, 0)

    scripts.order("sbatch", order)
    keep(tmp_path, MACHINE, found, periods=replace(QUICK, command_s=2.0))
    assert slurm.in_state(*LIVE) == []


@pytest.mark.parametrize("order", ["busy", "hang", "nothing"])
def test_a_job_that_was_not_accepted_is_asked_for_again(
    slurm: LocalSlurm, scripts: Hostile, tmp_path: Path, order: str, caplog: pytest.LogCaptureFixture
) -> None:
    scripts.order("sbatch", order, once=True)
    keep(tmp_path, MACHINE, arrive, periods=replace(QUICK, command_s=2.0))
    assert "1 job not accepted, and asked for again later: sbatch" in caplog.text
    assert (scripts.n_calls("sbatch"), len(slurm.jobs(ended=True))) == (2, 1)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_on_jobs_that_others_of_the_user_fill_is_waited_for(
    slurm: LocalSlurm, scripts: Hostile, tmp_path: Path, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "other"
    other = slurm.call("sbatch", "--parsable", "-n", 1, f"--output={output}", "--wrap", "sleep 1000").strip()
    scripts.order("sbatch", f"limit {limit}")

    async def wait(cluster: JobCluster) -> None:
        before = scripts.n_calls("sbatch")
        await until(lambda: scripts.n_calls("sbatch") >= before + 2)
        assert len(slurm.in_state(*LIVE)) == limit
        slurm.call("scancel", other)
        scripts.order("sbatch", "limit 2")
        await arrive(cluster, n_nodes=2)
        assert cluster.counts().lost == 0

    keep(tmp_path, MACHINE, wait, n_nodes=2)
    told = [message for message in caplog.messages if "not accepted" in message]
    assert [message.partition(" not")[0] for message in told] == ["2 jobs" if limit == 1 else "1 job"]
    assert "later: sbatch: QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates" in told[0]
    assert slurm.in_state(*LIVE) == []
    assert not list(tmp_path.glob("*.log"))


def test_a_copy_of_a_run_leaves_the_originals_jobs_alone(slurm: LocalSlurm, tmp_path: Path) -> None:
    write_files(tmp_path)
    flags = ("--machine.partition", "closed")
    with started(slurm_command(tmp_path, *flags), tmp_path) as original:
        original.wait_for("1 pending")
        (job,) = slurm.wait_for(1, "PENDING")
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        with started([*slurm_command(tmp_path, *flags, run="copy"), "--resume"], tmp_path, "copied") as copy:
            copy.wait_for("1 pending")
            copy.process.send_signal(signal.SIGINT)
            assert copy.finish(60) == 130
        assert f"came with a copy of {tmp_path}/run/cluster, whose jobs are left alone" in copy.err
        assert [other.id for other in slurm.in_state(*LIVE)] == [job.id]


def test_a_moved_folder_keeps_its_jobs_and_a_reused_number_is_anothers(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(name: str) -> str:
        return slurm.call("sbatch", "--parsable", "-p", "closed", f"--job-name={name}", "--wrap", "sleep 100").strip()

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "here"
    folder.mkdir()
    record = JobRecord(folder, "slurm", EarlierJobs())
    record.begin(folder)
    mine, others = sleep(job_name("my-site", record.mark, 3)), sleep("gadask-my-site-0123456789-3")
    for number in (mine, others):
        record.add(number)
    moved = folder.rename(tmp_path / "there")
    assert asyncio.run(cancel_earlier(moved, queues(), QUICK)) == EarlierJobs()
    assert [job.id for job in slurm.in_state(*LIVE)] == [int(others)]
    assert not (moved / "jobs.txt").exists()
    slurm.call("scancel", others)


def test_the_users_environment_changes_nothing(
    slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        **{"SQUEUE_FORMAT": "%i", "SQUEUE_STATES": "SUSPENDED", "SQUEUE_SORT": "-i", "SQUEUE_USERS": "nobody"},
        **{"SQUEUE_NAMES": "other", "SCANCEL_STATE": "SUSPENDED", "SCANCEL_NAME": "other", "SCANCEL_VERBOSE": "1"},
        **{"SBATCH_WAIT": "1", "SBATCH_ARRAY_INX": "0-3", "SBATCH_JOB_NAME": "mine", "SBATCH_DEBUG": "2"},
        **{"SBATCH_OUTPUT": os.devnull, "SBATCH_TIMELIMIT": "1", "SBATCH_MEM_PER_CPU": "1T", "SLURM_TIME_FORMAT": "%s"},
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    async def came(cluster: JobCluster) -> None:
        await arrive(cluster)
        await until(lambda: cluster.counts().core_hours > 0)
        with monkeypatch.context() as patch:
            for name in settings:
                patch.delenv(name)
            assert [job.state for job in slurm.jobs()] == ["RUNNING"]
            monkeypatch.setenv("SQUEUE_STATES", "SUSPENDED")
            assert slurm.call("squeue", "--noheader", "--format=%l").split() == []
        assert list(tmp_path.glob("job-*.log"))

    keep(tmp_path, MACHINE, came)
    for name in settings:
        monkeypatch.delenv(name)
    assert slurm.in_state(*LIVE) == []


def test_a_damaged_record_does_not_keep_a_run_from_starting(
    slurm: LocalSlurm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "jobs.txt").write_bytes(b'12\n{"mark": 7}\n\xff\x00[\n' + json.dumps({"mark": "a"}).encode()[:5])
    keep(tmp_path, MACHINE, arrive)
    assert f"{tmp_path / 'jobs.txt'} is damaged: look for jobs of an earlier start with squeue --me" in caplog.text
    assert not (tmp_path / "jobs.txt").exists()


def test_a_job_that_was_cancelled_while_it_waited_is_asked_for_again(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def cancelled(cluster: JobCluster) -> None:
        await until(lambda: slurm.in_state("PENDING"))
        slurm.call("scancel", slurm.in_state("PENDING")[0].id)
        await until(lambda: cluster.counts().lost == 1)
        await until(lambda: slurm.in_state("PENDING"))

    keep(tmp_path, WAITING, cancelled)
    assert [job.state for job in slurm.jobs(ended=True)] == ["CANCELLED"] * 2


def test_a_job_that_runs_while_its_worker_starts_is_starting(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def start(cluster: JobCluster) -> None:
        await until(lambda: cluster.counts().starting)
        assert (cluster.counts().pending, cluster.counts().running) == (0, 0)

    keep(tmp_path, DEAF, start)


def test_a_folder_with_signs_that_sbatch_reads_as_patterns_has_the_logs(slurm: LocalSlurm, tmp_path: Path) -> None:
    async def log(_: JobCluster) -> None:
        await until(lambda: list(folder.glob("job-*.log")))

    folder = tmp_path / "50%j %% of"
    keep(folder, DEAF, log)
    assert len(list(tmp_path.iterdir())) == 1
