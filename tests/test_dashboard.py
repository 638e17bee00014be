"""The dashboard page: what masters report is kept, and a real browser shows it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster, Scheduler
from PIL import Image
from tornado.httpclient import AsyncHTTPClient

from gadask.clusters.local import local_cluster
from gadask.config import Config
from gadask.dashboard import events, page, shown
from gadask.dashboard.figures import Fitness, Nodes, ProcessTime
from gadask.dashboard.history import History, RunHistory, history_of
from gadask.dashboard.page import FIGURES
from gadask.dashboard.standing import Standing
from gadask.master.evolve import Progress, evolve
from gadask.record.directory import read_generations
from tests.browser import CHROMIUM, browser
from tests.conftest import eventually, faulty_config

needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Chromium is not installed: apt-get install chromium"
)


NODE = "tls://10.0.0.1:4000"


def line(number: int, elite: float | None = 100.0) -> dict[str, Any]:
    """A line of the log, with what the page reads."""
    return {
        "generation": number,
        "timing": {"elapsed_s": 60.0 * (number + 1), "wall_s": 60.0, "processes": 62},
        "elite": None if elite is None else {"genome": "1-2", "mean": elite},
        "candidates": [{"genome": "1-2", "mean": elite, "standard_error": 5.0, "episodes": 30}],
        "lengths": {"counted": {"mean": 600.0}, "all": {"mean": 650.0}},
        "total": {"frames": 2_000_000 * (number + 1)},
        "frames": 2_000_000,
        "children": {"quantiles": {"0": 0.0, "0.05": 1.0, "0.25": 2.0, "0.5": 3.0, "0.75": 4.0, "0.95": 5.0, "1": 6.0}},
    }


def start(run: str = "a", n_past: int = 0) -> events.Event:
    return events.run_event(run, Path(f"/runs/frostbite-{run}"), Config(), [line(i) for i in range(n_past)])


def close(number: int, run: str = "a", busy_s: float = 50.0, discarded_s: float = 4.0) -> events.Event:
    """Return a generation of a minute, on one node; the times are of each of its processes."""
    node = events.node_entry("cpu-e-1", 31, 60.0, busy_s=31 * busy_s, discarded_s=31 * discarded_s)
    return events.generation_event(run, number, line(number), {NODE: node})


def report(generation: int, run: str = "a", nodes: int = 2) -> events.Event:
    return events.progress_event(
        run, generation=generation, n_counted=411, n_wanted=1300, best=240.0, frames=2_500_000, elapsed_s=75.0,
        budget_share=0.25, nodes=nodes, processes=31 * nodes,
    )  # fmt: skip


def taken(*messages: Any) -> History:
    history = History()
    for message in messages:
        history.log_event(events.TOPIC, message)
    return history


def test_a_history_keeps_what_was_reported() -> None:
    history = taken(start("a", 3), start("b"), close(3, "a"), report(4, "a"), events.end_event("b", "no node"))
    a, b = history.runs["a"], history.runs["b"]
    assert [entry["number"] for entry in a.generations] == [0, 1, 2, 3]
    assert a.generations[-1]["frames_per_s"] == pytest.approx(2_000_000 / 60)
    assert a.progress is not None
    assert a.progress["n_counted"] == 411
    assert (a.ended, b.ended) == (None, "no node")
    assert a.nodes[NODE]["process_s"] == 31 * 60.0


@pytest.mark.parametrize(
    "message",
    [None, "text", {}, {"type": "progress"}, {"type": "progress", "run": "stranger"}, {"type": "run", "run": 1}],
)
def test_what_no_master_of_this_version_sends_is_left_out(message: Any) -> None:
    history = taken(start(), message)
    assert list(history.runs) == ["a"]
    assert history.runs["a"].progress is None


def test_other_topics_are_not_read() -> None:
    history = History()
    history.log_event("all", start())
    assert not history.runs


def test_a_long_run_is_thinned_out_and_keeps_its_last_generation() -> None:
    history = taken(start(), *(close(number) for number in range(2500)))
    numbers = [entry["number"] for entry in history.runs["a"].generations]
    assert len(numbers) <= 1000
    assert numbers[-1] == 2499
    assert numbers == sorted(numbers)
    past = events.run_event("a", Path("r"), Config(), [line(i) for i in range(2500)])["generations"]
    assert len(past) <= 500
    assert past[-1]["number"] == 2499


def test_a_run_that_goes_on_is_remembered_longer_than_those_that_ended() -> None:
    short = [event for i in range(300) for event in (start(f"s{i}"), events.end_event(f"s{i}", ""))]
    history = taken(start("long"), *short, close(0, "long"))
    assert len(history.runs) == 200
    assert history.runs["long"].n_closed == 1
    assert "s299" in history.runs


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


def test_events_are_plain_json() -> None:
    for event in (start("a", 2), close(0), report(0), events.end_event("a", "")):
        assert json.loads(json.dumps(event, allow_nan=False)) == event


@asynccontextmanager
async def scheduler_with_page() -> AsyncIterator[tuple[LocalCluster, Client]]:
    page.install()
    async with (
        LocalCluster(
            n_workers=0, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0", asynchronous=True
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
    ):
        yield cluster, client


def address(cluster: LocalCluster, path: str) -> str:
    return f"http://127.0.0.1:{cluster.scheduler.http_server.port}/{path}"


def test_what_was_reported_before_the_page_was_wanted_is_there() -> None:
    async def main() -> list[str]:
        async with scheduler_with_page() as (cluster, client):
            for event in (start("a", 2), close(2)):
                await client.log_event(events.TOPIC, event)
            return list(history_of(cluster.scheduler).runs)

    assert asyncio.run(main()) == ["a"]


def test_jupyterlab_finds_every_figure() -> None:
    async def main() -> dict[str, str]:
        async with scheduler_with_page() as (cluster, _):
            answer = await AsyncHTTPClient().fetch(address(cluster, "individual-plots.json"))
            plots: dict[str, str] = json.loads(answer.body)
            return plots

    assert {f"/individual-ga-{kind.name}" for kind in FIGURES} <= set(asyncio.run(main()).values())


@needs_browser
def test_a_page_opened_in_the_middle_of_a_run_shows_all_of_it_and_goes_on(tmp_path: Path) -> None:
    text = "Bokeh.documents[0].roots()[0].children[0].text"
    points = "Math.max(...[...Bokeh.documents[0]._all_models.values()].map(m => m.data?.elite?.length ?? 0))"

    async def main() -> list[str]:
        async with scheduler_with_page() as (cluster, client), browser(tmp_path) as shown:
            page.remember(cluster.scheduler)
            for event in (start("a", 2), start("<b>"), close(2), report(3), close(0, "<b>")):
                await client.log_event(events.TOPIC, event)
            await shown.open(address(cluster, "ga"))
            standing = await shown.wait_for(text)
            assert "frostbite-a" in standing
            assert "411/1300" in standing
            assert "frostbite-&lt;b&gt;" in standing
            assert await shown.wait_for(f"{points} == 4")
            assert await shown.evaluate("document.querySelector('.navbar a[href=ga]') !== null")
            await client.log_event(events.TOPIC, close(3))
            assert await shown.wait_for(f"{points} == 5")
            await client.log_event(events.TOPIC, events.end_event("a", ""))
            await shown.wait_for(f"{text}.includes('finished')")
            return shown.errors

    assert asyncio.run(main()) == []


@needs_browser
@pytest.mark.parametrize("kind", FIGURES, ids=lambda kind: kind.name)
def test_each_figure_has_a_page_of_its_own(kind: Any, tmp_path: Path) -> None:
    async def main() -> list[str]:
        async with scheduler_with_page() as (cluster, client), browser(tmp_path) as shown:
            await client.log_event(events.TOPIC, start("a", 3))
            await shown.open(address(cluster, f"individual-ga-{kind.name}?theme=dark"))
            assert await shown.wait_for("Bokeh.documents[0].roots().length") == 1
            return shown.errors

    assert asyncio.run(main()) == []


def test_a_master_reports_a_resumed_run_from_its_beginning(tmp_path: Path) -> None:
    config = faulty_config(population=8)

    async def evolved(generations: int, resume: bool) -> list[dict[str, Any]]:
        limited = replace(config, budget=replace(config.budget, generations=generations))
        async with local_cluster(1) as cluster:
            async for _ in evolve(limited, cluster.client, tmp_path / "run", resume=resume, n_processes=2):
                pass
            kept: list[dict[str, Any]] = await cluster.client.run_on_scheduler(runs)
            return kept

    def runs(dask_scheduler: Scheduler) -> list[dict[str, Any]]:
        return [dataclasses.asdict(run) | {"node_counts": []} for run in history_of(dask_scheduler).runs.values()]

    asyncio.run(evolved(2, resume=False))
    (run,) = asyncio.run(evolved(4, resume=True))
    assert (run["name"], run["ended"]) == ("run", "")
    lines = list(read_generations(tmp_path / "run"))
    assert [entry["number"] for entry in run["generations"]] == [0, 1, 2, 3]
    assert [entry["elite"] for entry in run["generations"]] == [line["elite"]["mean"] for line in lines]
    assert run["generations"][-1]["elite_error"] >= 0
    (node,) = run["nodes"].values()
    assert node["processes"] == 2
    assert node["busy_s"] == pytest.approx(lines[-1]["timing"]["busy_s"], rel=1e-3)


def test_a_master_reports_while_nothing_arrives(tmp_path: Path) -> None:
    told: list[Progress] = []
    hanging = faulty_config("hang")
    hanging = replace(hanging, env=replace(hanging.env, episode_timeout_s=600.0))

    async def play(client: Client) -> None:
        generations = evolve(hanging, client, tmp_path / "run", n_processes=2, on_progress=told.append)
        async with aclosing(generations):
            async for _ in generations:
                pass

    async def main() -> None:
        async with local_cluster(1) as cluster:
            playing = asyncio.create_task(play(cluster.client))
            await eventually(lambda: told, 60, "a first report")
            cluster.client.cluster.scale(0)
            await eventually(lambda: told[-1].nodes == 0, 60, "a report without nodes")
            (run,) = history_of(cluster.client.cluster.scheduler).runs.values()
            shown = [1, 0]
            await eventually(lambda: [n for _, n in run.node_counts] == shown, 60, "the same in the history")
            playing.cancel()
            await asyncio.wait({playing})

    asyncio.run(main())
    assert told[-1].n_counted == 0


@needs_browser
def test_the_page_of_a_real_run_grows(tmp_path: Path) -> None:
    """A browser opens the dashboard of a cluster that evolves, as a user would."""
    endless = faulty_config(population=8, step_s=0.002)
    endless = replace(endless, budget=replace(endless.budget, generations=100_000))
    elites = "Math.max(...[...Bokeh.documents[0]._all_models.values()].map(m => m.data?.elite?.length ?? 0))"

    async def play(client: Client) -> None:
        generations = evolve(endless, client, tmp_path / "run", n_processes=1)
        async with aclosing(generations):
            async for _ in generations:
                pass

    def fitness(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the pixels of the plot of returns, the left third below the table, and not of what is above."""
        picture = np.asarray(Image.open(path).convert("RGB"))
        return picture[picture.shape[0] // 3 :, : picture.shape[1] // 3]

    async def main() -> list[str]:
        async with local_cluster(1) as cluster, browser(tmp_path / "profile") as opened:
            playing = asyncio.create_task(play(cluster.client))
            address = str(cluster.dashboard).replace("/status", "/ga")
            await opened.open(address)
            n_points = await opened.wait_for(f"({elites} >= 2) && {elites}")
            before, after = tmp_path / "before.png", tmp_path / "after.png"
            await opened.wait_for("Bokeh.documents[0].is_idle")
            await opened.save_picture(before)
            assert await opened.wait_for(f"{elites} > {n_points}")
            await opened.save_picture(after)
            end = time.monotonic() + 30
            while (fitness(after) == fitness(before)).all():  # the browser draws a moment later
                assert time.monotonic() < end
                await opened.save_picture(after)
            blue = np.array([0x00, 0x72, 0xB2])
            assert (np.abs(fitness(after).astype(int) - blue).max(axis=2) < 8).sum() > 100  # the line is there
            answer = await AsyncHTTPClient().fetch(address.replace("/ga", "/individual-plots.json"))
            assert {f"/individual-ga-{kind.name}" for kind in FIGURES} <= set(json.loads(answer.body).values())
            assert not playing.done()
            playing.cancel()
            await asyncio.wait({playing})
            return opened.errors

    assert asyncio.run(main()) == []
