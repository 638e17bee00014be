"""How long a run had played at each of its frames: the second axis of learning curves.

What counts is the time of closed generations, over all restarts; between an interrupt and a resume the clock stands
still. Between two generations, and from 0 to the first, time is proportional to frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from bokeh.models import CustomJSTicker, CustomJSTickFormatter, LinearAxis
from bokeh.plotting import figure
from numpy.typing import ArrayLike, NDArray

from gadask.analysis.figures import style_axis

_UNITS = ((2 * 3600, 3600, "hours"), (120, 60, "minutes"), (0, 1, "seconds"))
_MAX_POINTS = 400
_N_TICKS = 6
_INTERPOLATE = """
const at = (x, xs, ys) => {
  let i = 1
  while (i < xs.length - 1 && xs[i] < x) i += 1
  return ys[i - 1] + (x - xs[i - 1]) / (xs[i] - xs[i - 1]) * (ys[i] - ys[i - 1])
}
"""
_TICKS = (
    _INTERPOLATE
    + f"""
const first = Math.max(0, at(cb_data.start, frames, time))
const last = Math.min(time[time.length - 1], at(cb_data.end, frames, time))
if (!(last > first)) return []
const power = 10 ** Math.floor(Math.log10((last - first) / {_N_TICKS}))
const step = power * [1, 2, 5, 10].find(factor => factor * power * {_N_TICKS} >= last - first)
const ticks = []
for (let n = Math.ceil(first / step); n * step <= last; n++) ticks.push(at(n * step, time, frames))
return ticks
"""
)
_LABEL = _INTERPOLATE + "return String(Number(at(tick, frames, time).toPrecision(6)))"


@dataclass(frozen=True)
class PlayTime:
    """Time of play by frames; both begin with 0 and rise, of the same shape `(n,)`, at least 2."""

    frames: NDArray[np.float64]
    time: NDArray[np.float64]
    """In `unit`."""
    unit: str
    """Hours, minutes or seconds."""

    @property
    def label(self) -> str:
        """Label of an axis."""
        return f"{self.unit} of play"

    def time_at(self, frames: ArrayLike) -> NDArray[np.float64]:
        """Return the time at frames, beyond the last ones as if it went on as before."""
        return _interpolate(frames, self.frames, self.time)

    def frames_at(self, time: ArrayLike) -> NDArray[np.float64]:
        """Return the frames at a time, the inverse of `time_at`."""
        return _interpolate(time, self.time, self.frames)


def play_time(generations: pd.DataFrame) -> PlayTime | None:
    """Return a run's time of play; None where its log holds none.

    `generations` needs the columns `frames` and `elapsed_s`, seconds.
    """
    frames = np.append(0.0, generations["frames"].to_numpy(np.float64))
    elapsed_s = np.append(0.0, generations["elapsed_s"].to_numpy(np.float64))
    best_so_far = [np.append(-1.0, np.maximum.accumulate(values)[:-1]) for values in (frames, elapsed_s)]
    rises = (frames > best_so_far[0]) & (elapsed_s > best_so_far[1])
    frames, elapsed_s = frames[rises], elapsed_s[rises]
    if len(frames) < 2:
        return None
    kept = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MAX_POINTS)).round().astype(int))
    _, unit_s, unit = next(entry for entry in _UNITS if elapsed_s[-1] >= entry[0])
    return PlayTime(frames[kept], elapsed_s[kept] / unit_s, unit)


def add_play_time(plot: figure, time: PlayTime) -> None:
    """Add the axis above a figure whose abscissa counts frames; its ticks follow the zoom."""
    args = {"frames": time.frames.tolist(), "time": time.time.tolist()}
    ticker = CustomJSTicker(args=args, major_code=_TICKS)
    axis = LinearAxis(ticker=ticker, formatter=CustomJSTickFormatter(args=args, code=_LABEL), axis_label=time.label)
    style_axis(axis)
    plot.add_layout(axis, "above")


def _interpolate(x: ArrayLike, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.asarray(x, np.float64)
    i = np.clip(np.searchsorted(xs, x), 1, len(xs) - 1)
    values: NDArray[np.float64] = ys[i - 1] + (x - xs[i - 1]) / (xs[i] - xs[i - 1]) * (ys[i] - ys[i - 1])
    return values
