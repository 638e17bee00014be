"""Puts what is made from the code into the pages, at marks such as `<!-- settings -->`."""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from docs.hooks import commands, settings

_MARK = re.compile(r"<!-- ([a-z-]+) -->")
_PAGES = ("reference/settings", "reference/machine-files", "reference/commands")
_TEXTS = {
    "settings": settings.settings,
    "presets": settings.presets,
    "machine-files": settings.machine_files,
    "machine-fields": settings.machine_fields,
    "commands": commands.command_list,
    "baselines": commands.baselines,
    "node-flags": commands.node_flags,
}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Fill pages as they are read."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}


def _fill(_app: Sphinx, page: str, source: list[str]) -> None:
    if page in _PAGES:
        source[0] = _MARK.sub(lambda mark: _TEXTS[mark[1]](), source[0])
