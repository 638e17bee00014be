"""What is left of a budget, and its bar."""

from __future__ import annotations

import pytest

from gadask.analysis.bar import Spent, bar_html, left_text, progress_html
from gadask.config import BudgetConfig


@pytest.mark.parametrize(
    ("budget", "spent", "text"),
    [
        (BudgetConfig(generations=7), Spent(0.1, 50, 9.0), "7 of 7 generations"),
        (BudgetConfig(generations=7), Spent(3.5, 950, 35.0), "4 of 7 generations, about 0:35"),
        (BudgetConfig(generations=1), Spent(0, 0, 0.0), "1 of 1 generation"),
        (BudgetConfig(frames=1000), Spent(2, 600, 75.0), "400 of 1k frames, about 0:50"),
        (BudgetConfig(hours=1), Spent(2, 500, 660.0), "49:00 of 1:00:00"),
        (
            BudgetConfig(generations=10, hours=1),
            Spent(1, 5, 2400.0),
            "9 of 10 generations, 20:00 of 1:00:00, about 20:00",
        ),
        (
            BudgetConfig(generations=9, elite_mean=490),
            Spent(3, 9, 6.0),
            "6 of 9 generations, about 0:12, at most, until the elite's mean is 490",
        ),
        (BudgetConfig(elite_mean=490), Spent(3, 9, 6.0), "until the elite's mean is 490"),
        (BudgetConfig(), Spent(3, 9, 6.0), ""),
    ],
)
def test_what_is_left_in_words(budget: BudgetConfig, spent: Spent, text: str) -> None:
    assert left_text(budget, spent) == text


def test_a_bar_is_filled_to_its_share_and_texts_are_escaped() -> None:
    assert [f"aria-valuenow='{n}'" in bar_html(share, 100) for share, n in ((-1, 0), (0.5, 50), (3, 100))] == [True] * 3
    shown = progress_html("<i>head", 0.25, ["", "a < b"])
    assert "<i>" not in shown
    assert "a &lt; b" in shown
    assert shown.count("<div style='margin") == 3
    assert "progressbar" not in progress_html("head", None, [])
