"""Slurm's commands as they are run: what hangs is killed with its children, the user's settings change no answer."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
from pathlib import Path

import psutil
import pytest

from gadask.clusters.commands import call
from gadask.clusters.queue import FullQueueError, NoAnswerError, State
from gadask.clusters.slurm import Slurm, command_environment
from gadask.errors import ClusterError
from tests.conftest import wait_until


@pytest.fixture(autouse=True)
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is found first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def write(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


async def begun(name: str, timeout_s: float) -> str:
    return await call(name, timeout_s=timeout_s, environ=os.environ, passes=re.compile("busy"))


def run(name: str, timeout_s: float = 30.0) -> str:
    return asyncio.run(begun(name, timeout_s))


def test_a_command_that_hangs_ends_with_all_of_its_session(bin_folder: Path) -> None:
    pids = bin_folder / "pids"
    write(bin_folder, "squeue", f"set -m; sleep inf & echo $! $$ > {pids}; wait")  # a group of its own, and the pipe
    with pytest.raises(NoAnswerError, match="squeue gave no answer within 1 s"):
        run("squeue", timeout_s=1.0)
    numbers = [int(word) for word in pids.read_text().split()]
    wait_until(lambda: not any(_lives(pid) for pid in numbers), 10, "the end of all")


def test_an_answer_is_read_while_a_child_holds_the_pipe(bin_folder: Path) -> None:
    write(bin_folder, "squeue", f"sleep inf & echo $! > {bin_folder}/pid; echo 12")
    try:
        assert run("squeue") == "12\n"
    finally:
        os.kill(int((bin_folder / "pid").read_text()), signal.SIGKILL)


def test_a_caller_that_is_cancelled_leaves_no_process(bin_folder: Path) -> None:
    write(bin_folder, "squeue", f"echo $$ > {bin_folder}/pid; exec sleep inf")

    async def cancelled() -> None:
        task = asyncio.create_task(begun("squeue", 60))
        while not (bin_folder / "pid").exists() or not (bin_folder / "pid").read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(cancelled())
    assert not _lives(int((bin_folder / "pid").read_text()))


@pytest.mark.parametrize(
    ("complaint", "passes"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", True),
        ("Batch job submission failed: Socket timed out on send/recv operation", True),
        ("Batch job submission failed: Zero Bytes were transmitted or received", True),
        ("Batch job submission failed: Invalid account or account/partition combination specified", False),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", False),
        ("Batch job submission failed: Job violates accounting/QOS policy (job submit limit, …)", False),
    ],
)
def test_what_passes_is_told_from_what_does_not(bin_folder: Path, complaint: str, passes: bool) -> None:
    write(bin_folder, "sbatch", f"echo 'sbatch: error: {complaint}' >&2; exit 1")
    with pytest.raises(ClusterError) as caught:
        asyncio.run(Slurm().submit("gadask-x-ab12-0", "job.sh", 30))
    assert str(caught.value) == f"sbatch: {complaint}"
    assert isinstance(caught.value, NoAnswerError) is passes


@pytest.mark.parametrize(
    ("reason", "is_full"),
    [
        ("QOSMaxSubmitJobPerUserLimit", True),
        ("QOSGrpSubmitJobsLimit", True),
        ("AssocMaxSubmitJobLimit", True),
        ("AssocGrpSubmitJobsLimit", True),
        ("MaxSubmitJobsPerAccount", True),
        ("QOSMaxWallDurationPerJobLimit", False),
        ("AssocMaxCpuPerJobLimit", False),
    ],
)
def test_a_limit_on_jobs_is_told_from_one_on_what_a_job_may_ask_for(
    bin_folder: Path, reason: str, is_full: bool
) -> None:
    policy = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    lines = [f"sbatch: error: {reason}", f"sbatch: error: Batch job submission failed: {policy}"]
    write(bin_folder, "sbatch", "\n".join(f"echo {shlex.quote(line)} >&2" for line in lines) + "\nexit 1")
    with pytest.raises(ClusterError, match=f"^sbatch: {reason}; Batch job submission failed: Job violates") as caught:
        asyncio.run(Slurm().submit("gadask-x-ab12-0", "job.sh", 30))
    assert isinstance(caught.value, FullQueueError) is is_full


def test_settings_that_select_stay_and_those_that_change_answers_go() -> None:
    kept = {"SBATCH_ACCOUNT": "me", "SBATCH_RESERVATION": "mine", "SLURM_CONF": "/c", "PATH": "/bin", "SBATCH_QOS": "q"}
    gone = {
        "SQUEUE_FORMAT": "%i",
        "SCANCEL_STATE": "",
        "SBATCH_WAIT": "1",
        "SBATCH_OUTPUT": "",
        "SLURM_TIME_FORMAT": "",
    }
    assert command_environment(kept | gone) == kept
    selected = command_environment({"SBATCH_CLUSTERS": "a", "SLURM_CLUSTERS": "b"})
    assert selected == {"SBATCH_CLUSTERS": "a", "SLURM_CLUSTERS": "a"}


LIST = "JOBID|NAME|STATE|TIME|CPUS|NODELIST|REASON"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([LIST], []),
        (
            [
                "Welcome | 7",
                LIST,
                "7|gadask-my-site-ab12-3|RUNNING|1-00:00:01|32|n1|None",
                "8|gadask-x-other-3|RUNNING",
            ],
            ["7"],
        ),
        (["CLUSTER: c", LIST, *["7|gadask-x-ab12-3|PENDING|0:00|32||Priority"] * 2], ["7"]),
        ([LIST, "9|gadask-x-ab12-3|PENDING|0:00|32||(a | b)", "10|gadask-x-ab12|PENDING|0:00|32||x"], ["9"]),
    ],
)
def test_own_jobs_are_found_in_what_a_queue_says(bin_folder: Path, lines: list[str], found: list[str]) -> None:
    write(bin_folder, "squeue", "cat << 'END'\n" + "\n".join(lines) + "\nEND")
    assert [job.job_id for job in asyncio.run(Slurm().states(["ab12"], 30))] == found


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *(("PENDING", State.QUEUED), ("CONFIGURING", State.STARTING), ("RUNNING", State.RUNNING)),
        *(("SUSPENDED", State.OTHER), ("SOMETHING_NEW", State.OTHER), ("COMPLETING", State.ENDING)),
        *(("COMPLETED", State.COMPLETED), ("PREEMPTED", State.PREEMPTED), ("OUT_OF_MEMORY", State.OUT_OF_MEMORY)),
        *(("CANCELLED", State.FAILED), ("TIMEOUT", State.FAILED), ("NODE_FAIL", State.FAILED)),
    ],
)
def test_slurms_words_are_states(bin_folder: Path, word: str, state: State) -> None:
    lines = [f"7|gadask-x-ab12-3|{word}|1:05|32|n1|{reason}" for reason in ("None", "Priority", word)]
    for line, reason in zip(lines, ("", "Priority", ""), strict=True):
        write(bin_folder, "squeue", f"printf '{LIST}\\n{line}\\n'")
        (job,) = asyncio.run(Slurm().states(["ab12"], 30))
        assert (job.state, job.word, job.reason, job.seconds, job.cores) == (state, word, reason, 65, 32)
    assert state.is_over == (state in (State.COMPLETED, State.PREEMPTED, State.OUT_OF_MEMORY, State.FAILED))
    assert state.is_to_cancel == (not state.is_over and word != "COMPLETING")


@pytest.mark.parametrize("answer", ["", "Maintenance today", "7|gadask-x-ab12-3|RUNNING|0:01|32|n1|None"])
def test_an_answer_without_a_lists_head_is_none(bin_folder: Path, answer: str) -> None:
    write(bin_folder, "squeue", f"echo '{answer}'")
    with pytest.raises(NoAnswerError, match="squeue: expected a list of jobs, found"):
        asyncio.run(Slurm().states(["ab12"], 30))


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
