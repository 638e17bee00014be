"""Your own selection rule: better parents have more children."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Children
from gadask.algorithms.truncation import Truncation
from gadask.config import Config
from gadask.genomes.seeding import Purpose, stream


@dataclass(frozen=True)
class RankWeighted(Truncation):
    """Truncation selection whose parents are not drawn uniformly: the first of them, the best, most often."""

    pressure: float = 2.0
    """1 is uniform; with 2, a quarter of the parents has half of the children."""

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return how each child is made: its parent's row is drawn anew, all else is truncation selection's."""
        children = super().children(brood, slots, n_genes)
        if not brood.bases:
            return children
        streams = [stream(self.run_seed, Purpose.PARENT, brood.generation, slot) for slot in slots.tolist()]
        rows = [int(len(brood.bases) * one.random() ** self.pressure) for one in streams]
        return children._replace(rows=np.array(rows))


def rank_weighted(config: Config, pressure: float = 2.0) -> RankWeighted:
    """Make it from a run's config and `[algorithm] kwargs`."""
    return RankWeighted(config.seed, config.generation, config.ga, pressure)
