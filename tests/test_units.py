"""Numbers, counts and lengths of time as people read them: with digits by their scale."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.units import count_text, duration_text, error_text, many, number_text

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
        ("analysis", "report.py"): 1,  # generations of a long run: several
    }
    found: dict[tuple[str, str], int] = {}
    for path in (ROOT / "gadask").rglob("*.py"):
        n = len(counted.findall(path.read_text()))
        if n:
            found[path.parent.name, path.name] = n
    assert found == several


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1"), (500.0, "500"), (0.5, "0.5"), (0.98123, "0.9812"), (-0.01234, "-0.01234"),
        (0.00012345, "0.0001234"), (0.0000123, "1.23e-05"), (9.99996, "10"), (33.3333, "33.33"), (880.3, "880.3"),
        (2755.7, "2,756"), (1_234_567.8, "1,234,568"), (-1250.25, "-1,250"), (3e20, "3e+20"), (math.inf, "inf"),
        (math.nan, "–"),
    ],
)  # fmt: skip
def test_a_number_has_four_significant_digits_or_its_whole_ones(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(1e-4, 1e14) | st.floats(-1e14, -1e-4))
def test_what_is_read_back_is_the_number_to_four_digits(number: float) -> None:
    assert float(number_text(number).replace(",", "")) == pytest.approx(number, rel=5.1e-4)


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.946, 0.00231, "0.9460 ± 0.0023"), (1248.4, 53.7, "1,248 ± 54"), (1248.4, 0.5, "1,248.40 ± 0.50"),
        (12_345.6, 1234.0, "12,346 ± 1,234"), (0.5, math.nan, "0.5"), (1000.0, 0.0, "1,000 ± 0"),
        (math.nan, math.nan, "–"), (-0.004, 0.11, "-0.00 ± 0.11"), (5.0, 1e-12, "5 ± 1e-12"),
    ],
)  # fmt: skip
def test_a_mean_has_the_places_of_its_error(mean: float, error: float, text: str) -> None:
    assert error_text(mean, error) == text
