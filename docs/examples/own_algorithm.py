"""Your own selection rule: better parents have more children."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Children
from gadask.algorithms.truncation import Truncation
from gadask.config import Config
from gadask.errors import ConfigError
from gadask.genomes.seeding import Purpose, stream


@dataclass(frozen=True)
class RankWeighted(Truncation):
    """Truncation selection whose parents are not drawn uniformly, but the best most often."""

    pressure: float = 2.0
    """Above 0; 1 is uniform, with 2 a quarter of the parents has half of the children."""

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return how each child is made: its parent's row is drawn anew, all else is truncation selection's."""
        children = super().children(brood, slots, n_genes)
        if not brood.bases:
            return children
        streams = [stream(self.run_seed, Purpose.ALGORITHM, brood.generation, slot) for slot in slots.tolist()]
        ranks = np.array([int(len(brood.bases) * one.random() ** self.pressure) for one in streams])
        is_ascending = self.ga.truncation == "ga-dist"  # in which the best is the last
        return children._replace(rows=len(brood.bases) - 1 - ranks if is_ascending else ranks)


def rank_weighted(config: Config, pressure: float = 2.0) -> RankWeighted:
    """Make it from a run's config and `[algorithm] kwargs`."""
    if pressure <= 0:
        raise ConfigError(f"algorithm.kwargs.pressure: expected more than 0, found {pressure}")
    return RankWeighted(config.seed, config.generation, config.ga, pressure)
