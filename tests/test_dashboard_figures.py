"""What the dashboard's table and figures show, of many runs too."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from gadask.config import Config
from gadask.dashboard import events, shown
from gadask.dashboard.figures import Fitness, Nodes, ProcessTime
from gadask.dashboard.history import History, RunHistory
from gadask.dashboard.positions import Positions
from gadask.dashboard.standing import Standing
from tests.reported import close, line, report, start, taken


def names(runs: list[RunHistory]) -> str:
    return " ".join(run.name.removeprefix("frostbite-") for run in runs)


def test_runs_that_go_on_come_first_and_then_the_last_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    history = taken(*(start(f"{i}") for i in range(12)), events.end_event("7", ""), events.end_event("2", ""))
    assert names(shown.ranked(history)) == "0 1 3 4 5 6 8 9 10 11 2 7"
    history.runs["1"].heard_at_s -= 61
    assert names(shown.ranked(history)) == "0 3 4 5 6 8 9 10 11 1 2 7"
    assert shown.left_out(shown.ranked(history)[8:]) == "2 going on, 2 ended"
    assert shown.left_out([]) == ""


def test_runs_that_are_shown_have_colours_of_their_own_and_keep_them() -> None:
    history = taken(*(start(f"{i}") for i in range(8)))
    before = {run.name: colour for run, colour in shown.coloured(shown.ranked(history))}
    assert sorted(before.values()) == sorted(shown.COLOURS)
    for message in (events.end_event("5", ""), events.end_event("0", "no node"), start("8")):
        history.log_event(events.TOPIC, message)
    after = {run.name: colour for run, colour in shown.coloured(shown.ranked(history))}
    assert sorted(after.values()) == sorted(shown.COLOURS)
    assert after.keys() - before.keys() == {"frostbite-8"}
    assert all(after[name] == before[name] for name in after.keys() & before.keys())


def test_the_table_has_every_run_that_goes_on_and_says_what_is_left_out() -> None:
    history = taken(*(start(f"old{i}") for i in range(30)), *(start(f"new{i}") for i in range(9)))
    table = Standing(history)
    table.update()
    assert table.root.text.count("<tr>") == 1 + 39
    assert "left out" not in table.root.text
    for i in range(30):
        history.log_event(events.TOPIC, events.end_event(f"old{i}", ""))
    table.update()
    found = re.findall(r"frostbite-(\w+)", table.root.text)
    assert found == [*(f"new{i}" for i in range(9)), *(f"old{i}" for i in range(29, 26, -1))]
    assert "runs left out: 27 ended" in table.root.text


def test_a_plot_says_how_many_runs_it_leaves_out() -> None:
    history = taken(*(start(f"{i}", 2) for i in range(9)), events.end_event("0", ""))
    plot = Fitness(history)
    plot.update()
    note = plot.root.above[0]
    assert (note.text, note.visible) == ("solid: elite, dashed: median child\nruns left out: 1 ended", True)
    assert set(plot._lines.data["run"]) == {f"frostbite-{i}" for i in range(1, 9)}
    for run in range(8):
        del history.runs[f"{run}"]
    plot.update()
    assert not note.visible
    assert plot._lines.data["run"] == ["elite", "best child", "median child"]


def test_the_table_says_how_long_a_run_takes_where_that_is_known() -> None:
    for left_s, text in ((225.0, ">3:45<"), (1355 * 3600.0, ">56 d 11 h<"), (None, "><")):
        table = Standing(taken(start(), {**report(3), "time_left_s": left_s}))
        table.update()
        assert table.root.text.endswith(f"{text}/td></tr></table>")


def test_a_run_that_says_nothing_turns_silent() -> None:
    history = taken(start(), report(3))
    table = Standing(history)
    table.update()
    assert ">silent<" not in table.root.text
    history.runs["a"].heard_at_s -= 61  # no event tells of it
    table.update()
    assert ">silent<" in table.root.text


def test_lines_of_nodes_are_steps_and_drop_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    reports = [(5000, 3), (3000, 2), (2000, 2), (1000, 4), (10, 0)]
    history = taken(start(), *({**report(0, nodes=nodes), "time_s": now_s - ago_s} for ago_s, nodes in reports))
    plot = Nodes(history)
    plot.update()
    (xs,), (ys,) = plot._lines.data["xs"], plot._lines.data["ys"]
    assert ys == [3, 3, 2, 2, 4, 4, 0, 0]
    assert np.array(xs) / 1000 - now_s == pytest.approx([-3600, -3000, -3000, -1000, -1000, -10, -10, -10], abs=5)
    history.log_event(events.TOPIC, {**report(0, nodes=0), "time_s": now_s})
    plot.update()
    assert plot._lines.data["xs"][0][-1] == 1000 * now_s


def test_runs_that_share_a_node_are_stacked() -> None:
    """What one run leaves of a node is mostly what others play, and no idle time."""
    history = taken(
        start("ended"), start("a"), start("b"), close(0, "ended"), events.end_event("ended", ""),
        close(0, "a", busy_s=30.0, discarded_s=6.0), close(0, "b", busy_s=18.0, discarded_s=0.0),
    )  # fmt: skip
    plot = ProcessTime(history)
    plot.update()
    bars = plot._bars.data
    parts = list(zip(bars["part"], bars["run"], bars["left"], bars["right"], strict=True))
    assert [part[:2] for part in parts] == [
        ("busy", "frostbite-a"), ("busy", "frostbite-b"), ("discarded", "frostbite-a"), ("discarded", "frostbite-b"),
        ("idle or other", ""),
    ]  # fmt: skip
    assert [left for *_, left, _ in parts] == pytest.approx([0, 50, 80, 90, 90])
    assert [right for *_, right in parts] == pytest.approx([50, 80, 90, 90, 100])
    for run in ("a", "b"):
        history.log_event(events.TOPIC, events.end_event(run, ""))
    plot.update()
    assert set(plot._bars.data["run"]) == {"frostbite-b", ""}  # nothing is played: the last one that was


def maze(run: str = "a") -> events.Event:
    return {**start(run), "env": "gadask/HardMaze-v0"}


def places(history: History) -> tuple[Positions, dict[str, list[object]], dict[str, list[object]]]:
    """Return the figure, hidden at first, with earlier places and the newest ones."""
    plot = Positions(history, visible=False)
    plot.update()
    return plot, plot._earlier.data, plot._newest.data


def test_places_of_the_chosen_ones_are_drawn_and_earlier_ones_fainter() -> None:
    history = taken(maze(), *(close(number, behaviour=(number, 7.0)) for number in range(60)))
    plot, earlier, newest = places(history)
    assert plot.root.visible
    assert list(zip(newest["x"], newest["y"], newest["marker"], newest["label"], strict=True)) == [
        (59, 7.0, "circle", "next parents"), (59, 7.0, "diamond", "candidates"),
    ]  # fmt: skip
    assert earlier["x"] == [number for number in range(58, 19, -1) for _ in range(2)]  # the last 40
    alphas = np.array([*newest["alpha"], *earlier["alpha"]])
    assert (np.diff(alphas) <= 0).all()
    assert 0 < alphas[-1] < alphas[2] < alphas[0]
    history.log_event(events.TOPIC, close(60, behaviour=(60, 7.0)))
    plot.update()
    assert set(plot._newest.data["x"]) == {60}


@pytest.mark.parametrize("behaviour", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_behaviours_of_other_lengths_are_no_places_and_the_plot_stays_hidden(behaviour: tuple[float, ...]) -> None:
    plot, earlier, newest = places(taken(maze(), close(0, behaviour=behaviour), close(1, behaviour=behaviour)))
    assert not plot.root.visible
    assert not earlier["x"]
    assert not newest["x"]
    assert not plot._walls.data["x0"]


def test_runs_of_one_environment_share_the_plot_and_a_maze_has_walls() -> None:
    swimmer = {**start("c"), "env": "Swimmer-v5"}
    closed = [close(0, run, behaviour=(1.0, 2.0)) for run in "abc"]
    plot, _, newest = places(history := taken(maze("a"), maze("b"), swimmer, *closed))
    assert set(newest["label"]) == {"frostbite-a", "frostbite-b"}
    assert len(plot._walls.data["x0"]) == 13
    assert plot.root.y_range.flipped
    del history.runs["a"], history.runs["b"]
    plot.update()
    assert plot._newest.data["label"] == ["next parents", "candidates"]
    assert not plot._walls.data["x0"]
    assert not plot.root.y_range.flipped


def test_a_resumed_run_reports_the_places_of_its_last_generations() -> None:
    lines = [{**line(i), "next_parents_behaviour": [[float(i), 0.0]]} for i in range(100)]
    history = taken(events.run_event("a", Path("run"), Config(), lines))
    assert [entry["parents"] for entry in history.runs["a"].places] == [[[float(i), 0.0]] for i in range(60, 100)]
