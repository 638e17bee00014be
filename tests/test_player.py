"""What rollout processes answer for tasks played in lanes: replayed from a row alone, and sound beside any fault."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, EnvConfig, NoiseConfig, PolicyConfig, Scalar
from gadask.envs import make_env
from gadask.genomes.genome import Genome, count_genes
from gadask.genomes.noise import LazyNoise
from gadask.genomes.seeding import stream
from gadask.genomes.weights import decode
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Status
from gadask.node.jobs import SEVERAL
from gadask.node.node import Node
from gadask.play.lanes import Beginning, Lanes, as_played, open_lanes
from gadask.play.rollout import play_episode
from gadask.policies import LanePolicy, make_policy
from tests.conftest import wait_until
from tests.genomes import draw_child

PARENTS: tuple[Genome, ...] = ((5,), (6, 7), (6, 7, 8))


def bandit_config(kind: str = "gru", **kwargs: Scalar) -> Config:
    """Return the config of a small run of bandits."""
    if kind == "gru":
        kwargs = {"units": 6, "actions": "sampled", **kwargs}
    config = Config(
        env=EnvConfig("gadask/MetaBandit-v0", {"n_arms": 4, "n_pulls": 30}, episode_timeout_s=30),
        policy=PolicyConfig(kind, kwargs),
        noise=NoiseConfig(size=300_000),
    )
    return replace(
        config,
        generation=replace(config.generation, candidates=3),
        ga=replace(config.ga, parents=5, mutation_power=0.3),
    )


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Return a node with two processes, which plays the tasks of all these tests."""
    node = Node(bandit_config().noise, 2)
    yield node
    node.close()


def children(n: int, n_episodes: int = 1) -> Chunk:
    return Chunk(1, Kind.CHILD, tuple((slot, episode) for slot in range(n) for episode in range(n_episodes)))


def outcome(rows: NDArray[np.void]) -> list[tuple[object, ...]]:
    """What must not depend on processes, lanes or order of arrival."""
    return sorted(rows[["slot", "episode", "steps", "frames", "return", "status"]].tolist())


def run(node: Node, config: Config, chunk: Chunk) -> tuple[NDArray[np.void], dict[int, str]]:
    rows = node.play(prepare_task(config), Brood(chunk.generation, PARENTS, PARENTS), chunk)
    return rows.table, rows.reasons()


def child_of(config: Config, n_params: int, slot: int) -> Genome:
    n_genes = count_genes(config.noise.size, n_params)
    row, gene = draw_child(config.seed, 1, slot, PARENTS, n_genes)
    return (*PARENTS[row], gene)


def replayed(config: Config, chunk: Chunk) -> list[tuple[object, ...]]:
    """Play a chunk as a film does: from its rows alone, in a single environment."""
    task = prepare_task(config)
    env = make_env(config.env)
    single = make_policy(config.policy, env.observation_space, env.action_space)
    policy = as_played(config.env, single)
    noise = LazyNoise(config.noise)
    rows = []
    for slot, episode in chunk.episodes:
        genome = PARENTS[slot] if chunk.kind is not Kind.CHILD else child_of(config, task.n_params, slot)
        decode(policy.flat, genome, noise, policy.initialise, task.algorithm.step_weight)
        place = chunk.generation, slot, episode
        seed, actions = task.env_seed(chunk.kind, *place), stream(config.seed, chunk.kind.action_purpose, *place)
        result = play_episode(env, policy, seed, config.env.max_steps, stream=actions)
        rows.append((slot, episode, result.steps, result.frames, result.return_, result.status))
    return sorted(rows)


def test_rows_of_any_processes_are_replayed_from_themselves_alone(node: Node) -> None:
    chunks = children(90, 2), Chunk(1, Kind.EVALUATION, tuple((s, e) for s in range(3) for e in range(7)))
    with closing(Node(bandit_config().noise, 1)) as alone:
        for kind, chunk in itertools.product(("gru", "mlp"), chunks):
            config = bandit_config(kind)
            assert prepare_task(config).n_lanes == 64
            found = [outcome(run(of, config, chunk)[0]) for of in (node, alone)]
            assert found[0] == found[1] == replayed(config, chunk)
            assert len({row[4] for row in found[0]}) > 5


def test_what_cannot_be_played_in_lanes_is_played_one_by_one(node: Node) -> None:
    foreign = replace(bandit_config(), env=EnvConfig("tests.faulty_envs:Faulty-v0"), policy=PolicyConfig("gru"))
    linear = replace(bandit_config(), policy=PolicyConfig("tests.test_player:linear"))
    for config in (foreign, linear):
        assert prepare_task(config).n_lanes == 0
        env = make_env(config.env)
        single = make_policy(config.policy, env.observation_space, env.action_space)
        assert as_played(config.env, single) is single
        rows, _ = run(node, config, children(12))
        assert outcome(rows) == replayed(config, children(12))


@pytest.mark.parametrize(
    ("id_", "kwargs"),
    [("CartPole-v1", {"render_mode": "rgb_array"}), ("Pendulum-v1", {"g": 5.0}), ("FrozenLake-v1", {})],
)
@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_cheap_environments_of_gymnasium_are_played_in_lanes(id_: str, kwargs: dict[str, Scalar], kind: str) -> None:
    config = replace(bandit_config(kind), env=EnvConfig(id_, kwargs, max_steps=60))
    task = prepare_task(config)
    env = open_lanes(config.env, task.n_lanes)
    assert env is not None
    single = make_policy(config.policy, env.observation_space, env.action_space)
    lanes = Lanes(env, LanePolicy(single, task.n_lanes))
    noise = LazyNoise(config.noise)

    def begin(slot: int, lane: int) -> Beginning:
        genome = child_of(config, task.n_params, slot)
        decode(lanes.policy.rows[lane], genome, noise, single.initialise, task.algorithm.step_weight)
        return task.env_seed(Kind.CHILD, 1, slot, 0), None

    played = {one.place: one.episode for one in lanes.play(range(150), config.env.max_steps, begin, lambda: False)}
    found = [(slot, 0, e.steps, e.frames, e.return_, e.status) for slot, e in sorted(played.items())]
    assert found == replayed(config, children(150))
    assert len({row[4] for row in found}) > 1


def linear(observation_space: gymnasium.Space, action_space: gymnasium.Space) -> nn.Module:
    return nn.Linear(observation_space.shape[0], int(action_space.n))


FAULTY = "tests.faulty_policies:faulty"


@functools.cache
def first_weights(n: int) -> NDArray[np.float64]:
    """Return the first weight of each child: the fault strikes the largest."""
    config = bandit_config(FAULTY)
    task = prepare_task(config)
    env = make_env(config.env)
    policy = make_policy(config.policy, env.observation_space, env.action_space)
    weights = []
    for slot in range(n):
        genome = child_of(config, task.n_params, slot)
        decode(policy.flat, genome, LazyNoise(config.noise), policy.initialise, task.algorithm.step_weight)
        weights.append(float(policy.flat[0]))
    return np.array(weights)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("raise", Status.ERROR, "RuntimeError: it cannot compute"),
        ("kill", Status.ERROR, "3 rollout processes died under it"),
        ("hang", Status.TIMEOUT, "no end after 1.0 s; its process was killed"),
    ],
)
def test_a_fault_in_one_lane_is_found_and_harms_no_other(node: Node, fault: str, status: Status, reason: str) -> None:
    n = 100
    weights = first_weights(n)
    struck = set(np.argsort(weights)[-3:].tolist())
    config = bandit_config(FAULTY, fault=fault, above=float(np.sort(weights)[-4:-2].mean()))
    config = replace(config, env=replace(config.env, episode_timeout_s=1.0 if fault == "hang" else 30.0))
    rows, reasons = run(node, config, children(n))
    wait_until(lambda: len(node.pool.pids) == 2, 10, "replaced")
    assert sorted(rows["slot"].tolist()) == list(range(n))
    failed = np.flatnonzero(rows["status"] != Status.OK).tolist()
    assert {int(rows["slot"][place]) for place in failed} == struck
    assert (rows["status"][failed] == status).all()
    assert reasons == dict.fromkeys(failed, reason)
    sound = replayed(bandit_config(FAULTY), children(n))
    assert [row for row in outcome(rows) if row[0] not in struck] == [row for row in sound if row[0] not in struck]


@pytest.mark.parametrize("fault", ["raise", "kill"])
def test_a_fault_that_does_not_come_back_leaves_no_trace(node: Node, fault: str, tmp_path: Path) -> None:
    above = float(np.median(first_weights(100)))
    config = bandit_config(FAULTY, fault=fault, above=above, once=str(tmp_path / "struck"))
    rows, reasons = run(node, config, children(100))
    assert (tmp_path / "struck").exists()
    assert reasons == {}
    assert outcome(rows) == replayed(bandit_config(FAULTY), children(100))


def test_closing_a_generation_stops_its_lanes(node: Node) -> None:
    task = prepare_task(bandit_config(FAULTY, step_s=0.02))
    results: list[NDArray[np.void]] = []
    brood = Brood(1, PARENTS, ())
    player = threading.Thread(target=lambda: results.append(node.play(task, brood, children(640)).table))
    player.start()
    # 64 lanes of 30 steps take 0.6 s: the first of several rounds is under way.
    wait_until(lambda: (node.pool._words[:, 1] == SEVERAL).all(), 10, "playing")
    node.close_generation(task, Kind.CHILD, 1)
    player.join(10)
    assert sorted(results[0]["slot"].tolist()) == list(range(640))
    stopped = results[0][results[0]["status"] == Status.STOPPED]
    assert len(stopped) > 300
    assert stopped["steps"].max() < 30


def test_time_is_accounted(node: Node) -> None:
    began = time.time()
    rows, _ = run(node, bandit_config(FAULTY, step_s=0.002), children(200))
    took_s = time.time() - began
    # Two processes play two rounds of 30 steps each.
    assert 2 * 2 * 30 * 0.002 <= rows["seconds"].sum() <= 2 * took_s
    assert (rows["start_s"] >= began).all()
    assert set(rows["process"].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("episode_s", "sizes"),
    [(0.0, [1, 5, 64, 256, 256]), (0.01, [1, 5, 64, 256, 256]), (1e-5, [1, 5, 64, 500, 500])],
)
def test_a_job_holds_enough_episodes_to_fill_its_lanes(node: Node, episode_s: float, sizes: list[int]) -> None:
    state = node._state_of(prepare_task(bandit_config()))
    state.episode_s = episode_s
    assert [node._episodes_a_job(state, n, 64) for n in (1, 10, 128, 1000, 10_000)] == sizes
