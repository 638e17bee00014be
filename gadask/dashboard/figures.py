"""The figures of the dashboard page; each answers one question from a `History`.

A figure is made once a page and updated in place: `update()` draws the history again if it has changed. Several runs
share a figure, told apart by colour; the last started runs are drawn, as many as there are colours. Colours are those
of Okabe and Ito (2008), *Color universal design*, legible on a light and on a dark page.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from bokeh.models import (
    ColumnDataSource,
    CustomJSTickFormatter,
    DataRange1d,
    HoverTool,
    LayoutDOM,
    LinearAxis,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.models.widgets import Div
from bokeh.plotting import figure
from distributed import Scheduler

from gadask.dashboard.history import RunHistory, history_of

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BUSY, _DISCARDED, _IDLE = "#009E73", "#D55E00", "#999999"

Columns = dict[str, list[Any]]


class Figure(ABC):
    """One figure of the page."""

    name: ClassVar[str]
    """The page `/individual-ga-<name>`."""
    root: LayoutDOM

    def __init__(self, scheduler: Scheduler, **layout: Any) -> None:
        """Make the figure for the history of this scheduler; `layout` goes to the Bokeh model."""
        self._history = history_of(scheduler)
        self._version = -1
        self.root = self._make(**layout)

    def update(self) -> None:
        """Draw what has changed since the last call."""
        if self._version != self._history.version:
            self._version = self._history.version
            self._draw(self._shown())

    @abstractmethod
    def _make(self, **layout: Any) -> Any:
        """Return the Bokeh model, empty."""

    @abstractmethod
    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        """Show these runs, each in its colour."""

    def _shown(self) -> list[tuple[RunHistory, str]]:
        runs = list(self._history.runs.values())[-len(_COLOURS) :]
        return list(zip(runs, _COLOURS, strict=False))


class Fitness(Figure):
    """How good are the children, and the elite? Quantiles of returns; the elite's mean ± standard error."""

    name = "fitness"

    def _make(self, **layout: Any) -> Any:
        plot = _plot("Return", "frames of the emulator", "return of an episode", **layout)
        self._bands = ColumnDataSource(_empty("xs", "ys", "colour", "alpha"))
        self._lines = ColumnDataSource(_empty("xs", "ys", "colour", "dash", "width", "run"))
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
        self._points = ColumnDataSource(_empty("x", "elite", "error", "best", "median", "number", "colour", "run"))
        points = plot.scatter("x", "elite", source=self._points, size=6, color="colour")
        hover = [("run", "@run"), ("generation", "@number"), ("elite", "@elite{0.0} ± @error{0.0}")]
        plot.add_tools(
            HoverTool(renderers=[points], tooltips=[*hover, ("best", "@best{0.0}"), ("median", "@median{0.0}")])
        )
        _place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        bands, lines = _empty(*self._bands.data), _empty(*self._lines.data)
        points = _empty(*self._points.data)
        for run, colour in runs:
            rows = [row for row in run.generations if row["quantiles"]]
            x = [row["frames"] for row in rows]
            pairs = (("0.05", "0.95", 0.12), ("0.25", "0.75", 0.2)) if len(runs) == 1 else ()
            for low, high, alpha in pairs:
                lower, upper = ([row["quantiles"][q] for row in rows] for q in (low, high))
                _add_band(bands, x, lower, upper, colour, alpha)
            elites = [row for row in rows if row["elite"] is not None]
            errors = [row["elite_error"] or 0.0 for row in elites]
            means = [row["elite"] for row in elites]
            lower, upper = ([m + s * e for m, e in zip(means, errors, strict=True)] for s in (-1, 1))
            _add_band(bands, [row["frames"] for row in elites], lower, upper, colour, 0.35)
            for label, ys, dash, width in (
                ("best child", [row["quantiles"]["1"] for row in rows], "dotted", 1.5),
                ("median child", [row["quantiles"]["0.5"] for row in rows], "dashed", 1.5),
                ("elite", [row["elite"] for row in elites], "solid", 2.5),
            ):
                if len(runs) > 1 and label == "best child":
                    continue
                xs = [row["frames"] for row in elites] if label == "elite" else x
                values = (xs, ys, colour, dash, width, label if len(runs) == 1 else f"{run.name}: {label}")
                _append(lines, values)
            for row in elites:
                best, median = row["quantiles"]["1"], row["quantiles"]["0.5"]
                error = row["elite_error"] or 0.0
                _append(points, (row["frames"], row["elite"], error, best, median, row["number"], colour, run.name))
        self._bands.data, self._lines.data, self._points.data = bands, lines, points


class Lengths(Figure):
    """How long are episodes, and does the closing rule favour short ones?"""

    name = "lengths"

    def _make(self, **layout: Any) -> Any:
        plot = _plot("Length of children's episodes", "frames of the emulator", "mean length, steps", **layout)
        self._lines = ColumnDataSource(_empty("xs", "ys", "colour", "dash", "run"))
        plot.multi_line(
            "xs", "ys", source=self._lines, line_color="colour", line_dash="dash", line_width=2, legend_field="run"
        )
        _place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        lines = _empty(*self._lines.data)
        for run, colour in runs:
            for key, dash, label in (("steps_counted", "solid", "counted"), ("steps_all", "dashed", "all played")):
                rows = [row for row in run.generations if row[key] is not None]
                values = ([row["frames"] for row in rows], [row[key] for row in rows], colour, dash)
                _append(lines, (*values, label if len(runs) == 1 else f"{run.name}: {label}"))
        self._lines.data = lines


class Speed(Figure):
    """How many frames a second, over all rollout processes (left axis) and for each (right axis)?"""

    name = "speed"

    def _make(self, **layout: Any) -> Any:
        plot = _plot("Speed", "hours of evolution", "frames / s", y_range=DataRange1d(start=0), **layout)
        plot.xaxis.formatter = NumeralTickFormatter(format="0.[00]")
        plot.extra_y_ranges = {"each": (each_range := DataRange1d(start=0))}
        plot.add_layout(_axis("frames / s of a process (dashed)", y_range_name="each"), "right")
        self._all = ColumnDataSource(_empty("xs", "ys", "colour", "run"))
        self._each = ColumnDataSource(_empty("xs", "ys", "colour", "run"))
        style = {"line_color": "colour", "line_width": 2}
        lines = plot.multi_line("xs", "ys", source=self._all, legend_field="run", **style)
        dashed = plot.multi_line("xs", "ys", source=self._each, line_dash="dashed", y_range_name="each", **style)
        plot.y_range.renderers, each_range.renderers = [lines], [dashed]
        _place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        every, each = _empty(*self._all.data), _empty(*self._each.data)
        for run, colour in runs:
            hours = [row["elapsed_s"] / 3600 for row in run.generations]
            rates = [row["frames_per_s"] for row in run.generations]
            _append(every, (hours, rates, colour, run.name))
            of_each = [row["frames_per_s"] / max(1, row["processes"]) for row in run.generations]
            _append(each, (hours, of_each, colour, run.name))
        self._all.data, self._each.data = every, each


class ProcessTime(Figure):
    """Where did each node's process time go in the last generation? Busy, discarded, idle."""

    name = "process-time"

    def _make(self, **layout: Any) -> Any:
        plot = _plot(
            "Process time by node, last generation",
            "share of process time, %",
            "",
            x_range=Range1d(start=0, end=100),
            **layout,
        )
        plot.yaxis.visible = False
        plot.ygrid.visible = False
        self._bars = ColumnDataSource(_empty("y", "left", "right", "colour", "part", "node", "run", "share"))
        bars = plot.hbar(
            y="y", left="left", right="right", height=0.8, source=self._bars, color="colour", legend_field="part"
        )
        tips = [("node", "@node"), ("run", "@run"), ("@part", "@share{0.0} %")]
        plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
        _place_legend(plot)
        plot.add_layout(plot.legend[0], "below")
        plot.legend[0].orientation = "horizontal"
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        bars = _empty(*self._bars.data)
        y = 0
        for run, _ in runs:
            for address, node in sorted(run.nodes.items()):
                parts = (("busy", _BUSY), ("discarded", _DISCARDED), ("idle", _IDLE))
                total = sum(node[f"{part}_s"] for part, _ in parts) or math.inf
                left = 0.0
                for part, colour in parts:
                    share = 100 * node[f"{part}_s"] / total
                    _append(bars, (y, left, left + share, colour, part, f"{node['host']} {address}", run.name, share))
                    left += share
                y += 1
        self._bars.data = bars


class Nodes(Figure):
    """Which nodes were there when?"""

    name = "nodes"

    def _make(self, **layout: Any) -> Any:
        plot = _plot(
            "Nodes in the last hour", "time", "nodes", x_axis_type="datetime", y_range=DataRange1d(start=0), **layout
        )
        self._lines = ColumnDataSource(_empty("xs", "ys", "colour", "run"))
        plot.multi_line("xs", "ys", source=self._lines, line_color="colour", line_width=2, legend_field="run")
        _place_legend(plot)
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        lines = _empty(*self._lines.data)
        for run, colour in runs:
            xs: list[float] = []
            ys: list[int] = []
            for report in run.progress:
                if ys and ys[-1] != report["nodes"]:  # a step, not a slope
                    xs.append(1000 * report["time_s"])
                    ys.append(ys[-1])
                xs.append(1000 * report["time_s"])
                ys.append(report["nodes"])
            _append(lines, (xs, ys, colour, run.name))
        self._lines.data = lines


class Standing(Figure):
    """Where does every run stand now?"""

    name = "standing"

    def _make(self, **layout: Any) -> Any:
        self._table = Div(**{**layout, "sizing_mode": "stretch_width"})
        return self._table

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        if not runs:
            self._table.text = "<p>No run has reported yet.</p>"
            return
        rows = "".join(_standing_row(run, colour) for run, colour in runs)
        heads = (
            "run",
            "game",
            "generation",
            "episodes",
            "frames",
            "best",
            "elite",
            "nodes",
            "frames/s",
            "budget",
            "ETA",
        )
        cells = "".join(f"<th style='text-align:left;padding:2px 12px 2px 0'>{head}</th>" for head in heads)
        self._table.text = f"<table style='font-size:13px;border-collapse:collapse'><tr>{cells}</tr>{rows}</table>"


FIGURES: tuple[type[Figure], ...] = (Standing, Fitness, Lengths, ProcessTime, Speed, Nodes)


def _standing_row(run: RunHistory, colour: str) -> str:
    now = run.progress[-1] if run.progress else None
    last = run.generations[-1] if run.generations else None
    if run.ended is not None:
        state = "finished" if not run.ended else f"ended: {run.ended}"
    elif now is None or time.time() - now["time_s"] > 60:
        state = "silent"
    else:
        state = f"{now['generation']}"
    values = [f"<span style='color:{colour}'>●</span> {_escaped(run.name)}", _escaped(run.env), _escaped(state)]
    if now is None:
        values += ["", _count(last["frames"]) if last else ""]
    else:
        share = now["n_counted"] / now["n_wanted"] if now["n_wanted"] else 0.0
        bar = f"<progress max='1' value='{share:.3f}' style='width:80px'></progress>"
        values += [f"{bar} {now['n_counted']}/{now['n_wanted']}", _count(now["frames"])]
    best = (now or {}).get("best")
    values.append("" if best is None else f"{best:,.1f}")
    elite = last["elite"] if last else None
    error = last["elite_error"] if last else None
    values.append("" if elite is None else f"{elite:,.1f}" + ("" if error is None else f" ± {error:,.1f}"))
    values.append("" if now is None else f"{now['nodes']} ({now['processes']} processes)")
    values.append("" if last is None else _count(last["frames_per_s"]))
    done = (now or {}).get("budget_share")
    values.append("" if done is None else f"{min(1.0, done):.0%}")
    left_s = now["elapsed_s"] * (1 - done) / done if now and done and run.ended is None else None
    values.append("" if left_s is None else _duration(max(0.0, left_s)))
    return "<tr>" + "".join(f"<td style='padding:2px 12px 2px 0'>{value}</td>" for value in values) + "</tr>"


def _plot(title: str, x_label: str, y_label: str, **layout: Any) -> Any:
    """Return a Bokeh figure; `Any`, since Bokeh's own types refuse much of what its properties take."""
    plot: Any = figure(
        title=title,
        x_axis_label=x_label,
        y_axis_label=y_label or None,
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_scroll=None,
        **{"sizing_mode": "stretch_both", "min_height": 220, "min_width": 260, **layout},
    )
    if layout.get("x_axis_type") != "datetime":
        plot.xaxis.formatter = _thousands()
    plot.yaxis.formatter = _thousands()
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.update(axis_label_text_font_size="12px", major_label_text_font_size="11px")
    plot.title.text_font_size = "13px"
    plot.toolbar.update(logo=None, autohide=True)
    return plot


def _axis(label: str, **options: Any) -> Any:
    kind: Any = LinearAxis
    return kind(
        axis_label=label,
        axis_label_text_font_size="12px",
        major_label_text_font_size="11px",
        formatter=_thousands(),
        **options,
    )


def _thousands() -> CustomJSTickFormatter:
    """Return a formatter that writes 20000000 as 20M."""
    return CustomJSTickFormatter(
        code="""
        const units = ["", "k", "M", "G"]
        const n = tick == 0 ? 0 : Math.min(3, Math.max(0, Math.floor(Math.log10(Math.abs(tick)) / 3 + 1e-9)))
        return String(Number((tick / 1000 ** n).toPrecision(4))) + units[n]
        """
    )


def _place_legend(plot: Any) -> None:
    plot.legend[0].update(
        location="top_left", background_fill_alpha=0.5, border_line_alpha=0, label_text_font_size="11px", padding=3,
        spacing=0, glyph_height=14,
    )  # fmt: skip


def _empty(*names: str) -> Columns:
    return {name: [] for name in names}


def _append(columns: Columns, values: tuple[Any, ...]) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


def _add_band(bands: Columns, x: list[float], low: list[float], high: list[float], colour: str, alpha: float) -> None:
    """Add the area between two lines as one polygon."""
    _append(bands, ([*x, *reversed(x)], [*low, *reversed(high)], colour, alpha))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _count(number: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.0f}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
