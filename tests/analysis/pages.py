"""Looking into figures and pages, in tests."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from bokeh.models import ColumnDataSource


def sources(layout: Any, column: str) -> list[dict[str, Any]]:
    """Return the data of a layout's sources that have a column, in order of appearance."""
    found = [model.data for model in layout.references() if isinstance(model, ColumnDataSource)]
    return [data for data in found if column in data]


def loads_nothing(page: str) -> bool:
    """Whether a page opens offline: no tag of it names anything outside."""
    return all(
        value is None or value.startswith(("data:", "#"))
        for _, attributes in tags(page)
        for name, value in attributes
        if name in ("src", "href", "srcset", "data", "action")
    )


def body_of(page: str) -> str:
    """Return what a page shows, without its scripts; Bokeh's own hold the names of tags."""
    return page.partition("</head>\n<body>\n")[2].partition("<script")[0]


def tags(page: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Return the tags of a page with their attributes, in order; scripts are not looked into."""
    reader = _Reader()
    reader.feed(page)
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))
