"""Small tables in HTML, as a notebook shows what a cell ends with."""

from __future__ import annotations

import html
from collections.abc import Mapping

_CELL = "style='text-align:left;padding:1px 12px 1px 0'"


def html_table(caption: str, rows: Mapping[str, object]) -> str:
    """Return a table of two columns, names and values; texts are escaped."""
    lines = "".join(
        f"<tr><th {_CELL}>{html.escape(name)}</th><td {_CELL}>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    head = f"<caption style='text-align:left;font-weight:bold'>{html.escape(caption)}</caption>"
    return f"<table>{head}{lines}</table>"
