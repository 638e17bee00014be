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

from gadask import pool
from gadask.config import Config, EnvConfig
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
def node_of(config: Config, n_processes: int = 2, n_a_job: int | None = None) -> Iterator[tuple[Node, Task]]:
    """Yield a node and a task; with `n_a_job` a rollout process gets that many episodes at a time."""
    node = Node(config.noise, n_processes)
    if n_a_job:
        node._episodes_a_job = lambda *_: n_a_job  # type: ignore[method-assign]
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
    return node.play(task, Breeding(chunk.generation, PARENTS if chunk.generation else (), PARENTS), chunk)[:2]


def struck(config: Config, n: int, every: int) -> set[int]:
    """Slots of generation 1 in which a fault strikes."""
    seeds = [env_seed(config.seed, Purpose.CHILD_EPISODE, 1, slot, 0) for slot in range(n)]
    return {slot for slot, seed in enumerate(seeds) if seed % every == 0}


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
        late_joiner, *_ = node.play(task, Breeding(1, (), PARENTS), chunk)
    assert outcome(rows) == outcome(late_joiner)
    assert len({row[-2] for row in outcome(rows)}) == 12  # another seed for each episode


@pytest.mark.parametrize(("victims", "n_a_job"), [(slice(0, 1), 1), (slice(None), 10)], ids=["one", "all"])
def test_killed_processes_are_replaced_and_their_episodes_played_again(victims: slice, n_a_job: int) -> None:
    config = faulty_config(step_s=0.002)
    with node_of(config, n_a_job=n_a_job) as (node, task):
        before = node.pool.pids
        results: list[NDArray[np.void]] = []
        player = threading.Thread(target=lambda: results.append(play(node, task, children(60))[0]))
        player.start()
        wait_until(lambda: all(psutil.Process(pid).num_ctx_switches()[0] > 50 for pid in before), 20, "playing")
        for pid in before[victims]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(node.pool.pids) - set(before)) >= len(before[victims]), 2, "replaced")
        player.join()
    assert outcome(results[0]) == played_here(config, children(60))


def test_the_fork_server_is_replaced() -> None:
    with node_of(faulty_config()) as (node, task):
        before = node.pool.pids
        os.kill(psutil.Process(before[0]).ppid(), signal.SIGKILL)
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
        for fault in ("nan", "inf", "text"):
            config = faulty_config(fault, every=2)
            rows, _ = play(node, replace(task, env=config.env, run_id=fault), children(20))
            failed = failures(rows, Status.NONFINITE, struck(config, 20, every=2))
            assert not np.isfinite(rows["return"][failed]).any()


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


def test_a_hanging_process_is_killed_within_two_seconds_of_its_deadline(tmp_path: Path) -> None:
    config = faulty_config("hang-in-c", once=str(tmp_path / "hanging"))
    config = replace(config, env=replace(config.env, episode_timeout_s=0.5))
    results: list[NDArray[np.void]] = []
    with node_of(config, 1) as (node, task):
        player = threading.Thread(target=lambda: results.append(play(node, task, children(1))[0]))
        player.start()
        wait_until((tmp_path / "hanging").exists, 20, "hanging")
        wait_until(lambda: results, 0.5 + 2, "killed")
        player.join()
        wait_until(lambda: node.pool.pids, 10, "replaced")
    assert results[0]["status"].tolist() == [Status.TIMEOUT]


def test_each_episode_of_a_job_has_the_deadline_for_itself() -> None:
    config = faulty_config(step_s=0.01)
    config = replace(config, env=replace(config.env, episode_timeout_s=1.0))
    with node_of(config, 1, n_a_job=12) as (node, task):
        rows, _ = play(node, task, children(12))
    assert rows["seconds"].sum() > 1.5 > 1.0 > rows["seconds"].max()
    assert (rows["status"] == Status.OK).all()


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


def test_children_die_with_their_parent_however_it_dies(tmp_path: Path) -> None:
    program = """
import sys
from gadask.node import Node
from gadask.messages import Breeding, Chunk, Kind
from gadask.task import prepare_task
from tests.conftest import faulty_config
config = faulty_config("hang-in-c", once=sys.argv[1])
node = Node(config.noise, 2)
node.play(prepare_task(config), Breeding(0, (), ()), Chunk(0, Kind.CHILD, ((0, 0), (1, 0))))
"""
    hanging = tmp_path / "hanging"
    with subprocess.Popen([sys.executable, "-c", program, str(hanging)]) as parent:
        wait_until(hanging.exists, 60, "a rollout process that hangs in C code")
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(family) == 3
    try:
        wait_until(lambda: not any(_alive(process) for process in family), 5, "children gone")
    finally:
        for process in filter(_alive, family):
            process.kill()


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
