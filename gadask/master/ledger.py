"""The account of one generation: which episodes to issue next, which results count, when the generation closes.

A pure state machine without clocks or connections: `take` hands out chunks, `add` takes rows in any order. Every row is
booked under exactly one heading, whatever arrives: late, twice, stopped or malformed. Selection only ever sees the
counted rows.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, count, islice, product

import numpy as np
from numpy.typing import NDArray

from gadask.master.starts import Starts
from gadask.messages import Chunk, Kind, Status


class Heading(IntEnum):
    """Where a row is booked."""

    COUNTED = 0
    LATE = 1
    """Came after its generation closed, and does not count in this one."""
    DUPLICATE = 2
    SURPLUS = 3
    """Beyond what the closing rule counts."""
    STOPPED = 4
    """Cut off at the closing."""
    MALFORMED = 5
    """Names an episode that was never issued, or holds what no episode gives: an unknown status, a length or a time
    below 0, a time or an `OK` return that is not finite."""
    KEPT = 6
    """A child for the next generation (`late = "admit"`), to be added to its ledger."""


@dataclass(frozen=True)
class Quota:
    """What must arrive before a generation closes."""

    generation: int
    children: int
    """Children that must have a result."""
    episodes: int = 0
    """Evaluation episodes that each candidate must have."""
    spare_episodes: int = 0
    """Evaluation episodes issued beyond those, for each candidate."""
    first: bool = False
    """Close at the first `children` results, whatever their slots, and go on issuing children until then."""
    admit: bool = False
    """Children that arrive after the close count in the next generation; those that came so late before, in this."""
    min_steps: int = 0
    """With `first`: count children until the counted episodes have this many steps, however many children they are."""
    child_episodes: int = 1
    """Episodes that each child must have; more than 1 not together with `admit`."""
    kind: Kind = Kind.EVALUATION
    """Kind of the candidates' episodes: `EVALUATION` or `TEST`."""


class Ledger:
    """One generation's issued and counted episodes."""

    def __init__(
        self,
        quota: Quota,
        n_candidates: int = 0,
        admissible: Collection[int] | None = None,
        starts: Starts | None = None,
    ) -> None:
        """Open the books; evaluations are issued first, since good genomes tend to play the longest episodes.

        `admissible` matters with `Quota.admit`: the slots of the generation before that may still count here, which are
        `uncounted_children` of its ledger; by default any. With `starts` no genome plays one twice.
        """
        self.quota = quota
        self.starts = starts
        self.rows: Counter[Heading] = Counter()
        """Number of rows under each heading."""
        self.seconds: Counter[Heading] = Counter()
        """Process time of the rows under each heading; a kept row's is added where the row counts, a malformed one's
        nowhere."""
        self.steps = 0
        """Of rows that this generation booked, whether they were played or filled from the same episode; so below."""
        self.frames = 0
        self.played_episodes = self.played_steps = self.played_frames = 0
        """Of the rows that were played."""
        self._n_children = 0
        self._n_child_episodes: Counter[int] = Counter()
        self._n_counted_steps = 0
        self._n_evaluations: list[int] = []
        self._seen: set[tuple[int, int, int, int]] = set()
        self._issued: set[tuple[int, int, int]] = set()
        self._n_issued: Counter[Kind] = Counter()
        self._before_queue: deque[tuple[Kind, int, int]] = deque()
        self._uncounted: set[int] = set()
        self._admissible = admissible
        self._queue: Iterator[tuple[Kind, int, int]] = (
            (Kind.CHILD, slot, episode)
            for slot in (count() if quota.first else range(quota.children))
            for episode in range(quota.child_episodes)
        )
        self.add_candidates(n_candidates)

    def add_candidates(self, n_candidates: int) -> None:
        """Have `n_candidates` evaluated, before any child that is still to be issued."""
        quota = self.quota
        self._n_evaluations = [0] * n_candidates
        slots, episodes = range(n_candidates), range(quota.episodes)
        spare = range(quota.episodes, quota.episodes + quota.spare_episodes) if quota.first else range(0)
        left = chain(self._before_queue, self._queue) if not self.children_closed else ()
        self._before_queue = deque()
        self._queue = chain(
            ((quota.kind, slot, episode) for slot, episode in product(slots, episodes)),
            ((quota.kind, slot, episode) for episode, slot in product(spare, slots)),
            left,
        )

    @property
    def n_candidates(self) -> int:
        """Candidates that are evaluated."""
        return len(self._n_evaluations)

    @property
    def children_closed(self) -> bool:
        """Whether the children's part of the quota has arrived."""
        quota = self.quota
        # With `all` there is nothing left to issue: steps would be waited for in vain.
        return self._n_children >= quota.children and (not quota.first or self._n_counted_steps >= quota.min_steps)

    @property
    def closed(self) -> bool:
        """Whether everything of the quota has arrived."""
        return self.children_closed and all(n >= self.quota.episodes for n in self._n_evaluations)

    @property
    def n_wanted(self) -> int:
        """Results that close the books, `min_steps` aside."""
        quota = self.quota
        return quota.children * quota.child_episodes + len(self._n_evaluations) * quota.episodes

    @property
    def n_to_issue(self) -> int:
        """Episodes of the quota that were not issued yet, and those that are to be issued again."""
        n_children = self.quota.children * self.quota.child_episodes - self._n_issued[Kind.CHILD]
        n_evaluations = len(self._n_evaluations) * self.quota.episodes - self._n_issued[self.quota.kind]
        return max(0, n_children) + max(0, n_evaluations) + len(self._issued.intersection(self._before_queue))

    @property
    def n_children(self) -> int:
        """Children that have all their episodes."""
        return self._n_children

    @property
    def uncounted_children(self) -> frozenset[int]:
        """Slots of this generation's children that were issued and do not have all their episodes."""
        return frozenset(self._uncounted)

    def take(self, n_episodes: int) -> Chunk | None:
        """Return the next chunk, at most `n_episodes` of one kind; None when nothing is left to issue."""
        if self.closed:
            return None
        same: list[tuple[Kind, int, int]] = []
        while len(same) < n_episodes and (taken := self._next(n_episodes - len(same), same[0][0] if same else None)):
            same += self._issue(taken)
        if not same:
            return None
        return Chunk(self.quota.generation, same[0][0], tuple((slot, episode) for _, slot, episode in same))

    def give_back(self, episodes: Iterable[tuple[Kind, int, int]]) -> None:
        """Issue these (kind, slot, episode) again, before any other: they waited for an episode that failed.

        Children that cannot count any more are not.
        """
        children_closed = self.children_closed
        given = [episode for episode in episodes if not (children_closed and episode[0] is Kind.CHILD)]
        self._before_queue.extendleft(reversed(given))

    def _next(self, n_episodes: int, kind: Kind | None) -> list[tuple[Kind, int, int]]:
        """Take up to `n_episodes` of one kind, by default of the one that is next; none where another is next."""
        before = self._before_queue
        taken = [before.popleft() for _ in range(min(n_episodes, len(before)))]
        taken += islice(self._queue, n_episodes - len(taken))
        if not taken:
            return taken
        kind = taken[0][0] if kind is None else kind
        same = [episode for episode in taken if episode[0] is kind]
        if len(same) < len(taken):
            before.extendleft(episode for episode in reversed(taken) if episode[0] is not kind)
        return same

    def _issue(self, episodes: list[tuple[Kind, int, int]]) -> list[tuple[Kind, int, int]]:
        """Book that episodes of one kind are issued; returns those that are to be played."""
        kind = episodes[0][0]
        played = episodes
        if self.starts is not None:
            episodes, played = self._shared(episodes, self.starts)
        n_before = len(self._issued)
        self._issued.update(episodes)
        self._n_issued[kind] += len(self._issued) - n_before
        if kind is Kind.CHILD:
            self._uncounted.update(slot for _, slot, _ in episodes)
        return played

    def _shared(
        self, episodes: list[tuple[Kind, int, int]], starts: Starts
    ) -> tuple[list[tuple[Kind, int, int]], list[tuple[Kind, int, int]]]:
        """Return which episodes are issued, and which of these are to be played.

        A spare one whose start is known, or is being played, would say nothing new.
        """
        issued, played = [], []
        for episode in episodes:
            is_spare = episode[0] is not Kind.CHILD and episode[2] >= self.quota.episodes
            if not (is_spare and starts.has(*episode)):
                issued.append(episode)
                if not starts.holds(*episode):
                    played.append(episode)
        return issued, played

    def add(self, rows: NDArray[np.void], *, are_filled: bool = False) -> NDArray[np.uint8]:
        """Book rows of dtype `ROW` in order of arrival; returns the `Heading` of each.

        `are_filled`: they come from other rows, and were not played.
        """
        headings = np.zeros(len(rows), np.uint8)
        fields = zip(*(rows[name].tolist() for name in _FIELDS), strict=True)
        for i, (generation, kind, slot, episode, status, steps, frames, seconds, return_) in enumerate(fields):
            heading = Heading.MALFORMED
            if _is_possible(status, steps, frames, seconds, return_):
                heading = self._heading(generation, kind, slot, episode, status)
            headings[i] = heading
            self.rows[heading] += 1
            if heading not in _BOOKED_ELSEWHERE:
                self.seconds[heading] += seconds
            if heading == Heading.COUNTED:
                self._n_counted_steps += steps
            if heading in PLAYED:
                self.steps += steps
                self.frames += frames
                if not are_filled:
                    self.played_episodes += 1
                    self.played_steps += steps
                    self.played_frames += frames
        return headings

    def _heading(self, generation: int, kind: int, slot: int, episode: int, status: int) -> Heading:
        quota = self.quota
        if not self._was_issued(generation, kind, slot, episode):
            return Heading.MALFORMED
        if status == Status.STOPPED:
            return Heading.STOPPED
        key = (generation, kind, slot, episode)
        if key in self._seen:
            return Heading.DUPLICATE
        self._seen.add(key)
        if kind != Kind.CHILD:
            if generation < quota.generation:
                return Heading.LATE
            if self._n_evaluations[slot] >= quota.episodes:
                return Heading.SURPLUS
            self._n_evaluations[slot] += 1
            return Heading.COUNTED
        if generation < quota.generation:
            if self.children_closed or not self._is_admitted(generation, slot, episode):
                return Heading.LATE
        elif self.children_closed:
            return Heading.KEPT if quota.admit else Heading.SURPLUS
        else:
            self._n_child_episodes[slot] += 1
            if self._n_child_episodes[slot] < quota.child_episodes:
                return Heading.COUNTED
            self._uncounted.remove(slot)
        self._n_children += 1
        return Heading.COUNTED

    def _is_admitted(self, generation: int, slot: int, episode: int) -> bool:
        """Whether a child of a generation before counts here: the last one's only, once."""
        return (
            self.quota.admit
            and generation == self.quota.generation - 1
            and episode == 0
            and (self._admissible is None or slot in self._admissible)
        )

    def _was_issued(self, generation: int, kind: int, slot: int, episode: int) -> bool:
        """Whether this ledger issued the episode, or one of a generation before can have."""
        if generation == self.quota.generation:
            return (kind, slot, episode) in self._issued
        return 0 <= generation < self.quota.generation and slot >= 0 and episode >= 0 and kind in _KINDS


PLAYED = frozenset({Heading.COUNTED, Heading.LATE, Heading.SURPLUS, Heading.STOPPED})
"""Headings whose steps and frames are this generation's: a duplicate's were booked before, a kept row's will be."""


def _is_possible(status: int, steps: int, frames: int, seconds: float, return_: float) -> bool:
    """Whether an episode can have given these values; one NaN in a sum would spoil the whole log."""
    is_possible = status in _STATUSES and steps >= 0 and frames >= 0 and 0 <= seconds < math.inf
    return is_possible and (status != Status.OK or math.isfinite(return_))


_FIELDS = ("generation", "kind", "slot", "episode", "status", "steps", "frames", "seconds", "return")
_BOOKED_ELSEWHERE = frozenset({Heading.KEPT, Heading.MALFORMED})
_STATUSES = frozenset(map(int, Status))
_KINDS = frozenset(map(int, Kind))
