"""Films, figures, reports, runs and studies as a notebook's cell shows them."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
from bokeh.models import LayoutDOM

import gadask
from gadask.errors import RunDirectoryError, UsageError
from gadask.face.shown import Figure, Film, Report
from tests.analysis.pages import tags
from tests.analysis.pictures import decoded
from tests.browser import CHROMIUM


def attributes_of(page: str, tag: str) -> dict[str, Any]:
    """The attributes of a page's only tag of that name."""
    (found,) = (dict(attributes) for name, attributes in tags(page) if name == tag)
    return found


def test_a_film_is_in_the_page_itself(run: Path) -> None:
    film = gadask.open_run(run).film()
    assert film is not None
    source = attributes_of(film._repr_html_(), "img")["src"]
    begin = "data:image/gif;base64,"
    assert source.startswith(begin)
    content = base64.b64decode(source.removeprefix(begin))
    assert content == (run / "elite.gif").read_bytes()
    assert len(decoded(content)[0]) > 1
    assert repr(film) == f"<film {run}/elite.gif, {len(content):,} bytes>"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_film_as_mp4_is_in_the_page_itself(run: Path, tmp_path: Path) -> None:
    film = gadask.open_run(run).film(tmp_path / "elite.mp4", seed=3)
    assert film is not None
    source = attributes_of(film._repr_html_(), "video")["src"]
    assert base64.b64decode(source.removeprefix("data:video/mp4;base64,")) == (tmp_path / "elite.mp4").read_bytes()


def test_names_of_files_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / 'a"><b>.gif'
    path.write_bytes(b"GIF89a")
    assert [name for name, _ in tags(Film(path)._repr_html_())] == ["img"]
    page = tmp_path / 'a"><b>.html'
    page.write_text('<p title="x">&amp;</p>')
    shown = Report(page)._repr_html_()
    assert [name for name, _ in tags(shown)] == ["div", "iframe"]
    assert attributes_of(shown, "iframe")["srcdoc"] == page.read_text()


def test_a_run_is_drawn_filmed_and_reported_on(run: Path, tmp_path: Path) -> None:
    opened = gadask.open_run(run)
    for figure in (opened.curve(), opened.raster(), opened.process_time(), opened.lineage(), opened.length_bias()):
        assert isinstance(figure, Figure)
        assert isinstance(figure.layout, LayoutDOM)
        assert figure.title
    assert opened.curve().save(tmp_path / "curve.html").stat().st_size > 10_000
    assert opened.report().path == run / "report.html"
    assert "\n" not in repr(opened)
    assert repr(opened).startswith(f"<run {run}: {opened.config.env.id}, 3 generations, ")


def test_a_figure_in_a_terminal_is_one_line(run: Path) -> None:
    figure = gadask.open_run(run).curve()
    with pytest.raises(NotImplementedError):  # IPython then prints what `repr` says
        figure._ipython_display_()
    assert repr(figure) == f"<figure {figure.title!r}; .save('figure.html') writes it>"


def test_a_policy_is_played_here(run: Path) -> None:
    opened = gadask.open_run(run)
    played = opened.play(3, "last", seed=5)
    assert played["seed"].tolist() == [5, 6, 7]
    assert (played["steps"] >= 1).all()
    assert played.equals(opened.play(3, "last", seed=5))
    assert opened.play(1, "last", seed=7).to_dict("records") == played.tail(1).to_dict("records")
    with pytest.raises(UsageError, match="episodes: expected at least 1, found 0"):
        opened.play(0)


def test_the_best_run_is_that_of_a_game(study: Path) -> None:
    opened = gadask.open_study(study)
    scores = opened.scores()
    best = opened.best()
    assert list(best) == ["Frostbite", "Kangaroo"]
    for game, own in scores.groupby("game"):
        assert str(best[str(game)].path) == own.loc[own["score"].idxmax(), "run"]


def test_a_score_without_a_test_does_not_beat_one_with(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = gadask.open_study(study)
    scores = opened.scores()
    first = scores["run"].iloc[0]
    scores["is_test"] = scores["run"] == first
    scores.loc[scores["run"] == first, "score"] = -1e6
    monkeypatch.setattr(opened, "scores", lambda: scores)
    assert str(opened.best()[scores["game"].iloc[0]].path) == first


def test_a_study_is_compared_and_filmed(study: Path, tmp_path: Path) -> None:
    opened = gadask.open_study([study])
    assert len(opened.runs) == 6
    assert opened.generations()["game"].nunique() == 2
    assert list(opened.table().index) == ["Frostbite", "Kangaroo"]
    assert opened.aggregates()["games"].iloc[0] == 2
    assert isinstance(opened.curves().layout, LayoutDOM)
    assert isinstance(opened.plot_aggregates().layout, LayoutDOM)
    assert repr(opened) == f"<study of 6 runs in {study}>"
    assert opened._repr_html_().count("<tr") == 7
    with pytest.raises(RunDirectoryError):
        gadask.open_study(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_figure_is_saved_as_a_picture(run: Path, tmp_path: Path) -> None:
    assert gadask.open_run(run).process_time().save(tmp_path / "time.svg").read_bytes().startswith(b"<svg")
