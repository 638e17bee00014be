"""Accuracy by trial: the elite's choices are those of its episodes, and the baselines say what a share means."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gadask.analysis.trials import accuracy_of, harlow_accuracies, main
from gadask.config import EnvConfig, NoiseConfig, PolicyConfig
from gadask.master.task import prepare_task
from gadask.messages import Kind
from gadask.play.rollout import watch_episode
from gadask.record.directory import read_run
from tests.analysis.recorded import SWATCH, Players, record

HARLOW = replace(
    SWATCH,
    env=EnvConfig("gadask/Harlow-v0", {"retina": 16, "reach": 1, "hold": 1, "patience": 8}, max_steps=60),
    policy=PolicyConfig("conv-gru", {"filters": "2", "kernels": "4", "strides": "4", "units": 4}),
    noise=NoiseConfig(size=4000),
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run of Harlow's task."""
    return record(tmp_path_factory.mktemp("harlow") / "run", HARLOW, 2)


def test_choices_are_those_of_the_elites_episodes(run_dir: Path) -> None:
    elite, *baselines = harlow_accuracies(run_dir, "test", 30)
    assert [one.player for one in baselines] == ["random", "one-shot"]
    assert baselines[1].trials[1:].tolist() == [1.0] * 5
    assert 0.2 < baselines[1].trials[0] < 0.8
    config, state = read_run(run_dir)
    assert state.elite is not None
    players = Players(replace(config, env=replace(config.env, kwargs=config.env.kwargs | {"image_set": "test"})))
    policy = players.load(state.elite.genome)
    task = prepare_task(config)
    right = np.zeros((30, 6))
    with closing(players.env):
        for episode in range(30):
            seed = task.env_seed(Kind.TEST, state.generation, 0, episode)
            before = 0.0
            trial = 0
            for _, return_, _ in watch_episode(players.env, policy, seed, config.env.max_steps):
                reward, before = return_ - before, return_
                if abs(reward) > 0.9 and trial < 6:  # a choice, or the trials forfeited at the end
                    right[episode, trial] = reward > 0
                    trial += 1
    assert elite.made > 0
    np.testing.assert_array_equal(elite.trials, right.mean(0))


def test_the_command_prints_a_line_each(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_dir), "--episodes", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["last", "±", "random", "±", "one-shot", "±"]
    assert "from the second on 1.000 ± 0.000, choices made 1.000" in lines[4]
    assert lines[6] == "±: standard error over pairs of 20 episodes"


def test_errors_are_over_pairs_of_episodes() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 2000)
    trials = np.stack([first, rng.integers(-1, 2, 2000)], axis=1).astype(np.int8)
    opposite = trials.repeat(2, axis=0)
    opposite[1::2, 0] = 1 - opposite[::2, 0]  # one of each pair is right, as by chance alone
    found = accuracy_of("a", opposite)
    assert (found.trials[0], found.errors[0]) == (0.5, 0.0)
    same = accuracy_of("a", trials.repeat(2, axis=0))
    assert same.errors[0] == pytest.approx(first.std() / 2000**0.5, rel=0.01)  # not of 4,000
    assert (same.later, same.later_error) == (same.trials[1], same.errors[1])
    assert same.made == pytest.approx(5 / 6, abs=0.02)
    assert np.isnan(accuracy_of("a", trials[:3]).errors).all()


def test_another_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(record(tmp_path / "run", SWATCH, 1))]) == 2
    assert "expected a run of gadask/Harlow-v0" in capsys.readouterr().err
