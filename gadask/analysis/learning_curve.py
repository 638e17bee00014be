"""Draw a run's learning curve: `gadask curve RUN_DIR [--out CURVE.png]`.

The horizontal axis counts emulator frames, candidates' evaluation included, as the budget does; each generation is
drawn where it closed. A second axis has the time of play, without the gaps between an interrupt and a resume. Bands are
quantiles of the children's returns, or of their fitness (`generation.fitness`). The elite is drawn where it was
crowned, as mean ± standard error over its evaluation episodes. That mean, the best of several noisy ones, tends to be
too high; the elite test does not, since it is on episodes that no selection has seen, or on every start there is.

PNG, PDF and SVG are drawn by matplotlib, which needs no browser; `plot_learning_curve` is the interactive figure of the
same for reports and notebooks. For several seeds or games see `gadask curves`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro
from bokeh.models import HoverTool, Whisker
from bokeh.plotting import figure
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import (
    CHILD,
    ELITE,
    check_suffix,
    engineering,
    frames_label,
    mix,
    new_figure,
    save,
    source_of,
    style_legend,
)
from gadask.analysis.play_time import add_play_time, play_time
from gadask.analysis.runs import Run, finished_test, load_run
from gadask.record import files
from gadask.record.elite_test import EliteTest

SUFFIXES = (".png", ".pdf", ".svg")

_TEST = "#000000"
_MEASURES = {"return": "episode return", "fitness": "fitness"}
_BANDS = (("child_q05", "child_q95", mix(CHILD, 0.17), "children, 5–95 %"),
          ("child_q25", "child_q75", mix(CHILD, 0.42), "children, 25–75 %"))  # fmt: skip
_WIDENED = np.array([0.95, 1.05])  # an area of one generation needs two places
_MAX_MARKED = 40  # more generations than this are lines without markers
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "gadask",  # or no two files would be the same
}
_TOOLTIP = """
<div style="font-size: 12px">
  generation <b>@generation</b>, @frames{0,0} frames<br>
  elite: @elite_mean{0,0.[000]} over @elite_episodes episodes<br>
  children: median @child_median{0,0.[000]}, best @child_max{0,0.[000]}
</div>
"""


@dataclass(frozen=True)
class Arguments:
    """Draw the learning curve of a run, even of one that is still going on."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="CURVE.png")] = None
    """PNG, PDF or SVG file to write; by default RUN_DIR/learning_curve.png. HTML is interactive."""


def draw_learning_curve(run_dir: Path | str, path: Path | str | None = None) -> Path:
    """Draw a run's learning curve and return the file written, by default `run_dir/learning_curve.png`.

    Raises:
        RunDirectoryError: there is no run, or none of its generations is closed.
        UsageError: `path` ends in something else than .png, .pdf, .svg or .html.
        RecordError: the run directory is damaged, or the file cannot be written.
    """
    path = Path(run_dir) / "learning_curve.png" if path is None else Path(path)
    check_suffix(path, (*SUFFIXES, ".html"))
    run = load_run(run_dir)
    test = finished_test(run.path)
    if path.suffix == ".html":
        return save(plot_learning_curve(run, test), path, describe(run))
    files.atomic_write(path, learning_curve_picture(run, test, path.suffix))
    return path


def learning_curve_picture(run: Run, test: EliteTest | None = None, suffix: str = ".png", dpi: int = 200) -> bytes:
    """Return the content of a picture of 7 by 4.4 inches; `suffix` is one of `SUFFIXES`."""
    with rc_context(_STYLE):
        picture = Figure(figsize=(7, 4.4), dpi=dpi, layout="constrained")
        axes = picture.subplots()
        _draw_curve(axes, run.generations)
        if test is not None:
            _draw_test(axes, test, frames=_test_place(run.generations, test))
        _label(axes, run)
        picture.legend(loc="outside lower center", ncols=3)
        content = io.BytesIO()
        date = {} if suffix == ".png" else {"CreationDate" if suffix == ".pdf" else "Date": None}
        picture.savefig(content, format=suffix[1:], metadata=date)
    return content.getvalue()


def plot_learning_curve(run: Run, test: EliteTest | None = None, width: int = 1000) -> figure:
    """Return the interactive learning curve."""
    frame = run.generations
    mean, error = frame["elite_mean"], frame["elite_error"]
    source = source_of(frame.drop(columns="elite").assign(low=mean - error, high=mean + error))
    plot = new_figure(x=frames_label(frame), y=_MEASURES[run.measure], width=width, height=420)
    plot.xaxis.formatter = engineering()
    _draw_bands(plot, frame)
    line = {"x": "frames", "source": source}
    best = {"color": CHILD, "line_dash": "dotted", "legend_label": "children, best"}
    shown = plot.line(**line, y="child_max", **best)
    if mean.notna().any():
        plot.line(**line, y="elite_mean", color=ELITE, line_width=2, legend_label=_elite_label(frame))
    if error.notna().any():
        whisker = Whisker(source=source, base="frames", lower="low", upper="high", line_color=ELITE)
        whisker.update(upper_head=None, lower_head=None)
        plot.add_layout(whisker)
    if len(frame) <= _MAX_MARKED:
        for column, color, size in (("child_median", CHILD, 5), ("elite_mean", ELITE, 7), ("child_max", CHILD, 4)):
            shown = plot.scatter(**line, y=column, color=color, size=size)
    if test is not None:
        place, spread = _test_place(frame, test), test.standard_error
        style = {"color": _TEST, "legend_label": _test_label(test)}
        plot.scatter([place], [test.mean], marker="diamond", size=11, **style)
        if spread == spread:
            plot.segment([place], [test.mean - spread], [place], [test.mean + spread], **style)
    plot.add_tools(HoverTool(renderers=[shown], tooltips=_TOOLTIP, mode="vline"))
    plot.x_range.start, plot.x_range.end = 0, _last_shown(frame)
    if (time := play_time(frame)) is not None:
        add_play_time(plot, time)
    style_legend(plot.legend[0])
    plot.add_layout(plot.legend[0], "right")
    return plot


def describe(run: Run) -> str:
    """Return in words what a run is."""
    config = run.config
    return f"{run.game} · {config.policy.kind} · population {config.generation.population:,} · seed {config.seed}"


def _draw_bands(plot: figure, frame: pd.DataFrame) -> None:
    """Draw the children's quantiles; of a single generation as wide as can be seen."""
    shown = ["frames", "child_median", *(name for lower, upper, *_ in _BANDS for name in (lower, upper))]
    children = frame[shown]
    if len(frame) == 1:
        children = pd.concat([children, children]).assign(frames=_WIDENED * float(frame["frames"].iloc[0]))
    source = source_of(children)
    for lower, upper, color, label in _BANDS:
        plot.varea("frames", lower, upper, source=source, color=color, legend_label=label)
    plot.line("frames", "child_median", source=source, color=CHILD, line_width=2, legend_label="children, median")


def _draw_curve(axes: Axes, frame: pd.DataFrame) -> None:
    x = frame["frames"].to_numpy(np.float64)
    marked = len(x) <= _MAX_MARKED

    def widened(column: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = frame[column].to_numpy()
        return values if len(values) > 1 else values.repeat(2)  # an area needs two places

    x_children = x if len(x) > 1 else x * _WIDENED
    for lower, upper, color, label in _BANDS:
        axes.fill_between(x_children, widened(lower), widened(upper), color=color, linewidth=0, label=label)
    axes.plot(x_children, widened("child_median"), color=CHILD, linewidth=1.6, label="children, median")
    best: dict[str, Any] = {"color": CHILD, "linewidth": 0.8, "linestyle": ":", "marker": "." if marked else ""}
    axes.plot(x, frame["child_max"], label="children, best", **best)
    known, label = np.nan_to_num(frame["elite_error"]), _elite_label(frame)
    style: dict[str, Any] = {"linewidth": 1.8, "elinewidth": 1, "marker": "o" if marked else "", "markersize": 4}
    axes.errorbar(x, frame["elite_mean"], known, color=ELITE, label=label, **style)


def _draw_test(axes: Axes, test: EliteTest, frames: float) -> None:
    style: dict[str, Any] = {"linestyle": "", "marker": "D", "markersize": 5, "capsize": 3, "label": _test_label(test)}
    axes.errorbar(frames, test.mean, np.nan_to_num(test.standard_error), color=_TEST, **style)


def _elite_label(frame: pd.DataFrame) -> str:
    return "elite, mean ± standard error" if frame["elite_error"].notna().any() else "elite, mean"


def _test_label(test: EliteTest) -> str:
    error = "" if np.isnan(test.standard_error) else " ± standard error"
    return f"elite test, mean{error} over {test.episodes_text}"


def _last_shown(frame: pd.DataFrame) -> float:
    """Return where the abscissa ends; a single generation stands in its middle."""
    return (1.04 if len(frame) > 1 else 2.0) * float(frame["frames"].iloc[-1])


def _test_place(frame: pd.DataFrame, test: EliteTest) -> float:
    """Return where an elite test is drawn: a little beside the generation that crowned it, so as not to hide it."""
    crowned = frame.loc[frame["generation"] == test.generation, "frames"]
    last = float(frame["frames"].iloc[-1])
    return float(crowned.iloc[0] if len(crowned) else last) + 0.02 * last


def _label(axes: Axes, run: Run) -> None:
    axes.set_title(describe(run))
    axes.set_xlabel(frames_label(run.generations))
    axes.set_ylabel(_MEASURES[run.measure])
    axes.set_xlim(0, _last_shown(run.generations))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if (time := play_time(run.generations)) is not None:
        above = axes.secondary_xaxis("top", functions=(time.time_at, time.frames_at))
        above.set_xlabel(time.label)
        above.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    return draw_learning_curve(arguments.run_dir, arguments.out)
