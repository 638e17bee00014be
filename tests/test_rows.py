"""Rows and what is attached to them: each attachment stays with its row, on any way."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gadask.messages import Kind, Status
from gadask.node.plugin import ChunkResult
from gadask.rows import BEHAVIOUR, MOMENTS, REASON, ROW, Rows, reason_content

NAMES = st.sampled_from((REASON, MOMENTS, BEHAVIOUR))


@st.composite
def any_rows(draw: st.DrawFn) -> Rows:
    """Return up to eight rows of any bytes, with any attachments."""
    n = draw(st.integers(0, 8))
    table = np.frombuffer(draw(st.binary(min_size=n * ROW.itemsize, max_size=n * ROW.itemsize)), ROW)
    by_place = st.dictionaries(st.integers(0, n - 1), st.binary(max_size=20)) if n else st.just({})
    return Rows(table, draw(st.dictionaries(NAMES, by_place)))


def one_by_one(rows: Rows) -> list[tuple[bytes, dict[str, bytes]]]:
    """Return each row's bytes and what is attached to it."""
    return [
        (row.tobytes(), {name: of[place] for name, of in rows.attachments.items() if place in of})
        for place, row in enumerate(rows.table)
    ]


@given(any_rows())
def test_rows_arrive_as_they_were_sent(rows: Rows) -> None:
    arrived = Rows.unpacked(rows.packed())
    assert arrived.table.dtype == ROW
    assert one_by_one(arrived) == one_by_one(rows)
    assert arrived.attachments == rows.attachments


@given(st.lists(any_rows(), max_size=4))
def test_joined_rows_keep_what_is_attached_to_them(parts: list[Rows]) -> None:
    joined = Rows.joined(parts)
    assert one_by_one(joined) == [row for part in parts for row in one_by_one(part)]
    assert sum(map(len, joined.attachments.values())) == sum(len(of) for p in parts for of in p.attachments.values())


@given(any_rows(), st.data())
def test_chosen_rows_keep_what_is_attached_to_them(rows: Rows, data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    chosen = rows.where(np.array(mask, np.bool_))
    assert one_by_one(chosen) == [row for row, keep in zip(one_by_one(rows), mask, strict=True) if keep]
    assert all(0 <= place < len(chosen) for of in chosen.attachments.values() for place in of)


@given(st.text())
def test_a_reason_is_read_as_it_was_written(text: str) -> None:
    rows = Rows.unplayed(3, Kind.EVALUATION, [(5, 0), (6, 1)], Status.ERROR, text)
    assert rows.reasons() == (dict.fromkeys(range(2), text) if text else {})


def test_a_reason_that_is_no_unicode_is_written_all_the_same() -> None:
    assert reason_content("no \udcff") == b"no \\udcff"


def test_behaviours_are_read_as_vectors() -> None:
    vector = np.array([1.5, -2, np.float32(0.1)], np.float32)
    rows = Rows(np.zeros(3, ROW), {BEHAVIOUR: {1: vector.tobytes()}})
    behaviours = rows.behaviours()
    assert list(behaviours) == [1]
    assert behaviours[1].dtype == np.float32
    np.testing.assert_array_equal(behaviours[1], vector)


def test_unplayed_rows_name_their_episodes() -> None:
    rows = Rows.unplayed(3, Kind.EVALUATION, [(5, 0), (6, 1)], Status.STOPPED)
    names = ["generation", "kind", "slot", "episode", "status"]
    assert rows.table[names].tolist() == [(3, Kind.EVALUATION, 5, 0, 4), (3, Kind.EVALUATION, 6, 1, 4)]
    assert rows.attachments == {}
    assert len(Rows.unplayed(0, Kind.CHILD, [], Status.STOPPED)) == 0


def test_rows_take_few_bytes() -> None:
    rng = np.random.default_rng(0)
    table = np.zeros(100, ROW)
    table["generation"], table["slot"] = 7, rng.permutation(100)
    table["steps"] = rng.integers(200, 5000, 100)
    table["frames"] = 4 * table["steps"]
    table["seconds"], table["start_s"] = rng.random(100), 1.8e9 + rng.random(100)
    table["return"] = 10 * rng.integers(0, 100, 100)
    alone = len(pickle.dumps(ChunkResult("tls://10.0.0.1:34567", Rows(table).packed())))
    assert alone <= 2015  # as many as before rows had attachments
    assert len(pickle.dumps(ChunkResult("tls://10.0.0.1:34567", Rows(table[:1]).packed()))) <= 165
    vectors = rng.standard_normal((100, 3)).astype(np.float32)
    behaviours = {BEHAVIOUR: {place: vector.tobytes() for place, vector in enumerate(vectors)}}
    attached = len(pickle.dumps(ChunkResult("tls://10.0.0.1:34567", Rows(table, behaviours).packed())))
    assert attached - alone <= (12 + 5) * 100
