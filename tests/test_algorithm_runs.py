"""Every algorithm of `ALGORITHMS` gives the same run on any number of processes and nodes, and after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gadask.algorithms import ALGORITHMS
from tests.killed_runs import finish, kill_the_master, log, n_closed, start, wait_for_generation

pytestmark = pytest.mark.timeout(600)

CONFIG = """
[algorithm]
kind = "{kind}"
[env]
id = "Pendulum-v1"
[policy]
kind = "mlp"
kwargs = {{ hidden = "8" }}
[noise]
size = 300_000
[start]
from = "17-4042"
[generation]
population = 24
candidates = 3
candidate_episodes = 4
elite_evaluation = "{evaluation}"
[ga]
parents = 5
mutation_power = 0.2
[random_search]
mutation_power = 0.2
[budget]
generations = 6
test_episodes = 0
"""


@pytest.mark.parametrize("kind", sorted(ALGORITHMS))
@pytest.mark.parametrize("evaluation", ["barrier", "overlapped"])
def test_on_two_nodes_and_after_a_kill_on_one(kind: str, evaluation: str, tmp_path: Path) -> None:
    config = CONFIG.format(kind=kind, evaluation=evaluation)
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
