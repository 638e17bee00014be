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
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from gadask.config import Config, EnvConfig, config_from_dict, config_to_dict
from gadask.envs import make_env
from gadask.errors import NodeError
from gadask.genomes.genome import Genome, count_genes, draw_child, draw_children
from gadask.genomes.noise import LazyNoise
from gadask.genomes.seeding import Purpose, env_seed
from gadask.genomes.weights import decode
from gadask.master.task import prepare_task
from gadask.messages import Breeding, Chunk, Kind, Status, Task
from gadask.node import chunks, packets, pool, supervised
from gadask.node.ancestors import Ancestors
from gadask.node.batch import Batch
from gadask.node.chunks import Node
from gadask.node.fairqueue import FairQueue
from gadask.node.jobs import Job, PlayJob
from gadask.observations import OBSERVED_SLOTS, Moments
from gadask.play.rollout import play_episode
from gadask.policies import make_policy
from tests.conftest import faulty_config, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

PARENTS: tuple[Genome, ...] = ((5,), (6, 7), (6, 7, 8))


@contextmanager
def node_of(config: Config, n_processes: int = 2, n_a_job: int | None = None) -> Iterator[tuple[Node, Task]]:
    """Yield a node and a task; with `n_a_job` a rollout process gets that many episodes at a time."""
    node = Node(config.noise, n_processes)
    sizes: set[int] = set()
    submit = node.pool.submit

    def noted(jobs: Sequence[Job]) -> Batch:
        sizes.update(len(job.episodes) for job in jobs if isinstance(job, PlayJob))
        return submit(jobs)

    node.pool.submit = noted  # type: ignore[method-assign]
    if n_a_job:
        node._episodes_a_job = lambda *_: n_a_job  # type: ignore[method-assign]
    try:
        yield node, prepare_task(config)
    finally:
        node.close()
    assert n_a_job is None or max(sizes) == n_a_job  # else the test is of other jobs than it says


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
        generation = Breeding(0, (), ())
        rows, reasons, moments = node.play(task, generation, children(n, generation=0))
        assert reasons == {}
        observed = {int(rows["slot"][place]): packed for place, packed in moments.items()}
        assert sorted(observed) == list(range(min(n, OBSERVED_SLOTS)))
        total = Moments().merged(observed[slot] for slot in sorted(observed))
        assert len(total.sums) == n_entries

        generation = Breeding(1, PARENTS, (), total.normaliser())  # which every job carries
        rows, reasons, _ = node.play(task, generation, children(n))
        assert reasons == {}
        assert (rows["status"] == Status.OK).all()


def test_a_genome_of_any_length_is_decoded() -> None:
    old: Genome = tuple(200_000 + i % 1000 for i in range(41_000))  # 205 kB
    with node_of(faulty_config()) as (node, task):
        rows, reasons, _ = node.play(task, Breeding(1, (old,), ()), children(4))
    assert reasons == {}
    assert (rows["status"] == Status.OK).all()


def test_each_episode_of_a_job_has_the_deadline_for_itself() -> None:
    step_s, timeout_s = 0.005, 4.0
    config = faulty_config(step_s=step_s)
    config = replace(config, env=replace(config.env, episode_timeout_s=timeout_s))
    with node_of(config, 1, n_a_job=70) as (node, task):
        rows, _ = play(node, task, children(70))
    assert rows["steps"].sum() * step_s > timeout_s  # which its steps have slept at the least
    assert (rows["status"] == Status.OK).all()


class WatchedQueue(FairQueue[Any]):
    """A queue that notes what each run was charged when a job was taken, as long as all runs had more."""

    def __init__(self, n_processes: int, n_runs: int) -> None:
        super().__init__(n_processes)
        self.n_runs, self.n_taken, self.longest_s, self.widest_s = n_runs, 0, 0.0, 0.0
        self.charged_s: defaultdict[int, float] = defaultdict(float)

    def take(self) -> Any:
        waiting = {pending.job.task_number for pending in self}
        if len(waiting) == self.n_runs:
            charged_s = [self.charged_s[run] for run in waiting]
            self.widest_s = max(self.widest_s, max(charged_s) - min(charged_s))
            self.n_taken += 1
        return super().take()

    def done(self, run: int, seconds: float) -> None:
        super().done(run, seconds)
        self.charged_s[run] += seconds
        self.longest_s = max(self.longest_s, seconds)


def test_process_time_is_shared_equally_between_runs() -> None:
    """Of long and of short episodes: by the time that was charged, whatever else the machine does."""
    n_processes, n_children = 2, {"short": 800, "middle": 100, "long": 60}
    step_s = {"short": 0.0005, "middle": 0.004, "long": 0.008}
    with node_of(faulty_config(), n_processes, n_a_job=1) as (node, task):
        queue = node.pool._queue = WatchedQueue(n_processes, len(n_children))
        tasks = {name: replace(task, run_id=name, env=faulty_config(step_s=step_s[name]).env) for name in n_children}
        results: dict[str, NDArray[np.void]] = {}

        def play_run(name: str) -> None:
            results[name] = play(node, tasks[name], children(n_children[name], generation=0))[0]

        threads = [threading.Thread(target=play_run, args=(name,)) for name in n_children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        numbers = {name: node._tasks[name].number for name in n_children}
    assert queue.n_taken > 100
    assert queue.widest_s <= 3 * n_processes * queue.longest_s
    for name, rows in results.items():
        assert (rows["status"] == Status.OK).all()
        assert rows["seconds"].sum() <= queue.charged_s[numbers[name]]


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


def waiting_config(tmp_path: Path) -> Config:
    """Return a run in which every tenth episode goes on when the file `go on` exists."""
    config = faulty_config("wait", every=10, until=str(tmp_path / "go on"))
    return replace(config, env=replace(config.env, episode_timeout_s=600.0))


def pinning(node: Node, task: Task, generation: int, results: list[NDArray[np.void]]) -> threading.Thread:
    """Play a generation of its own parents, five of the 36 that the node has room for, in a thread."""
    parents = tuple((generation, gene) for gene in range(5))
    breeding = Breeding(generation, parents, ())

    def run() -> None:
        with suppress(NodeError):  # the node is closed
            results.append(node.play(task, breeding, children(20, generation))[0])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def strikes(config: Config, generation: int, every: int) -> bool:
    """Whether a fault strikes in one of a generation's first 20 children, whose parents are all used too."""
    seeds = [env_seed(config.seed, Purpose.CHILD_EPISODE, generation, slot, 0) for slot in range(20)]
    rows, _ = draw_children(config.seed, generation, np.arange(20), [(i,) for i in range(5)], 1000)
    return any(seed % every == 0 for seed in seeds) and len(set(rows.tolist())) == 5


def weights_of(node: Node) -> Ancestors:
    (state,) = node._tasks.values()
    return state.weights


def test_a_chunk_waits_for_room_until_others_have_ended(tmp_path: Path) -> None:
    config = waiting_config(tmp_path)
    results: list[NDArray[np.void]] = []
    with node_of(config, 24) as (node, task):
        threads = [pinning(node, task, generation, results) for generation in range(1, 11)]
        wait_until(lambda: node._tasks and weights_of(node).n_waiting == 3, 60, "the last three wait")
        (tmp_path / "go on").touch()
        for thread in threads:
            thread.join(60)
    assert len(results) == 10
    assert all((rows["status"] == Status.OK).all() for rows in results)


@pytest.mark.parametrize("how", ["close the generation", "forget the run", "close the node"])
def test_a_chunk_does_not_wait_for_room_any_more_when_it_is_not_wanted(how: str, tmp_path: Path) -> None:
    config = waiting_config(tmp_path)
    results: list[NDArray[np.void]] = []
    failures: list[str] = []
    with node_of(config, 24) as (node, task):

        def wait_for_room() -> None:
            try:
                parents = tuple((99, gene) for gene in range(5))
                results.append(node.play(task, Breeding(99, parents, ()), children(20, 99))[0])
            except NodeError as error:
                failures.append(str(error))

        waited_for = [generation for generation in range(100, 200) if strikes(config, generation, 10)][:7]
        threads = [pinning(node, task, generation, []) for generation in waited_for]
        wait_until(lambda: node._tasks and len(weights_of(node)._cache._pins) == 35, 60, "all rows are pinned")
        waiting = threading.Thread(target=wait_for_room)
        waiting.start()
        wait_until(lambda: weights_of(node).n_waiting == 1, 60, "it waits")
        if how == "close the generation":
            node.close_generation(task, Kind.CHILD, 99)
        elif how == "forget the run":
            node.forget(task)
        else:
            node.close()
        waiting.join(30)
        assert not waiting.is_alive()
        (tmp_path / "go on").touch()
        for thread in threads:
            thread.join(30)
    if how == "close the generation":
        assert (results[0]["status"] == Status.STOPPED).all()
        assert sorted(results[0]["slot"]) == list(range(20))
    else:
        assert len(failures) == 1


def test_a_chunk_that_needs_more_room_than_there_is_is_an_error_at_once() -> None:
    with node_of(faulty_config()) as (node, task):
        parents = tuple((1, gene) for gene in range(200))
        with pytest.raises(NodeError, match=r"a chunk starts from \d+ genomes: .* of 36 rows"):
            node.play(task, Breeding(1, parents, ()), children(1000))


@pytest.mark.parametrize("how", ["close the generation", "forget the run"])
def test_an_episode_that_hangs_is_not_waited_for_when_it_is_stopped(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = faulty_config("hang-in-c", once=str(tmp_path / "hanging"))
    monkeypatch.setattr(chunks, "STOP_S", 0.1)
    results: list[NDArray[np.void]] = []
    with node_of(config, 1) as (node, task):
        before = node.pool.pids
        player = threading.Thread(target=lambda: results.append(play(node, task, children(3))[0]))
        player.start()
        wait_until((tmp_path / "hanging").exists, 20, "hanging")
        node.tend()
        if how == "close the generation":
            node.close_generation(task, Kind.CHILD, 1)
        else:
            node.forget(task)

        def is_over() -> bool:
            node.tend()
            return not player.is_alive()

        wait_until(is_over, 20, "the chunk comes back")
        wait_until(lambda: node.pool.pids and node.pool.pids != before, 20, "replaced")
    assert sorted(results[0]["slot"]) == [0, 1, 2]
    assert (results[0]["status"] == Status.STOPPED).all()


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
from gadask.node.chunks import Node
from gadask.messages import Breeding, Chunk, Kind
from gadask.master.task import prepare_task
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
    assert len(family) == 5  # the fork server, and two rollout processes, each with its guard
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
