"""Rollout processes: every episode gets one row, whatever happens to its process (faults 1, 9, 10, 11)."""

from __future__ import annotations

import errno
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import EnvConfig, config_from_dict, config_to_dict
from gadask.errors import NodeError
from gadask.genomes.genome import Genome
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Status
from gadask.node import packets, pool, supervised
from gadask.node.node import Node
from gadask.observations import OBSERVED_SLOTS, Moments
from gadask.rows import MOMENTS
from tests.conftest import faulty_config, kill_all, wait_until
from tests.node_chunks import PARENTS, children, node_of, outcome, play, played_here, struck

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("generation", [0, 1])
@pytest.mark.parametrize("n_processes", [1, 3])
def test_rows_are_those_of_a_single_process(generation: int, n_processes: int) -> None:
    config = faulty_config()
    with node_of(config, n_processes) as (node, task):
        rows, reasons = play(node, task, children(40, generation))
    assert outcome(rows) == played_here(config, children(40, generation))
    assert reasons == {}


@pytest.mark.parametrize("hashed", [False, True])
def test_global_generators_follow_the_seed_in_all_processes(hashed: bool) -> None:
    config = replace(faulty_config(), env=EnvConfig("tests.faulty_envs:Careless-v0", {"hashed": hashed}))
    found = []
    for n_processes in (1, 3):
        with node_of(config, n_processes) as (node, task):
            found.append(outcome(play(node, task, children(20))[0]))
    assert found[0] == found[1]
    assert len({row[-2] for row in found[0]}) == 20
    if not hashed:  # the hash of a text differs in this process
        assert found[0] == played_here(config, children(20))


def test_candidates_are_played_unmutated() -> None:
    with node_of(faulty_config()) as (node, task):
        chunk = Chunk(1, Kind.EVALUATION, tuple((slot, episode) for slot in range(3) for episode in range(4)))
        rows, _ = play(node, task, chunk)
        late_joiner = node.play(task, Brood(1, (), PARENTS), chunk).table
    assert outcome(rows) == outcome(late_joiner)
    assert len({row[-2] for row in outcome(rows)}) == 12  # another seed for each episode


def fork_server(pid: int) -> int:
    """Return the number of the process that forked a rollout process's guard."""
    server: int = psutil.Process(psutil.Process(pid).ppid()).ppid()
    return server


@pytest.mark.parametrize(("victims", "n_a_job"), [(slice(0, 1), 1), (slice(None), 10)], ids=["one", "all"])
def test_killed_processes_are_replaced_and_their_episodes_played_again(victims: slice, n_a_job: int) -> None:
    config = faulty_config(step_s=0.002)
    with node_of(config, n_a_job=n_a_job) as (node, task):
        before = node.pool.pids
        server = fork_server(before[0])
        results: list[NDArray[np.void]] = []
        player = threading.Thread(target=lambda: results.append(play(node, task, children(60))[0]))
        player.start()
        wait_until(lambda: all(psutil.Process(pid).num_ctx_switches()[0] > 50 for pid in before), 20, "playing")
        for pid in before[victims]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(node.pool.pids) - set(before)) >= len(before[victims]), 30, "replaced")
        assert set(map(fork_server, node.pool.pids)) == {server}  # forked, without importing anew
        player.join()
    assert outcome(results[0]) == played_here(config, children(60))


def test_the_fork_server_is_replaced() -> None:
    with node_of(faulty_config()) as (node, task):
        before = node.pool.pids
        os.kill(fork_server(before[0]), signal.SIGKILL)
        wait_until(lambda: len(node.pool.pids) == 2 and not set(node.pool.pids) & set(before), 30, "replaced")
        rows, _ = play(node, task, children(10))
    assert (rows["status"] == Status.OK).all()


def test_an_error_is_retried_once_in_a_fresh_environment(tmp_path: Path) -> None:
    sound = played_here(faulty_config(), children(8))
    with node_of(faulty_config()) as (node, task):
        for fault in ("make", "reset", "step"):
            faulty = replace(task, env=faulty_config(fault, once=str(tmp_path / fault)).env, run_id=fault)
            rows, reasons = play(node, faulty, children(8))
            assert (tmp_path / fault).exists()
            assert outcome(rows) == sound, fault
            assert reasons == {}


@pytest.mark.parametrize(
    ("fault", "n_a_job", "reason"),
    [("reset", 1, "RuntimeError: it cannot be reset"), ("step", 10, "RuntimeError: it cannot step")],
)
def test_an_environment_that_raises_gives_error_rows_with_the_reason(fault: str, n_a_job: int, reason: str) -> None:
    config = faulty_config(fault, every=3)
    with node_of(config, n_a_job=n_a_job) as (node, task):
        rows, reasons = play(node, task, children(30))
    failed = failures(rows, Status.ERROR, struck(config, 30, every=3))
    assert reasons == dict.fromkeys(failed, reason)


def failures(rows: NDArray[np.void], status: Status, slots: set[int]) -> list[int]:
    """Return the places of failed rows: those of `slots`, with `status`; all others are as without a fault."""
    failed = rows["status"] != Status.OK
    assert set(rows["slot"][failed].tolist()) == slots
    assert 0 < len(slots) < len(rows)
    assert (rows["status"][failed] == status).all()
    sound = played_here(faulty_config(), children(len(rows)))
    assert outcome(rows[~failed]) == [row for row in sound if row[1] not in slots]
    return np.flatnonzero(failed).tolist()


def test_an_environment_that_cannot_be_made_gives_error_rows() -> None:
    with node_of(faulty_config()) as (node, task):
        task = replace(task, env=faulty_config("make").env)
        rows, reasons = play(node, task, children(4, generation=0))
    assert (rows["status"] == Status.ERROR).all()
    assert len(reasons) == 4
    assert all("it cannot be made" in reason for reason in reasons.values())


def test_a_return_that_is_not_finite_has_its_status() -> None:
    with node_of(faulty_config()) as (node, task):
        for fault in ("nan", "inf"):
            config = faulty_config(fault, every=2)
            rows, reasons = play(node, replace(task, env=config.env, run_id=fault), children(20))
            failed = failures(rows, Status.NONFINITE, struck(config, 20, every=2))
            assert not np.isfinite(rows["return"][failed]).any()
            assert reasons == dict.fromkeys(failed, f"its return is {fault}")


def test_a_reward_that_is_no_number_is_named() -> None:
    config = faulty_config("text", every=2)
    with node_of(config) as (node, task):
        rows, reasons = play(node, task, children(20))
    failed = failures(rows, Status.ERROR, struck(config, 20, every=2))
    assert list(reasons) == failed
    assert all("reward: expected a number, found 'five' (str)" in reason for reason in reasons.values())


def test_an_episode_that_kills_its_process_three_times_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    config = faulty_config("kill", every=7)
    with node_of(config, n_a_job=10) as (node, task):
        rows, reasons = play(node, task, children(30))
        failed = failures(rows, Status.ERROR, struck(config, 30, every=7))
        assert reasons == dict.fromkeys(failed, "3 rollout processes died under it")

        monkeypatch.setattr(pool, "MAX_DEATHS", 1)  # so that blame of the rest of its job would show
        failures(play(node, task, children(30))[0], Status.ERROR, struck(config, 30, every=7))


@pytest.mark.parametrize(("fault", "n_a_job"), [("hang", 1), ("hang-in-c", 10)])
def test_a_hanging_episode_is_a_timeout_and_its_siblings_are_not_touched(fault: str, n_a_job: int) -> None:
    config = faulty_config(fault, every=9)
    config = replace(config, env=replace(config.env, episode_timeout_s=0.5))
    with node_of(config, n_a_job=n_a_job) as (node, task):
        rows, reasons = play(node, task, children(30))
        wait_until(lambda: len(node.pool.pids) == 2, 10, "replaced")
    failed = failures(rows, Status.TIMEOUT, struck(config, 30, every=9))
    assert reasons == dict.fromkeys(failed, "no end after 0.5 s; its process was killed")


def test_a_hanging_process_is_killed_at_its_deadline_though_nothing_else_happens(tmp_path: Path) -> None:
    config = faulty_config("hang-in-c", once=str(tmp_path / "hanging"))
    config = replace(config, env=replace(config.env, episode_timeout_s=0.5))
    results: list[NDArray[np.void]] = []
    with node_of(config, 1) as (node, task):
        player = threading.Thread(target=lambda: results.append(play(node, task, children(1))[0]))
        player.start()
        wait_until((tmp_path / "hanging").exists, 20, "hanging")
        wait_until(lambda: results, 30, "killed, with no other job or process that would wake the pool")
        player.join()
        wait_until(lambda: node.pool.pids, 30, "replaced")
    assert results[0]["status"].tolist() == [Status.TIMEOUT]


@pytest.mark.parametrize("timeout_s", [math.inf, 1e308, 2_147_484.0])
def test_an_episode_may_have_any_time(timeout_s: float) -> None:
    config = faulty_config(step_s=0.001)
    tables = config_to_dict(config)
    config = config_from_dict(tables | {"env": tables["env"] | {"episode_timeout_s": timeout_s}})
    with node_of(config) as (node, task):
        rows, _ = play(node, task, children(10))
    assert outcome(rows) == played_here(config, children(10))


def test_a_process_that_cannot_be_understood_is_replaced_and_the_others_play_on() -> None:
    config = faulty_config("babble", every=7)
    with node_of(config, n_a_job=10) as (node, task):
        rows, reasons = play(node, task, children(30))
        assert not node.pool.closed
    failed = failures(rows, Status.ERROR, struck(config, 30, every=7))
    assert len(failed) == len(reasons)
    assert all("cannot be read" in reasons[place] for place in failed)


@pytest.mark.parametrize("n_episodes", [5, 2000])
def test_a_process_that_cannot_be_told_of_its_job_is_replaced(n_episodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = faulty_config()
    refused: list[int] = []

    def send(channel: socket.socket, message: object, *fds: int) -> None:
        if isinstance(message, tuple) and len(refused) < 2:
            refused.append(channel.fileno())
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        packets.send(channel, message, *fds)

    with node_of(config) as (node, task):
        monkeypatch.setattr(supervised, "send", send)
        rows, reasons = play(node, task, children(n_episodes, generation=0))
    assert len(refused) == 2
    assert reasons == {}
    assert outcome(rows) == played_here(config, children(n_episodes, generation=0))


@pytest.mark.parametrize(("n_entries", "n"), [(800, 64), (300_000, 4)])
def test_moments_of_any_size_come_back(n_entries: int, n: int) -> None:
    config = faulty_config(n_entries=n_entries)
    config = replace(
        config,
        policy=replace(config.policy, kwargs={"hidden": "1"}, normalise=True),
        noise=replace(config.noise, size=700_000),
    )
    with node_of(config, n_a_job=n) as (node, task):
        generation = Brood(0, (), ())
        rows = node.play(task, generation, children(n, generation=0))
        assert rows.reasons() == {}
        observed = {int(rows.table["slot"][place]): packed for place, packed in rows.attached(MOMENTS).items()}
        assert sorted(observed) == list(range(min(n, OBSERVED_SLOTS)))
        total = Moments().merged(observed[slot] for slot in sorted(observed))
        assert len(total.sums) == n_entries

        generation = Brood(1, PARENTS, (), total.normaliser())  # which every job carries
        rows = node.play(task, generation, children(n))
        assert rows.reasons() == {}
        assert (rows.table["status"] == Status.OK).all()


def test_a_genome_of_any_length_is_decoded() -> None:
    old: Genome = tuple(200_000 + i % 1000 for i in range(41_000))  # 205 kB
    with node_of(faulty_config()) as (node, task):
        rows = node.play(task, Brood(1, (old,), ()), children(4))
    assert rows.reasons() == {}
    assert (rows.table["status"] == Status.OK).all()


def test_each_episode_of_a_job_has_the_deadline_for_itself() -> None:
    step_s, timeout_s = 0.005, 4.0
    config = faulty_config(step_s=step_s)
    config = replace(config, env=replace(config.env, episode_timeout_s=timeout_s))
    with node_of(config, 1, n_a_job=70) as (node, task):
        rows, _ = play(node, task, children(70))
    assert rows["steps"].sum() * step_s > timeout_s  # which its steps have slept at the least
    assert (rows["status"] == Status.OK).all()


def test_closing_the_pool_fails_those_who_wait() -> None:
    caught: list[str] = []
    with node_of(faulty_config(step_s=0.1)) as (node, task):

        def run() -> None:
            with pytest.raises(NodeError, match="closed") as info:
                play(node, task, children(100))
            caught.append(str(info.value))

        waiter = threading.Thread(target=run)
        waiter.start()
        wait_until(lambda: node.pool.n_queued > 50, 10, "queued")
    waiter.join(10)
    assert caught


def test_a_pool_that_fails_says_why_once_and_can_be_asked_to_forget() -> None:
    told: list[str] = []
    node = Node(faulty_config().noise, 2, told.append)
    task = prepare_task(faulty_config())
    try:
        play(node, task, children(4))
        node.pool._selector.close()  # as no system call of the supervisor's is expected to fail
        node.pool._wake()
        wait_until(lambda: told, 20, "it says why")
        node.forget(task)
        with pytest.raises(NodeError, match="the pool of rollout processes failed"):
            play(node, replace(task, run_id="another"), children(4))
    finally:
        node.close()
    assert told == [node.pool.failure]


def test_children_die_with_their_parent_however_it_dies(tmp_path: Path) -> None:
    program = """
import sys
from gadask.node.node import Node
from gadask.algorithms.algorithm import Brood
from gadask.messages import Chunk, Kind
from gadask.master.task import prepare_task
from tests.conftest import faulty_config
config = faulty_config("hang-in-c", once=sys.argv[1])
node = Node(config.noise, 2)
node.play(prepare_task(config), Brood(0, (), ()), Chunk(0, Kind.CHILD, ((0, 0), (1, 0))))
"""
    hanging = tmp_path / "hanging"
    with subprocess.Popen([sys.executable, "-c", program, str(hanging)]) as parent:
        wait_until(hanging.exists, 60, "a rollout process that hangs in C code")
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(family) == 5  # the fork server, and two rollout processes, each with its guard
    try:
        wait_until(lambda: not any(_alive(process) for process in family), 5, "children gone")
    finally:
        kill_all(family)


def _alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def test_a_table_that_does_not_fit_is_refused() -> None:
    from gadask.config import NoiseConfig

    with pytest.raises(NodeError, match="memory"):
        Node(NoiseConfig(size=10**13), 1)


def test_time_is_accounted() -> None:
    began = time.time()
    with node_of(faulty_config(step_s=0.001)) as (node, task):
        rows, _ = play(node, task, children(20))
    assert (rows["seconds"] >= 0.001 * rows["steps"]).all()
    assert (rows["start_s"] >= began).all()
    assert set(rows["process"].tolist()) <= {0, 1}
