"""Study files: every combination is a run with a name of its own; anything misspelt is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gadask.config import load_config
from gadask.errors import ConfigError
from gadask.sweeps.study import grid_runs, load_study

STUDIES = Path(__file__).parents[1] / "jobs" / "configs" / "studies"


def study(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_grid_in_python_is_that_of_a_file(tmp_path: Path) -> None:
    """A config's own settings, those that are none too, come before the grid's."""
    text = "preset = 'such2017'\nenv.id = 'CartPole-v1'\npolicy.kind = 'mlp'\nbudget.frames = inf\n"
    (tmp_path / "config.toml").write_text(text)
    from_file = load_study(study(tmp_path, text + "[grid]\nenv.max_steps = [5, 6]\nseed = [0, 7]\n"))
    grid = {"env.max_steps": (5, 6), "seed": [0, 7]}
    assert grid_runs(load_config(tmp_path / "config.toml"), grid) == from_file
    for wrong, message in (
        ({}, "grid: expected a table of lists"),
        ({"seed": "01"}, "grid.seed: expected a list"),
        ({"preset": ["none"]}, "grid.preset: expected in a study file"),
    ):
        with pytest.raises(ConfigError, match=message):
            grid_runs(load_config(tmp_path / "config.toml"), wrong)


def test_every_combination_is_a_run(tmp_path: Path) -> None:
    runs = load_study(
        study(
            tmp_path,
            """
            [budget]
            generations = 3
            [grid]
            seed = [0, 7]
            env.id = ["ALE/Frostbite-v5", "ALE/MontezumaRevenge-v5"]
            generation.population = [24, 48]
            """,
        )
    )
    assert [run.name for run in runs] == [
        "frostbite-population-24-s0",
        "frostbite-population-48-s0",
        "montezumarevenge-population-24-s0",
        "montezumarevenge-population-48-s0",
        "frostbite-population-24-s7",
        "frostbite-population-48-s7",
        "montezumarevenge-population-24-s7",
        "montezumarevenge-population-48-s7",
    ]
    config = runs[3].config
    assert (config.env.id, config.seed, config.generation.population) == ("ALE/MontezumaRevenge-v5", 0, 48)
    assert config.budget.generations == 3
    assert runs[3].fields == {"seed": 0, "env.id": "ALE/MontezumaRevenge-v5", "generation.population": 48}


def test_tables_win_over_the_base_and_the_grid_over_both(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        'preset = "such2017"\nseed = 9\n[generation]\npopulation = 50\n[ga]\nparents = 7\n[policy.kwargs]\nbias = true'
    )
    text = 'base = "base.toml"\n[ga]\nparents = 8\n[grid]\n"ga.mutation_power" = [0.1, 0.25]\npolicy.kwargs.size = [3]'
    runs = load_study(study(tmp_path, text))
    assert [run.name for run in runs] == ["mutation_power-0.1-size-3", "mutation_power-0.25-size-3"]
    config = runs[1].config
    assert (config.preset, config.seed) == ("such2017", 9)
    assert (config.generation.population, config.ga.parents, config.ga.mutation_power) == (50, 8, 0.25)
    assert config.policy.kwargs == {"bias": True, "size": 3}


def test_names_that_would_be_equal_are_longer(tmp_path: Path) -> None:
    runs = load_study(study(tmp_path, '[grid]\nenv.id = ["CartPole-v0", "CartPole-v1", "my.games:CartPole-v1"]'))
    assert [run.name for run in runs] == ["cartpole-v0", "cartpole-v1", "my.games-cartpole-v1"]
    runs = load_study(study(tmp_path, "[grid]\nenv.kwargs.size = [1]\npolicy.kwargs.size = [true]"))
    assert [run.name for run in runs] == ["env.kwargs.size-1-policy.kwargs.size-true"]


BAD = {
    "unknown key": ("gird = 3\n[grid]\nseed = [0]", "unknown key 'gird'; did you mean 'grid'?"),
    "unknown field of the grid": (
        "[grid]\ngeneration.popluation = [1]",
        "unknown key 'generation.popluation'; did you mean 'generation.popul",
    ),
    "field that has moved": ("[grid]\nga.population = [1]", "ga.population: is now generation.population"),
    "unknown field of a table": ("[ga]\nparnts = 1\n[grid]\nseed = [0]", "unknown key 'ga.parnts'; did you mean"),
    "no grid": ("seed = 1", "grid: expected a table of lists"),
    "no list": ("[grid]\nseed = 1", "grid.seed: expected a list of strings, numbers or booleans, found 1"),
    "empty list": ("[grid]\nseed = []", "grid.seed: expected a list"),
    "table as a value": ("[grid]\nga = [{ population = 3 }]", "grid.ga: expected a list of strings"),
    "value in place of a table": ("[grid]\nenv = ['ALE/Pong-v5']", "env: expected a table, found 'ALE/Pong-v5'"),
    "below a value": ("[grid]\nseed.x = [1]", "seed: expected int, found {'x': 1}"),
    "value twice": ("[grid]\nseed = [1, 2, 1]", "grid.seed: expected every value once"),
    "field twice": ('[grid]\nga.parents = [1]\n"ga.parents" = [2]', "grid.ga.parents: expected every value once"),
    "impossible value": ("[grid]\nga.parents = [3, 0]", "ga.parents: expected 1 to"),
    "two noise tables": ("[grid]\nnoise.size = [3_000_000, 4_000_000]", "noise: expected one table for all runs"),
    "base that is no name": ("base = 3\n[grid]\nseed = [0]", "base: expected the name of a config file, found 3"),
    "base that is not there": ('base = "none.toml"\n[grid]\nseed = [0]', "none.toml: cannot read the config file"),
    "no TOML": ("[grid", "not a TOML file"),
    "one name for two runs": ('[grid]\nenv.kwargs.a = ["x/y", "x y"]', "grid: two runs would be called 'a-x-y'"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_that_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = study(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    assert str(caught.value).count("\n") == 0
    assert str(path) in str(caught.value) or "study.toml: not a TOML" in str(caught.value)
    assert message in str(caught.value)


def test_atari13_is_the_papers_study() -> None:
    runs = load_study(STUDIES / "atari13.toml")
    assert len(runs) == 65
    assert [run.name for run in runs[:2]] == ["amidar-s0", "assault-s0"]
    assert {run.config.seed for run in runs} == {0, 1, 2, 3, 4}
    such2017 = load_config(STUDIES.parent / "such2017.toml")
    for table in ("algorithm", "generation", "ga", "budget"):
        assert all(getattr(run.config, table) == getattr(such2017, table) for run in runs)


def test_smoke_is_four_small_runs() -> None:
    runs = load_study(STUDIES / "smoke.toml")
    assert [run.name for run in runs] == ["cartpole-s0", "cartpole-s1", "acrobot-s0", "acrobot-s1"]
