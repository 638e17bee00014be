"""Final scores of a study: `gadask scores RUN_DIR … [--out SCORES.html|.csv|.tex] [--recalled]`.

A run's score is the mean of its elite test, on every start or on fresh episodes, where its last elite was tested; else
the mean that crowned it, the best of several noisy ones, which tends to be too high (marked *). A game's score is the
median over seeds, with their range, or from ten seeds on with a 95 % interval; a single seed has its mean with the
standard error (`analysis.intervals`). A system's name says after how many frames. Published systems have one score a
game. Only those that agree with their papers' tables are shown; A3C's episodes begin with human starts, DQN's with
no-op starts, and these two cannot be compared with each other or with the rest. `--recalled` adds random search and the
GA of Such et al. 2017: check these before quoting them. See `analysis.published`. With `generation.fitness` a run's
score is a mean of fitness, and published ones say nothing about it.

A normalised score is 0 for a random agent and 1 for the reference: a human player, or random search with 1 billion
frames. An aggregate is the interquartile mean of all normalised scores, each run of each game counting once (Agarwal et
al. 2021, *Deep reinforcement learning at the edge of the statistical precipice*, arXiv 2108.13264). From ten seeds a
game on it has a 95 % interval from a bootstrap within each game; with fewer, circles show each seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import tyro
from bokeh.models import CategoricalTickFormatter, FactorRange, Whisker
from bokeh.plotting import figure
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import CHILD, FONT, GREY, LIGHT_GREY, SUFFIXES, check_suffix, new_figure, save, source_of
from gadask.analysis.intervals import MIN_SEEDS, spread_name, stratified_interval
from gadask.analysis.page import Page
from gadask.analysis.published import RECALLED, published_scores, published_systems
from gadask.analysis.runs import Run, finished_test, load_study, system_names
from gadask.analysis.score_rows import csv_text, explanation, latex_text, named_with_budget, score_rows, wide_table
from gadask.record import files

Reference = Literal["human", "random_search_1B"]

REFERENCES: dict[Reference, str] = {"human": "a human player", "random_search_1B": RECALLED["random_search_1B"]}
_PUBLISHED = (
    "Published: ES Salimans et al. 2017; A3C (feed-forward) Mnih et al. 2016, human starts; DQN Wang et al. 2016, no-op"
    " starts. Human and no-op starts compare neither with each other nor with the rest."
)
_UNCHECKED = " Random search and GA: Such et al. 2017, recalled, check before quoting."
_LINE_HEIGHT = 20  # pixels


@dataclass(frozen=True)
class Arguments:
    """Make the table of final scores, and aggregates over games."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Annotated[Path, tyro.conf.arg(metavar="SCORES.html")] = Path("scores.html")
    """HTML, PNG or SVG file to write, or CSV or TEX for the table alone."""
    normalised: Reference = "human"
    """What has a normalised score of 1; random search is recalled."""
    recalled: bool = False
    """Show even published scores that nobody has compared with the paper; their names say so."""


def final_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run.

    Columns: `run`, `game`, `system`, `seed`, `frames`; `score`, `error` (standard error, NaN where it is not known),
    `episodes`, and `is_test`, whether they are those of an elite test; `steps`, and `measure` as in `runs.Run`. Runs
    without an elite are left out.

    Raises:
        RecordError: an elite test is damaged.
    """
    rows = []
    for run, system in zip(runs, system_names(runs), strict=True):
        last, test = run.generations.iloc[-1], finished_test(run.path)
        if test is not None and test.genome == last["elite"]:
            score = (test.mean, test.standard_error, len(test.returns), True)
        else:
            score = (last["elite_mean"], math.nan, last["elite_episodes"], False)
        if not math.isnan(score[0]):
            rows.append(
                (str(run.path), run.game, system, run.config.seed, last["frames"], *score, last["steps"], run.measure)
            )
    names = ["run", "game", "system", "seed", "frames", "score", "error", "episodes", "is_test", "steps", "measure"]
    return pd.DataFrame(rows, columns=names)


def score_table(scores: pd.DataFrame, recalled: bool = False) -> pd.DataFrame:
    """Return the median over seeds, games × systems, and published scores beside it, NaN where there is none.

    `scores` needs the columns `game`, `system`, `frames` and `score`. Names of systems say after how many frames.
    `recalled` adds published scores that are recalled.
    """
    named = scores.assign(system=named_with_budget(scores))
    own = named.pivot_table(index="game", columns="system", values="score", aggfunc="median", sort=False).sort_index()
    systems = published_systems(recalled)
    published = published_scores()[list(systems)].rename(columns=systems)
    return own.join(published.reindex(own.index)) if own.index.isin(published.index).any() else own


def normalise(scores: pd.Series, games: pd.Series, reference: Reference = "human") -> pd.Series:
    """Return normalised scores: 0 is a random agent, 1 the reference; NaN for games without published scores."""
    constants = published_scores().reindex(games)
    zero, one = (constants[name].to_numpy() for name in ("random_agent", reference))
    return (scores - zero) / (one - zero)


def interquartile_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of what is left after a quarter of the values is cut off at both ends."""
    n_cut = values.shape[-1] // 4
    middle = np.sort(values, axis=-1)[..., n_cut : values.shape[-1] - n_cut]
    means: NDArray[np.float64] = middle.mean(axis=-1)
    return means


def aggregates(scores: pd.DataFrame, reference: Reference = "human", recalled: bool = False) -> pd.DataFrame:
    """Return each system's interquartile mean of normalised scores over the study's games.

    `scores` needs the columns `game`, `system`, `seed`, `frames` and `score`. Columns: `system` as in `score_table`;
    `mean`; `lower` and `upper`, which `spread` names: the 95 % interval, or with fewer than ten seeds of a game the
    range of the seeds' own means, `seed_means`, one for each seed that all games have (NaN for published systems and
    where there are not two); `runs`, `games`. Systems of the study come first; `recalled` adds those whose scores are
    recalled. Empty where no game has published scores.
    """
    named = scores.assign(system=named_with_budget(scores))
    known = named.assign(score=normalise(scores["score"], scores["game"], reference)).dropna(subset="score")
    rows = []
    for system, own in known.groupby("system", sort=False):
        by_game = [game["score"].to_numpy() for _, game in own.groupby("game")]
        mean = float(interquartile_mean(np.concatenate(by_game)))
        by_seed = own.pivot_table(index="seed", columns="game", values="score").dropna()
        means = tuple(interquartile_mean(by_seed.to_numpy()).tolist()) if len(by_seed) > 1 else ()
        if min(map(len, by_game)) >= MIN_SEEDS:
            spread, ends = spread_name(min(map(len, by_game))), stratified_interval(by_game, interquartile_mean)
        else:
            spread, ends = spread_name(len(means)), (min(means), max(means)) if means else (math.nan, math.nan)
        rows.append((str(system), mean, *ends, spread, means, len(own), len(by_game)))
    games = pd.Series(sorted(known["game"].unique()))
    for column, name in published_systems(recalled).items():
        published = normalise(published_scores()[column].reindex(games).reset_index(drop=True), games, reference)
        if len(games):
            mean = float(interquartile_mean(published.to_numpy()))
            rows.append((name, mean, math.nan, math.nan, "", (), len(games), len(games)))
    names = ["system", "mean", "lower", "upper", "spread", "seed_means", "runs", "games"]
    return pd.DataFrame(rows, columns=names)


def plot_aggregates(table: pd.DataFrame, reference: Reference = "human", width: int = 800) -> figure:
    """Return the aggregates as dots, with their intervals, or with a small circle for each of few seeds.

    Columns as `aggregates` returns them.
    """
    height = 90 + 26 * len(table)
    plot = new_figure(
        title="Interquartile mean over games",
        x=f"normalised score: 0 is a random agent, 1 is {REFERENCES[reference]}",
        y="",
        width=width,
        height=height,
        y_range=FactorRange(*table["system"].iloc[::-1], range_padding=0.3),
    )
    plot.yaxis.formatter = CategoricalTickFormatter()
    published = published_systems(recalled=True).values()
    colors = [GREY if name in published else CHILD for name in table["system"]]
    plot.scatter(table["mean"], table["system"], size=9, color=colors)
    is_interval = table["spread"].str.startswith("95 %")
    seeds = table.loc[~is_interval, ["system", "seed_means"]].explode("seed_means").dropna()
    if len(seeds):
        values = seeds["seed_means"].astype(float)
        plot.scatter(values, seeds["system"], size=7, fill_color=None, line_color=CHILD, name="seeds")
    known = source_of(table.loc[is_interval, ["system", "lower", "upper"]])
    whisker = Whisker(source=known, base="system", lower="lower", upper="upper", dimension="width", line_color=CHILD)
    whisker.update(line_width=2)
    for head in (whisker.upper_head, whisker.lower_head):
        head.update(size=14, line_color=CHILD, line_width=2)
    plot.add_layout(whisker)
    plot.ygrid.grid_line_color = None
    plot.xgrid.grid_line_color = LIGHT_GREY
    return plot


def plot_table(scores: pd.DataFrame, recalled: bool = False, width: int = 1000) -> figure:
    """Return the table as a picture, the study's own systems in colour; `scores` as `final_scores` returns them."""
    rows, header = _table(scores, recalled, "\n")
    n_own = scores["system"].nunique()
    header_height = _LINE_HEIGHT * (1 + max(title.count(", ") for title in header)) + 4
    row_height = _LINE_HEIGHT * (1 + max(cell.count("\n") for row in rows for cell in row)) + 4
    height = header_height + row_height * len(rows)
    plot = new_figure(
        x="", y="", width=width, height=height, x_range=(0, width), y_range=(height, 0), toolbar_location=None
    )
    plot.axis.visible = plot.grid.visible = False
    plot.min_border = 0
    lines = [header_height, height - 1]
    plot.segment([0, 0], lines, [width, width], lines, color=GREY)
    first = max(len(row[0]) for row in rows) * 8 + 16
    rights = np.linspace(first, width, len(header))[1:] - 6
    middles = [header_height + row_height * (place + 0.5) for place in range(len(rows))]
    style = {"text_font": {"value": FONT}, "text_font_size": "13px"}
    plot.text([6] * len(rows), middles, [row[0] for row in rows], anchor="center_left", **style)
    for column, (title, right) in enumerate(zip(header[1:], rights, strict=True), start=1):
        side = {"anchor": "center_right", "text_align": "right", "text_color": CHILD if column <= n_own else "#444444"}
        plot.text([right], [header_height / 2], [title.replace(", ", "\n")], **side, **style)
        plot.text([right] * len(rows), middles, [row[column] for row in rows], **side, **style)
    return plot


def add_scores(page: Page, scores: pd.DataFrame, reference: Reference = "human", recalled: bool = False) -> None:
    """Add table and aggregates to a page; `scores` as `final_scores` returns them."""
    page.table(*_table(scores, recalled, " "))
    page.note(explanation(score_rows(scores, recalled)))
    if scores["game"].isin(published_scores().index).any():
        page.note(_PUBLISHED + (_UNCHECKED if recalled else ""))
    whole = aggregates(scores, reference, recalled)
    if len(whole) and whole["games"].iloc[0] > 1:
        page.figure(plot_aggregates(whole, reference))
        drawn = "; ".join(f"{row.system}: {row.spread}" for row in whole.itertuples() if row.spread)
        page.note(
            f"Over {whole['games'].iloc[0]} games. Circles are single seeds, whose range is no confidence interval;"
            f" bars are 95 % intervals, from {MIN_SEEDS} seeds of each game on{f' ({drawn})' if drawn else ''}."
            " Published systems have one score a game, and neither."
        )


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    out = arguments.out
    check_suffix(out, (*SUFFIXES, ".csv", ".tex"))
    scores = final_scores(load_study(arguments.run_dirs))
    if out.suffix in (".csv", ".tex"):
        rows = score_rows(scores, arguments.recalled)
        files.atomic_write(out, (csv_text if out.suffix == ".csv" else latex_text)(rows).encode())
        return out
    if out.suffix == ".html":
        page = Page("Final scores")
        add_scores(page, scores, arguments.normalised, arguments.recalled)
        return page.write(out)
    whole = aggregates(scores, arguments.normalised, arguments.recalled)
    return save(plot_aggregates(whole, arguments.normalised), out, "Final scores")


def _table(scores: pd.DataFrame, recalled: bool, between: str) -> tuple[list[Sequence[str]], Sequence[str]]:
    """Return rows and header of the table of scores; `between` stands between a score and its spread."""
    cells, games, systems = wide_table(score_rows(scores, recalled))
    rows: list[Sequence[str]] = [
        (game, *("–" if row is None else row.text.replace(" (", f"{between}(") for row in line))
        for game, line in zip(games, cells, strict=True)
    ]
    return rows, ("game", *systems)
