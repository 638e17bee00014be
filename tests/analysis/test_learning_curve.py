"""Learning curves of one run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gadask.analysis.figures import CHILD, ELITE
from gadask.analysis.learning_curve import draw_learning_curve, main, plot_learning_curve
from gadask.analysis.runs import load_run
from gadask.errors import RecordError, RunDirectoryError, UsageError
from gadask.record.directory import RunDirectory
from gadask.record.elite_test import EliteTest
from tests.analysis.pictures import has_color
from tests.analysis.recorded import SWATCH


@pytest.mark.parametrize("name", ["swatch", "single", "no candidates", "frostbite"])
def test_it_shows_children_and_elite(recorded: dict[str, Path], tmp_path: Path, name: str) -> None:
    path = draw_learning_curve(recorded[name], tmp_path / "curve.png")
    picture = np.array(Image.open(path).convert("RGB"))
    assert picture.shape[0] >= 600
    assert picture.shape[1] >= 1000
    assert has_color(picture, ELITE)
    assert has_color(picture, CHILD)
    assert 0.02 < (picture < 250).any(axis=2).mean() < 0.9


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_it_is_the_same_each_time(run: Path, tmp_path: Path, suffix: str) -> None:
    first = draw_learning_curve(run, tmp_path / f"a{suffix}").read_bytes()
    assert draw_learning_curve(run, tmp_path / f"b{suffix}").read_bytes() == first


def test_it_goes_into_the_run_directory(run: Path) -> None:
    assert draw_learning_curve(run) == run / "learning_curve.png"
    assert (run / "learning_curve.png").exists()


def test_the_elite_test_is_drawn(run: Path) -> None:
    without = draw_learning_curve(run).read_bytes()
    (run / "elite_test.json").write_text(json.dumps({"generation": 2, "genome": "7", "returns": [1.0, 2.0, 4.0]}))
    assert draw_learning_curve(run).read_bytes() != without


def test_it_needs_the_log_alone(run: Path) -> None:
    whole = draw_learning_curve(run).read_bytes()
    shutil.rmtree(run / "episodes")
    assert draw_learning_curve(run).read_bytes() == whole


def test_the_interactive_one_shows_the_same_numbers(recorded: dict[str, Path], tmp_path: Path) -> None:
    run = load_run(recorded["swatch"])
    errors = np.array([0.5, np.nan, 1.0])
    run = replace(run, generations=run.generations.assign(elite_error=errors))
    test = EliteTest(1, "7", (2.0, 4.0))
    plot = plot_learning_curve(run, test)
    (source,) = {r.data_source for r in plot.renderers if "elite_mean" in r.data_source.data}
    np.testing.assert_array_equal(source.data["elite_mean"], run.generations["elite_mean"])
    np.testing.assert_array_equal(source.data["high"] - source.data["elite_mean"], errors)
    labels = [item.label.value for item in plot.legend[0].items]
    assert "elite test, mean ± standard error over 2 fresh episodes" in labels
    (place,) = {
        r.data_source.data["x"][0]
        for r in plot.renderers
        if r.glyph.__class__.__name__ == "Scatter" and "x" in r.data_source.data
    }
    assert place == run.generations["frames"][1] + 0.02 * run.generations["frames"][2]
    assert main([str(recorded["swatch"]), "--out", str(tmp_path / "curve.html")]) == 0
    assert "elite, mean" in (tmp_path / "curve.html").read_text()


def test_what_cannot_be_drawn_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg, \.html, found '\.jpg'"):
        draw_learning_curve(run, tmp_path / "curve.jpg")
    with pytest.raises(RecordError, match=r"no/curve\.png"):
        draw_learning_curve(run, tmp_path / "no" / "curve.png")
    RunDirectory.create(tmp_path / "new", SWATCH).close()
    with pytest.raises(RunDirectoryError, match="at least one closed generation, found none"):
        draw_learning_curve(tmp_path / "new")
