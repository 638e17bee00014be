"""Guards: nothing survives the process that started it, however that one ended (fault 20)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import kill_all, wait_until

GUARD = [sys.executable, "-m", "gadask.guard"]

STARTS_HELPERS = """
import os, sys, time
from pathlib import Path
from tests.simulator_envs import HELPERS
path = Path(sys.argv[1])
path.with_suffix(".tmp").write_text(" ".join(map(str, [os.getpid(), *(start() for start in HELPERS)])))
path.with_suffix(".tmp").rename(path)
while not path.with_suffix(".go").exists():
    time.sleep(0.01)
os._exit(3)
"""

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def guarded(path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """Start a guard over a process that starts helpers; yields it, with charge and helpers."""
    with subprocess.Popen([*GUARD, sys.executable, "-c", STARTS_HELPERS, str(path)]) as guard:
        wait_until(path.exists, 30, "helpers")
        processes = [psutil.Process(int(pid)) for pid in path.read_text().split()]
        try:
            yield guard, processes
        finally:
            guard.terminate()
            guard.wait(10)
            kill_all(processes)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_helpers_end_with_a_charge_that_leaves(tmp_path: Path) -> None:
    with guarded(tmp_path / "pids") as (guard, processes):
        (tmp_path / "pids.go").touch()
        assert guard.wait(10) == 3
        assert not any(map(alive, processes))


def test_helpers_end_with_a_charge_that_is_killed(tmp_path: Path) -> None:
    with guarded(tmp_path / "pids") as (guard, processes):
        assert len(processes) == 6
        assert all(map(alive, processes))
        processes[0].kill()
        assert guard.wait(10) == 128 + signal.SIGKILL
        assert not any(map(alive, processes))


def test_a_guard_that_is_told_to_end_ends_all(tmp_path: Path) -> None:
    with guarded(tmp_path / "pids") as (guard, processes):
        guard.terminate()
        assert guard.wait(10) == 128 + signal.SIGTERM
        assert not any(map(alive, processes))


def test_a_guard_ends_with_its_parent(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    path = tmp_path / "pids"
    command = [*GUARD, sys.executable, "-c", STARTS_HELPERS, str(path)]
    with subprocess.Popen([sys.executable, "-c", program, *command]) as parent:
        wait_until(path.exists, 30, "helpers")
        processes = [psutil.Process(int(pid)) for pid in path.read_text().split()]
        parent.kill()
    try:
        wait_until(lambda: not any(map(alive, processes)), 10, "all gone")
    finally:
        kill_all(processes)


def test_the_terminals_signals_reach_neither_charge_nor_helpers(tmp_path: Path) -> None:
    with guarded(tmp_path / "pids") as (_, processes):
        sessions = {os.getsid(process.pid) for process in processes}
        assert os.getsid(0) not in sessions
        assert os.getpgid(processes[0].pid) != os.getpgid(0)


def test_a_command_that_is_missing_is_named() -> None:
    ended = subprocess.run([*GUARD, "no-such-command"], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (127, "error: no-such-command: No such file or directory\n")
