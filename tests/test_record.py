"""The run directory without faults: what is written, read back, resumed and refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Elite
from gadask.config import (
    AlgorithmConfig,
    BudgetConfig,
    EnvConfig,
    ESConfig,
    GAConfig,
    GenerationConfig,
    NoveltyConfig,
    load_config,
)
from gadask.errors import ConfigError, RecordError, RunDirectoryError
from gadask.observations import Moments
from gadask.record.checkpoint import Checkpoint, decode, encode
from gadask.record.directory import (
    RunDirectory,
    State,
    check_same_run,
    episode_table,
    read_episodes,
    read_generations,
    read_run,
    without_wall_clock,
)
from gadask.record.files import FileLock
from gadask.rows import ROW
from tests.genomes import GENOMES
from tests.records import CONFIG, FIRST, SECOND, table


def test_a_lock_that_is_released_twice_releases_no_other(tmp_path: Path) -> None:
    first = FileLock(tmp_path / "first")
    first.release()
    second = FileLock(tmp_path / "second")
    assert second._descriptor == first._descriptor  # the system gives its number again
    first.release()
    with pytest.raises(RunDirectoryError, match="another master"):
        FileLock(tmp_path / "second")
    second.release()
    FileLock(tmp_path / "second").release()


def test_a_run_is_recorded_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    with RunDirectory.create(path, CONFIG) as directory:
        directory.close_generation(table(0), {"best": 1.5, "timing": {"wall_s": 2.5}}, FIRST)
        directory.close_generation(table(1), {"best": 2.5, "timing": {"wall_s": 5.0}}, SECOND)
        assert list(directory.generations()) == [
            {"generation": 0, "best": 1.5, "timing": {"wall_s": 2.5}},
            {"generation": 1, "best": 2.5, "timing": {"wall_s": 5.0}},
        ]
        pd.testing.assert_frame_equal(directory.episodes(1).to_pandas(), table(1).to_pandas())
        assert read_run(path) == (CONFIG, SECOND)  # while it is being written
    assert sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()) == [
        ".lock",
        "checkpoint.json",
        "checkpoint.previous.json",
        "config.toml",
        "episodes/000000.parquet",
        "episodes/000001.parquet",
        "generations.jsonl",
    ]
    directory, state = RunDirectory.resume(path)
    with directory:
        assert state == SECOND
        assert state.elapsed_s == 5.0
        assert state.generation == 1
        assert directory.config == CONFIG
    assert load_config(path / "config.toml") == CONFIG


def test_a_run_killed_before_its_first_generation_is_resumed_from_nothing(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    directory, state = RunDirectory.resume(tmp_path / "run")
    directory.close()
    assert state == State()
    assert state.generation == -1


def test_wall_time_is_no_part_of_equality() -> None:
    assert dataclasses.replace(FIRST, elapsed_s=99.0) == FIRST
    assert dataclasses.replace(FIRST, steps=99) != FIRST


def test_two_equal_runs_differ_in_wall_clock_only(tmp_path: Path) -> None:
    documents = []
    for name, wall_s in (("a", 1.0), ("b", 12345.678)):
        with RunDirectory.create(tmp_path / name, CONFIG) as directory:
            state = dataclasses.replace(FIRST, elapsed_s=wall_s)
            directory.close_generation(table(), {"best": 1.5, "timing": {"wall_s": wall_s}}, state)
            documents.append(
                [json.loads((tmp_path / name / "checkpoint.json").read_text()), *read_generations(tmp_path / name)]
            )
    assert documents[0] != documents[1]
    assert [without_wall_clock(one) for one in documents[0]] == [without_wall_clock(one) for one in documents[1]]
    assert without_wall_clock(documents[0][0])["algorithm"]["parents"] == [[5], [7]]


def test_episodes_are_readable_with_pandas_and_sorted(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", CONFIG) as directory:
        directory.close_generation(table(), {}, FIRST)
    frame = pd.read_parquet(tmp_path / "run" / "episodes" / "000000.parquet")
    assert frame["kind"].tolist() == ["child", "child", "evaluation", "evaluation"]
    assert frame["slot"].tolist() == [1, 2, 0, 0]
    assert frame["episode"].tolist() == [0, 0, 0, 1]
    assert frame["status"].tolist() == ["ok", "ok", "ok", "timeout"]
    assert frame["return"].tolist()[:3] == [-2.0, 1.5, 0.25]
    assert frame["parent"].tolist() == [0, -1, -1, -1]
    assert frame["gene"].tolist() == [7, 2**40, -1, -1]
    assert frame["node"].tolist() == ["a", "a", "b", "b"]
    assert frame["counted"].tolist() == [True, True, True, False]
    assert frame["reason"].tolist() == ["", "", "", "deadline of 600 s"]
    assert set(frame.columns) == {*(ROW.names or ()), "parent", "gene", "weight", "node", "counted", "reason"}


@given(st.permutations(range(8)))
def test_the_order_of_arrival_does_not_change_the_table(order: list[int]) -> None:
    rows = np.zeros(8, ROW)
    rows["slot"] = np.arange(8) // 2
    rows["episode"] = np.arange(8) % 2
    places = np.arange(8)

    def arrived(order: npt.NDArray[np.int64]) -> pa.Table:
        nodes = [f"node {place}" for place in order]
        return episode_table(rows[order], parent=order, gene=3 * order, weight=order / 2, node=nodes, counted=order > 3)

    assert arrived(np.array(order)).to_pylist() == arrived(places).to_pylist()


def test_a_table_of_no_episodes(tmp_path: Path) -> None:
    empty = episode_table(np.zeros(0, ROW), parent=[], gene=[], weight=[], node=[], counted=[])
    assert empty.schema.equals(table().schema)


# What is refused


def test_create_refuses_a_directory_in_use(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    with pytest.raises(RunDirectoryError, match=r"run: holds a run already; use --resume"):
        RunDirectory.create(tmp_path / "run", CONFIG)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="is not empty"):
        RunDirectory.create(tmp_path, CONFIG)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_create_takes_an_empty_directory(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, CONFIG).close()
    assert read_run(tmp_path) == (CONFIG, State())


def test_create_takes_a_directory_whose_cluster_is_open(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    RunDirectory.create(tmp_path, CONFIG).close()
    assert read_run(tmp_path) == (CONFIG, State())


def test_create_takes_what_a_killed_create_left(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, CONFIG).close()
    (tmp_path / "config.toml").unlink()  # it is written last
    RunDirectory.create(tmp_path, CONFIG).close()
    assert read_run(tmp_path) == (CONFIG, State())


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint.previous.json", "generations.jsonl", "episodes"])
def test_create_refuses_what_is_left_of_a_run(tmp_path: Path, name: str) -> None:
    with RunDirectory.create(tmp_path, CONFIG) as directory:
        directory.close_generation(table(0), {}, FIRST)
    for path in tmp_path.iterdir():
        if path.name not in (name, ".lock"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(RunDirectoryError, match=r"is not empty|holds the checkpoint\.json of a run"):
        RunDirectory.create(tmp_path, CONFIG)
    assert {path: path.read_bytes() for path in before} == before


def test_create_refuses_a_damaged_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="choose another directory"):
        RunDirectory.create(tmp_path, CONFIG)
    assert (tmp_path / "checkpoint.json").read_text() == "{"


def test_resume_refuses_a_directory_without_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunDirectoryError, match="no run here to resume"):
            RunDirectory.resume(path)
        with pytest.raises(RunDirectoryError, match="expected a run directory, found no config"):
            read_run(path)
    assert list(tmp_path.iterdir()) == []


def test_two_masters_cannot_write_one_directory(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with RunDirectory.create(path, CONFIG):
        with pytest.raises(
            RunDirectoryError, match=r"run: another master is writing this run directory \(host .*, pro"
        ):
            RunDirectory.resume(path)
        with pytest.raises(RunDirectoryError, match="another master"):
            RunDirectory.create(path, CONFIG)
    directory, _ = RunDirectory.resume(path)
    directory.close()
    directory.close()


def test_a_generation_out_of_turn_is_refused(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", CONFIG) as directory:
        with pytest.raises(RecordError, match="expected to close generation 0, found 1"):
            directory.close_generation(table(), {}, SECOND)
        directory.close_generation(table(), {}, FIRST)
        with pytest.raises(RecordError, match="expected to close generation 1, found 0"):
            directory.close_generation(table(), {}, FIRST)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, np.float64("nan")])
def test_a_log_line_that_is_not_strict_json_is_refused(tmp_path: Path, value: object) -> None:
    with RunDirectory.create(tmp_path / "run", CONFIG) as directory:
        with pytest.raises(RecordError, match="generation 0: its log line is not strict JSON"):
            directory.close_generation(table(), {"best": value}, FIRST)
        elite = Elite((5,), float("nan"), 1, 0)
        with pytest.raises(RecordError, match="generation 0: its state cannot be a checkpoint"):
            directory.close_generation(table(), {}, dataclasses.replace(FIRST, elite=elite))
        directory.close_generation(table(), {}, FIRST)
    assert list(read_generations(tmp_path / "run")) == [{"generation": 0}]


def test_missing_episodes_are_named(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    with pytest.raises(
        RecordError, match=r"000004\.parquet: expected the episodes of generation 4, found no such file"
    ):
        read_episodes(tmp_path / "run", 4)


# Resuming with another config


def test_a_resumed_run_may_change_budget_and_deadline(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    longer = dataclasses.replace(
        CONFIG,
        budget=BudgetConfig(generations=9),
        env=dataclasses.replace(CONFIG.env, episode_timeout_s=5.0, rehearsal_timeout_s=6.0),
    )
    directory, _ = RunDirectory.resume(tmp_path / "run", longer)
    directory.close()
    assert directory.config == longer
    assert read_run(tmp_path / "run")[0] == longer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "seed: expected 3 as in the run directory, found 4; a resumed run may change budget and"),
        ({"generation": GenerationConfig(5, candidates=0)}, "generation.population: expected 4 .*, found 5;"),
        ({"ga": GAConfig(parents=3)}, "ga.parents: expected 2 .*, found 3;"),
        ({"algorithm": AlgorithmConfig("random-search")}, "algorithm.kind: expected 'truncation' .*, found 'random-"),
        ({"env": EnvConfig(id="CartPole-v0")}, "env.id: expected 'CartPole-v1' .*, found 'CartPole-v0';"),
        ({"env": EnvConfig(id="CartPole-v1", kwargs={"a": 1})}, "env.kwargs.a: expected nothing .*, found 1;"),
        ({"env": EnvConfig(id="CartPole-v1", kwargs={"a": {}})}, "env.kwargs.a: expected nothing .*, found {};"),
        ({"env": EnvConfig(id="CartPole-v1", kwargs={"a": {"b": [1]}})}, r"env.kwargs.a.b: .*, found \[1\];"),
        ({"env": EnvConfig(id="CartPole-v1", wrappers=("a.B",))}, r"env.wrappers: expected \[\] .*, found \['a.B'\];"),
        ({"preset": "such2017"}, "preset: expected 'none' .*, found 'such2017';"),
    ],
)
def test_a_resumed_run_may_change_nothing_else(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    with pytest.raises(ConfigError, match=message):
        RunDirectory.resume(tmp_path / "run", dataclasses.replace(CONFIG, **changes))
    directory, _ = RunDirectory.resume(tmp_path / "run")  # the refused one let go of the lock
    directory.close()


def test_settings_of_algorithms_that_a_run_does_not_use_may_change() -> None:
    """A default of theirs may be another one in a later gadask."""
    later = dataclasses.replace(CONFIG, es=ESConfig(anchor_every=99), novelty=NoveltyConfig(parents=3))
    check_same_run(CONFIG, later)
    strategies = dataclasses.replace(CONFIG, algorithm=AlgorithmConfig("openai-es"))
    check_same_run(strategies, dataclasses.replace(strategies, ga=GAConfig(parents=3)))
    with pytest.raises(ConfigError, match=r"es\.anchor_every: expected 12 as in the run directory, found 99"):
        check_same_run(strategies, dataclasses.replace(strategies, es=ESConfig(anchor_every=99)))
    own = dataclasses.replace(CONFIG, algorithm=AlgorithmConfig("my_algorithm:make"))
    with pytest.raises(ConfigError, match=r"ga\.parents: expected 2 as in the run directory, found 3"):
        check_same_run(own, dataclasses.replace(own, ga=GAConfig(parents=3)))


def test_a_config_of_other_types_is_another_config() -> None:
    whole = dataclasses.replace(CONFIG, env=EnvConfig(id="CartPole-v1", kwargs={"a": 1}))
    truth = dataclasses.replace(CONFIG, env=EnvConfig(id="CartPole-v1", kwargs={"a": True}))
    check_same_run(whole, whole)
    with pytest.raises(ConfigError, match=r"env\.kwargs\.a: expected 1 as in the run directory, found True"):
        check_same_run(whole, truth)


def test_an_edited_config_file_is_found_out(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", CONFIG).close()
    file = tmp_path / "run" / "config.toml"
    file.write_text(file.read_text().replace("mutation_power = 0.002", "mutation_power = 0.02", 1))
    with pytest.raises(
        ConfigError, match=r"config\.toml: changed since .* ga\.mutation_power: expected 0\.002 .* 0\.02;"
    ):
        RunDirectory.resume(tmp_path / "run")


# Laws

finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**62)
texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=6,
)
states = st.builds(
    State,
    st.integers(-1, 2**62),
    st.dictionaries(texts, json_values, max_size=3),
    st.lists(GENOMES, max_size=3).map(tuple),
    st.none() | st.builds(Elite, GENOMES, finite, counts, counts),
    counts,
    counts,
    counts,
    texts,
    finite,
    st.just(Moments())
    | st.builds(
        lambda count, pairs: Moments(count, *map(tuple, zip(*pairs, strict=True))),
        st.integers(1, 2**53),
        st.lists(st.tuples(finite, finite), min_size=1, max_size=3),
    ),
)


@given(states, counts)
def test_a_checkpoint_is_read_back_equal(state: State, size_bytes: int) -> None:
    checkpoint = Checkpoint(state, CONFIG, size_bytes, "00ff")
    decoded = decode(encode(checkpoint))
    assert decoded == checkpoint
    assert decoded.state.elapsed_s == state.elapsed_s


def test_a_checkpoint_is_readable_without_gadask() -> None:
    document = json.loads(encode(Checkpoint(SECOND, CONFIG, 12, "00ff")))
    assert document["generation"] == 1
    assert document["algorithm"] == {"parents": [[5, 8], [5]], "elite": document["elite"]}
    assert document["candidates"] == [[5]]
    assert document["elite"] == {"genome": [5, 8], "mean": 2.5, "episodes": 3, "generation": 1}
    assert document["log"] == {"size_bytes": 12, "sha256": "00ff"}
    assert tomllib.loads(document["config"])["seed"] == 3
