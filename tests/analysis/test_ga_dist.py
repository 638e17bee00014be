"""A study beside ga-dist's curves."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bokeh.models import Title
from rich.console import Console

from gadask.analysis.curves import GA_DIST, elite_at
from gadask.analysis.figures import CHILD
from gadask.analysis.ga_dist import comparable, compare, comparison_tables, main, plot_games
from gadask.analysis.published import ga_dist_curves
from gadask.analysis.runs import load_study, study_frame
from gadask.errors import UsageError

MILLION = 1_000_000
GAMES = sorted(ga_dist_curves()["game"].unique())


def generations(
    runs: dict[str, list[tuple[float, float]]],
    game: str = "Frostbite",
    system: str = "gadask",
    goal: bool = False,
    measure: str = "return",
) -> pd.DataFrame:
    """Return generations by run, as (million frames, elite's mean) pairs."""
    rows = [(game, system, run, int(MILLION * at), mean) for run, pairs in runs.items() for at, mean in pairs]
    table = pd.DataFrame(rows, columns=["game", "system", "run", "frames", "elite_mean"])
    return table.assign(steps=table["frames"] // 4, goal=goal, measure=measure)


@pytest.mark.parametrize(
    ("score", "standing"),
    [(763.2, "below"), (763.3, "inside"), (1000.0, "inside"), (2443.3, "inside"), (2443.4, "above")],
)
def test_a_score_is_below_inside_or_above_the_band(score: float, standing: str) -> None:
    (row,) = compare(generations({"a": [(9.3, 99.0), (12.0, score), (15.0, 99.0)]})).to_dict("records")
    assert (row["system"], row["game"], row["seeds"], row["frames"]) == ("gadask", "Frostbite", 1, 10 * MILLION)
    assert (row["score"], row["standing"]) == (score, standing)  # of the generation that crosses 10 million
    assert (row["median"], row["lower"], row["upper"]) == (1248.3, 763.3, 2443.3)


def test_the_median_is_taken_over_the_elites_that_all_seeds_have() -> None:
    runs = {"a": [(11.0, 800.0), (21.0, 1900.0)], "b": [(19.0, 900.0), (22.0, 2100.0)], "c": [(25.0, 1000.0)]}
    both = compare(generations(runs))
    assert both["frames"].tolist() == [10 * MILLION, 20 * MILLION]
    assert both["score"].tolist() == [900.0, 1900.0]
    assert set(both["reached"]) == {21 * MILLION}
    late = compare(generations(runs | {"d": [(12.0, 850.0)]}))
    assert late["score"].iloc[0] == 875.0
    assert math.isnan(late["score"].iloc[1])  # one of the seeds has not come so far
    assert late["standing"].tolist() == ["inside", ""]
    assert set(late["reached"]) == {12 * MILLION}
    done = compare(generations(runs | {"d": [(12.0, 850.0)]}, goal=True))
    assert done["score"].tolist() == [875.0, 1450.0]  # whose elite was good enough
    assert set(done["reached"]) == {25 * MILLION}


def test_an_elite_that_is_not_there_yet_has_no_standing() -> None:
    table = compare(generations({"a": [(12.0, math.nan), (22.0, 2000.0)]}))
    assert table["score"].isna().tolist() == [True, False]
    assert table["standing"].tolist() == ["", "inside"]


def test_where_ga_dist_has_no_value_nothing_stands_beside_it() -> None:
    table = compare(generations({"a": [(12.0, -8000.0), (22.0, -8000.0)]}, game="Skiing"))
    assert table["score"].tolist() == [-8000.0, -8000.0]
    assert table["median"].isna().tolist() == [True, False]
    assert table["standing"].tolist() == ["", "above"]


@pytest.mark.parametrize(
    ("end", "expected"),
    [(9, [10]), (20, [10, 20]), (39, [10, 20, 30]), (99, [10, 20, 30, 40, 50]), (250, [10, 20, 30, 40, 50, 100, 200])],
)
def test_it_is_read_as_far_as_a_run_has_come(end: int, expected: list[int]) -> None:
    study = pd.concat([generations({"a": [(5.0, 1.0)]}), generations({"b": [(float(end), 1.0)]}, game="Zaxxon")])
    table = compare(study)
    for game in ("Frostbite", "Zaxxon"):
        assert (table[table["game"] == game]["frames"] // MILLION).tolist() == expected


def test_it_is_read_where_asked() -> None:
    study = generations({"a": [(5.0, 1.0)]})
    assert compare(study, (1000, 70, 70))["frames"].tolist() == [70 * MILLION, 1000 * MILLION]
    for wrong in (0, 15, 1010, -10):
        with pytest.raises(UsageError, match=f"--million-frames: expected multiples of 10 .* found {wrong}"):
            compare(study, (10, wrong))


def test_only_runs_by_return_of_its_games_are_compared() -> None:
    known = generations({"a": [(5.0, 1.0)]})
    others = [
        generations({"b": [(5.0, 1.0)]}, game="CartPole-v1"),
        generations({"c": [(5.0, 1.0)]}, measure="fitness"),
    ]
    assert comparable(pd.concat([known, *others]))["run"].tolist() == ["a"]
    with pytest.raises(UsageError, match=r"Frostbite, .*; found none, but CartPole-v1, Frostbite"):
        comparable(pd.concat(others))


def test_the_table_has_80_columns_and_ends_with_the_share_of_games() -> None:
    study = pd.concat([generations({"a": [(9.0, 1.0), (15.0, 1.0)]}, game=game) for game in GAMES])
    bands = ga_dist_curves().query("frames == 10_000_000").set_index("game")
    for game, edge in (("Amidar", "lower"), ("Assault", "median"), ("Zaxxon", "upper")):
        study.loc[study["game"] == game, "elite_mean"] = bands.loc[game, edge] + (game == "Zaxxon")
    lines = printed(compare(study, (10, 1000)))
    assert max(map(len, lines)) <= 80
    (frostbite,) = (line for line in lines if "Frostbite" in line)
    assert frostbite.split() == ["Frostbite", "1", "15M", "10M", "1", "1,248", "763", "to", "2,443", "below"]
    (seaquest,) = (line for line in lines if "Seaquest" in line)
    assert seaquest.split() == ["Seaquest", "1", "15M", "10M", "1", "–", "–"]
    standings = [line.split()[-1] for line in lines if line.startswith(("Amidar", "Assault", "Zaxxon"))]
    assert standings == ["inside", "inside", "above"]
    assert sum(line.split()[:1] == ["1000M"] for line in lines) == 13
    # Of Seaquest, Skiing and Venture ga-dist has no value there, and nothing has come to 1000 million frames.
    assert lines[-1] == "games inside or above the band: 10M 3 of 10 (30 %)"


def test_each_system_has_its_table_and_where_nothing_is_known_the_share_says_so() -> None:
    study = pd.concat([generations({"a": [(5.0, 1.0)]}), generations({"b": [(6.0, 1.0)]}, system="closing = first")])
    lines = printed(compare(study))
    titles = [line.strip() for line in lines if "beside ga-dist" in line]
    assert titles == ["closing = first beside ga-dist", "gadask beside ga-dist"]
    assert lines.count("games inside or above the band: none has come so far") == 2


def test_a_panel_has_ga_dists_band_and_each_run_and_their_median() -> None:
    runs = {"a": [(9.0, 500.0), (26.0, 1500.0)], "b": [(12.0, 700.0), (35.0, 2500.0)]}
    study = generations(runs)
    (panel,) = panels(plot_games(study))
    steps = [renderer for renderer in panel.renderers if kind(renderer) == "Step"]
    assert [step.glyph.line_width for step in steps] == [1, 1, 2]
    assert {step.glyph.mode for step in steps} == {"before"}
    assert {step.glyph.line_color for step in steps} == {CHILD}
    for step, pairs in zip(steps, runs.values(), strict=False):
        assert [*zip(step.data_source.data["x"], step.data_source.data["y"], strict=True)] == [
            (at * MILLION, mean) for at, mean in pairs
        ]
    drawn = steps[-1].data_source.data
    expected = [elite_at(run, drawn["x"]) for _, run in study.groupby("run")]
    np.testing.assert_array_equal(drawn["y"], np.median(expected, axis=0))
    assert drawn["x"].tolist() == [9 * MILLION, 12 * MILLION, 26 * MILLION]
    (band,) = (renderer.data_source.data for renderer in panel.renderers if kind(renderer) == "VArea")
    assert band["x"].tolist() == [10 * MILLION, 20 * MILLION, 30 * MILLION, 35 * MILLION]
    assert band["y1"][:3].tolist() == [763.3, 1708.7, 2327.3]
    assert panel.y_range.start < 500
    assert panel.y_range.end > band["y2"].max()


def test_a_grid_has_a_panel_for_each_game_in_four_columns_and_one_legend() -> None:
    study = pd.concat([generations({f"{game}": [(9.0, 1.0), (45.0, 2.0)]}, game=game) for game in GAMES])
    layout = plot_games(study, width=1000)
    cells = layout.children[0].children
    assert [panel.title.text for panel, _, _ in cells] == GAMES
    assert max(column for _, _, column in cells) == 3
    assert max(row for _, row, _ in cells) == 3
    assert all(panel.width == 250 for panel, _, _ in cells)
    labels = [item.label.value for item in layout.children[1].legend[0].items]
    assert labels == ["gadask: 1 seed", GA_DIST]
    (note,) = layout.children[1].select({"type": Title})
    assert "the elite of the generation that crosses t" in note.text.replace("\n", " ")


def test_a_study_that_ends_before_the_curve_begins_is_told_its_first_point() -> None:
    study = generations({"a": [(9.0, 1.0)], "b": [(5.0, math.nan)]}, game="Skiing")
    layout = plot_games(study)
    (panel,) = panels(layout)
    assert {kind(renderer) for renderer in panel.renderers} == {"Step", "Scatter"}
    text = next(title.text for title in panel.select({"type": Title}) if "out of range" in title.text)
    assert text.replace("\n", " ") == "out of range: ga-dist, 20M frames: -8,757 (-8,984 to -8,728)"
    assert GA_DIST not in [item.label.value for item in layout.children[1].legend[0].items]


def test_config_and_log_alone_are_read(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in study.iterdir():
        copy = tmp_path / "study" / path.name
        copy.mkdir(parents=True)
        shutil.copy(path / "config.toml", copy)
        lines = [json.loads(line) for line in (path / "generations.jsonl").read_text().splitlines()]
        for number, line in enumerate(lines, start=1):
            line["total"]["frames"] = 4 * MILLION * number
        (copy / "generations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "beside.html"
    assert main([str(tmp_path / "study"), "--out", str(out), "--table", "--million-frames", "10", "20"]) == 0
    printed = capsys.readouterr().out.splitlines()
    expected = compare(comparable(study_frame(load_study([tmp_path / "study"]))), (10, 20))
    # The third generation crosses 10 million frames, the fifth 20.
    means = [run.generations["elite_mean"] for run in load_study([study]) if run.game == "Kangaroo"]
    assert expected.query("game == 'Kangaroo'")["score"].tolist() == [
        np.median([mean[2] for mean in means]), np.median([mean[4] for mean in means])
    ]  # fmt: skip
    assert len([line for line in printed if "below" in line and "band" not in line]) == 4
    assert printed[-2] == "games inside or above the band: 10M 0 of 2 (0 %), 20M 0 of 2 (0 %)"
    assert printed[-1] == str(out)
    assert "Kangaroo" in out.read_text()


def test_what_cannot_be_compared_is_refused_in_one_line(
    run: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "beside.html")]
    for arguments, message in (
        ([str(run), *out], "found none, but gadask-tests/Swatch"),
        ([str(study), *out, "--million-frames", "15"], "expected multiples of 10"),
        ([str(study), "--out", "beside.pdf"], "expected a name that ends in"),
    ):
        assert main(arguments) == 2
        output = capsys.readouterr()
        assert message in output.err
        assert output.err.count("\n") == 1
        assert output.out == ""
    assert not (tmp_path / "beside.html").exists()


def printed(comparison: pd.DataFrame) -> list[str]:
    """Return the lines of the tables."""
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        for part in comparison_tables(comparison):
            console.print(part)
    return [line.rstrip() for line in capture.get().splitlines()]


def panels(layout: Any) -> list[Any]:
    return [entry[0] for entry in layout.children[0].children]


def kind(renderer: Any) -> str:
    name: str = renderer.glyph.__class__.__name__
    return name
