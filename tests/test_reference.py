"""Reference observations: the same ones wherever a genome plays, so that it is the same network everywhere."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from safetensors.torch import load_file

import gadask
from gadask.analysis.film import film_genome
from gadask.clusters.local import local_cluster
from gadask.config import Config, EnvConfig, config_from_dict
from gadask.envs import Env, make_env
from gadask.errors import EnvError
from gadask.genomes.genome import from_text
from gadask.genomes.noise import NoiseTable
from gadask.master.evaluate import evaluate_elite
from gadask.master.rehearsal_process import rehearse
from gadask.master.start import find_start
from gadask.master.task import prepare_task
from gadask.messages import Facts, Kind
from gadask.node.jobs import NewTask
from gadask.node.player import Player
from gadask.play.loading import load_genome, new_policy
from gadask.play.reference import reference_batch
from gadask.policies.virtual_batch_norm import NormalisedNetwork
from gadask.record.directory import read_run
from tests.local_runs import run
from tests.test_virtual_batch_norm import Centred

pytestmark = pytest.mark.timeout(600)  # seconds on an idle machine, minutes on a busy one


def frostbite(generations: int = 2, **keys: Any) -> Config:
    """A small run, with a mutation power that changes what is played."""
    return config_from_dict(
        {
            "env": {"id": "ALE/Frostbite-v5", "max_steps": 40},
            "policy": {"kind": "salimans2017"},
            "noise": {"size": 3_000_000},
            "generation": {"population": 12, "candidates": 2, "candidate_episodes": 3},
            "ga": {"parents": 4, "mutation_power": 0.02},
            "budget": {"generations": generations, "test_episodes": 0},
            **keys,
        }
    )


class Counting(Env):
    """Shows the episode's seed and step, and ends after five."""

    action_space = Discrete(3, start=-1)
    frames_per_step = 1

    def __init__(self) -> None:
        self.actions: list[int] = []
        self.seeds: list[int] = []
        self._shown = np.zeros(2, np.int64)  # written over and over

    def reset(self, seed: int) -> NDArray[np.generic]:
        self.seeds.append(seed)
        self._shown[:] = len(self.seeds), 0
        return self._shown

    def step(self, action: int | NDArray[np.generic]) -> tuple[NDArray[np.generic], float, bool]:
        assert type(action) is int
        self.actions.append(action)
        self._shown[1] += 1
        return self._shown, 0.0, bool(self._shown[1] == 5)

    def render(self) -> NDArray[np.uint8]:
        raise EnvError

    def close(self) -> None:
        """Do nothing."""


def test_observations_are_spread_over_random_play() -> None:
    env = Counting()
    kept = np.array(reference_batch(env, 1, 200, max_steps=100), np.int64)
    assert kept.shape == (200, 2)
    assert (np.diff(kept[:, 0] * 10 + kept[:, 1]) > 0).all()  # each in its order and once
    assert np.bincount(kept[:, 1]).tolist() == pytest.approx([40] * 5, abs=25)  # no place is left out; over is over
    assert len(env.actions) == pytest.approx(1600, rel=0.25)
    assert np.bincount(np.array(env.actions) + 1) / len(env.actions) == pytest.approx([1 / 3] * 3, abs=0.05)
    assert len(set(env.seeds)) == len(env.seeds) > 200
    short = Counting()
    reference_batch(short, 1, 20, max_steps=2)
    assert len(short.actions) <= 2 * len(short.seeds)


def test_they_follow_from_the_seed_alone() -> None:
    pytest.importorskip("ale_py")
    config = EnvConfig("ALE/Frostbite-v5")
    with closing(make_env(config)) as env, closing(make_env(config)) as other:
        first = reference_batch(env, 5, 20, 5000)
        other.reset(3)
        other.step(2)  # whatever was played before
        again = reference_batch(other, 5, 20, 5000)
        np.testing.assert_array_equal(first, again)
        assert len({one.tobytes() for one in first}) == 20
        assert not np.array_equal(first, reference_batch(env, 6, 20, 5000))


MEASURED = """
import json, sys
from gadask.config import config_from_dict
from gadask.genomes.genome import from_text
from gadask.play.loading import load_genome, new_policy
from tests.test_reference import frostbite
policy = new_policy(frostbite(seed=3))
load_genome(policy, from_text("17-4-99"), frostbite(seed=3), ".")
policy.reset()
print(json.dumps(policy.module.norm3.mean.tolist()))
"""


def test_a_genome_is_the_same_network_in_another_process() -> None:
    pytest.importorskip("ale_py")
    result = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    config = frostbite(seed=3)
    state = random.getstate()
    policy = new_policy(config)
    assert random.getstate() == state
    load_genome(policy, from_text("17-4-99"), config, ".")
    policy.reset()
    module = policy.module
    assert isinstance(module, NormalisedNetwork)
    assert module.norm3.mean.tolist() == json.loads(result.stdout)
    assert module.norm3.mean.std() > 0.1


def test_a_test_with_other_settings_plays_the_same_network() -> None:
    pytest.importorskip("ale_py")
    config = frostbite()
    sticky = replace(config, env=replace(config.env, kwargs={"repeat_action_probability": 0.25}))
    own = new_policy(config)
    for reference_env, is_same in ((config.env, True), (None, False)):
        task = replace(prepare_task(sticky), reference_env=reference_env)
        weights_fd = os.memfd_create("weights")
        os.ftruncate(weights_fd, 4 * task.n_params)
        with NoiseTable.generate(config.noise) as noise:
            player = Player(NewTask(1, task, 1), weights_fd, noise, 0, np.zeros(3, np.int64))
            _, policy = player._made()
            for one in (own, policy):
                load_genome(one, from_text("17-4-99"), config, ".")
                one.reset()
            found, expected = policy.module, own.module
            assert isinstance(found, NormalisedNetwork)
            assert isinstance(expected, NormalisedNetwork)
            assert torch.equal(found.norm3.mean, expected.norm3.mean) == is_same
            player.close()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run of two generations on one process."""
    pytest.importorskip("ale_py")
    folder = tmp_path_factory.mktemp("reference") / "run"
    run(frostbite(), folder, processes=1)
    return folder


def test_a_run_is_the_same_on_more_processes_and_resumed(run_dir: Path, tmp_path: Path) -> None:
    expected = run(frostbite(), tmp_path / "two", processes=2)
    assert len({tuple(line["parents"]) for line in expected}) == 2
    assert expected == run(frostbite(), run_dir, processes=1, resume=True)
    assert run(frostbite(generations=3), tmp_path / "two", processes=1, resume=True)[:2] == expected
    assert (
        run(frostbite(generations=3), tmp_path / "three", nodes=2, processes=1)
        == run(frostbite(generations=3), tmp_path / "two", resume=True)
    )  # fmt: skip


def test_tests_films_and_exports_play_what_the_run_played(run_dir: Path, tmp_path: Path) -> None:
    config, state = read_run(run_dir)
    elite = state.elite
    assert elite is not None

    async def test() -> list[float]:
        async with local_cluster(1) as cluster:
            return list((await evaluate_elite(config, cluster.client, run_dir, 4)).returns)

    returns = asyncio.run(test())
    task = prepare_task(config)
    seeds = [task.env_seed(Kind.TEST, state.generation, 0, episode) for episode in range(len(returns))]
    opened = gadask.open_run(run_dir).policy("last")
    weights = load_file(gadask.open_run(run_dir).export(tmp_path / "elite.safetensors", "last"))
    alone = NormalisedNetwork((4, 84, 84), np.dtype(np.uint8), 18, "fan-in")
    alone.load_state_dict({name.removeprefix("network."): tensor for name, tensor in weights.items()})
    with closing(make_env(config.env)) as env:
        for seed, expected in list(zip(seeds, returns, strict=True))[:3]:
            film = film_genome(run_dir, config, elite.genome, seed, max_steps=config.env.max_steps)
            assert film is not None
            assert film.returns[-1] == expected
            opened.reset()
            observation, total = env.reset(seed), 0.0
            for _ in range(config.env.max_steps):
                image = torch.from_numpy(np.array(observation))[None]
                action = opened.act(observation)
                assert int(alone(image).argmax()) == int(opened(image).argmax()) == action
                observation, reward, over = env.step(action)
                total += reward
                if over:
                    break
            assert total == expected


def test_a_run_with_other_observations_begins_with_the_weights(run_dir: Path, tmp_path: Path) -> None:
    """What was measured with them is measured again."""
    file = gadask.open_run(run_dir).export(tmp_path / "elite.safetensors", "last")
    n_params = new_policy(frostbite()).n_params
    starts = [
        find_start(frostbite(seed=8, start={"from": text}), n_params).anchor for text in (str(file), f"{run_dir}:last")
    ]
    assert starts[0] is not None
    np.testing.assert_array_equal(starts[0], starts[1])
    policy = new_policy(frostbite())
    config, state = read_run(run_dir)
    assert state.elite is not None
    load_genome(policy, state.elite.genome, config, run_dir)
    np.testing.assert_array_equal(starts[0], policy.flat.numpy())


class Refuses(Centred):
    """Does not like what it measures."""

    def refer(self, observations: torch.Tensor) -> None:
        raise ValueError(f"found {tuple(observations.shape)}")


def test_a_rehearsal_measures_too() -> None:
    plays, refuses = (
        config_from_dict({"env": {"id": "CartPole-v1"}, "policy": {"kind": f"{kind.__module__}:{kind.__name__}"}})
        for kind in (Centred, Refuses)
    )
    with closing(rehearse([plays, refuses])) as rehearsals:
        facts, error = rehearsals
    assert isinstance(facts, Facts)
    assert (facts.n_params, facts.n_lanes) == (10, 0)
    assert isinstance(error, EnvError)
    assert "cannot be played: ValueError: found (3, 4) (" in str(error)
