"""From rows that count to what an algorithm is told: children and candidates with what their episodes came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Algorithm, Behaviour, Brood, Children, Evaluated, Scored
from gadask.algorithms.elites import exact_mean
from gadask.genomes.genome import Genome, step
from gadask.rows import BEHAVIOUR, Rows


@dataclass(frozen=True)
class Nursery:
    """Says how the children of the last two generations were made: late ones may be from the one before."""

    algorithm: Algorithm[Any]
    n_genes: int
    broods: Mapping[int, Brood]
    """By generation."""

    def children(self, generations: NDArray[np.int32], slots: NDArray[np.int32]) -> Children:
        """Return how these children were made; rows and genes are −1 where a generation's brood is forgotten."""
        found = Children(np.full(len(slots), -1), np.full(len(slots), -1), np.zeros(len(slots)))
        for number, brood in self.broods.items():
            here = generations == number
            made = self.algorithm.children(brood, slots[here].astype(np.int64), self.n_genes)
            for column, values in zip(found, made, strict=True):
                column[here] = values
        return found

    def scored(self, rows: Rows, values: Sequence[float], n_episodes: int) -> list[Scored]:
        """Return the children that have all their `n_episodes` among `rows`, whose episodes are worth `values`."""
        table = rows.table
        order = np.lexsort((table["episode"], table["slot"], table["generation"]))
        generations, slots = table["generation"][order], table["slot"][order]
        in_order, returns = np.array(values, np.float64)[order], table["return"][order]
        is_first = (np.diff(generations, prepend=-1) != 0) | (np.diff(slots, prepend=-1) != 0)
        begins = np.flatnonzero(is_first)  # where the rows of the next child begin
        whole = begins[np.diff(begins, append=len(order)) == n_episodes]
        made = self.children(generations[whole], slots[whole])
        columns = (column.tolist() for column in (generations[whole], slots[whole], *made))
        means = _means(in_order, whole, n_episodes)
        is_return = np.array_equal(in_order, returns)
        mean_returns = [None] * len(whole) if is_return else _means(returns, whole, n_episodes)
        behaviours = _mean_behaviours(rows, order[whole[:, np.newaxis] + np.arange(n_episodes)])
        step_weight = self.algorithm.step_weight
        return [
            Scored(
                self.broods[generation].bases[row] if row >= 0 else (),
                step(gene, weight, step_weight),
                mean,
                slot,
                behaviour,
                mean_return,
            )
            for generation, slot, row, gene, weight, mean, behaviour, mean_return in zip(
                *columns, means, behaviours, mean_returns, strict=True
            )
            if mean is not None
        ]


def evaluated(candidates: Sequence[Genome], rows: Rows, values: Sequence[float]) -> list[Evaluated]:
    """Return the candidates, whose evaluations `rows` are worth `values`."""
    by_slot: dict[int, list[int]] = {}
    for place in np.argsort(rows.table, order=["slot", "episode"]).tolist():
        by_slot.setdefault(int(rows.table["slot"][place]), []).append(place)
    found = []
    for slot, genome in enumerate(candidates):
        places = by_slot.get(slot, [])
        (behaviour,) = _mean_behaviours(rows, np.array([places], np.int64))
        found.append(Evaluated(genome, [values[place] for place in places], behaviour))
    return found


def _means(values: NDArray[np.float64], begins: NDArray[np.int64], n_episodes: int) -> list[float | None]:
    """Return the mean of the `n_episodes` values from each of these places on."""
    listed = values.tolist()
    return [exact_mean(listed[begin : begin + n_episodes]) for begin in begins.tolist()]


def _mean_behaviours(rows: Rows, places: NDArray[np.int64]) -> Sequence[Behaviour | None]:
    """Return the mean behaviour of the rows at `places`, shape `(n, n_episodes)`; None where rows have none."""
    by_place = rows.attached(BEHAVIOUR)
    if not by_place or not places.size:
        return [None] * len(places)
    joined = b"".join([by_place[place] for place in places.ravel().tolist()])
    vectors = np.frombuffer(joined, "<f4").reshape(*places.shape, -1)
    means = vectors.mean(axis=1, dtype=np.float64).astype(np.float32)
    return list(map(tuple, means.tolist()))
