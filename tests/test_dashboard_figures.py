"""What the dashboard's table and figures show, of many runs too."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from gadask.config import Config
from gadask.dashboard import events, shown
from gadask.dashboard.curves import Fitness, Lengths, Speed
from gadask.dashboard.figures import Figure
from gadask.dashboard.history import History, RunHistory
from gadask.dashboard.nodes import Nodes, ProcessTime
from gadask.dashboard.positions import Positions
from gadask.dashboard.standing import Standing
from gadask.dashboard.tasks import Key, TaskPicker
from tests.reported import close, line, report, start, taken

Kind = TypeVar("Kind", bound=Figure)


def made(kind: type[Kind], history: History, **layout: Any) -> Kind:
    """Return a figure of a page that was opened now."""
    picker = TaskPicker(history)
    picker.update()
    figure = kind(history, picker, **layout)
    figure.update()
    return figure


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
    table = made(Standing, history)
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
    plot = made(Fitness, history)
    assert (plot._note.text, plot._note.visible) == ("runs left out: 1 ended", True)
    assert set(plot._lines.lines.data["run"]) == {f"frostbite-{i}" for i in range(1, 9)}
    assert [item.visible for item in plot._key] == [True, False, True]  # lines of best children would be too many
    for run in range(8):
        del history.runs[f"{run}"]
    plot.update()
    assert not plot._note.visible
    assert plot._lines.lines.data["dash"] == ["solid", "dotted", "dashed"]
    assert [item.visible for item in plot._key] == [True, True, True]


def test_the_table_says_how_long_a_run_takes_where_that_is_known() -> None:
    for left_s, text in ((225.0, ">3:45<"), (1355 * 3600.0, ">56 d 11 h<"), (None, "><")):
        table = made(Standing, taken(start(), {**report(3), "time_left_s": left_s}))
        assert re.search(rf"data-head='ETA '{text}/td></tr>", table.root.text)


def test_a_run_that_says_nothing_turns_silent() -> None:
    history = taken(start(), report(3))
    table = made(Standing, history)
    assert ">silent<" not in table.root.text
    history.runs["a"].heard_at_s -= 61  # no event tells of it
    table.update()
    assert ">silent<" in table.root.text


def test_lines_of_nodes_are_steps_and_drop_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    reports = [(5000, 3), (3000, 2), (2000, 2), (1000, 4), (10, 0)]
    history = taken(start(), *({**report(0, nodes=nodes), "time_s": now_s - ago_s} for ago_s, nodes in reports))
    monkeypatch.setattr(time, "time", lambda: now_s)
    plot = made(Nodes, history)
    (xs,), (ys,) = plot._lines.lines.data["xs"], plot._lines.lines.data["ys"]
    assert ys == [3, 3, 2, 2, 4, 4, 0, 0]
    assert 60 * np.array(xs) == pytest.approx([-3600, -3000, -3000, -1000, -1000, -10, -10, -10])
    assert not plot._lines.dots.data["x"]
    history.log_event(events.TOPIC, {**report(0, nodes=0), "time_s": now_s})
    plot.update()
    assert plot._lines.lines.data["xs"][0][-1] == 0


def test_runs_that_share_a_node_are_stacked() -> None:
    """What one run leaves of a node is mostly what others play, and no idle time."""
    history = taken(
        start("ended"), start("a"), start("b"), close(0, "ended"), events.end_event("ended", ""),
        close(0, "a", busy_s=30.0, discarded_s=6.0), close(0, "b", busy_s=18.0, discarded_s=0.0),
    )  # fmt: skip
    plot = made(ProcessTime, history)
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
    plot = made(Positions, history, visible=False)
    return plot, plot._earlier.data, plot._newest.data


def test_places_of_the_chosen_ones_are_drawn_and_earlier_ones_fainter() -> None:
    history = taken(maze(), *(close(number, behaviour=(number, 7.0)) for number in range(60)))
    plot, earlier, newest = places(history)
    assert plot.root.visible
    assert list(zip(newest["x"], newest["y"], newest["kind"], strict=True)) == [
        (59, 7.0, "parents"), (59, 7.0, "candidates"), (59, 7.0, "elite"),
    ]  # fmt: skip
    assert earlier["x"] == [number for number in range(58, 19, -1) for _ in range(2)]  # the last 40
    alphas = np.array([*newest["alpha"], *earlier["alpha"]])
    assert (np.diff(alphas) <= 0).all()
    assert 0 < alphas[-1] < alphas[3] < alphas[0]
    history.log_event(events.TOPIC, close(60, behaviour=(60, 7.0)))
    plot.update()
    assert set(plot._newest.data["x"]) == {60}


def test_the_archive_is_drawn_as_it_is_now_and_only_its_places() -> None:
    remembered = [(float(number), 1.0) for number in range(600)]
    history = taken(maze(), close(0, behaviour=(0, 7.0), archive=remembered))
    plot, *_ = places(history)
    assert plot._archive.data["x"] == [float(number) for number in range(100, 600)]  # the newest
    history.log_event(events.TOPIC, close(1, behaviour=(1, 7.0), archive=[(1.0, 2.0), (1.0, 2.0, 3.0)]))
    plot.update()
    assert list(zip(*plot._archive.data.values(), strict=True)) == [(1.0, 2.0, plot._newest.data["colour"][0])]


def test_a_resumed_run_reports_what_its_algorithm_remembers() -> None:
    history = taken(events.run_event("a", Path("run"), Config(), [line(0)], [(3.0, 4.0)]))
    assert history.runs["a"].archive == [[3.0, 4.0]]


@pytest.mark.parametrize("behaviour", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_behaviours_of_other_lengths_are_no_places_and_the_plot_stays_hidden(behaviour: tuple[float, ...]) -> None:
    plot, earlier, newest = places(taken(maze(), close(0, behaviour=behaviour), close(1, behaviour=behaviour)))
    assert not plot.root.visible
    assert not earlier["x"]
    assert not newest["x"]
    assert not plot._walls.data["x0"]


def test_a_maze_has_walls_and_another_task_is_drawn_without_them() -> None:
    swimmer = {**start("c"), "env": "Swimmer-v5"}
    closed = [close(0, run, behaviour=(1.0, 2.0)) for run in "abc"]
    plot, _, newest = places(taken(maze("a"), maze("b"), swimmer, start("d"), *closed))
    assert len(set(newest["colour"])) == 2
    assert len(plot._walls.data["x0"]) == 13
    assert plot.root.y_range.flipped
    plot._picker.root.value = "Swimmer-v5"
    plot.update()
    assert plot._newest.data["kind"] == ["parents", "candidates", "elite"]
    assert not plot._walls.data["x0"]
    assert not plot.root.y_range.flipped
    plot._picker.root.value = "ALE/Frostbite-v5"
    plot.update()
    assert not plot.root.visible


def test_an_elite_of_an_earlier_generation_that_was_no_candidate_has_no_place() -> None:
    closed = {**line(0), "elite": {"genome": "7", "mean": 1.0}}
    closed["candidates"][0]["behaviour"] = [1.0, 2.0]
    assert events.places_entry(closed) == {"parents": [], "candidates": [[1.0, 2.0]], "elite": []}
    assert events.places_entry({**closed, "elite": None})["elite"] == []


def test_a_resumed_run_reports_the_places_of_its_last_generations() -> None:
    lines = [{**line(i), "next_parents_behaviour": [[float(i), 0.0]]} for i in range(100)]
    history = taken(events.run_event("a", Path("run"), Config(), lines, ()))
    assert [entry["parents"] for entry in history.runs["a"].places] == [[[float(i), 0.0]] for i in range(60, 100)]


def cartpole(run: str) -> events.Event:
    config = Config()
    return events.run_event(
        run, Path(f"cartpole-{run}"), replace(config, env=replace(config.env, id="CartPole-v1")), [], ()
    )


def test_tasks_share_no_axis() -> None:
    history = taken(start("a", 3), cartpole("b"), cartpole("c"), *(close(number, "b") for number in range(30)))
    picker = TaskPicker(history)
    picker.update()
    assert picker.root.visible
    assert picker.root.options == [
        ("ALE/Frostbite-v5", "ALE/Frostbite-v5 (1 run)"),
        ("CartPole-v1", "CartPole-v1 (2 runs)"),
    ]
    figures: list[Any] = [Fitness(history, picker), Lengths(history, picker), Speed(history, picker)]
    for task, run, amount, rate in (
        ("ALE/Frostbite-v5", "frostbite-a", "frames of the emulator", "frames / s"),
        ("CartPole-v1", "cartpole-b", "steps", "steps / s"),
    ):
        picker.root.value = task
        for figure in figures:
            figure.update()
            lines = figure._lines.lines.data
            assert {name for name, xs in zip(lines["run"], lines["xs"], strict=True) if xs} == {run}
        fitness, lengths, speed = (figure.root for figure in figures)
        assert {fitness.xaxis.axis_label, lengths.xaxis.axis_label} == {amount}
        assert speed.yaxis.axis_label == rate


def test_a_page_stays_with_the_task_that_is_picked_until_that_is_gone() -> None:
    history = taken(start("a"), cartpole("b"))
    picker = TaskPicker(history)
    picker.update()
    history.log_event(events.TOPIC, events.end_event("a", ""))  # its run comes last from now on
    picker.update()
    assert (picker.root.value, picker.root.visible) == ("ALE/Frostbite-v5", True)
    del history.runs["a"]
    picker.update()
    assert (picker.root.value, picker.root.visible) == ("CartPole-v1", False)


def test_runs_are_named_beside_a_plot_that_stands_alone() -> None:
    history = taken(start("a"), cartpole("b"))
    picker = TaskPicker(history)
    picker.update()
    key = Key(picker)
    key.update()
    assert not key.root.visible
    history.log_event(events.TOPIC, start("<i>"))
    key.update()
    assert key.root.visible
    assert re.findall(r"frostbite-[^<]+", key.root.text) == ["frostbite-a", "frostbite-&lt;i&gt;"]


def test_the_first_generation_is_points_and_before_it_a_plot_says_why_it_is_empty() -> None:
    history = taken(start(), report(0))
    figures: list[Any] = [made(kind, history) for kind in (Fitness, Lengths, Speed, ProcessTime)]
    assert {(figure._note.text, figure._note.visible) for figure in figures} == {("no generation has closed yet", True)}
    history.log_event(events.TOPIC, close(0))
    for figure in figures:
        figure.update()
        assert not figure._note.visible
    fitness, lengths, speed, _ = figures
    assert sorted(fitness._lines.dots.data["y"]) == [3.0, 6.0, 100.0]
    assert sorted(lengths._lines.dots.data["y"]) == [600.0, 650.0]
    assert speed._lines.dots.data["x"] == [60.0]
    assert set(fitness._bands.data["width"]) == {8}
    for number in range(1, 40):
        history.log_event(events.TOPIC, close(number))
    fitness.update()
    assert not fitness._lines.dots.data["x"]
    assert set(fitness._bands.data["width"]) == {0}


def cells(history: History, run: str) -> dict[str, str]:
    """Return a run's row of the table as text by column."""
    text = made(Standing, history).root.text
    heads = re.findall(r"<th>(.*?)</th>", text)
    (row,) = (row for row in re.findall(r"<tr>(<td.*?)</tr>", text) if run in row)
    found = re.findall(r"<td[^>]*>(.*?)</td>", row)
    return {head: re.sub(r"<.*?>", "", cell).strip() for head, cell in zip(heads, found, strict=True)}


def test_a_run_that_reached_its_budget_used_all_of_it() -> None:
    history = taken(start(), close(0), {**report(1), "budget_share": 0.97})
    assert cells(history, "frostbite-a")["budget"] == "97%"
    history.log_event(events.TOPIC, events.end_event("a", ""))
    row = cells(history, "frostbite-a")
    assert (row["generation"], row["budget"], row["played"]) == ("finished", "100%", "2M frames")
    assert not row["episodes"]  # its last report is of a generation that closed meanwhile
    assert not row["nodes"]
    assert not row["ETA"]


def test_a_run_that_ended_otherwise_used_what_it_last_said() -> None:
    history = taken(start(), {**report(1), "budget_share": 0.5}, events.end_event("a", "no node"))
    row = cells(history, "frostbite-a")
    assert (row["generation"], row["budget"], row["ETA"]) == ("ended: no node", "50%", "")


def test_the_table_counts_in_the_units_of_each_task_and_leaves_speed_to_its_plot() -> None:
    history = taken(start("a", 3), cartpole("b"), report(0, "b"))
    assert cells(history, "frostbite-a")["played"] == "6M frames"
    assert cells(history, "cartpole-b")["played"] == "2.5M steps"
    assert not re.search(r"[^<]/ ?s\b", made(Standing, history).root.text)


@pytest.mark.parametrize(
    ("returns", "drawn"), [((0.0, 5e-17), {0.0}), ((100.0, 100.0 + 1e-12), {100.0}), ((1e-3, 2e-3), {1e-3, 2e-3})]
)
def test_returns_that_differ_by_an_error_of_rounding_are_drawn_as_the_same(
    returns: tuple[float, float], drawn: set[float]
) -> None:
    lines = [line(number, value) for number, value in enumerate(returns)]
    for one, value in zip(lines, returns, strict=True):
        one["children"] = {"quantiles": dict.fromkeys(one["children"]["quantiles"], value)}
        one["candidates"][0]["standard_error"] = 0.0
    plot = made(Fitness, taken(events.run_event("a", Path("run"), Config(), lines, ())))
    shown = [*plot._lines.lines.data["ys"], *plot._bands.data["ys"], plot._points.data["elite"]]
    assert {value for values in shown for value in values} == drawn
