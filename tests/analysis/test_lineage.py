"""The picture of a family tree."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bokeh.models import Title
from hypothesis import given, settings
from hypothesis import strategies as st

from gadask.analysis import lineage as module
from gadask.analysis.ancestry import NONE, Lineage, ancestors, genome_text, read_lineage
from gadask.analysis.figures import save
from gadask.analysis.lineage import lay_out, plot_lineage
from gadask.record.frames import episode_frame
from tests.analysis.pages import sources
from tests.browser import CHROMIUM, browser


@st.composite
def families(draw: st.DrawFn) -> pd.DataFrame:
    """A family in which children are born while their parents live."""
    rows: list[tuple[int, int, int]] = [(NONE, 0, draw(st.integers(0, 3))) for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 25))):
        parent = draw(st.integers(0, len(rows) - 1))
        _, born, last_seen = rows[parent]
        first = draw(st.integers(born + 1, last_seen + 1))
        rows.append((parent, first, first + draw(st.sampled_from([0, 0, 0, 1, 4]))))
    return pd.DataFrame(rows, columns=["parent", "born", "last_seen"])


@settings(max_examples=200, deadline=None)
@given(families(), st.data())
def test_bars_do_not_overlap_and_lines_do_not_cross(genomes: pd.DataFrame, data: st.DataObject) -> None:
    trunk = ancestors(genomes, [data.draw(st.integers(0, len(genomes) - 1))])
    lanes = lay_out(genomes, trunk)
    table = genomes.assign(lane=lanes)
    for _, own in table.groupby("lane"):
        bars = sorted(zip(own["born"], own["last_seen"], strict=True))
        assert all(last < first for (_, last), (first, _) in pairwise(bars))
    # Between two generations, lines keep the order of their ends: none crosses another.
    for generation in range(int(table["last_seen"].max()) + 1):
        lines = []
        for row in table.itertuples():
            if row.parent != NONE and row.born == generation + 1:
                lines.append((lanes[row.parent], row.lane))
            if row.born <= generation < row.last_seen:
                lines.append((row.lane, row.lane))
        for left, right in lines:
            assert all((other - left) * (end - right) >= 0 for other, end in lines)


def test_a_family_without_forks_is_a_straight_line() -> None:
    chain = pd.DataFrame({"parent": [NONE, 0, 1, 2], "born": [0, 1, 2, 3], "last_seen": [0, 1, 2, 3]})
    assert len(set(lay_out(chain, {0, 1, 2, 3}))) == 1


def test_hovering_tells_scores_lengths_and_roles(recorded: dict[str, Path]) -> None:
    lineage = read_lineage(recorded["swatch"], episode_frame(recorded["swatch"]))
    (source,) = sources(plot_lineage(lineage), "role")
    genomes = lineage.genomes
    assert source["score"].tolist() == genomes["score"].tolist()
    elite = lineage.elites[-1]
    assert source["role"][elite].endswith(f"last of {len(lineage.elites) - 1}")
    n = genomes["evaluations"][elite]
    expected = f"evaluated: mean {genomes['mean'][elite]:.4g} over {n} episodes, 40 steps on average"
    assert source["evaluated"][elite] == expected
    assert "not evaluated again" in source["evaluated"]


def test_a_large_family_is_pruned_and_says_so(synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage = read_lineage(synthetic, episode_frame(synthetic))
    whole = sources(plot_lineage(lineage), "role")[0]
    assert len(whole["part"]) == len(lineage.genomes)
    monkeypatch.setattr(module, "MAX_GENOMES", 50)
    kept = ancestors(lineage.genomes, [*lineage.parents[-1], *lineage.elites])
    assert len(kept) < len(lineage.genomes)
    layout = plot_lineage(lineage)
    (source,) = sources(layout, "role")
    assert source["part"].tolist() == lineage.genomes["part"][sorted(kept)].tolist()
    assert f"drawn are the {len(kept):,} ancestors of the last parents and of every elite" in _titles(layout)
    copied = pd.DataFrame({"parent": source["parent"], "part": source["part"]})
    assert genome_text(copied, len(kept) - 1) == genome_text(lineage.genomes, max(kept))


def test_elites_that_come_back_are_marked_again() -> None:
    genomes = pd.DataFrame({"parent": [NONE, 0], "born": [0, 1], "part": ["1", "2"], "length": [1, 2]}).assign(
        score=1.0, steps=1.0, mean=2.0, evaluations=3, evaluation_steps=4.0, last_parent=2, first_elite=0, last_elite=2
    )
    layout = plot_lineage(Lineage(genomes, [[], [0], [0, 1], [0]], [0, 1, 0]))
    diamonds = [r for r in layout.children[0].renderers if getattr(r.glyph, "marker", None) == "diamond"]
    assert [r.data_source.data["x"] for r in diamonds] == [[0, 1, 2]]
    assert "the elite changed 2 times" in _titles(layout)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_click_copies_the_whole_genome(synthetic: Path, tmp_path: Path) -> None:
    lineage = read_lineage(synthetic, episode_frame(synthetic))
    path = save(plot_lineage(lineage), tmp_path / "lineage.html", "lineage")
    (tmp_path / "profile").mkdir()

    async def click() -> tuple[int, str, list[str]]:
        async with browser(tmp_path / "profile", 1200, 1200) as page:
            await page.open(path.as_uri())
            await page.wait_for("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
            x, y, row = await page.evaluate(_YOUNGEST)
            for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
                await page._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            return row, await page.wait_for(_NOTE), page.errors

    row, note, errors = asyncio.run(click())
    text = genome_text(lineage.genomes, row)
    n_parts = lineage.genomes["length"][row]
    assert n_parts > 10
    assert note == f"Copied {n_parts} parts: {text if len(text) <= 100 else '…' + text[-100:]}"
    assert not errors


_YOUNGEST = """(() => {
  const [plot] = [...Bokeh.index][0].child_views
  const dots = plot.model.renderers.find((renderer) => renderer.data_source.data.role)
  const data = dots.data_source.data
  const row = data.born.length - 1
  const box = plot.canvas_view.el.getBoundingClientRect()
  const x = plot.frame.x_scale.compute(data.born[row]), y = plot.frame.y_scale.compute(data.lane[row])
  return [box.left + x, box.top + y, row]
})()"""
_NOTE = """[...Bokeh.index][0].child_views[0].model.below
  .map((model) => model.text).find((text) => text && text.startsWith("Copied"))"""


def _titles(layout: Any) -> str:
    return " ".join(title.text for title in layout.select({"type": Title}))
