"""Published results: complete, and as their files say."""

from __future__ import annotations

from importlib import resources

from analysis.published import SYSTEMS, ga_dist_curves, published_scores


def test_the_curves_are_ga_dists_thirteen_games() -> None:
    curves = ga_dist_curves()
    assert curves["game"].nunique() == 13
    assert curves["frames"].between(0, 1_000_000_000).all()
    assert (curves["frames"] % 10_000_000 == 0).all()
    for _, own in curves.groupby("game"):
        assert own["frames"].is_monotonic_increasing
        assert own["frames"].is_unique
    ends = curves.groupby("game")["score"].last()
    assert ends["Zaxxon"] == 7033.0
    assert ends["Skiing"] > -8000


def test_there_are_scores_for_the_same_games() -> None:
    scores = published_scores()
    assert set(scores.index) == set(ga_dist_curves()["game"])
    assert set(scores.columns) == {*SYSTEMS, "random_agent", "human"}
    assert scores.notna().all(axis=None)
    assert (scores["human"] > scores["random_agent"]).all()
    assert (scores["random_search_1B"] > scores["random_agent"]).all()
    assert scores.loc["Frostbite", "ga_1B"] == 4536


def test_each_file_begins_with_where_it_comes_from() -> None:
    folder = resources.files("analysis") / "data"
    for name, source in (("ga_dist_2018_curves.csv", "ga-dist (2018)"), ("published_scores.csv", "1712.06567")):
        head = (folder / name).read_text().partition("\ngame,")[0]
        assert all(line.startswith("#") for line in head.splitlines())
        assert source in head
    assert "recalled" in head
