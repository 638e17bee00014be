"""What a table of scores says of each game and system: the score, how well it is known, and after how many frames.

One seed's score has the standard error of its mean over episodes, unless it is the mean of every episode that there is;
several seeds' is their median, with what `analysis.intervals` says of it. Published systems have one number a game.
Systems have their budget in their names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gadask.analysis.intervals import MIN_SEEDS, median_spread, spread_name
from gadask.analysis.latex import latex_table
from gadask.analysis.published import published_scores, published_systems
from gadask.units import count_text, error_text, number_text

_SOURCES = {False: "episodes that crowned it", True: "elite test"}


@dataclass(frozen=True)
class ScoreRow:
    """One game's score of one system."""

    game: str
    system: str
    """With its budget."""
    score: float
    statistic: str
    """What the score is."""
    low: float
    high: float
    """Of several seeds; NaN for one."""
    error: float
    """Standard error over episodes, of one seed; NaN for several, and where there is none."""
    spread: str
    """What `low` and `high`, or `error`, are."""
    seeds: int
    """0 for published systems."""
    episodes: str
    """Of each seed."""
    unit: str
    frames: str
    """Budget that the score was reached with."""
    source: str
    is_test: bool = True
    """Whether all seeds' scores come from tests, or are published."""

    @property
    def value_text(self) -> str:
        """The score for a reader, with a star where no test stands behind it."""
        text = number_text(self.score) if math.isnan(self.error) else error_text(self.score, self.error)
        return text.replace("-", "−") + ("" if self.is_test else "*")

    @property
    def spread_text(self) -> str:
        """`763 to 2,443`; nothing for one seed."""
        return "" if math.isnan(self.low) else f"{number_text(self.low)} to {number_text(self.high)}".replace("-", "−")

    @property
    def text(self) -> str:
        """Score and spread in one cell."""
        return f"{self.value_text} ({self.spread_text})" if self.spread_text else self.value_text


def named_with_budget(scores: pd.DataFrame) -> pd.Series:
    """Return each run's system, and after how many frames its runs stand: `gadask, 1.59M frames`.

    `scores` needs the columns `system` and `frames`; with `steps`, environments of one frame a step count steps.
    """
    names = {system: f"{system}, {_budget_text(own)}" for system, own in scores.groupby("system", sort=False)}
    return scores["system"].map(names)


def score_rows(scores: pd.DataFrame, recalled: bool = False) -> list[ScoreRow]:
    """Return the rows of a study, by game; its own systems first, then published ones where any game has them.

    `scores` as `scores.final_scores` returns them. `recalled` adds published scores that are recalled.
    """
    scores = scores.assign(named=named_with_budget(scores))
    systems = list(dict.fromkeys(scores["named"]))
    published, columns = published_scores(), published_systems(recalled)
    rows = []
    for game in sorted(scores["game"].unique()):
        for system in systems:
            own = scores[(scores["game"] == game) & (scores["named"] == system)]
            if len(own):
                rows.append(_own_row(own, str(game), system))
        if game in published.index:
            rows += [_published_row(str(game), name, float(published.loc[game, key])) for key, name in columns.items()]
    return rows


def csv_text(rows: list[ScoreRow]) -> str:
    """Return the rows as a CSV file, numbers with the digits that are known."""
    table = pd.DataFrame(
        [
            {
                "game": row.game,
                "system": row.system,
                "score": _plain(row.score),
                "statistic": row.statistic,
                "error": _plain(row.error, 2),
                "low": _plain(row.low),
                "high": _plain(row.high),
                "spread": row.spread,
                "seeds": row.seeds or "",
                "episodes": row.episodes,
                "unit": row.unit,
                "frames": row.frames,
                "source": row.source,
            }
            for row in rows
        ]
    )
    text: str = table.to_csv(index=False)
    return text


def wide_table(rows: list[ScoreRow]) -> tuple[list[list[ScoreRow | None]], list[str], list[str]]:
    """Return games × systems, the games, and the systems' names; None where a system has no score."""
    games, systems = (list(dict.fromkeys(values)) for values in ([r.game for r in rows], [r.system for r in rows]))
    by_place = {(row.game, row.system): row for row in rows}
    return [[by_place.get((game, system)) for system in systems] for game in games], games, systems


def latex_text(rows: list[ScoreRow]) -> str:
    """Return the rows as a LaTeX table, one line per game."""
    cells, games, systems = wide_table(rows)
    lines = [
        [game, *("–" if row is None else row.text for row in line)] for game, line in zip(games, cells, strict=True)
    ]
    return latex_table(["game", *systems], lines, explanation(rows), "tab:scores")


def explanation(rows: list[ScoreRow]) -> str:
    """Return in words what stands in a table of these rows."""
    own = [row for row in rows if row.seeds]
    units = " or ".join(dict.fromkeys(row.unit for row in own))
    counts = sorted({row.seeds for row in own})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "no"
    several = "Median over seeds" if counts and counts[-1] > 1 else "One seed"
    text = f"{several} ({seeds} a game and system) of the elite's mean {units} in its test of {_episodes(own)} episodes"
    if any(not row.is_test for row in own):
        text += "; *: in the episodes that crowned it, which is too high"
    text += "."
    if any(1 < row.seeds < MIN_SEEDS for row in own):
        text += " In parentheses: the range of the seeds, from lowest to highest, which is no confidence interval."
    if any(row.seeds >= MIN_SEEDS for row in own):
        text += f" In parentheses, from {MIN_SEEDS} seeds on: the 95 % interval of the median between order statistics."
    if any(not math.isnan(row.error) for row in own):
        text += " ±: standard error over the episodes of one seed."
    if len(own) < len(rows):
        text += " Published systems have one score a game, after the frames in their names."
    return text


def _own_row(own: pd.DataFrame, game: str, system: str) -> ScoreRow:
    values = own["score"].to_numpy(np.float64)
    n_seeds = len(own)
    lower, upper = median_spread(values[:, np.newaxis])
    error = float(own["error"].iloc[0]) if n_seeds == 1 and "error" in own else math.nan
    spread = spread_name(n_seeds) or ("" if math.isnan(error) else "standard error over episodes")
    unit = " or ".join(dict.fromkeys(own["measure"])) if "measure" in own else "return"
    return ScoreRow(
        game, system, float(np.median(values)),
        f"mean {unit}" if n_seeds == 1 else f"median over seeds of the mean {unit}",
        float(lower[0]), float(upper[0]), error, spread, n_seeds,
        _from_to(own["episodes"]) if "episodes" in own else "",
        unit, _budget_text(own),
        " and ".join(_SOURCES[is_test] for is_test in sorted(set(own["is_test"]))),
        bool(own["is_test"].all()),
    )  # fmt: skip


def _published_row(game: str, system: str, score: float) -> ScoreRow:
    _, budget, *rest = system.split(", ")
    source = "published, recalled" if "recalled" in rest else "published"
    return ScoreRow(
        game, system, score, "mean return", math.nan, math.nan, math.nan, "", 0, "", "return",
        budget, source,
    )  # fmt: skip


def _budget_text(own: pd.DataFrame) -> str:
    unit = "steps" if "steps" in own and (own["frames"] <= own["steps"]).all() else "frames"
    ends = dict.fromkeys(count_text(end).replace("G", "B") for end in (own["frames"].min(), own["frames"].max()))
    return f"{' to '.join(ends)} {unit}"


def _from_to(numbers: pd.Series) -> str:
    return " to ".join(dict.fromkeys(f"{number:.0f}" for number in (numbers.min(), numbers.max())))


def _episodes(own: list[ScoreRow]) -> str:
    counts = sorted({int(number) for row in own for number in row.episodes.split(" to ") if number})
    return " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))) if counts else "the"


def _plain(number: float, digits: int = 4) -> str:
    return "" if math.isnan(number) else number_text(number, digits).replace(",", "")
