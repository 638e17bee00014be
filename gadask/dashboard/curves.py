"""The figures of runs over time: returns, lengths, speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from bokeh.models import ColumnDataSource

from gadask.dashboard.figures import RunPlot
from gadask.dashboard.history import RunHistory
from gadask.dashboard.plots import FEW, Lines, add_band, add_key, add_tips, append, empty_columns, from_zero, new_plot

_AMOUNTS = {"frames": "frames of the emulator", "steps": "steps"}
_LEAST_RETURN = 1e-9
_SCALES = ((1.0, "seconds", 120.0), (60.0, "minutes", 7200.0), (3600.0, "hours", math.inf))
"""A unit of time, in seconds, its name, and the length of a run below which it is used."""


class Fitness(RunPlot):
    """How good are the children, and the elite? Quantiles of returns; the elite's mean ± standard error."""

    name = "fitness"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Return", "", "return of an episode", x_range=from_zero(), **layout)
        self._bands = ColumnDataSource(empty_columns("xs", "ys", "colour", "alpha", "width"))
        area = {"fill_color": "colour", "fill_alpha": "alpha", "line_color": "colour", "line_alpha": "alpha"}
        plot.patches("xs", "ys", source=self._bands, line_width="width", **area)
        self._lines = Lines(plot)
        self._points = ColumnDataSource(
            empty_columns("x", "elite", "error", "best", "median", "number", "colour", "alpha", "run")
        )
        points = plot.scatter("x", "elite", source=self._points, size=6, color="colour", alpha="alpha")
        hover = [("run", "@run"), ("generation", "@number"), ("elite", "@elite{0,0.[000]} ± @error{0,0.[000]}")]
        add_tips(plot, points, [*hover, ("best", "@best{0,0.[000]}"), ("median", "@median{0,0.[000]}")])
        self._key = add_key(
            plot,
            elite={"line_width": 2.5},
            best_child={"line_dash": "dotted", "line_width": 1.5},
            median_child={"line_dash": "dashed", "line_width": 1.5},
        )
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> bool:
        bands, points = empty_columns(*self._bands.data), empty_columns(*self._points.data)
        is_alone = len(runs) == 1
        n_digits = _digits_of([run for run, _ in runs])

        def returns(values: Iterable[float]) -> list[float]:
            return [round(value, n_digits) for value in values]

        for run, colour in runs:
            rows = [row for row in run.generations if row["quantiles"]]
            x = [row["frames"] for row in rows]
            best, median = (returns(row["quantiles"][q] for row in rows) for q in ("1", "0.5"))
            for low, high, alpha in (("0.05", "0.95", 0.12), ("0.25", "0.75", 0.2)) if is_alone else ():
                lower, upper = (returns(row["quantiles"][q] for row in rows) for q in (low, high))
                add_band(bands, x, lower, upper, colour, alpha)
            elites = [row for row in rows if row["elite"] is not None]
            elite_x, means = [row["frames"] for row in elites], returns(row["elite"] for row in elites)
            errors = returns(row["elite_error"] or 0.0 for row in elites)
            lower, upper = ([m + s * e for m, e in zip(means, errors, strict=True)] for s in (-1, 1))
            add_band(bands, elite_x, lower, upper, colour, 0.35)
            self._lines.add(run.name, colour, elite_x, means, width=2.5)
            if is_alone:
                self._lines.add(run.name, colour, x, best, "dotted", 1.5)
            self._lines.add(run.name, colour, x, median, "dashed", 1.5)
            alpha = float(len(elites) <= FEW)
            for row, mean, error in zip(elites, means, errors, strict=True):
                values = row["frames"], mean, error, row["quantiles"]["1"], row["quantiles"]["0.5"]
                append(points, (*values, row["number"], colour, alpha, run.name))
        self._bands.data, self._points.data = bands, points
        self._key[1].visible = is_alone
        _label_amount(self.root, runs)
        return self._lines.show()


class Lengths(RunPlot):
    """How long are episodes, and does the closing rule favour short ones?"""

    name = "lengths"

    def _make(self, **layout: Any) -> Any:
        ranges = {"x_range": from_zero(), "y_range": from_zero()}
        plot = new_plot("Length of children's episodes", "", "mean length, steps", **ranges, **layout)
        self._lines = Lines(plot, "steps")
        add_key(plot, counted={"line_width": 2}, all_played={"line_dash": "dashed", "line_width": 2})
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> bool:
        for run, colour in runs:
            for key, dash in (("steps_counted", "solid"), ("steps_all", "dashed")):
                rows = [row for row in run.generations if row[key] is not None]
                self._lines.add(run.name, colour, [row["frames"] for row in rows], [row[key] for row in rows], dash)
        _label_amount(self.root, runs)
        return self._lines.show()


class Speed(RunPlot):
    """How much is played a second, by all rollout processes of a run together?"""

    name = "speed"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Speed", "", "", x_range=from_zero(), y_range=from_zero(), **layout)
        self._lines = Lines(plot, "a second")
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> bool:
        longest_s = max((run.generations[-1]["elapsed_s"] for run, _ in runs if run.generations), default=0.0)
        scale_s, scale = next((s, name) for s, name, below_s in _SCALES if longest_s < below_s)
        for run, colour in runs:
            times = [row["elapsed_s"] / scale_s for row in run.generations]
            self._lines.add(run.name, colour, times, [row["frames_per_s"] for row in run.generations])
        plot: Any = self.root
        plot.xaxis.axis_label = f"{scale} of evolution"
        plot.yaxis.axis_label = f"{runs[0][0].unit} / s" if runs else None
        return self._lines.show()


def _digits_of(runs: Sequence[RunHistory]) -> int:
    """Return how many decimals a plot of returns has: seven digits of the largest, lest it show errors of rounding."""
    rows = [row for run in runs for row in run.generations]
    largest = max(
        (abs(value) for row in rows for value in (*row["quantiles"].values(), row["elite"] or 0.0)), default=0.0
    )
    return 6 - math.floor(math.log10(max(_LEAST_RETURN, largest)))


def _label_amount(plot: Any, runs: list[tuple[RunHistory, str]]) -> None:
    """Say in which unit the amounts of these runs, all of one task, are counted."""
    plot.xaxis.axis_label = _AMOUNTS[runs[0][0].unit] if runs else None
