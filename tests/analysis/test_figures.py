"""How figures are saved, and the parts of their look that can be wrong."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bokeh.layouts import column
from bokeh.models import Div, Title
from PIL import Image

from gadask.analysis import figures
from gadask.analysis.figures import CHILD, ELITE, PALETTE, frames_label, legend_strip, mix, new_figure, save, source_of
from gadask.errors import RecordError, UsageError
from tests.analysis.pages import loads_nothing
from tests.analysis.pictures import has_color

needs_chromium = pytest.mark.skipif(
    not any(map(shutil.which, figures._CHROMIUM)), reason="needs Chromium, which draws pictures of Bokeh's figures"
)


def two_panels() -> column:
    first = new_figure(title="first", x="time [s]", y="return", width=400, height=200)
    first.line([0, 1, 2], [3, 1, 2], color=CHILD, line_width=5)
    second = new_figure(x="time [s]", y="return", width=400, height=150)
    second.scatter([0, 1], [0, 1], color=ELITE, size=20)
    return column(first, second)


def test_a_page_opens_offline_and_figures_can_be_saved_again(tmp_path: Path) -> None:
    panels = two_panels()
    page = save(panels, tmp_path / "a.html", "Two <panels>").read_text()
    assert loads_nothing(page)
    assert "Two &lt;panels&gt;" in page
    assert "time [s]" in page
    again = save(column(*panels.children), tmp_path / "b.html", "again").read_text()
    assert again.count("time [s]") == page.count("time [s]")


@needs_chromium
def test_pictures_are_drawn_at_twice_the_size(tmp_path: Path) -> None:
    path = save(two_panels(), tmp_path / "a.png", "a")
    picture = np.array(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    assert picture.shape == (700, 800, 3)
    assert has_color(picture[:400], CHILD)
    assert has_color(picture[400:], ELITE)
    assert not has_color(picture[400:], CHILD)


@needs_chromium
def test_svg_holds_text_and_lines(tmp_path: Path) -> None:
    # Widgets' own script holds its own closing tag.
    svg = save(column(*two_panels().children, Div(text="words")), tmp_path / "a.svg", "a").read_text()
    assert svg.startswith("<svg ")
    assert ">time [s]</text>" in svg
    assert CHILD.lower() in svg.lower()


def test_without_chromium_pictures_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UsageError, match=r"a \.png file needs Chromium, found none of chromium, .*; install one, or write \.html"
    ):
        save(two_panels(), tmp_path / "a.png", "a")
    assert save(two_panels(), tmp_path / "a.html", "a").exists()


def test_a_browser_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho '<html></html>'\nexit 3\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(RecordError, match=r"chromium: expected a picture, found none \(exit status 3\); write \.html"):
        save(two_panels(), tmp_path / "a.png", "a")


def test_other_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.html, \.png, \.svg, found '\.jpg'"):
        save(two_panels(), tmp_path / "a.jpg", "a")
    with pytest.raises(RecordError, match=r"no/a\.html"):
        save(two_panels(), tmp_path / "no" / "a.html", "a")


def test_frames_are_called_what_they_are() -> None:
    assert frames_label(pd.DataFrame({"frames": [4, 8], "steps": [1, 2]})) == "emulator frames"
    assert frames_label(pd.DataFrame({"frames": [4, 8], "steps": [4, 8]})) == "environment steps"


def test_colors_are_thinned_with_white() -> None:
    assert mix("#0072B2", 1.0) == "#0072B2"
    assert mix("#0072B2", 0.0) == "#FFFFFF"
    assert mix("#000000", 0.5) == "#808080"


def test_colors_keep_apart_for_the_colour_blind() -> None:
    """Differences under deuteranopia, by the matrix of Machado et al. 2009, severity 1, in linear RGB."""
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    colors = np.array([list(bytes.fromhex(color[1:])) for color in PALETTE]) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    seen = linear @ deuteranopia.T
    distances = np.linalg.norm(seen[:, None] - seen, axis=2)[np.triu_indices(len(seen), 1)]
    assert distances.min() > 0.08


def test_a_legend_strip_names_every_line_once() -> None:
    strip = legend_strip({"one": (CHILD, "solid"), "two": (ELITE, "dashed")}, 600)
    assert [item.label.value for item in strip.legend[0].items] == ["one", "two"]
    assert not strip.select({"type": Title})


def test_a_legend_strip_wraps_what_is_too_long_and_has_room_for_it() -> None:
    short, long = (
        legend_strip({"one": (CHILD, "solid")}, 300),
        legend_strip({"many words " * 20: (CHILD, "solid")}, 300),
    )
    (item,) = long.legend[0].items
    parts = item.label.value.splitlines()
    assert " ".join(parts) == ("many words " * 20).strip()
    assert max(map(len, parts)) * 7 <= 300 - 40
    assert long.height == short.height + 16 * (len(parts) - 1)


def test_a_legend_strip_has_room_for_its_note() -> None:
    lines = {"one": (CHILD, "solid")}
    plain, noted = legend_strip(lines, 300), legend_strip(lines, 300, "many words " * 10)
    (note,) = noted.select({"type": Title})
    n_lines = note.text.count("\n") + 1
    assert n_lines > 1
    assert max(map(len, note.text.splitlines())) * 7 <= 300
    assert noted.height >= plain.height + 14 * n_lines


def test_a_source_has_the_columns_without_the_index() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"])}, index=[5, 6])
    data = source_of(frame).data
    assert {name: list(values) for name, values in data.items()} == {"a": [1, 2], "b": ["x", "y"]}
