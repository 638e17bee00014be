"""The log's line: right figures, the same in any order of arrival, and always strict JSON."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Elite, Scored
from gadask.master.ledger import Heading, Ledger, Quota
from gadask.master.summary import Timing, log_line
from gadask.messages import Kind, Status
from gadask.rows import ROW
from tests.generations import evaluated_of

Rows = NDArray[np.void]
TIMING = Timing(wall_s=2.0, process_s=20.0, busy_s=12.0, discarded_s=3.0, nodes=2, processes=10)
BROOD = Brood(3, ((5, 6), (7,)), ((5, 6), (8, 9)))
ELITE = Elite((8, 9), 12.5, 3, 3)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def rows_of(
    returns: list[float], *, kind: Kind = Kind.CHILD, steps: list[int] | None = None, status: Status = Status.OK
) -> Rows:
    """Rows of this generation, slots from 0."""
    rows = np.zeros(len(returns), ROW)
    rows["generation"] = 3
    rows["slot"] = range(len(returns))
    rows["return"] = returns
    rows["steps"] = 10 if steps is None else steps
    rows["frames"] = 4 * rows["steps"]
    rows["seconds"] = 0.5
    rows["kind"] = kind
    rows["status"] = status
    return rows


def line_of(
    rows: Rows,
    evaluations: dict[int, list[float]] | None = None,
    elite: Elite | None = ELITE,
    quota: Quota | None = None,
) -> dict[str, Any]:
    """Book the rows in their order and return the generation's line."""
    ledger = Ledger(quota or Quota(3, len(rows), 3), n_candidates=2)
    for _ in range(4):
        ledger.take(len(rows) + 6)
    headings = ledger.add(rows)
    counted = rows[(headings == Heading.COUNTED) & (rows["kind"] == Kind.CHILD) & (rows["status"] == Status.OK)]
    scored = [Scored((5,), slot, return_, slot) for slot, return_ in counted[["slot", "return"]].tolist()]
    evaluated = evaluated_of(BROOD.candidates, evaluations or {})
    return log_line(BROOD, rows, headings, scored, evaluated, elite, ledger, TIMING)


def strict(line: dict[str, Any]) -> dict[str, Any]:
    """Write and read the line; NaN and infinities are errors."""
    read: dict[str, Any] = json.loads(json.dumps(line, allow_nan=False))
    return read


def test_a_line_by_hand() -> None:
    children = rows_of([1.0, 2.0, 4.0, 8.0], steps=[10, 20, 30, 40])
    failed = rows_of([0.0, 0.0, math.nan], steps=[0, 50, 60])
    failed["slot"] = [4, 5, 6]
    failed["status"] = [Status.ERROR, Status.TIMEOUT, Status.NONFINITE]
    evaluations = rows_of([10.0, 11.0], kind=Kind.EVALUATION, steps=[70, 80])
    late = rows_of([99.0], steps=[90])
    late["generation"] = 2
    rows = np.concatenate([children, failed, evaluations, late, children[:1]])
    line = strict(line_of(rows, {0: [10.0], 1: [11.0, 14.0]}))
    assert line["parents"] == ["5-6", "7"]
    assert line["candidates"] == [
        {"genome": "5-6", "mean": 10.0, "standard_error": None, "episodes": 1},
        {"genome": "8-9", "mean": 12.5, "standard_error": 1.5, "episodes": 2},
    ]
    assert line["elite"] == {"genome": "8-9", "mean": 12.5, "episodes": 3, "generation": 3}
    assert line["children"]["n"] == 7
    assert line["children"]["mean"] == 3.75
    quantiles = line["children"]["quantiles"]
    assert list(quantiles) == ["0", "0.05", "0.25", "0.5", "0.75", "0.95", "1"]
    assert (quantiles["0"], quantiles["0.5"], quantiles["1"]) == (1.0, 3.0, 8.0)
    assert line["failed"] == {"error": 1, "timeout": 1, "nonfinite": 1}
    assert line["lengths"]["counted"]["mean"] == 30.0
    assert line["lengths"]["all"]["mean"] == 37.5
    assert line["lengths"]["all"]["quantiles"]["1"] == 90
    assert line["episodes"] == 10
    assert (line["steps"], line["frames"]) == (450, 1800)
    assert line["timing"]["rows"] == {
        "counted": 9, "late": 1, "duplicate": 1, "surplus": 0, "stopped": 0, "malformed": 0, "kept": 0,
    }  # fmt: skip
    assert (line["timing"]["idle_s"], line["timing"]["busy_share"]) == (5.0, 0.6)


@given(st.lists(st.tuples(FINITE, st.integers(0, 5000), st.sampled_from(Status)), max_size=40), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_line_does_not_depend_on_the_order_of_arrival(children: list[tuple[float, int, Status]], seed: int) -> None:
    random = Random(seed)
    rows = rows_of([r for r, _, _ in children], steps=[n for _, n, _ in children])
    rows["status"] = [status for _, _, status in children]
    evaluations = rows_of([1.1, 2.2, 3.3, 0.1, 0.2, 0.3], kind=Kind.EVALUATION)
    evaluations["slot"], evaluations["episode"] = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]
    rows = np.concatenate([rows, evaluations])
    lines = []
    for order in (list(range(len(rows))), random.sample(range(len(rows)), len(rows))):
        arrived = rows[order]
        arrived["seconds"] = random.random()
        arrived["process"] = random.randrange(9)
        values: dict[int, list[float]] = {0: [], 1: []}
        for row in arrived[arrived["kind"] == Kind.EVALUATION]:
            values[int(row["slot"])].append(float(row["return"]))
        line = line_of(arrived, values)
        del line["timing"]
        lines.append(json.dumps(line, allow_nan=False))
    assert lines[0] == lines[1]


@pytest.mark.parametrize("elite", [ELITE, None])
@pytest.mark.parametrize("status", [Status.OK, Status.ERROR, Status.TIMEOUT, Status.NONFINITE])
@pytest.mark.parametrize("returns", [[], [0.0], [1.7e308, 1.7e308, -1.7e308, -1.7e308], [-1.0, 1e308, 1e308]])
def test_a_line_is_strict_json(returns: list[float], status: Status, elite: Elite | None) -> None:
    line = strict(line_of(rows_of(returns, status=status), {0: returns}, elite))
    valid = sorted(returns) if status is Status.OK else []
    assert line["children"]["n"] == len(returns)
    assert (line["children"]["quantiles"] == {}) == (not valid)
    if valid:
        assert (line["children"]["quantiles"]["0"], line["children"]["quantiles"]["1"]) == (valid[0], valid[-1])
    if not valid:
        assert line["children"]["mean"] is None
    assert (line["elite"] is None) == (elite is None)
    assert line["candidates"][1] == {"genome": "8-9", "mean": None, "standard_error": None, "episodes": 0}


def test_damaged_rows_do_not_reach_the_line() -> None:
    bad = rows_of([math.nan, math.inf, 1.0, 1.0])
    bad["seconds"][2] = math.nan
    bad["steps"][3] = -1
    good = rows_of([2.0, 3.0, 4.0, 5.0])
    line = strict(line_of(np.concatenate([bad, good])))
    assert line["timing"]["rows"]["malformed"] == 4
    del line["timing"]
    expected = strict(line_of(good, quota=Quota(3, 8, 3)))
    del expected["timing"]
    assert line == expected


def test_kept_rows_are_left_to_the_next_line() -> None:
    rows = rows_of([1.0, 2.0, 3.0])
    line = line_of(rows, quota=Quota(3, 2, 0, first=True, admit=True))
    assert line["children"]["n"] == line["episodes"] == 2
    assert line["lengths"]["all"] == line["lengths"]["counted"]
    assert line["timing"]["rows"][Heading.KEPT.name.lower()] == 1


def test_timing_of_nothing_and_of_rounding() -> None:
    nothing = Timing(0.0, 0.0, 0.0, 0.0, 0, 0)
    assert (nothing.busy_share, nothing.idle_s) == (0.0, 0.0)
    # A row that began in the generation before can make more seconds than this one had.
    assert Timing(1.0, 2.0, 2.5, 0.5, 1, 2).idle_s == 0.0
