"""Continuous control: every config in jobs/configs plays, and Humanoid's normalisation stays finite."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from gadask.clusters.local import local_cluster
from gadask.config import load_config
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
