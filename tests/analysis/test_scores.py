"""Tables of scores and their aggregates."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.models import Whisker
from hypothesis import given
from hypothesis import strategies as st

from gadask.analysis.page import Page
from gadask.analysis.published import RECALLED, SOURCED, published_scores
from gadask.analysis.runs import load_run, load_study
from gadask.analysis.scores import (
    add_scores,
    aggregates,
    final_scores,
    interquartile_mean,
    main,
    normalise,
    plot_aggregates,
    plot_table,
    score_table,
)
from tests.analysis.pages import sources
from tests.analysis.test_latex import body

A, B = "a, 1.59M frames", "b, 1.59M frames"


def scores(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["game", "system", "score"])
    return table.assign(seed=table.groupby(["game", "system"]).cumcount(), is_test=True, frames=1_590_000)


def test_a_runs_score_is_its_elite_test_where_the_last_elite_was_tested(study: Path, tmp_path: Path) -> None:
    source = next(study.iterdir())
    path = Path(shutil.copytree(source, tmp_path / "run"))
    last = load_run(path).generations.iloc[-1]
    (row,) = final_scores([load_run(path)]).to_dict("records")
    assert (row["score"], row["is_test"], row["game"]) == (last["elite_mean"], False, load_run(path).game)
    test = {"generation": 0, "genome": last["elite"], "returns": [10.0, 20.0]}
    (path / "elite_test.json").write_text(json.dumps(test))
    (row,) = final_scores([load_run(path)]).to_dict("records")
    assert (row["score"], row["error"], row["episodes"], row["is_test"]) == (15.0, 5.0, 2, True)
    (path / "elite_test.json").write_text(json.dumps(test | {"genome": "7"}))
    (row,) = final_scores([load_run(path)]).to_dict("records")
    assert row["score"] == last["elite_mean"]


def test_runs_without_an_elite_have_no_score(study: Path) -> None:
    run = load_run(next(study.iterdir()))
    assert final_scores([replace(run, generations=run.generations.assign(elite_mean=math.nan))]).empty


def test_the_table_is_games_times_systems() -> None:
    table = score_table(
        scores([("Zaxxon", "a", 1.0), ("Zaxxon", "a", 5.0), ("Zaxxon", "a", 2.0), ("Amidar", "b", 7.0)])
    )
    assert table.index.tolist() == ["Amidar", "Zaxxon"]
    assert table.loc["Zaxxon", A] == 2.0
    assert math.isnan(table.loc["Zaxxon", B])
    assert table.columns.tolist() == [A, B, *SOURCED.values()]
    assert table.loc["Amidar", SOURCED["es_1B"]] == 112
    assert score_table(scores([("CartPole-v1", "a", 1.0)]), recalled=True).columns.tolist() == [A]


def test_recalled_scores_are_shown_only_if_asked_for_and_called_so() -> None:
    rows = scores([("Amidar", "a", 300.0), ("Zaxxon", "a", 300.0)])
    table = score_table(rows, recalled=True)
    assert table.columns.tolist() == [A, *RECALLED.values(), *SOURCED.values()]
    assert table.loc["Amidar", RECALLED["ga_6B"]] == 377
    assert aggregates(rows, recalled=True)["system"].tolist() == table.columns.tolist()
    plain, asked = Page("scores"), Page("scores")
    add_scores(plain, rows)
    add_scores(asked, rows, recalled=True)
    assert "recalled" not in plain.to_html()
    assert "<th>GA, 1B frames, recalled</th>" in asked.to_html().replace(' class="number"', "")
    assert "recalled, check before quoting" in asked.to_html()
    for page in (plain, asked):
        assert ">A3C, 1B frames, human starts<" in page.to_html()
        assert ">DQN, 200M frames, no-op starts<" in page.to_html()
        assert "compare neither with each other nor with the rest" in page.to_html()
    for recalled in (False, True):
        texts = [text for data in sources(plot_table(rows, recalled), "text") for text in data["text"]]
        assert ("GA\n1B frames\nrecalled" in texts) == recalled
        assert "A3C\n1B frames\nhuman starts" in texts


def test_normalised_scores_are_0_for_a_random_agent_and_1_for_the_reference() -> None:
    known = published_scores()
    games = pd.Series(known.index)
    for reference in ("human", "random_search_1B"):
        np.testing.assert_allclose(normalise(known["random_agent"].reset_index(drop=True), games, reference), 0)
        np.testing.assert_allclose(normalise(known[reference].reset_index(drop=True), games, reference), 1)
    assert normalise(pd.Series([5.0]), pd.Series(["CartPole-v1"])).isna().all()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_the_interquartile_mean_is_that_of_the_middle_half(values: list[float]) -> None:
    n_cut = len(values) // 4
    middle = sorted(values)[n_cut : len(values) - n_cut]
    assert interquartile_mean(np.array(values)) == pytest.approx(np.mean(middle), abs=1e-9)


def test_aggregates_count_every_run_once_and_resample_within_games() -> None:
    known = published_scores()
    rows = []
    for game, offset in (("Amidar", 0.0), ("Zaxxon", 0.4), ("Venture", 0.8)):
        zero, one = known.loc[game, ["random_agent", "human"]]
        rows += [(game, "mine", zero + (one - zero) * (offset + 0.1 * seed)) for seed in range(12)]
    table = aggregates(scores([*rows, ("CartPole-v1", "mine", 500.0)]))
    assert table["system"].tolist() == ["mine, 1.59M frames", *SOURCED.values()]
    mine = table.iloc[0]
    normalised = np.array([offset + 0.1 * seed for offset in (0, 0.4, 0.8) for seed in range(12)])
    assert mine["mean"] == pytest.approx(interquartile_mean(normalised))
    assert (mine["runs"], mine["games"]) == (36, 3)
    assert (mine["spread"], len(mine["seed_means"])) == ("95 % interval, 12 seeds", 12)
    assert mine["lower"] < mine["mean"] < mine["upper"]
    rng = np.random.default_rng(1)
    games = normalised.reshape(3, 12)
    means = [
        float(interquartile_mean(np.concatenate([rng.choice(game, len(game) - 1) for game in games])))
        for _ in range(4000)
    ]
    np.testing.assert_allclose([mine["lower"], mine["upper"]], np.quantile(means, [0.025, 0.975]), atol=0.02)
    assert table.iloc[1:][["lower", "upper"]].isna().all(axis=None)
    own = known.loc[["Amidar", "Venture", "Zaxxon"]]
    expected = interquartile_mean(
        ((own["es_1B"] - own["random_agent"]) / (own["human"] - own["random_agent"])).to_numpy()
    )
    assert table.set_index("system").loc[SOURCED["es_1B"], "mean"] == pytest.approx(expected)


def test_one_run_a_game_has_no_interval_and_unknown_games_no_aggregate() -> None:
    table = aggregates(scores([("Amidar", "a", 300.0), ("Zaxxon", "a", 300.0)]))
    assert math.isnan(table["lower"][0])
    assert aggregates(scores([("CartPole-v1", "a", 1.0)])).empty
    assert len(plot_aggregates(table).y_range.factors) == 4


def test_scores_that_no_test_stands_behind_are_starred() -> None:
    page = Page("scores")
    table = scores([("Amidar", "a", 300.0), ("Zaxxon", "a", 12.34), ("Zaxxon", "b", -5000.0)])
    add_scores(page, table.assign(is_test=[True, False, True]))
    text = page.to_html()
    assert ">300<" in text
    assert ">12.34*<" in text
    assert ">−5,000<" in text
    assert ">a, 1.59M frames<" in text
    assert ">–<" in text
    assert "One seed (1 a game and system)" in text
    assert "*: in the episodes that crowned it, which is too high" in text


def test_few_seeds_of_an_aggregate_are_drawn_one_by_one() -> None:
    rows = [(game, "a", 300.0 + 100 * seed) for game in ("Amidar", "Zaxxon") for seed in range(3)]
    table = aggregates(scores(rows))
    mine = table.iloc[0]
    by_seed = [
        np.mean([normalise(pd.Series([300.0 + 100 * seed]), pd.Series([game]))[0] for game in ("Amidar", "Zaxxon")])
        for seed in range(3)
    ]
    np.testing.assert_allclose(mine["seed_means"], by_seed)
    assert (mine["lower"], mine["upper"]) == (min(mine["seed_means"]), max(mine["seed_means"]))
    assert mine["spread"] == "range of 3 seeds"
    plot = plot_aggregates(table)
    (circles,) = plot.select({"name": "seeds"})
    assert list(circles.data_source.data["x"]) == list(mine["seed_means"])
    (whisker,) = plot.select({"type": Whisker})
    assert len(whisker.source.data["system"]) == 0  # a bar is an interval
    page = Page("scores")
    add_scores(page, scores(rows))
    assert "whose range is no confidence interval" in page.to_html()


def test_every_system_has_its_budget_in_its_name() -> None:
    rows = scores([("Amidar", "a", 300.0), ("Amidar", "a", 400.0), ("Zaxxon", "b", 1.0)])
    rows = rows.assign(frames=[1_000_000, 2_500_000, 1_000_000_000])
    names = ["a, 1M to 2.5M frames", "b, 1B frames"]
    assert score_table(rows).columns.tolist() == [*names, *SOURCED.values()]
    assert aggregates(rows)["system"].tolist() == [*names, *SOURCED.values()]
    assert plot_aggregates(aggregates(rows)).y_range.factors[::-1] == [*names, *SOURCED.values()]
    texts = [text for data in sources(plot_table(rows), "text") for text in data["text"]]
    assert {"a\n1M to 2.5M frames", "ES\n1B frames"} <= set(texts)
    steps = scores([("CartPole-v1", "a", 1.0)]).assign(steps=1_590_000)
    assert score_table(steps).columns.tolist() == ["a, 1.59M steps"]
    for name in (*SOURCED.values(), *RECALLED.values()):
        assert re.search(r", \d+[MB] frames\b", name)


def test_the_command_writes_tables_and_pages(study: Path, tmp_path: Path) -> None:
    assert main([str(study), "--out", str(tmp_path / "scores.csv")]) == 0
    table = pd.read_csv(tmp_path / "scores.csv")
    wide = table.pivot_table(index="game", columns="system", values="score", sort=False)
    expected = score_table(final_scores(load_study([study])))
    pd.testing.assert_frame_equal(wide, expected, check_names=False, check_dtype=False, rtol=5.1e-4)
    assert main([str(study), "--out", str(tmp_path / "scores.html"), "--normalised", "random_search_1B"]) == 0
    assert "1 is random search, 1B frames, recalled" in (tmp_path / "scores.html").read_text()
    assert main([str(study), "--out", str(tmp_path / "scores.csv"), "--recalled"]) == 0
    again = pd.read_csv(tmp_path / "scores.csv")
    assert set(RECALLED.values()) == set(again.loc[again["source"] == "published, recalled", "system"])
    assert not set(RECALLED.values()) & set(table["system"])
    assert main([str(study), "--out", str(tmp_path / "scores.tex")]) == 0
    rows = body((tmp_path / "scores.tex").read_text())
    assert [row[0] for row in rows[-2:]] == ["Frostbite", "Kangaroo"]
    assert not any("recalled" in cell for row in rows for cell in row)
