"""Self-contained pages."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from bokeh.layouts import column, row
from bokeh.models import Title
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gadask.analysis.figures import CHILD, legend_strip, new_figure, style_legend
from gadask.analysis.page import Page
from tests.analysis.pages import body_of, loads_nothing, tags
from tests.browser import CHROMIUM, browser

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which opens the page")


def test_a_page_holds_everything_in_order_and_loads_nothing() -> None:
    page = Page("A & B")
    page.heading("First")
    page.text("some text")
    plot = new_figure(x="seconds [s]", y="y")
    plot.line([1, 2], [3, 4])
    page.figure(plot)
    page.heading("Second")
    page.picture(b"GIF89a", "image/gif", "a film")
    other = new_figure(x="other [m]", y="y")
    other.scatter([1], [2])
    page.figure(other)
    text = page.to_html()
    assert loads_nothing(text)
    parts = ["<title>A &amp; B</title>", "<h1>A &amp; B</h1>", ">First<", "some text", ">Second<"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert f"data:image/gif;base64,{base64.b64encode(b'GIF89a').decode()}" in text
    assert text.count("seconds [s]") == text.count("other [m]") == 1


def test_a_page_without_figures_needs_no_script() -> None:
    page = Page("words")
    page.note("only")
    assert "<script" not in page.to_html()


def test_layouts_are_taken_apart_and_their_words_become_text() -> None:
    left, right = (new_figure(title=f"<{name}>", x="x", y="y") for name in ("left", "right"))
    left.line([1], [2], legend_label="a & b")
    style_legend(left.legend[0])
    left.add_layout(Title(text="below the title"), "above")
    page = Page("t")
    page.figure(column(row(left, right), legend_strip({"all": (CHILD, "dashed")}, 500, "a note")))
    body = body_of(page.to_html())
    assert [tag for tag, _ in tags(body)].count("figure") == 3
    assert body.count('<div class="row">') == 1
    assert body.count("data-root-id") == 2  # of the strip nothing but words is left
    assert "<figcaption><b>&lt;left&gt;</b><br>below the title</figcaption>" in body
    assert re.search(r'<button [^>]*data-shows="\w+">.*a &amp; b</button>', body)
    assert re.search(r'<span class="key"><svg.*stroke-dasharray="6".*all</span>', body)
    assert '<p class="note">a note</p>' in body
    assert left.title is None
    assert not left.legend


def test_a_figure_with_one_scale_keeps_it_without_its_legend() -> None:
    plot = new_figure(x="x", y="y", width=900, height=500, x_range=(0, 200), y_range=(100, 0), match_aspect=True)
    plot.scatter([1], [2])
    Page("t").figure(plot)
    assert plot.sizing_mode == "scale_width"
    assert plot.width / plot.height == pytest.approx(2, rel=0.1)


@needs_chromium
@pytest.mark.parametrize("width", [390, 1366])
def test_it_follows_light_and_dark_prints_light_and_fits(width: int, tmp_path: Path) -> None:
    plot = new_figure(title="a long title of a figure " * 4, x="x", y="y", width=1000)
    plot.rect([0.5], [0.5], 1, 1, color="white", legend_label="a rather long label of a legend " * 3)
    page = Page("title")
    page.table([["cell " * 40, "1"]], ["name", "value"])
    page.facts([("path", "/a" * 300)])
    page.code("word" * 200)
    film = io.BytesIO()
    Image.new("L", (900, 20)).save(film, "GIF")
    page.picture(film.getvalue(), "image/gif", "a film", width=900)
    page.figure(plot)
    path = page.write(tmp_path / "page.html")

    async def main() -> dict[str, tuple[int, int]]:
        async with browser(tmp_path / "profile", width) as tab:
            await tab.emulate(width, {"prefers-color-scheme": "light"})
            await tab.open(path.as_uri())
            await tab.wait_for("typeof Bokeh !== 'undefined' && Bokeh.documents.length && Bokeh.documents[0].is_idle")
            await tab.evaluate("void document.querySelector('.drawn').scrollIntoView()")
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width
            assert await tab.evaluate("document.querySelector('.drawn').firstElementChild !== null")
            shades = {}
            for name, scheme, media in (("light", "light", ""), ("dark", "dark", ""), ("printed", "dark", "print")):
                await tab.emulate(width, {"prefers-color-scheme": scheme}, media)
                picture = tmp_path / f"{name}.png"
                await tab.save_picture(picture)
                grey = np.asarray(Image.open(picture).convert("L"))
                shades[name] = (int(np.median(grey)), int(grey.max()))
            assert tab.errors == []
            return shades

    shades = asyncio.run(main())
    assert shades["light"][0] == shades["printed"][0] == 255
    assert shades["dark"][0] == 31  # a white figure is the page's colour
    assert shades["dark"][1] < 255  # and nothing in it is as bright as paper


@given(st.text("<>&\"'abc\\", max_size=20))
def test_text_is_escaped(text: str) -> None:
    page = Page(text)
    page.heading(text)
    page.text(text)
    page.note(text)
    page.code(text)
    page.table([[text, text]], [text, text])
    page.picture(b"", "image/gif", text)
    names = [tag for tag, _ in tags(page.to_html())]
    assert names == ["html", "head", "meta", "meta", "title", "style", "body", "h1", "h2", "p", "p", "pre", "div",
                     "table", "tr", "th", "th", "tr", "td", "td", "figure", "img", "figcaption"]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "is_number"),
    [
        (["1", "2,345.6"], True),
        (["−1", "–", ""], True),
        (["99 %", "518*"], True),
        (["3 min"], True),
        (["1 of 2"], False),
        (["yes", ""], False),
    ],
)
def test_columns_of_numbers_are_set_to_the_right(cells: list[str], is_number: bool) -> None:
    page = Page("t")
    page.table([["name", cell] for cell in cells], ["", "value"])
    assert page.to_html().count('<td class="number">') == (len(cells) if is_number else 0)
