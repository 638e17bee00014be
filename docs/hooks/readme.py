"""Makes README's pictures for light and for dark pages work in the site, which has its own switch.

README has `<picture>` with one file for each, as git hosts show it by the browser's preference. In the part of README
that a page includes, it becomes two images, of which the theme hides one.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
    r'\s*<img src="(?P<light>[^"]+)" alt="(?P<words>[^"]+)">\s*</picture>'
)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Turn what is included."""
    app.connect("include-read", _turn_pictures)
    return {"parallel_read_safe": True}


def _turn_pictures(_app: Sphinx, _path: Path, _page: str, content: list[str]) -> None:
    content[0] = _PICTURE.sub(r"![\g<words>](\g<light>){.only-light}\n![\g<words>](\g<dark>){.only-dark}", content[0])
