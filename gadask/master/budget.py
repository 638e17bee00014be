"""When a run ends: how much of its budget it has used, and how long the rest takes."""

from __future__ import annotations

import math

from gadask.config import BudgetConfig
from gadask.record.directory import State

_KNOWN_FROM = 0.25
"""Generations that must be played before their pace says anything: the first results are those of the shortest
episodes."""


def budget_reached(budget: BudgetConfig, state: State) -> str | None:
    """Return the name of the first limit of the budget that a run has reached; None if it goes on."""
    elite_mean = math.nan if state.elite is None else state.elite.mean
    return limit_reached(budget, state.generation + 1, state.frames, state.elapsed_s, elite_mean)


def limit_reached(
    budget: BudgetConfig, generations: int, frames: int, elapsed_s: float, elite_mean: float
) -> str | None:
    """Return what `budget_reached` does; `elite_mean` is NaN without an elite."""
    spent = {"generations": generations, "frames": frames, "hours": elapsed_s / 3600, "elite_mean": elite_mean}
    for name, value in spent.items():
        limit = getattr(budget, name)
        if limit is not None and value >= limit:
            return name
    return None


def budget_share(budget: BudgetConfig, generations: float, frames: int, elapsed_s: float) -> float | None:
    """Return how much of the budget is used, by the limit that is nearest; None without a limit.

    `generations` counts the part of one that is played.
    """
    shares = [
        done / limit
        for done, limit in (
            (generations, budget.generations),
            (frames, budget.frames),
            (elapsed_s / 3600, budget.hours),
        )
        if limit is not None
    ]
    return max(shares, default=None)


def time_left_s(budget: BudgetConfig, generations: float, frames: int, elapsed_s: float) -> float | None:
    """Return after how many seconds the budget is used, at the pace so far; None where that cannot be known.

    Arguments as in `budget_share`. The pace of generations and frames is known from a quarter of a generation on, that
    of time always. The last generation is played to its end, and so is 0 s away from then on.
    """
    left = [] if budget.hours is None else [3600 * budget.hours - elapsed_s]
    if generations >= _KNOWN_FROM:
        spent = ((generations, budget.generations), (frames, budget.frames))
        left += [elapsed_s * (limit / done - 1) for done, limit in spent if limit is not None and done > 0]
    return max(0.0, min(left)) if left else None
