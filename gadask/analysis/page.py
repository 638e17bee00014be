"""One self-contained HTML page of text, tables, pictures and figures: it loads nothing and opens offline."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bokeh.embed import components
from bokeh.models import LayoutDOM
from bokeh.resources import Resources

from gadask.record import files

WIDTH = 1000
"""Width of the text, and so of figures that fill it, in pixels."""

_STYLE = """
:root { color-scheme: light; }
body { max-width: 1000px; margin: 32px auto; padding: 0 16px; background: #fff; color: #222;
       font: 15px/1.5 Helvetica, Arial, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 8px; border-top: 1px solid #ddd; }
p { margin: 6px 0 12px; max-width: 800px; }
p.note { color: #666; font-size: 13px; }
table { border-collapse: collapse; margin: 8px 0 16px; font-size: 14px; }
th, td { padding: 3px 12px 3px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
pre, code { font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: #f6f6f6; padding: 10px 12px; overflow-x: auto; }
figure { display: inline-block; margin: 0 16px 16px 0; }
figcaption { color: #666; font-size: 13px; }
"""


class Page:
    """Sections are added from top to bottom. Whatever is text is escaped."""

    def __init__(self, title: str) -> None:
        """Begin the page with its title."""
        self._title = title
        self._parts: list[str | LayoutDOM] = [f"<h1>{html.escape(title)}</h1>"]

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

    def table(self, rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
        """Add a table; columns of numbers are set to the right."""
        rows = list(rows)
        classes = [' class="number"' if all(map(_is_number, column)) else "" for column in zip(*rows, strict=True)]
        lines = [("th", header)] * bool(header) + [("td", row) for row in rows]
        body = "".join(
            "<tr>"
            + "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for cell, kind in zip(cells, classes, strict=True))
            + "</tr>\n"
            for tag, cells in lines
        )
        self._parts.append(f'<div class="wide"><table>\n{body}</table></div>')

    def picture(self, content: bytes, kind: str, caption: str, width: int | None = None) -> None:
        """Add a picture; `kind` is its media type, such as `image/gif`."""
        size = "" if width is None else f' width="{width}"'
        data = base64.b64encode(content).decode()
        self._parts.append(
            f'<figure><img src="data:{kind};base64,{data}" alt="{html.escape(caption)}"{size}>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def figure(self, figure: LayoutDOM) -> None:
        """Add a Bokeh figure or layout, which must not be part of another page."""
        self._parts.append(figure)

    def to_html(self) -> str:
        """Return the page."""
        figures = [part for part in self._parts if isinstance(part, LayoutDOM)]
        script, places = components(figures) if figures else ("", ())
        divs = iter(places)
        body = "\n".join(part if isinstance(part, str) else next(divs) for part in self._parts)
        resources = Resources(mode="inline", components=["bokeh"]).render() if figures else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f"<title>{html.escape(self._title)}</title>\n"
            f"<style>{_STYLE}</style>\n{resources}\n</head>\n<body>\n{body}\n{script}\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> Path:
        """Write the page and return its path; raises `RecordError` where that fails."""
        files.atomic_write(path, self.to_html().encode())
        return path


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"|–|[−+-]?[\d,.]+\*?( (%|s|min))?", cell) is not None
