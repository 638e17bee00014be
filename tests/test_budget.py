"""How long a run still takes, as terminal and dashboard say it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.config import BudgetConfig
from gadask.master.budget import budget_share, time_left_s
from gadask.units import duration_text
from tests.test_progress import PROGRESS

GENERATIONS = BudgetConfig(generations=1000)


def test_the_part_of_a_generation_that_is_played_counts() -> None:
    assert PROGRESS.generations == 12.25
    assert replace(PROGRESS, n_counted=0, n_wanted=0).generations == 12
    assert replace(PROGRESS, n_counted=1200).generations == 13  # more than were wanted
    # An hour for half of the first generation, or for all but the end of the second: never another time for one.
    assert time_left_s(GENERATIONS, 0.5, 0, 3600.0) == pytest.approx(1999 * 3600)
    assert time_left_s(GENERATIONS, 1.99, 0, 1.99 * 3600) == pytest.approx((1000 - 1.99) * 3600)
    assert budget_share(GENERATIONS, 12.5, 0, 3600.0) == 0.0125


@pytest.mark.parametrize("budget", [GENERATIONS, BudgetConfig(frames=1e9), BudgetConfig(), BudgetConfig(elite_mean=5)])
def test_nothing_is_said_before_it_can_be_known(budget: BudgetConfig) -> None:
    assert time_left_s(budget, 0.0, 0, 10.0) is None
    assert time_left_s(budget, 0.01, 1000, 10.0) is None
    is_limited = budget.generations or budget.frames
    assert (time_left_s(budget, 0.25, 1000, 10.0) is not None) == bool(is_limited)


def test_the_nearest_limit_ends_the_run_and_time_is_always_known() -> None:
    assert time_left_s(BudgetConfig(hours=2), 0.0, 0, 0.0) == 7200
    assert time_left_s(BudgetConfig(hours=2, generations=10), 0.1, 5, 600.0) == 6600
    assert time_left_s(BudgetConfig(hours=2, generations=10), 5.0, 5, 600.0) == 600
    assert time_left_s(BudgetConfig(frames=1000), 3.0, 500, 60.0) == 60
    assert time_left_s(BudgetConfig(frames=1000), 3.0, 1001, 60.0) == 0  # the last generation is played to its end


@given(st.floats(0.25, 999), st.floats(1, 1e6))
def test_an_even_pace_says_the_same_at_every_moment(generations: float, pace_s: float) -> None:
    left_s = time_left_s(GENERATIONS, generations, 0, generations * pace_s)
    assert left_s == pytest.approx((1000 - generations) * pace_s, rel=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"), (5.4, "0:05"), (65, "1:05"), (3599.6, "1:00:00"), (10_799, "2:59:59"), (359_999, "99:59:59"),
        (360_000, "4 d 4 h"), (1355 * 3600, "56 d 11 h"), (4 * 86_400 - 60, "95:59:00"), (1e12, "11.6M d"),
        (1001 * 86_400 - 60, "1001 d 0 h"),
    ],
)  # fmt: skip
def test_long_times_are_days(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
