"""Makes the docs' links to files of the repository work in the site too.

A link such as `../jobs/clusters/generic.toml` leads to a file on a git host. The site has no such file; there the link
leads to a page that shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.util.typing import ExtensionMetadata

_ROOT = Path(__file__).resolve().parents[2]
_LANGUAGES = {".toml": "toml", ".py": "python", ".sbatch": "bash"}
_BEFORE_COPIES = 400
"""Priority: Sphinx, with 500, would copy what is linked into the site, to be downloaded."""


def setup(app: Sphinx) -> ExtensionMetadata:
    """Turn links when a page has been read; add the pages at the end."""
    app.connect("doctree-read", _turn_links, priority=_BEFORE_COPIES)
    app.connect("html-collect-pages", _pages)
    return {}


def _turn_links(app: Sphinx, document: nodes.document) -> None:
    """Have links to files of the repository lead to their listings, and note which there are."""
    here = app.env.docname
    listed = app.env.metadata[here].setdefault("listings", [])
    for link in list(document.findall(download_reference)):
        file = Path(app.env.relfn2path(link["reftarget"], here)[1]).resolve()
        if file.suffix not in _LANGUAGES:
            continue
        path = file.relative_to(_ROOT).as_posix()
        listed.append(path)
        address = app.builder.get_relative_uri(here, _listing(path))
        link.replace_self(nodes.reference("", "", *link.children, refuri=address, internal=True))


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for every file that is linked to."""
    assert isinstance(app.builder, StandaloneHTMLBuilder)
    for path in sorted({path for about in app.env.metadata.values() for path in about.get("listings", ())}):
        language = _LANGUAGES[Path(path).suffix]
        code = app.builder.highlighter.highlight_block((_ROOT / path).read_text(), language)
        body = f'<h1>{escape(path)}</h1>\n<div class="highlight-{language} notranslate">{code}</div>'
        yield _listing(path), {"title": path, "body": body}, "page.html"


def _listing(path: str) -> str:
    """Return the page that shows a file of the repository."""
    return f"listings/{path}"
