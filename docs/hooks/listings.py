"""Makes the docs' links to files of the repository work in the site too.

A link such as `../jobs/clusters/generic.toml` leads to a file on a git host. The site has no such file; there the link
leads to a page that shows it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+\.(?:toml|py|sbatch))(?=\))")
_LANGUAGES = {".toml": "toml", ".py": "python", ".sbatch": "bash"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file that a page links to."""
    root = Path(config.docs_dir).parent
    linked = {path for file in files.documentation_pages() for path in _linked(file)}
    for path in sorted(linked):
        code = (root / path).read_text()
        content = f"# {path}\n\n````{_LANGUAGES[Path(path).suffix]}\n{code}````\n"
        files.append(File.generated(config, _listing(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(match: re.Match[str]) -> str:
        return posixpath.relpath(_listing(_from_root(page.file, match[1])), here or ".")

    return _LINK.sub(turned, markdown)


def _linked(file: File) -> Iterator[str]:
    """Yield the files of the repository that a page links to."""
    for match in _LINK.finditer(file.content_string):
        yield _from_root(file, match[1])


def _from_root(file: File, link: str) -> str:
    """Return the path that a page's link means, from the root of the repository."""
    return posixpath.normpath(posixpath.join("docs", posixpath.dirname(file.src_uri), link))


def _listing(path: str) -> str:
    """Return the page that shows a file of the repository."""
    return f"listings/{path}.md"
