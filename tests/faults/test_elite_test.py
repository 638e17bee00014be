"""The test of the elite bears the episodes that fail as evolution does, and is made again only when that can help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gadask.config import Config, config_from_dict, dump_config
from gadask.master.task import prepare_task
from gadask.messages import Kind

ROOT = Path(__file__).parents[2]
EVERY = 7


def config(fault: str, seed: int = 0) -> Config:
    return config_from_dict(
        {
            "seed": seed,
            "env": {
                "id": "tests.faulty_envs:Faulty-v0",
                "kwargs": {"fault": fault, "every": EVERY},
                "max_steps": 200,
                "episode_timeout_s": 2,
            },
            "policy": {"kind": "mlp", "kwargs": {"hidden": "8"}},
            "noise": {"size": 300_000},
            "generation": {"population": 20, "candidates": 2, "candidate_episodes": 3, "max_failed_share": 0.6},
            "ga": {"parents": 4},
            "budget": {"generations": 1, "test_episodes": 20},
        }
    )


def failing(config: Config, n: int) -> int:
    """Return how many of the first `n` test episodes fail."""
    task = prepare_task(config)
    return sum(task.env_seed(Kind.TEST, 0, 0, episode) % EVERY == 0 for episode in range(n))


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / script), *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "XDG_CONFIG_HOME": "/nonexistent"},
    )  # fmt: skip


def run(folder: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    return call("run.py", folder / "config.toml", "--run-dir", folder / "run", "--no-pictures", *flags)


def document(folder: Path) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((folder / "run" / "elite_test.json").read_text())
    return written


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("kill", "3 rollout processes died under it"),
        ("step", "RuntimeError: it cannot step"),
        ("hang", "no end after 2.0 s; its process was killed"),
        ("nan", "its return is nan"),
    ],
)
def test_failed_episodes_are_left_out_and_told(tmp_path: Path, fault: str, reason: str) -> None:
    (tmp_path / "config.toml").write_text(dump_config(config(fault)))
    n_failed = failing(config(fault), 20)
    assert n_failed
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    assert f" over {20 - n_failed} of 20 fresh episodes, {n_failed} failed: {reason}\n" in result.stdout
    found = document(tmp_path)
    assert (found["episodes"], found["failed"], found["reason"]) == (20, n_failed, reason)
    assert len(found["returns"]) == 20 - n_failed


def test_a_test_is_made_again_on_more_episodes_alone(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(dump_config(config("step")))
    assert run(tmp_path).returncode == 0
    first = document(tmp_path)
    more = run(tmp_path, "--resume", "--budget.test-episodes", 40)
    n_failed = failing(config("step"), 40)
    assert f" over {40 - n_failed} of 40 fresh episodes, {n_failed} failed" in more.stdout
    second = document(tmp_path)
    assert second["returns"][: len(first["returns"])] == first["returns"]
    fewer = run(tmp_path, "--resume", "--budget.test-episodes", 30)
    assert "failed: RuntimeError: it cannot step, which covers the 30 asked for\n" in fewer.stdout
    assert "processes" not in fewer.stdout  # nothing was opened
    assert document(tmp_path) == second
    evaluated = call("evaluate.py", tmp_path / "run", "--episodes", 40)
    assert evaluated.returncode == 0, evaluated.stderr
    assert f"last: {n_failed} of 40 episodes failed: RuntimeError: it cannot step" in evaluated.stdout


def test_a_test_that_fails_is_not_made_again(tmp_path: Path) -> None:
    # Its only episode fails; the run's others do not, as they should.
    chosen = next(one for seed in range(1000) if failing(one := config("step", seed), 1))
    chosen = replace(chosen, budget=replace(chosen.budget, test_episodes=1))
    (tmp_path / "config.toml").write_text(dump_config(chosen))
    first = run(tmp_path)
    assert first.returncode == 1
    assert "error: 1 test episode failed, more than generation.max_failed_share" in first.stderr
    assert "the first reason: RuntimeError: it cannot step" in first.stderr
    again = run(tmp_path, "--resume")
    assert (again.returncode, again.stderr) == (0, "")
    assert "no test of 1 episode: 1 test episode failed" in again.stdout
    assert "another --budget.test-episodes than 1 tests it again" in again.stdout
    other = run(tmp_path, "--resume", "--budget.test-episodes", 20)
    n_failed = failing(chosen, 20)
    assert f" over {20 - n_failed} of 20 fresh episodes, {n_failed} failed" in other.stdout
    assert other.returncode == 0
