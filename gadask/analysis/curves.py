"""Learning curves of a study: `gadask curves RUN_DIR … [--out CURVES.html]`.

One panel a game. A thick line is the median over seeds of the elite's mean return. Fewer than ten seeds are thin lines,
whose range says how far apart they lie and no more; from ten on a band is the median's 95 % interval
(`analysis.intervals`). As in ga-dist's plot of 2018, the elite of a run at t frames is that of the generation that
crosses t, the first to close at t frames or more; before a run has come that far it has none. So a curve ends where the
first of its runs ends, and no seed drops out on the way; a run that ended because its elite was good enough
(`budget.elite_mean`) keeps that elite. The overlay is ga-dist's curve, with its band shaded grey: a bootstrap over 5
seeds, roughly their range; `--recalled` adds scores of Such et al. 2017, to be checked before quoting. See
`analysis.published`.

The elite's mean tends to be too high, as the best of several noisy ones; so does ga-dist's. For tests of elites see
`gadask scores`. With `generation.fitness` all means are of fitness.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
from bokeh.layouts import column, gridplot
from bokeh.models import LayoutDOM, Span, Title
from bokeh.plotting import figure
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import (
    GREY,
    PALETTE,
    Lines,
    check_suffix,
    engineering,
    frames_label,
    legend_strip,
    new_figure,
    save,
)
from gadask.analysis.intervals import MIN_SEEDS, median_spread
from gadask.analysis.published import RECALLED, ga_dist_curves, published_scores
from gadask.analysis.runs import load_study, study_frame

_CHARACTER = 7  # pixels, with the axis beside them
GA_DIST = "ga-dist, 2018: median of 5 seeds, shaded about their range"
CROSSING = "At t frames both show the elite of the generation that crosses t: the first to close at t frames or more."
"""What is said below a figure that shows ga-dist's curves."""

_OVERLAID = {"ga_1B": "dashed", "random_search_1B": "dotted"}
_MAX_MARKED = 20  # more points of ga-dist's than this are a line without markers
_N_POINTS = 400
_MAX_COLUMNS = 4


@dataclass(frozen=True)
class Arguments:
    """Draw learning curves: one panel a game, the median over seeds, and the seeds or an interval."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Annotated[Path, tyro.conf.arg(metavar="CURVES.html")] = Path("curves.html")
    """HTML, PNG or SVG file to write."""
    overlays: bool = True
    """Draw ga-dist's curves of 2018."""
    recalled: bool = False
    """Draw even published scores that nobody has compared with the paper; their names say so."""


def learning_curves(generations: pd.DataFrame, n_points: int = _N_POINTS) -> pd.DataFrame:
    """Return the median over seeds of the elite's mean return, with its range or interval, on a grid of frames.

    `generations` needs the columns `game`, `system`, `run`, `frames`, `elite_mean` and `goal`, as `runs.study_frame`
    returns them. Columns of the result: `game`, `system`, `frames`, `median`, `lower`, `upper`, `seeds`; `lower` and
    `upper` are those of `intervals.median_spread`. A run without an elite is left out, and so are runs that have none
    at the same frames.
    """
    curves = []
    for (game, system), own in generations.groupby(["game", "system"], sort=False):
        runs = [run for _, run in own.groupby("run", sort=False) if run["elite_mean"].notna().any()]
        grid = _grid(runs, n_points) if runs else np.zeros(0)
        if not len(grid):
            continue
        values = np.stack([elite_at(run, grid) for run in runs])
        lower, upper = median_spread(values)
        curves.append(
            pd.DataFrame(
                {
                    "game": game,
                    "system": system,
                    "frames": grid,
                    "median": np.median(values, axis=0),
                    "lower": lower,
                    "upper": upper,
                    "seeds": len(runs),
                }
            )
        )
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def elite_at(run: pd.DataFrame, frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the elite that a run has at each of `frames`: that of the generation that crosses them.

    That is the first generation that closes at so many frames or more, as in ga-dist's plot of 2018. NaN where the run
    has not come so far, or that generation has no elite; but a run that ended because its elite was good enough keeps
    that elite. `run` needs the columns `frames`, ascending, `elite_mean` and `goal`.
    """
    means = run["elite_mean"].to_numpy()
    beyond = means[-1] if run["goal"].iloc[0] else np.nan
    values: NDArray[np.float64] = np.append(means, beyond)
    return values[np.searchsorted(run["frames"].to_numpy(), frames, side="left")]


def plot_curves(
    generations: pd.DataFrame, *, overlays: bool = True, recalled: bool = False, width: int = 1000
) -> LayoutDOM:
    """Return a grid of panels, one a game, with one legend.

    Columns are as in `learning_curves`, and `steps`; `measure` is named on the axis, `return` where it is missing.
    `overlays` are ga-dist's curves, `recalled` published scores that are recalled.
    """
    curves = learning_curves(generations)
    games = sorted(curves["game"].unique()) if len(curves) else []
    systems = {system: PALETTE[i % len(PALETTE)] for i, system in enumerate(generations["system"].unique())}
    n_columns = min(_MAX_COLUMNS, math.ceil(math.sqrt(len(games)))) or 1
    size = {"width": width // n_columns, "height": round(width / n_columns * (0.45 if n_columns == 1 else 0.75))}
    lines = {f"{system}: {_seeds(curves, system)}": (color, "solid") for system, color in systems.items()}
    panels = []
    for game in games:
        of_game = generations[generations["game"] == game]
        measures = of_game["measure"].unique() if "measure" in of_game else ["return"]
        y = f"elite's mean {' or '.join(measures)}"
        panel = new_figure(title=game, x=frames_label(of_game), y=y, **size)
        panel.xaxis.formatter = engineering()
        own = curves[curves["game"] == game]
        shown = own[["median", "lower", "upper"]].to_numpy()  # the range of few seeds is that of their lines
        end = float(own["frames"].max())
        beyond: list[str] = []
        if overlays:  # below the study's own
            shown = np.append(shown, draw_ga_dist(panel, game, end, lines, beyond))
        for system, color in systems.items():
            _draw(panel, own[own["system"] == system], of_game[of_game["system"] == system], color)
        if recalled:
            shown = np.append(shown, _draw_recalled(panel, game, shown, lines, beyond))
        name_beyond(panel, beyond, size["width"])
        panel.x_range.start, panel.x_range.end = 0, 1.02 * end
        panel.y_range.start, panel.y_range.end = value_range(shown)
        panels.append(panel)
    grid = gridplot(panels, ncols=n_columns, toolbar_location="right" if len(panels) == 1 else None)
    return column(grid, legend_strip(lines, width, CROSSING if GA_DIST in lines else ""))


def draw_ga_dist(panel: figure, game: str, end: float, lines: Lines, beyond: list[str]) -> NDArray[np.float64]:
    """Draw ga-dist's median and interval of a game up to `end` frames and return the values that are shown.

    There are none for other games, and none where the study ends before the curve begins; its first point then goes to
    `beyond`, in words. What is drawn goes to `lines`.
    """
    curve = ga_dist_curves()
    curve = curve[curve["game"] == game]
    if curve.empty:
        return np.zeros(0)
    first = curve.iloc[0]
    if end < first["frames"]:
        band = f"{first['lower']:,.0f} to {first['upper']:,.0f}"
        beyond.append(f"ga-dist, {first['frames'] / 1e6:g}M frames: {first['median']:,.0f} ({band})")
        return np.zeros(0)
    end = min(end, float(curve["frames"].iloc[-1]))
    known = curve[curve["frames"] <= end]
    frames = np.append(known["frames"][known["frames"] < end], end)
    median, lower, upper = (np.interp(frames, curve["frames"], curve[name]) for name in ("median", "lower", "upper"))
    panel.varea(frames, lower, upper, color=GREY, alpha=0.2)
    panel.line(frames, median, color=GREY, line_width=1.5)
    if len(known) <= _MAX_MARKED:
        panel.scatter(known["frames"], known["median"], color=GREY, size=4)
    lines[GA_DIST] = GREY, "solid"
    return np.concatenate([median, lower, upper])


def draw_median(panel: figure, curve: pd.DataFrame, color: str, size: int) -> None:
    """Draw a median, columns `frames` and `median`, as steps, with dots of `size` pixels at both ends."""
    panel.step(curve["frames"], curve["median"], mode="before", color=color, line_width=2)
    ends = curve.iloc[[0, -1]] if len(curve) else curve
    panel.scatter(ends["frames"], ends["median"], color=color, size=size)


def draw_seed(
    panel: figure, frames: NDArray[np.float64] | pd.Series, means: NDArray[np.float64] | pd.Series, color: str
) -> None:
    """Draw one of several seeds as thin steps."""
    panel.step(frames, means, mode="before", color=color, line_width=1, line_alpha=0.4)


def name_beyond(panel: figure, beyond: Sequence[str], width: int) -> None:
    """Name above a panel of `width` pixels what is out of its range."""
    if beyond:
        style = {"text_color": GREY, "text_font_size": "11px", "text_font_style": "normal", "align": "left"}
        text = "out of range: " + "; ".join(beyond)
        panel.add_layout(Title(text=textwrap.fill(text, width // _CHARACTER), **style), "above")


def value_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of an axis that shows all values, NaN aside."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * (high - low) or max(1.0, 0.05 * abs(high))
    return low - margin, high + margin


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    check_suffix(arguments.out)
    generations = study_frame(load_study(arguments.run_dirs))
    layout = plot_curves(generations, overlays=arguments.overlays, recalled=arguments.recalled)
    return save(layout, arguments.out, "Learning curves")


def _seeds(curves: pd.DataFrame, system: str) -> str:
    """Return in words what a system's line is."""
    seeds = sorted(set(curves.loc[curves["system"] == system, "seeds"])) if len(curves) else []
    if not seeds:
        return "no elite yet at the same frames"
    number = " to ".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
    if seeds[-1] == 1:
        return "1 seed"
    if seeds[-1] < MIN_SEEDS:
        return f"median and range of {number} seeds, each thin"
    few = "" if seeds[0] >= MIN_SEEDS else f"each thin, or from {MIN_SEEDS} on "
    return f"median of {number} seeds, {few}shaded 95 % interval"


def _grid(runs: Sequence[pd.DataFrame], n_points: int) -> NDArray[np.float64]:
    """Return the frames at which a run closed a generation and all have an elite, or `n_points` evenly spaced ones."""
    places = np.unique(np.concatenate([run["frames"].to_numpy() for run in runs])).astype(np.float64)
    places = places[~np.isnan([elite_at(run, places) for run in runs]).any(axis=0)]  # in one piece: elites stay
    return places if len(places) <= n_points else np.linspace(places[0], places[-1], n_points)


def _draw(panel: figure, curve: pd.DataFrame, generations: pd.DataFrame, color: str) -> None:
    """Draw one system's median, and its seeds or its interval, as steps.

    An elite stands at all frames that its generation crosses. Dots mark both ends. The first is the only sign of the
    first generation, before whose end nothing is drawn.
    """
    n_seeds = int(curve["seeds"].iloc[0]) if len(curve) else 0
    if n_seeds >= MIN_SEEDS:
        x = curve["frames"].to_numpy().repeat(2)[:-1]
        band = curve[["lower", "upper"]].to_numpy().repeat(2, axis=0)[1:]
        panel.varea(x, band[:, 0], band[:, 1], color=color, alpha=0.2)
    elif n_seeds > 1:
        grid = curve["frames"].to_numpy(np.float64)
        for _, run in generations.groupby("run", sort=False):
            if run["elite_mean"].notna().any():
                draw_seed(panel, grid, elite_at(run, grid), color)
    draw_median(panel, curve, color, size=6)


def _draw_recalled(
    panel: figure, game: str, shown: NDArray[np.float64], lines: Lines, beyond: list[str]
) -> NDArray[np.float64]:
    """Draw recalled scores that are not far from what is shown, name the others, and return those drawn."""
    published = published_scores()
    if game not in published.index:
        return np.zeros(0)
    low, high = value_range(shown)
    drawn = []
    for column_, dash in _OVERLAID.items():
        score = float(published.loc[game, column_])
        if low - (high - low) / 2 <= score <= high + (high - low) / 2:
            panel.add_layout(Span(location=score, dimension="width", line_color=GREY, line_dash=dash, line_width=1.5))
            lines[f"{RECALLED[column_]} (Such et al.)"] = GREY, dash
            drawn.append(score)
        else:
            beyond.append(f"{RECALLED[column_]}: {score:,g} {'↑' if score > high else '↓'}")
    return np.array(drawn)
