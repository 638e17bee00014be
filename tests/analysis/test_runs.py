"""Run directories as frames."""

from __future__ import annotations

import json
import math
import re
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest

from gadask.analysis.runs import Run, find_runs, load_run, load_study, standard_error, study_frame, system_names
from gadask.config import AlgorithmConfig, config_from_dict
from gadask.errors import ConfigError, RecordError, RunDirectoryError
from gadask.genomes.genome import from_text
from gadask.messages import Kind
from gadask.record.directory import RunDirectory, read_generations
from gadask.record.elite_test import read_elite_test
from gadask.record.episodes import episodes_path, read_episodes
from gadask.record.frames import QUANTILES, episode_frame, generation_frame
from tests.analysis.recorded import GENERATION, SWATCH, Players, record


def test_a_run_directory_is_read_with_the_lines_of_the_docs(
    recorded: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "run-directory.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len([line for line in blocks[0].splitlines() if line]) == 3
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "frostbite").symlink_to(recorded["swatch"])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)

    generations, episodes, frame = names["generations"], names["episodes"], generation_frame(recorded["swatch"])
    assert generations["generation"].tolist() == [0, 1, 2]
    assert names["curve"].tolist() == frame["elite_mean"].tolist()
    assert names["curve"].index.tolist() == frame["frames"].tolist()
    assert names["children"].groupby("generation").size().tolist() == [GENERATION.population] * 3
    for key in [*generations, *episodes]:
        assert f"`{key}`" in page, f"the page does not explain {key}"
    children = episodes[(episodes["kind"] == "child") & (episodes["generation"] == 1)]
    assert children["slot"].tolist() == list(range(GENERATION.population))
    assert children["return"].mean() == pytest.approx(generations["children"][1]["mean"])


def test_runs_are_found_through_links_once_each(recorded: dict[str, Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "older").mkdir(parents=True)
    (study / "older" / "swatch").symlink_to(recorded["swatch"])
    (study / "once more").symlink_to(recorded["swatch"])
    (study / "back").symlink_to(tmp_path)
    assert [run.resolve() for run in find_runs([study])] == [recorded["swatch"].resolve()]
    assert find_runs([recorded["swatch"], study / "older"]) == [recorded["swatch"], study / "older" / "swatch"]


def test_the_log_becomes_columns(recorded: dict[str, Path]) -> None:
    path = recorded["swatch"]
    frame, lines = generation_frame(path), list(read_generations(path))
    assert len(frame) == len(lines) == 3
    for row, line in zip(frame.to_dict("records"), lines, strict=True):
        assert row["frames"] == line["total"]["frames"]
        assert row["elite"] == line["elite"]["genome"]
        assert row["elite"] == line["candidates"][row["elite_slot"]]["genome"]
        assert row["elite_mean"] == line["elite"]["mean"]
        assert row["counted_steps"] == line["lengths"]["counted"]["mean"]
        for column, name in QUANTILES.items():
            assert row[column] == line["children"]["quantiles"][name]
        assert row["wall_s"] == line["timing"]["wall_s"]
    changed = frame["elite"] != frame["elite"].shift(fill_value=frame["elite"][0])
    assert frame["elite_changed"].tolist() == changed.tolist()


def test_what_a_generation_lacks_is_a_gap(run: Path) -> None:
    log = run / "generations.jsonl"
    first, *others = log.read_text().splitlines(keepends=True)
    table = json.loads(first)
    table |= {"elite": None, "children": {"n": 0, "mean": None, "quantiles": {}}}
    log.write_text(json.dumps(table) + "\n" + "".join(others))
    frame = generation_frame(run)
    assert frame.loc[0, ["elite", "elite_mean", "child_mean", *QUANTILES]].isna().all()
    assert frame["elite_slot"][0] == -1
    assert not frame["elite_changed"][0]
    assert not frame["elite_changed"][1]
    assert np.isfinite(frame["elite_mean"][1:]).all()


def test_episodes_are_those_of_the_files(recorded: dict[str, Path]) -> None:
    path = recorded["swatch"]
    whole = episode_frame(path)
    assert len(whole) == 3 * (GENERATION.population + GENERATION.candidates * GENERATION.candidate_episodes)
    assert whole["recorded_in"].tolist() == whole["generation"].tolist()
    some = episode_frame(path, [2], ["slot", "kind"])
    assert list(some) == ["slot", "kind", "recorded_in"]
    assert set(some["recorded_in"]) == {2}
    pandas.testing.assert_frame_equal(
        some.reset_index(drop=True),
        whole.loc[whole["recorded_in"] == 2, list(some)].reset_index(drop=True),
        check_categorical=False,
    )


def test_files_with_and_without_weights_make_one_frame(run: Path) -> None:
    path = episodes_path(run, 1)
    pq.write_table(read_episodes(run, 1).drop_columns(["weight"]), path)  # as earlier versions wrote it
    for columns in (None, ["weight", "gene", "kind"]):
        frame = episode_frame(run, columns=columns)
        assert (frame["weight"].isna() == (frame["recorded_in"] == 1)).all()
        assert set(frame["kind"]) == {"child", "evaluation"}
    assert episode_frame(run, [1])["weight"].isna().all()


def test_missing_episodes_are_left_out_and_damaged_ones_are_not(run: Path) -> None:
    (run / "episodes" / "000001.parquet").unlink()
    assert set(episode_frame(run)["recorded_in"]) == {0, 2}
    (run / "episodes" / "000002.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match=r"000002\.parquet: damaged"):
        episode_frame(run)
    shutil.rmtree(run / "episodes")
    assert episode_frame(run).empty


def test_the_elites_standard_error_comes_from_its_evaluation_episodes(recorded: dict[str, Path]) -> None:
    frame = generation_frame(recorded["swatch"])
    players = Players(SWATCH)
    with closing(players.env):
        for row in frame.itertuples():
            genome = from_text(row.elite)
            rows = [players.play(genome, Kind.EVALUATION, row.generation, row.elite_slot, i) for i in range(3)]
            returns = np.concatenate(rows)["return"]
            assert row.elite_mean == pytest.approx(returns.mean())
            assert row.elite_error == pytest.approx(returns.std(ddof=1) / math.sqrt(3))
    assert math.isnan(standard_error(np.array([1.0])))


def test_elite_tests_are_read(run: Path) -> None:
    assert read_elite_test(run) is None
    path = run / "elite_test.json"
    path.write_text('{"generation": 2, "genome": "7", "returns": [1.0, 2.0, 4.5]}')
    test = read_elite_test(run)
    assert test is not None
    assert (test.generation, test.genome, test.mean) == (2, "7", 2.5)
    assert test.standard_error == pytest.approx(np.std([1.0, 2.0, 4.5], ddof=1) / math.sqrt(3))
    for text in (
        "{",
        "[]",
        '{"generation": 2, "genome": "7", "returns": "x"}',
        '{"generation": 2, "genome": "7", "returns": []}',
    ):
        path.write_text(text)
        with pytest.raises(RecordError, match=r"elite_test.json: damaged"):
            read_elite_test(run)


def test_runs_are_found_among_and_below_folders(study: Path, recorded: dict[str, Path], tmp_path: Path) -> None:
    runs = sorted(study.iterdir())
    assert find_runs([study]) == runs
    assert find_runs([runs[2], study]) == [runs[2], *runs[:2], *runs[3:]]
    assert find_runs([recorded["swatch"], runs[0]]) == [recorded["swatch"], runs[0]]
    with pytest.raises(RunDirectoryError, match="expected a run directory, or a folder of them, found none"):
        find_runs([tmp_path])


@pytest.mark.parametrize(("names", "is_run"), [("config.toml generations.jsonl", True), ("config.toml", False)])
def test_a_copy_of_config_and_log_is_a_run(study: Path, tmp_path: Path, names: str, is_run: bool) -> None:
    whole = min(study.iterdir())
    (tmp_path / "copy").mkdir()
    for name in names.split():
        shutil.copy(whole / name, tmp_path / "copy")
    if is_run:
        (run,) = load_study([tmp_path])
        assert run.config == load_run(whole).config
        pandas.testing.assert_frame_equal(run.generations, load_run(whole).generations)
    else:
        with pytest.raises(RunDirectoryError, match="expected a run directory, or a folder of them, found none"):
            load_study([tmp_path])


def test_a_study_leaves_out_runs_that_have_closed_nothing(study: Path, tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "new", SWATCH).close()
    runs = load_study([study, tmp_path])
    assert [run.path for run in runs] == sorted(study.iterdir())
    assert [run.game for run in runs] == ["Frostbite"] * 3 + ["Kangaroo"] * 3
    with pytest.raises(RunDirectoryError, match="at least one closed generation, found none"):
        load_study([tmp_path])
    with pytest.raises(RunDirectoryError, match="at least one closed generation, found none"):
        load_run(tmp_path / "new")
    with pytest.raises(RunDirectoryError, match=r"found no config\.toml in it"):
        load_run(tmp_path)


def test_a_damaged_config_is_named(run: Path) -> None:
    (run / "config.toml").write_text("[generation]\npopulaton = 3\n")
    with pytest.raises(ConfigError, match="populaton"):
        load_run(run)


def test_systems_are_told_apart_by_what_differs_within_a_game(study: Path) -> None:
    runs = load_study([study])
    assert set(study_frame(runs)["system"]) == {"gadask"}
    first, *others = runs
    config = first.config
    generation, ga = replace(config.generation, closing="first"), replace(config.ga, parents=3)
    changed = replace(first, config=replace(config, generation=generation, ga=ga))
    names = system_names([changed, *others])
    assert names[0] == "closing = first, parents = 3"
    assert set(names[1:]) == {"closing = all, parents = 20"}
    other_games = [
        replace(run, config=replace(run.config, generation=config.generation, ga=config.ga)) for run in runs[3:]
    ]
    assert set(system_names([replace(run, config=changed.config) for run in runs[:3]] + other_games)) == {"gadask"}


def test_algorithms_are_told_apart_and_their_settings_count_among_their_own_runs(study: Path) -> None:
    first = load_study([study])[0]

    def names(*tables: dict[str, Any]) -> list[str]:
        return system_names([replace(first, config=config_from_dict(table)) for table in tables])

    es = {"algorithm": {"kind": "openai-es"}, "es": {"sigma": 0.1}, "ga": {"parents": 3}}
    assert names({}, es) == ["algorithm = truncation", "algorithm = openai-es"]
    other = {**es, "es": {"sigma": 0.2}}
    assert names({}, es, other) == [
        "algorithm = truncation", "algorithm = openai-es, sigma = 0.1", "algorithm = openai-es, sigma = 0.2",
    ]  # fmt: skip
    assert names(es, {**es, "ga": {"parents": 4}}) == ["gadask", "gadask"]
    small = {"preset": "salimans2017-atari", "generation": {"population": 200}}
    assert names({"preset": "ga-dist"}, small, {}) == [
        "preset = ga-dist", "preset = salimans2017-atari, population = 200", "preset = none",
    ]  # fmt: skip
    own = {"algorithm": {"kind": "my.own:make"}}
    assert names(own, {**own, "ga": {"parents": 4}}) == ["parents = 20", "parents = 4"]  # it may read them


@pytest.mark.parametrize(
    ("kind", "fitness", "measure", "parents"),
    [
        ("truncation", "return", "return", 3),
        ("truncation", "mine:worth", "fitness", None),
        ("random-search", "return", "return", None),
    ],
)
def test_parents_are_the_best_by_return_or_not(kind: str, fitness: str, measure: str, parents: int | None) -> None:
    generation = replace(GENERATION, fitness=fitness)
    run = Run(Path(), replace(SWATCH, algorithm=AlgorithmConfig(kind), generation=generation), pandas.DataFrame())
    assert (run.measure, run.parents_by_return) == (measure, parents)


def test_a_run_that_reached_its_goal_is_marked(tmp_path: Path) -> None:
    reached = replace(SWATCH, budget=replace(SWATCH.budget, elite_mean=-1.0))
    paths = [record(tmp_path / "a", SWATCH, 1), record(tmp_path / "b", reached, 1)]
    assert study_frame(load_study(paths))["goal"].tolist() == [False, True]
