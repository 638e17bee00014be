"""The books of a generation: whatever arrives, in whatever order, the right episodes count, once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import PRESETS
from gadask.master.generation import quota_of
from gadask.master.ledger import PLAYED, Heading, Ledger, Quota
from gadask.messages import Chunk, Kind, Status
from gadask.rows import ROW

Rows = NDArray[np.void]
Episode = tuple[Kind, int, int]
C, E = Kind.CHILD, Kind.EVALUATION


def row(
    kind: int, slot: int, episode: int = 0, *, generation: int = 3, status: int = Status.OK, steps: int = 10,
    seconds: float = 0.5, return_: float = 1.0,
) -> Rows:  # fmt: skip
    """One row as a node sends it; the ledgers here keep generation 3."""
    rows = np.zeros(1, ROW)
    rows[0] = (generation, slot, episode, steps, 4 * steps, seconds, return_, 0.0, 0, kind, status)
    return rows


def rows_of(episodes: Iterable[Episode], **fields: int) -> Rows:
    return np.concatenate([np.zeros(0, ROW), *(row(*episode, **fields) for episode in episodes)])


def episodes_of(chunk: Chunk) -> list[Episode]:
    return [(chunk.kind, slot, episode) for slot, episode in chunk.episodes]


def take_all(ledger: Ledger, n_episodes: int = 7) -> list[Episode]:
    """Everything that a finite ledger issues; of an endless one more than any test expects."""
    chunks = islice(iter(lambda: ledger.take(n_episodes), None), 1000)
    return [episode for chunk in chunks for episode in episodes_of(chunk)]


def take(ledger: Ledger, n_episodes: int) -> list[Episode]:
    """The next episodes, one by one."""
    chunks = [ledger.take(1) for _ in range(n_episodes)]
    return [episode for chunk in chunks if chunk is not None for episode in episodes_of(chunk)]


def booked(ledger: Ledger, rows: Rows) -> list[Heading]:
    return [Heading(int(heading)) for heading in ledger.add(rows)]


@given(st.integers(0, 20), st.integers(0, 4), st.integers(1, 5), st.integers(1, 30))
def test_all_issues_the_quota_once_evaluations_first(
    children: int, n_candidates: int, episodes: int, n_episodes: int
) -> None:
    ledger = Ledger(Quota(3, children, episodes, spare_episodes=2), n_candidates)
    n_wanted = ledger.n_wanted
    issued: list[Episode] = []
    while (chunk := ledger.take(n_episodes)) is not None:
        assert chunk.generation == 3
        assert 1 <= len(chunk.episodes) <= n_episodes
        issued += episodes_of(chunk)
        assert ledger.n_to_issue == n_wanted - len(issued)
    evaluations = [(E, slot, episode) for slot, episode in product(range(n_candidates), range(episodes))]
    assert issued == [*evaluations, *((C, slot, 0) for slot in range(children))]
    assert ledger.take(n_episodes) is None


@given(st.integers(1, 12), st.integers(0, 3), st.integers(1, 3), st.data())
def test_all_closes_with_the_last_row_in_any_order(
    children: int, n_candidates: int, episodes: int, data: st.DataObject
) -> None:
    ledger = Ledger(Quota(3, children, episodes, min_steps=10**9), n_candidates)
    arriving = data.draw(st.permutations(take_all(ledger)))
    statuses = st.sampled_from([Status.OK, Status.ERROR, Status.TIMEOUT, Status.NONFINITE])
    for n, episode in enumerate(arriving):
        assert not ledger.closed
        assert booked(ledger, row(*episode, status=data.draw(statuses))) == [Heading.COUNTED]
        assert ledger.rows[Heading.COUNTED] == n + 1
    assert ledger.closed
    assert ledger.n_wanted == len(arriving)
    assert (ledger.steps, ledger.frames) == (10 * len(arriving), 40 * len(arriving))
    assert ledger.seconds[Heading.COUNTED] == 0.5 * len(arriving)


def test_a_batch_is_booked_row_by_row_in_order_of_arrival() -> None:
    ledger = Ledger(Quota(3, 2))
    take_all(ledger)
    rows = np.concatenate([row(C, 1), row(C, 1, return_=9), row(C, 0), row(C, 7), row(C, 0, generation=2)])
    headings = [Heading.COUNTED, Heading.DUPLICATE, Heading.COUNTED, Heading.MALFORMED, Heading.LATE]
    assert booked(ledger, rows) == headings
    assert ledger.add(rows[:0]).tolist() == []


@pytest.mark.parametrize(
    "bad",
    [
        row(C, 5), row(C, -1), row(C, 0, 1), row(C, 0, -1), row(E, 2, 0), row(E, 0, 3), row(E, -1, 0),
        row(E, 1, 2), row(Kind.TEST, 0), row(3, 0), row(255, 0), row(C, 0, generation=4), row(C, 0, generation=-1),
        row(3, 0, generation=2), row(C, -1, generation=2), row(C, 0, -1, generation=2), row(C, 0, status=5),
        row(C, 0, status=255), row(C, 0, steps=-1), row(C, 0, seconds=-1.0), row(C, 0, seconds=math.nan),
        row(C, 0, seconds=math.inf), row(C, 0, return_=math.nan), row(C, 0, return_=-math.inf),
        row(C, 0, generation=2, seconds=math.nan), row(C, 0, status=Status.STOPPED, seconds=math.nan),
    ],
)  # fmt: skip
def test_a_malformed_row_is_booked_and_adds_nothing(bad: Rows) -> None:
    ledger = Ledger(Quota(3, 5, 3), n_candidates=2)
    take(ledger, 5)  # evaluation (1, 2) is not issued yet
    if bad["kind"] == C:
        take_all(ledger)
    assert booked(ledger, bad) == [Heading.MALFORMED]
    assert ledger.rows == {Heading.MALFORMED: 1}
    assert (ledger.steps, ledger.frames, ledger.seconds.total()) == (0, 0, 0)
    take_all(ledger)
    assert booked(ledger, row(C, 0)) == [Heading.COUNTED]


def pollution(random: np.random.Generator, n_rows: int) -> Rows:
    """Rows that must not count in generation 3, all of them with returns that would win."""
    rows = np.zeros(n_rows, ROW)
    rows["generation"] = random.integers(0, 3, n_rows)  # stale
    rows["slot"] = random.integers(0, 50, n_rows)
    rows["episode"] = random.integers(0, 3, n_rows)
    rows["kind"] = random.integers(0, 3, n_rows)
    rows["return"] = 1e9
    rows["steps"] = 7
    rows["seconds"] = 0.25
    which = random.integers(0, 8, n_rows)
    cases: list[tuple[str, NDArray[np.generic] | float]] = [
        ("slot", random.integers(10_000, 2**31, n_rows)),
        ("slot", random.integers(-(2**31), 0, n_rows)),
        ("kind", random.integers(3, 256, n_rows)),
        ("status", random.integers(5, 256, n_rows)),
        ("seconds", math.nan),
        ("return", random.choice([math.nan, math.inf, -math.inf], n_rows)),
        ("status", Status.STOPPED),
    ]
    for case, (field, values) in enumerate(cases):
        rows[field] = np.where(which == case, values, rows[field])
    # Other cases than stale rows: of this generation or of one to come.
    current = (which < 7) & (random.random(n_rows) < 0.7)
    rows["generation"][current] = random.choice([3, 3, 3, 4, 2**31 - 1], current.sum())
    rows["episode"][current & (rows["kind"] == C)] = 0
    return rows


@given(st.integers(0, 2**32), st.booleans(), st.booleans(), st.integers(0, 300))
@settings(max_examples=8, deadline=None)
def test_ten_thousand_bad_rows_change_nothing_that_counts(seed: int, first: bool, admit: bool, min_steps: int) -> None:
    random = np.random.default_rng(seed)
    quota = Quota(3, 40, 3, spare_episodes=first, first=first, admit=first and admit, min_steps=min_steps)
    clean, polluted = (Ledger(quota, n_candidates=4, admissible={90, 91}) for _ in range(2))
    for ledger in (clean, polluted):
        issued = take(ledger, 4 * 4 + 60)
    admitted = [row(C, slot, generation=2) for slot in (90, 91)]
    good = random.permutation(np.concatenate([rows_of(issued), *admitted]))
    good["return"] = random.normal(size=len(good))
    bad = pollution(random, 10_000)
    arriving: list[Rows] = []
    for n, part in enumerate(np.array_split(bad, len(good) + 1)):
        again = random.permutation(good[:n])[: len(part) // 10].copy()
        again["return"] = 1e9  # a duplicate that would win
        arriving += [part, again, good[n : n + 1]]
    rows = np.concatenate(arriving)
    expected = good[clean.add(good) == Heading.COUNTED]

    headings = polluted.add(rows)

    assert np.array_equal(rows[headings == Heading.COUNTED], expected)
    assert polluted.closed == clean.closed
    assert polluted.uncounted_children == clean.uncounted_children
    assert polluted.rows.total() == len(rows) > 10_000
    assert polluted.rows[Heading.KEPT] == clean.rows[Heading.KEPT]
    assert min(polluted.rows[h] for h in (Heading.LATE, Heading.DUPLICATE, Heading.STOPPED, Heading.MALFORMED)) > 100
    assert math.isfinite(polluted.seconds.total())
    assert polluted.steps == rows["steps"][np.isin(headings, list(PLAYED))].sum()


@given(st.integers(1, 12), st.integers(0, 12), st.booleans(), st.data())
def test_first_counts_the_first_to_arrive(children: int, n_late: int, admit: bool, data: st.DataObject) -> None:
    ledger = Ledger(Quota(3, children, first=True, admit=admit))
    arriving = data.draw(st.permutations(take(ledger, children + n_late)))
    assert [slot for _, slot, _ in sorted(arriving)] == list(range(children + n_late))
    for episode in arriving[:children]:
        assert not ledger.closed
        assert booked(ledger, row(*episode)) == [Heading.COUNTED]
    assert ledger.closed
    assert ledger.take(1) is None
    late = rows_of(arriving[children:])
    assert booked(ledger, late) == [Heading.KEPT if admit else Heading.SURPLUS] * n_late
    assert ledger.uncounted_children == {slot for _, slot, _ in arriving[children:]}
    assert ledger.steps == 10 * (children if admit else children + n_late)


@given(st.integers(0, 30), st.data())
def test_kept_rows_count_in_the_next_ledger_once(n_late: int, data: st.DataObject) -> None:
    before = Ledger(Quota(3, 10, first=True, admit=True))
    arriving = data.draw(st.permutations(take(before, 10 + n_late)))
    n_arrived = data.draw(st.integers(10, 10 + n_late))
    in_time, later = rows_of(arriving[:n_arrived]), rows_of(arriving[n_arrived:])
    kept = in_time[before.add(in_time) == Heading.KEPT]
    ledger = Ledger(Quota(4, 10, first=True, admit=True), admissible=before.uncounted_children)

    headings = booked(ledger, np.concatenate([kept, later, in_time, later]))

    n_counted = min(10, n_late)
    assert headings[:n_late] == [Heading.COUNTED] * n_counted + [Heading.LATE] * (n_late - n_counted)
    # Rows that counted in their own generation do not count again.
    assert set(headings[n_late:]) <= {Heading.DUPLICATE, Heading.LATE}
    assert ledger.rows[Heading.COUNTED] == n_counted
    assert ledger.uncounted_children == set()
    if n_late == 0:
        assert not ledger.closed
    # The process time of every episode stands in one of the two books; here the repeated rows' in the second.
    assert before.seconds.total() == 0.5 * 10
    assert ledger.seconds.total() == 0.5 * len(headings)


def test_only_children_of_the_generation_before_are_admitted() -> None:
    ledger = Ledger(Quota(3, 10, 2, first=True, admit=True), n_candidates=1)
    rows = [row(C, 4, generation=1), row(C, 4, 1, generation=2), row(E, 0, generation=2), row(C, 4, generation=2)]
    assert booked(ledger, np.concatenate(rows)) == [Heading.LATE] * 3 + [Heading.COUNTED]


def test_a_dropped_child_is_late_in_the_next_generation() -> None:
    ledger = Ledger(Quota(3, 10, first=True))
    assert booked(ledger, row(C, 4, generation=2)) == [Heading.LATE]
    assert (ledger.steps, ledger.seconds[Heading.LATE]) == (10, 0.5)


def test_a_stopped_episode_is_booked_as_such_and_may_still_arrive() -> None:
    ledger = Ledger(Quota(3, 1))
    take_all(ledger)
    assert booked(ledger, row(C, 0, status=Status.STOPPED, steps=3)) == [Heading.STOPPED]
    assert not ledger.closed
    assert booked(ledger, row(C, 0)) == [Heading.COUNTED]
    assert ledger.steps == 13


@pytest.mark.parametrize("first", [False, True])
def test_min_steps_keep_first_open_and_never_hang_all(first: bool) -> None:
    ledger = Ledger(Quota(3, 2, first=first, min_steps=55))
    ledger.add(rows_of(take(ledger, 2)))
    assert ledger.closed is not first
    if first:
        stale = rows_of(((C, slot, 0) for slot in range(99)), generation=2)
        assert set(booked(ledger, stale)) == {Heading.LATE}
        assert not ledger.closed  # steps of episodes that do not count do not count either
        assert booked(ledger, rows_of(take(ledger, 3))) == [Heading.COUNTED] * 3
        assert not ledger.closed
        assert booked(ledger, rows_of(take(ledger, 1))) == [Heading.COUNTED]
        assert ledger.closed


def test_spare_evaluations_are_issued_after_the_quota_and_the_first_to_arrive_count() -> None:
    ledger = Ledger(Quota(3, 1, 3, spare_episodes=2, first=True), n_candidates=2)
    issued = take(ledger, 11)
    quota = [(E, slot, episode) for slot in (0, 1) for episode in (0, 1, 2)]
    assert issued == [*quota, (E, 0, 3), (E, 1, 3), (E, 0, 4), (E, 1, 4), (C, 0, 0)]
    one = [(E, 0, episode) for episode in (4, 2, 3, 0, 1)]
    assert booked(ledger, rows_of(one)) == [Heading.COUNTED] * 3 + [Heading.SURPLUS] * 2
    assert booked(ledger, row(C, 0)) == [Heading.COUNTED]
    assert not ledger.closed  # the other candidate has none yet
    assert booked(ledger, rows_of([(E, 1, 4), (E, 1, 3), (E, 1, 0)])) == [Heading.COUNTED] * 3
    assert ledger.closed


@pytest.mark.parametrize("first", [False, True])
def test_with_a_barrier_candidates_come_after_the_children(first: bool) -> None:
    ledger = Ledger(Quota(3, 4, 2, first=first))
    children = take(ledger, 4)
    assert booked(ledger, row(E, 0)) == [Heading.MALFORMED]
    ledger.add(rows_of(children))
    assert ledger.closed
    ledger.add_candidates(2)
    assert not ledger.closed
    assert ledger.children_closed
    assert (ledger.n_wanted, ledger.n_to_issue) == (8, 4)
    evaluations = [(E, 0, 0), (E, 0, 1), (E, 1, 0), (E, 1, 1)]
    assert take_all(ledger) == evaluations
    assert booked(ledger, rows_of(evaluations)) == [Heading.COUNTED] * 4
    assert ledger.closed


def test_candidates_added_early_go_before_the_children_that_are_left() -> None:
    ledger = Ledger(Quota(3, 3, 1))
    assert take(ledger, 1) == [(C, 0, 0)]
    ledger.add_candidates(1)
    assert take_all(ledger) == [(E, 0, 0), (C, 1, 0), (C, 2, 0)]


def test_test_episodes_alone() -> None:
    ledger = Ledger(Quota(3, 0, 4, kind=Kind.TEST), n_candidates=1)
    issued = take_all(ledger)
    assert issued == [(Kind.TEST, 0, episode) for episode in range(4)]
    assert booked(ledger, row(E, 0)) == [Heading.MALFORMED]
    assert booked(ledger, rows_of(issued)) == [Heading.COUNTED] * 4
    assert ledger.closed


@given(st.booleans(), st.lists(st.integers(1, 9), max_size=40))
def test_no_episode_is_issued_twice_and_no_chunk_mixes_kinds(first: bool, sizes: list[int]) -> None:
    ledger = Ledger(Quota(3, 15, 3, spare_episodes=1, first=first), n_candidates=3)
    issued: list[Episode] = []
    for size in sizes:
        chunk = ledger.take(size)
        if chunk is None:
            break
        assert {kind for kind, _, _ in episodes_of(chunk)} == {chunk.kind}
        issued += episodes_of(chunk)
        ledger.add(rows_of(episodes_of(chunk)[::2]))
    assert len(set(issued)) == len(issued)


def test_episodes_to_issue_do_not_count_spares_or_children_beyond_the_quota() -> None:
    ledger = Ledger(Quota(3, 10, 3, spare_episodes=2, first=True), n_candidates=2)
    take(ledger, 10)  # six of the quota, four spares
    assert ledger.n_to_issue == 10
    barrier = Ledger(Quota(3, 10, 3, first=True))
    barrier.add(rows_of(take(barrier, 25)))
    barrier.add_candidates(2)
    assert barrier.n_to_issue == 6


def test_ga_dist_counts_1000_children_and_later_700_with_10_times_30_evaluations() -> None:
    settings = PRESETS["ga-dist"].generation
    ledger = Ledger(quota_of(settings, 0, 0))
    ledger.add(rows_of(take(ledger, 999), generation=0, steps=11))
    assert not ledger.closed
    ledger.add(rows_of(take(ledger, 1), generation=0, steps=11))
    assert ledger.closed
    assert ledger.rows == {Heading.COUNTED: 1000}

    ledger = Ledger(quota_of(settings, 3, 10), n_candidates=10)
    assert ledger.n_wanted == 1000
    issued = take(ledger, 350 + 700)
    assert [kind for kind, _, _ in issued] == [E] * 350 + [C] * 700
    assert set(issued[:350]) == {(E, slot, episode) for slot in range(10) for episode in range(35)}
    headings = booked(ledger, rows_of(issued[:350][::-1], steps=20))
    assert (headings.count(Heading.COUNTED), headings.count(Heading.SURPLUS)) == (300, 50)
    ledger.add(rows_of(issued[350:-1], steps=20))
    assert not ledger.closed
    ledger.add(rows_of(issued[-1:], steps=20))
    assert ledger.closed
    assert ledger.rows[Heading.COUNTED] == 1000


@given(st.integers(1, 8), st.integers(2, 4), st.data())
def test_a_child_counts_with_the_last_of_its_episodes(children: int, child_episodes: int, data: st.DataObject) -> None:
    ledger = Ledger(Quota(3, children, child_episodes=child_episodes))
    issued = take_all(ledger)
    assert issued == [(C, *pair) for pair in product(range(children), range(child_episodes))]
    assert ledger.n_wanted == len(issued)
    arrived = [0] * children
    for episode in data.draw(st.permutations(issued)):
        assert not ledger.closed
        assert booked(ledger, row(*episode)) == [Heading.COUNTED]
        assert booked(ledger, row(*episode)) == [Heading.DUPLICATE]
        arrived[episode[1]] += 1
        assert ledger.n_children == arrived.count(child_episodes)
        assert ledger.uncounted_children == {slot for slot in range(children) if arrived[slot] < child_episodes}
    assert ledger.closed


def test_first_closes_with_enough_whole_children() -> None:
    ledger = Ledger(Quota(3, 2, child_episodes=2, first=True))
    take(ledger, 8)
    assert booked(ledger, rows_of([(C, 0, 0), (C, 1, 0), (C, 2, 0), (C, 2, 1), (C, 3, 0)])) == [Heading.COUNTED] * 5
    assert not ledger.closed
    assert booked(ledger, rows_of([(C, 0, 1), (C, 1, 1)])) == [Heading.COUNTED, Heading.SURPLUS]
    assert ledger.closed
    assert ledger.n_children == 2
