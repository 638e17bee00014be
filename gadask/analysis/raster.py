"""Draw what every rollout process did when: `gadask raster RUN_DIR [--generations 3:8] [--out FILE]`.

A line is a rollout process, a bar an episode: a child's, an evaluation of a candidate, or one that did not count
because it came late or was cut off. White is idle time, or other runs on the same nodes. Vertical lines mark where the
last counted episode of a generation ended. Time is Unix time by each node's own clock. Stretches longer than `PAUSE_S`
in which no process at all was playing, such as between an interrupt and a resume, are cut out and marked.

A run has far more episodes than a screen has room for. Without `--generations` the last ones are drawn, up to
`MAX_BARS` episodes together; the figure says which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
from bokeh.models import FixedTicker, HoverTool, LinearAxis, Span, Title
from bokeh.plotting import figure
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import (
    CHILD,
    EVALUATION,
    FAILED,
    GREY,
    LATE,
    SUBTITLE,
    check_suffix,
    mix,
    new_figure,
    save,
    source_of,
    style_axis,
    style_legend,
)
from gadask.analysis.runs import load_run, present_episodes
from gadask.errors import UsageError

MAX_BARS = 12_000
PAUSE_S = 60.0
EPISODE_COLUMNS = (
    "generation", "slot", "episode", "steps", "seconds", "return", "start_s", "process", "kind", "status", "node",
    "counted",
)  # fmt: skip
"""Columns of `gadask.record.frames.episode_frame` that a raster needs."""

_COLORS = {"child": CHILD, "evaluation": EVALUATION, "late": LATE, "failed": FAILED}
_LABELS = {
    "child": "child",
    "evaluation": "evaluation of a candidate",
    "late": "did not count: late or stopped",
    "failed": "failed",
}
_MAX_NAMED, _MAX_LABELLED = 25, 32
_UNITS = ((3 * 3600, 3600, "h"), (180, 60, "min"), (0, 1, "s"))
_TOOLTIP = """
<div style="font-size: 12px">
  <b>$name</b>, of generation @generation, slot @slot, episode @episode<br>
  return @return{0,0.[000]}, @steps{0,0} steps in @seconds{0.0} s, @status<br>
  @node, process @process
</div>
"""


@dataclass(frozen=True)
class Arguments:
    """Draw what every rollout process did when."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="RASTER.html")] = None
    """HTML, PNG or SVG file to write; by default RUN_DIR/raster.html."""
    generations: Annotated[str | None, tyro.conf.arg(metavar="FIRST:LAST")] = None
    """Generations to draw, the last one included; by default the last that fit."""


def bars(episodes: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[float, float]]]:
    """Return one bar for each played episode; and where a pause was cut out and how long it was, both in seconds.

    `episodes` needs `EPISODE_COLUMNS` and `recorded_in`. Added columns: `left` and `right`, seconds since the first
    episode began, pauses cut out; `place` of its node, where a node that comes after another had gone takes over;
    `line` of its process; `what`: `child`, `evaluation`, `late` or `failed`; `turn`, true for every other bar of a
    line.
    """
    took_time = episodes["seconds"] > 0  # others were filled from an episode of the same genome and start
    table = episodes[took_time if took_time.any() else slice(None)].sort_values("start_s", ignore_index=True)
    start = table["start_s"].to_numpy() - table["start_s"].min()
    end = start + table["seconds"].to_numpy()
    busy_until = np.maximum.accumulate(end)
    gap = np.append(0.0, start[1:] - busy_until[:-1])
    gap[gap <= PAUSE_S] = 0.0
    cut = np.cumsum(gap)
    left, right = start - cut, end - cut
    place, line = _places(table["node"].astype(str), table["process"].to_numpy(), left, right)
    late = ~table["counted"] | (table["status"] == "stopped")
    what = table["kind"].astype(str).mask(table["status"] != "ok", "failed").mask(late, "late")
    turn = table.groupby(line).cumcount() % 2 == 0
    table = table.assign(left=left, right=right, place=place, line=line, what=what, turn=turn)
    return table, [(float(left[i]), float(gap[i])) for i in np.flatnonzero(gap)]


def last_generations(generations: pd.DataFrame, max_bars: int = MAX_BARS) -> list[int]:
    """Return the last generations that have at most `max_bars` episodes together, at least one.

    `generations` needs the columns `generation` and `episodes`.
    """
    before = generations["episodes"].shift(fill_value=0)
    fits = generations["episodes"].iloc[-1] - before <= max_bars
    numbers: list[int] = generations["generation"].tolist()
    return numbers[-max(1, int(fits.sum())) :]


def plot_raster(episodes: pd.DataFrame, note: str = "", width: int = 1000) -> figure:
    """Return the raster of some generations' episodes; columns as in `bars`."""
    table, pauses = bars(episodes)
    _, unit_s, unit = next(entry for entry in _UNITS if table["right"].max() >= entry[0])
    table[["left", "right"]] /= unit_s
    n_lines = int(table["line"].max()) + 1
    height = int(np.clip(16 * n_lines + 180, 250, 700))
    plot = new_figure(
        x=f"time since the first episode drawn [{unit}]",
        y="rollout process",
        width=width,
        height=height,
        y_range=(n_lines - 0.4, -0.6),
        x_range=(0, float(table["right"].max()) * 1.005),
    )
    plot.ygrid.grid_line_color = None
    renderers = []
    for what, color in _COLORS.items():
        own = table[table["what"] == what].sort_values(
            "turn", ascending=False
        )  # the legend shows the first one's colour
        if own.empty:
            continue
        colors = np.where(own["turn"], color, mix(color, 0.7))
        source = source_of(own.assign(color=colors).drop(columns=["start_s", "turn", "what"]))
        bar = {"left": "left", "right": "right", "height": 0.8, "color": "color", "line_color": None}
        renderers.append(plot.hbar("line", source=source, legend_label=_LABELS[what], name=_LABELS[what], **bar))
    plot.add_tools(HoverTool(renderers=renderers, tooltips=_TOOLTIP))
    for at, _ in pauses:
        style = {"line_dash": "dotted", "line_width": 4, "color": GREY}
        plot.line([at / unit_s] * 2, [-0.6, n_lines - 0.4], legend_label="pause, cut out", **style)
    _mark_generations(plot, table)
    _label_lines(plot, table)
    if note:
        plot.add_layout(Title(text=note, **SUBTITLE), "above")
    style_legend(plot.legend[0])
    plot.legend[0].update(orientation="horizontal", location="top_left", spacing=10)
    plot.add_layout(plot.legend[0], "above")
    return plot


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    path = arguments.out or arguments.run_dir / "raster.html"
    check_suffix(path)
    run = load_run(arguments.run_dir)
    closed = run.generations["generation"].tolist()
    drawn = (
        last_generations(run.generations) if arguments.generations is None else _range(arguments.generations, closed)
    )
    plot = plot_raster(present_episodes(run.path, drawn, EPISODE_COLUMNS), describe(drawn, closed))
    return save(plot, path, f"{run.game}, seed {run.config.seed}: raster")


def describe(drawn: Sequence[int], closed: Sequence[int]) -> str:
    """Return in words which generations are drawn; nothing where all are."""
    if len(drawn) == len(closed):
        return ""
    which = f"generation {drawn[0]}" if len(drawn) == 1 else f"generations {drawn[0]} to {drawn[-1]}"
    return f"{which} of {closed[0]} to {closed[-1]}"


def _range(text: str, closed: Sequence[int]) -> list[int]:
    """Return the closed generations of a range such as `3:8`."""
    found = re.fullmatch(r"(\d+):(\d+)", text)
    chosen = [number for number in closed if found and int(found[1]) <= number <= int(found[2])]
    if not chosen:
        raise UsageError(f"--generations: expected a range such as 3:8 within {closed[0]}:{closed[-1]}, found {text!r}")
    return chosen


def _places(
    nodes: pd.Series, process: NDArray[np.int64], left: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the place of each bar's node and the line of its process."""
    stays = pd.DataFrame({"node": nodes, "first": left, "last": right, "n": process.astype(int) + 1})
    stays = stays.groupby("node").agg({"first": "min", "last": "max", "n": "max"}).sort_values("first")
    taken_until: list[float] = []
    sizes: list[int] = []
    places = {}
    for node, first, last, n in stays.itertuples():
        place = next((i for i, until in enumerate(taken_until) if until <= first), len(sizes))
        if place == len(sizes):
            taken_until.append(last)
            sizes.append(n)
        taken_until[place], sizes[place] = last, max(n, sizes[place])
        places[node] = place
    place_of = nodes.map(places).to_numpy(np.int64)
    return place_of, np.cumsum([0, *sizes])[place_of] + process


def _mark_generations(plot: figure, table: pd.DataFrame) -> None:
    """Draw a line where each generation's last counted episode ended, and name some of them above."""
    ends = table[table["counted"]].groupby("recorded_in")["right"].max()
    for end in ends:
        plot.add_layout(Span(location=end, dimension="height", line_color="black", line_width=1))
    middles = (ends + ends.shift(fill_value=0.0)) / 2
    named = middles[:: -(-len(middles) // _MAX_NAMED)]
    axis = LinearAxis(ticker=FixedTicker(ticks=named.tolist()), axis_label="generation")
    axis.major_label_overrides = {middle: str(number) for number, middle in named.items()}
    style_axis(axis)
    axis.axis_line_color = axis.major_tick_line_color = None
    plot.add_layout(axis, "above")


def _label_lines(plot: figure, table: pd.DataFrame) -> None:
    """Label each process where there is room, otherwise each node at its first process."""
    lines = table.groupby("line")[["place", "process"]].first()
    if len(lines) > _MAX_LABELLED:
        lines = lines[lines["process"] == 0]
        labels = {int(line): f"node {place}" for line, place, _ in lines.itertuples()}
    else:
        labels = {int(line): f"node {place} · {process}" for line, place, process in lines.itertuples()}
    plot.yaxis.ticker = FixedTicker(ticks=list(labels))
    plot.yaxis.major_label_overrides = labels
