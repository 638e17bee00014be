"""Continuous control: every config in jobs/configs plays, and Humanoid's normalisation stays finite."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gadask.clusters.local import local_cluster
from gadask.config import EnvConfig, load_config
from gadask.envs import make_env
from gadask.envs.gymnasium_env import GymnasiumEnv
from gadask.errors import PolicyError
from gadask.master.evolve import evolve
from gadask.master.task import prepare_task
from gadask.record.directory import read_generations, read_normaliser

pytest.importorskip("mujoco")
CONFIGS = Path(__file__).parents[1] / "jobs" / "configs"
SIZES = {
    "inverted-pendulum": 4 * 16 + 16 + 16 + 1,
    "swimmer": 8 * 16 + 16 + 16 * 2 + 2,
    "hopper": 11 * 32 + 32 + 32 * 32 + 32 + 32 * 3 + 3,
    "half-cheetah": 17 * 32 + 32 + 32 * 32 + 32 + 32 * 6 + 6,
    "humanoid": 348 * 256 + 256 + 256 * 256 + 256 + 256 * 17 + 17,
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("actions", "values"), [("argmax", 1), ("uniform:5", 5)])
def test_each_config_can_be_played(name: str, actions: str, values: int) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    kwargs = config.policy.kwargs | {"actions": actions}
    task = prepare_task(replace(config, policy=replace(config.policy, kwargs=kwargs)))
    n_entries = {"inverted-pendulum": 1, "swimmer": 2, "hopper": 3, "half-cheetah": 6, "humanoid": 17}[name]
    last_width = int(str(config.policy.kwargs["hidden"]).split(",")[-1])
    assert task.n_params == SIZES[name] + (values - 1) * n_entries * (last_width + 1)
    assert task.n_lanes == 0


def test_sampled_actions_are_refused() -> None:
    config = load_config(CONFIGS / "hopper.toml")
    with pytest.raises(PolicyError, match="only Discrete actions can be sampled"):
        prepare_task(replace(config, policy=replace(config.policy, kwargs={"actions": "sampled"})))


def test_humanoids_normalisation_is_finite(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "humanoid.toml")
    config = replace(
        config,
        noise=replace(config.noise, size=300_000),
        generation=replace(config.generation, population=20, episodes_per_child=1, candidates=2, candidate_episodes=2),
        ga=replace(config.ga, parents=4),
        budget=replace(config.budget, generations=3, test_episodes=0),
    )

    async def main() -> None:
        async with (
            local_cluster() as cluster,
            aclosing(evolve(config, cluster.client, tmp_path / "run", n_processes=2)) as generations,
        ):
            async for _ in generations:
                pass

    asyncio.run(main())
    lines = list(read_generations(tmp_path / "run"))
    assert [sum(line["failed"].values()) for line in lines] == [0, 0, 0]
    normaliser = read_normaliser(tmp_path / "run")
    assert normaliser is not None
    assert len(normaliser.mean) == 348
    assert all(map(math.isfinite, [*normaliser.mean, *normaliser.deviation]))


@pytest.mark.parametrize(("id_", "n_moving"), [("InvertedPendulum-v5", 1), ("Hopper-v5", 2), ("Ant-v5", 3)])
def test_the_behaviour_is_the_position_of_the_first_body(id_: str, n_moving: int) -> None:
    config = load_config(CONFIGS / "hopper.toml")
    assert prepare_task(replace(config, env=EnvConfig(id_, behaviour=True))).n_behaviour == 3
    env = make_env(EnvConfig(id_))
    with closing(env):
        env.reset(3)
        began = env.behaviour()
        for _ in range(5):
            env.step(env.action_space.high)
        ended = env.behaviour()
        assert isinstance(env, GymnasiumEnv)
        data = env._env.unwrapped.data
        assert began is not None
        assert ended is not None
        np.testing.assert_array_equal(ended, data.body(1).xpos.astype(np.float32))
        np.testing.assert_allclose(ended[0], data.qpos[0], atol=0.05)  # a step of the simulation apart
    assert np.count_nonzero(began != ended) == n_moving


def test_what_an_environment_reports_itself_goes_before_its_position() -> None:
    env = make_env(EnvConfig("Hopper-v5", wrappers=("tests.behaving_envs:reporting",)))
    with closing(env):
        env.reset(3)
        env.step(env.action_space.high)
        behaviour = env.behaviour()
    assert behaviour is not None
    assert behaviour[1:] == [1]
