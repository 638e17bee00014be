"""Flags for nodes: which machine they mean, what is refused, and which clusters they open."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from rich.live import Live

from gadask.clusters.machine import Machine, load_machine
from gadask.console import command_line
from gadask.console.command_line import StderrHandler
from gadask.console.node_flags import (
    NodeFlags,
    check_node_flags,
    confirm_cost,
    default_node_flags,
    dry_run,
    resume_command,
    this_command,
)
from gadask.console.notice import saying
from gadask.errors import ConfigError, UsageError
from gadask.imports import own_command
from gadask.words import without
from tests.conftest import eventually, wait_until

SLURM = ("--cluster", "slurm", "--machine", "generic")


@pytest.fixture(autouse=True)
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder of the user's own machine files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (tmp_path / "gadask").mkdir()
    return tmp_path / "gadask"


def parsed(*argv: str) -> NodeFlags:
    flags = command_line.parse(argv, default_node_flags(argv))
    check_node_flags(flags)
    return flags


def test_flags_win_over_the_machine_file(users: Path) -> None:
    (users / "mine.toml").write_text('base = "peta4-skylake"\naccount = "A-SL3-CPU"\nwall_time = "02:00:00"\n')
    flags = parsed(
        "--cluster", "slurm", "--machine=mine", "--machine.account", "B-SL3-CPU", "--machine.preamble", "a b", "c"
    )  # fmt: skip
    assert flags.fields == dataclasses.replace(load_machine("mine"), account="B-SL3-CPU", preamble=("a b", "c"))
    assert flags.fields.wall_time == "02:00:00"
    assert parsed("--cluster", "slurm", "--machine", str(users / "mine.toml")).fields.account == "A-SL3-CPU"


def test_every_field_of_a_machine_is_a_flag() -> None:
    values: dict[str, list[str]] = {"wall_time": ["01:00:00"], "memory": ["7GB"], "required": ["partition"]}
    for field in dataclasses.fields(Machine):
        value = values.get(field.name, ["7"] if not field.name.endswith("directives") else [])
        flag = f"--machine.{field.name.replace('_', '-')}"
        directive = "--no-requeue" if field.name == "skip_directives" else "--qos=7"
        given = [f"{flag}={directive}"] if not value else [flag, *value]
        needed = [] if field.name != "required" else ["--machine.partition", "p"]
        assert getattr(parsed(*SLURM, *given, *needed).fields, field.name) != getattr(Machine(), field.name)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("--cluster", "slurmm"),
            "--cluster: expected local, slurm, sge, pbs, lsf, allocation, or the address",
        ),
        (("--cluster", "tls://login"), "such as tls://host:8786, found 'tls://login'"),
        (("--cluster", "http://login:8786"), "found 'http://login:8786'"),
        (
            ("--cluster", "slurm"),
            "--machine: expected with --cluster slurm, found none; give a machine file, or one of",
        ),
        ((*SLURM[:3], "peta4-skylak"), "no machine is called 'peta4-skylak'; did you mean 'peta4-skylake'?"),
        ((*SLURM[:3], "peta4-skylake"), "--machine.account: peta4-skylake requires it, found none"),
        (
            ("--machine", "generic"),
            "--machine: expected with --cluster slurm, sge, pbs, lsf or allocation, found",
        ),
        (
            ("--machine.cores", "3"),
            "--machine: expected with --cluster slurm, sge, pbs, lsf or allocation, found",
        ),
        ((*SLURM, "--machine.cores", "0"), "--machine.cores: expected at least 1, found 0"),
        ((*SLURM, "--machine.wall-time", "12"), "--machine.wall_time: expected HH:MM:SS or D-HH:MM:SS, found '12'"),
        ((*SLURM, "--nodes", "0"), "--nodes: expected at least 1, found 0"),
        (("--cluster", "allocation", "--nodes", "2"), "--nodes: expected with --cluster local, slurm, sge, pbs or lsf"),
        (
            ("--cluster", "tcp://127.0.0.1:8786", "--nodes", "2"),
            "--nodes: expected with --cluster local, slurm, sge, pbs or lsf",
        ),
        (("--rollouts-per-node", "0"), "--rollouts-per-node: expected at least 1, found 0"),
        (("--start-timeout", "0"), "--start-timeout: expected more than 0, found 0"),
        (("--start-timeout", "nan"), "--start-timeout: expected a number, found 'nan'"),
    ],
)
def test_flags_that_no_cluster_can_be_opened_with(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(*argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_allocation_is_only_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(
        ConfigError, match=r"--cluster allocation: expected inside a Slurm job, .* jobs/allocation\.sbatch"
    ):
        parsed("--cluster", "allocation")
    assert parsed("--cluster", "allocation", "--dry-run").dry_run


def test_the_kinds_of_clusters() -> None:
    kinds = {address: parsed("--cluster", address).kind.name for address in ("local", "allocation", "tls://a.b-c:1")}
    assert kinds == {"local": "local", "allocation": "allocation", "tls://a.b-c:1": "existing"}
    assert parsed("--cluster", "tcp://[::1]:8786").kind.name == "existing"
    assert parsed(*SLURM).kind.name == "slurm"


def test_rollouts_are_the_flags_or_the_machines_or_the_nodes_own() -> None:
    assert parsed(*SLURM).n_processes is None
    assert parsed(*SLURM, "--machine.rollouts-per-node", "5").n_processes == 5
    assert parsed(*SLURM, "--machine.rollouts-per-node", "5", "--rollouts-per-node", "3").n_processes == 3
    assert parsed("--nodes", "10000").n_processes == 1


def test_local_rollouts_are_the_cores_that_were_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gadask.clusters.local.granted_cores", lambda: 7)
    assert parsed().n_processes == 7
    assert parsed("--nodes", "2").n_processes == 3


def test_a_dry_run_says_what_its_script_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = (*SLURM[:3], "peta4-skylake")
    dry_run(parsed(*site, "--dry-run"), tmp_path / "run", lambda _: "a little")
    script, end = capsys.readouterr().out.split("\n\n1 job of this script; largest cost: a little\n")
    assert "#SBATCH -A" not in script
    assert end.startswith("not yet complete: --machine.account: peta4-skylake requires it")
    assert end.count("\n") == 1
    dry_run(parsed(*site, "--machine.account", "A-SL3-CPU", "--dry-run"), tmp_path / "run", lambda _: "a little")
    assert capsys.readouterr().out.endswith("largest cost: a little\n")


def test_a_run_in_an_allocation_goes_on_in_another_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ACCOUNT", "SLURM_JOB_START_TIME", "SLURM_JOB_END_TIME", "GADASK_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_PARTITION", "icelake")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "8")
    monkeypatch.setenv("GADASK_REQUEUES", "3")
    monkeypatch.setenv("GADASK_LAUNCHER", "apptainer exec a.sif")
    inside = parsed("--cluster", "allocation")
    end = ["--cluster", "allocation"]
    monkeypatch.setattr("sys.argv", ["jobs/run.py", "my config.toml", "--resume", "--run-dir", "run", *end])
    assert resume_command(inside) == (
        "GADASK_LAUNCHER='apptainer exec a.sif' GADASK_REQUEUES=3 sbatch --partition=icelake --nodes=8"
        " jobs/allocation.sbatch 'my config.toml' --run-dir run --resume"
    )
    assert "sbatch" not in resume_command(parsed())
    monkeypatch.setenv("SLURM_JOB_ACCOUNT", "A-SL3-CPU")
    monkeypatch.setenv("SLURM_JOB_START_TIME", "1000")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "8200")
    monkeypatch.delenv("GADASK_REQUEUES")
    monkeypatch.delenv("GADASK_LAUNCHER")
    monkeypatch.setattr("sys.argv", ["jobs/sweep.py", "study.toml", "--study-dir", "study", *end])
    assert this_command(inside) == (
        "GADASK_JOB=sweep sbatch --account=A-SL3-CPU --partition=icelake --nodes=8 --time=120 jobs/allocation.sbatch"
        " study.toml --study-dir study"
    )


def test_a_flag_that_is_given_anew_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "a.toml", "--budget.elite_mean", "3", "--resume", "--budget.elite-mean=4", "--run-dir", "--odd"]
    monkeypatch.setattr("sys.argv", ["gadask", *words])
    again = resume_command(parsed(), "--budget.elite-mean", "inf").partition("gadask ")[2]
    assert again == "run a.toml --run-dir --odd --resume --budget.elite-mean inf"
    assert without(["--seed", "--seed", "--nodes=2", "--seed=3", "x"], "--seed") == ["--nodes=2", "x"]
    monkeypatch.setenv("SLURM_JOB_PARTITION", "icelake")
    monkeypatch.setattr("sys.argv", ["jobs/run.py", "a.toml", "--cluster=allocation", "--run-dir", "run"])
    assert resume_command(parsed("--cluster", "allocation")).endswith("a.toml --run-dir run --resume")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_takes_long_is_said(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: is_terminal)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("TERM", "xterm")
    with saying("counting"):
        pass
    assert output.getvalue() == ""
    with saying("counting", after_s=0):
        wait_until(output.getvalue, 10, "it is said")
    assert output.getvalue() == ("counting …\r\x1b[2K" if is_terminal else "counting …\n")
    output.seek(0)
    output.truncate()
    with saying("counting", in_files=False, after_s=0):
        if is_terminal:
            wait_until(output.getvalue, 10, "it is said")
    assert ("counting" in output.getvalue()) == is_terminal


def test_a_queue_is_given_more_time_than_a_process() -> None:
    assert (parsed().start_timeout_s, parsed().node_timeout_s) == (120, 120)
    assert parsed(*SLURM).start_timeout_s == 86_400
    slurm = parsed(*SLURM, "--start-timeout", "5")
    assert slurm.start_timeout_s == 5 < slurm.node_timeout_s


def test_a_script_must_agree_to_what_a_run_may_cost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "empty").open("w+") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        confirm_cost(parsed(*SLURM), 1000, "1,000 core-hours")
        confirm_cost(parsed(*SLURM, "--machine.confirm-core-hours", "inf"), float("inf"), "no limit")
        confirm_cost(parsed(*SLURM, "--yes"), float("inf"), "no limit")
        confirm_cost(parsed(), float("inf"), "no limit")  # this machine costs nothing
        with pytest.raises(UsageError, match="this may cost 1,001 core-hours, and generic asks above 1,000") as caught:
            confirm_cost(parsed(*SLURM), 1001, "1,001 core-hours")
        assert "--budget" not in str(caught.value)  # `gadask evaluate` has none, and a run perhaps no limit on hours


def test_lines_in_a_file_stand_in_the_order_in_which_they_came() -> None:
    code = (
        "import sys\n"
        "from gadask.console.command_line import exit_status\n"
        "def command(): print('before'); raise UsageError('what is wrong')\n"
        "from gadask.errors import UsageError\n"
        "sys.exit(exit_status(command))"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, text=True
    )
    assert (ended.stdout, ended.returncode) == ("before\nerror: what is wrong\n", 2)


def test_cancelled_drawing_ends_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches the processes of the terminal's group: the script, which may still be importing, is not in it."""
    script = (
        "import os, subprocess, time\n"
        "def main(): pass\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "with open(__file__ + '.tmp', 'w') as file: file.write(f'{os.getpid()} {child.pid} {os.getpgrp()}')\n"
        "os.rename(file.name, __file__ + '.pids')\n"
        "time.sleep(1000)\n"
    )
    (tmp_path / "hanging_film.py").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    written = tmp_path / "hanging_film.py.pids"

    def hanging(module: str, *words: str) -> list[str]:
        return own_command("hanging_film" if module == "gadask.__main__" else module, *words)

    monkeypatch.setattr(command_line, "own_command", hanging)

    async def main() -> list[psutil.Process]:
        drawing = asyncio.create_task(command_line.draw("film", "film"))
        await eventually(written.exists, 30, "the script runs")
        *pids, group = map(int, written.read_text().split())
        assert group != os.getpgrp()
        processes = [psutil.Process(pid) for pid in pids]
        drawing.cancel()
        await asyncio.wait({drawing})
        return processes

    script_process, started = asyncio.run(main())
    assert not script_process.is_running()
    wait_until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE, 10, "its child has ended")


def test_no_logger_of_dask_writes_errors_that_the_master_reports() -> None:
    script = (
        "import logging, sys; from gadask.console.command_line import exit_status\n"
        "def command():\n"
        "    import distributed\n"
        "    names = [name for name in logging.root.manager.loggerDict if name.split('.')[0] == 'distributed']\n"
        "    assert len(names) > 20\n"
        "    for name in names: logging.getLogger(name).error('of %s', name)\n"
        "    return 0\n"
        "sys.exit(exit_status(command))\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "DASK_LOGGING__DISTRIBUTED"}
    answer = subprocess.run([sys.executable, "-c", script], env=environ, stderr=subprocess.PIPE, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_warning_is_written_above_a_live_display() -> None:
    output = io.StringIO()
    logger = logging.Logger("somebody")
    logger.addHandler(StderrHandler())
    with Live("the display", console=Console(file=output, force_terminal=True), auto_refresh=False, transient=True):
        logger.warning("a node was lost: [Errno 5]")
    assert "a node was lost: [Errno 5]" in output.getvalue()
