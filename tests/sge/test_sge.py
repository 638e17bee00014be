"""`--cluster sge` on a real Grid Engine: the run, what becomes of its jobs, and Grid Engine's answers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gadask.clusters.jobqueue import Submission
from gadask.clusters.keptmachine import KeptMachine
from gadask.clusters.keptnode import KeptNode
from gadask.clusters.kinds import kind_of
from gadask.clusters.machine import Machine
from gadask.clusters.queue import FullQueueError, NoAnswerError, State
from gadask.clusters.sge import GridEngine, _job, _state
from gadask.clusters.wanted import Wanted
from gadask.errors import ClusterError, ConfigError
from tests.conftest import wait_until
from tests.sge.local_grid_engine import SLOTS, LocalGridEngine
from tests.slurm.runs import command, environment, parents, started, write_files

pytestmark = pytest.mark.usefixtures("no_leaks")

CALL_S = 60.0


def sge_command(folder: Path, *flags: object) -> list[str]:
    """Return the command line of a run on Grid Engine."""
    machine = folder / "machine.toml"
    machine.write_text(machine.read_text().replace('partition = "skylake"', 'partition = "all.q"'))
    return command(folder, "--cluster", "sge", "--machine", machine, "--machine.cores", SLOTS // 2, *flags)


def test_a_run_on_two_nodes_of_which_one_is_killed_is_the_run_of_one_machine(
    grid_engine: LocalGridEngine, tmp_path: Path
) -> None:
    write_files(tmp_path, step_s=0, generations=20)
    alone = subprocess.run(
        command(tmp_path, run="alone"), env=environment(), capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stderr
    write_files(tmp_path, step_s=0.05, generations=20)
    with started(sge_command(tmp_path, "--nodes", 2), tmp_path) as run:
        run.wait_for("gen +0 ")
        lost, *_ = grid_engine.jobs()
        grid_engine.call("qdel", lost)
        wait_until(lambda: "a node was lost and another is asked for" in run.err, 120, "the loss is noticed")
        assert run.finish(300) == 0, run.err
    assert parents(tmp_path / "run") == parents(tmp_path / "alone")
    wait_until(lambda: not grid_engine.jobs(), 60, "an empty queue")


def test_an_interrupted_run_leaves_no_job(grid_engine: LocalGridEngine, tmp_path: Path) -> None:
    write_files(tmp_path, step_s=0.05, generations=100)
    with started(sge_command(tmp_path, "--nodes", 3), tmp_path) as run:  # one more than there is room for
        run.wait_for("gen +0 ")
        run.wait_for("nodes: 2 of 3 running, 1 pending")
        run.process.send_signal(signal.SIGINT)
        assert run.finish() == 130
        assert "continue with: " in run.out
    wait_until(lambda: not grid_engine.jobs(), 60, "an empty queue")


def test_a_refused_job_ends_the_run_in_one_line(grid_engine: LocalGridEngine, tmp_path: Path) -> None:
    write_files(tmp_path)
    with started(sge_command(tmp_path, "--machine.parallel-environment", "nope"), tmp_path) as run:
        assert run.finish() == 1
    assert 'qsub: Unable to run job: job rejected: the requested parallel environment "nope" does not exist' in run.err


def test_jobs_that_die_at_once_end_the_run_with_the_end_of_a_log(grid_engine: LocalGridEngine, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    write_files(folder)
    with (folder / "machine.toml").open("a") as machine:
        machine.write('preamble = ["echo no such module", "exit 3"]\n')
    with started(sge_command(folder, "--nodes", 3), folder) as run:
        assert run.finish(300) == 1
    assert "jobs die before they become nodes" in run.err
    assert "no such module" in run.err.splitlines()[-1]


def test_a_job_that_was_suspended_is_charged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptNode(Submission("7"), KeptMachine(Wanted(Machine(), 1)))
    for state, seconds in (("r", 3600), ("T", 3800), ("r", 4000)):
        started_at = datetime.fromtimestamp(time.time() - seconds).isoformat(timespec="seconds")
        document = f"<job><state>{state}</state><JAT_start_time>{started_at}</JAT_start_time><slots>2</slots></job>"
        kept.see(_job(ElementTree.fromstring(document)), 0.0, True)
    assert kept.seconds == pytest.approx(4000, abs=60)


@pytest.mark.parametrize("start", ["yesterday", "2026-13-01T00:00:00"])
def test_a_list_that_cannot_be_read_is_no_answer(start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "qstat"
    program.parent.mkdir()
    entry = f"<job_list><state>r</state><JAT_start_time>{start}</JAT_start_time><slots>1</slots></job_list>"
    program.write_text(f"#!/bin/sh\necho '<job_info>{entry}</job_info>'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(NoAnswerError, match="qstat: expected a list of jobs, found"):
        asyncio.run(GridEngine().states(["mark"], CALL_S))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.sh"
    path.write_text("#!/bin/bash\nsleep 1000\n")
    return path


def test_what_grid_engine_says_of_jobs(grid_engine: LocalGridEngine, script: Path) -> None:
    queue = GridEngine()

    async def main() -> None:
        assert await queue.states(["mark"], CALL_S) == []
        slots = ("-pe", "smp", str(SLOTS))
        script.write_text(f"#!/bin/bash\n#$ {' '.join(slots)}\n#$ -o /dev/null\n#$ -j y\nsleep 1000\n")
        first = await queue.submit("gadask-x-mark-0", str(script), CALL_S)
        await becomes(first, State.RUNNING)
        second = await queue.submit("gadask-x-mark-1", str(script), CALL_S)
        await queue.submit("gadask-x-other-0", str(script), CALL_S)
        running, waiting = await queue.states(["mark"], CALL_S)
        assert (running.job_id, running.name, running.node) == (first, "gadask-x-mark-0", "localhost")
        assert running.cores == SLOTS
        assert (waiting.job_id, waiting.state, waiting.seconds) == (second, State.QUEUED, 0)
        grid_engine.call("qhold", second)
        assert (await queue.states(["mark"], CALL_S))[1].reason == "held"
        await queue.cancel([first, second, "999999"], CALL_S)
        await queue.cancel(["999999"], CALL_S)

    async def becomes(job_id: str, state: State) -> None:
        async with asyncio.timeout(60):
            while [job.state for job in await queue.states(["mark"], CALL_S) if job.job_id == job_id] != [state]:
                await asyncio.sleep(0.1)

    asyncio.run(main())
    grid_engine.cancel_all()


def test_a_master_that_is_away_gives_no_answer(
    grid_engine: LocalGridEngine, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGE_QMASTER_PORT", "1")
    for call in (
        GridEngine().submit("gadask-x-mark-0", str(script), CALL_S),
        GridEngine().states(["mark"], CALL_S),
        GridEngine().cancel(["1"], CALL_S),
    ):
        with pytest.raises(NoAnswerError):
            asyncio.run(call)


@pytest.fixture
def qsub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `qsub` that is found before the real one."""
    program = tmp_path / "bin" / "qsub"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


@pytest.mark.parametrize(
    ("says", "status", "expected"),
    [
        ("echo 17", 0, "17"),
        ("echo welcome to our cluster; echo 17", 0, "17"),
        ("echo Your job has been taken", 0, NoAnswerError),
        ("echo 'Unable to run job: warning: no queue. Your job 17 has been submitted' >&2", 1, NoAnswerError),
        ("echo 'Unable to run job: denied: you may not' >&2", 1, ClusterError),
        ("echo 'Unable to run job: job rejected: only 5 jobs are allowed per user (now: 5)' >&2", 1, FullQueueError),
    ],
)
def test_answers_of_qsub(says: str, status: int, expected: str | type[Exception], qsub: Path) -> None:
    qsub.write_text(f"#!/bin/sh\n{says}\nexit {status}\n")
    qsub.chmod(0o755)
    submitting = GridEngine().submit("gadask-x-mark-0", "script", CALL_S)
    if isinstance(expected, str):
        assert asyncio.run(submitting) == expected
    else:
        with pytest.raises(ClusterError) as caught:
            asyncio.run(submitting)
        assert type(caught.value) is expected


def test_the_job_script_says_what_the_machine_file_does(tmp_path: Path) -> None:
    machine = Machine(
        name="site",
        partition="long.q",
        account="ada",
        cores=40,
        wall_time="1-00:00:00",
        parallel_environment="openmp",
        extra_directives=("-l h_vmem=4G",),
        skip_directives=("-cwd", "-l h_rt"),
    )
    script = kind_of("sge").job_script(machine, tmp_path)
    options = [line.removeprefix("#$ ") for line in script.splitlines() if line.startswith("#$ ")]
    assert options == [
        "-N gadask-site",
        "-q long.q",
        "-P ada",
        "-j y",
        "-pe openmp 40",
        f'-o "{tmp_path}/cluster/job-$JOB_ID.log"',
        "-r n",
        "-S /bin/bash",
        "-V",
        "-l h_vmem=4G",
    ]
    assert any("exec" in line for line in script.splitlines())
    (warning,) = GridEngine().warnings(machine)
    assert warning.startswith("skip_directives leaves out -l: a job may end before its node")
    assert "such as '-l h_vmem=4G'" in GridEngine().warnings(Machine())[0]
    assert GridEngine().warnings(Machine(memory="default")) == []
    with pytest.raises(ConfigError, match="extra_directives: expected no -N"):
        GridEngine().check_machine(Machine(extra_directives=("-N mine",)))


def test_a_job_that_could_not_be_started_says_so() -> None:
    assert _state("Eqw") == (State.QUEUED, "it could not be started: qstat -j says why")
    expected = {
        **dict.fromkeys(("qw", "Rq"), State.QUEUED),
        **dict.fromkeys(("r", "Rr"), State.RUNNING),
        **dict.fromkeys(("dr", "dRr", "dt"), State.ENDING),
        **dict.fromkeys(("s", "S", "T", "ts"), State.OTHER),
        "t": State.STARTING,
    }
    assert {word: _state(word)[0] for word in expected} == expected
