"""Run directories of before: one whose config and checkpoint have another form (commit 7932c23), presets, tests."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gadask
from gadask.algorithms import make_algorithm
from gadask.config import PRESETS, config_from_dict, config_to_dict, dump_config, stored_config
from gadask.errors import ConfigError
from gadask.genomes.genome import from_text, to_text
from gadask.record.checkpoint import decode
from gadask.record.directory import RunDirectory, check_same_run, read_generations
from gadask.record.elite_test import EliteTest, read_elite_test, write_elite_test
from tests.local_runs import run

OLD = Path(__file__).parent / "data" / "before_the_seam"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_its_config_and_its_state_are_what_they_were(old_run: Path) -> None:
    stored = json.loads((OLD / "checkpoint.json").read_text())
    assert stored["format"] == 1
    state = decode((OLD / "checkpoint.json").read_bytes()).state
    opened = gadask.open_run(old_run)
    assert (opened.config.generation.population, opened.config.ga.parents, opened.generation) == (12, 4, 1)
    algorithm = make_algorithm(opened.config)
    bases = algorithm.bases(algorithm.from_json(state.algorithm))
    assert [list(genome) for genome in bases] == stored["parents"]
    assert [list(genome) for genome in state.candidates] == stored["candidates"]
    assert opened.elite is not None
    assert list(opened.elite.genome) == stored["elite"]["genome"]
    assert from_text(to_text(opened.elite.genome)) == opened.elite.genome
    assert len(opened.generations()) == 2


def test_it_goes_on(old_run: Path) -> None:
    directory, _ = RunDirectory.resume(old_run)
    directory.close()
    config = directory.config
    stored = json.loads((OLD / "checkpoint.json").read_text())
    lines = run(replace(config, budget=replace(config.budget, generations=3)), old_run, processes=1, resume=True)
    assert [line["generation"] for line in read_generations(old_run)] == [0, 1, 2]
    assert lines[2]["parents"] == ["-".join(map(str, genome)) for genome in stored["parents"]]


@pytest.mark.parametrize("preset", ["such2017", "ga-dist"])
def test_a_presets_run_keeps_the_pictures_and_tests_that_it_had(preset: str) -> None:
    """Settings of later times, which presets set otherwise."""
    table = config_to_dict(PRESETS[preset])
    for key in ("preprocessing", "test_max_steps"):
        table["env"].pop(key, None)
    stored = stored_config(table)
    assert (stored.env.preprocessing, stored.env.test_max_steps) == ("gadask", None)
    assert stored_config(config_to_dict(stored)) == stored
    with pytest.raises(ConfigError, match=r"env\.preprocessing: expected 'gadask' as in the run directory"):
        check_same_run(stored, PRESETS[preset])
    check_same_run(stored, replace(PRESETS[preset], env=replace(PRESETS[preset].env, preprocessing="gadask")))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"env": {"id": "ALE/Skiing-v5"}}, "200 episodes of at most 30 different starts"),
        ({"env": {"id": "ALE/Skiing-v5", "kwargs": {"noop_max": 7}}}, "200 episodes of at most 7 different starts"),
        ({"env": {"id": "ALE/Skiing-v5", "kwargs": {"repeat_action_probability": 0.25}}}, "200 fresh episodes"),
        ({"policy": {"kind": "such2017", "kwargs": {"actions": "sampled"}}}, "200 fresh episodes"),
        ({"policy": {"kind": "my.module:network"}}, "200 fresh episodes"),
        ({"env": {"id": "CartPole-v1"}, "policy": {"kind": "mlp"}}, "200 fresh episodes"),
        (None, "200 fresh episodes"),
    ],
)
def test_an_elite_test_of_drawn_starts_says_so_where_the_config_tells_it(
    tmp_path: Path, config: dict[str, Any] | None, text: str
) -> None:
    if config is not None:
        (tmp_path / "config.toml").write_text(dump_config(config_from_dict(config)))
    write_elite_test(tmp_path, EliteTest(2, "7", (1.0, 3.0) * 100))
    test = read_elite_test(tmp_path)
    assert test is not None
    assert test.episodes_text == text
    assert test.mean_text == "2.000 ± 0.071 (s.e.)"


def test_an_elite_test_of_every_start_or_with_sticky_actions_is_what_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(dump_config(config_from_dict({"env": {"id": "ALE/Skiing-v5"}})))
    of_starts, sticky = EliteTest(2, "7", (1.0,) * 30, n_starts=30), EliteTest(2, "7", (1.0,) * 9, sticky=0.25)
    for test in (of_starts, sticky):
        write_elite_test(tmp_path, test)
    assert read_elite_test(tmp_path) == of_starts
    assert read_elite_test(tmp_path, sticky=True) == sticky
