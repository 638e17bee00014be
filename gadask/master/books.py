"""What arrived in one generation: all rows, where the ledger booked them, and what follows from them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gadask.master.dispatch import Arrival
from gadask.master.ledger import Heading
from gadask.messages import Kind, Status
from gadask.record.generations import UNKNOWN_CPU
from gadask.rows import MOMENTS, Rows


@dataclass
class Books:
    """Everything that arrived in one generation."""

    arrivals: list[tuple[Arrival, NDArray[np.uint8]]] = field(default_factory=list)
    """Each with the `Heading` of its rows."""
    n_failed: int = 0
    """Counted episodes without a valid result."""
    best: float = -math.inf
    """Best return of a child so far."""

    def add(self, arrival: Arrival, headings: NDArray[np.uint8]) -> None:
        """Take rows and where they are booked."""
        self.arrivals.append((arrival, headings))
        counted = arrival.rows.table[headings == Heading.COUNTED]
        valid = counted["status"] == Status.OK
        self.n_failed += int((~valid).sum())
        children = counted["return"][valid & (counted["kind"] == Kind.CHILD)]
        self.best = max(self.best, float(children.max(initial=-math.inf)))

    def rows(self) -> Rows:
        """Return all rows, in order of arrival; so in the lists below."""
        return Rows.joined(arrival.rows for arrival, _ in self.arrivals)

    def headings(self) -> NDArray[np.uint8]:
        """Return where each row is booked."""
        return np.concatenate([np.zeros(0, np.uint8), *(headings for _, headings in self.arrivals)])

    def nodes(self) -> list[str]:
        """Return the address of each row's node."""
        return [arrival.node for arrival, _ in self.arrivals for _ in arrival.rows.table]

    def reasons(self) -> list[str]:
        """Return what went wrong with each row, an empty text where nothing did."""
        rows = self.rows()
        reasons = rows.reasons()
        return [reasons.get(place, "") for place in range(len(rows))]

    def behaviours(self) -> list[NDArray[np.float32] | None]:
        """Return each episode's behaviour, None where there is none."""
        rows = self.rows()
        behaviours = rows.behaviours()
        return [behaviours.get(place) for place in range(len(rows))]

    def moments(self) -> list[bytes]:
        """Return those of observed episodes that count, in the order of generation and slot."""
        rows, headings = self.rows(), self.headings()
        found = {
            (int(row["generation"]), int(row["slot"])): packed
            for place, packed in rows.attached(MOMENTS).items()
            if headings[place] == Heading.COUNTED and (row := rows.table[place])["status"] == Status.OK
        }
        return [found[key] for key in sorted(found)]

    def selectable(self, kind: Kind) -> Rows:
        """Return the counted rows of a kind that ended well."""
        rows = self.rows()
        is_kind = (rows.table["kind"] == kind) & (rows.table["status"] == Status.OK)
        return rows.where(is_kind & (self.headings() == Heading.COUNTED))

    def episodes_by(self, group_of: Mapping[str, str]) -> dict[str, int]:
        """Return how many episodes were played on the nodes of each group, given the group of each address.

        Dask may give a chunk to a node that is as the run expects before the master has met it: it is `UNKNOWN_CPU`.
        """
        played: Counter[str] = Counter()
        for arrival, _ in self.arrivals:
            if not arrival.are_filled:
                played[group_of.get(arrival.node, UNKNOWN_CPU)] += len(arrival.rows)
        return dict(played)

    def node_seconds(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the process time of each node that counts, and the one that does not."""
        busy_s: defaultdict[str, float] = defaultdict(float)
        discarded_s: defaultdict[str, float] = defaultdict(float)
        for arrival, headings in self.arrivals:
            seconds, counted = arrival.rows.table["seconds"], headings == Heading.COUNTED
            busy_s[arrival.node] += float(seconds[counted].sum())
            discarded_s[arrival.node] += float(seconds[~counted].sum())
        return busy_s, discarded_s
