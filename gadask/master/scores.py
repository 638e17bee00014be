"""From rows that count to what an algorithm is told: children and candidates with what their episodes came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Algorithm, Brood, Children, Evaluated, Scored
from gadask.algorithms.elites import exact_mean
from gadask.genomes.genome import Genome, step
from gadask.rows import Rows


@dataclass(frozen=True)
class Nursery:
    """Says how the children of the last two generations were made: late ones may be the one before's."""

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
        order = np.lexsort((table["slot"], table["generation"]))
        generations, slots = table["generation"][order], table["slot"][order]
        in_order = np.array(values, np.float64)[order].tolist()
        is_first = (np.diff(generations, prepend=-1) != 0) | (np.diff(slots, prepend=-1) != 0)
        begins = np.flatnonzero(is_first)  # where the rows of the next child begin
        whole = begins[np.diff(begins, append=len(order)) == n_episodes]
        made = self.children(generations[whole], slots[whole])
        columns = (column.tolist() for column in (whole, generations[whole], slots[whole], *made))
        step_weight = self.algorithm.step_weight
        return [
            Scored(self.broods[generation].bases[row] if row >= 0 else (), step(gene, weight, step_weight), mean, slot)
            for begin, generation, slot, row, gene, weight in zip(*columns, strict=True)
            if (mean := exact_mean(in_order[begin : begin + n_episodes])) is not None
        ]


def evaluated(candidates: Sequence[Genome], rows: Rows, values: Sequence[float]) -> list[Evaluated]:
    """Return the candidates, whose evaluations `rows` are worth `values`."""
    by_slot: dict[int, list[float]] = {}
    for place in np.argsort(rows.table, order=["slot", "episode"]).tolist():
        by_slot.setdefault(int(rows.table["slot"][place]), []).append(values[place])
    return [Evaluated(genome, by_slot.get(slot, ())) for slot, genome in enumerate(candidates)]
