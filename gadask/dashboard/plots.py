"""How the dashboard's plots look, and the columns that they draw."""

from __future__ import annotations

from typing import Any

from bokeh.models import CustomJSTickFormatter, LinearAxis
from bokeh.plotting import figure

Columns = dict[str, list[Any]]


def new_plot(title: str, x_label: str, y_label: str, **layout: Any) -> Any:
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
        plot.xaxis.formatter = thousands()
    plot.yaxis.formatter = thousands()
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.update(axis_label_text_font_size="12px", major_label_text_font_size="11px")
    plot.title.text_font_size = "13px"
    plot.toolbar.update(logo=None, autohide=True)
    return plot


def new_axis(label: str, **options: Any) -> Any:
    """Return a further axis; `options` go to Bokeh's `LinearAxis`."""
    kind: Any = LinearAxis
    return kind(
        axis_label=label,
        axis_label_text_font_size="12px",
        major_label_text_font_size="11px",
        formatter=thousands(),
        **options,
    )


def thousands() -> CustomJSTickFormatter:
    """Return a formatter that writes 20000000 as 20M."""
    return CustomJSTickFormatter(
        code="""
        const units = ["", "k", "M", "G"]
        const n = tick == 0 ? 0 : Math.min(3, Math.max(0, Math.floor(Math.log10(Math.abs(tick)) / 3 + 1e-9)))
        return String(Number((tick / 1000 ** n).toPrecision(4))) + units[n]
        """
    )


def place_legend(plot: Any) -> None:
    """Give a plot's legend its place and look."""
    plot.legend[0].update(
        location="top_left", background_fill_alpha=0.5, border_line_alpha=0, label_text_font_size="11px", padding=3,
        spacing=0, glyph_height=14,
    )  # fmt: skip


def empty_columns(*names: str) -> Columns:
    """Return columns without rows."""
    return {name: [] for name in names}


def append(columns: Columns, values: tuple[Any, ...]) -> None:
    """Add a row, its values in the order of the columns."""
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


def add_band(bands: Columns, x: list[float], low: list[float], high: list[float], colour: str, alpha: float) -> None:
    """Add the area between two lines as one polygon."""
    append(bands, ([*x, *reversed(x)], [*low, *reversed(high)], colour, alpha))
