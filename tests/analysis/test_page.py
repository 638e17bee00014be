"""Self-contained pages."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.analysis.figures import new_figure
from gadask.analysis.page import Page
from tests.analysis.pages import loads_nothing, tags


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
    assert names == ["html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "p", "pre", "div", "table",
                     "tr", "th", "th", "tr", "td", "td", "figure", "img", "figcaption"]  # fmt: skip


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
