"""PBS and LSF, which nobody has tried: their job scripts and what they read, as text."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path

import pytest

from gadask.clusters.kinds import KINDS, kind_of
from gadask.clusters.lsf import Lsf
from gadask.clusters.machine import Machine
from gadask.clusters.pbs import Pbs
from gadask.clusters.queue import FullQueueError, Job, NoAnswerError, Queue, State
from gadask.errors import ClusterError, ConfigError

MACHINE = Machine(
    name="site",
    partition="long",
    account="ada",
    cores=40,
    memory="4GiB per core",
    wall_time="1-00:30:00",
    extra_directives=("-m n",),
)
CALL_S = 30.0


def directives(kind: str, mark: str, machine: Machine, folder: Path) -> list[str]:
    script = kind_of(kind).job_script(machine, folder)
    return [line.removeprefix(f"#{mark} ") for line in script.splitlines() if line.startswith(f"#{mark} ")]


def test_a_job_script_of_pbs(tmp_path: Path) -> None:
    expected = [
        *("-N gadask-site", "-q long", "-A ada", "-l select=1:ncpus=40:mem=163840mb", "-l walltime=88200"),
        *("-j oe", f'-o "{tmp_path}/cluster/"', "-k doe", "-r n", "-S /bin/bash", "-V", "-m n"),
    ]
    assert directives("pbs", "PBS", MACHINE, tmp_path) == expected
    whole = Machine(memory="all", skip_directives=("-V", "-k"))
    assert "-l place=excl" in directives("pbs", "PBS", whole, tmp_path)
    assert not {"-V", "-k doe"} & set(directives("pbs", "PBS", whole, tmp_path))
    with pytest.raises(ConfigError, match="extra_directives: expected no -N"):
        kind_of("pbs").check_machine(Machine(extra_directives=("-N mine",)))


def test_a_job_script_of_lsf(tmp_path: Path) -> None:
    assert directives("lsf", "BSUB", MACHINE, tmp_path) == [
        *("-J gadask-site", "-q long", "-P ada", "-n 40", '-R "span[hosts=1]"', "-W 24:30", "-wa TERM", "-wt 1"),
        *(f'-o "{tmp_path}/cluster/job-%J.log"', "-rn", "-L /bin/bash", "-m n"),
    ]
    with pytest.raises(ConfigError, match="extra_directives: expected no -J"):
        kind_of("lsf").check_machine(Machine(extra_directives=("-J mine",)))


@pytest.mark.parametrize("kind", ["pbs", "lsf"])
def test_it_is_said_that_they_are_untried(kind: str) -> None:
    assert "(untried)" in KINDS[kind].about
    queue = KINDS[kind].queue
    assert queue is not None
    assert "has never been run with" in queue.warnings(MACHINE)[0]


PBS_JOBS = {
    "pbs_server": "server",
    "Jobs": {
        "7.server": {
            "Job_Name": "gadask-site-mark-0",
            "Job_Owner": f"{getpass.getuser()}@login",
            "job_state": "R",
            "resources_used": {"walltime": "01:00:05"},
            "Resource_List": {"ncpus": 40},
            "exec_host": "n17/0*40",
            "comment": "Job run",
        },
        "8.server": {
            "Job_Name": "gadask-site-mark-1",
            "Job_Owner": f"{getpass.getuser()}@login",
            "job_state": "Q",
            "Resource_List": {"ncpus": 40},
            "comment": "Not Running: Insufficient amount of resource: ncpus",
        },
        "9.server": {"Job_Name": "gadask-site-mark-2", "Job_Owner": "somebody@login", "job_state": "R"},
        "10.server": {"Job_Name": "mine", "Job_Owner": f"{getpass.getuser()}@login", "job_state": "R"},
    },
}
LSF_JOBS = {
    "COMMAND": "bjobs",
    "RECORDS": [
        {
            **{"JOBID": "7", "STAT": "RUN", "JOB_NAME": "gadask-site-mark-0", "EXEC_HOST": "40*n17"},
            **{"RUN_TIME": "3605 second(s)", "SLOTS": "40", "PEND_REASON": "-", "EXIT_REASON": "-"},
        },
        {
            **{"JOBID": "8", "STAT": "PEND", "JOB_NAME": "gadask-site-mark-1", "EXEC_HOST": "-", "SLOTS": "-"},
            **{"RUN_TIME": "0 second(s)", "PEND_REASON": "Not enough slots;", "EXIT_REASON": "-"},
        },
        {"JOBID": "10", "STAT": "RUN", "JOB_NAME": "mine"},
    ],
}


@pytest.mark.parametrize(
    ("queue", "program", "document", "reason"),
    [
        (Pbs(), "qstat", PBS_JOBS, "Not Running: Insufficient amount of resource: ncpus"),
        (Lsf(), "bjobs", LSF_JOBS, "Not enough slots;"),
    ],
    ids=["pbs", "lsf"],
)
def test_what_they_say_of_jobs(
    queue: Queue, program: str, document: object, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_says(tmp_path, monkeypatch, program, f"welcome to our cluster\n{json.dumps(document)}")
    running, waiting = asyncio.run(queue.states(["mark"], CALL_S))
    number = running.job_id.partition(".")[0]
    assert (running.state, running.seconds, running.cores, running.node) == (State.RUNNING, 3605, 40, "n17")
    assert (number, running.name, running.reason) == ("7", "gadask-site-mark-0", "")
    assert isinstance(waiting, Job)
    assert (waiting.state, waiting.seconds, waiting.reason) == (State.QUEUED, 0, reason)
    program_says(tmp_path, monkeypatch, program, "the server is on holiday")
    with pytest.raises(NoAnswerError, match=f"{program}: expected a list of jobs, found 'the server is on holiday'"):
        asyncio.run(queue.states(["mark"], CALL_S))


@pytest.mark.parametrize(
    ("queue", "program", "accepted", "job_id"),
    [
        (Pbs(), "qsub", "welcome\n17.server", "17.server"),
        (Lsf(), "bsub", "Job <17> is submitted to queue <long>.", "17"),
    ],
    ids=["pbs", "lsf"],
)
def test_what_they_say_to_a_submission(
    queue: Queue, program: str, accepted: str, job_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script"
    script.write_text("the script")
    program_says(tmp_path, monkeypatch, program, accepted)
    assert asyncio.run(queue.submit("gadask-site-mark-0", str(script), CALL_S)) == job_id
    given = (tmp_path / "given").read_text()
    assert given in ("-N gadask-site-mark-0 " + str(script) + "\n", "-J gadask-site-mark-0\nthe script")
    for status, says, error in (
        (0, "thank you", NoAnswerError),
        (1, "cannot connect: connection timed out", NoAnswerError),
        (1, "Unknown queue", ClusterError),
        (
            1,
            "would exceed complex's per-user limit of jobs",
            FullQueueError if isinstance(queue, Pbs) else ClusterError,
        ),
    ):
        program_says(tmp_path, monkeypatch, program, says, status)
        with pytest.raises(ClusterError) as caught:
            asyncio.run(queue.submit("gadask-site-mark-0", str(script), CALL_S))
        assert type(caught.value) is error


@pytest.mark.parametrize(
    ("queue", "program", "gone"),
    [(Pbs(), "qdel", "qdel: Unknown Job Id 9.server"), (Lsf(), "bkill", "Job <9>: Job has already finished")],
    ids=["pbs", "lsf"],
)
def test_jobs_that_have_ended_are_cancelled_in_vain(
    queue: Queue, program: str, gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_says(tmp_path, monkeypatch, program, gone, 1)
    asyncio.run(queue.cancel(["9"], CALL_S))
    program_says(tmp_path, monkeypatch, program, "you may not", 1)
    with pytest.raises(ClusterError, match="you may not"):
        asyncio.run(queue.cancel(["9"], CALL_S))


def program_says(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str, status: int = 0) -> None:
    """Put a program in front of all others that says this, and notes what it was given."""
    path = folder / "bin" / program
    path.parent.mkdir(exist_ok=True)
    (folder / "says").write_text(f"{says}\n")
    path.write_text(f'#!/bin/sh\n{{ echo "$@"; cat; }} > {folder}/given\ncat {folder}/says\nexit {status}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
