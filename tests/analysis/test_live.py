"""The live curve of a notebook ends where the log ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gadask.algorithms.algorithm import Elite
from gadask.analysis import live
from gadask.analysis.live import LiveCurve
from gadask.console.progress import score_text
from gadask.master.generation import Generation, Progress
from gadask.master.summary import Timing
from gadask.record.directory import State, read_generations, read_run

PROGRESS = Progress(
    generation=2, n_counted=3, n_wanted=12, best=9.0, elite=Elite((1,), 777.0, 3, 1), frames=90, frames_played=90,
    elapsed_s=4.0, nodes=1, processes=2,
)  # fmt: skip


class Shown:
    """Takes the place of Jupyter's display: what each of text and picture shows last."""

    content: Any

    def display(self, content: Any, **_: Any) -> None:
        """Show the first content."""
        self.content = content

    def update(self, content: Any, **_: Any) -> None:
        """Show another content."""
        self.content = content


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """What is displayed, oldest first: of one curve its text and its picture."""
    shown: list[Shown] = []

    def handle() -> Shown:
        shown.append(Shown())
        return shown[-1]

    monkeypatch.setattr(live, "DisplayHandle", handle)
    monkeypatch.setattr(live, "learning_curve_picture", lambda run, dpi: run.generations["elite_mean"].tolist())
    monkeypatch.setattr(live, "Image", lambda content, width: SimpleNamespace(data=content))
    return shown


def closed(run: Path) -> Generation:
    """The last generation of a run as `evolve` yields it."""
    line = list(read_generations(run))[-1]
    return Generation(line["generation"], State(), None, Timing(1.0, 1.0, 1.0, 0.0, 1, 1), line)


def test_it_ends_with_the_elite_of_the_last_generation(run: Path, texts: list[Shown]) -> None:
    config, state = read_run(run)
    assert state.elite is not None
    with LiveCurve(config, run) as curve:
        curve._rows.pop()  # the last generation is still being played
        curve.update(PROGRESS)
        curve.close_generation(closed(run))
    text, picture = texts
    said = text.content["text/plain"]
    assert said.startswith("3 generations closed, finished, elite")
    assert f"elite {score_text(state.elite.mean)}, " in said
    assert "777" not in said
    assert picture.content.data[-1] == state.elite.mean


def test_a_generation_that_was_recorded_and_not_yielded_is_drawn(run: Path, texts: list[Shown]) -> None:
    config, state = read_run(run)
    assert state.elite is not None
    curve = LiveCurve(config, run)
    curve._rows.pop()
    curve._drawn_rows = 2
    curve.update(PROGRESS)
    curve.__exit__(asyncio.CancelledError, None, None)
    text, picture = texts
    assert text.content["text/plain"].startswith("3 generations closed, interrupted, elite")
    assert picture.content.data[-1] == state.elite.mean


def test_a_generation_in_the_middle_is_shown_as_far_as_it_is(run: Path, texts: list[Shown]) -> None:
    config, state = read_run(run)
    assert state.elite is not None
    with LiveCurve(config, run) as curve:
        curve.update(replace(PROGRESS, generation=3))
    said = texts[0].content["text/plain"]
    assert said.startswith("3 generations closed, finished, generation 3: 3/12 episodes, elite")
    assert "90 frames in 4 s" in said
    assert f"elite {score_text(state.elite.mean)}, " in said
