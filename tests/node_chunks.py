"""Chunks for a node in this process, and what must come of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import Config
from gadask.envs import make_env
from gadask.genomes.genome import Genome, count_genes
from gadask.genomes.noise import LazyNoise
from gadask.genomes.seeding import Purpose, env_seed
from gadask.genomes.weights import decode
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Task
from gadask.node.batch import Batch
from gadask.node.jobs import Job, PlayJob
from gadask.node.node import Node
from gadask.play.rollout import play_episode
from gadask.policies import make_policy
from tests.genomes import draw_child

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
    rows = node.play(task, Brood(chunk.generation, PARENTS if chunk.generation else (), PARENTS), chunk)
    return rows.table, rows.reasons()


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
        decode(policy.flat, genome, noise, policy.initialise, task.algorithm.step_weight)
        seed = env_seed(config.seed, Purpose.CHILD_EPISODE, chunk.generation, slot, episode)
        result = play_episode(env, policy, seed, config.env.max_steps)
        rows.append((Kind.CHILD, slot, episode, result.steps, result.frames, result.return_, result.status))
    return sorted(rows)
