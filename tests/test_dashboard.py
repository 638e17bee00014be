"""The dashboard page: what masters report is kept, and a real browser shows it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
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
from gadask.dashboard import events, page
from gadask.dashboard.history import History, history_of
from gadask.dashboard.page import FIGURES
from gadask.master.evolve import evolve
from gadask.master.generation import Progress
from gadask.record.directory import read_generations
from tests.browser import CHROMIUM, browser
from tests.conftest import eventually, faulty_config
from tests.reported import NODE, close, line, report, start, taken

needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Chromium is not installed: apt-get install chromium"
)


def test_a_history_keeps_what_was_reported() -> None:
    history = taken(start("a", 3), start("b"), close(3, "a"), report(4, "a"), events.end_event("b", "no node"))
    a, b = history.runs["a"], history.runs["b"]
    assert [entry["number"] for entry in a.generations] == [0, 1, 2, 3]
    assert a.generations[-1]["frames_per_s"] == pytest.approx(1_500_000 / 60)  # those that were played
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
    past = events.run_event("a", Path("r"), Config(), [line(i) for i in range(2500)], ())["generations"]
    assert len(past) <= 500
    assert past[-1]["number"] == 2499


def test_a_run_that_goes_on_is_remembered_longer_than_those_that_ended() -> None:
    short = [event for i in range(300) for event in (start(f"s{i}"), events.end_event(f"s{i}", ""))]
    history = taken(start("long"), *short, close(0, "long"))
    assert len(history.runs) == 200
    assert history.runs["long"].n_closed == 1
    assert "s299" in history.runs


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
    text = "Bokeh.documents[0].get_model_by_name('standing')?.text"
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
            await opened.open(cluster.page)
            n_points = await opened.wait_for(f"({elites} >= 2) && {elites}", 120)
            before, after = tmp_path / "before.png", tmp_path / "after.png"
            await opened.wait_for("Bokeh.documents[0].is_idle")
            await opened.save_picture(before)
            assert await opened.wait_for(f"{elites} > {n_points}", 120)
            await opened.save_picture(after)
            end = time.monotonic() + 120
            while (fitness(after) == fitness(before)).all():  # the browser draws a moment later
                assert time.monotonic() < end
                await opened.save_picture(after)
            blue = np.array([0x00, 0x72, 0xB2])
            assert (np.abs(fitness(after).astype(int) - blue).max(axis=2) < 8).sum() > 100  # the line is there
            answer = await AsyncHTTPClient().fetch(cluster.page.replace("/ga", "/individual-plots.json"))
            assert {f"/individual-ga-{kind.name}" for kind in FIGURES} <= set(json.loads(answer.body).values())
            assert not playing.done()
            playing.cancel()
            await asyncio.wait({playing})
            return opened.errors

    assert asyncio.run(main()) == []
