"""A genome plays each start once: no episode is lost, doubled or played twice, and the run is the same."""

from __future__ import annotations

import asyncio
import functools
import tracemalloc
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Brood
from gadask.config import EnvConfig, config_from_dict
from gadask.envs import make_env
from gadask.genomes.seeding import seeds_of_starts, start_of
from gadask.master.books import Books
from gadask.master.dispatch import Arrival, Dispatcher
from gadask.master.ledger import Heading, Ledger, Quota
from gadask.master.starts import Starts
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Status
from gadask.rows import BEHAVIOUR, REASON, ROW, Rows

N_STARTS = 4


def starts(seed: int = 0) -> Starts:
    """Return starts that are drawn at random, generation 3."""

    @functools.cache
    def start(kind: Kind, slot: int, episode: int) -> int:
        return int(np.random.default_rng([seed, kind, slot, episode]).integers(N_STARTS))

    return Starts(3, start)


def row(kind: Kind, slot: int, episode: int, status: Status = Status.OK, return_: float = 0.0) -> Rows:
    table = np.zeros(1, ROW)
    table["generation"], table["kind"], table["slot"], table["episode"] = 3, kind, slot, episode
    table["status"], table["return"], table["steps"], table["frames"], table["seconds"] = status, return_, 10, 40, 1.5
    return Rows(table, {BEHAVIOUR: {0: b"abcd"}} if status is Status.OK else {REASON: {0: b"why"}})


def places(rows: Rows, status: Status) -> list[int]:
    return np.flatnonzero(rows.table["status"] == status).tolist()


def worth(starts: Starts, kind: Kind, slot: int, episode: int) -> float:
    """Return what an episode gives: it follows from genome and start."""
    return 100.0 * slot + starts.start_of(kind, slot, episode)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 99), n_candidates=st.integers(0, 3), first=st.booleans())
def test_every_episode_counts_once_and_no_start_is_played_twice(
    data: st.DataObject, seed: int, n_candidates: int, first: bool
) -> None:
    """With chunks of any size, in any order of arrival, some of which fail or come twice."""
    shared = starts(seed)
    quota = Quota(3, children=5, child_episodes=3, episodes=8, spare_episodes=2 * first, first=first)
    ledger = Ledger(quota, n_candidates, starts=shared)
    counted: list[tuple[int, int, int]] = []
    well: Counter[tuple[int, int, int]] = Counter()
    badly: Counter[tuple[int, int, int]] = Counter()
    in_flight: list[Chunk] = []
    n_played, n_failures = 0, 0

    def add(rows: Rows, *, are_filled: bool) -> None:
        for one, heading in zip(rows.table, ledger.add(rows.table, are_filled=are_filled), strict=True):
            assert heading in (Heading.COUNTED, Heading.SURPLUS)
            key = int(one["kind"]), int(one["slot"]), int(one["episode"])
            if heading == Heading.COUNTED:
                counted.append(key)
            if one["status"] == Status.OK:
                assert one["return"] == worth(shared, Kind(key[0]), *key[1:])

    while not ledger.closed:
        chunk = ledger.take(data.draw(st.integers(1, 7)))
        if chunk is not None:
            in_flight.append(chunk)
        for _, rows in shared.take_filled():
            assert (rows.table["seconds"] == 0).all()
            assert rows.attached(BEHAVIOUR) == dict.fromkeys(places(rows, Status.OK), b"abcd")
            assert rows.attached(REASON) == dict.fromkeys(places(rows, Status.ERROR), b"why")
            add(rows, are_filled=True)
        if not in_flight or ledger.closed or (chunk is not None and data.draw(st.booleans())):
            continue
        chunk = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
        for slot, episode in chunk.episodes:
            start = shared.start_of(chunk.kind, slot, episode)
            fails = n_failures < 8 and data.draw(st.integers(0, 0 if badly[chunk.kind, slot, start] else 9)) == 0
            n_failures += fails
            status = Status.ERROR if fails else Status.OK
            rows = row(chunk.kind, slot, episode, status, worth(shared, chunk.kind, slot, episode))
            (badly if fails else well)[chunk.kind, slot, start] += 1
            n_played += 1
            again = shared.note("node", rows)
            assert fails or not again
            ledger.give_back(again)
            add(rows, are_filled=False)
    assert max(Counter(counted).values()) == 1
    assert max(well.values(), default=1) == 1
    assert max(badly.values(), default=0) <= 2
    if not first:
        wanted = {(Kind.CHILD, slot, episode) for slot in range(5) for episode in range(3)}
        wanted |= {(Kind.EVALUATION, slot, episode) for slot in range(n_candidates) for episode in range(8)}
        assert set(counted) == wanted
        assert n_played <= len(wanted)
    assert ledger.played_episodes == n_played
    assert (ledger.played_steps, ledger.played_frames) == (10 * n_played, 40 * n_played)
    assert ledger.steps == 10 * sum(ledger.rows[heading] for heading in (Heading.COUNTED, Heading.SURPLUS))


def test_those_that_waited_for_an_episode_that_failed_are_played() -> None:
    ledger = Ledger(Quota(3, children=1, child_episodes=3), starts=Starts(3, lambda *key: 0))
    shared = ledger.starts
    assert shared is not None
    assert ledger.take(10) == Chunk(3, Kind.CHILD, ((0, 0),))
    assert ledger.take(10) is None
    assert ledger.n_to_issue == 0
    failed = row(Kind.CHILD, 0, 0, Status.TIMEOUT)
    ledger.give_back(shared.note("node", failed))
    ledger.add(failed.table)
    assert ledger.n_to_issue == 2  # or nobody would ask for them
    assert ledger.take(10) == Chunk(3, Kind.CHILD, ((0, 1),))
    assert ledger.n_to_issue == 0
    played = row(Kind.CHILD, 0, 1, return_=5)
    assert shared.note("node", played) == []
    ledger.add(played.table)
    ((node, filled),) = shared.take_filled()
    assert (node, filled.table["episode"].tolist(), filled.table["return"].tolist()) == ("node", [2], [5])
    ledger.add(filled.table, are_filled=True)
    assert ledger.closed
    assert (ledger.played_episodes, ledger.steps) == (2, 30)


@pytest.mark.parametrize("status", [Status.ERROR, Status.TIMEOUT, Status.NONFINITE])
def test_a_start_that_failed_twice_has_failed_for_all_that_mean_it(status: Status) -> None:
    """Those that wait, and those that are issued later; whatever is stopped has not failed."""
    shared = starts_by_slot()

    def holds(episode: int) -> bool:
        return shared.holds(Kind.CHILD, 0, episode)

    def note(episode: int, status: Status) -> list[tuple[Kind, int, int]]:
        return shared.note("node", row(Kind.CHILD, 0, episode, status))

    assert [holds(0), holds(1)] == [False, True]
    assert note(0, status) == [(Kind.CHILD, 0, 1)]
    assert not shared.has(Kind.CHILD, 0, 1)
    assert not holds(1)
    assert note(1, Status.STOPPED) == []
    assert [holds(1), holds(2)] == [False, True]
    assert note(1, status) == []
    assert holds(3)
    ((node, filled),) = shared.take_filled()
    assert (node, filled.table["episode"].tolist()) == ("node", [2, 3])
    assert (filled.table["status"] == status).all()
    assert not filled.table["seconds"].any()
    assert filled.reasons() == {0: "why", 1: "why"}
    assert shared.results(Kind.CHILD, [0]) == {0: {}}  # the next generation tries again


def test_children_that_cannot_count_any_more_are_not_issued_again() -> None:
    """They waited for one that failed when the last child arrived, or that was stopped later, beside candidates."""
    ledger = Ledger(Quota(3, children=1, child_episodes=2, episodes=1, first=True), starts=starts_by_slot())
    shared = ledger.starts
    assert shared is not None
    assert ledger.take(4) == Chunk(3, Kind.CHILD, ((0, 0), (1, 0), (2, 0), (3, 0)))  # (0, 1), (1, 1) and (2, 1) wait
    failed, played = row(Kind.CHILD, 1, 0, Status.ERROR), row(Kind.CHILD, 0, 0)
    ledger.give_back(shared.note("node", Rows.joined([failed, played])))
    ((_, filled),) = shared.take_filled()
    ledger.add(played.table)
    ledger.add(filled.table, are_filled=True)
    assert ledger.children_closed
    ledger.add_candidates(1)
    ledger.give_back(shared.note("node", row(Kind.CHILD, 2, 0, Status.STOPPED)))
    assert ledger.n_to_issue == 1
    assert ledger.take(9) == Chunk(3, Kind.EVALUATION, ((0, 0),))
    assert ledger.n_to_issue == 0
    assert ledger.take(9) is None


def test_evaluations_are_issued_again_though_there_are_spares_and_children_go_on() -> None:
    quota = Quota(3, children=2, episodes=3, spare_episodes=2, first=True)
    shared = Starts(3, lambda kind, slot, episode: max(0, episode - 2))  # 0, 0, 0, and of the spares 1, 2
    ledger = Ledger(quota, 1, starts=shared)
    assert ledger.take(9) == Chunk(3, Kind.EVALUATION, ((0, 0), (0, 3), (0, 4)))
    assert ledger.take(3) == Chunk(3, Kind.CHILD, ((0, 0), (1, 0), (2, 0)))
    assert ledger.n_to_issue == 0
    ledger.give_back(shared.note("node", row(Kind.EVALUATION, 0, 0, Status.ERROR)))
    assert ledger.n_to_issue == 2
    assert ledger.take(9) == Chunk(3, Kind.EVALUATION, ((0, 1),))  # for which (0, 2) waits
    assert ledger.n_to_issue == 0
    assert ledger.take(1) == Chunk(3, Kind.CHILD, ((3, 0),))


def starts_by_slot() -> Starts:
    """Return starts of which each genome has one."""
    return Starts(3, lambda kind, slot, episode: 0)


def test_arrivals_that_give_nothing_back_leave_nothing_behind() -> None:
    """Or to issue would take longer with every chunk that came back, until the stack is full."""
    ledger = Ledger(Quota(3, children=1, child_episodes=3), starts=starts_by_slot())
    tracemalloc.start()
    try:
        for _ in range(10_000):
            ledger.give_back([])
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes < 10_000
    assert ledger.take(1) == Chunk(3, Kind.CHILD, ((0, 0),))


def test_rows_that_name_no_episode_that_is_played_say_nothing() -> None:
    """What the ledger books as malformed, late or a duplicate; what waits goes on waiting."""
    shared = starts_by_slot()
    ledger = Ledger(Quota(3, children=1, child_episodes=2), starts=shared)
    ledger.take(9)
    odd = [row(Kind.CHILD, slot, episode, return_=9) for slot, episode in ((-1, 0), (0, -1), (0, 1), (1, 0))]
    unknown, late = row(Kind.CHILD, 0, 0, return_=9), row(Kind.CHILD, 0, 0, return_=9)
    unknown.table["kind"], late.table["generation"] = 255, 2
    assert shared.note("node", Rows.joined([*odd, unknown, late])) == []
    assert shared.take_filled() == []
    played = row(Kind.CHILD, 0, 0, return_=5)
    shared.note("node", Rows.joined([played, row(Kind.CHILD, 0, 0, return_=9)]))
    ((_, filled),) = shared.take_filled()
    assert filled.table["return"].tolist() == [5]


@pytest.mark.parametrize(("chunk_size", "counted"), [(1, {0: False, 1: True}), (9, {0: False, 2: False})])
def test_what_is_filled_arrives_behind_its_episode_and_what_counts_is_what_is_selected_by(
    chunk_size: int, counted: dict[int, bool]
) -> None:
    """Two evaluations that are the same, 0 and 1, and 2, a spare one, come together; the first two to arrive count.

    In one chunk with 0 the spare is before 1, which is filled: another start in the place of the same one again. No
    start is preferred for what it gives.
    """
    quota = Quota(3, children=0, episodes=2, spare_episodes=1, first=True)
    ledger = Ledger(quota, 1, starts=Starts(3, lambda kind, slot, episode: episode // 2))
    books = Books()

    async def book() -> None:
        async for batch in Instant(chunk_size).play(ledger, Brood(3, (), ((1,),))):
            for arrival in batch:
                books.add(arrival, ledger.add(arrival.rows.table, are_filled=arrival.are_filled))

    asyncio.run(book())
    are_filled = {int(arrival.rows.table["episode"][0]): arrival.are_filled for arrival, _ in books.arrivals}
    selected_by = books.selectable(Kind.EVALUATION).table
    assert {episode: are_filled.get(episode, False) for episode in selected_by["episode"].tolist()} == counted
    assert selected_by["return"].tolist() == [float(episode // 2) for episode in counted]
    assert (ledger.rows[Heading.COUNTED], ledger.rows[Heading.SURPLUS]) == (2, 1)


class Instant(Dispatcher):
    """Plays at once all that is issued; the result is the start."""

    def __init__(self, chunk_size: int) -> None:
        self._nodes = cast("Any", SimpleNamespace(playing={}))
        self._chunks: list[Chunk] = []
        self._chunk_size = chunk_size

    def _fill(self, ledger: Ledger, brood: Brood) -> None:
        while (chunk := ledger.take(self._chunk_size)) is not None:
            self._chunks.append(chunk)

    async def _next_arrivals(self) -> list[Arrival]:
        chunks, self._chunks = self._chunks, []
        return [
            Arrival("node", Rows.joined(row(one.kind, *pair, return_=pair[1] // 2) for pair in one.episodes))
            for one in chunks
        ]


def test_spare_evaluations_of_a_start_that_is_known_are_not_issued() -> None:
    quota = Quota(3, children=1, episodes=2, spare_episodes=3, first=True)
    shared = Starts(3, lambda kind, slot, episode: min(episode, 3))  # 0, 1, and of the spares 2, 3, 3
    ledger = Ledger(quota, 1, starts=shared)
    chunk = ledger.take(9)
    assert chunk == Chunk(3, Kind.EVALUATION, ((0, 0), (0, 1), (0, 2), (0, 3)))
    assert shared.note("node", Rows.joined(row(chunk.kind, *pair) for pair in chunk.episodes)) == []
    assert shared.take_filled() == []


def test_what_is_known_from_before_is_not_played() -> None:
    before, after = Starts(3, lambda *key: 7), Starts(4, lambda *key: 7)
    assert not before.holds(Kind.CHILD, 5, 0)
    before.note("node", row(Kind.CHILD, 5, 0, return_=12))
    after.know(Kind.EVALUATION, 0, before.results(Kind.CHILD, [5])[5])
    ledger = Ledger(Quota(4, children=0, episodes=2), 1, starts=after)
    assert ledger.take(9) is None
    ((_, filled),) = after.take_filled()
    assert filled.table["generation"].tolist() == [4, 4]
    assert filled.table["return"].tolist() == [12, 12]
    ledger.add(filled.table, are_filled=True)
    assert ledger.closed
    assert ledger.played_frames == 0 < ledger.frames


def test_a_start_of_a_seed_is_the_number_of_no_ops() -> None:
    for seed in (0, 1, 12345):
        assert 1 + start_of(seed, 30) == np.random.default_rng(seed).integers(1, 31)
    assert [start_of(seed, 30) for seed in seeds_of_starts(30)] == list(range(30))
    env: Any = make_env(EnvConfig("ALE/Skiing-v5", {"noop_max": 9}))
    seen = {start_of(seed, 9): env.reset(seed).tobytes() for seed in range(60)}
    assert len(seen) == len(set(seen.values())) == 9
    assert all(env.reset(seed).tobytes() == seen[start_of(seed, 9)] for seed in range(60, 90))


@pytest.mark.parametrize(
    ("kwargs", "n_starts"),
    [({}, 30), ({"noop_max": 0}, 1), ({"noop_max": 5}, 5), ({"repeat_action_probability": 0.25}, 0)],
)
def test_a_game_says_how_many_starts_it_has(kwargs: dict[str, Any], n_starts: int) -> None:
    assert make_env(EnvConfig("ALE/Skiing-v5", kwargs)).n_starts == n_starts


@pytest.mark.parametrize(
    ("policy", "n_starts"),
    [
        ({"kind": "nature"}, 30),
        ({"kind": "nature", "kwargs": {"actions": "sampled"}}, 0),
        ({"kind": f"{__name__}:silent"}, 0),
        ({"kind": f"{__name__}:declared"}, 30),
    ],
)
def test_a_policy_that_may_draw_shares_nothing(policy: dict[str, Any], n_starts: int) -> None:
    config = config_from_dict({"env": {"id": "ALE/Skiing-v5"}, "policy": policy, "noise": {"size": 5_000_000}})
    assert prepare_task(config).n_starts == n_starts


def silent(observation_space: Any, action_space: Any) -> Any:
    from gadask.policies.convolutional import nature

    return nature(observation_space, action_space)


def declared(observation_space: Any, action_space: Any) -> Any:
    network = silent(observation_space, action_space)
    network.draws_nothing = True
    return network


def test_tests_have_each_start_once_and_children_again_different_ones() -> None:
    task = prepare_task(config_from_dict({"preset": "such2017", "env": {"id": "ALE/Skiing-v5"}}))
    of_elite = [task.start(Kind.TEST, 8, 0, episode) for episode in range(30)]
    assert sorted(of_elite) == list(range(30))
    assert len({task.start(Kind.TEST, 8, slot, 0) for slot in range(30)}) == 30
