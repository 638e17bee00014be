"""Config files: what is read back, what is refused and in which words."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.config import (
    MAX_RUN_SEED,
    PRESETS,
    AlgorithmConfig,
    BudgetConfig,
    Config,
    EnvConfig,
    GAConfig,
    GenerationConfig,
    NoiseConfig,
    PolicyConfig,
    RandomSearchConfig,
    StartConfig,
    config_from_dict,
    config_to_dict,
    dump_config,
    load_config,
    stored_config,
)
from gadask.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, 'seed = 7\n[generation]\npopulation = 50\n[env]\nid = "CartPole-v1"\n'))
    expected = Config(seed=7, generation=GenerationConfig(population=50), env=EnvConfig(id="CartPole-v1"))
    assert config == expected


def test_such2017_preset_is_the_paper(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, 'preset = "such2017"'))
    assert config.algorithm == AlgorithmConfig(kind="truncation")
    assert config.generation == GenerationConfig(
        population=1000,
        candidates=10,
        candidate_episodes=30,
        spare_episodes=0,
        closing="all",
        elite_evaluation="barrier",
        population_counts_evaluations=False,
        min_steps=0,
    )
    assert config.ga == GAConfig(parents=20, mutation_power=0.002, truncation="such2017")
    assert config.env.max_steps == 5000
    assert config.noise == NoiseConfig(seed=123, size=250_000_000)
    assert config.policy == PolicyConfig(kind="such2017", kwargs={})
    assert config.budget == BudgetConfig(frames=1e9, test_episodes=200)


def test_ga_dist_preset_is_its_program(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, 'preset = "ga-dist"'))
    assert config.algorithm == AlgorithmConfig(kind="truncation")
    assert config.generation == GenerationConfig(
        population=1000,
        candidates=10,
        candidate_episodes=30,
        spare_episodes=5,
        closing="first",
        late="drop",
        elite_evaluation="overlapped",
        population_counts_evaluations=True,
        min_steps=10_000,
    )
    assert config.ga == GAConfig(parents=20, mutation_power=0.002, truncation="ga-dist")
    assert config.policy == PolicyConfig(kind="such2017", kwargs={"initial": "unit-norm", "conv_activation": False})
    assert config.budget.frames == 1e9


def test_a_file_overrides_its_preset(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, 'preset = "ga-dist"\n[generation]\nlate = "admit"\n[budget]\nframes = inf\n')
    )
    assert config.generation == dataclasses.replace(PRESETS["ga-dist"].generation, late="admit")
    assert config.ga == PRESETS["ga-dist"].ga
    assert config.budget.frames is None


@pytest.mark.parametrize("name", PRESETS)
def test_presets_pass_their_own_check(name: str) -> None:
    assert config_from_dict({"preset": name}) == PRESETS[name]
    assert PRESETS[name].preset == name


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'?"),
        ({"generation": {"poplation": 1}}, "unknown key 'generation.poplation'; did you mean 'generation.population'?"),
        ({"ga": {"poplation": 1}}, "unknown key 'ga.poplation'; did you mean 'generation.population'?"),
        ({"ga": {"parnets": 1}}, "unknown key 'ga.parnets'; did you mean 'ga.parents'?"),
        ({"budget": {"frame": 1}}, "unknown key 'budget.frame'; did you mean 'budget.frames'?"),
        (
            {"zzz": 1},
            "unknown key 'zzz'; expected one of algorithm, budget, env, es, ga, generation, noise, novelty, policy,"
            " preset, random_search, seed, start",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(table)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"seed": True}, "seed: expected int, found True (bool)"),
        ({"seed": "1"}, "seed: expected int, found '1' (str)"),
        ({"seed": 1.5}, "seed: expected int, found 1.5 (float)"),
        ({"ga": {"mutation_power": False}}, "ga.mutation_power: expected float, found False (bool)"),
        ({"ga": {"mutation_power": math.nan}}, "ga.mutation_power: expected float, found nan (float)"),
        (
            {"generation": {"population_counts_evaluations": 1}},
            "generation.population_counts_evaluations: expected bool, found 1 (int)",
        ),
        ({"generation": {"closing": "some"}}, "generation.closing: expected one of 'all', 'first', found 'some'"),
        ({"generation": {"closing": ["all"]}}, "generation.closing: expected one of 'all', 'first', found ['all']"),
        ({"ga": 3}, "ga: expected a table, found 3"),
        ({"env": {"id": 3}}, "env.id: expected str, found 3 (int)"),
        ({"env": {"kwargs": []}}, "env.kwargs: expected a table, found []"),
        (
            {"env": {"kwargs": {"a": [1, {"b": None}]}}},
            "env.kwargs.a[1].b: expected a string, a number, a boolean, a list or a table, found None",
        ),
        ({"env": {"kwargs": {"a": [[math.nan]]}}}, "env.kwargs.a[0][0]: expected a number, found nan"),
        ({"env": {"wrappers": "a.B"}}, "env.wrappers: expected a list of strings, found 'a.B'"),
        ({"env": {"kwargs": {"a": math.nan}}}, "env.kwargs.a: expected a number, found nan"),
        ({"budget": {"frames": "1e9"}}, "budget.frames: expected float, found '1e9' (str)"),
        ({"budget": {"generations": 2.5}}, "budget.generations: expected int, found 2.5 (float)"),
        ({"budget": {"frames": 10**400}}, f"budget.frames: expected float, found {10**400} (int)"),
        (
            {"preset": "such2018"},
            f"preset: expected one of {', '.join(map(repr, PRESETS))}, found 'such2018'",
        ),
        (
            {"preset": ["such2017"]},
            f"preset: expected one of {', '.join(map(repr, PRESETS))}, found ['such2017']",
        ),
    ],
)
def test_a_wrong_type_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(table)
    assert str(caught.value) == message


GA_DIST = {"truncation": "ga-dist"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"seed": -1}, f"seed: expected 0 to {MAX_RUN_SEED}, found -1"),
        ({"seed": 2**63}, f"seed: expected 0 to {MAX_RUN_SEED}, found {2**63}"),
        ({"env": {"id": ""}}, "env.id: expected a Gymnasium id"),
        ({"env": {"max_steps": 0}}, "env.max_steps: expected 1 to 2147483647, found 0"),
        ({"env": {"episode_timeout_s": 0}}, "env.episode_timeout_s: expected more than 0, found 0.0"),
        ({"noise": {"seed": -1}}, "noise.seed: expected 0 to"),
        ({"noise": {"size": 0}}, "noise.size: expected 1 to"),
        ({"generation": {"population": 0}}, "generation.population: expected 1 to 2147483647, found 0"),
        ({"generation": {"population": 2**31}}, "generation.population: expected 1 to 2147483647, found 2147483648"),
        (
            {"generation": {"paired_tasks": True, "episodes_per_child": 3}},
            "generation.episodes_per_child: expected an even number with generation.paired_tasks, found 3",
        ),
        (
            {"generation": {"paired_tasks": True, "episodes_per_child": 2, "candidate_episodes": 5}},
            "generation.candidate_episodes: expected an even number with generation.paired_tasks, found 5",
        ),
        (
            {"generation": {"paired_tasks": True, "episodes_per_child": 2, "spare_episodes": 1}},
            "generation.spare_episodes: expected 0 with generation.paired_tasks, found 1",
        ),
        ({"ga": {"parents": 1001}}, "ga.parents: expected 1 to generation.population (1000), found 1001"),
        ({"ga": {"parents": 0}}, "ga.parents: expected 1 to generation.population (1000), found 0"),
        ({"ga": {"mutation_power": 0}}, "ga.mutation_power: expected a finite number above 0, found 0.0"),
        ({"ga": {"mutation_power": math.inf}}, "ga.mutation_power: expected a finite number above 0, found inf"),
        (
            {"generation": {"candidates": -1}},
            "generation.candidates: expected 0 to generation.population (1000), found -1",
        ),
        ({"generation": {"candidates": 1}}, "generation.candidates: expected 0, or at least 2"),
        ({"generation": {"candidate_episodes": 0}}, "generation.candidate_episodes: expected 1 to"),
        ({"generation": {"spare_episodes": -1}}, "generation.spare_episodes: expected 0 to"),
        ({"generation": {"min_steps": -1}}, "generation.min_steps: expected at least 0, found -1"),
        (
            {"generation": {"min_steps": 9}},
            "generation.closing: expected 'first' with generation.min_steps, found 'all'",
        ),
        ({"generation": {"max_failed_share": 1.01}}, "generation.max_failed_share: expected 0 to 1, found 1.01"),
        ({"generation": {"max_failed_share": -0.1}}, "generation.max_failed_share: expected 0 to 1, found -0.1"),
        ({"ga": {**GA_DIST, "parents": 2}}, "ga.parents: expected at least 3 with ga.truncation = 'ga-dist', found 2"),
        (
            {"ga": GA_DIST, "generation": {"candidates": 0}},
            "generation.candidates: expected at least 2 with ga.truncation = 'ga-dist'",
        ),
        (
            {"generation": {"population_counts_evaluations": True}},
            "generation.elite_evaluation: expected 'overlapped' with generation.population_counts_evaluations, found"
            " 'barrier'",
        ),
        (
            {"preset": "ga-dist", "generation": {"population": 319}},
            "generation.population: expected at least ga.parents + generation.candidates ×"
            " generation.candidate_episodes (320), found 319",
        ),
        (
            {
                "preset": "ga-dist",
                "algorithm": {"kind": "random-search"},
                "generation": {"candidates": 5, "population": 150},
            },
            "generation.population: expected more than generation.candidates × generation.candidate_episodes (150),"
            " found 150",
        ),
        ({"algorithm": {"kind": "annealing"}}, "algorithm.kind: expected one of 'truncation', 'random-search', "),
        (
            {"algorithm": {"kwargs": {"a": 1}}},
            "algorithm.kwargs: expected none with algorithm.kind = 'truncation', whose settings have a table, found",
        ),
        (
            {"algorithm": {"kind": "random-search"}, "random_search": {"mutation_power": 0}},
            "random_search.mutation_power: expected a finite number above 0, found 0.0",
        ),
        ({"budget": {"generations": 0}}, "budget.generations: expected more than 0, found 0"),
        ({"budget": {"frames": 0}}, "budget.frames: expected more than 0, found 0.0"),
        ({"budget": {"hours": -1}}, "budget.hours: expected more than 0, found -1.0"),
        ({"budget": {"test_episodes": -1}}, "budget.test_episodes: expected 0 to"),
    ],
)
def test_an_impossible_value_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(table)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["population", "candidates", "closing", "max_failed_share"])
def test_a_setting_that_has_moved_is_answered_with_its_place(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^ga\.{key}: is now generation\.{key}$"):
        config_from_dict({"ga": {key: getattr(GenerationConfig(), key)}})


def test_a_stored_config_may_have_its_settings_where_they_were() -> None:
    old = {"preset": "ga-dist", "ga": {"population": 500, "late": "admit", "parents": 7}}
    config = stored_config(old)
    generation = dataclasses.replace(PRESETS["ga-dist"].generation, population=500, late="admit")
    assert config.generation == generation
    assert config.ga == dataclasses.replace(PRESETS["ga-dist"].ga, parents=7)
    assert stored_config(config_to_dict(config)) == config


def test_settings_of_another_algorithm_have_no_effect() -> None:
    config = config_from_dict({"algorithm": {"kind": "random-search"}, "ga": {"parents": 0}})
    assert config.ga.parents == 0
    assert config_from_dict({"algorithm": {"kind": "a.b:c", "kwargs": {"d": 1}}, "ga": {"parents": 0}})


@pytest.mark.parametrize(
    ("preset", "key", "edge", "beyond"),
    [
        ("ga-dist", "generation.population", 320, 319),
        ("none", "generation.max_failed_share", 0.0, math.nextafter(0.0, -1.0)),
        ("none", "generation.max_failed_share", 1.0, math.nextafter(1.0, 2.0)),
        ("none", "generation.candidates", 0, -1),
        ("none", "generation.candidates", 2, 1),
        ("none", "generation.population", 2**31 - 1, 2**31),
        ("none", "env.episode_timeout_s", math.nextafter(0.0, 1.0), 0.0),
        ("none", "noise.size", MAX_RUN_SEED, MAX_RUN_SEED + 1),
        ("none", "seed", MAX_RUN_SEED, MAX_RUN_SEED + 1),
        ("none", "seed", 0, -1),
    ],
)
def test_values_at_the_edge_are_taken_and_the_next_are_not(preset: str, key: str, edge: float, beyond: float) -> None:
    *tables, name = key.split(".")

    def table(value: float) -> dict[str, Any]:
        inner: dict[str, Any] = {name: value}
        return {"preset": preset, **({tables[0]: inner} if tables else inner)}

    read = config_to_dict(config_from_dict(table(edge)))
    for part in tables:
        read = read[part]
    assert (read[name], type(read[name])) == (edge, type(edge))
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: expected .*found "):
        config_from_dict(table(beyond))


def test_numbers_may_be_written_either_way() -> None:
    config = config_from_dict(
        {"generation": {"population": 1e3}, "ga": {"mutation_power": 1}, "budget": {"frames": 1_000_000}}
    )
    assert (config.generation.population, type(config.generation.population)) == (1000, int)
    assert (config.ga.mutation_power, type(config.ga.mutation_power)) == (1.0, float)
    assert (config.budget.frames, type(config.budget.frames)) == (1e6, float)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = ", "not a TOML file"),
        (b"\xff\xfe", "not a TOML file"),
        (b"\x80\x04\x95", "not a TOML file"),
        (b"seed = " + b"1" * 5000, "not a TOML file"),
        (b"seed = " + b"[" * 100_000, "not a TOML file"),
        (b"[ga]\nparents = 0\n", "ga.parents: expected 1 to"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot read the config file: No such file or directory"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the config file: Is a directory"):
        load_config(tmp_path)


# Laws

positive = st.floats(0, exclude_min=True, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), texts)
kwargs = st.dictionaries(texts, scalars, max_size=3)
configs = st.builds(
    Config,
    seed=st.integers(0, MAX_RUN_SEED),
    preset=st.sampled_from(["none", "such2017", "ga-dist"]),
    env=st.builds(
        EnvConfig, id=texts.filter(bool), kwargs=kwargs, max_steps=st.integers(1, 9), episode_timeout_s=positive
    ),
    policy=st.builds(PolicyConfig, kind=texts, kwargs=kwargs),
    noise=st.builds(NoiseConfig, seed=st.integers(0, 9), size=st.integers(1, 9)),
    start=st.builds(StartConfig, from_=texts),
    algorithm=st.sampled_from([AlgorithmConfig(), AlgorithmConfig("random-search")])
    | st.builds(AlgorithmConfig, kind=st.just("a.b:c"), kwargs=kwargs),
    generation=st.builds(
        GenerationConfig,
        population=st.integers(700, 1000),
        candidates=st.integers(2, 5),
        candidate_episodes=st.integers(1, 30),
        spare_episodes=st.integers(0, 5),
        elite_evaluation=st.just("overlapped"),
        closing=st.just("first"),
        min_steps=st.integers(0, 9),
        max_failed_share=st.floats(0, 1),
        fitness=st.just("return") | texts.map("a.b:{}".format),
    ),
    ga=st.builds(GAConfig, parents=st.integers(3, 20), mutation_power=positive),
    random_search=st.builds(RandomSearchConfig, mutation_power=positive),
    budget=st.builds(
        BudgetConfig,
        generations=st.none() | st.integers(1, 9),
        frames=st.none() | positive,
        hours=st.none() | positive,
        elite_mean=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        test_episodes=st.integers(0, 9),
    ),
)


@given(configs)
def test_a_dumped_config_is_read_back_equal(config: Config) -> None:
    assert config_from_dict(config_to_dict(config)) == config
    assert config_from_dict(tomllib.loads(dump_config(config))) == config
