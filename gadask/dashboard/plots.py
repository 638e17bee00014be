"""How the dashboard's plots are made, and what they draw; their colours are those of `look.css`."""

from __future__ import annotations

import math
from typing import Any

from bokeh.models import ColumnDataSource, CustomJSTickFormatter, DataRange1d, HoverTool, Legend, LegendItem, Title
from bokeh.plotting import figure

Columns = dict[str, list[Any]]

INK = "#808080"
"""Of what belongs to no run; legible on a light and on a dark page."""
FEW = 20
"""A line of at most as many points has dots as well."""

_LABEL = ".bk-item .bk-label { color: var(--ga-ink) !important; }"
"""Legends are HTML, whose colours Bokeh looks up once, before they are part of the page."""


def new_plot(title: str, x_label: str, y_label: str, **layout: Any) -> Any:
    """Return a Bokeh figure; `Any`, since Bokeh's own types refuse much of what its properties take.

    No tool takes a finger's drag or the wheel until it is chosen: they scroll the page.
    """
    plot: Any = figure(
        title=title,
        x_axis_label=x_label or None,
        y_axis_label=y_label or None,
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag=None,
        active_scroll=None,
        **{"sizing_mode": "stretch_both", "min_height": 220, **layout},
    )
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.update(formatter=thousands(), axis_label_text_font_size="12px", major_label_text_font_size="11px")
    plot.title.text_font_size = "13px"
    plot.toolbar.update(logo=None, autohide=True)
    return plot


def from_zero(**options: Any) -> DataRange1d:
    """Return a range that begins at 0, so that one point has an axis too."""
    return DataRange1d(start=0, **options)


def thousands(is_signed: bool = True) -> CustomJSTickFormatter:
    """Return a formatter that writes 20000000 as 20M, with the digits that tell a tick from its neighbours."""
    return CustomJSTickFormatter(
        args={"is_signed": is_signed},
        code="""
        const units = ["", "k", "M", "G"]
        const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(tick)
        const size = Math.abs(tick) < step / 2 ? 0 : Math.abs(tick)
        const n = size == 0 ? 0 : Math.min(3, Math.max(0, Math.floor(Math.log10(size) / 3 + 1e-9)))
        const digits = size == 0 ? 0 : Math.max(0, Math.ceil(1 - Math.log10(step / 1000 ** n)))
        const sign = tick < 0 && size > 0 && is_signed ? "-" : ""
        return sign + Number((size / 1000 ** n).toFixed(Math.min(20, digits))) + units[n]
        """,
    )


class Lines:
    """The lines of a plot; those of few points have dots too, since a line of one point cannot be seen."""

    def __init__(self, plot: Any, tip: str = "") -> None:
        """Add them to a plot; the mouse is told the run and, as `tip`, the value, if that has a name."""
        self.lines = ColumnDataSource(empty_columns("xs", "ys", "colour", "dash", "width", "run"))
        self.dots = ColumnDataSource(empty_columns("x", "y", "colour", "size"))
        drawn = plot.multi_line(
            "xs", "ys", source=self.lines, line_color="colour", line_dash="dash", line_width="width"
        )
        plot.scatter("x", "y", source=self.dots, size="size", color="colour")
        if tip:
            add_tips(plot, drawn, [("run", "@run"), (tip, "$snap_y{0,0.[0]}")])
        self._next = empty_columns(*self.lines.data), empty_columns(*self.dots.data)

    def add(
        self, run: str, colour: str, x: list[float], y: list[float], dash: str = "solid", width: float = 2,
        dots: bool | None = None,
    ) -> None:  # fmt: skip
        """Add a line to those that `show` will show, with dots or without; None leaves that to its length."""
        lines, points = self._next
        append(lines, (x, y, colour, dash, width, run))
        if len(x) <= FEW if dots is None else dots:
            for place in zip(x, y, strict=True):
                append(points, (*place, colour, width + 2.5))

    def show(self) -> bool:
        """Show what was added since the last call, in place of what was shown; returns whether it is any."""
        lines, points = self._next
        self.lines.data, self.dots.data = lines, points
        self._next = empty_columns(*lines), empty_columns(*points)
        return any(lines["xs"])


def add_key(plot: Any, **styles: dict[str, Any]) -> list[LegendItem]:
    """Say above the plot what its lines and marks are, whatever their colours; returns the entries.

    A style is what Bokeh's `line` takes, or its `scatter` where it has a `marker`; `_` in a name stands for a space.
    """
    items = []
    nowhere = [math.nan]  # a legend has no picture of what has no point
    for name, style in styles.items():
        draw = plot.scatter if "marker" in style else plot.line
        items.append(
            LegendItem(label=name.replace("_", " "), renderers=[draw(nowhere, nowhere, **{"color": INK, **style})])
        )
    legend: Any = Legend(
        items=items, orientation="horizontal", location="top_left", border_line_alpha=0, background_fill_alpha=0,
        label_text_font_size="11px", label_standoff=4, margin=0, padding=2, spacing=10, glyph_height=14,
        stylesheets=[_LABEL],
    )  # fmt: skip
    plot.add_layout(legend, "above")
    return items


def add_tips(plot: Any, drawn: Any, tips: list[tuple[str, str]]) -> None:
    """Tell the mouse about what it is over; without a button, since a low plot has room for few."""
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips, line_policy="nearest", visible=False))


def add_note(plot: Any) -> Title:
    """Return a line of text above the plot, still empty and invisible."""
    note: Any = Title(text="", text_font_size="11px", text_font_style="normal", visible=False)
    plot.add_layout(note, "above")
    return note


def empty_columns(*names: str) -> Columns:
    """Return columns without rows."""
    return {name: [] for name in names}


def append(columns: Columns, values: tuple[Any, ...]) -> None:
    """Add a row, its values in the order of the columns."""
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


def add_band(bands: Columns, x: list[float], low: list[float], high: list[float], colour: str, alpha: float) -> None:
    """Add the area between two lines as one polygon, between two points as a bar."""
    append(bands, ([*x, *reversed(x)], [*low, *reversed(high)], colour, alpha, 8 if len(x) == 1 else 0))
