"""Published results: complete, and as their files say."""

from __future__ import annotations

from importlib import resources

import pytest

from gadask.analysis.published import RECALLED, SOURCED, ga_dist_curves, published_scores, published_systems


def test_the_curves_are_ga_dists_thirteen_games() -> None:
    curves = ga_dist_curves()
    assert curves["game"].nunique() == 13
    assert (curves["lower"] <= curves["median"]).all()
    assert (curves["median"] <= curves["upper"]).all()
    for game, own in curves.groupby("game"):
        # In a seed of these generation 0 takes more than 10 million frames.
        first = 20 if game in ("Skiing", "Venture", "Seaquest") else 10
        assert own["frames"].tolist() == [1_000_000 * million for million in range(first, 1001, 10)]
    ends = curves.groupby("game")["median"].last()
    assert ends["Zaxxon"] == 7033.3
    assert ends["Skiing"] > -8000


@pytest.mark.parametrize(
    ("million", "median", "lower", "upper"),
    [(10, 1248.3, 763.3, 2443.3), (20, 2050.0, 1708.7, 2680.0), (30, 2575.3, 2327.3, 3054.0)],
)
def test_a_score_stands_at_the_frames_that_its_generation_crosses(
    million: int, median: float, lower: float, upper: float
) -> None:
    frostbite = ga_dist_curves().query("game == 'Frostbite'").set_index("frames")
    assert frostbite.loc[1_000_000 * million, ["median", "lower", "upper"]].tolist() == [median, lower, upper]


def test_there_are_scores_for_the_same_games() -> None:
    scores = published_scores()
    assert set(scores.index) == set(ga_dist_curves()["game"])
    assert set(scores.columns) == {*SOURCED, *RECALLED, "random_agent", "human"}
    assert scores.notna().all(axis=None)
    assert (scores["human"] > scores["random_agent"]).all()
    assert (scores["random_search_1B"] > scores["random_agent"]).all()
    assert scores.loc["Frostbite", "ga_1B"] == 4536


def test_each_file_begins_with_where_it_comes_from() -> None:
    folder = resources.files("gadask.analysis") / "data"
    for name, source in (("ga_dist_2018_curves.csv", "ga-dist (2018)"), ("published_scores.csv", "1712.06567")):
        head = (folder / name).read_text().partition("\ngame,")[0]
        assert all(line.startswith("#") for line in head.splitlines())
        assert source in head
    about = {line.partition(":")[0]: line for line in head.replace("# ", "").splitlines() if ": " in line}
    (recalled,) = (text for columns, text in about.items() if columns.split(", ") == list(RECALLED))
    assert "Recalled" in recalled
    assert "arXiv 1703.03864" in about["es_1B"]
    assert "human starts" in about["a3c_1B"]
    assert "no-op starts" in about["dqn_200M"]


def test_a_systems_name_says_what_it_is_and_recalled_ones_come_only_if_asked_for() -> None:
    assert published_systems() == SOURCED
    assert list(published_systems(recalled=True)) == [*RECALLED, *SOURCED]
    assert all("recalled" in name for name in RECALLED.values())
    assert not any("recalled" in name for name in SOURCED.values())
    assert "human starts" in SOURCED["a3c_1B"]
    assert "no-op starts" in SOURCED["dqn_200M"]
