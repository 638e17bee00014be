"""Runs that share a node: process time, closings, and room for the weights of their parents."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import Config
from gadask.errors import NodeError
from gadask.genomes.genome import draw_children
from gadask.genomes.seeding import Purpose, env_seed
from gadask.messages import Chunk, Kind, Status, Task
from gadask.node import node as node_module
from gadask.node.ancestors import Ancestors
from gadask.node.fairqueue import FairQueue
from gadask.node.node import Node
from tests.conftest import faulty_config, wait_until
from tests.node_chunks import children, node_of, play

pytestmark = pytest.mark.usefixtures("no_leaks")


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
    brood = Brood(generation, parents, ())

    def run() -> None:
        with suppress(NodeError):  # the node is closed
            results.append(node.play(task, brood, children(20, generation)).table)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def strikes(config: Config, generation: int, every: int) -> bool:
    """Whether a fault strikes in one of a generation's first 20 children, whose parents are all used too."""
    seeds = [env_seed(config.seed, Purpose.CHILD_EPISODE, generation, slot, 0) for slot in range(20)]
    rows, _ = draw_children(config.seed, generation, np.arange(20), 5, 1000)
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
                results.append(node.play(task, Brood(99, parents, ()), children(20, 99)).table)
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
            node.play(task, Brood(1, parents, ()), children(1000))


@pytest.mark.parametrize("how", ["close the generation", "forget the run"])
def test_an_episode_that_hangs_is_not_waited_for_when_it_is_stopped(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = faulty_config("hang-in-c", once=str(tmp_path / "hanging"))
    monkeypatch.setattr(node_module, "STOP_S", 0.1)
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
