"""The weights that a node keeps for one run: which genomes are decoded, who plays from them, who waits for room.

A chunk pins the genomes that its episodes start from until it has ended. Where late children are admitted, chunks of
many generations are played at once, and all rows can be pinned: the next chunk then waits until some have ended.
Chunks are given room in the order in which they came, so that none waits for ever; and none waits for room that does
not come, since whoever has pinned something plays.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gadask.errors import GenomeError, NodeError
from gadask.genomes.genome import AncestorCache
from gadask.messages import Decoding, Genome


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
            raise NodeError(f"a chunk starts from {len(used)} genomes: {reason}")
        return None
