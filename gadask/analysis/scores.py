"""Final scores of a study: `gadask scores RUN_DIR … [--out SCORES.html] [--recalled]`.

A run's score is the mean of its elite test, on every start or on fresh episodes, where its last elite was tested;
else the mean that crowned it, which is the best of several noisy ones and so too high (marked *). A game's score is the
median over seeds. Published systems have one score a game. Shown are those that agree with their papers' tables; A3C's
episodes begin with human starts, DQN's with no-op starts, and these two compare neither with each other nor with the
rest. `--recalled` adds random search and the GA of Such et al. 2017: check these before quoting them. See
`analysis.published`. With `generation.fitness` a run's score is a mean of fitness, and published ones say nothing about
it.

A normalised score is 0 for a random agent and 1 for the reference: a human player, or random search with 1 billion
frames. An aggregate is the interquartile mean of all normalised scores, each run of each game counting once, with its
95 % interval from a stratified bootstrap: runs are drawn with replacement within each game (Agarwal et al. 2021, *Deep
reinforcement learning at the edge of the statistical precipice*, arXiv 2108.13264).
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
from gadask.analysis.page import Page
from gadask.analysis.published import RECALLED, published_scores, published_systems
from gadask.analysis.runs import Run, finished_test, load_study, system_names
from gadask.record import files
from gadask.units import count_text

Reference = Literal["human", "random_search_1B"]

REFERENCES: dict[Reference, str] = {"human": "a human player", "random_search_1B": RECALLED["random_search_1B"]}
_PUBLISHED = (
    "Published: ES Salimans et al. 2017; A3C (feed-forward) Mnih et al. 2016, human starts; DQN Wang et al. 2016, no-op"
    " starts. Human and no-op starts compare neither with each other nor with the rest."
)
_UNCHECKED = " Random search and GA: Such et al. 2017, recalled, check before quoting."
_N_RESAMPLES = 5000
_ROW_HEIGHT = 24  # pixels


@dataclass(frozen=True)
class Arguments:
    """Make the table of final scores, and aggregates over games."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Annotated[Path, tyro.conf.arg(metavar="SCORES.html")] = Path("scores.html")
    """HTML, PNG or SVG file to write, or CSV for the table alone."""
    normalised: Reference = "human"
    """What has a normalised score of 1; random search is recalled."""
    recalled: bool = False
    """Show published scores too that nobody has compared with the paper; their names say so."""


def final_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row a run.

    Columns: `run`, `game`, `system`, `seed`, `frames`; `score`, `error` (standard error, NaN where it is not known),
    `episodes`, and `is_test`, whether they are those of an elite test. Runs without an elite are left out.

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
            rows.append((str(run.path), run.game, system, run.config.seed, last["frames"], *score))
    names = ["run", "game", "system", "seed", "frames", "score", "error", "episodes", "is_test"]
    return pd.DataFrame(rows, columns=names)


def score_table(scores: pd.DataFrame, recalled: bool = False) -> pd.DataFrame:
    """Return the median over seeds, games × systems, and published scores beside it, NaN where there is none.

    `scores` needs the columns `game`, `system` and `score`. `recalled` adds published scores that are recalled.
    """
    own = scores.pivot_table(index="game", columns="system", values="score", aggfunc="median", sort=False).sort_index()
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

    `scores` needs the columns `game`, `system` and `score`. Columns: `system`, `mean`, `lower`, `upper` (the 95 %
    interval; NaN for published systems, and where no game has two runs), `runs`, `games`. Systems of the study come
    first; `recalled` adds those whose scores are recalled. Empty where no game has published scores.
    """
    known = scores.assign(score=normalise(scores["score"], scores["game"], reference)).dropna(subset="score")
    rows = []
    for system, own in known.groupby("system", sort=False):
        by_game = [game["score"].to_numpy() for _, game in own.groupby("game")]
        mean = float(interquartile_mean(np.concatenate(by_game)))
        rows.append((str(system), mean, *_interval(by_game), len(own), len(by_game)))
    games = pd.Series(sorted(known["game"].unique()))
    for column, name in published_systems(recalled).items():
        published = normalise(published_scores()[column].reindex(games).reset_index(drop=True), games, reference)
        if len(games):
            mean = float(interquartile_mean(published.to_numpy()))
            rows.append((name, mean, math.nan, math.nan, len(games), len(games)))
    return pd.DataFrame(rows, columns=["system", "mean", "lower", "upper", "runs", "games"])


def plot_aggregates(table: pd.DataFrame, reference: Reference = "human", width: int = 800) -> figure:
    """Return the aggregates as dots with their intervals; columns as `aggregates` returns them."""
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
    known = source_of(table.dropna(subset=["lower", "upper"]))
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
    rows, header = _table(scores, recalled)
    n_own = scores["system"].nunique()
    header_height = _ROW_HEIGHT * (1 + max(title.count(", ") for title in header))
    height = header_height + _ROW_HEIGHT * len(rows)
    plot = new_figure(
        x="", y="", width=width, height=height, x_range=(0, width), y_range=(height, 0), toolbar_location=None
    )
    plot.axis.visible = plot.grid.visible = False
    plot.min_border = 0
    lines = [header_height, height - 1]
    plot.segment([0, 0], lines, [width, width], lines, color=GREY)
    first = max(len(row[0]) for row in rows) * 8 + 16
    rights = np.linspace(first, width, len(header))[1:] - 6
    middles = [header_height + _ROW_HEIGHT * (place + 0.5) for place in range(len(rows))]
    style = {"text_font": {"value": FONT}, "text_font_size": "13px"}
    plot.text([6] * len(rows), middles, [row[0] for row in rows], anchor="center_left", **style)
    for column, (title, right) in enumerate(zip(header[1:], rights, strict=True), start=1):
        side = {"anchor": "center_right", "text_align": "right", "text_color": CHILD if column <= n_own else "#444444"}
        plot.text([right], [header_height / 2], [title.replace(", ", "\n")], **side, **style)
        plot.text([right] * len(rows), middles, [row[column] for row in rows], **side, **style)
    return plot


def add_scores(page: Page, scores: pd.DataFrame, reference: Reference = "human", recalled: bool = False) -> None:
    """Add table and aggregates to a page; `scores` as `final_scores` returns them."""
    page.table(*_table(scores, recalled))
    seeds = scores.groupby(["game", "system"])["seed"].count()
    n_seeds = str(seeds.min()) if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    page.note(
        f"Median over seeds ({n_seeds} a game and system) of the elite's mean return in its test, of every start that"
        " there is or of fresh episodes; * on the episodes that crowned it, which is too high."
    )
    if scores["game"].isin(published_scores().index).any():
        page.note(_PUBLISHED + (_UNCHECKED if recalled else ""))
    whole = aggregates(scores, reference, recalled)
    if len(whole) and whole["games"].iloc[0] > 1:
        page.figure(plot_aggregates(whole, reference))
        page.note(
            "Bars are 95 % intervals of a stratified bootstrap over seeds; published systems have one score a game and"
            f" no interval. Over {whole['games'].iloc[0]} games."
        )


def cell_text(value: float, is_test: bool = True) -> str:
    """Return a score for a table, – where there is none; a star says that no test stands behind it."""
    if math.isnan(value):
        return "–"
    digits = 0 if abs(value) >= 100 or float(value).is_integer() else 1
    return f"{value:,.{digits}f}".replace("-", "−") + ("" if is_test else "*")


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path:
    out = arguments.out
    check_suffix(out, (*SUFFIXES, ".csv"))
    scores = final_scores(load_study(arguments.run_dirs))
    if out.suffix == ".csv":
        files.atomic_write(out, score_table(scores, arguments.recalled).to_csv().encode())
        return out
    if out.suffix == ".html":
        page = Page("Final scores")
        add_scores(page, scores, arguments.normalised, arguments.recalled)
        return page.write(out)
    whole = aggregates(scores, arguments.normalised, arguments.recalled)
    return save(plot_aggregates(whole, arguments.normalised), out, "Final scores")


def _table(scores: pd.DataFrame, recalled: bool) -> tuple[list[Sequence[str]], Sequence[str]]:
    """Return rows and header of the table of scores; a star says that no test stands behind a score."""
    table = score_table(scores, recalled)
    rough = scores.groupby(["game", "system"])["is_test"].all()
    rows: list[Sequence[str]] = [
        (str(game), *(cell_text(value, rough.get((game, system), True)) for system, value in row.items()))
        for game, row in table.iterrows()
    ]
    frames = scores.groupby("system")["frames"].median()
    header = (
        f"{system}, {count_text(frames[system]).replace('G', 'B')} frames" if system in frames else system
        for system in table.columns
    )
    return rows, ("game", *header)


def _interval(by_game: Sequence[NDArray[np.float64]], level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the interquartile mean, the same each time; NaN where no game has two runs."""
    if all(len(scores) < 2 for scores in by_game):
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    drawn = [scores[rng.integers(len(scores), size=(_N_RESAMPLES, len(scores)))] for scores in by_game]
    means = interquartile_mean(np.concatenate(drawn, axis=1))
    lower, upper = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)
