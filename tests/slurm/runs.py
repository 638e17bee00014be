"""`jobs/run.py` and `jobs/sweep.py --cluster slurm` as a user starts them, with small runs in `tests.faulty_envs`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from gadask.record.directory import read_generations
from tests.conftest import is_of_fork_server, wait_until

ROOT = Path(__file__).parents[2]

_CONFIG = """
[env]
id = "tests.faulty_envs:Faulty-v0"
max_steps = 200
kwargs = {{ step_s = {step_s} }}
[policy]
kind = "mlp"
kwargs = {{ hidden = "8" }}
[noise]
size = 300_000
[generation]
population = {population}
candidates = 3
candidate_episodes = 4
[ga]
parents = 5
[budget]
generations = {generations}
test_episodes = 0
"""
_MACHINE = """
partition = "skylake"
cores = 32
memory = "1GB"
wall_time = "{wall_time}"
interface = "lo"
scratch = "{scratch}"
leave_before_s = {leave_before_s}
poll_s = 2
confirm_core_hours = inf
"""


def write_files(
    folder: Path,
    *,
    step_s: float = 0.02,
    population: int = 40,
    generations: int = 4,
    wall_time: str = "00:20:00",
    leave_before_s: float = 180,
) -> None:
    """Write `config.toml` and `machine.toml`; the length of steps changes nothing else about a run."""
    (folder / "scratch").mkdir(exist_ok=True)
    (folder / "config.toml").write_text(_CONFIG.format(step_s=step_s, population=population, generations=generations))
    (folder / "machine.toml").write_text(
        _MACHINE.format(wall_time=wall_time, leave_before_s=leave_before_s, scratch=folder / "scratch")
    )


def command(folder: Path, *flags: object, run: str = "run") -> list[str]:
    """Return the command line of a run in `folder`."""
    script, config = ROOT / "jobs" / "run.py", folder / "config.toml"
    words = (sys.executable, script, config, "--run-dir", folder / run, "--no-pictures", *flags)
    return [str(word) for word in words]


def slurm_command(folder: Path, *flags: object, run: str = "run") -> list[str]:
    """Return the command line of a run on Slurm."""
    return command(folder, "--cluster", "slurm", "--machine", folder / "machine.toml", *flags, run=run)


def sweep_command(folder: Path, *flags: object) -> list[str]:
    """Return the command line of a study on Slurm: the run of `config.toml` with two seeds."""
    study = folder / "study.toml"
    study.write_text((folder / "config.toml").read_text() + "[grid]\nseed = [0, 1]\n")
    words = (sys.executable, ROOT / "jobs" / "sweep.py", study, "--study-dir", folder / "study")
    return [str(word) for word in (*words, "--cluster", "slurm", "--machine", folder / "machine.toml", *flags)]


def environment() -> dict[str, str]:
    """Return the environment of a command; the tests' environments are found by nodes, too."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


class Command:
    """A command that runs, and what it said so far."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_for(self, what: str, deadline_s: float = 120) -> None:
        """Return as soon as the command said `what`, a regular expression; fail if it ends before."""

        def said() -> bool:
            if re.search(what, self.out):
                return True
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.out}{self.err}"
            return False

        wait_until(said, deadline_s, f"{what!r} in its output")

    def finish(self, deadline_s: float = 120) -> int:
        """Wait for the end; returns the exit status."""
        return self.process.wait(deadline_s)


@contextmanager
def started(words: list[str], folder: Path, name: str = "command", **env: str) -> Iterator[Command]:
    """Start a command; what still runs of it at the end is interrupted."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env={**environment(), **env}
        )
    try:
        yield Command(process, out, err)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def parents(run_dir: Path) -> list[object]:
    """Return the parents and the elite of each generation."""
    return [(line["parents"], line["elite"]) for line in read_generations(run_dir)]


def rollout_processes(server: psutil.Process) -> int:
    """Return how many rollout processes a process has forked, which is none unless it is a fork server that lives."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if is_of_fork_server(server) and not is_of_fork_server(server.parent()):
            return len(server.children())
    return 0
