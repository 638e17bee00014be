"""Learning curves of studies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bokeh.models import Span, Title
from hypothesis import given
from hypothesis import strategies as st

from gadask.analysis.curves import CROSSING, GA_DIST, elite_at, learning_curves, plot_curves
from gadask.analysis.intervals import median_spread, order_statistic
from gadask.analysis.published import ga_dist_curves
from gadask.analysis.runs import load_study, study_frame


def frame(runs: dict[str, list[tuple[int, float]]], game: str = "Frostbite", goal: bool = False) -> pd.DataFrame:
    """Return generations by run, as (frames, elite's mean) pairs."""
    rows = [(game, run, "gadask", *pair, goal) for run, pairs in runs.items() for pair in pairs]
    table = pd.DataFrame(rows, columns=["game", "run", "system", "frames", "elite_mean", "goal"])
    return table.assign(steps=table["frames"] // 4)


def test_the_median_is_taken_over_the_elites_that_the_runs_have_at_the_same_frames() -> None:
    runs = {"a": [(100, 1.0), (300, 5.0)], "b": [(120, 2.0), (200, 3.0), (310, 4.0)], "c": [(90, 0.0), (305, 9.0)]}
    curve = learning_curves(frame(runs))
    assert curve["frames"].tolist() == [90, 100, 120, 200, 300]  # to where the first run ends
    assert curve["median"].tolist() == [1.0, 2.0, 5.0, 5.0, 5.0]
    assert (curve["lower"] <= curve["median"]).all()
    assert (curve["median"] <= curve["upper"]).all()
    assert set(curve["seeds"]) == {3}


def test_a_run_that_reached_its_goal_keeps_its_elite() -> None:
    runs = {"a": [(100, 1.0), (200, 9.0)], "b": [(100, 2.0), (400, 9.0)]}
    curve = learning_curves(frame(runs, goal=True))
    assert curve["frames"].tolist() == [100, 200, 400]
    assert curve["median"].tolist() == [1.5, 9.0, 9.0]
    assert learning_curves(frame(runs))["frames"].tolist() == [100, 200]


def test_runs_of_one_generation_meet_at_the_first_of_them() -> None:
    curve = learning_curves(frame({"a": [(100, 1.0)], "b": [(120, 2.0)]}))
    assert curve["frames"].tolist() == [100]
    assert curve["median"].tolist() == [1.5]


def test_a_curve_begins_where_all_runs_have_an_elite() -> None:
    early, late = [(100, 1.0), (200, 3.0), (500, 5.0)], [(90, math.nan), (150, 2.0), (450, 4.0)]
    curve = learning_curves(frame({"a": early, "b": late}))
    assert curve["frames"].tolist() == [100, 150, 200, 450]
    assert curve["median"].tolist() == [1.5, 2.5, 3.5, 4.5]
    # One has come to 200 frames, the other has no elite until it closes the generation after 250.
    apart = frame({"a": early[:2], "b": [(250, math.nan), (450, 4.0)]})
    assert learning_curves(apart).empty
    assert _labels(plot_curves(apart)) == ["gadask: no elite yet at the same frames"]


def test_one_seed_has_no_band_and_no_elite_no_curve() -> None:
    curve = learning_curves(frame({"a": [(100, 1.0), (200, 2.0)]}))
    assert curve[["lower", "upper"]].isna().all(axis=None)
    assert learning_curves(frame({"a": [(100, math.nan)]})).empty


@pytest.mark.parametrize(
    ("measures", "label"), [(["return", "return"], "return"), (["fitness", "return"], "fitness or return")]
)
def test_the_axis_says_what_the_mean_is_of(measures: list[str], label: str) -> None:
    generations = frame({"a": [(100, 1.0)], "b": [(120, 2.0)]}, game="mine").assign(measure=measures)
    panel = plot_curves(generations).children[0].children[0][0]
    assert panel.yaxis[0].axis_label == f"elite's mean {label}"


def test_long_runs_are_thinned_evenly() -> None:
    generations = frame({"a": [(100 * i, float(i)) for i in range(1, 2001)]})
    curve = learning_curves(generations, n_points=50)
    assert len(curve) == 50
    assert curve["frames"].iloc[[0, -1]].tolist() == [100, 200_000]
    assert curve["median"].iloc[-1] == 2000


@given(
    st.dictionaries(st.integers(0, 50), st.floats(-9, 9), min_size=1, max_size=8), st.integers(-1, 60), st.booleans()
)
def test_the_elite_is_that_of_the_generation_that_crosses(means: dict[int, float], at: int, goal: bool) -> None:
    pairs = sorted(means.items())
    found = elite_at(frame({"a": pairs}, goal=goal), np.array([float(at)]))[0]
    crossing = [mean for frames, mean in pairs if frames >= at]
    if crossing:
        assert found == crossing[0]
    elif goal:
        assert found == pairs[-1][1]
    else:
        assert math.isnan(found)  # the run has not come so far


def test_a_generation_that_closes_at_t_crosses_t_and_one_without_an_elite_gives_none() -> None:
    run = frame({"a": [(9, math.nan), (10, 1.0), (20, 2.0)]})
    found = elite_at(run, np.array([9.0, 9.5, 10.0, 10.5, 20.0, 20.5]))
    np.testing.assert_array_equal(found, [math.nan, 1.0, 1.0, 2.0, 2.0, math.nan])


def test_steps_show_the_elite_at_all_frames_that_its_generation_crosses() -> None:
    runs = {"a": [(10, 1.0), (30, 2.0), (50, 7.0)], "b": [(20, 4.0), (40, 6.0), (60, 9.0)]}
    generations = frame({f"{name}{i}": [(at, mean + i) for at, mean in runs[name]] for name in runs for i in range(6)})
    panel = plot_curves(generations, overlays=False).children[0].children[0][0]
    by_kind = {renderer.glyph.__class__.__name__: renderer for renderer in panel.renderers}
    assert by_kind["Step"].glyph.mode == "before"
    dots = by_kind["Scatter"].data_source.data
    assert (list(dots["x"]), list(dots["y"])) == ([10, 50], [5.0, 10.5])
    band = by_kind["VArea"].data_source.data
    for at in (15, 25, 35, 45):
        values = np.array([elite_at(run, np.array([float(at)])) for _, run in generations.groupby("run")])
        lower, upper = median_spread(values)
        place = np.flatnonzero((band["x"][:-1] < at) & (at < band["x"][1:]))
        assert band["y1"][place] == band["y1"][place + 1] == lower
        assert band["y2"][place] == band["y2"][place + 1] == upper


def test_a_grid_has_a_panel_a_game_and_one_legend(study: Path) -> None:
    layout = plot_curves(study_frame(load_study([study])))
    panels = [entry[0] for entry in layout.children[0].children]
    assert [panel.title.text for panel in panels] == ["Frostbite", "Kangaroo"]
    labels = _labels(layout)
    assert labels[0] == "gadask: median and range of 3 seeds, each thin"
    assert GA_DIST not in labels  # the study ends before its curves begin
    assert len(labels) == len(set(labels))
    for panel in panels:
        assert panel.xaxis[0].axis_label == "emulator frames"
        assert panel.x_range.start == 0
        assert [len(_drawn(panel, name)) for name in ("VArea", "Step")] == [0, 4]  # seeds and their median
    titles = [title.text for title in panels[0].select({"type": Title})]
    assert any("ga-dist, 10M frames: 1,248 (763 to 2,443)" in title.replace("\n", " ") for title in titles)
    assert CROSSING not in _notes(layout)


def test_overlays_are_the_games_own_and_only_for_known_games() -> None:
    long = [(250_000_000 * i, 1000.0 * i) for i in range(1, 5)]
    both = pd.concat([frame({"a": long}), frame({"b": long}, game="Elsewhere-v0")])
    layout = plot_curves(both, recalled=True)
    elsewhere, frostbite = (entry[0] for entry in layout.children[0].children)
    band, median = (r.data_source.data for r in frostbite.renderers if len(r.data_source.data["x"]) > 50)
    own = ga_dist_curves().query("game == 'Frostbite'")
    assert GA_DIST in _labels(layout)
    assert CROSSING in _notes(layout)
    for drawn, name in ((median["y"], "median"), (band["y1"], "lower"), (band["y2"], "upper")):
        np.testing.assert_array_equal(drawn, own[name])
    np.testing.assert_array_equal(band["x"], own["frames"])
    assert {span.location for span in frostbite.select({"type": Span})} == {4536.0, 1164.0}
    assert "GA, 1B frames, recalled (Such et al.)" in _labels(layout)
    assert not list(plot_curves(both).select({"type": Span}))  # recalled scores come only if asked for
    assert not elsewhere.select({"type": Span})
    assert len(elsewhere.renderers) == 2  # its own line and the points at its ends
    without = plot_curves(frame({"a": long}), overlays=False)
    assert _labels(without) == ["gadask: 1 seed"]


@pytest.mark.parametrize(("end", "last"), [(25, 25), (10, 10), (1500, 1000)])
def test_ga_dists_curve_ends_with_the_study_or_before(end: int, last: int) -> None:
    layout = plot_curves(frame({"a": [(1_000_000, 700.0), (1_000_000 * end, 2000.0)]}))
    panel = layout.children[0].children[0][0]
    (band,) = (r.data_source.data for r in panel.renderers if r.glyph.__class__.__name__ == "VArea")
    assert band["x"][0] == 10_000_000
    assert band["x"][-1] == 1_000_000 * last
    own = ga_dist_curves().query("game == 'Frostbite'").set_index("frames")
    points = [r.data_source.data["x"] for r in panel.renderers if r.glyph.__class__.__name__ == "Scatter"][:-1]
    expected = {25: [[10_000_000, 20_000_000]], 10: [[10_000_000]], 1000: []}[last]
    assert [list(drawn) for drawn in points] == expected
    if last == 25:
        between = own.loc[[20_000_000, 30_000_000]].mean(numeric_only=True)
        assert band["y1"][-1] == pytest.approx(between["lower"])
        assert band["y2"][-1] == pytest.approx(between["upper"])
    assert panel.y_range.start < band["y1"].min()
    assert panel.y_range.end > band["y2"].max()


def test_a_published_score_far_away_is_named_and_not_drawn() -> None:
    layout = plot_curves(frame({"a": [(1_000_000, 100.0), (2_000_000, 200.0)]}, game="Kangaroo"), recalled=True)
    panel = layout.children[0].children[0][0]
    texts = [title.text for title in panel.select({"type": Title})]
    assert any("GA, 1B frames, recalled: 3,790 ↑" in text.replace("\n", " ") for text in texts)
    assert panel.y_range.end < 2000


def test_steps_are_called_steps() -> None:
    generations = frame({"a": [(100, 1.0), (200, 2.0)]}, game="CartPole-v1")
    layout = plot_curves(generations.assign(steps=generations["frames"]))
    assert layout.children[0].children[0][0].xaxis[0].axis_label == "environment steps"


@pytest.mark.parametrize(
    ("counts", "label"),
    [
        ((1, 1), "1 seed"), ((2, 2), "median and range of 2 seeds, each thin"),
        ((1, 5), "median and range of 1 to 5 seeds, each thin"), ((9, 9), "median and range of 9 seeds, each thin"),
        ((3, 12), "median of 3 to 12 seeds, each thin, or from 10 on shaded 95 % interval"),
        ((10, 10), "median of 10 seeds, shaded 95 % interval"),
    ],
)  # fmt: skip
def test_few_seeds_are_drawn_and_many_have_an_interval_and_the_legend_says_which(
    counts: tuple[int, int], label: str
) -> None:
    games = [
        frame({f"{i}": [(100, float(i)), (200, 2.0 * i)] for i in range(n)}, game=f"game {place}")
        for place, n in enumerate(counts)
    ]
    layout = plot_curves(pd.concat(games))
    assert _labels(layout) == [f"gadask: {label}"]
    for (panel, *_), n in zip(layout.children[0].children, counts, strict=True):
        n_lines, n_bands = len(_drawn(panel, "Step")) - 1, len(_drawn(panel, "VArea"))
        assert (n_lines, n_bands) == ((n if 1 < n < 10 else 0), int(n >= 10))
        for i, seed in enumerate(_drawn(panel, "Step")[:-1]):
            assert list(seed["y"]) == [float(i), 2.0 * i]
        assert panel.y_range.end > 2.0 * (n - 1 - (order_statistic(n) if n >= 10 else 0))


def _drawn(panel: Any, glyph: str) -> list[Any]:
    return [r.data_source.data for r in panel.renderers if r.glyph.__class__.__name__ == glyph]


def _labels(layout: Any) -> list[str]:
    return [item.label.value for item in layout.children[1].legend[0].items]


def _notes(layout: Any) -> list[str]:
    return [title.text.replace("\n", " ") for title in layout.children[1].select({"type": Title})]


@pytest.mark.parametrize("n_games", [1, 2, 3, 4, 5, 13])
def test_panels_fit_the_width(n_games: int) -> None:
    runs = pd.concat([frame({"a": [(100, 1.0), (200, 2.0)]}, game=f"game {i}") for i in range(n_games)])
    cells = plot_curves(runs, width=1000).children[0].children
    assert len(cells) == n_games
    for panel, row, column in cells:
        assert panel.width * (1 + max(c for _, r, c in cells if r == row)) <= 1000
        assert column < 4
