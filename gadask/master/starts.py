"""Episodes that are the same: nothing is played twice.

Where an environment has few starts and policies draw nothing, an episode follows from the genome and its start: without
sticky actions an Atari game has as many as there can be no-ops, 30. So a genome plays each start once in a generation,
and what it gave there is the result of every episode that means it, whenever that is issued. With `closing = "all"`
logs, elites and parents are what they would be if all were played. With `"first"` spare evaluations of a known start
are not issued, so that fewer episodes and frames are counted.

An episode that fails may be an accident, so its start is played once more, in the place of another episode that means
it. If that fails as well it is the start that fails: all others that mean it get that failure, as they would if they
were played. So a start is played twice at most, however many episodes mean it, unless it is stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gadask.messages import Kind, Status
from gadask.rows import BEHAVIOUR, REASON, Rows

StartOf = Callable[[Kind, int, int], int]
"""Returns the start of (kind, slot, episode)."""


@dataclass(frozen=True)
class Result:
    """What one played episode gave, and the address of its node."""

    row: NDArray[np.void]
    """Dtype `ROW`, shape `(1,)`."""
    attached: Mapping[str, bytes]
    """Its behaviour, or the reason why it failed."""
    node: str

    def filled(self, generation: int, kind: Kind, slot: int, episode: int) -> Rows:
        """Return the row of an episode that means the same; it took no time."""
        row = self.row.copy()
        row["generation"], row["kind"], row["slot"], row["episode"] = generation, kind, slot, episode
        row["seconds"] = 0
        return Rows(row, {name: {0: content} for name, content in self.attached.items()})


@dataclass
class Starts:
    """The starts that the genomes of one generation have played, are playing, and wait for."""

    generation: int
    start_of: StartOf
    _results: dict[tuple[Kind, int, int], Result] = field(default_factory=dict)
    """By kind, slot and start."""
    _failed_once: set[tuple[Kind, int, int]] = field(default_factory=set)
    _failures: dict[tuple[Kind, int, int], Result] = field(default_factory=dict)
    """Of starts that failed twice. Other than results they are forgotten with the generation."""
    _waiting: dict[tuple[Kind, int, int], list[int]] = field(default_factory=dict)
    """The episodes that wait for a start that is being played."""
    _playing: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """The start of each (kind, slot, episode) that others may wait for."""
    _filled: list[tuple[str, Rows]] = field(default_factory=list)
    """What no one has taken yet, and the node of each."""

    def know(self, kind: Kind, slot: int, results: Mapping[int, Result]) -> None:
        """Take what a slot's genome gave before, by start."""
        self._results.update({(kind, slot, start): result for start, result in results.items()})

    def has(self, kind: Kind, slot: int, episode: int) -> bool:
        """Whether an episode means a start that its genome has played or is playing; a first failure does not count."""
        key = kind, slot, self.start_of(kind, slot, episode)
        return self._result(key) is not None or key in self._waiting

    def holds(self, kind: Kind, slot: int, episode: int) -> bool:
        """Whether an episode that is issued need not be played: its row comes from `take_filled`, now or later."""
        key = kind, slot, self.start_of(kind, slot, episode)
        if (result := self._result(key)) is not None:
            self._fill(result, key, episode)
        elif key in self._waiting:
            self._waiting[key].append(episode)
        else:
            self._waiting[key] = []
            self._playing[kind, slot, episode] = key[2]
            return False
        return True

    def note(self, node: str, rows: Rows) -> list[tuple[Kind, int, int]]:
        """Take what was played; returns (kind, slot, episode) of those that waited in vain and are to be issued again.

        The first of these will be played, and the others wait for it.
        """
        again: list[tuple[Kind, int, int]] = []
        fields = zip(*(rows.table[name].tolist() for name in _FIELDS), strict=True)
        for place, (generation, number, slot, episode, status) in enumerate(fields):
            start = self._playing.pop((number, slot, episode), None) if generation == self.generation else None
            if start is None:
                continue
            kind = Kind(number)
            key = kind, slot, start
            waiting = self._waiting.pop(key)
            if status == Status.STOPPED or (status != Status.OK and key not in self._failed_once):
                if status != Status.STOPPED:
                    self._failed_once.add(key)
                again.extend((kind, slot, other) for other in waiting)
                continue
            attached = {name: found[place] for name in _SHARED if place in (found := rows.attached(name))}
            result = Result(rows.table[place : place + 1], attached, node)
            (self._results if status == Status.OK else self._failures)[key] = result
            for other in waiting:
                self._fill(result, key, other)
        return again

    def take_filled(self) -> list[tuple[str, Rows]]:
        """Return the rows that need not be played, and the node that played what each comes from."""
        by_node: defaultdict[str, list[Rows]] = defaultdict(list)
        for node, rows in self._filled:
            by_node[node].append(rows)
        self._filled.clear()
        return [(node, Rows.joined(parts)) for node, parts in by_node.items()]

    def results(self, kind: Kind, slots: Iterable[int]) -> dict[int, dict[int, Result]]:
        """Return what the genomes of these slots gave, by slot and start."""
        found: dict[int, dict[int, Result]] = {slot: {} for slot in slots}
        for (of_kind, slot, start), result in self._results.items():
            if of_kind is kind and slot in found:
                found[slot][start] = result
        return found

    def _result(self, key: tuple[Kind, int, int]) -> Result | None:
        return self._results.get(key) or self._failures.get(key)

    def _fill(self, result: Result, key: tuple[Kind, int, int], episode: int) -> None:
        kind, slot, _ = key
        self._filled.append((result.node, result.filled(self.generation, kind, slot, episode)))


_FIELDS = ("generation", "kind", "slot", "episode", "status")
_SHARED = (BEHAVIOUR, REASON)
