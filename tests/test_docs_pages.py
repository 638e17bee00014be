"""The pages of the docs site in a real browser, as files: nothing is cut off, search works, light and dark."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMIUM, Page, browser
from tests.test_docs import pages_of, site

__all__ = ["site"]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="Chromium is not installed: apt-get install chromium"
)

_WIDE = """JSON.stringify({
    page: document.scrollingElement.scrollWidth - document.documentElement.clientWidth,
    tables: [...document.querySelectorAll("article table")].filter(
        table => table.parentElement.scrollWidth > table.parentElement.clientWidth + 1).map(
        table => table.textContent.trim().slice(0, 40)),
    cut: [...document.querySelectorAll("article *")].filter(
        part => part.getBoundingClientRect().right > document.documentElement.clientWidth + 1
            && !part.closest(".pst-scrollable-table-container, pre, p:has(> img.only-light)")).map(
        part => part.outerHTML.slice(0, 80))
})"""


def test_pages_fit_a_screen_and_a_phone(site: Path, tmp_path: Path) -> None:
    """At 1,280 pixels tables fit; on a phone they scroll inside themselves, and pages never scroll sideways."""
    pages = pages_of(site)

    async def main() -> dict[tuple[int, str], Any]:
        found = {}
        async with browser(tmp_path) as page:
            for width in (1280, 390):
                await page.show(width, 844, is_phone=width < 500)
                for path in pages:
                    await _open(page, path)
                    found[width, path.relative_to(site).as_posix()] = json.loads(await page.evaluate(_WIDE))
        return found

    found = asyncio.run(main())
    assert not {where: what["page"] for where, what in found.items() if what["page"] > 0}
    assert not {where: what["cut"] for where, what in found.items() if what["cut"]}
    assert not {where: what["tables"] for where, what in found.items() if where[0] == 1280 and what["tables"]}
    assert any(what["tables"] for where, what in found.items() if where[0] == 390)


def test_search_finds_pages_without_a_server(site: Path, tmp_path: Path) -> None:
    async def main() -> str:
        async with browser(tmp_path) as page:
            await page.open(f"{(site / 'search.html').as_uri()}?q=noise+table")
            links = "[...document.querySelectorAll('#search-results li a')].map(link => link.href).join(' ')"
            found: str = await page.wait_for(f"{links}.includes('glossary.html') && {links}")
            return found

    assert "reference/glossary.html" in asyncio.run(main())


@pytest.mark.parametrize(("scheme", "picture"), [("light", "overview.svg"), ("dark", "overview-dark.svg")])
def test_a_page_is_as_the_browser_prefers(scheme: str, picture: str, site: Path, tmp_path: Path) -> None:
    async def main() -> tuple[str, str]:
        async with browser(tmp_path) as page:
            await page.show(1280, 844, scheme)
            await _open(page, site / "index.html")
            shown = "[...document.querySelectorAll('article img[src$=svg]')].filter(one => one.offsetParent)"
            sources = await page.evaluate(f"{shown}.map(one => one.src.split('/').pop()).join(' ')")
            return await page.evaluate("document.documentElement.dataset.theme"), sources

    assert asyncio.run(main()) == (scheme, picture)


def test_blocks_have_a_button_and_shell_ones_colours(site: Path, tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with browser(tmp_path) as page:
            await _open(page, site / "tutorial.html")
            await page.wait_for("document.querySelectorAll('button.copybtn').length")
            block = "article div.highlight-bash"
            counts = (block, f"{block} button.copybtn", f"{block} pre:has(span[class])")
            size = f"parseFloat(getComputedStyle(document.querySelector('{block} pre')).fontSize)"
            found = [await page.evaluate(f"document.querySelectorAll('{each}').length") for each in counts]
            return [*found, await page.evaluate(size)]

    blocks, buttons, coloured, size = asyncio.run(main())
    assert blocks == buttons > 5
    assert coloured > 5
    assert size >= 13


async def _open(page: Page, path: Path) -> None:
    await page.open(path.as_uri())
    await page.wait_for(f"document.readyState == 'complete' && location.pathname == {json.dumps(str(path))}")
