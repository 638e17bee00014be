"""How the dashboard page looks to a person: in a real browser, light and dark, wide and narrow, early and late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gadask.dashboard import events, page
from gadask.dashboard.plots import thousands
from tests.browser import Page, browser
from tests.reported import close, report, start
from tests.test_dashboard import address, needs_browser, scheduler_with_page

pytestmark = needs_browser

LIGHT, DARK = (0xFF, 0xFF, 0xFF), (0x20, 0x26, 0x2B)
"""What plots are painted on."""
BLUE = (0x00, 0x72, 0xB2)

PLOTS = "Bokeh.documents[0].roots().filter(r => r.type == 'Figure' && r.visible).map(r => Bokeh.index[r.id])"
IS_DRAWN = f"Bokeh.documents[0].is_idle && {PLOTS}.every(v => v.frame.bbox.width > 0)"


@asynccontextmanager
async def opened(folder: Path, told: Sequence[events.Event], path: str = "ga", **shown: Any) -> AsyncIterator[Page]:
    """Open a page of a scheduler that was told these events, as `Page.show` shows it."""
    async with scheduler_with_page() as (cluster, client), browser(folder) as opened_page:
        page.remember(cluster.scheduler)
        for event in told:
            await client.log_event(events.TOPIC, event)
        await opened_page.show(**{"width": 1366, "height": 768, **shown})
        await opened_page.open(address(cluster, path))
        await opened_page.wait_for("Bokeh.documents[0].roots().length")
        await opened_page.wait_for(IS_DRAWN)
        yield opened_page
        assert not opened_page.errors


async def painted(shown: Page, path: Path, colour: tuple[int, int, int]) -> float:
    """Return the share of the pixels below the table that have a colour."""
    await shown.save_picture(path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)[120:]
    return float((np.abs(pixels - colour).max(axis=2) < 4).mean())


async def wait_until_painted(shown: Page, path: Path, colour: tuple[int, int, int], share: float) -> None:
    """Return when a share of these pixels has a colour: a browser paints a moment after it knows."""
    async with asyncio.timeout(30):
        while await painted(shown, path, colour) < share:
            await asyncio.sleep(0.05)


MAZE = [
    {
        **start(run),
        "env": "gadask/HardMaze-v0",
        "unit": "steps",
        "name": f"kind-novelty-novelty.mutation-power-0.1-{run}",
    }
    for run in "ab"
] + [close(number, run, behaviour=(30.0 + number, 50.0)) for number in range(3) for run in "ab"]


@pytest.mark.parametrize("path", ["ga", "individual-ga-fitness"])
def test_a_page_is_light_or_dark_as_its_reader_prefers_also_when_that_changes(tmp_path: Path, path: str) -> None:
    body = "getComputedStyle(document.body).backgroundColor"
    text = "getComputedStyle(document.body).color"

    async def main() -> None:
        picture = tmp_path / "page.png"
        async with opened(tmp_path / "profile", [start("a", 9)], path, scheme="dark") as shown:
            await wait_until_painted(shown, picture, DARK, 0.5)
            assert await painted(shown, picture, LIGHT) < 0.01
            assert [await shown.evaluate(e) for e in (body, text)] == ["rgb(21, 25, 28)", "rgb(223, 227, 230)"]
            await shown.show(1366, 768, "light")
            await wait_until_painted(shown, picture, LIGHT, 0.4)
            assert await painted(shown, picture, DARK) < 0.01
            assert [await shown.evaluate(e) for e in (body, text)] == ["rgb(250, 250, 250)", "rgb(60, 64, 67)"]

    asyncio.run(main())


def test_text_in_legends_axes_and_lists_follows_too(tmp_path: Path) -> None:
    legend = f"{PLOTS}.flatMap(v => [...v.renderer_views.values()]).filter(v => v.model.type == 'Legend')"
    labels = (
        f"{legend}.flatMap(v => [...v.el.shadowRoot.querySelectorAll('.bk-label')].map(e => getComputedStyle(e).color))"
    )
    title = "[...v.renderer_views.values()].find(r => r.model.type == 'Title')"
    titles = f"{PLOTS}.map(v => {title}.visuals.text.get_text_color())"
    picker = "Bokeh.index[Bokeh.documents[0].get_model_by_name('task').id].el.shadowRoot.querySelector('select')"
    other = {**start("b"), "env": "ALE/Kangaroo-v5"}

    async def main() -> None:
        async with opened(tmp_path, [start("a", 3), other, close(3)], scheme="dark") as shown:
            for scheme, ink, surface in (
                ("dark", "rgb(223, 227, 230)", "rgb(32, 38, 43)"),
                ("light", "rgb(60, 64, 67)", "rgb(255, 255, 255)"),
            ):
                await shown.show(1366, 768, scheme)
                found = await shown.evaluate(labels)
                assert (set(found), len(found)) == ({ink}, 8)
                assert set(await shown.evaluate(titles)) == {{"dark": "#dfe3e6", "light": "#3c4043"}[scheme]}
                assert await shown.evaluate(f"getComputedStyle({picker}).color") == ink
                assert await shown.evaluate(f"getComputedStyle({picker}).backgroundColor") == surface

    asyncio.run(main())


@pytest.mark.parametrize(("theme", "prefers", "colour"), [("dark", "light", DARK), ("light", "dark", LIGHT)])
def test_a_theme_in_the_address_overrules_the_browser(
    tmp_path: Path, theme: str, prefers: str, colour: tuple[int, int, int]
) -> None:
    async def main() -> None:
        path = f"individual-ga-fitness?theme={theme}"
        async with opened(tmp_path / "profile", [start("a", 9)], path, scheme=prefers) as shown:
            await wait_until_painted(shown, tmp_path / "page.png", colour, 0.4)

    asyncio.run(main())


def test_a_page_opened_before_there_is_anything_fills(tmp_path: Path) -> None:
    ranges = f"{PLOTS}.slice(0, 2).flatMap(v => [v.model.x_range, v.model.y_range]).flatMap(r => [r.start, r.end])"

    async def main() -> None:
        async with scheduler_with_page() as (cluster, client), browser(tmp_path / "profile") as shown:
            page.remember(cluster.scheduler)
            await shown.open(address(cluster, "ga"))
            await shown.wait_for("Bokeh.documents[0].is_idle")
            for event in (start(), report(0), *(close(number) for number in range(3))):
                await client.log_event(events.TOPIC, event)
            await shown.wait_for(f"({ranges}).every(Number.isFinite)")
            assert await shown.evaluate(f"{ranges}.filter((_, i) => i % 4 == 1)") == [6.3e6, 6.3e6]

    asyncio.run(main())


@pytest.mark.parametrize("n_closed", [0, 1, 2])
def test_an_early_run_has_axes_that_can_be_read(tmp_path: Path, n_closed: int) -> None:
    labels_of = "a => a.model.formatter.doFormat(a.tick_coords.major[a.dimension], {loc: 0})"
    ticks = f"{PLOTS}.flatMap(v => v.axis_views.map({labels_of}))"
    closed = [close(number) for number in range(n_closed)]

    async def main() -> None:
        async with opened(tmp_path / "profile", [start(), *closed, report(n_closed)], scheme="light") as shown:
            axes = [labels for labels in await shown.evaluate(ticks) if labels]
            assert len(axes) == (10 if n_closed else 3)  # before, those of nodes and the shares of process time
            for labels in axes:
                assert len(set(labels)) == len(labels) > 1
                assert max(map(len, labels)) <= 5
            if n_closed == 1:
                await wait_until_painted(shown, tmp_path / "page.png", BLUE, 4e-5)  # dots, not lines of one point

    asyncio.run(main())


TICKS = [
    ([0, 0.2, 0.4], "0 0.2 0.4"),
    ([-0.2, 2.7e-17, 0.2], "-0.2 0 0.2"),
    ([-2.7e-17, 0.1, 0.2, 0.30000000000000004], "0 0.1 0.2 0.3"),
    ([7864999.5, 7865000, 7865000.5], "7.8649995M 7.865M 7.8650005M"),
    ([1966.25, 1966.5], "1.96625k 1.9665k"),
    ([800, 1000, 1200], "800 1k 1.2k"),
    ([-40000, 0, 40000], "-40k 0 40k"),
    ([2e9], "2G"),
    ([0], "0"),
]


def test_ticks_have_the_digits_that_tell_them_apart(tmp_path: Path) -> None:
    formatter = thousands()
    call = f"((ticks, is_signed) => ticks.map(tick => ((tick) => {{{formatter.code}}})(tick)).join(' '))"

    async def main() -> None:
        async with browser(tmp_path) as shown:
            for ticks, text in TICKS:
                assert await shown.evaluate(f"{call}({ticks}, true)") == text
            assert await shown.evaluate(f"{call}([-20, -10, 0], false)") == "20 10 0"

    asyncio.run(main())


def test_titles_are_whole_and_legends_beside_the_curves_also_with_places(tmp_path: Path) -> None:
    texts = """.map(v => [...v.renderer_views.values()].filter(r => r.model.type == "Title" && r.model.text).map(r => {
        const context = document.createElement("canvas").getContext("2d")
        context.font = r.visuals.text.font_value()
        return [r.model.text, v.frame.bbox.left + context.measureText(r.model.text).width, v.bbox.width]
    }))"""
    legends = """.flatMap(v => [...v.renderer_views.values()].filter(r => r.model.type == "Legend").map(r => {
        const legend = r.el.getBoundingClientRect(), plot = v.el.getBoundingClientRect()
        return [legend.bottom - plot.top - v.frame.bbox.top, legend.right - plot.right]
    }))"""

    async def main() -> None:
        async with opened(tmp_path, MAZE) as shown:
            titles = [title for found in await shown.evaluate(PLOTS + texts) for title in found]
            assert {"Where episodes ended", "Process time by node"} < {text for text, *_ in titles}
            assert all(right <= width for _, right, width in titles), titles
            found = await shown.evaluate(PLOTS + legends)
            assert len(found) == 4
            assert all(below <= 0.5 and beyond <= 0 for below, beyond in found), found

    asyncio.run(main())


@pytest.mark.parametrize(("width", "n_columns"), [(390, 1), (768, 2), (1366, 3)])
def test_no_page_is_wider_than_its_screen_and_plots_are_stacked_on_a_phone(
    tmp_path: Path, width: int, n_columns: int
) -> None:
    places = f"{PLOTS}.map(v => {{const b = v.el.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]}})"
    other = {**start("c"), "env": "ALE/Kangaroo-v5"}

    async def main() -> None:
        async with opened(tmp_path, [*MAZE, other, report(3, "a")], width=width, is_phone=width < 500) as shown:
            assert await shown.evaluate("document.documentElement.scrollWidth") <= width
            boxes = await shown.evaluate(places)
            assert len(boxes) == 6
            assert len({round(left) for left, *_ in boxes}) == n_columns
            for left, top, right, bottom in boxes:
                assert right - left > 0.8 * width / n_columns
                assert 200 < bottom - top < 500
            for i, (left, top, right, bottom) in enumerate(boxes):
                for other_left, other_top, other_right, other_bottom in boxes[:i]:
                    apart = max(left - other_right, other_left - right), max(top - other_bottom, other_top - bottom)
                    assert max(apart) > -1
            # The table too is as wide as the page.
            table = "Bokeh.index[Bokeh.documents[0].get_model_by_name('standing').id].el"
            assert await shown.evaluate(f"{table}.scrollWidth <= {table}.clientWidth")
            # A finger that moves over a plot scrolls the page.
            touch = f"{PLOTS}.map(v => getComputedStyle(v.canvas_view.events_el).touchAction)"
            assert set(await shown.evaluate(touch)) == {"auto"}

    asyncio.run(main())


def test_a_task_is_picked_in_the_page(tmp_path: Path) -> None:
    cartpole = {**start("b"), "env": "CartPole-v1", "unit": "steps", "name": "cartpole"}
    told = [start("a", 3), cartpole, *(close(number, "b") for number in range(2))]
    select = "Bokeh.index[Bokeh.documents[0].get_model_by_name('task').id].el.shadowRoot.querySelector('select')"
    amounts = f"{PLOTS}.slice(0, 2).map(v => v.model.below[0].axis_label).join()"

    async def main() -> None:
        async with opened(tmp_path, told) as shown:
            assert await shown.evaluate(amounts) == "frames of the emulator,frames of the emulator"
            await shown.evaluate(f"{select}.selectedIndex = 1, {select}.dispatchEvent(new Event('change'))")
            await shown.wait_for(f"{amounts} == 'steps,steps'")
            dot = "(/color:([^']+)'>●<.span> cartpole/).exec(Bokeh.documents[0].get_model_by_name('standing').text)[1]"
            assert await shown.wait_for(f"{dot} != 'transparent' && {dot}") == "#D55E00"

    asyncio.run(main())


@pytest.mark.parametrize(("path", "title"), [("ga", "gadask"), ("individual-ga-speed", "gadask: speed")])
def test_the_tab_has_a_name_before_anything_is_drawn(tmp_path: Path, path: str, title: str) -> None:
    async def main() -> None:
        async with scheduler_with_page() as (cluster, _), browser(tmp_path) as shown:
            await shown.block("*/bokeh*.js*")
            await shown.open(address(cluster, path))
            await shown.wait_for("document.readyState == 'complete' && location.protocol == 'http:'")
            assert await shown.evaluate("typeof Bokeh") == "undefined"
            assert await shown.evaluate("document.title") == title

    asyncio.run(main())
