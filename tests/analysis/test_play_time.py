"""The time of play above a learning curve."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bokeh.models import LinearAxis

from gadask.analysis.figures import new_figure
from gadask.analysis.play_time import PlayTime, add_play_time, play_time


def generations(frames: list[int], elapsed_s: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"frames": frames, "elapsed_s": elapsed_s})


@pytest.mark.parametrize(
    ("last_s", "unit", "last"), [(90.0, "seconds", 90.0), (600.0, "minutes", 10.0), (9000.0, "hours", 2.5)]
)
def test_its_unit_fits_the_whole(last_s: float, unit: str, last: float) -> None:
    time = play_time(generations([100, 400], [last_s / 2, last_s]))
    assert time is not None
    assert (time.unit, time.label) == (unit, f"{unit} of play")
    assert time.time[-1] == last


def test_time_goes_evenly_between_generations_and_from_the_start() -> None:
    time = play_time(generations([100, 400], [10.0, 20.0]))
    assert time is not None
    np.testing.assert_allclose(time.time_at([0, 50, 100, 250, 400, 700]), [0, 5, 10, 15, 20, 30])
    np.testing.assert_allclose(time.frames_at(time.time_at([0, 50, 399])), [0, 50, 399])


def test_one_generation_has_a_clock_and_a_log_without_times_none() -> None:
    time = play_time(generations([80], [4.0]))
    assert time is not None
    assert time.time_at(40) == 2
    assert play_time(generations([80, 160], [0.0, 0.0])) is None


def test_many_generations_are_thinned_and_those_that_took_no_time_left_out() -> None:
    time = play_time(generations(list(range(1, 5001)), [float(n // 2) for n in range(1, 5001)]))
    assert time is not None
    assert len(time.frames) <= 400
    assert (np.diff(time.time) > 0).all()
    assert time.time_at(5000) == pytest.approx(2500 / 60, rel=1e-3)


def test_the_axis_stands_above() -> None:
    plot = new_figure(x="frames", y="return")
    add_play_time(plot, PlayTime(np.array([0.0, 100.0]), np.array([0.0, 3.0]), "hours"))
    (axis,) = (part for part in plot.above if isinstance(part, LinearAxis))
    assert axis.axis_label == "hours of play"
    assert axis.ticker.args == {"frames": [0, 100], "time": [0, 3]}
