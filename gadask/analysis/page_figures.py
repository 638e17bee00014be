"""Bokeh figures as parts of an HTML page: each as wide as its place, with title and legend as text that wraps.

A canvas neither breaks lines nor moves a legend, so that on a narrow screen both would be cut off. Here a layout is
taken apart: rows and grids become the page's own grid, titles and the lines above a figure become its caption, and
legend entries become buttons below the caption that hide what they name.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bokeh.models import Column, GridPlot, LayoutDOM, Legend, LegendItem, Row, Title
from bokeh.plotting import figure

from gadask.analysis.figures import KEYS_ALONE

_MARKERS = {"diamond": "M7 1L13 7L7 13L1 7Z", "star": "M7 0L9 5L14 5L10 8L12 14L7 10L2 14L4 8L0 5L5 5Z",
            "x": "M2 2L12 12M12 2L2 12"}  # fmt: skip
_WIDE_AXIS, _HIGH_AXIS = 76, 56  # pixels beside and below a frame
_CIRCLE = "M7 2A5 5 0 1 1 6.9 2Z"
SCRIPT = """<script>
for (const key of document.querySelectorAll("button.key")) key.addEventListener("click", () => {
  const hidden = key.classList.toggle("hidden")
  for (const id of key.dataset.shows.split(" "))
    for (const document_ of Bokeh.documents) {
      const model = document_.get_model_by_id(id)
      if (model) model.visible = !hidden
    }
})
</script>"""
"""Makes the buttons of legends work; it stands behind them."""


@dataclass
class Part:
    """One figure, or what stands in its place, with its caption."""

    caption: str = ""
    """HTML."""
    keys: str = ""
    """HTML of the legend."""
    figure: LayoutDOM | None = None
    """None where the legend is all there is."""
    notes: list[str] = field(default_factory=list)
    """Lines of text below it."""


def take_apart(layout: LayoutDOM) -> list[list[Part]]:
    """Return a layout's figures, rows of parts; the layout is not to be shown any more.

    What is not a figure, a row, a column or a grid stays as it is.
    """
    if isinstance(layout, Column):
        return [row for child in layout.children for row in take_apart(child)]
    if isinstance(layout, GridPlot):
        for child, *_ in layout.children:
            if isinstance(child, figure) and layout.toolbar_location is not None:
                child.toolbar_location = "right"
        return [[part for child, *_ in layout.children for row in take_apart(child) for part in row]]
    if isinstance(layout, Row):
        return [[part for child in layout.children for row in take_apart(child) for part in row]]
    return [[_part(layout)]]


def _part(model: LayoutDOM) -> Part:
    if not isinstance(model, figure):
        return Part(figure=model)
    lines = [title.text for title in model.above if isinstance(title, Title)]
    heading = f"<b>{html.escape(model.title.text)}</b>" if model.title is not None and model.title.text else ""
    caption = "<br>".join([*filter(None, [heading]), *map(html.escape, lines)])
    keys = "".join(_keys(model.legend))
    if model.name == KEYS_ALONE:
        return Part(caption, keys, None, [title.text for title in model.below if isinstance(title, Title)])
    model.title = None
    for place in (model.above, model.center, model.right, model.left, model.below):
        for taken in [part for part in place if isinstance(part, Legend) or (place is model.above and _is_title(part))]:
            place.remove(taken)
    model.toolbar_inner = True  # it shows when the mouse is there
    model.sizing_mode = "stretch_width"
    if model.match_aspect:  # without its legend it would be wider than high
        x, y = model.x_range, model.y_range
        ratio = abs((x.end - x.start) / (y.end - y.start))
        model.width = model.max_width = round((model.height - _HIGH_AXIS) * ratio) + _WIDE_AXIS
        model.sizing_mode = "scale_width"
    return Part(caption, keys, model)


def _is_title(model: object) -> bool:
    return isinstance(model, Title)


def _keys(legends: Iterable[Legend]) -> Iterator[str]:
    for legend in legends:
        for item in legend.items:
            label = f"{_swatch(item)}{html.escape(str(item.label.value))}"
            ids = " ".join(renderer.id for renderer in item.renderers)
            hides = legend.click_policy == "hide"
            yield (
                f'<button type="button" class="key" data-shows="{ids}">{label}</button>'
                if hides
                else (f'<span class="key">{label}</span>')
            )


def _swatch(item: LegendItem) -> str:
    """Return a small picture of what an entry names, as SVG."""
    renderer = item.renderers[0]
    glyph, kind = renderer.glyph, type(renderer.glyph).__name__
    if kind == "Scatter":
        fill, line = (_color(renderer, name) for name in ("fill_color", "line_color"))
        shape = f'<path d="{_MARKERS.get(str(glyph.marker), _CIRCLE)}" fill="{fill}" stroke="{line}"/>'
        return f'<svg width="14" height="14">{shape}</svg>'
    if hasattr(glyph, "fill_color"):
        opacity = glyph.fill_alpha if isinstance(glyph.fill_alpha, float | int) else 1
        shape = f'<rect width="14" height="14" fill="{_color(renderer, "fill_color")}" fill-opacity="{opacity:g}"/>'
        return f'<svg width="14" height="14">{shape}</svg>'
    dash = " ".join(map(str, glyph.line_dash)) if isinstance(glyph.line_dash, list | tuple) else ""
    width = min(6.0, float(glyph.line_width)) if isinstance(glyph.line_width, float | int) else 2.0
    style = f'stroke="{_color(renderer, "line_color")}" stroke-width="{width:g}" stroke-dasharray="{dash}"'
    return f'<svg width="22" height="14"><path d="M0 7H22" {style}/></svg>'


def _color(renderer: Any, name: str) -> str:
    """Return the colour of a glyph; where its source holds them, of the first mark."""
    color = getattr(renderer.glyph, name)
    column = getattr(color, "field", color)
    if column in renderer.data_source.data:
        color = renderer.data_source.data[column][0]
    return html.escape(str(color)) if isinstance(color, str) else "none"
