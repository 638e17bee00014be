"""Deadlines are of time in which the machine ran (fault 21)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Status
from gadask.node.deadlines import LOOK_S, Deadlines, Playing, RunningClock, Verdict
from gadask.node.node import Node
from tests.conftest import faulty_config, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

TIMEOUT_S = 5.0


class Clock:
    """Time that passes only when told."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """Return a process that does nothing."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def look_every_second(deadlines: Deadlines, clock: Clock, one: Playing, until_s: float) -> Verdict | None:
    """Return the first verdict before `until_s`."""
    while clock.now_s < until_s:
        wait_s = deadlines.seconds_to_look(True)
        assert wait_s is not None
        assert wait_s <= LOOK_S
        clock.now_s += wait_s
        if deadlines.is_due and (verdict := deadlines.look([one]).get(one.pid)):
            return verdict
    return None


def test_an_episode_has_its_time_and_no_more() -> None:
    clock = Clock()
    deadlines, one = Deadlines(clock), Playing(os.getpid(), clock.now_s, 7.5)
    assert look_every_second(deadlines, clock, one, 2000) is Verdict.OVERDUE
    assert clock.now_s == 1007.5
    assert deadlines.seconds_to_look(False) is None


def test_a_pause_of_the_watcher_counts_for_nobody() -> None:
    clock = Clock()
    deadlines, one = Deadlines(clock), Playing(os.getpid(), clock.now_s, 7.5)
    assert look_every_second(deadlines, clock, one, 1004) is None
    deadlines.seconds_to_look(True)
    clock.now_s += 3600  # of which the first second was to be waited
    assert look_every_second(deadlines, clock, one, 9000) is Verdict.OVERDUE
    assert clock.now_s == 1007.5 + 3599


def test_an_episode_that_begins_after_a_pause_gets_nothing_for_it() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    deadlines.seconds_to_look(True)
    clock.now_s += 3600
    one = Playing(os.getpid(), clock.now_s - 0.1, 7.5)  # before its supervisor had looked
    assert look_every_second(deadlines, clock, one, 9000) is Verdict.OVERDUE
    assert clock.now_s == pytest.approx(one.began_s + 7.6)


def test_a_process_that_stood_still_gets_its_time_back(sleeper: psutil.Process) -> None:
    clock = Clock()
    deadlines, one = Deadlines(clock), Playing(sleeper.pid, clock.now_s, 7.5)
    assert look_every_second(deadlines, clock, one, 1002) is None
    sleeper.suspend()
    wait_until(lambda: sleeper.status() == psutil.STATUS_STOPPED, 20, "stopped")
    assert look_every_second(deadlines, clock, one, 1006) is None
    sleeper.resume()
    wait_until(lambda: sleeper.status() != psutil.STATUS_STOPPED, 20, "going on")
    assert look_every_second(deadlines, clock, one, 9000) is Verdict.OVERDUE
    assert 1011 <= clock.now_s <= 1013


def test_a_process_that_stands_still_past_its_deadline_is_given_up(sleeper: psutil.Process) -> None:
    clock = Clock()
    deadlines, one = Deadlines(clock), Playing(sleeper.pid, clock.now_s, 7.5)
    sleeper.suspend()
    wait_until(lambda: sleeper.status() == psutil.STATUS_STOPPED, 20, "stopped")
    assert look_every_second(deadlines, clock, one, 9000) is Verdict.STOPPED
    assert clock.now_s == 1007.5


def test_a_running_clock_stands_still_with_its_process() -> None:
    clock = Clock()
    running = RunningClock(5.0, clock)
    for _ in range(8):
        clock.now_s += 1
        running()
    clock.now_s += 3600
    assert running() == 13.0


def children(n: int) -> Chunk:
    return Chunk(0, Kind.CHILD, tuple((slot, 0) for slot in range(n)))


def play(node: Node, n: int, step_s: float) -> tuple[NDArray[np.void], dict[int, str]]:
    config = faulty_config(step_s=step_s)
    config = replace(config, env=replace(config.env, episode_timeout_s=TIMEOUT_S))
    rows = node.play(prepare_task(config), Brood(0, (), ()), children(n))
    return rows.table, rows.reasons()


def test_an_episode_whose_process_stands_still_is_played_elsewhere() -> None:
    node = Node(faulty_config().noise, 2)
    found: list[tuple[NDArray[np.void], dict[int, str]]] = []
    player = threading.Thread(target=lambda: found.append(play(node, 6, step_s=0.02)))
    try:
        victim = psutil.Process(node.pool.pids[0])
        player.start()
        wait_until(lambda: victim.num_ctx_switches().voluntary > 20, 60, "playing")
        victim.suspend()
        player.join(60)
        assert not player.is_alive()
        assert victim.pid not in node.pool.pids
    finally:
        node.close()
    (rows, reasons), *_ = found
    assert (rows["status"] == Status.OK).all()
    assert sorted(rows["slot"].tolist()) == list(range(6))
    assert reasons == {}


_PLAY = """
import sys
from gadask.node.node import Node
from tests import test_deadlines as tests
if __name__ == "__main__":
    node = Node(tests.faulty_config().noise, 2)
    print(*node.pool.pids, flush=True)
    rows, reasons = tests.play(node, 4, 0.1)
    node.close()
    print(sorted(rows["slot"].tolist()), rows["status"].tolist(), reasons)
"""


def test_a_node_that_stood_still_has_no_timeouts() -> None:
    command = [sys.executable, "-c", _PLAY]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True) as process:
        assert process.stdout is not None
        players = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        supervisor = psutil.Process(process.pid)
        servers = [server for player in players if (server := player.parent()) not in (None, supervisor)]
        everybody = [supervisor, *servers, *players]  # others, such as a compiler's, may end any moment
        try:
            for one in players:
                wait_until(lambda one=one: one.num_ctx_switches().voluntary > 10, 60, "playing")  # type: ignore[misc]
            for one in everybody:
                one.suspend()
            stopped_s = time.monotonic()
            wait_until(lambda: time.monotonic() > stopped_s + TIMEOUT_S + 1, 60, "past all deadlines")
            for one in everybody:
                one.resume()
            answer = process.stdout.readline()
        finally:
            for one in everybody:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.resume()
        assert process.wait(60) == 0
    assert answer == f"[0, 1, 2, 3] {[int(Status.OK)] * 4} {{}}\n"
