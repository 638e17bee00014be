"""Rows of scores: each says how well it is known, of how much, in which unit and after how many frames."""

from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import pytest

from gadask.analysis.score_rows import csv_text, explanation, latex_text, score_rows
from tests.analysis.test_latex import body


def final(values: list[float], game: str = "Frostbite", **columns: Any) -> pd.DataFrame:
    """What `scores.final_scores` returns of one system's seeds."""
    table = pd.DataFrame({"score": values}).assign(
        run=[f"s{seed}" for seed in range(len(values))], game=game, system="gadask", seed=range(len(values)),
        frames=1_234_567, steps=308_642, error=math.nan, episodes=30, is_test=True, measure="return",
    )  # fmt: skip
    return table.assign(**columns)


def test_one_seed_has_the_standard_error_of_its_episodes() -> None:
    row = score_rows(final([1234.5], error=53.7))[0]
    assert (row.text, row.spread, row.seeds, row.episodes) == ("1,234 ± 54", "standard error over episodes", 1, "30")
    assert (row.statistic, row.unit, row.frames) == ("mean return", "return", "1.23M frames")
    exact = score_rows(final([1234.5]))[0]
    assert (exact.text, exact.spread) == ("1,234", "")


@pytest.mark.parametrize(
    ("n", "text", "spread"),
    [(3, "200 (100 to 300)", "range of 3 seeds"), (12, "650 (300 to 1,000)", "95 % interval, 12 seeds")],
)
def test_several_seeds_have_a_range_or_an_interval(n: int, text: str, spread: str) -> None:
    row = score_rows(final([100.0 * (1 + seed) for seed in range(n)], error=5.0))[0]
    assert (row.text, row.spread, row.seeds) == (text, spread, n)
    assert row.statistic == "median over seeds of the mean return"
    assert math.isnan(row.error)


def test_the_csv_has_the_digits_that_are_known_and_says_what_they_are_of() -> None:
    scores = final([0.123456789, 0.5, 0.98765], game="mine-v0", measure="fitness", is_test=[True, True, False])
    (row,) = pd.read_csv(io.StringIO(csv_text(score_rows(scores))), dtype=str).fillna("").to_dict("records")
    assert row == {
        "game": "mine-v0", "system": "gadask, 1.23M frames", "score": "0.5",
        "statistic": "median over seeds of the mean fitness", "error": "", "low": "0.1235", "high": "0.9877",
        "spread": "range of 3 seeds", "seeds": "3", "episodes": "30", "unit": "fitness", "frames": "1.23M frames",
        "source": "episodes that crowned it and elite test",
    }  # fmt: skip


def test_published_systems_have_their_budget_and_no_seeds() -> None:
    for recalled in (False, True):
        table = pd.read_csv(io.StringIO(csv_text(score_rows(final([1.0]), recalled))))
        theirs = table.iloc[1:]
        assert set(theirs["frames"]) == {"1B frames", "200M frames"} | ({"6B frames"} if recalled else set())
        assert theirs[["seeds", "episodes", "low", "high", "error", "spread"]].isna().all(axis=None)
        assert (theirs["source"] == "published, recalled").any() == recalled


def test_a_table_for_a_paper_has_one_line_a_game() -> None:
    scores = pd.concat([final([1.0, 2.0, 4.0]), final([-5.5], game="my_game-v0", is_test=False)])
    rows = score_rows(scores)
    lines = body(latex_text(rows))
    assert [line[1] for line in lines] == ["", "gadask", "1.23M frames", "2 (1 to 4)", "$-$5.5*"]
    assert [line[0] for line in lines[-2:]] == ["Frostbite", "my\\_game-v0"]
    assert lines[-1][2:] == ["--"] * 3
    said = explanation(rows)
    assert said.startswith("Median over seeds (1 to 3 a game and system) of the elite's mean return in its test of 30 ")
    assert "the range of the seeds, from lowest to highest, which is no confidence interval" in said
    assert "*: in the episodes that crowned it" in said
    assert "95 %" not in said
    assert "±" not in said
