"""`--cluster allocation` on a real Slurm: runs, dead workers, requeues, the end of the wall time, broken nodes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gadask.record.directory import read_episodes, read_generations, without_wall_clock
from tests.conftest import command_line, wait_until
from tests.slurm.local_slurm import LocalSlurm
from tests.small_run import small_run
from tests.test_strangers import listeners, open_to_strangers

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[2]
CONFIG = small_run(step_s=0.01, generations=6, test_episodes=0)
FLAGS = ["--no-pictures", "--rollouts-per-node", "1"]


class Job:
    """A job of `jobs/allocation.sbatch`, the folder of its run, and what it says."""

    def __init__(self, slurm: LocalSlurm, folder: Path) -> None:
        self.run_dir = folder / "run"
        self._slurm = slurm
        self._config = folder / "config.toml"
        self._config.write_text(CONFIG)
        self._output = folder / "output"
        self._id = ""

    def submit(self, *flags: object, requeues: int = 0, launcher: str = "") -> None:
        words = (self._config, "--run-dir", self.run_dir, *FLAGS, *flags)
        self._sbatch(f"GADASK_REQUEUES={requeues},GADASK_LAUNCHER={launcher}", *words)

    def submit_study(self, grid: str) -> None:
        """Submit a study in the run's directory."""
        self._config.write_text(f"{CONFIG}[grid]\n{grid}\n")
        self._sbatch("GADASK_JOB=sweep", self._config, "--study-dir", self.run_dir, *FLAGS[1:])

    def _sbatch(self, variables: str, *words: object) -> None:
        self._id = self._slurm.call(
            *("sbatch", "--parsable", f"--chdir={ROOT}", f"--output={self._output}", "--time=10"),
            f"--export=ALL,GADASK_PYTHON={sys.executable},{variables},PYTHONPATH={ROOT}",
            *(ROOT / "jobs" / "allocation.sbatch", *words, "--machine.interface", "lo"),
        ).strip()

    def control(self, *command: object) -> None:
        self._slurm.call(*command, self._id)

    @property
    def state(self) -> str:
        (state,) = [job.state for job in self._slurm.jobs(ended=True) if job.id == int(self._id)]
        return state

    @property
    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    @property
    def n_closed(self) -> int:
        path = self.run_dir / "generations.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    @property
    def log(self) -> list[dict[str, Any]]:
        return [without_wall_clock(line) for line in read_generations(self.run_dir)]

    def wait_for(self, condition: Callable[[], object], deadline_s: float, what: str) -> None:
        """Return as soon as `condition()` is true; fail after `deadline_s`, or if the job has ended by then."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
        wait_until(lambda: condition() or self.state in over, deadline_s, f"{what}; output: {self.output}")
        assert condition(), f"the job ended before: {what}; output: {self.output}"

    def wait_for_end(self, state: str) -> None:
        self.wait_for(lambda: self.state == state, 90, state)
        self._slurm.wait_for_empty_queue()
        assert not list(self.run_dir.glob("**/*.pem"))


@pytest.fixture
def job(slurm: LocalSlurm, tmp_path: Path) -> Job:
    return Job(slurm, tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the log of the same run on one machine."""
    folder = tmp_path_factory.mktemp("expected")
    (folder / "config.toml").write_text(CONFIG)
    command = [sys.executable, "jobs/run.py", str(folder / "config.toml"), "--run-dir", str(folder / "run"), *FLAGS]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    return [without_wall_clock(line) for line in read_generations(folder / "run")]


def processes_of(job: Job) -> list[psutil.Process]:
    """Return the run's processes: batch shell, master, job steps, workers, their rollout processes."""
    named = [p for p in psutil.process_iter(["cmdline"]) if str(job.run_dir) in " ".join(p.info["cmdline"] or [])]
    found = list(named)
    for process in named:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            found += process.children(recursive=True)
    return found


def worker(job: Job, name: str) -> psutil.Process:
    """Return the Dask worker of this name, not the job step that waits for it."""
    (found,) = {p for p in processes_of(job) if command_line(p)[:1] == [sys.executable] and name in command_line(p)}
    return found


def parents_and_elites(log: list[dict[str, Any]]) -> list[Any]:
    return [(line["parents"], line["elite"]) for line in log]


def test_a_run_on_two_nodes_through_the_death_of_a_worker(job: Job, expected: list[dict[str, Any]]) -> None:
    job.submit()
    job.wait_for(lambda: "2 of 2 running" in job.output and job.n_closed >= 1, 90, "two nodes play")
    processes = processes_of(job)
    ours = [process for process in processes if process.name() != "srun"]  # whose ports Slurm looks after
    assert len(addresses := listeners(ours)) >= 6  # scheduler, two workers, and what each tells of its health
    assert open_to_strangers(addresses) == []
    keys = job.run_dir / "cluster"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.glob("*.pem")} == {0o600}
    worker(job, "n2-0").kill()
    job.wait_for_end("COMPLETED")
    # What an init that reaps nothing leaves, as in some containers, is gone all the same.
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    assert parents_and_elites(job.log) == parents_and_elites(expected)
    assert job.output.count("WARNING: a worker ended and is started again: on n2, after") == 1
    assert "ssh -N -J" in job.output
    nodes = {node for number in range(6) for node in read_episodes(job.run_dir, number)["node"].to_pylist()}
    assert len(nodes) == 3, "n1, n2, and n2 again"


def test_a_launcher_starts_master_and_workers(job: Job, tmp_path: Path) -> None:
    launcher, launched = tmp_path / "my launcher", tmp_path / "launched"
    launcher.write_text(f'#!/bin/bash\necho "$GREETING: $*" >> {launched}\nexec "$@"\n')
    launcher.chmod(0o755)
    command = f"env 'GREETING=good day' '{launcher}'"
    job.submit("--budget.generations", 1, "--machine.launcher", command, launcher=command)
    job.wait_for_end("COMPLETED")
    starts = [line.removeprefix(f"good day: {sys.executable} ") for line in launched.read_text().splitlines()]
    assert sorted(start[:13] for start in starts) == ["-P -m gadask ", "-m distribute", "-m distribute"]


def test_a_study(job: Job) -> None:
    job.submit_study("seed = [0, 1]\nbudget.generations = [1]")
    job.wait_for_end("COMPLETED")
    assert job.output.count(" finished: 1 generation") == 2


def test_a_requeued_job_goes_on(job: Job, expected: list[dict[str, Any]]) -> None:
    job.submit()
    job.wait_for(lambda: job.state == "RUNNING", 30, "it runs")
    job.control("scontrol", "requeue")
    assert not (job.run_dir / "config.toml").exists()  # it had not come as far as to make the run directory
    job.wait_for(lambda: job.n_closed >= 2, 90, "two generations")
    job.control("scontrol", "requeue")
    job.wait_for_end("COMPLETED")
    assert job.log == expected
    assert len(json.loads((job.run_dir / "provenance.json").read_text())) == 2


def test_the_end_of_the_wall_time(job: Job, expected: list[dict[str, Any]], tmp_path: Path) -> None:
    def warn(n_times: int) -> None:
        """Send what `--signal=B:TERM@120` does as soon as another generation is closed."""
        n_closed = job.n_closed
        job.wait_for(lambda: job.n_closed > n_closed, 90, f"more than {n_closed} generations")
        for _ in range(3):  # repeated, it is still one warning
            job.control("scancel", "--batch", "--signal=TERM")
        job.wait_for(lambda: job.output.count("continue with: ") == n_times, 30, "a clean checkpoint")

    job.submit(requeues=1)
    warn(1)
    assert re.search(
        rf"GADASK_REQUEUES=1 sbatch --partition=skylake --nodes=2 .*jobs/allocation\.sbatch {tmp_path}", job.output
    )
    warn(2)  # for it had asked to be requeued
    job.wait_for_end("FAILED")  # and did not again
    n_closed = job.n_closed
    assert job.log == expected[:n_closed]

    job.submit("--resume", requeues=1)
    job.wait_for(lambda: job.n_closed > n_closed, 90, "another generation")
    job.control("scancel")
    job.wait_for_end("CANCELLED")  # not requeued
    assert job.log == expected[: job.n_closed]


def test_a_run_that_is_warned_while_it_starts_is_requeued(job: Job) -> None:
    job.submit(requeues=1)
    job.wait_for(
        lambda: [p for p in processes_of(job) if {"-m", "gadask", "run"} <= {*command_line(p)}], 60, "it starts"
    )
    job.control("scancel", "--batch", "--signal=TERM")
    job.wait_for(lambda: job.n_closed >= 1, 120, "a generation, played by the second start")
    assert job.output.count("evolving tests.faulty_envs:Faulty-v0") in (1, 2)
    job.control("scancel")
    job.wait_for_end("CANCELLED")


def test_nodes_whose_workers_die_are_given_up(job: Job, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module of that name >&2\nexit 1\n")
    broken.chmod(0o755)
    job.submit("--machine.python", broken)
    job.wait_for_end("FAILED")
    assert "error: no node is left whose worker stays alive; the last was on n" in job.output
    assert "no module of that name" in job.output.splitlines()[-1]
    assert job.output.count("its node is given up") == 2


def test_outside_a_job_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    command = [sys.executable, "jobs/run.py", str(tmp_path / "config.toml"), "--run-dir", str(tmp_path / "run")]
    result = subprocess.run(
        [*command, "--cluster", "allocation"],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "error: --cluster allocation: expected inside a Slurm job" in result.stderr
    assert not (tmp_path / "run").exists()
