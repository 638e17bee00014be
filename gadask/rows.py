"""Results of episodes, as they travel from a rollout process to the master's books.

A result is one `ROW` of 44 bytes, less on the wire. It names its episode; the genome follows from `(generation, slot)`.
What few rows have, or what has no fixed size, is *attached* to them: bytes under a name.

| attachment | content | of |
| --- | --- | --- |
| `REASON` | why the episode failed, one line of UTF-8 | rows whose status says so |
| `MOMENTS` | what it observed, see `observations` | observed episodes |
| `BEHAVIOUR` | what the environment reports at its end, float32 | rows with status `OK`, with `env.behaviour` |
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gadask.messages import Kind, Status

ROW = np.dtype(
    [
        ("generation", "<i4"),
        ("slot", "<i4"),
        ("episode", "<i4"),
        ("steps", "<i4"),
        ("frames", "<i4"),
        ("seconds", "<f4"),
        ("return", "<f8"),
        ("start_s", "<f8"),
        ("process", "<u2"),
        ("kind", "u1"),
        ("status", "u1"),
    ]
)
"""One episode's result. `seconds` is the process time spent on it, decoding included; `start_s` its start in Unix
time by the node's clock; `process` the place of the rollout process on its node."""

REASON, MOMENTS, BEHAVIOUR = "reason", "moments", "behaviour"


@dataclass(frozen=True, eq=False)
class Rows:
    """Results and what is attached to them; by default none."""

    table: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, ROW))
    """One entry an episode, dtype `ROW`."""
    attachments: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """By name, and by place in the table."""

    def __len__(self) -> int:
        """Return the number of results."""
        return len(self.table)

    def attached(self, name: str) -> dict[int, bytes]:
        """Return the attachments of one name, by place."""
        return self.attachments.get(name, {})

    def reasons(self) -> dict[int, str]:
        """Return why episodes failed, by place."""
        return {place: content.decode() for place, content in self.attached(REASON).items()}

    def behaviours(self) -> dict[int, NDArray[np.float32]]:
        """Return what environments reported, by place; each of shape `(n_entries,)`, read-only."""
        return {place: np.frombuffer(content, "<f4") for place, content in self.attached(BEHAVIOUR).items()}

    def where(self, mask: NDArray[np.bool_]) -> Rows:
        """Return the rows for which `mask` is true, with what is attached to them."""
        places = np.flatnonzero(mask).tolist()
        attachments = {
            name: {i: by_place[place] for i, place in enumerate(places) if place in by_place}
            for name, by_place in self.attachments.items()
        }
        return Rows(self.table[mask], attachments)

    @classmethod
    def joined(cls, parts: Iterable[Rows]) -> Rows:
        """Return all rows of `parts`, in their order."""
        tables = [np.zeros(0, ROW)]
        attachments: dict[str, dict[int, bytes]] = {}
        n_before = 0
        for part in parts:
            for name, by_place in part.attachments.items():
                shifted = {n_before + place: content for place, content in by_place.items()}
                attachments.setdefault(name, {}).update(shifted)
            tables.append(part.table)
            n_before += len(part)
        return cls(np.concatenate(tables), attachments)

    @classmethod
    def unplayed(
        cls, generation: int, kind: Kind, episodes: Sequence[tuple[int, int]], status: Status, reason: str = ""
    ) -> Rows:
        """Return a row for each (slot, episode) that nobody played, with status and reason that say why."""
        table = np.zeros(len(episodes), ROW)
        table["generation"], table["kind"], table["status"] = generation, kind, status
        table["slot"], table["episode"] = np.array(episodes, "<i4").reshape(-1, 2).T
        content = reason_content(reason)
        return cls(table, {REASON: dict.fromkeys(range(len(table)), content)} if content else {})

    def packed(self) -> bytes:
        """Return the rows column by column, compressed: most columns hardly change from row to row."""
        columns = b"".join(np.ascontiguousarray(self.table[name]).tobytes() for name in ROW.names or ())
        return zlib.compress(pickle.dumps((columns, self.attachments)), 1)

    @classmethod
    def unpacked(cls, packed: bytes) -> Rows:
        """Return the rows that were `packed`."""
        columns, attachments = pickle.loads(zlib.decompress(packed))
        table = np.zeros(len(columns) // ROW.itemsize, ROW)
        offset = 0
        for name in ROW.names or ():
            kind = ROW[name]
            table[name] = np.frombuffer(columns, kind, len(table), offset)
            offset += kind.itemsize * len(table)
        return cls(table, attachments)


def reason_content(reason: str) -> bytes:
    """Return a reason as it is attached; whatever an error's text holds, it can be written and read."""
    return reason.encode(errors="backslashreplace")
