"""All figures of a study at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis import figures, pictures
from analysis.runs import load_study


@pytest.mark.skipif(
    not any(map(shutil.which, figures._CHROMIUM)), reason="needs Chromium, which draws pictures of Bokeh's figures"
)
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


def test_without_chromium_nothing_is_drawn(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pictures.main([str(study), "--out", str(tmp_path / "pictures"), "--no-wall"]) == 2
    assert "needs Chromium" in capsys.readouterr().err
