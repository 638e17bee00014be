"""All figures of a study at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis import pictures
from gadask.analysis import figures
from gadask.analysis.runs import load_study

needs_chromium = pytest.mark.skipif(
    not any(map(shutil.which, figures._CHROMIUM)), reason="needs Chromium, which draws pictures of Bokeh's figures"
)


@needs_chromium
def test_every_figure_of_a_study_is_drawn(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    written = pictures.draw_pictures(load_study([study]), folder)
    assert {path.name for path in written} == {
        "curves.png", "table.png", "scores.png", "raster.png", "lineage.png", "length_bias.png"
    }  # fmt: skip
    for path in written:
        picture = np.array(Image.open(path).convert("L"))
        assert picture.shape[1] > 1000
        assert 0.01 < (picture < 250).mean() < 0.9


@needs_chromium
def test_a_copy_without_episodes_is_drawn_without_what_needs_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "episodes")
    written = pictures.draw_pictures(load_study([run]), tmp_path / "pictures")
    assert {"curves.png", "lineage.png"} <= {path.name for path in written}
    assert not {"raster.png", "length_bias.png"} & {path.name for path in written}
    assert capsys.readouterr().err == f"{run}: no raster.png and length_bias.png, which need episodes/\n"


def test_without_chromium_nothing_is_drawn(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pictures.main([str(study), "--out", str(tmp_path / "pictures"), "--no-wall"]) == 2
    assert "needs Chromium" in capsys.readouterr().err
