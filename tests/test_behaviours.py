"""Behaviours on their whole way: from an environment through rollout processes into the episodes of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, EnvConfig
from gadask.envs import make_env
from gadask.errors import EnvError
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode
from gadask.master.task import prepare_task
from gadask.messages import Kind, Status
from gadask.play.lanes import as_played
from gadask.play.rollout import play_episode
from gadask.policies import make_policy
from gadask.record.directory import read_episodes
from gadask.record.episodes import WALL_CLOCK_COLUMNS
from gadask.record.frames import episode_frame
from tests.conftest import faulty_config
from tests.local_runs import run
from tests.node_chunks import children, node_of, outcome

REPORTING = "tests.behaving_envs:reporting"


def behaving(wrapper: str = REPORTING, id_: str | None = None, fault: str = "none", **kwargs: object) -> Config:
    """Return a small run with behaviours, whose episodes are often cut; `id_` is an environment of Gymnasium's."""
    config = faulty_config(fault, **kwargs)  # type: ignore[arg-type]
    own = replace(config.env, wrappers=(wrapper,), behaviour=True, max_steps=20)
    env = own if id_ is None else EnvConfig(id_, wrappers=(wrapper,), behaviour=True, max_steps=20)
    return replace(config, env=env, budget=replace(config.budget, generations=2))


def without_clocks(run_dir: Path) -> pd.DataFrame:
    return episode_frame(run_dir).drop(columns=list(WALL_CLOCK_COLUMNS))


def alone(config: Config, gene: int, slot: int) -> NDArray[np.float32] | None:
    """Play a child of generation 0 in this process, and return what its environment reports."""
    task = prepare_task(config)
    env = make_env(config.env)
    policy = as_played(config.env, make_policy(config.policy, env.observation_space, env.action_space))
    decode(policy.flat, (gene,), LazyNoise(config.noise), policy.initialise, task.algorithm.step_weight)
    play_episode(env, policy, task.env_seed(Kind.CHILD, 0, slot, 0), config.env.max_steps)
    return env.behaviour()


@pytest.mark.parametrize("id_", [None, "CartPole-v1"], ids=["in order", "in lanes"])
def test_a_run_records_what_environments_report(id_: str | None, tmp_path: Path) -> None:
    config = behaving(id_=id_)
    assert bool(prepare_task(config).n_lanes) == (id_ is not None)
    lines = run(config, tmp_path / "one", processes=1)
    assert run(config, tmp_path / "two", processes=2) == lines
    frame = without_clocks(tmp_path / "one")
    pd.testing.assert_frame_equal(frame, without_clocks(tmp_path / "two"))
    assert len(frame) == 2 * (24 + 3 * 4)
    assert (frame.status == "ok").all()
    assert (frame.steps == 20).any()
    assert all(behaviour[1] == steps for behaviour, steps in zip(frame.behaviour, frame.steps, strict=True))
    assert len({float(behaviour[0]) for behaviour in frame.behaviour}) > len(frame) / 2
    children = frame[(frame.kind == "child") & (frame.generation == 0)]
    for row in children.itertuples():
        np.testing.assert_array_equal(row.behaviour, alone(config, row.gene, row.slot))
    assert str(read_episodes(tmp_path / "one", 0).schema.field("behaviour").type) == "list<element: float>"


def test_no_run_has_the_column_unless_it_asks_for_it(tmp_path: Path) -> None:
    config = behaving()
    run(replace(config, env=replace(config.env, behaviour=False)), tmp_path / "run")
    assert "behaviour" not in without_clocks(tmp_path / "run").columns


@pytest.mark.parametrize("id_", [None, "CartPole-v1"], ids=["in order", "in lanes"])
def test_an_episode_that_reports_something_else_fails_wherever_it_is_played(id_: str | None) -> None:
    config = behaving("tests.behaving_envs:uneven", id_)
    found = []
    for n_processes in (1, 2):
        with node_of(config, n_processes) as (node, task):
            rows = node.play(task, Brood(0, (), ()), children(40, generation=0))
        found.append(outcome(rows.table))
        has_failed = set(np.flatnonzero(rows.table["status"] == Status.ERROR).tolist())
        assert 0 < len(has_failed) < 40
        reason = (
            f"EnvError: env.id: {config.env.id!r}: behaviour: expected {task.n_behaviour} numbers, as in the rehearsal,"
            f" found {3 - task.n_behaviour}"
        )
        assert rows.reasons() == dict.fromkeys(has_failed, reason)
        assert set(rows.behaviours()) == set(range(40)) - has_failed
        assert {len(behaviour) for behaviour in rows.behaviours().values()} == {task.n_behaviour}
    assert found[0] == found[1]


def test_only_an_episode_that_ends_well_has_one() -> None:
    with node_of(behaving(fault="nan", every=3)) as (node, task):
        rows = node.play(task, Brood(0, (), ()), children(40, generation=0))
    assert set(rows.table["status"].tolist()) == {Status.OK, Status.NONFINITE}
    assert set(rows.behaviours()) == set(np.flatnonzero(rows.table["status"] == Status.OK).tolist())


@pytest.mark.parametrize("id_", ["CartPole-v1", "gadask/MetaBandit-v0", "tests.faulty_envs:Faulty-v0"])
def test_an_environment_that_reports_none_is_refused_before_any_node_plays(id_: str) -> None:
    config = replace(faulty_config(), env=EnvConfig(id_, behaviour=True))
    with pytest.raises(EnvError) as caught:
        prepare_task(config)
    assert str(caught.value) == (
        f'env.behaviour: expected info["behaviour"] at every step of {id_!r}, found none; have the environment or a'
        " wrapper report it, or leave env.behaviour out"
    )
