"""Runs of `jobs/run.py` in processes of their own, to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from gadask.record.directory import read_generations, without_wall_clock
from tests.conftest import wait_until

ROOT = Path(__file__).parents[1]


def start(config: str, run_dir: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Begin a run of a config, which is written beside its directory."""
    path = run_dir.with_suffix(".toml")
    path.write_text(config)
    command = [sys.executable, "jobs/run.py", str(path), "--run-dir", str(run_dir), "--no-pictures", *flags]
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])  # some configs name wrappers of the tests
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a run, which is to be a good one."""
    try:
        assert process.wait(400) == 0
    finally:
        process.kill()
        process.wait()


def n_closed(run_dir: Path) -> int:
    """Return how many generations are in the log."""
    path = run_dir / "generations.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_generation(number: int, process: subprocess.Popen[bytes], run_dir: Path) -> None:
    """Wait until so many generations are closed."""
    try:
        wait_until(lambda: n_closed(run_dir) >= number, 400, f"generation {number}")
    except BaseException:
        process.kill()
        process.wait()
        raise


def kill_the_master(process: subprocess.Popen[bytes]) -> None:
    """Kill a run, and wait until all that it started is gone."""
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(p.is_running() for p in family), 60, "all processes gone")


def log(run_dir: Path) -> list[dict[str, Any]]:
    """Return the log without its wall-clock quantities."""
    return [without_wall_clock(line) for line in read_generations(run_dir)]
