"""How many episodes a node is given, and in what portions.

Rows come back a chunk at a time, so what is done waits for the longest episode of its chunk. Small chunks make the wait
short but cost the master time; enough of them are in flight that a node has work until its longest episode has ended. A
single run on few processes gets one episode a chunk; a thousand nodes get one chunk each.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNKS_PER_S = 10.0  # from all nodes together; each costs the master some milliseconds
_ROUND_TRIP_S = 0.5  # at most, until a chunk that came back is replaced
_LEAST_DEPTH = 2.0
_MEMORY = 300  # episodes


class Pace:
    """What is known of the length of a run's episodes, and what follows from it."""

    def __init__(self, n_together: int) -> None:
        """A process plays `n_together` episodes best, as lanes do; 1 or less makes no difference."""
        self._n_together = n_together
        self._episode_s = 0.0  # a running mean; 0 before the first
        self._longest_s = 0.0

    def learn(self, seconds: NDArray[np.floating[Any]]) -> None:
        """Take note of episodes' process times; what was learnt fades over some hundreds of them."""
        if not len(seconds):
            return
        share = 1 - (1 - 1 / _MEMORY) ** len(seconds) if self._episode_s else 1.0
        self._episode_s += share * (float(seconds.mean()) - self._episode_s)
        self._longest_s = max(float(seconds.max()), (1 - share) * self._longest_s + share * self._episode_s)

    def depth(self, n_to_issue: int) -> float:
        """Return how many episodes are to be in flight for each process, if so many of the quota are not issued yet."""
        depth = _LEAST_DEPTH  # beyond the quota: just enough to keep the processes busy
        if self._episode_s and n_to_issue:
            depth = 1 + max(self._longest_s, _ROUND_TRIP_S) / self._episode_s
        return max(depth, 2.0 * self._n_together)

    def chunk_size(self, n_to_issue: int, n_in_flight: int, processes: Collection[int], *, first: bool) -> int:
        """Return how many episodes make a chunk, on nodes with so many processes each.

        Where all that is left can be issued at once, chunks are such that each node gets equally many. With `first` the
        generation closes when rows come back, and not when the last episode ends: chunks stay small.
        """
        if not processes:
            return 1
        size = sum(processes) / (self._episode_s or 1.0) / _CHUNKS_PER_S
        if first:
            size = min(size, min(processes))
        size = max(size, self._n_together * min(processes))
        depth = self.depth(n_to_issue)
        if not 0 < n_to_issue < depth * sum(processes) - n_in_flight:
            return math.ceil(min(size, depth / 2 * min(processes)))
        share = n_to_issue / len(processes)
        return math.ceil(share / math.ceil(share / size))
