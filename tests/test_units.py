"""Numbers, counts and lengths of time as people read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gadask.units import count_text, duration_text, many

ROOT = Path(__file__).parents[1]


def test_one_is_singular() -> None:
    assert [many(n, "node") for n in (0, 1, 2, 1200)] == ["0 nodes", "1 node", "2 nodes", "1,200 nodes"]
    assert [many(n, "process", "processes") for n in (1, 31)] == ["1 process", "31 processes"]


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (999.6, "1k"), (12_345, "12.3k"), (2e9, "2G")])
def test_large_numbers_are_short(number: float, text: str) -> None:
    assert count_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (187, "3:07"), (3600, "1:00:00"), (3765, "1:02:45")]
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_counted_things_go_through_many() -> None:
    """What a user reads of nodes, processes, runs and generations is `1 node`: no text puts an s behind any number."""
    counted = re.compile(r"\{(?:len\([^{}]*\)|[\w.\[\]]*)(?::,)?\} (?:nodes|processes|runs|generations)\b")
    several = {
        ("analysis", "report.py"): 2,  # runs of a study and generations of a long run: both several
    }
    found: dict[tuple[str, str], int] = {}
    for path in (ROOT / "gadask").rglob("*.py"):
        n = len(counted.findall(path.read_text()))
        if n:
            found[path.parent.name, path.name] = n
    assert found == several
