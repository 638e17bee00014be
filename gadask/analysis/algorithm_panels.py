"""How a run's algorithm stands over its generations: small panels of what the log's lines hold under `algorithm`.

For an algorithm whose centre moves, such as `openai-es`, the anchors add two: the norm of the centre's parameters, and
how far per generation it moved between successive anchors. A missing anchor file is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from bokeh.layouts import gridplot
from bokeh.models import CustomJSTickFormatter, HoverTool, LayoutDOM, Range1d
from bokeh.plotting import figure
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from gadask.analysis.figures import CHILD, new_figure, source_of, whole_numbers
from gadask.analysis.page import Page
from gadask.analysis.runs import Run
from gadask.errors import RecordError
from gadask.genomes.anchors import FOLDER, anchor_path
from gadask.record import files
from gadask.record.directory import read_generations

_LABELS = {
    "archive": "behaviours in the archive",
    "mean_novelty": "children's mean novelty",
    "median_power": "parents' median mutation power",
    "rank": "share of children below the centre",
    "norm": "norm of the centre's parameters",
    "step": "centre's step per generation",
}
_SHARES = {"rank"}
_MAX_MARKED = 40  # more points than these are a line without markers
_N_COLUMNS = 3


def read_algorithm(run_dir: Path) -> pd.DataFrame:
    """Return the numbers that the log's lines hold under `algorithm`: columns `generation`, and each number's key.

    NaN where a line has none. Keys that only count the generations are left out.
    """
    rows = [
        {"generation": line["generation"]}
        | {key: float(value) for key, value in line.get("algorithm", {}).items() if type(value) in (int, float)}
        for line in read_generations(run_dir)
    ]
    frame = pd.DataFrame(rows)
    counting = [key for key in frame if key != "generation" and (frame[key] - frame["generation"]).nunique() == 1]
    return frame.drop(columns=counting) if len(frame) > 1 else frame


def read_anchors(run_dir: Path) -> pd.DataFrame:
    """Return the anchors that were a run's only base: columns `generation`, `norm`, `step`.

    `generation` is the first whose children were made from it, `norm` the Euclidean norm of its parameters, `step` that
    of their difference to the anchor before, divided by the generations between them; NaN of the first.

    Raises:
        RecordError: the file of an anchor is damaged.
    """
    rows: list[tuple[int, float, float]] = []
    known: set[str] = set()
    before: NDArray[np.float64] | None = None
    for line in read_generations(run_dir):
        name = line["parents"][0] if len(line["parents"]) == 1 else ""
        if not name.startswith("@") or "-" in name or name in known:
            continue
        known.add(name)
        parameters = _parameters(anchor_path(run_dir / FOLDER, name[1:]))
        if parameters is None:
            continue
        generation, step = line["generation"], np.nan
        if before is not None:
            step = float(np.linalg.norm(parameters - before)) / (generation - rows[-1][0])
        rows.append((generation, float(np.linalg.norm(parameters)), step))
        before = parameters
    return pd.DataFrame(rows, columns=["generation", "norm", "step"])


def plot_panels(frames: list[pd.DataFrame], width: int = 1000) -> LayoutDOM | None:
    """Return one panel for each column beside `generation` that has a number; None where there are none."""
    drawn = [(key, frame[["generation", key]].dropna()) for frame in frames for key in frame if key != "generation"]
    drawn = [(key, values) for key, values in drawn if len(values)]
    if not drawn:
        return None
    last = max(int(values["generation"].iloc[-1]) for _, values in drawn)
    together = Range1d(-0.02 * max(1, last), 1.02 * max(1, last))
    panels = [_panel(key, values, width // _N_COLUMNS, together) for key, values in drawn]
    return gridplot(panels, ncols=_N_COLUMNS, toolbar_location=None)


def add_algorithm(page: Page, run: Run) -> None:
    """Add the section of a run whose algorithm says how it stands, or that has anchors; nothing for another."""
    anchors = read_anchors(run.path)
    panels = plot_panels([read_algorithm(run.path), anchors])
    if panels is None:
        return
    page.heading("How the algorithm stands")
    page.figure(panels)
    if len(anchors):
        page.note(
            "Norm and step are of the anchors in the run directory; a step is the distance between successive ones,"
            " divided by the generations between them."
        )


def _panel(key: str, values: pd.DataFrame, width: int, x_range: Range1d) -> figure:
    options = {"y_range": (0, 1.03)} if key in _SHARES else {}
    plot = new_figure(
        title=_LABELS.get(key, key.replace("_", " ")), x="generation", y="", width=width, height=220, x_range=x_range,
        tools="xwheel_zoom,reset", **options,
    )  # fmt: skip
    plot.yaxis.formatter = CustomJSTickFormatter(code="return String(Number(tick.toPrecision(4)))")
    plot.xaxis.ticker = whole_numbers()
    source = source_of(values)
    line = plot.line("generation", key, source=source, color=CHILD, line_width=2)
    if len(values) <= _MAX_MARKED:
        line = plot.scatter("generation", key, source=source, color=CHILD, size=5)
    plot.add_tools(HoverTool(renderers=[line], tooltips=[("generation", "@generation"), (key, f"@{{{key}}}")]))
    return plot


def _parameters(path: Path) -> NDArray[np.float64] | None:
    """Return an anchor's parameters; None without its file."""
    content = files.read(path)
    if content is None:
        return None
    try:
        return np.asarray(load(content)["parameters"], np.float64).ravel()
    except (SafetensorError, LookupError):
        raise RecordError(f"{path}: expected a safetensors file with a tensor 'parameters', found another") from None
