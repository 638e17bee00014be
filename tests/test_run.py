"""`jobs/run.py` as a user types it: exit statuses, bad input (fault 17), Ctrl-C, second runs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gadask.commands.run import _cost_text
from gadask.record.directory import read_generations, without_wall_clock
from gadask.record.generations import core_hours
from gadask.units import core_hours_text
from tests.conftest import wait_until
from tests.small_run import small_run

ROOT = Path(__file__).parents[1]
RUN = [sys.executable, str(ROOT / "jobs" / "run.py")]

CONFIG = small_run()

SMALL = CONFIG.replace("generations = 3", "")
SLURM = ("--cluster", "slurm", "--machine", "generic")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def run(
    *arguments: object, timeout_s: float = 300, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
        env=environ or environment(),
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "XDG_CONFIG_HOME": "/nonexistent"}


def log(run_dir: Path) -> list[dict[str, object]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def test_what_a_run_cost_is_told_apart_by_what_was_closed() -> None:
    assert _cost_text(2.4, 0.0, 2.55) == (
        "core-hours: 2.40 for closed generations; 0.15 more for tests and unfinished ones"
    )
    assert _cost_text(2.4, 1.0, 1.5).startswith("core-hours: 2.40 for closed generations, 1.00 of them before; 0.10 ")


def test_a_run_ends_by_saying_where_to_look(config: Path, tmp_path: Path) -> None:
    proxy = {"DASK_DISTRIBUTED__DASHBOARD__LINK": "https://hub/user/{JUPYTERHUB_USER}/proxy/{port}/status"}
    result = run(config, "--run-dir", tmp_path / "run", environ={**environment(), **proxy, "JUPYTERHUB_USER": "me"})
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    (port,) = re.findall(r"^dashboard: https://hub/user/me/proxy/(\d+)/status$", result.stdout, re.MULTILINE)
    assert f"gadask's page: https://hub/user/me/proxy/{port}/ga" in lines
    assert [line.split()[:2] for line in lines if line.startswith("gen")] == [["gen", "0"], ["gen", "1"], ["gen", "2"]]
    assert max(map(len, lines[1:5])) <= 80
    assert "5 fresh episodes" in result.stdout
    assert f"run directory: {tmp_path / 'run'}" in result.stdout
    (cost,) = (line for line in lines if line.startswith("core-hours: "))
    charged = core_hours_text(core_hours(tmp_path / "run"))
    assert cost.startswith(f"core-hours: {charged} for closed generations; ")
    assert f"<td>{charged} charged for closed generations<" in (tmp_path / "run" / "report.html").read_text()
    assert all(line["timing"]["core_hours"] > 0 for line in read_generations(tmp_path / "run"))
    assert (tmp_path / "run" / "elite.gif").read_bytes().startswith(b"GIF8")
    assert (tmp_path / "run" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert f"report: {tmp_path / 'run' / 'report.html'}" in lines
    assert "data:image/gif;base64," in (tmp_path / "run" / "report.html").read_text()
    assert "--resume" in lines[-1]


def test_a_second_run_in_the_same_directory_is_refused(config: Path, tmp_path: Path) -> None:
    assert run(config, "--run-dir", tmp_path / "run", "--budget.generations", 1, "--no-pictures").returncode == 0
    again = run(config, "--run-dir", tmp_path / "run")
    assert (again.returncode, again.stdout) == (2, "")
    assert "--resume" in again.stderr
    assert len(log(tmp_path / "run")) == 1
    finished = run(config, "--run-dir", tmp_path / "run", "--resume", "--budget.generations", 1, "--no-pictures")
    assert finished.returncode == 0
    assert "nothing to evolve" in finished.stdout
    assert "--budget.generations 2" in finished.stdout
    assert "elite of generation 0" not in finished.stdout  # it was tested before
    requeued = run(
        config, "--run-dir", tmp_path / "run", "--cluster", "allocation", "--budget.generations", 1, "--no-pictures",
        environ={**environment(), "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"},
    )  # fmt: skip
    assert (requeued.returncode, requeued.stdout.splitlines()[0]) == (0, finished.stdout.splitlines()[0])
    unasked = run(config, "--run-dir", tmp_path / "run", "--resume", *SLURM, "--budget.generations", 1, "--no-pictures")
    assert (unasked.returncode, unasked.stdout.splitlines()[0]) == (0, finished.stdout.splitlines()[0])
    (tmp_path / "run" / "elite_test.json").unlink()
    tested = run(config, "--run-dir", tmp_path / "run", "--resume", "--budget.generations", 1, "--no-pictures")
    assert "elite of generation 0" in tested.stdout
    assert run(config, "--run-dir", tmp_path / "run", "--resume", "--no-pictures").returncode == 0
    assert len(log(tmp_path / "run")) == 3


BAD = {
    "misspelt key": ("[generation]\npopulaton = 10", (), "generation.population"),
    "misspelt table": ("[gaa]\npopulation = 10", (), "gaa"),
    "wrong type": ('[generation]\npopulation = "many"', (), "generation.population: expected int, found 'many'"),
    "impossible value": ("[ga]\nparents = 0", (), "ga.parents: expected 1 to"),
    "not TOML": ("[ga", (), "not a TOML file"),
    "unknown game": ('[env]\nid = "ALE/Frostbit-v5"', (), "ALE/Frostbite-v5"),
    "unknown environment": ('[env]\nid = "CartPol-v1"', (), "CartPole"),
    "dict observation": ('[env]\nid = "tests.faulty_envs:DictObservation-v0"', (), "Dict"),
    "policy that does not fit": ('[env]\nid = "CartPole-v1"\n[policy]\nkind = "such2017"', (), "'mlp'"),
    "unknown policy": ('[policy]\nkind = "such2018"', (), "such2017"),
    "table too small": ("[noise]\nsize = 1000", (), "noise.size: expected at least the policy's 4052658 parameters"),
    "impossible flag": ("", ("--generation.population", "0"), "generation.population"),
    "no nodes": ("", ("--nodes", "0"), "--nodes: expected at least 1, found 0"),
    "unknown cluster": ("", ("--cluster", "slurmm"), "--cluster: expected local, slurm, sge, pbs, lsf, allocation"),
    "cost above what is asked for": (
        SMALL,
        (*SLURM, "--nodes", "8", "--budget.hours", "5"),
        "generic asks above 1,000 core-hours; pass --yes",
    ),
}


@pytest.mark.parametrize(("text", "flags", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, text: str, flags: tuple[str, ...], named: str
) -> None:
    (tmp_path / "bad.toml").write_text(text)
    result = run(tmp_path / "bad.toml", "--run-dir", tmp_path / "run", *flags)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_unwritable_run_directory_is_one_line(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for run_dir in (tmp_path / "file" / "run", Path("/proc/run")):
        result = run(config, "--run-dir", run_dir)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert str(run_dir) in result.stderr


def test_a_missing_config_and_a_misspelt_flag_exit_2(config: Path, tmp_path: Path) -> None:
    missing = run(tmp_path / "none.toml", "--run-dir", tmp_path / "run")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    behind = run("--run-dir", tmp_path / "run", config)
    assert (behind.returncode, behind.stderr.count("\n")) == (2, 1)
    assert "first argument" in behind.stderr
    assert not (tmp_path / "run").exists()
    misspelt = run(config, "--run-dir", tmp_path / "run", "--generation.popultion", 3)
    assert misspelt.returncode == 2
    assert "--generation.population" in misspelt.stderr + misspelt.stdout
    assert run("--help").returncode == 0


def test_a_dry_run_shows_script_and_cost_and_starts_nothing(config: Path, tmp_path: Path) -> None:
    flags = ("--cluster", "slurm", "--machine", "peta4-skylake", "--machine.account", "A-SL3-CPU", "--nodes", 8)
    result = run(config, "--run-dir", tmp_path / "run", *flags, "--budget.hours", 5, "--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    assert "#SBATCH -A A-SL3-CPU" in result.stdout
    assert "module load rhel7/default-peta4" in result.stdout
    assert "8 jobs of this script; largest cost: 1,280 core-hours" in result.stdout
    local = run(config, "--run-dir", tmp_path / "run", "--rollouts-per-node", 1, "--dry-run")
    assert (local.returncode, local.stdout) == (0, "no job is asked for: this would run on 1 × 1 process\n")
    assert not (tmp_path / "run").exists()


def test_a_user_is_asked_before_a_dear_run(config: Path, tmp_path: Path) -> None:
    environ = {**environment(), "PATH": str(tmp_path)}  # no sbatch: what goes on ends there
    for answer, status, named in ((b"n\r", 2, "not confirmed"), (b"y\r", 1, "found no sbatch in PATH")):
        process, terminal = start(config, tmp_path / "run", *SLURM, environ=environ)
        output = bytearray()
        for data in read(terminal):
            output += data
            if output.endswith(b"Go on? [y/N] "):
                os.write(terminal, answer)
        assert process.wait(10) == status
        assert named in output.decode()
        assert "Traceback" not in output.decode()
        assert (tmp_path / "run").exists() == (status == 1)
        os.close(terminal)


def start(
    config: Path, run_dir: Path, *flags: str, environ: dict[str, str] | None = None, nohup: bool = False
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a run on a terminal of its own; returns the process and the terminal."""
    terminal, theirs = pty.openpty()

    def prepare() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C becomes a signal
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)  # whatever the tests run under

    process = subprocess.Popen(
        [*RUN, str(config), "--run-dir", str(run_dir), "--no-pictures", *flags],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**(environ or environment()), "TERM": "xterm"},
        start_new_session=True, preexec_fn=prepare,
    )  # fmt: skip
    os.close(theirs)
    return process, terminal


def read(terminal: int) -> Iterator[bytes]:
    """Yield what arrives on the terminal until its last process is gone."""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            return
        if not data:
            return
        yield data


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_run_that_goes_on(config: Path, tmp_path: Path, number: signal.Signals) -> None:
    run_dir = tmp_path / "run"
    process, terminal = start(config, run_dir, "--budget.generations", "1000")
    output = bytearray()
    for data in read(terminal):
        output += data
        if b"gen    2" in output:
            break
    processes = family(process)
    assert len(processes) >= 5
    if number == signal.SIGINT:
        os.write(terminal, b"\x03")  # Ctrl-C reaches every process of the terminal
    else:
        process.terminate()
    for data in read(terminal):
        output += data
    assert process.wait(10) == 130
    wait_until(lambda: all_gone(processes), 5, "all processes gone")
    text = output.decode()
    assert "continue with: " in text
    assert "--resume" in text
    assert "Traceback" not in text
    n_closed = len(log(run_dir))
    budget = str(n_closed + 2)
    assert (
        run(config, "--run-dir", run_dir, "--no-pictures", "--resume", "--budget.generations", budget).returncode == 0
    )
    assert run(config, "--run-dir", tmp_path / "whole", "--no-pictures", "--budget.generations", budget).returncode == 0
    assert log(run_dir) == log(tmp_path / "whole")


def test_an_interrupt_before_a_generation_has_closed_says_so(config: Path, tmp_path: Path) -> None:
    process, terminal = start(config, tmp_path / "run", "--generation.population", "1000000")
    output = bytearray()
    for data in read(terminal):
        output += data
        if b"gadask's page: " in output:
            os.write(terminal, b"\x03")
            break
    for data in read(terminal):
        output += data
    assert process.wait(10) == 130
    text = " ".join(output.decode().split())
    assert f"interrupted; no generation had closed, so {tmp_path / 'run'} begins again with generation 0" in text


def test_a_closed_terminal_ends_a_run_in_good_order(config: Path, tmp_path: Path) -> None:
    process, terminal = start(config, tmp_path / "run", "--budget.generations", "1000")
    output = bytearray()
    for data in read(terminal):
        output += data
        if b"gen    1" in output:
            break
    processes = family(process)
    os.close(terminal)
    os.killpg(process.pid, signal.SIGHUP)  # as a shell does that was hung up on
    assert process.wait(20) == 130
    wait_until(lambda: all_gone(processes), 5, "all processes gone")
    budget = str(len(log(tmp_path / "run")) + 1)
    flags = ("--run-dir", tmp_path / "run", "--no-pictures", "--resume", "--budget.generations", budget)
    assert run(config, *flags).returncode == 0


def test_a_run_under_nohup_outlives_its_terminal(config: Path, tmp_path: Path) -> None:
    process, terminal = start(config, tmp_path / "run", nohup=True)
    output = bytearray()
    for data in read(terminal):
        output += data
        if b"gen    1" in output:
            break
    os.close(terminal)
    assert process.wait(60) == 0
    assert len(log(tmp_path / "run")) == 3


def test_a_run_outlives_whoever_read_its_output(config: Path, tmp_path: Path) -> None:
    command = [*RUN, str(config), "--run-dir", str(tmp_path / "run"), "--no-pictures"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()) as process:
        assert process.stdout is not None
        process.stdout.close()  # as `| head` does when it has enough
        assert process.wait(60) == 0
    assert len(log(tmp_path / "run")) == 3


def test_a_master_killed_at_any_moment_resumes_to_the_same_result(config: Path, tmp_path: Path) -> None:
    assert run(config, "--run-dir", tmp_path / "whole", "--no-pictures", "--budget.generations", 6).returncode == 0
    run_dir = tmp_path / "run"
    resume: tuple[str, ...] = ()
    for moment in (b"processes", b"gen    0", b"gen    2", b"gen    3"):
        process, terminal = start(config, run_dir, "--budget.generations", "6", *resume)
        output = bytearray()
        for data in read(terminal):
            output += data
            if moment in output:
                break
        processes = family(process)
        process.kill()
        process.wait()
        wait_until(lambda gone=processes: all_gone(gone), 10, "all processes gone")  # type: ignore[misc]
        os.close(terminal)
        resume = ("--resume",)
    assert run(config, "--run-dir", run_dir, "--no-pictures", "--resume", "--budget.generations", 6).returncode == 0
    assert log(run_dir) == log(tmp_path / "whole")
    ours, theirs = (
        without_wall_clock(json.loads((directory / "checkpoint.json").read_text()))
        for directory in (run_dir, tmp_path / "whole")
    )
    assert ours == theirs
