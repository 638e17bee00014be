"""Normalised observations: what is gathered, what follows from it, and that machines and resumes do not show in it."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gadask.clusters.local import local_cluster
from gadask.config import Config, EnvConfig, PolicyConfig
from gadask.envs import make_env
from gadask.errors import PolicyError, RecordError
from gadask.genomes.genome import Genome, count_genes, from_text
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode
from gadask.master.evaluate import evaluate_elite
from gadask.master.evolve import evolve
from gadask.master.task import prepare_task
from gadask.messages import Kind
from gadask.observations import CLIP, OBSERVED_SLOTS, Gatherer, Moments, Normaliser
from gadask.play.lanes import as_played
from gadask.play.rollout import play_episode
from gadask.policies import LanePolicy, make_policy
from gadask.record.directory import read_episodes, read_generations, read_normaliser, read_run, without_wall_clock
from tests.conftest import faulty_config
from tests.genomes import child_genome, draw_child

VECTOR = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
BUTTONS = gymnasium.spaces.Discrete(4)
TABLES = hnp.arrays(np.float64, (7, 3), elements=st.floats(-1e6, 1e6))


def gathered(table: NDArray[np.float64]) -> bytes:
    gatherer = Gatherer(1, table.shape[1])
    for observation in table:
        gatherer.add(observation[None])
    return gatherer.packed(0)


@given(st.lists(TABLES, min_size=1, max_size=4))
def test_moments_are_those_of_all_observations(tables: list[NDArray[np.float64]]) -> None:
    everything = np.concatenate(tables)
    normaliser = Moments().merged(map(gathered, tables)).normaliser()
    assert normaliser is not None
    size = np.abs(everything).max() + 1
    np.testing.assert_allclose(normaliser.mean, everything.mean(0), rtol=1e-5, atol=1e-5 * size)
    deviation = np.maximum(everything.std(0), 1e-2)
    np.testing.assert_allclose(normaliser.deviation, deviation, rtol=1e-4, atol=1e-5 * size)


def test_merging_generation_by_generation_is_merging_at_once() -> None:
    episodes = [gathered(np.random.default_rng(seed).normal(3, 2, (9, 3))) for seed in range(6)]
    assert Moments().merged(episodes) == Moments().merged(episodes[:2]).merged(episodes[2:4]).merged(episodes[4:])
    assert Moments().merged([]) == Moments()
    assert Moments().normaliser() is None


@pytest.mark.parametrize("bad", [np.full((5, 3), np.nan), np.full((5, 3), 1e200), np.ones((5, 4))])
def test_an_episode_that_would_spoil_everything_is_left_out(bad: NDArray[np.float64]) -> None:
    good = [gathered(np.random.default_rng(seed).random((9, 3))) for seed in range(2)]
    with np.errstate(over="ignore"):
        spoilt = gathered(bad)
    assert Moments().merged([good[0], spoilt, good[1]]) == Moments().merged(good)


def test_a_normaliser_is_read_back_from_json_or_refused() -> None:
    normaliser = Moments().merged([gathered(np.random.default_rng(0).normal(5, 3, (50, 3)))]).normaliser()
    assert normaliser is not None
    assert Normaliser.from_json(json.loads(json.dumps(normaliser.to_json()))) == normaliser
    assert Normaliser.from_json(None) is None
    bad: object
    for bad in ([], {"mean": [1]}, {"mean": [1], "deviation": [0]}, {"mean": [1], "deviation": [1, 2]}, {"mean": 3}):
        with pytest.raises(RecordError, match="normaliser: expected"):
            Normaliser.from_json(bad)


def test_what_a_lane_gathers_is_its_own() -> None:
    generator = np.random.default_rng(0)
    tables = generator.normal(0, 9, (4, 20, 3)).astype(np.float32)
    together = Gatherer(4, 3)
    for observations in tables.transpose(1, 0, 2):
        together.add(observations)
    assert [together.packed(lane) for lane in range(4)] == [gathered(table) for table in tables]
    together.reset(2)
    assert not any(together.packed(2))
    assert together.packed(1) == gathered(tables[1])


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_the_network_is_given_normalised_observations(kind: str) -> None:
    space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    policy = make_policy(PolicyConfig(kind, normalise=True), space, BUTTONS)
    plain = make_policy(PolicyConfig(kind), space, BUTTONS)
    plain.flat.copy_(policy.initialise(torch.randn(policy.n_params, generator=torch.Generator().manual_seed(0))))
    lanes = LanePolicy(policy, 2)
    for row in lanes.rows:
        row.copy_(plain.flat)
    normaliser = Normaliser((1.0, -2.0, 30.0), (0.5, 4.0, 0.01))
    given_observation = np.array([2, 4, 31], np.float32)  # its last entry is 100 deviations from the mean
    expected = plain.output(np.array([2, 1.5, CLIP], np.float32))
    for normalising in (policy, lanes):
        normalising.normalise_by(normaliser)
    np.testing.assert_allclose(policy.output(given_observation), expected, rtol=1e-5)
    lanes.act(np.stack([given_observation] * 2))
    np.testing.assert_allclose(lanes.outputs[:1], expected, rtol=1e-4, atol=1e-5)
    for normalising in (policy, lanes):
        normalising.normalise_by(None)
    policy.reset()
    plain.reset()
    np.testing.assert_array_equal(policy.output(given_observation), plain.output(given_observation))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_refused(dtype: type) -> None:
    image = gymnasium.spaces.Box(0, 255, (3, 16, 16), dtype)
    with pytest.raises(PolicyError, match=r"policy\.normalise: expected observations that are vectors of floats"):
        make_policy(PolicyConfig("conv-gru", normalise=True), image, BUTTONS)


def in_order() -> Config:
    config = faulty_config()
    return replace(config, policy=replace(config.policy, normalise=True))


def in_lanes() -> Config:
    """Return the config of a task in which every bit of an action shows in the return."""
    config = in_order()
    return replace(config, env=EnvConfig("Pendulum-v1", max_steps=50), budget=replace(config.budget, generations=3))


def run(config: Config, run_dir: Path, nodes: int, processes: int, stop_after: int | None = None) -> Path:
    """Evolve; with `stop_after`, first so many generations and then the rest. The elite plays five test episodes."""

    async def main() -> None:
        async with local_cluster(nodes) as cluster:
            for n in filter(None, (stop_after, config.budget.generations)):
                part = replace(config, budget=replace(config.budget, generations=n))
                resume = n != stop_after and stop_after is not None
                generations = evolve(part, cluster.client, run_dir, resume=resume, n_processes=processes)
                async with aclosing(generations):
                    async for _ in generations:
                        pass
            await evaluate_elite(config, cluster.client, run_dir, 5, n_processes=processes)

    asyncio.run(main())
    return run_dir


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run with one process, whose episodes are played one after the other."""
    return run(in_order(), tmp_path_factory.mktemp("ordered") / "run", 1, 1)


@pytest.fixture(scope="module")
def laned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run with one process, played in lanes."""
    return run(in_lanes(), tmp_path_factory.mktemp("laned") / "run", 1, 1)


def actor_of(config: Config, genome: Genome, normaliser: Normaliser | None) -> tuple[Any, Any]:
    env = make_env(config.env)
    policy = as_played(config.env, make_policy(config.policy, env.observation_space, env.action_space))
    decode(policy.flat, genome, LazyNoise(config.noise), policy.initialise, config.ga.mutation_power)
    policy.normalise_by(normaliser)
    return env, policy


@pytest.mark.parametrize(("config", "name"), [(in_order(), "ordered"), (in_lanes(), "laned")])
def test_machines_do_not_show(config: Config, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    expected = request.getfixturevalue(name)
    lines = log(expected)
    assert "normaliser" not in lines[0]
    assert len({json.dumps(line["normaliser"]) for line in lines[1:]}) == len(lines) - 1
    run(config, tmp_path / "run", 2, 2)
    assert log(tmp_path / "run") == lines
    assert read_run(tmp_path / "run")[1] == read_run(expected)[1]
    assert elite_returns(tmp_path / "run") == elite_returns(expected)


def test_a_resume_does_not_show(ordered: Path, tmp_path: Path) -> None:
    run(in_order(), tmp_path / "run", 1, 2, stop_after=2)
    assert log(tmp_path / "run") == log(ordered)
    assert read_run(tmp_path / "run")[1] == read_run(ordered)[1]


def test_the_normalisation_follows_from_the_observed_episodes_of_generations_before(ordered: Path) -> None:
    config = in_order()
    task = prepare_task(config)
    n_genes = count_genes(config.noise.size, task.n_params)
    moments = Moments()
    for number, line in enumerate(log(ordered)):
        normaliser = moments.normaliser()
        assert Normaliser.from_json(line.get("normaliser")) == normaliser
        parents = [from_text(text) for text in line["parents"]]
        episodes = read_episodes(ordered, number).to_pandas()
        returns = episodes[episodes.kind == "child"].set_index("slot")["return"]
        observed: list[bytes] = []
        for slot in range(OBSERVED_SLOTS):
            genome = child_genome(parents, *draw_child(config.seed, number, slot, parents, n_genes))
            env, policy = actor_of(config, genome, normaliser)
            seen: list[Any] = []
            act = policy.act

            def watched(observation: Any, seen: list[Any] = seen, act: Any = act) -> Any:
                seen.append(np.array(observation, np.float64))
                return act(observation)

            policy.act = watched
            with closing(env):
                seed = task.env_seed(Kind.CHILD, number, slot, 0)
                assert play_episode(env, policy, seed, config.env.max_steps).return_ == returns[slot]
            observed.append(gathered(np.array(seen)))
        moments = moments.merged(observed)
    assert read_run(ordered)[1].observations == moments


def test_the_elite_is_tested_as_it_was_crowned(laned: Path) -> None:
    config, lines = in_lanes(), log(laned)
    elite = lines[-1]["elite"]
    assert elite["generation"] > 0
    normaliser = Normaliser.from_json(lines[elite["generation"]]["normaliser"])
    assert normaliser == read_normaliser(laned, from_text(elite["genome"]))
    env, policy = actor_of(config, from_text(elite["genome"]), normaliser)
    task = prepare_task(config)

    def played() -> list[float]:
        seeds = [task.env_seed(Kind.TEST, len(lines) - 1, 0, episode) for episode in range(5)]
        return [play_episode(env, policy, seed, config.env.max_steps).return_ for seed in seeds]

    with closing(env):
        # Rollout processes have an environment of their own, in which BLAS may round otherwise than here.
        np.testing.assert_allclose(played(), elite_returns(laned), rtol=1e-3)
        policy.normalise_by(None)
        assert not np.allclose(played(), elite_returns(laned), rtol=1e-2)


def elite_returns(run_dir: Path) -> list[float]:
    returns: list[float] = json.loads((run_dir / "elite_test.json").read_text())["returns"]
    return returns
