"""How figures look, and how they are saved: HTML that opens offline, PNG and SVG.

Figures are Bokeh's: interactive in a notebook and a browser. Colours are those of Okabe and Ito (2008), *Color
universal design*, which colour-blind readers tell apart; each has one meaning throughout. PNG and SVG are drawn by a
headless Chromium, which must be installed; nothing else needs one.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from bokeh.embed import file_html
from bokeh.models import (
    Axis,
    BasicTicker,
    ColumnDataSource,
    CustomJSTickFormatter,
    LayoutDOM,
    Legend,
    Model,
    NumeralTickFormatter,
    Title,
)
from bokeh.models.plots import Plot
from bokeh.plotting import figure as bokeh_figure
from bokeh.resources import INLINE

from gadask.errors import RecordError, UsageError
from gadask.record import files

CHILD, ELITE, EVALUATION, LATE, FAILED = "#0072B2", "#D55E00", "#E69F00", "#CC79A7", "#000000"
GREY, LIGHT_GREY = "#8A8A8A", "#E3E3E3"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""For systems, seeds or settings side by side; seven at most."""

LABEL = {"text_font_size": "12px", "text_color": "#555555"}
SUBTITLE = LABEL | {"text_font_style": "normal"}
"""Options of a `Title` that stands below the first."""

Lines = dict[str, tuple[str, str]]
"""Entries of a legend: label → colour and dash."""

KEYS_ALONE = "keys alone"
"""Name of a figure that is only a legend: a page shows it as text."""

FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif"
SUFFIXES = (".html", ".png", ".svg")
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
_TIMEOUT_S = 150
_SCALE = 2
_ENGINEERING = """
if (tick === 0) return "0"
const units = ["", "k", "M", "G"]
const n = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.abs(tick)) / 3 + 1e-9)))
return String(Number((tick / 1000 ** n).toPrecision(6))) + units[n]
"""
# Chromium prints the page's elements once its virtual time is over.
_EXPORT = """
<script>
const kind = "{kind}"
const watch = () => {{
  const [view] = Bokeh.index
  if (!view || !Bokeh.documents[0].is_idle) return setTimeout(watch, 50)
  const layer = view.export(kind, true)
  const text = kind === "svg" ? layer.ctx.get_serialized_svg(true) : layer.canvas.toDataURL("image/png")
  const out = document.createElement("pre")
  out.id = "exported"
  out.textContent = btoa(unescape(encodeURIComponent(text)))
  document.body.replaceChildren(out)
}}
watch()
</script>
"""


def new_figure(*, title: str = "", x: str, y: str, width: int = 900, height: int = 400, **options: Any) -> bokeh_figure:
    """Return an empty figure with the house's look; `x` and `y` label its axes, units included.

    `options` go to `bokeh.plotting.figure`.
    """
    tools = options.pop("tools", "pan,xwheel_zoom,box_zoom,reset,save")
    plot = bokeh_figure(
        title=title or None,
        width=width,
        height=height,
        x_axis_label=x,
        y_axis_label=y,
        tools=tools,
        background_fill_color="#FFFFFF",
        border_fill_color="#FFFFFF",
        outline_line_color=None,
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    if plot.title is not None:
        plot.title.text_font, plot.title.text_font_size = FONT, "13px"
    for axis in plot.axis:
        style_axis(axis)
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color = LIGHT_GREY
    plot.xaxis.formatter, plot.yaxis.formatter = thousands(), thousands()
    return plot


def style_axis(axis: Axis) -> None:
    """Give an axis the house's look."""
    axis.axis_label_text_font = axis.major_label_text_font = FONT
    axis.axis_label_text_font_style = "normal"
    axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
    axis.axis_line_color = axis.major_tick_line_color = GREY
    axis.minor_tick_line_color = None
    axis.major_tick_in = 0


def mix(color: str, share: float) -> str:
    """Return a colour, `#RRGGBB`, thinned with white to `share`."""
    parts = (round(255 - share * (255 - value)) for value in bytes.fromhex(color[1:]))
    return "#" + bytes(parts).hex().upper()


def style_legend(legend: Legend) -> None:
    """Give a legend the house's look; a click on an entry hides what it names."""
    legend.label_text_font, legend.label_text_font_size = FONT, "12px"
    legend.border_line_color = None
    legend.background_fill_alpha = 0.8
    legend.padding, legend.spacing, legend.margin = 4, 2, 4
    legend.click_policy = "hide"


def legend_strip(lines: Lines, width: int, note: str = "") -> bokeh_figure:
    """Return a legend that stands alone, for a grid of panels that share it, with a note below; long labels wrap."""
    labels = [textwrap.wrap(label, (width - 40) // 7) for label in lines]
    longest = max(len(part) for label in labels for part in label)
    n_columns = max(1, min(len(labels), width // (40 + 7 * longest)))
    rows = [labels[first : first + n_columns] for first in range(0, len(labels), n_columns)]
    height = 12 + sum(6 + 16 * max(map(len, row)) for row in rows)
    strip = new_figure(x="", y="", width=width, height=height, toolbar_location=None, name=KEYS_ALONE)
    strip.axis.visible = strip.grid.visible = False
    for label, (color, dash) in zip(labels, lines.values(), strict=True):
        strip.line([0], [0], color=color, line_dash=dash, line_width=2, legend_label="\n".join(label))
    style_legend(strip.legend[0])
    strip.legend[0].update(
        location="center", orientation="horizontal", ncols=n_columns, spacing=10, click_policy="none"
    )
    if note:
        text = textwrap.fill(note, width // 7)
        strip.height += 8 + 15 * len(text.splitlines())
        strip.add_layout(Title(text=text, align="center", **SUBTITLE), "below")
    return strip


def engineering() -> CustomJSTickFormatter:
    """Return ticks such as 200k, 1.5M and 2G."""
    return CustomJSTickFormatter(code=_ENGINEERING)


def source_of(frame: pd.DataFrame) -> ColumnDataSource:
    """Return a frame's columns as a source of glyphs, its index aside."""
    return ColumnDataSource({str(name): frame[name].to_numpy() for name in frame.columns})


def thousands() -> NumeralTickFormatter:
    """Return ticks such as 1,500 and 0.25."""
    return NumeralTickFormatter(format="0,0.[000]")


def whole_numbers() -> BasicTicker:
    """Return a ticker that never goes between two whole numbers."""
    return BasicTicker(min_interval=1)


def frames_label(generations: pd.DataFrame) -> str:
    """Return the label of an axis that counts frames; `generations` needs the columns `frames` and `steps`."""
    return "emulator frames" if (generations["frames"] > generations["steps"]).any() else "environment steps"


def save(model: LayoutDOM, path: Path | str, title: str) -> Path:
    """Write a figure or layout to an HTML, PNG or SVG file and return its path.

    The HTML page holds all it needs and opens offline.

    Raises:
        UsageError: `path` ends in something else, or it is a picture and there is no Chromium here.
        RecordError: the file cannot be written, or Chromium failed.
    """
    path = Path(path)
    check_suffix(path)
    kind = path.suffix[1:]
    content = _page(model, title).encode() if kind == "html" else _exported(model, kind, title)
    files.atomic_write(path, content)
    return path


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raise `UsageError` unless the file's name ends in one of `suffixes`."""
    if path.suffix not in suffixes:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(suffixes)}, found {path.suffix!r}")


def _page(model: LayoutDOM, title: str) -> str:
    is_free = model.document is None
    page: str = file_html(model, INLINE, title)
    if is_free and model.document is not None:  # or its figures could not be put into another layout
        model.document.remove_root(model)
    return page


def _exported(model: LayoutDOM, kind: str, title: str) -> bytes:
    """Return a layout as PNG or SVG, drawn by Chromium."""
    browser = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if browser is None:
        raise UsageError(
            f"a .{kind} file needs Chromium, found none of {', '.join(_CHROMIUM)}; install one, or write .html"
        )
    backends = {plot: plot.output_backend for plot in _plots(model)}
    for plot in backends:
        plot.output_backend = "svg" if kind == "svg" else "canvas"
    try:
        page = _page(model, title)
    finally:
        for plot, backend in backends.items():
            plot.output_backend = backend
    head, body, tail = page.rpartition("</body>")  # scripts may hold others
    page = head + _EXPORT.format(kind=kind) + body + tail
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "figure.html"
        source.write_text(page)
        command = [
            browser,
            "--headless",
            "--no-sandbox",  # it refuses to start as root with one; the page is ours and loads nothing
            "--disable-gpu",
            f"--user-data-dir={directory}/profile",
            "--window-size=2400,3000",
            f"--force-device-scale-factor={_SCALE}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            source.as_uri(),
        ]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise RecordError(f"{browser}: expected a picture within {_TIMEOUT_S} s, found none; write .html") from None
    found = re.search(r'<pre id="exported">([^<]*)</pre>', result.stdout)
    if found is None:
        raise RecordError(f"{browser}: expected a picture, found none (exit status {result.returncode}); write .html")
    content = base64.b64decode(found[1])
    return content if kind == "svg" else base64.b64decode(content.partition(b",")[2])


def _plots(model: Model) -> list[Plot]:
    return [reference for reference in model.references() if isinstance(reference, Plot)]
