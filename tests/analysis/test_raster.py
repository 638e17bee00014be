"""What every rollout process did when."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bokeh.models import LinearAxis, Span

from gadask.analysis import length_bias, raster
from gadask.analysis.raster import EPISODE_COLUMNS, bars, describe, last_generations, main, plot_raster
from gadask.record.frames import episode_frame, generation_frame


def episodes(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Return episodes by (node, process, start, seconds, generation) and what differs from an ordinary child."""
    base = {"slot": 0, "episode": 0, "steps": 9, "return": 1.0, "kind": "child", "status": "ok", "counted": True}
    table = [
        base
        | dict(zip(("node", "process", "start_s", "seconds", "recorded_in"), row, strict=False))
        | (row[5:] or ({},))[0]
        for row in rows
    ]
    frame = pd.DataFrame(table)
    return frame.assign(start_s=frame["start_s"] + 1.8e9, generation=frame["recorded_in"])


def test_a_bar_stands_where_its_episode_was_played() -> None:
    table, pauses = bars(
        episodes(
            [
                ("b", 1, 3.0, 2.0, 0, {"kind": "evaluation"}),
                ("b", 0, 0.0, 3.0, 0),
                ("a", 0, 1.0, 1.5, 0),
                ("a", 0, 2.5, 4.0, 1, {"counted": False}),
                ("b", 0, 5.0, 1.0, 1, {"status": "timeout"}),
                ("b", 0, 6.0, 1.0, 1, {"status": "stopped", "counted": False}),
            ]
        )
    )
    assert not pauses
    assert table["left"].tolist() == pytest.approx([0, 1, 2.5, 3, 5, 6])
    assert (table["right"] - table["left"]).tolist() == pytest.approx([3, 1.5, 4, 2, 1, 1])
    assert table["what"].tolist() == ["child", "child", "late", "evaluation", "failed", "late"]
    assert table.groupby(["node", "process"])["line"].nunique().tolist() == [1, 1, 1]
    assert table["line"].nunique() == 3
    assert sorted(table.loc[table["node"] == "b", "line"].unique()) == [0, 1]  # a node's processes stand together
    assert table.loc[table["line"] == 0, "turn"].tolist() == [True, False, True]


def test_a_row_that_was_filled_has_no_bar() -> None:
    """It names the node, the process and the time of the episode it comes from, long ago and far away."""
    table, pauses = bars(episodes([("gone", 3, -5000.0, 0.0, 1), ("a", 0, 0.0, 2.0, 1), ("a", 0, 2.0, 1.0, 1)]))
    assert not pauses
    assert table["left"].tolist() == pytest.approx([0, 2])
    assert table["line"].nunique() == 1


def test_pauses_of_all_processes_are_cut_out_and_short_ones_are_not() -> None:
    table, pauses = bars(
        episodes([("a", 1, 0.0, 200.0, 0), ("a", 0, 0.0, 10.0, 0), ("a", 0, 230.0, 5.0, 1), ("a", 0, 1235.0, 5.0, 2)])
    )
    assert table["left"].tolist() == pytest.approx([0, 0, 230, 235])
    ((at, length),) = pauses
    assert at == pytest.approx(235)
    assert length == pytest.approx(1000)


def test_a_node_that_comes_after_another_had_gone_takes_its_place() -> None:
    rows = [
        ("a", 0, 0.0, 9.0, 0),
        ("a", 1, 0.0, 9.0, 0),
        ("b", 0, 0.0, 30.0, 0),
        ("c", 1, 10.0, 9.0, 1),
        ("d", 0, 12.0, 1.0, 1),
    ]
    table, _ = bars(episodes(rows))
    places = dict(zip(table["node"], table["place"], strict=True))
    assert places == {"a": 0, "b": 1, "c": 0, "d": 2}
    for _, own in table.sort_values("left").groupby("line"):
        assert (own["left"].to_numpy()[1:] >= own["right"].to_numpy()[:-1]).all()


def test_bars_of_a_run_never_overlap(synthetic: Path, recorded: dict[str, Path]) -> None:
    table, _ = bars(episode_frame(synthetic, columns=EPISODE_COLUMNS))
    assert table["line"].nunique() == 8
    for _, own in table.groupby("line"):
        own = own.sort_values("left")
        assert (own["left"].to_numpy()[1:] >= own["right"].to_numpy()[:-1] - 1e-6).all()


def test_the_last_generations_that_fit_are_chosen() -> None:
    generations = pd.DataFrame({"generation": [0, 1, 2, 3], "episodes": [10, 30, 35, 40]})
    assert last_generations(generations, 100) == [0, 1, 2, 3]
    assert last_generations(generations, 30) == [1, 2, 3]
    assert last_generations(generations, 29) == [2, 3]
    assert last_generations(generations, 1) == [3]


def test_borders_and_names_of_generations_are_drawn(synthetic: Path) -> None:
    plot = plot_raster(episode_frame(synthetic, [3, 4, 5], EPISODE_COLUMNS), describe([3, 4, 5], range(25)))
    table, _ = bars(episode_frame(synthetic, [3, 4, 5], EPISODE_COLUMNS))
    unit_s = 60 if table["right"].max() >= 180 else 1
    borders = sorted(span.location for span in plot.select({"type": Span}))
    assert borders == pytest.approx((table.groupby("recorded_in")["right"].max() / unit_s).tolist())
    above = next(axis for axis in plot.above if isinstance(axis, LinearAxis))
    assert list(above.major_label_overrides.values()) == ["3", "4", "5"]
    assert describe([3, 4, 5], range(25)) == "generations 3 to 5 of 0 to 24"
    assert describe([2], range(3)) == "generation 2 of 0 to 2"
    assert describe([0, 1], [0, 1]) == ""


@pytest.mark.parametrize(("seconds", "unit"), [(100.0, "s"), (1000.0, "min"), (20_000.0, "h")])
def test_time_has_a_unit_that_suits_it(seconds: float, unit: str) -> None:
    plot = plot_raster(episodes([("a", 0, 0.0, seconds, 0)]))
    assert plot.xaxis[-1].axis_label == f"time since the first episode drawn [{unit}]"


def test_many_processes_are_labelled_by_node() -> None:
    rows = [(node, process, 0.0, 1.0, 0) for node in "ab" for process in range(31)]
    plot = plot_raster(episodes(rows))
    assert plot.yaxis.major_label_overrides == {0: "node 0", 31: "node 1"}
    few = plot_raster(episodes(rows[:2]))
    assert few.yaxis.major_label_overrides == {0: "node 0 · 0", 1: "node 0 · 1"}


def test_a_range_of_generations_can_be_chosen(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[set[int]] = []

    def spy(table: pd.DataFrame, note: str) -> object:
        drawn.append(set(table["recorded_in"]))
        return plot_raster(table, note)

    monkeypatch.setattr(raster, "plot_raster", spy)
    path = str(tmp_path / "raster.html")
    assert main([str(synthetic), "--out", path, "--generations", "3:8"]) == 0
    assert main([str(synthetic), "--out", path]) == 0
    assert drawn[0] == {3, 4, 5, 6, 7, 8}
    assert drawn[1] == set(generation_frame(synthetic)["generation"])
    for text in ("8", "30:40", "a:b", "8:3"):
        assert main([str(synthetic), "--out", path, "--generations", text]) == 2
        assert f"expected a range such as 3:8 within 0:24, found '{text}'" in capsys.readouterr().err


def test_a_run_without_episodes_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "episodes")
    for command in (raster, length_bias):
        assert command.main([str(run)]) == 1
        expected = f"error: {run}: expected the episodes of its generations in episodes/, found none\n"
        assert capsys.readouterr().err == expected


def test_seconds_of_the_rows_are_kept(synthetic: Path) -> None:
    whole = episode_frame(synthetic, columns=EPISODE_COLUMNS)
    table, _ = bars(whole)
    assert np.isclose((table["right"] - table["left"]).sum(), whole["seconds"].sum(), rtol=1e-4)
