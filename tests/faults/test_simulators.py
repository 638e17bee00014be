"""What environments start is gone after every end of their process, node, fork server and master (fault 20)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gadask.algorithms.algorithm import Brood
from gadask.config import EnvConfig
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Status, Task
from gadask.node.node import Node
from tests.conftest import faulty_config, is_of_fork_server, kill_all, wait_until
from tests.simulator_envs import HELPERS, noted
from tests.test_guard import alive

ROOT = Path(__file__).parents[2]
N_PROCESSES = 2


def task_of(notes: Path, timeout_s: float = 60.0, **kwargs: float | str) -> Task:
    """Return a task whose environment was not made here, so that nothing was started here."""
    env = EnvConfig(
        "tests.simulator_envs:Starter-v0",
        {"notes": str(notes), **kwargs},
        max_steps=10**6,
        episode_timeout_s=timeout_s,
    )
    return replace(prepare_task(faulty_config()), env=env)


def children(n: int) -> Chunk:
    return Chunk(0, Kind.CHILD, tuple((slot, 0) for slot in range(n)))


class Left:
    """The helpers that environments have started so far and that live."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes
        self._known: dict[int, psutil.Process] = {}

    def now(self) -> list[psutil.Process]:
        for pid in noted(self.notes, "started"):
            if pid not in self._known:
                try:
                    self._known[pid] = psutil.Process(pid)
                except psutil.NoSuchProcess:
                    continue
        return [process for process in self._known.values() if alive(process)]


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Left]:
    left = Left(tmp_path)
    yield left
    kill_all(left.now())


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(faulty_config().noise, N_PROCESSES)
    try:
        yield node
    finally:
        node.close()


def playing(node: Node, task: Task, left: Left) -> threading.Thread:
    """Play in another thread until the node is closed; returns when every rollout process has its helpers."""

    def play() -> None:
        with pytest.raises(Exception, match="closed"):
            node.play(task, Brood(0, (), ()), children(1000))

    player = threading.Thread(target=play)
    player.start()
    wait_until(lambda: len(left.now()) >= N_PROCESSES * len(HELPERS), 30, "helpers of all processes")
    return player


def test_environments_are_closed_when_the_node_is(node: Node, left: Left, tmp_path: Path) -> None:
    task = task_of(tmp_path, n_steps=10**6, step_s=0.01, close_s=1.0)
    player = playing(node, task, left)
    node.close()
    player.join()
    assert len(noted(tmp_path, "closed")) == N_PROCESSES
    assert left.now() == []


def test_a_close_that_hangs_is_not_waited_for(node: Node, left: Left, tmp_path: Path) -> None:
    player = playing(node, task_of(tmp_path, n_steps=10**6, step_s=0.01, close_s=1000.0), left)
    node.close()
    player.join()
    assert left.now() == []


def guard_of(pid: int) -> int:
    return int(psutil.Process(pid).ppid())


@pytest.mark.parametrize(
    "victim",
    [lambda pid: pid, guard_of, lambda pid: guard_of(guard_of(pid))],
    ids=["rollout process", "guard", "fork server"],
)
def test_helpers_end_with_whatever_is_killed(
    node: Node, left: Left, tmp_path: Path, victim: Callable[[int], int]
) -> None:
    task = task_of(tmp_path, n_steps=10**6, step_s=0.01)
    player = playing(node, task, left)
    before, pids = left.now(), node.pool.pids
    os.kill(victim(pids[0]), signal.SIGKILL)
    wait_until(lambda: node.pool.pids and pids[0] not in node.pool.pids, 20, "replaced")
    wait_until(lambda: sum(map(alive, before)) <= (N_PROCESSES - 1) * len(HELPERS), 10, "helpers gone")
    wait_until(lambda: len(node.pool.pids) == N_PROCESSES, 30, "all processes are back")
    if pids[1] in node.pool.pids:  # it plays on, with all of its helpers
        assert sum(map(alive, before)) == len(HELPERS)
    node.close()
    player.join()
    assert left.now() == []


def test_helpers_end_with_an_episode_that_hangs(node: Node, left: Left, tmp_path: Path) -> None:
    task = task_of(tmp_path, timeout_s=1.0, fault="hang", every=3)
    rows = node.play(task, Brood(0, (), ()), children(12))
    assert set(rows.table["status"]) == {Status.OK, Status.TIMEOUT}
    wait_until(lambda: len(left.now()) <= N_PROCESSES * len(HELPERS), 10, "those of living processes are left")


def test_environments_are_closed_when_their_run_ends(node: Node, left: Left, tmp_path: Path) -> None:
    ending = task_of(tmp_path)
    node.play(ending, Brood(0, (), ()), children(20))
    pids, n_open = node.pool.pids, len(noted(tmp_path, "started")) // len(HELPERS)
    node.forget(ending)
    wait_until(lambda: len(noted(tmp_path, "closed")) == n_open, 10, "closed")
    assert node.pool.pids == pids


def test_a_close_that_hangs_is_nobody_elses_fault(node: Node, left: Left, tmp_path: Path) -> None:
    ending = task_of(tmp_path, close_s=1000.0)
    node.play(ending, Brood(0, (), ()), children(20))
    other = task_of(tmp_path, timeout_s=5.0)
    node.forget(ending)
    rows = node.play(other, Brood(0, (), ()), children(20))
    assert (rows.table["status"] == Status.OK).all(), rows.reasons()
    wait_until(lambda: len(left.now()) <= N_PROCESSES * len(HELPERS), 10, "the helpers of those that hung are gone")


NODE = """
import sys
from pathlib import Path
from gadask.node.node import Node
from gadask.algorithms.algorithm import Brood
from tests.faults.test_simulators import children, task_of
task = task_of(Path(sys.argv[1]), n_steps=10**6, step_s=0.01, close_s=1.0)
Node(task.noise, 2).play(task, Brood(0, (), ()), children(1000))
"""


def test_environments_are_closed_when_the_dask_worker_is_killed(left: Left, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", NODE, str(tmp_path)]) as worker:
        wait_until(lambda: len(left.now()) >= N_PROCESSES * len(HELPERS), 60, "helpers of all processes")
        worker.kill()
    wait_until(lambda: not left.now(), 10, "helpers gone")
    assert len(noted(tmp_path, "closed")) == N_PROCESSES


def test_helpers_end_when_worker_and_fork_server_are_killed_together(left: Left, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", NODE, str(tmp_path)]) as worker:
        wait_until(lambda: len(left.now()) >= N_PROCESSES * len(HELPERS), 60, "helpers of all processes")
        children = psutil.Process(worker.pid).children()
        server = next(child for child in children if is_of_fork_server(child))
        for process in (worker, server):
            process.kill()
    wait_until(lambda: not left.now(), 10, "helpers gone")


CONFIG = """
[env]
id = "tests.simulator_envs:Starter-v0"
max_steps = 1_000_000
[env.kwargs]
notes = "{notes}"
n_steps = 1_000_000
step_s = 0.01
close_s = 1.0
[policy]
kind = "mlp"
kwargs = {{ hidden = "8" }}
[noise]
size = 300_000
[generation]
population = 20
[ga]
parents = 4
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_run(left: Left, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(notes=tmp_path))
    command = [sys.executable, str(ROOT / "jobs" / "run.py"), str(tmp_path / "config.toml")]
    command += ["--run-dir", str(tmp_path / "run"), "--rollouts-per-node", "2", "--no-pictures"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ) as master:
        wait_until(lambda: len(left.now()) >= N_PROCESSES * len(HELPERS), 90, "helpers of all processes")
        before = len(noted(tmp_path, "closed"))
        family = psutil.Process(master.pid).children(recursive=True)
        master.send_signal(number)
        assert master.wait(60) == (130 if number != signal.SIGKILL else -signal.SIGKILL)
    wait_until(lambda: not left.now(), 10, "helpers gone")
    wait_until(lambda: not any(map(alive, family)), 10, "all processes gone")
    assert len(noted(tmp_path, "closed")) == before + N_PROCESSES
