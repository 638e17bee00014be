"""The weights that a node keeps for one run: which genomes are decoded, who plays from them, who waits for room.

A chunk pins the genomes that its episodes start from until it has ended. Where late children are admitted, chunks of
many generations are played at once, and all rows can be pinned: the next chunk then waits until some have ended.
Chunks are given room in the order in which they came, so that each gets its turn; and none waits for room that does
not come, since whoever has pinned something plays.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gadask.errors import GenomeError, NodeError
from gadask.genomes.genome import Genome
from gadask.units import many


class Ancestors:
    """Rows of shared weights, used by several threads; `AncestorCache` says what stands in which."""

    def __init__(self, n_rows: int, decode: Callable[[Sequence[Decoding]], None]) -> None:
        """`decode` fills rows and returns when they are filled; it raises `NodeError` if it cannot."""
        self._cache = AncestorCache(n_rows)
        self._decode = decode
        self._changed = threading.Condition()
        self._line: deque[object] = deque()  # the first alone plans and decodes
        self._ended: str | None = None

    @property
    def n_waiting(self) -> int:
        """Chunks that wait for room, or for those before them."""
        return len(self._line)

    @contextmanager
    def ready(
        self, wanted: Sequence[Genome], used: Sequence[Genome], is_wanted: Callable[[], bool] = lambda: True
    ) -> Iterator[dict[Genome, int] | None]:
        """Have the weights of `used` in the rows yielded while the block runs; those of all `wanted` if there is room.

        Yields None if `is_wanted` becomes false before; it is asked after each `look_again`. Raises `NodeError` if
        there are too few rows for `used` in all, if they cannot be decoded, or after `end`.
        """
        rows_of = self._prepared(wanted, used, is_wanted)
        try:
            yield rows_of
        finally:
            if rows_of is not None:
                with self._changed:
                    self._cache.unpin(used)
                    self._changed.notify_all()

    def look_again(self) -> None:
        """Have those that wait ask whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def end(self, reason: str) -> None:
        """Let nobody wait any more: whoever does, or comes later, gets a `NodeError`."""
        with self._changed:
            self._ended = reason
            self._changed.notify_all()

    def _prepared(
        self, wanted: Sequence[Genome], used: Sequence[Genome], is_wanted: Callable[[], bool]
    ) -> dict[Genome, int] | None:
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        try:
            with self._changed:
                while (decodings := self._planned(wanted, used) if self._line[0] is ticket else None) is None:
                    if not is_wanted():
                        return None
                    self._changed.wait()
                self._cache.pin(used)
            try:
                self._decode(decodings)  # those behind in the line wait, and nobody else
            except NodeError:
                with self._changed:
                    self._cache.unpin(used)
                    self._cache.forget([decoding.genome for decoding in decodings])
                raise
            return {genome: self._cache[genome] for genome in used}
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()

    def _planned(self, wanted: Sequence[Genome], used: Sequence[Genome]) -> list[Decoding] | None:
        """Return the decodings to do; None as long as there is no room."""
        if self._ended is not None:
            raise NodeError(self._ended)
        for genomes in (wanted, used):
            try:
                return self._cache.plan(genomes)
            except GenomeError as error:
                reason = str(error)
        if not self._cache.n_pinned:  # nothing that is waited for would make more room
            raise NodeError(f"a chunk starts from {many(len(used), 'genome')}: {reason}")
        return None


@dataclass(frozen=True)
class Decoding:
    """One row of a node's weights to fill: `genome` into `row`, starting from `ancestor_row` (−1: from the start)."""

    genome: Genome
    row: int
    ancestor_row: int
    ancestor_length: int

    @property
    def missing_parts(self) -> Genome:
        """Parts that follow the ancestor's."""
        return self.genome[self.ancestor_length :]


class AncestorCache:
    """Which genome's weights stand in which row of a fixed number of rows; it plans and holds no weights.

    Invariants: a row belongs to at most one genome; a pinned genome keeps its row; a row that a planned decoding
    reads or writes is not given to another genome by the same plan; a plan that fails changes nothing.
    """

    def __init__(self, n_rows: int) -> None:
        """Start with `n_rows` empty rows."""
        self._free = list(range(n_rows - 1, -1, -1))  # the lowest row is used first, so that few pages are touched
        self._rows: dict[Genome, int] = {}  # least recently planned first
        self._marks: dict[int, Genome] = {}  # of these genomes
        self._pins: dict[Genome, int] = {}

    def __getitem__(self, genome: Genome) -> int:
        """Return the row of a genome that was planned before."""
        return self._rows[genome]

    def __contains__(self, genome: Genome) -> bool:
        return genome in self._rows

    def plan(self, wanted: Collection[Genome]) -> list[Decoding]:
        """Give each wanted genome a row and return the decodings that fill the new ones; they may run in any order.

        Raises `GenomeError` where wanted and pinned genomes and the ancestors to start from need more rows than there
        are.
        """
        missing = [genome for genome in dict.fromkeys(wanted) if genome not in self._rows]
        ancestors = {genome: self._longest_ancestor(genome) for genome in missing}
        protected = {*wanted, *self._pins, *filter(None, ancestors.values())}
        n_open = len(self._free) + len(self._rows.keys() - protected)
        if len(missing) > n_open:
            raise GenomeError(
                f"weights: expected room for {many(len(missing), 'more genome')}, found {n_open} of"
                f" {many(len(self._free) + len(self._rows), 'row')} that may be overwritten; unpin others first"
            )
        for genome in protected & self._rows.keys():
            self._rows[genome] = self._rows.pop(genome)  # now the most recently used
        decodings = []
        for genome in missing:
            ancestor = ancestors[genome]
            row = self._claim_row(protected)
            decodings.append(Decoding(genome, row, self._rows[ancestor] if ancestor else -1, len(ancestor)))
            self._rows[genome] = row
            self._marks[_last_mark(genome)] = genome
        return decodings

    @property
    def n_pinned(self) -> int:
        """Genomes that keep their rows."""
        return len(self._pins)

    def pin(self, genomes: Collection[Genome]) -> None:
        """Keep the rows of these genomes until `unpin` was called as often."""
        for genome in genomes:
            self._pins[genome] = self._pins.get(genome, 0) + 1

    def unpin(self, genomes: Collection[Genome]) -> None:
        """Take back one `pin` of each genome."""
        for genome in genomes:
            self._pins[genome] -= 1
            if not self._pins[genome]:
                del self._pins[genome]

    def forget(self, genomes: Collection[Genome]) -> None:
        """Free the rows of genomes whose decoding failed."""
        for genome in genomes:
            self._free.append(self._release(genome))

    def _longest_ancestor(self, genome: Genome) -> Genome:
        """Return the longest genome that this one begins with and that has a row, in one walk over its genes."""
        found = [self._marks[mark] for mark in _marks(genome[:-1]) if mark in self._marks]
        return next((ancestor for ancestor in reversed(found) if genome[: len(ancestor)] == ancestor), ())

    def _claim_row(self, protected: Collection[Genome]) -> int:
        if self._free:
            return self._free.pop()
        return self._release(next(genome for genome in self._rows if genome not in protected))

    def _release(self, genome: Genome) -> int:
        self._marks.pop(_last_mark(genome), None)
        return self._rows.pop(genome)


def _marks(genome: Genome) -> Iterator[int]:
    """Yield a number for each beginning of a genome: hardly two genomes have one in common."""
    mark = 0
    for gene in genome:
        mark = hash((mark, gene))
        yield mark


def _last_mark(genome: Genome) -> int:
    *_, last = _marks(genome)
    return last
