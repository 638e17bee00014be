"""When a run ends: how much of its budget it has used."""

from __future__ import annotations

import math

from gadask.config import BudgetConfig
from gadask.record.directory import State


def budget_reached(budget: BudgetConfig, state: State) -> str | None:
    """Return the name of the first limit of the budget that a run has reached; None if it goes on."""
    elite = state.elite
    spent = {
        "generations": state.generation + 1,
        "frames": state.frames,
        "hours": state.elapsed_s / 3600,
        "elite_mean": -math.inf if elite is None else elite.mean,
    }
    for name, value in spent.items():
        limit = getattr(budget, name)
        if limit is not None and value >= limit:
            return name
    return None


def budget_share(budget: BudgetConfig, generations: int, frames: int, elapsed_s: float) -> float | None:
    """Return how much of the budget is used, by the limit that is nearest; None without a limit."""
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
