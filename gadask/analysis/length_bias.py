"""What the length of episodes does to selection: `gadask length-bias RUN_DIR [--out LENGTH_BIAS.html]`.

With `closing = "first"` a generation ends with the first N results, so short episodes are favoured, the more so the
more processes play. Three panels: children's length against return; the distribution of lengths, for counted children
and for all; and what first-N closing would have counted on 31, 248, 720 and 5,000 processes (one node and eight of
ga-dist's cluster, the 720 cores of Such et al. 2017, and more).

For the last panel a generation is played again by drawing children with replacement from those it had: all processes
begin at once, each plays one child after another, and the first N to end count. Playing times are the recorded ones. A
run that was itself closed at the first results lacks the long episodes that were cut off, so its own bias is
understated. An episode that was filled from an identical one took no time; when played again it takes as long as the
played ones of its length, since nothing is shared there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
from bokeh.layouts import column, row
from bokeh.models import LayoutDOM, Title
from bokeh.plotting import figure
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import (
    CHILD,
    GREY,
    LATE,
    LIGHT_GREY,
    PALETTE,
    SUBTITLE,
    check_suffix,
    new_figure,
    save,
    style_legend,
    whole_numbers,
)
from gadask.analysis.runs import load_run, present_episodes
from gadask.units import many

PROCESSES = (31, 248, 720, 5000)
EPISODE_COLUMNS = ("kind", "status", "counted", "steps", "seconds", "return")
"""Columns of `gadask.record.frames.episode_frame` that are needed here."""

_MAX_DOTS = 4000
_MAX_GENERATIONS = 24
_N_RESAMPLES = 200
_N_STEPS = 300


@dataclass(frozen=True)
class Arguments:
    """Show what the length of episodes does to selection."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="LENGTH_BIAS.html")] = None
    """HTML, PNG or SVG file to write; by default RUN_DIR/length_bias.html."""


@dataclass(frozen=True)
class Closing:
    """A generation that was closed at its first results."""

    counted: NDArray[np.int64]
    """Which children counted, as indices of those drawn from; shape `(n,)`, in order of arrival."""
    discarded_share: float
    """Share of the process time that went into episodes that were still being played."""


def close_at_first(seconds: NDArray[np.float64], n: int, n_processes: int, rng: np.random.Generator) -> Closing:
    """Play children drawn with replacement until `n` have ended.

    `seconds`, shape `(children,)`, positive: how long each takes.
    """
    n_each = -(-n // n_processes) + 1
    drawn = rng.integers(len(seconds), size=(n_processes, n_each))
    while True:
        ends = np.cumsum(seconds[drawn], axis=1)
        order = np.argsort(ends, axis=None, kind="stable")[:n]
        closing_s = ends.flat[order[-1]]
        if (ends[:, -1] >= closing_s).all():
            break
        drawn = np.hstack([drawn, rng.integers(len(seconds), size=drawn.shape)])
    counted = drawn.flat[order]
    return Closing(counted, float(1 - seconds[counted].sum() / (n_processes * closing_s)))


def first_n_closing(
    episodes: pd.DataFrame,
    population: int,
    parents: int | None,
    processes: Sequence[int] = PROCESSES,
    n_resamples: int = _N_RESAMPLES,
) -> pd.DataFrame:
    """Return what first-N closing would have counted, one row per generation and number of processes.

    `episodes` needs the columns `kind`, `status`, `steps`, `seconds`, `return` and `recorded_in`. At most 24
    generations are played again, evenly spaced. Columns: `generation`, `processes`; `length`, mean length of the
    counted children over that of all; `parents_return`, mean return of the best `parents` of them, and
    `parents_return_of_all`, the same where `population` children are drawn whatever their length (`parents` is None
    where others become parents, and both are left out); `discarded_share` of the process time. All are means over
    `n_resamples` resamples shared by the generations, at least 8 each. The same each time.
    """
    children = finished_children(episodes)
    numbers = children["recorded_in"].unique()
    chosen = numbers[
        np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), _MAX_GENERATIONS)).round().astype(int))
    ]
    n_each = max(8, n_resamples // max(1, len(chosen)))
    rng = np.random.default_rng(0)
    n_best = 1 if parents is None else parents
    rows = []
    for number in chosen:
        own = children[children["recorded_in"] == number]
        seconds = np.maximum(_playing_times(own), 1e-6)
        steps, returns = own["steps"].to_numpy(), own["return"].to_numpy()
        for n_processes in processes:
            outcomes = []
            for _ in range(n_each):
                closing = close_at_first(seconds, population, n_processes, rng)
                fair = rng.integers(len(own), size=population)
                best, fair_best = (np.sort(returns[drawn])[-n_best:].mean() for drawn in (closing.counted, fair))
                length = steps[closing.counted].mean() / steps.mean()
                outcomes.append((length, best, fair_best, closing.discarded_share))
            rows.append((number, n_processes, *np.mean(outcomes, axis=0)))
    names = ["generation", "processes", "length", "parents_return", "parents_return_of_all", "discarded_share"]
    table = pd.DataFrame(rows, columns=names)
    return table if parents is not None else table.drop(columns=["parents_return", "parents_return_of_all"])


def finished_children(episodes: pd.DataFrame) -> pd.DataFrame:
    """Return the children's episodes that ended well, whether they counted or not.

    `episodes` needs the columns `kind` and `status`.
    """
    return episodes[(episodes["kind"] == "child") & (episodes["status"] == "ok")]


def _playing_times(children: pd.DataFrame) -> NDArray[np.float64]:
    """Return how long each child of a generation takes to play, shape `(children,)`, also those that were filled in."""
    seconds = children["seconds"].astype(np.float64).where(children["seconds"] > 0)
    of_its_length = seconds.groupby(children["steps"].to_numpy()).transform("mean")
    times: NDArray[np.float64] = seconds.fillna(of_its_length).fillna(0.0).to_numpy()
    return times


def plot_length_bias(
    episodes: pd.DataFrame, generations: pd.DataFrame, closings: pd.DataFrame, population: int, width: int = 1000
) -> LayoutDOM:
    """Return the three panels.

    `episodes` needs `EPISODE_COLUMNS`, `generations` the columns `generation`, `counted_steps` and `all_steps`;
    `closings` comes from `first_n_closing`.
    """
    children = episodes[episodes["kind"] == "child"]
    panels = row(_plot_dots(children, width // 2), _plot_lengths(children, width // 2))
    return column(panels, _plot_closings(generations, closings, population, width))


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    path = arguments.out or arguments.run_dir / "length_bias.html"
    check_suffix(path)
    run = load_run(arguments.run_dir)
    episodes = present_episodes(run.path, columns=EPISODE_COLUMNS)
    population = run.config.generation.population
    closings = first_n_closing(episodes, population, run.parents_by_return)
    layout = plot_length_bias(episodes, run.generations, closings, population)
    return save(layout, path, f"{run.game}, seed {run.config.seed}: length bias")


def _plot_dots(children: pd.DataFrame, width: int) -> figure:
    """Draw length against return; of many children a random sample, the same each time."""
    plot = new_figure(title="Length against return", x="episode length [steps]", y="return", width=width, height=340)
    drawn = children
    if len(children) > _MAX_DOTS:
        drawn = children.sample(_MAX_DOTS, random_state=0)
        plot.add_layout(Title(text=f"{_MAX_DOTS:,} of {len(children):,} children", **SUBTITLE), "above")
    for counts, color, label in ((True, CHILD, "counted"), (False, LATE, "late or stopped")):
        own = drawn[drawn["counted"] == counts]
        if len(own):
            plot.scatter(own["steps"], own["return"], size=5, color=color, alpha=0.35, legend_label=label)
    _put_legend_above(plot)
    return plot


def _plot_lengths(children: pd.DataFrame, width: int) -> figure:
    plot = new_figure(
        title="Distribution of lengths",
        x="episode length [steps]",
        y="share of children at most this long",
        width=width,
        height=340,
        y_range=(0, 1.02),
    )
    counted = children.loc[children["counted"], "steps"]
    curves = ((children["steps"], LIGHT_GREY, 6, "all"), (counted, CHILD, 2, "counted"))
    for steps, color, line_width, label in curves:
        if len(steps):
            shares = np.linspace(0, 1, min(_N_STEPS, len(steps) + 1))
            lengths = np.quantile(steps, shares, method="inverted_cdf")
            label = f"{label}: mean {steps.mean():,.0f} steps"
            plot.step(lengths, shares, mode="after", color=color, line_width=line_width, legend_label=label)
    _put_legend_above(plot)
    return plot


def _plot_closings(generations: pd.DataFrame, closings: pd.DataFrame, population: int, width: int) -> figure:
    plot = new_figure(
        title=f"What closing at the first {many(population, 'result')} would have counted",
        x="generation",
        y="mean length, counted / all",
        width=width,
        height=320,
    )
    plot.xaxis.ticker = whole_numbers()
    for (n_processes, own), color in zip(closings.groupby("processes"), PALETTE, strict=False):
        style = {"color": color, "legend_label": many(n_processes, "process", "processes")}
        plot.line(own["generation"], own["length"], line_width=2, **style)
        plot.scatter(own["generation"], own["length"], size=6, **style)
    ratio = generations["counted_steps"] / generations["all_steps"]
    plot.line(generations["generation"], ratio, color=GREY, line_dash="dashed", line_width=2, legend_label="this run")
    plot.y_range.start = 0
    style_legend(plot.legend[0])
    plot.add_layout(plot.legend[0], "right")
    return plot


def _put_legend_above(plot: figure) -> None:
    style_legend(plot.legend[0])
    plot.legend[0].update(orientation="horizontal", location="top_left", spacing=10)
    plot.add_layout(plot.legend[0], "above")
