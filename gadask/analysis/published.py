"""Published results to compare with: ga-dist's learning curves of 2018, and scores of other systems.

The data lie beside this module in `data/`; each file begins with where it comes from. Scores of random search and of
the GA are recalled: check them against Such et al. 2017 before quoting them. The others agree with public copies of
their papers' tables. A3C's episodes begin with human starts, DQN's with no-op starts: these two can be compared neither
with each other nor with the rest.
"""

from __future__ import annotations

from importlib import resources

import pandas as pd

SOURCED = {
    "es_1B": "ES, 1B frames",
    "a3c_1B": "A3C, 1B frames, human starts",
    "dqn_200M": "DQN, 200M frames, no-op starts",
}
"""Columns of `published_scores` that agree with their papers' tables, and how these systems are written out."""

RECALLED = {
    "random_search_1B": "random search, 1B frames, recalled",
    "ga_1B": "GA, 1B frames, recalled",
    "ga_6B": "GA, 6B frames, recalled",
}
"""Columns of `published_scores` that nobody has compared with the paper, and how these systems are written out."""


def ga_dist_curves() -> pd.DataFrame:
    """Return the learning curves of ga-dist (2018) on 13 Atari games.

    Columns: `game`; `frames`, emulator frames with evaluation of candidates included, in steps of 10 million; `median`
    over 5 seeds of the elite's mean over its 30 evaluation episodes; `lower` and `upper`, the edges of its plot's band:
    a bootstrapped interval, which with 5 seeds is about their range. The elite at t frames is that of the generation
    that crosses t, the first to end at t or more; generation 0 has none, so a game's curve begins at 10 or 20 million.
    """
    table = _read("ga_dist_2018_curves.csv")
    return pd.DataFrame(
        {
            "game": table["game"],
            "frames": table["million_frames"] * 1_000_000,
            "median": table["elite_mean_median_of_seeds"],
            "lower": table["elite_mean_low"],
            "upper": table["elite_mean_high"],
        }
    )


def published_scores() -> pd.DataFrame:
    """Return mean returns, one row per game; the index is the game.

    Columns: those of `SOURCED` and `RECALLED`; `random_agent` and `human`, which normalised scores are computed with.
    """
    return _read("published_scores.csv").set_index("game")


def published_systems(recalled: bool = False) -> dict[str, str]:
    """Return the systems to compare with, column → name; `recalled` adds the recalled ones, whose names say so."""
    return RECALLED | SOURCED if recalled else dict(SOURCED)


def _read(name: str) -> pd.DataFrame:
    with (resources.files("gadask.analysis") / "data" / name).open() as file:
        return pd.read_csv(file, comment="#")
