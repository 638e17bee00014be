"""One self-contained HTML page of text, tables, pictures and figures: it loads nothing and opens offline.

It follows the reader's light or dark mode, fits narrow screens, where only wide tables scroll, and prints light. In
dark mode, figures are inverted by the browser: a canvas does not know the page's colours.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from bokeh.embed import components
from bokeh.models import LayoutDOM
from bokeh.resources import Resources

from gadask.analysis.page_figures import SCRIPT, Part, take_apart
from gadask.record import files

WIDTH = 1100
"""Width of the text on a wide screen, and so of figures that fill it, in pixels."""

_STYLE = """
:root { color-scheme: light; --paper: #fff; --ink: #222; --faint: #666; --rule: #ddd; --thin: #eee; --shade: #f6f6f6; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --paper: #1f1f1f; --ink: #ddd; --faint: #a2a2a2; --rule: #444; --thin: #333;
          --shade: #2a2a2a; }
  .drawn, .key svg { filter: invert(0.88) hue-rotate(180deg); } /* white becomes the paper, hues stay */
}
body { max-width: 1100px; margin: 32px auto; padding: 0 16px; background: var(--paper); color: var(--ink);
       font: 15px/1.5 Helvetica, Arial, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 8px; border-top: 1px solid var(--rule); }
p { margin: 6px 0 12px; max-width: 800px; }
p.lead { font-size: 16px; max-width: none; margin-bottom: 16px; }
p.note, figcaption { color: var(--faint); font-size: 13px; }
table { border-collapse: collapse; margin: 8px 0 16px; font-size: 14px; overflow-wrap: normal; }
th, td { padding: 3px 12px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--thin); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table:not(.facts) td { white-space: nowrap; }
table.facts { overflow-wrap: anywhere; }
table.facts td:first-child { overflow-wrap: normal; white-space: nowrap; color: var(--faint); }
pre, code { font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: var(--shade); padding: 10px 12px; columns: 3 280px; white-space: pre-wrap; }
figure { margin: 0 0 16px; min-width: 0; }
img { max-width: 100%; height: auto; display: block; }
figcaption { width: 0; min-width: 100%; margin: 4px 0; } /* a long one does not widen its picture's column */
.beside { display: grid; grid-template-columns: fit-content(38%) minmax(0, 1fr); gap: 0 24px; align-items: start; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 0 16px; }
.films { display: flex; flex-wrap: wrap; gap: 0 16px; }
@media (max-width: 760px) { .beside { grid-template-columns: minmax(0, 1fr); } body { margin: 16px auto; } }
.keys { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12px; margin: 4px 0; }
.key { display: inline-flex; align-items: center; gap: 5px; padding: 0; border: 0; background: none; color: inherit;
       font: inherit; text-align: left; }
button.key { cursor: pointer; }
.key.hidden { opacity: 0.35; }
.key svg { flex: none; }
@media print { figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


class Page:
    """Sections are added from top to bottom. Whatever is text is escaped."""

    def __init__(self, title: str) -> None:
        """Begin the page with its title."""
        self._title = title
        self._parts: list[str | LayoutDOM] = [f"<h1>{html.escape(title)}</h1>"]

    def lead(self, text: str) -> None:
        """Add the paragraph that says the most important."""
        self._parts.append(f'<p class="lead">{html.escape(text)}</p>')

    @contextmanager
    def block(self, kind: Literal["beside", "films"]) -> Iterator[None]:
        """Set what is added meanwhile side by side where the screen is wide enough.

        `beside`: two parts, of which the second fills the room that the first leaves. `films`: any number.
        """
        self._parts.append(f'<div class="{kind}">')
        yield
        self._parts.append("</div>")

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def note(self, text: str) -> None:
        """Add a paragraph in small print: where numbers come from, what was left out."""
        self._parts.append(f'<p class="note">{html.escape(text)}</p>')

    def code(self, text: str) -> None:
        """Add text as it stands, such as a config file."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Add a table of names and what they stand for."""
        self._table("facts", [], list(rows))

    def table(self, rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
        """Add a table; columns of numbers are set to the right."""
        self._table("", header, list(rows))

    def _table(self, kind: str, header: Sequence[str], rows: list[Any]) -> None:
        width = len(header or (rows[0] if rows else ()))
        columns = list(zip(*rows, strict=True)) or [()] * width
        classes = [' class="number"' if column and all(map(_is_number, column)) else "" for column in columns]
        lines = [("th", header)] * bool(header) + [("td", row) for row in rows]
        body = "".join(
            "<tr>"
            + "".join(f"<{tag}{of}>{html.escape(cell)}</{tag}>" for cell, of in zip(cells, classes, strict=True))
            + "</tr>\n"
            for tag, cells in lines
        )
        of = f' class="{kind}"' if kind else ""
        self._parts.append(f'<div class="wide"><table{of}>\n{body}</table></div>')

    def picture(self, content: bytes, kind: str, caption: str, width: int | None = None) -> None:
        """Add a picture; `kind` is its media type, such as `image/gif`."""
        size = "" if width is None else f' width="{width}"'
        data = base64.b64encode(content).decode()
        self._parts.append(
            f'<figure><img src="data:{kind};base64,{data}" alt="{html.escape(caption)}"{size}>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def figure(self, layout: LayoutDOM) -> None:
        """Add a Bokeh figure or layout, which must not be part of another page, and is taken apart."""
        for row in take_apart(layout):
            if len(row) > 1:
                self._parts.append('<div class="row">')
            for part in row:
                self._add_part(part)
            if len(row) > 1:
                self._parts.append("</div>")

    def _add_part(self, part: Part) -> None:
        caption = f"<figcaption>{part.caption}</figcaption>" if part.caption else ""
        keys = f'<div class="keys">{part.keys}</div>' if part.keys else ""
        self._parts.append(f"<figure>{caption}{keys}")
        if part.figure is not None:
            self._parts += ['<div class="drawn">', part.figure, "</div>"]
        self._parts.append("</figure>")
        for line in part.notes:
            self.note(line)

    def to_html(self) -> str:
        """Return the page."""
        figures = [part for part in self._parts if isinstance(part, LayoutDOM)]
        script, places = components(figures) if figures else ("", ())
        divs = iter(places)
        body = "\n".join(part if isinstance(part, str) else next(divs) for part in self._parts)
        resources = Resources(mode="inline", components=["bokeh"]).render() if figures else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(self._title)}</title>\n"
            f"<style>{_STYLE}</style>\n{resources}\n</head>\n<body>\n{body}\n{script}\n"
            f"{SCRIPT if figures else ''}\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> Path:
        """Write the page and return its path; raises `RecordError` where that fails."""
        files.atomic_write(path, self.to_html().encode())
        return path


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"|–|[−+-]?[\d,.]+\*?( (%|s|min))?", cell) is not None
