"""Ten generations give the same parents and elites on any machines and through any death (faults 1–3).

Of Frostbite in both precisions, of bandits and images played in lanes by networks that remember and sample, and of a
continuous task with binned actions and normalised observations.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import command_line, is_of_fork_server
from tests.killed_runs import finish, kill_the_master, log, n_closed, start, wait_for_generation

pytest.importorskip("ale_py")
pytest.importorskip("mujoco")
pytestmark = pytest.mark.timeout(900)  # seconds on an idle machine, minutes on a busy one

FROSTBITE = """
preset = "such2017"
[env]
id = "ALE/Frostbite-v5"
max_steps = 30
[noise]
size = 6_000_000
[generation]
population = 32
candidates = 3
candidate_episodes = 4
[ga]
parents = 8
[budget]
generations = 10
test_episodes = 0
"""
BANDIT = """
[env]
id = "gadask/MetaBandit-v0"
max_steps = 20
kwargs = { n_arms = 5, n_pulls = 20 }
[policy]
kind = "gru"
kwargs = { units = 16, actions = "sampled" }
[noise]
size = 300_000
[generation]
population = 100
episodes_per_child = 6
common_random_numbers = true
candidates = 4
candidate_episodes = 20
[ga]
parents = 8
mutation_power = 0.3
[budget]
generations = 10
test_episodes = 0
"""
HOPPER = """
[env]
id = "Hopper-v5"
max_steps = 60
[policy]
kind = "mlp"
kwargs = { hidden = "16", actions = "uniform:5" }
normalise = true
[noise]
size = 300_000
[generation]
population = 40
episodes_per_child = 2
candidates = 3
candidate_episodes = 6
[ga]
parents = 8
mutation_power = 0.3
[budget]
generations = 10
test_episodes = 0
"""
HARLOW = """
[env]
id = "gadask/Harlow-v0"
max_steps = 40
kwargs = { retina = 16, reach = 1, hold = 1, patience = 6 }
[policy]
kind = "conv-fast-weights"
kwargs = { filters = "4", kernels = "4", strides = "4", actions = "sampled" }
[noise]
size = 300_000
[generation]
population = 60
episodes_per_child = 4
common_random_numbers = true
paired_tasks = true
candidates = 4
candidate_episodes = 20
[ga]
parents = 8
mutation_power = 0.1
[budget]
generations = 10
test_episodes = 0
"""
INT8 = FROSTBITE.replace("[noise]", '[policy]\nprecision = "int8"\n[noise]')
Expected = Callable[[str], list[dict[str, Any]]]
CONFIGS = {"Frostbite": FROSTBITE, "Frostbite int8": INT8, "bandit": BANDIT, "Harlow": HARLOW, "Hopper": HOPPER}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """Return what gives the log of a run of that task with one rollout process."""

    @functools.cache
    def expected(task: str) -> list[dict[str, Any]]:
        run_dir = tmp_path_factory.mktemp("expected") / "run"
        finish(start(CONFIGS[task], run_dir, "--rollouts-per-node", "1"))
        lines = log(run_dir)
        assert len(lines) == 10
        assert len({line["elite"]["genome"] for line in lines}) > 1
        return lines

    return expected


@pytest.mark.parametrize("flags", [("--rollouts-per-node", "2"), ("--nodes", "2", "--rollouts-per-node", "2")])
def test_processes_and_nodes(expected: Expected, tmp_path: Path, flags: tuple[str, ...]) -> None:
    finish(start(CONFIGS["Frostbite"], tmp_path / "run", *flags))
    assert log(tmp_path / "run") == expected("Frostbite")


def rollout_processes(master: psutil.Process) -> list[psutil.Process]:
    servers = [p for p in master.children(recursive=True) if is_of_fork_server(p)]
    return [p for p in servers if p.parent() in servers]


def workers(master: psutil.Process) -> list[psutil.Process]:
    return [p for p in master.children() if "spawn_main" in " ".join(command_line(p))]


@pytest.mark.parametrize("victims", [rollout_processes, workers], ids=["rollout process", "worker"])
def test_a_process_killed_in_generation_5(
    expected: Expected, tmp_path: Path, victims: Callable[[psutil.Process], list[psutil.Process]]
) -> None:
    process = start(CONFIGS["Frostbite"], tmp_path / "run", "--rollouts-per-node", "2")
    wait_for_generation(5, process, tmp_path / "run")
    os.kill(victims(psutil.Process(process.pid))[0].pid, signal.SIGKILL)
    finish(process)
    assert essence(tmp_path / "run") == [(line["parents"], line["elite"]) for line in expected("Frostbite")]


def test_the_master_killed_in_generation_5(expected: Expected, tmp_path: Path) -> None:
    process = start(CONFIGS["Frostbite"], tmp_path / "run", "--rollouts-per-node", "2")
    wait_for_generation(5, process, tmp_path / "run")
    kill_the_master(process)
    assert n_closed(tmp_path / "run") < 10
    finish(start(CONFIGS["Frostbite"], tmp_path / "run", "--rollouts-per-node", "2", "--resume"))
    assert log(tmp_path / "run") == expected("Frostbite")


@pytest.mark.parametrize("task", [task for task in CONFIGS if task != "Frostbite"])
def test_two_nodes_through_all_these_deaths(task: str, expected: Expected, tmp_path: Path) -> None:
    process = start(CONFIGS[task], tmp_path / "run", "--nodes", "2", "--rollouts-per-node", "2")
    for number, victims in ((2, rollout_processes), (3, workers)):
        wait_for_generation(number, process, tmp_path / "run")
        os.kill(victims(psutil.Process(process.pid))[0].pid, signal.SIGKILL)
    wait_for_generation(5, process, tmp_path / "run")
    kill_the_master(process)
    assert n_closed(tmp_path / "run") < 10
    finish(start(CONFIGS[task], tmp_path / "run", "--rollouts-per-node", "2", "--resume"))
    assert essence(tmp_path / "run") == [(line["parents"], line["elite"]) for line in expected(task)]


def essence(run_dir: Path) -> list[tuple[object, object]]:
    """Return parents and elites; an episode that a killed process played twice shows in other figures."""
    return [(line["parents"], line["elite"]) for line in log(run_dir)]
