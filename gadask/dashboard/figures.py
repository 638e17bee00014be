"""The figures of the dashboard page; each answers one question from a `History`.

A figure is made once a page and updated in place. Several runs share a plot, told apart by colour: as many as there are
colours, those being played first; how many are left out stands above the plot.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, ClassVar

from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    HoverTool,
    LayoutDOM,
    NumeralTickFormatter,
    Range1d,
    Title,
)

from gadask.dashboard.history import History, RunHistory
from gadask.dashboard.plots import add_band, append, empty_columns, new_axis, new_plot, place_legend
from gadask.dashboard.shown import coloured, is_silent, left_out, ranked

_BUSY, _DISCARDED, _REST = "#009E73", "#D55E00", "#999999"
_HOUR_S = 3600.0


class Figure(ABC):
    """One figure of the page."""

    name: ClassVar[str]
    """The page `/individual-ga-<name>`."""
    root: LayoutDOM

    def __init__(self, history: History, **layout: Any) -> None:
        """Make the figure, empty; `layout` goes to the Bokeh model."""
        self._history = history
        self.root = self._make(**layout)

    @abstractmethod
    def update(self) -> None:
        """Draw what has changed since the last call."""

    @abstractmethod
    def _make(self, **layout: Any) -> Any:
        """Return the Bokeh model."""


class RunPlot(Figure):
    """Lines of several runs; they change when a generation closes."""

    moves: ClassVar[bool] = False
    """Whether they change in between too."""
    styles: ClassVar[str] = ""
    """What the lines of a run are, said above the plot where the legend has room for names of runs alone."""

    def __init__(self, history: History, **layout: Any) -> None:
        """Make the plot, with a line of text above it."""
        self._drawn: object = None
        super().__init__(history, **layout)
        self._note = Title(text="", text_font_size="11px", text_font_style="normal", visible=False)
        self.root.add_layout(self._note, "above")

    def update(self) -> None:
        """Draw what has changed since the last call."""
        runs = ranked(self._history)
        shown = coloured(runs)
        hidden = left_out(runs[len(shown) :])
        drawn = [(run.number, run.n_closed, colour) for run, colour in shown], hidden
        if drawn != self._drawn or self.moves:
            self._drawn = drawn
            self._draw(shown)
            notes = [self.styles if len(shown) > 1 else "", hidden and f"runs left out: {hidden}"]
            text = "\n".join(filter(None, notes))
            self._note.update(text=text, visible=bool(text))

    @abstractmethod
    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        """Show these runs, each in its colour."""


class Fitness(RunPlot):
    """How good are the children, and the elite? Quantiles of returns; the elite's mean ± standard error."""

    name = "fitness"
    styles = "solid: elite, dashed: median child"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Return", "frames of the emulator", "return of an episode", **layout)
        self._bands = ColumnDataSource(empty_columns("xs", "ys", "colour", "alpha"))
        self._lines = ColumnDataSource(empty_columns("xs", "ys", "colour", "dash", "width", "run"))
        plot.patches("xs", "ys", source=self._bands, fill_color="colour", fill_alpha="alpha", line_color=None)
        plot.multi_line(
            "xs",
            "ys",
            source=self._lines,
            line_color="colour",
            line_dash="dash",
            line_width="width",
            legend_field="run",
        )
        self._points = ColumnDataSource(
            empty_columns("x", "elite", "error", "best", "median", "number", "colour", "run")
        )
        points = plot.scatter("x", "elite", source=self._points, size=6, color="colour")
        hover = [("run", "@run"), ("generation", "@number"), ("elite", "@elite{0,0.[000]} ± @error{0,0.[000]}")]
        plot.add_tools(
            HoverTool(
                renderers=[points], tooltips=[*hover, ("best", "@best{0,0.[000]}"), ("median", "@median{0,0.[000]}")]
            )
        )
        place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        bands, lines = empty_columns(*self._bands.data), empty_columns(*self._lines.data)
        points = empty_columns(*self._points.data)
        for run, colour in runs:
            rows = [row for row in run.generations if row["quantiles"]]
            x = [row["frames"] for row in rows]
            pairs = (("0.05", "0.95", 0.12), ("0.25", "0.75", 0.2)) if len(runs) == 1 else ()
            for low, high, alpha in pairs:
                lower, upper = ([row["quantiles"][q] for row in rows] for q in (low, high))
                add_band(bands, x, lower, upper, colour, alpha)
            elites = [row for row in rows if row["elite"] is not None]
            errors = [row["elite_error"] or 0.0 for row in elites]
            means = [row["elite"] for row in elites]
            lower, upper = ([m + s * e for m, e in zip(means, errors, strict=True)] for s in (-1, 1))
            add_band(bands, [row["frames"] for row in elites], lower, upper, colour, 0.35)
            for label, ys, dash, width in (
                ("elite", [row["elite"] for row in elites], "solid", 2.5),
                ("best child", [row["quantiles"]["1"] for row in rows], "dotted", 1.5),
                ("median child", [row["quantiles"]["0.5"] for row in rows], "dashed", 1.5),
            ):
                if len(runs) > 1 and label == "best child":
                    continue
                xs = [row["frames"] for row in elites] if label == "elite" else x
                values = (xs, ys, colour, dash, width, label if len(runs) == 1 else run.name)
                append(lines, values)
            for row in elites:
                best, median = row["quantiles"]["1"], row["quantiles"]["0.5"]
                error = row["elite_error"] or 0.0
                append(points, (row["frames"], row["elite"], error, best, median, row["number"], colour, run.name))
        self._bands.data, self._lines.data, self._points.data = bands, lines, points


class Lengths(RunPlot):
    """How long are episodes, and does the closing rule favour short ones?"""

    name = "lengths"
    styles = "solid: counted, dashed: all played"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Length of children's episodes", "frames of the emulator", "mean length, steps", **layout)
        self._lines = ColumnDataSource(empty_columns("xs", "ys", "colour", "dash", "run"))
        plot.multi_line(
            "xs", "ys", source=self._lines, line_color="colour", line_dash="dash", line_width=2, legend_field="run"
        )
        place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        lines = empty_columns(*self._lines.data)
        for run, colour in runs:
            for key, dash, label in (("steps_counted", "solid", "counted"), ("steps_all", "dashed", "all played")):
                rows = [row for row in run.generations if row[key] is not None]
                values = ([row["frames"] for row in rows], [row[key] for row in rows], colour, dash)
                append(lines, (*values, label if len(runs) == 1 else run.name))
        self._lines.data = lines


class Speed(RunPlot):
    """How many frames are played a second, over all rollout processes (left axis) and for each (right axis)?"""

    name = "speed"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Speed", "hours of evolution", "frames / s", y_range=DataRange1d(start=0), **layout)
        plot.xaxis.formatter = NumeralTickFormatter(format="0.[00]")
        plot.extra_y_ranges = {"each": (each_range := DataRange1d(start=0))}
        plot.add_layout(new_axis("frames / s of a process (dashed)", y_range_name="each"), "right")
        self._all = ColumnDataSource(empty_columns("xs", "ys", "colour", "run"))
        self._each = ColumnDataSource(empty_columns("xs", "ys", "colour", "run"))
        style = {"line_color": "colour", "line_width": 2}
        lines = plot.multi_line("xs", "ys", source=self._all, legend_field="run", **style)
        dashed = plot.multi_line("xs", "ys", source=self._each, line_dash="dashed", y_range_name="each", **style)
        plot.y_range.renderers, each_range.renderers = [lines], [dashed]
        place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        every, each = empty_columns(*self._all.data), empty_columns(*self._each.data)
        for run, colour in runs:
            hours = [row["elapsed_s"] / 3600 for row in run.generations]
            rates = [row["frames_per_s"] for row in run.generations]
            append(every, (hours, rates, colour, run.name))
            of_each = [row["frames_per_s"] / max(1, row["processes"]) for row in run.generations]
            append(each, (hours, of_each, colour, run.name))
        self._all.data, self._each.data = every, each


class ProcessTime(Figure):
    """Where does each node's process time go? What runs are busy with, what they discard, and the rest.

    Runs share nodes and close generations at different times, so that each counts with its own last generation: a node
    can come to somewhat more than all its time. The rest was idle, or played for what reports no generation, as the
    test of an elite.
    """

    name = "process-time"

    def _make(self, **layout: Any) -> Any:
        self._drawn: object = None
        self._range = Range1d(start=0, end=100)
        title = "Process time by node, last generation"
        plot = new_plot(title, "share of process time, %", "", x_range=self._range, **layout)
        plot.yaxis.visible = False
        plot.ygrid.visible = False
        self._bars = ColumnDataSource(
            empty_columns("y", "left", "right", "colour", "alpha", "part", "node", "run", "share")
        )
        bars = plot.hbar(
            y="y", left="left", right="right", height=0.8, source=self._bars, fill_color="colour", fill_alpha="alpha",
            line_color=None, legend_field="part",
        )  # fmt: skip
        tips = [("node", "@node"), ("@part", "@share{0.0} % @run")]
        plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
        place_legend(plot)
        plot.add_layout(plot.legend[0], "below")
        plot.legend[0].orientation = "horizontal"
        return plot

    def update(self) -> None:
        """Draw the runs that are being played; where there are none, the one that ended last."""
        every = list(self._history.runs.values())
        runs = [run for run in every if run.ended is None and not is_silent(run)] or every[-1:]
        drawn = [(run.number, run.n_closed) for run in runs]
        if drawn != self._drawn:
            self._drawn = drawn
            self._draw(runs)

    def _draw(self, runs: list[RunHistory]) -> None:
        bars = empty_columns(*self._bars.data)
        nodes = {address: entry["host"] for run in runs for address, entry in run.nodes.items()}
        widest = 100.0
        for y, (address, host) in enumerate(sorted(nodes.items())):
            left = 0.0
            for part, colour in (("busy", _BUSY), ("discarded", _DISCARDED)):
                for place, run in enumerate(run for run in runs if address in run.nodes):
                    entry = run.nodes[address]
                    share = 100 * entry[f"{part}_s"] / (entry["process_s"] or math.inf)
                    alpha = (1.0, 0.7)[place % 2]  # tells neighbours apart
                    append(bars, (y, left, left + share, colour, alpha, part, f"{host} {address}", run.name, share))
                    left += share
            widest = max(widest, left)
            rest = max(0.0, 100 - left)
            append(bars, (y, left, left + rest, _REST, 1.0, "idle or other", f"{host} {address}", "", rest))
        self._bars.data, self._range.end = bars, widest


class Nodes(RunPlot):
    """Which nodes were there when?"""

    name = "nodes"
    moves = True

    def _make(self, **layout: Any) -> Any:
        plot = new_plot(
            "Nodes in the last hour", "time", "nodes", x_axis_type="datetime", y_range=DataRange1d(start=0), **layout
        )
        self._lines = ColumnDataSource(empty_columns("xs", "ys", "colour", "run"))
        plot.multi_line("xs", "ys", source=self._lines, line_color="colour", line_width=2, legend_field="run")
        place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        lines = empty_columns(*self._lines.data)
        since_s = time.time() - _HOUR_S
        for run, colour in runs:
            last = run.progress
            if last is None or last["time_s"] < since_s:
                continue
            xs: list[float] = []
            ys: list[int] = []
            counts = [*run.node_counts, (last["time_s"], last["nodes"])]
            for (from_s, n_nodes), (until_s, _) in pairwise(counts):
                if until_s >= since_s:
                    xs += [1000 * max(from_s, since_s), 1000 * until_s]
                    ys += [n_nodes, n_nodes]
            append(lines, (xs, ys, colour, run.name))
        self._lines.data = lines
