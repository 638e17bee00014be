"""Every algorithm of `ALGORITHMS` gives the same run on any number of processes, after a kill, whatever arrives how."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli_w

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood, moving
from gadask.config import Config, config_from_dict
from gadask.errors import ConfigError
from gadask.genomes.genome import from_text, step, to_text
from gadask.master.generation import GenerationPlayer
from gadask.record.checkpoint import Checkpoint, decode, encode
from gadask.record.directory import State, without_wall_clock
from gadask.record.episodes import WALL_CLOCK_COLUMNS
from tests.algorithm_cases import CASES, merged
from tests.disturbed import DisturbedDispatcher, SilentReporter, settled_by
from tests.generations import task_of
from tests.killed_runs import finish, kill_the_master, log, n_closed, start, wait_for_generation

pytestmark = pytest.mark.timeout(600)

OWN = {"parents": 5, "mutation_power": 0.2}
LIVELY = {
    "env": {"id": "Pendulum-v1", "wrappers": ["tests.behaving_envs:reporting"]},
    "policy": {"kind": "mlp", "kwargs": {"hidden": "8"}},
    "noise": {"size": 300_000},
    "start": {"from": "17-4042"},
    "generation": {"population": 24, "candidates": 3, "candidate_episodes": 4, "elite_evaluation": "overlapped"},
    "ga": OWN,
    "random_search": {"mutation_power": 0.2},
    "novelty": OWN,
    "es": {"sigma": 0.2, "anchor_every": 2},
    "budget": {"generations": 6, "test_episodes": 0},
}


@pytest.mark.parametrize("kind", sorted(CASES))
def test_on_two_nodes_and_after_a_kill_on_one(kind: str, tmp_path: Path) -> None:
    config = tomli_w.dumps(merged(LIVELY, CASES[kind]))
    finish(start(config, tmp_path / "one", "--rollouts-per-node", "1"))
    expected = log(tmp_path / "one")
    assert len(expected) == 6
    assert len({json.dumps(line["elite"]) for line in expected}) > 1
    process = start(config, tmp_path / "killed", "--nodes", "2", "--rollouts-per-node", "2")
    wait_for_generation(2, process, tmp_path / "killed")
    kill_the_master(process)
    assert n_closed(tmp_path / "killed") < 6
    finish(start(config, tmp_path / "killed", "--rollouts-per-node", "2", "--resume"))
    assert log(tmp_path / "killed") == expected


SMALL = {
    "noise": {"size": 1000},
    "generation": {"population": 12, "candidates": 3, "candidate_episodes": 4, "max_failed_share": 1.0},
    "ga": {"parents": 4},
    "es": {"anchor_every": 2},
    "novelty": {"parents": 4},
    "seed": 5,
}


def may_be(kind: str, late: str) -> bool:
    """Whether an algorithm takes children that come late."""
    try:
        config_from_dict(merged(SMALL, CASES[kind], {"generation": {"closing": "first", "late": late}}))
    except ConfigError as error:
        return "generation.late" not in str(error)
    return True


def play(config: Config, n_generations: int, seed: int, *, disturbed: bool) -> list[dict[str, Any]]:
    """Play generations on made-up nodes; returns the log's lines, the state as JSON holds it, and the episodes."""
    task = task_of(config)
    dispatcher = DisturbedDispatcher(seed, disturbed=disturbed, n_behaviour=task.n_behaviour)
    player = GenerationPlayer(config, task, dispatcher, SilentReporter(), None, lambda: 0.0, settled_by(task))  # type: ignore[arg-type]
    state = State(algorithm=task.algorithm.to_json(task.algorithm.start((), task.n_genes)))
    found = []

    async def evolve() -> None:
        nonlocal state
        for _ in range(n_generations):
            generation, table = await player.play_generation(state)
            state = decode(encode(Checkpoint(generation.state, config, 0, ""))).state
            assert replace(state, elapsed_s=0.0) == generation.state
            line = {**without_wall_clock(generation.line), "state": state.algorithm}
            found.append({"line": line, "episodes": table().to_pandas()})

    asyncio.run(evolve())
    return found


@pytest.mark.parametrize("kind", sorted(CASES))
@pytest.mark.parametrize("evaluation", ["barrier", "overlapped"])
@pytest.mark.parametrize("seed", range(3))
def test_failed_and_doubled_rows_in_any_order_change_nothing(kind: str, evaluation: str, seed: int) -> None:
    config = config_from_dict(merged(SMALL, CASES[kind]))
    config = replace(config, generation=replace(config.generation, elite_evaluation=evaluation))  # type: ignore[arg-type]
    expected, found = (play(config, 6, seed, disturbed=disturbed) for disturbed in (False, True))
    assert any(sum(one["line"]["failed"].values()) for one in expected)
    assert any((~one["episodes"].counted).any() for one in found)
    assert [one["line"] for one in found] == [one["line"] for one in expected]
    for one, other in zip(found, expected, strict=True):
        counted = one["episodes"][one["episodes"].counted].drop(columns=[*WALL_CLOCK_COLUMNS])
        same = other["episodes"].drop(columns=[*WALL_CLOCK_COLUMNS])
        pd.testing.assert_frame_equal(counted.reset_index(drop=True), same)


@pytest.mark.parametrize(
    ("kind", "late"), [(kind, late) for kind in sorted(CASES) for late in ("drop", "admit") if may_be(kind, late)]
)
@pytest.mark.parametrize("seed", range(3))
def test_late_rows_count_once_and_for_what_they_were_made_from(kind: str, late: str, seed: int) -> None:
    config = config_from_dict(merged(SMALL, CASES[kind]))
    config = replace(config, generation=replace(config.generation, closing="first", late=late))  # type: ignore[arg-type]
    found = play(config, 6, seed, disturbed=True)
    episodes = pd.concat([one["episodes"].assign(recorded_in=n) for n, one in enumerate(found)])
    children = episodes[(episodes.kind == "child") & episodes.counted]
    assert not children.duplicated(["generation", "slot"]).any()
    is_late = children.generation < children.recorded_in
    assert is_late.any() == (late == "admit")
    algorithm, n_genes = make_algorithm(config), task_of(config).n_genes
    bases = [tuple(map(from_text, one["line"]["parents"])) for one in found]
    known: set[str] = set()
    for row in children[children.status == "ok"].itertuples():
        made = algorithm.children(Brood(row.generation, bases[row.generation]), np.array([row.slot]), n_genes)
        assert (row.parent, row.gene) == (made.rows[0], made.genes[0])
        assert row.weight == (made.weights[0] if row.parent >= 0 else 0)
        base = bases[row.generation][row.parent] if row.parent >= 0 else ()
        own = step(row.gene, row.weight, algorithm.step_weight) if row.parent >= 0 else row.gene
        known.add(to_text((*base, own)))
    for one in found if moving(algorithm) is None else ():  # whoever is chosen was played
        elite = one["line"]["elite"]
        assert {*one["line"]["parents"], *[elite["genome"]], *(c["genome"] for c in one["line"]["candidates"])} <= known
