"""Rollout processes: every episode gets one row, whatever happens to its process (faults 1, 9, 10, 11)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gadask.config import Config
from gadask.envs import make_env
from gadask.errors import NodeError
from gadask.genome import count_genes, draw_child
from gadask.messages import Breeding, Chunk, Genome, Kind, Status, Task
from gadask.node import Node
from gadask.noise import LazyNoise
from gadask.policies import make_policy
from gadask.rollout import play_episode
from gadask.seeding import Purpose, env_seed
from gadask.task import prepare_task
from gadask.weights import decode
from tests.conftest import faulty_config, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

PARENTS: tuple[Genome, ...] = ((5,), (6, 7), (6, 7, 8))


@contextmanager
def node_of(config: Config, n_processes: int = 2) -> Iterator[tuple[Node, Task]]:
    node = Node(config.noise, n_processes)
    try:
        yield node, prepare_task(config)
    finally:
        node.close()


def children(n: int, generation: int = 1) -> Chunk:
    return Chunk(generation, Kind.CHILD, tuple((slot, 0) for slot in range(n)))


def outcome(rows: NDArray[np.void]) -> list[tuple[object, ...]]:
    """What must not depend on processes or order of arrival."""
    return sorted(rows[["kind", "slot", "episode", "steps", "frames", "return", "status"]].tolist())


def play(node: Node, task: Task, chunk: Chunk) -> tuple[NDArray[np.void], dict[int, str]]:
    return node.play(task, Breeding(chunk.generation, PARENTS if chunk.generation else (), PARENTS), chunk)


def played_here(config: Config, chunk: Chunk) -> list[tuple[object, ...]]:
    """Play a chunk's children in this process, from scratch."""
    task = prepare_task(config)
    env = make_env(config.env)
    policy = make_policy(config.policy, env.observation_space, env.action_space)
    noise = LazyNoise(config.noise)
    n_genes = count_genes(config.noise.size, task.n_params)

    rows = []
    for slot, episode in chunk.episodes:
        row, gene = draw_child(config.seed, chunk.generation, slot, PARENTS if chunk.generation else (), n_genes)
        genome = (gene,) if row < 0 else (*PARENTS[row], gene)
        decode(policy.flat, genome, noise, policy.initialise, task.mutation_power)
        seed = env_seed(config.seed, Purpose.CHILD_EPISODE, chunk.generation, slot, episode)
        result = play_episode(env, policy, seed, config.env.max_steps)
        rows.append((Kind.CHILD, slot, episode, result.steps, result.frames, result.return_, result.status))
    return sorted(rows)


@pytest.mark.parametrize("generation", [0, 1])
@pytest.mark.parametrize("n_processes", [1, 3])
def test_rows_are_those_of_a_single_process(generation: int, n_processes: int) -> None:
    config = faulty_config()
    with node_of(config, n_processes) as (node, task):
        rows, reasons = play(node, task, children(40, generation))
    assert outcome(rows) == played_here(config, children(40, generation))
    assert reasons == {}


def test_candidates_are_played_unmutated() -> None:
    with node_of(faulty_config()) as (node, task):
        chunk = Chunk(1, Kind.EVALUATION, tuple((slot, episode) for slot in range(3) for episode in range(4)))
        rows, _ = play(node, task, chunk)
        late_joiner, _ = node.play(task, Breeding(1, (), PARENTS), chunk)
    assert outcome(rows) == outcome(late_joiner)
    assert len({row[-2] for row in outcome(rows)}) == 12  # another seed for each episode


@pytest.mark.parametrize("victims", [slice(0, 1), slice(None)], ids=["one", "all"])
def test_killed_processes_are_replaced_and_their_episodes_played_again(victims: slice) -> None:
    config = faulty_config(step_s=0.002)
    with node_of(faulty_config(step_s=0.002)) as (node, task):
        before = node.pool.pids
        results: list[NDArray[np.void]] = []
        player = threading.Thread(target=lambda: results.append(play(node, task, children(60))[0]))
        player.start()
        wait_until(lambda: all(psutil.Process(pid).num_ctx_switches()[0] > 50 for pid in before), 20, "playing")
        for pid in before[victims]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(node.pool.pids) - set(before)) >= len(before[victims]), 10, "replaced")
        player.join()
    assert outcome(results[0]) == played_here(config, children(60))


def test_the_fork_server_is_replaced() -> None:
    with node_of(faulty_config()) as (node, task):
        before = node.pool.pids
        os.kill(psutil.Process(before[0]).ppid(), signal.SIGKILL)
        wait_until(lambda: len(node.pool.pids) == 2 and not set(node.pool.pids) & set(before), 30, "replaced")
        rows, _ = play(node, task, children(10))
    assert (rows["status"] == Status.OK).all()


@pytest.mark.parametrize("fault", ["reset", "step"])
def test_an_error_is_retried_once_in_a_fresh_environment(fault: str, tmp_path: Path) -> None:
    with node_of(faulty_config(fault, once=str(tmp_path / "struck"))) as (node, task):
        rows, reasons = play(node, task, children(8))
    assert (tmp_path / "struck").exists()
    assert outcome(rows) == played_here(faulty_config(), children(8))
    assert reasons == {}


@pytest.mark.parametrize("fault", ["reset", "step", "text"])
def test_an_environment_that_raises_gives_error_rows_with_the_reason(fault: str) -> None:
    sound = outcome_by_slot(faulty_config(), 30)
    with node_of(faulty_config(fault, every=3)) as (node, task):
        rows, reasons = play(node, task, children(30))
    failed = rows["status"] != Status.OK
    assert 0 < failed.sum() < 30
    assert set(reasons) <= set(np.flatnonzero(failed).tolist())
    if fault != "text":
        assert (rows["status"][failed] == Status.ERROR).all()
        what = {"reset": "it cannot be reset", "step": "it cannot step"}[fault]
        assert {reasons[i] for i in np.flatnonzero(failed).tolist()} == {f"RuntimeError: {what}"}
    for row in rows[~failed]:
        assert row["return"] == sound[int(row["slot"])]


def outcome_by_slot(config: Config, n: int) -> dict[int, object]:
    return {int(str(row[1])): row[5] for row in played_here(config, children(n))}


@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_a_return_that_is_not_finite_has_its_status(fault: str) -> None:
    with node_of(faulty_config(fault, every=2)) as (node, task):
        rows, _ = play(node, task, children(20))
    bad = ~np.isfinite(rows["return"])
    assert 0 < bad.sum() < 20
    assert (rows["status"][bad] == Status.NONFINITE).all()
    assert (rows["status"][~bad] == Status.OK).all()


def test_an_episode_that_kills_its_process_three_times_is_an_error() -> None:
    with node_of(faulty_config("kill", every=7)) as (node, task):
        rows, reasons = play(node, task, children(30))
    failed = np.flatnonzero(rows["status"] != Status.OK).tolist()
    assert failed
    assert {reasons[i] for i in failed} == {"3 rollout processes died under it"}
    assert sorted(rows["slot"].tolist()) == list(range(30))


@pytest.mark.parametrize("fault", ["hang", "hang-in-c"])
def test_a_hanging_episode_is_a_timeout_and_its_siblings_are_not_touched(fault: str) -> None:
    config = faulty_config(fault, every=9)
    config = replace(config, env=replace(config.env, episode_timeout_s=0.5))
    sound = outcome_by_slot(faulty_config(), 30)
    with node_of(config) as (node, task):
        rows, reasons = play(node, task, children(30))
        wait_until(lambda: len(node.pool.pids) == 2, 10, "replaced")
    hung = rows["status"] == Status.TIMEOUT
    assert 0 < hung.sum() < 30
    assert sorted(rows["slot"].tolist()) == list(range(30))
    assert all("0.5 s" in reasons[i] for i in np.flatnonzero(hung).tolist())
    for row in rows[~hung]:
        assert row["return"] == sound[int(row["slot"])]


def test_closing_a_generation_stops_its_episodes_and_no_others() -> None:
    with node_of(faulty_config(step_s=0.05)) as (node, task):
        results: dict[str, NDArray[np.void]] = {}

        def run(name: str, chunk: Chunk) -> None:
            results[name] = play(node, task, chunk)[0]

        test = Chunk(1, Kind.TEST, ((0, 0), (1, 0)))
        threads = [
            threading.Thread(target=run, args=("closed", children(200))),
            threading.Thread(target=run, args=("test", test)),
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: node.pool.n_queued > 100, 10, "queued")
        node.close_generation(task, Kind.CHILD, 1)
        for thread in threads:
            thread.join(20)
        run("late", children(5))
    assert len(results["closed"]) == 200
    assert (results["closed"]["status"] == Status.STOPPED).sum() > 100
    assert (results["late"]["status"] == Status.STOPPED).all()
    assert (results["test"]["status"] == Status.OK).all()


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


def test_children_die_with_their_parent_however_it_dies() -> None:
    program = """
import sys, time
from gadask.node import Node
from gadask.config import NoiseConfig
from gadask.messages import Breeding, Chunk, Kind
from gadask.task import prepare_task
from tests.conftest import faulty_config
config = faulty_config("hang-in-c")
node = Node(config.noise, 2)
print(*node.pool.pids, flush=True)
node.play(prepare_task(config), Breeding(0, (), ()), Chunk(0, Kind.CHILD, ((0, 0), (1, 0))))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        family = [psutil.Process(pid) for pid in pids] + psutil.Process(parent.pid).children(recursive=True)
        wait_until(lambda: all("libc" in _maps(pid) for pid in pids), 10, "started")
        parent.kill()
    wait_until(lambda: not any(_alive(process) for process in family), 5, "children gone")


def _alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


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
