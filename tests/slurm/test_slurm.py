"""`--cluster slurm` on a real Slurm, through `jobs/`: what a user sees, and faults 5, 14 and 16."""

from __future__ import annotations

import asyncio
import re
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

from tests.browser import CHROMIUM, browser
from tests.conftest import command_line, wait_until
from tests.slurm.local_slurm import LocalSlurm
from tests.slurm.runs import (
    command,
    environment,
    parents,
    rollout_processes,
    slurm_command,
    started,
    sweep_command,
    write_files,
)
from tests.test_dashboard import needs_browser
from tests.test_strangers import Address, listeners, open_to_strangers

pytestmark = pytest.mark.usefixtures("no_leaks")

GENERATIONS = 12
"""Generations that are compared; other runs are the beginning of the same, or go on."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Parents and elites of the run on this machine."""
    folder = tmp_path_factory.mktemp("reference")
    write_files(folder, step_s=0, generations=GENERATIONS)
    result = subprocess.run(command(folder), env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return parents(folder / "run")


@dataclass(frozen=True)
class QuietRun:
    """What was seen of an undisturbed run on two nodes."""

    folder: Path
    status: int
    wall_s: float
    out: str
    err: str
    modes: dict[str, int]
    ports: set[Address]
    open_ports: list[Address]
    rollout_processes: list[int]
    log_bytes: list[int]
    """Sizes of the job logs while both nodes play."""
    page: str
    """What gadask's page of the dashboard says of the run."""
    page_errors: list[str]


async def read_page(address: str, folder: Path) -> tuple[str, list[str]]:
    """Open the page `/ga` in a browser; returns its table and what it logged as errors."""
    async with browser(folder) as shown:
        await shown.open(address)
        text = await shown.wait_for("Bokeh.documents[0].get_model_by_name('standing').text")
        return str(text), shown.errors


@pytest.fixture(scope="module")
def quiet(slurm_session: LocalSlurm, tmp_path_factory: pytest.TempPathFactory) -> QuietRun:
    """An undisturbed run on two nodes with as many processes as gadask chooses."""
    folder = tmp_path_factory.mktemp("quiet")
    write_files(folder, step_s=0.05, generations=8, population=200)
    began_s = time.monotonic()
    with started(slurm_command(folder, "--nodes", 2), folder) as run:
        run.wait_for("gen +1 ")  # both nodes play by then, and go on until all is read
        keys = folder / "run" / "cluster"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (keys, *keys.glob("*.pem"))}
        nodes = slurm_session.processes()
        ports = listeners([psutil.Process(run.process.pid), *nodes])
        open_ports = open_to_strangers(ports)
        rollouts = [n for n in map(rollout_processes, nodes) if n > 1]
        log_bytes = [path.stat().st_size for path in keys.glob("job-*.log")]
        (address,) = re.findall(r"gadask's page: (\S+)\n", run.out)
        page, page_errors = asyncio.run(read_page(address, folder)) if CHROMIUM else ("", [])
        status = run.finish()
    return QuietRun(
        folder,
        status,
        time.monotonic() - began_s,
        run.out,
        run.err,
        modes,
        ports,
        open_ports,
        rollouts,
        log_bytes,
        page,
        page_errors,
    )


def test_two_nodes_give_the_parents_of_the_local_run(quiet: QuietRun, tmp_path: Path) -> None:
    assert (quiet.status, quiet.err) == (0, "")
    write_files(tmp_path, step_s=0, generations=8, population=200)
    subprocess.run(command(tmp_path), env=environment(), capture_output=True, check=True)
    assert parents(quiet.folder / "run") == parents(tmp_path / "run")


def test_31_processes_play_on_32_cores(quiet: QuietRun) -> None:
    assert quiet.rollout_processes == [31, 31]


def test_nodes_that_play_write_no_log(quiet: QuietRun) -> None:
    assert quiet.log_bytes == [0, 0]
    assert {path.name for path in (quiet.folder / "run" / "cluster").iterdir()} == {".lock", "job.sh"}


def test_keys_are_private_and_go_at_the_end(quiet: QuietRun) -> None:
    assert quiet.modes == {"cluster": 0o700, "certificate.pem": 0o600, "key.pem": 0o600}
    assert not list((quiet.folder / "run" / "cluster").glob("*.pem"))


def test_no_port_is_open_to_the_network(quiet: QuietRun) -> None:
    assert len(quiet.ports) >= 8  # scheduler, dashboard; worker, its HTTP server and nanny of each node
    assert {ip for ip, _ in quiet.ports} == {"127.0.0.1"}
    assert quiet.open_ports == []


def test_the_summary_tells_of_dashboard_and_core_hours(quiet: QuietRun) -> None:
    assert re.search(r"dashboard: http://127.0.0.1:(\d+)/status after ssh -N -L \1:127.0.0.1:\1 \S+@\S+", quiet.out)
    hours = re.search(r"core-hours: ([\d.]+)", quiet.out)
    assert hours is not None
    assert 0 < float(hours[1]) <= 64 * quiet.wall_s / 3600 + 0.01  # rounded


@needs_browser
def test_the_dashboards_page_shows_the_run(quiet: QuietRun) -> None:
    assert "faulty" in quiet.page.lower()
    assert quiet.page_errors == []


def test_the_runs_of_a_study_share_a_job(slurm: LocalSlurm, tmp_path: Path) -> None:
    write_files(tmp_path, step_s=0, generations=2)
    with started(sweep_command(tmp_path, "--rollouts-per-node", 2), tmp_path) as sweep:
        assert sweep.finish() == 0, sweep.err
    assert (sweep.err, sweep.out.count(" finished: 2 generations")) == ("", 2)
    first, second = (parents(tmp_path / "study" / f"s{seed}") for seed in range(2))
    assert len(first) == len(second) == 2
    assert first != second
    assert len(slurm.jobs(ended=True)) == 1
    assert not [job for job in slurm.jobs() if job.state in ("PENDING", "RUNNING")]


def test_a_launcher_starts_the_nodes_workers_and_the_jobs_leave_no_log(slurm: LocalSlurm, tmp_path: Path) -> None:
    write_files(tmp_path, step_s=0, generations=1)
    launcher, launched = tmp_path / "my launcher", tmp_path / "launched"
    launcher.write_text(f'#!/bin/bash\necho "$GREETING|$SLURM_JOB_ID|$*" >> {launched}\nexec "$@"\n')
    launcher.chmod(0o755)
    flags = ("--machine.launcher", f"env 'GREETING=good $HOME' '{launcher}'", "--rollouts-per-node", 2)
    with started(slurm_command(tmp_path, *flags), tmp_path) as run:
        assert run.finish() == 0, run.err
    (job,) = slurm.jobs(ended=True)
    assert launched.read_text().startswith(
        f"good $HOME|{job.id}|{sys.executable} -m distributed.cli.dask_worker tls://"
    )
    assert launched.read_text().count("\n") == 1
    assert run.err == ""
    assert {path.name for path in (tmp_path / "run" / "cluster").iterdir()} == {".lock", "job.sh"}


@pytest.mark.slow
def test_nodes_that_are_cancelled_or_preempted_lose_nothing_and_are_replaced(
    slurm: LocalSlurm, tmp_path: Path, reference: list[object]
) -> None:
    write_files(tmp_path, step_s=0.05, generations=10_000)
    with started(slurm_command(tmp_path, "--nodes", 2, "--rollouts-per-node", 2), tmp_path) as run:
        run.wait_for("gen +0 ")
        first, second = slurm.wait_for(2, "RUNNING")
        slurm.call("scancel", first.id)
        third = slurm.wait_for(2, "RUNNING", deadline_s=60)[-1]
        assert (third.id > second.id, third.node) == (True, first.node)
        run.wait_for("nodes: 2 of 2 running, 1 lost")
        slurm.call("scancel", "--batch", "--signal=TERM", second.id)  # what preemption and --signal=B: send
        slurm.wait_for(1, "COMPLETED")
        run.wait_for("nodes: 2 of 2 running, 2 lost")
        closed = len(parents(tmp_path / "run"))
        run.wait_for(f"gen +{closed + 1} ")  # the one after that in which the nodes were lost
        run.process.send_signal(signal.SIGINT)
        assert run.finish() == 130
    told = [line.partition("asked for: ")[2] for line in run.err.splitlines()]
    assert [re.sub("after.*", "", line) for line in told] == [
        f"job {first.id} on {first.node}: CANCELLED ",
        f"job {second.id} on {second.node}: COMPLETED ",
    ]
    played = parents(tmp_path / "run")[:GENERATIONS]
    assert played == reference[: len(played)]


@pytest.mark.slow
def test_a_job_of_two_minutes_is_left_in_good_order_and_replaced(
    slurm: LocalSlurm, tmp_path: Path, reference: list[object]
) -> None:
    write_files(tmp_path, wall_time="00:02:00", leave_before_s=95, generations=10_000)
    with started(slurm_command(tmp_path, "--nodes", 1, "--rollouts-per-node", 2), tmp_path) as run:
        slurm.wait_for(2, "COMPLETED", deadline_s=200)
        run.wait_for(f"gen +{len(parents(tmp_path / 'run')) + 1} ")
        run.process.send_signal(signal.SIGINT)
        assert run.finish() == 130
    assert (run.err, "lost" in run.out) == ("", False)
    assert not list((tmp_path / "run" / "cluster").glob("*.log"))
    played = parents(tmp_path / "run")[:GENERATIONS]
    assert played == reference[: len(played)]


def guardians(folder: Path) -> list[psutil.Process]:
    """Return the guardians of runs in `folder` that live."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "guardian.py" in " ".join(words) and any(word.startswith(str(folder)) for word in words):
            found.append(process)
    return [process for process in found if process.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_a_killed_master_leaves_nothing_behind_and_its_run_goes_on(
    slurm: LocalSlurm, tmp_path: Path, reference: list[object]
) -> None:
    write_files(tmp_path, generations=4)
    words = slurm_command(tmp_path, "--rollouts-per-node", 2)
    with started([*words, "--nodes", "3"], tmp_path) as run:
        run.wait_for(r"nodes: 2 of 3 running, 1 pending \((Resources|Priority)\)")
        run.wait_for("gen +0 ")
        run.process.kill()
        assert run.finish() == -signal.SIGKILL
    slurm.wait_for(0, "PENDING", "RUNNING")
    wait_until(lambda: not guardians(tmp_path), 60, "the end of its guardian")
    assert not list((tmp_path / "run").glob("**/*.pem"))
    with started([*words, "--resume"], tmp_path) as run:
        assert run.finish() == 0, run.err
    assert parents(tmp_path / "run") == reference[:4]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_what_a_master_and_its_guardian_left_is_cleared_away_by_the_next_start(
    slurm: LocalSlurm, tmp_path: Path, cluster: str
) -> None:
    write_files(tmp_path, generations=1, step_s=0)
    words = slurm_command(tmp_path, "--machine.partition", "closed")
    with started(words, tmp_path) as run:
        run.wait_for("1 pending")
        (guardian,) = (
            child for child in psutil.Process(run.process.pid).children() if "guardian" in str(command_line(child)[2:3])
        )
        guardian.kill()
        run.process.kill()
        assert run.finish() == -signal.SIGKILL
    (job,) = slurm.in_state("PENDING")
    assert list((tmp_path / "run" / "cluster").glob("*.pem"))
    words = slurm_command(tmp_path) if cluster == "slurm" else command(tmp_path)
    with started([*words, "--resume"], tmp_path) as run:
        slurm.wait_for(1, "CANCELLED", deadline_s=60)
        assert run.finish() == 0, run.err
    assert job.id in [other.id for other in slurm.in_state("CANCELLED")]
    left = {path.name for path in (tmp_path / "run" / "cluster").iterdir() if path.suffix != ".log"}
    assert left == {".lock", "job.sh"}


def test_a_kernel_that_is_shut_down_leaves_no_job_and_no_key(slurm: LocalSlurm, tmp_path: Path) -> None:
    cell = f"""
from gadask.clusters.held import hold
from gadask.clusters.kinds import open_cluster
from gadask.clusters.machine import Machine
from gadask.clusters.wanted import Wanted
from pathlib import Path
machine = Machine(memory="1GB", interface="lo", partition="closed")
cluster = await hold(open_cluster("slurm", [Wanted(machine, 1)], Path({str(tmp_path)!r}), 100))
"""
    manager, client = start_new_kernel(env=environment())
    try:
        reply = client.execute_interactive(cell, timeout=60, output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok", reply["content"]
        slurm.wait_for(1, "PENDING")
        assert list(tmp_path.glob("**/*.pem"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    slurm.wait_for(0, "PENDING", "RUNNING")
    wait_until(lambda: not guardians(tmp_path), 60, "the end of its guardian")
    assert not list(tmp_path.glob("**/*.pem"))


@pytest.mark.parametrize("partition", ["skylake", "closed"])
def test_an_interrupt_leaves_no_job_and_no_key(slurm: LocalSlurm, tmp_path: Path, partition: str) -> None:
    write_files(tmp_path)
    with started(slurm_command(tmp_path, "--machine.partition", partition), tmp_path) as run:
        run.wait_for("nodes: 0 of 1 running, 1 pending")
        run.process.send_signal(signal.SIGTERM)
        assert run.finish(20) == 130
    assert "continue with: " in run.out
    assert run.err == ""
    left = {path.name for path in (tmp_path / "run" / "cluster").iterdir() if path.suffix != ".log"}
    assert left == {".lock", "job.sh"}
    assert not [job for job in slurm.jobs() if job.state in ("PENDING", "RUNNING")]


REFUSED = {
    "wrong partition": (("--machine.partition", "skylark"), "invalid partition specified: skylark"),
    "memory over the node's": (("--machine.memory", "900GB"), "Memory specification can not be satisfied"),
    "dead at start": (("--machine.python", "/no/python"), "/no/python: No such file or directory"),
    "broken preamble": (("--machine.preamble", "echo no such module", "exit 3"), "ends: no such module;"),
    "never starts": (("--machine.partition", "closed", "--start-timeout", 4), "it can't use this partition"),
    "no interface": (("--machine.interface", "ib7"), "'ib7'"),
}


@pytest.mark.parametrize(("flags", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_failure_is_one_line_and_leaves_no_job(
    slurm: LocalSlurm, tmp_path: Path, flags: tuple[object, ...], reason: str
) -> None:
    write_files(tmp_path)
    with started(slurm_command(tmp_path, *flags), tmp_path) as run:
        assert run.finish() == 1
    *warnings, error = run.err.splitlines()
    assert [line for line in warnings if not line.startswith("WARNING: a node was lost")] == []
    assert error.startswith("error: ")
    assert reason in error
    assert not [job for job in slurm.jobs() if job.state in ("PENDING", "RUNNING")]


def test_a_machine_without_slurm_is_one_line(tmp_path: Path) -> None:
    write_files(tmp_path)
    with started(slurm_command(tmp_path), tmp_path, PATH=str(tmp_path)) as run:
        assert run.finish() == 1
    assert re.match("error: expected Slurm's commands, found no sbatch in PATH.*\\n$", run.err)
