"""Turns docstrings, which are written in Markdown, into the reStructuredText that autodoc reads.

It knows what docstrings use: code in a line and in blocks, tables, lists. Sections such as `Raises:` are napoleon's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_BEFORE_NAPOLEON = 400
_CODE = re.compile(r"`([^`]+)`", re.DOTALL)
_STAR = re.compile(r"(?<=\s)\*(?=[\s)])")
"""One that stands alone, and emphasises nothing."""
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Turn every docstring that is read."""
    app.connect("autodoc-process-docstring", _turn_docstring, priority=_BEFORE_NAPOLEON)
    app.connect("doctree-read", _turn_dashes)
    return {"parallel_read_safe": True}


def _turn_docstring(_app: Sphinx, _kind: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = rest("\n".join(lines)).splitlines()


def _turn_dashes(_app: Sphinx, document: nodes.document) -> None:
    """Write the two dashes that Sphinx has between an exception and what is said of it as one."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def rest(markdown: str) -> str:
    """Return the same text as reStructuredText; a name in backticks becomes a link where the site describes it."""
    parts, end = [], 0
    for block in _FENCE.finditer(markdown):
        parts += [_prose(markdown[end : block.start()]), _block(*block.groups())]
        end = block.end()
    return "".join([*parts, _prose(markdown[end:])])


def _prose(text: str) -> str:
    """Turn what is outside of blocks of code."""
    lines: list[str] = []
    for is_table, group in groupby(_STAR.sub(r"\\*", text).split("\n"), lambda line: line.lstrip().startswith("|")):
        found = list(group)
        lines += _table(found) if is_table else _lists(found)
    return _CODE.sub(_code, "\n".join(lines))


def _code(match: re.Match[str]) -> str:
    if not _NAME.fullmatch(match[1]):
        return f"``{match[1]}``"
    return f":py:obj:`{'.' * match[1][0].isupper()}{match[1]}`"  # with a dot a class is found in any module


def _lists(lines: list[str]) -> Iterator[str]:
    """Yield the lines, with an empty one before the first item of a list."""
    before, is_list = "", False
    for line in lines:
        is_item = line.lstrip().startswith("- ")
        if is_item and before.strip() and not is_list:
            yield ""
        is_list = is_item or (is_list and line.startswith(" "))
        yield line
        before = line


def _table(lines: list[str]) -> Iterator[str]:
    """Yield a table as one of lists, with its first row as the head."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (rows[0], *rows[2:]):
        for i, cell in enumerate(row):
            yield f"   {'* -' if i == 0 else '  -'} {cell}"
    yield ""


def _block(indent: str, language: str, code: str) -> str:
    lines = [f"{indent}.. code-block:: {language or 'bash'}", "", *(f"   {line}" for line in code.splitlines()), ""]
    return "\n".join(lines)
