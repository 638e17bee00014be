"""`generation.fitness`: what a user's function makes of an episode takes its return's place in selection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.clusters.local import local_cluster
from gadask.config import Config, config_from_dict
from gadask.errors import ConfigError, EnvError, EvolutionError
from gadask.master.evaluate import evaluate_elite
from gadask.master.fitness import Fitness
from gadask.master.task import prepare_task
from gadask.messages import Status
from gadask.record.elite_test import EliteTest
from gadask.record.frames import episode_frame
from gadask.rows import BEHAVIOUR, ROW, Rows
from tests.local_runs import run


def shortest(return_: float, steps: int, behaviour: NDArray[np.float32] | None) -> float:
    """Prefer short episodes."""
    return -float(steps)


def last_number(return_: float, steps: int, behaviour: NDArray[np.float32] | None) -> float:
    assert behaviour is not None
    return float(behaviour[-1])


def text(return_: float, steps: int, behaviour: NDArray[np.float32] | None) -> Any:
    return "long"


def undefined(return_: float, steps: int, behaviour: NDArray[np.float32] | None) -> float:
    return float("nan") if steps % 2 else float(steps)


def with_fitness(name: str, **tables: dict[str, Any]) -> Config:
    config = {
        "env": {"id": "CartPole-v1", "max_steps": 60},
        "policy": {"kind": "mlp", "kwargs": {"hidden": "4"}},
        "noise": {"size": 10_000},
        "generation": {"population": 16, "candidates": 3, "candidate_episodes": 2, "fitness": name},
        "ga": {"parents": 3, "mutation_power": 0.1},
        "budget": {"generations": 3, "test_episodes": 0},
    }
    return config_from_dict(config | tables)


def rows_of(returns: list[float], steps: list[int], behaviours: dict[int, list[float]]) -> Rows:
    table = np.zeros(len(returns), ROW)
    table["return"], table["steps"], table["status"] = returns, steps, Status.OK
    return Rows(table, {BEHAVIOUR: {place: np.array(one, "<f4").tobytes() for place, one in behaviours.items()}})


def test_what_an_episode_is_worth() -> None:
    rows = rows_of([5.0, 7.0], [3, 4], {0: [1.0, 2.5], 1: [0.0, -1.0]})
    assert Fitness(with_fitness("return")).of(rows) == [5.0, 7.0]
    assert Fitness(with_fitness(f"{__name__}:shortest")).of(rows) == [-3.0, -4.0]
    assert Fitness(with_fitness(f"{__name__}:last_number")).of(rows) == [2.5, -1.0]


@pytest.mark.parametrize("name", ["text", "last_number"])
def test_a_function_that_fails_is_named_in_one_line(name: str) -> None:
    with pytest.raises(EvolutionError, match=rf"^generation\.fitness: '{__name__}:{name}' failed: ") as caught:
        Fitness(with_fitness(f"{__name__}:{name}")).of(rows_of([1.0], [2], {}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("returns", "expected 'return' or package.module:function, found 'returns'"),
        ("nowhere:best", "no module named 'nowhere'"),
        (f"{__name__}:shortes", "has no function 'shortes'; did you mean 'shortest'?"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_played(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"generation\.fitness: .*{expected}"):
        prepare_task(with_fitness(name))


@pytest.mark.parametrize("evaluation", ["barrier", "overlapped"])
def test_children_and_candidates_are_chosen_by_it(evaluation: str, tmp_path: Path) -> None:
    config = with_fitness(f"{__name__}:shortest")
    config = replace(config, generation=replace(config.generation, elite_evaluation=evaluation))  # type: ignore[arg-type]
    lines = run(config, tmp_path / "run")
    episodes = episode_frame(tmp_path / "run")
    for line in lines:
        played = episodes[episodes.recorded_in == line["generation"]]
        children = played[played.kind == "child"]
        assert line["children"]["quantiles"]["1"] == -children.steps.min()
        assert line["children"]["mean"] == pytest.approx(-children.steps.mean())
        for slot, candidate in enumerate(line["candidates"]):
            own = played[(played.kind == "evaluation") & (played.slot == slot)]
            assert candidate["mean"] == -own.steps.mean()
        if line["elite"] is not None:
            assert line["elite"]["mean"] == max(candidate["mean"] for candidate in line["candidates"])
    assert (episodes["return"] > 0).all()


def test_the_elites_test_is_of_it(tmp_path: Path) -> None:
    config = with_fitness(f"{__name__}:shortest", budget={"generations": 1, "test_episodes": 3})
    run(config, tmp_path / "run")

    async def test() -> EliteTest:
        async with local_cluster(1) as cluster:
            return await evaluate_elite(config, cluster.client, tmp_path / "run", 3, n_processes=1)

    returns = asyncio.run(test()).returns
    assert len(returns) == 3
    assert max(returns) < 0


@pytest.mark.parametrize("name", ["text", "last_number"])
def test_a_function_that_fails_is_found_before_any_node_plays(name: str) -> None:
    with pytest.raises(EnvError, match=rf"generation\.fitness: '{__name__}:{name}' failed: "):
        prepare_task(with_fitness(f"{__name__}:{name}"))


def test_a_value_that_is_not_finite_leaves_the_others() -> None:
    rows, values = Fitness(with_fitness(f"{__name__}:undefined")).finite(rows_of([1.0, 2.0, 3.0], [2, 3, 4], {}))
    assert (rows.table["return"].tolist(), values) == ([1.0, 3.0], [2.0, 4.0])
    rows, values = Fitness(with_fitness("return")).finite(rows_of([1.0, 2.0], [2, 3], {}))
    assert (len(rows), values) == (2, [1.0, 2.0])


def test_an_episode_without_a_finite_value_is_not_selected(tmp_path: Path) -> None:
    lines = run(with_fitness(f"{__name__}:undefined"), tmp_path / "run")
    children = episode_frame(tmp_path / "run", [0])
    children = children[children.kind == "child"]
    even = children[children.steps % 2 == 0]
    assert 0 < len(even) < len(children)
    assert lines[0]["children"]["quantiles"]["0"] == even.steps.min()
