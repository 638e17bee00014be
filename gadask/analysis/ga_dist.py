"""Compare a study with ga-dist's curves of 2018, game by game: `gadask ga-dist RUN_DIR … [--table]`.

One panel for each of ga-dist's 13 games that the study has, up to where its longest run ends. Grey is ga-dist: the
median of 5 seeds, and shaded its band, a bootstrap that is roughly their range. Colours are the study's: thin lines are
runs, a thick one is the median of several seeds. At t frames all show the mean of the elite of the generation that
crosses t, as `gadask curves` does; such means are the best of several noisy ones and so tend to be too high, on both
sides.

`--table` prints for each game where the study's median is at some numbers of frames: inside, above or below the band;
and the share of all games that is inside or above. A game has no value there until each of its seeds has come that far.
Only the config and the log of a run are read. Runs of other games, and those whose elite is chosen by its fitness
(`generation.fitness`), are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
from bokeh.layouts import column, gridplot
from bokeh.models import BasicTicker, LayoutDOM
from bokeh.plotting import figure
from rich.console import Console
from rich.table import Table

from gadask.analysis.command import parse, run_command
from gadask.analysis.curves import (
    CROSSING,
    draw_ga_dist,
    draw_median,
    draw_seed,
    elite_at,
    learning_curves,
    name_beyond,
    value_range,
)
from gadask.analysis.figures import (
    PALETTE,
    Lines,
    check_suffix,
    engineering,
    frames_label,
    legend_strip,
    new_figure,
    save,
)
from gadask.analysis.published import ga_dist_curves
from gadask.analysis.runs import load_study, study_frame
from gadask.errors import UsageError
from gadask.units import count_text, number_text

_MILLION = 1_000_000
_READ_AT = (*range(10, 51, 10), *range(100, 1001, 100))  # million frames, as far as the study has come
_N_TICKS = 4


@dataclass(frozen=True)
class Arguments:
    """Compare a study with ga-dist's learning curves of 2018, game by game."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Annotated[Path, tyro.conf.arg(metavar="GA_DIST.html")] = Path("ga-dist.html")
    """HTML, PNG or SVG file to write."""
    table: bool = False
    """Print the table too."""
    million_frames: tuple[int, ...] = ()
    """Where the table is read, multiples of 10; by default 10, 20 and so on up to 50, then every 100, as far as a run
    has got."""


def comparable(generations: pd.DataFrame) -> pd.DataFrame:
    """Return the generations of the runs that can be compared: of ga-dist's games, and chosen by return.

    `generations` are as `runs.study_frame` returns them.

    Raises:
        UsageError: there are none.
    """
    games = ga_dist_curves()["game"].unique()
    kept = generations[generations["game"].isin(games) & (generations["measure"] == "return")]
    if kept.empty:
        found = ", ".join(sorted(generations["game"].unique()))
        raise UsageError(f"expected runs by return of {', '.join(sorted(games))}; found none, but {found}")
    return kept


def compare(generations: pd.DataFrame, million_frames: Sequence[int] = ()) -> pd.DataFrame:
    """Return how a study stands beside ga-dist, one row for each system, game and number of frames.

    `generations` are as `comparable` returns them; `million_frames` as in `Arguments`. Columns: `system`, `game`,
    `seeds`; `reached`, the frames up to which all of them have a value; `frames`; `score`, the median over seeds of the
    elite's mean, NaN where one has none; `median`, `lower` and `upper`, ga-dist's, NaN where it has none; `standing`,
    `inside`, `above` or `below` its band with the edges inside, empty where one of both has no value.

    Raises:
        UsageError: ga-dist's curves have no such number of frames.
    """
    for number in million_frames:
        if number % 10 or not 10 <= number <= 1000:
            raise UsageError(f"--million-frames: expected multiples of 10 from 10 to 1000, found {number}")
    furthest = generations["frames"].max() / _MILLION
    numbers = sorted(set(million_frames)) or [n for n in _READ_AT if n <= furthest] or [_READ_AT[0]]
    at = _MILLION * np.array(numbers)
    curves = ga_dist_curves().set_index(["game", "frames"])
    tables = []
    for (system, game), own in generations.groupby(["system", "game"]):
        runs = [run for _, run in own.groupby("run", sort=False)]
        theirs = curves.loc[game].reindex(at)
        score = np.median([elite_at(run, at) for run in runs], axis=0)
        standing = np.select(
            [score < theirs["lower"], score > theirs["upper"], score == score], ["below", "above", "inside"], ""
        )
        table = theirs.assign(score=score, standing=np.where(theirs["median"].isna(), "", standing)).reset_index()
        tables.append(table.assign(system=system, game=game, seeds=len(runs), reached=_reached(runs)))
    columns = ["system", "game", "seeds", "reached", "frames", "score", "median", "lower", "upper", "standing"]
    return pd.concat(tables, ignore_index=True)[columns]


def comparison_tables(comparison: pd.DataFrame) -> Iterator[Table | str]:
    """Yield for each system a table of at most 80 columns, and a last line with shares.

    `comparison` is as `compare` returns it.
    """
    for system, own in comparison.groupby("system"):
        caption = "elite: of the generation that crosses so many frames, median of the seeds"
        table = Table(title=f"{system} beside ga-dist", caption=caption, box=None, padding=(0, 1), pad_edge=False)
        table.add_column("game", no_wrap=True)
        for heading in ("seeds", "reached", "at", "elite", "ga-dist", "its band"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("elite is", no_wrap=True)
        for game, rows in own.groupby("game"):
            heads = [(str(game), str(rows["seeds"].iloc[0]), count_text(rows["reached"].iloc[0]))]
            for head, row in zip(heads + [("", "", "")] * (len(rows) - 1), rows.itertuples(), strict=True):
                band = "–" if math.isnan(row.lower) else f"{_cell(row.lower)} to {_cell(row.upper)}"
                at = f"{row.frames // _MILLION}M"
                table.add_row(*head, at, _cell(row.score), _cell(row.median), band, row.standing)
        yield table
        yield f"games inside or above the band: {_shares(own)}"


def plot_games(generations: pd.DataFrame, width: int = 1000) -> LayoutDOM:
    """Return a grid of panels, one a game, with one legend; `generations` are as `comparable` returns them."""
    medians = learning_curves(generations)
    games = sorted(generations["game"].unique())
    systems = {system: PALETTE[i % len(PALETTE)] for i, system in enumerate(generations["system"].unique())}
    n_columns = math.ceil(math.sqrt(len(games)))  # four for all 13
    size = {"width": width // n_columns, "height": round(0.75 * width / n_columns)}
    lines: Lines = {
        f"{system}: {_seeds(generations[generations['system'] == system])}": (color, "solid")
        for system, color in systems.items()
    }
    panels = []
    for game in games:
        of_game = generations[generations["game"] == game]
        end = float(of_game["frames"].max())
        beyond: list[str] = []
        panel = new_figure(title=game, x="", y="", **size)
        shown = np.append(draw_ga_dist(panel, game, end, lines, beyond), of_game["elite_mean"])
        for system, color in systems.items():
            own = of_game[of_game["system"] == system]
            median = medians.query("game == @game and system == @system") if len(medians) else medians
            _draw_runs(panel, own, median, color)
        name_beyond(panel, beyond, size["width"])
        panel.x_range.start, panel.x_range.end = 0, 1.02 * end
        if not np.isnan(shown).all():
            panel.y_range.start, panel.y_range.end = value_range(shown)
        panel.xaxis.ticker = BasicTicker(desired_num_ticks=_N_TICKS)
        panel.yaxis.ticker = BasicTicker(desired_num_ticks=_N_TICKS)
        panel.xaxis.formatter = engineering()
        panels.append(panel)
    grid = gridplot(panels, ncols=n_columns, toolbar_location="right" if len(panels) == 1 else None)
    note = f"The elite's mean return over {frames_label(generations)}. {CROSSING}"
    return column(grid, legend_strip(lines, width, note))


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    check_suffix(arguments.out)
    generations = comparable(study_frame(load_study(arguments.run_dirs)))
    comparison = compare(generations, arguments.million_frames)
    if arguments.table:
        for part in comparison_tables(comparison):
            Console(width=80, highlight=False).print(part)
    return save(plot_games(generations), arguments.out, "Beside ga-dist")


def _cell(value: float) -> str:
    """Return a mean with three digits: ga-dist's were read from a plot to half a percent of its axis."""
    return number_text(value, 3).replace("-", "−")


def _reached(runs: Sequence[pd.DataFrame]) -> int:
    """Return the frames up to which all runs have an elite; one that reached its goal keeps it."""
    ends = [run["frames"].iloc[-1] for run in runs if not run["goal"].iloc[0]]
    return int(min(ends) if ends else max(run["frames"].iloc[-1] for run in runs))


def _shares(comparison: pd.DataFrame) -> str:
    """Return in words at each number of frames how many of the games with a value are not below the band."""
    known = comparison[comparison["standing"] != ""]
    parts = []
    for frames, own in known.groupby("frames"):
        n = int((own["standing"] != "below").sum())
        parts.append(f"{frames // _MILLION}M {n} of {len(own)} ({100 * n / len(own):.0f} %)")
    return ", ".join(parts) or "none has come so far"


def _draw_runs(panel: figure, generations: pd.DataFrame, median: pd.DataFrame, color: str) -> None:
    """Draw one system's runs of a game, and their median where they are several; dots mark its ends."""
    for _, run in generations.groupby("run", sort=False):
        draw_seed(panel, run["frames"], run["elite_mean"], color)
    if len(median):
        draw_median(panel, median, color, size=5)


def _seeds(generations: pd.DataFrame) -> str:
    """Return in words what a system's lines are."""
    numbers = generations.groupby("game")["run"].nunique()
    few, many = numbers.min(), numbers.max()
    if many == 1:
        return "1 seed"
    return f"median of {few} seeds, each thin" if few == many else f"median of {few} to {many} seeds, each thin"
