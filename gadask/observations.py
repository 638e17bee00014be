"""What observations look like: moments gathered from episodes, and the normalisation that follows from them.

With `policy.normalise` a network is given each entry of a vector observation less its mean, over its deviation,
clipped to ±`CLIP` (as in Salimans et al. 2017, arXiv 1703.03864). Mean and deviation are of all observations in the
*observed* episodes of the generations before: the first episode of each child in the first `OBSERVED_SLOTS` slots. A
slot says nothing about parent or gene, so they are a fair sample, and as large as that however large the population is.

Only counted episodes of closed generations are merged, in the order of generation and slot. So the normalisation of a
generation is a function of config and seed, like its parents. Generation 0 is given its observations as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gadask.errors import RecordError

OBSERVED_SLOTS = 16
"""Children whose observations are gathered, in each generation."""

CLIP = 5.0
"""Largest magnitude of a normalised entry."""

_LEAST_DEVIATION = 1e-2  # an entry that hardly moves is not blown up to the size of the others
_DIGITS = 6  # significant ones, so that a line of the log stays short


@dataclass(frozen=True)
class Normaliser:
    """Mean and standard deviation of each entry of an observation, rounded to six digits."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def arrays(self, dtype: type[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return what to subtract and what to multiply by, each of shape `(n_entries,)`."""
        return np.array(self.mean, dtype), (1 / np.array(self.deviation)).astype(dtype)

    def to_json(self) -> dict[str, list[float]]:
        """Return it as a line of the log holds it."""
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_json(cls, document: object) -> Normaliser | None:
        """Return the normaliser that `to_json` was asked for; None of None.

        Raises:
            RecordError: it is anything else.
        """
        if document is None:
            return None
        try:
            mean, deviation = (tuple(map(float, document[key])) for key in ("mean", "deviation"))  # type: ignore[index]
        except (TypeError, ValueError, LookupError):
            mean, deviation = (), ()
        if not mean or len(mean) != len(deviation) or not all(map(math.isfinite, mean)) or not min(deviation) > 0:
            raise RecordError(f"normaliser: expected mean and deviation of each entry, found {str(document)[:80]}")
        return cls(mean, deviation)


@dataclass(frozen=True)
class Moments:
    """Number, sums and sums of squares of observations; the default is of none."""

    count: int = 0
    sums: tuple[float, ...] = ()
    """One an entry."""
    squares: tuple[float, ...] = ()
    """Sums of the entries' squares."""

    def merged(self, episodes: Iterable[bytes]) -> Moments:
        """Return these moments and those of `episodes`, added one after the other.

        An episode with an observation that is not finite, or of another size than the first, is left out: one NaN
        would never leave.
        """
        total = np.array([self.count, *self.sums, *self.squares])
        for packed in episodes:
            one = np.frombuffer(packed, "<f8")
            if len(total) == 1:
                total = np.zeros(len(one))
            with np.errstate(over="ignore"):
                added = total + one if len(one) == len(total) else total
            if np.isfinite(added).all():
                total = added
        count, sums, squares = np.split(total, [1, 1 + len(total) // 2])
        return Moments(int(count[0]), tuple(sums.tolist()), tuple(squares.tolist()))

    def normaliser(self) -> Normaliser | None:
        """Return the normalisation that they give; None of no observations."""
        if not self.count:
            return None
        mean = np.array(self.sums) / self.count
        variance = np.maximum(np.array(self.squares) / self.count - mean * mean, 0)
        deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
        return Normaliser(_rounded(mean), _rounded(deviation))


class Gatherer:
    """Gathers the moments of the episodes that are played in `n_lanes` lanes."""

    def __init__(self, n_lanes: int, n_entries: int) -> None:
        """Start with no observations."""
        self._counts = np.zeros(n_lanes)
        self._sums, self._squares, self._squared = (np.zeros((n_lanes, n_entries)) for _ in range(3))

    def reset(self, lane: int) -> None:
        """Begin an episode in one lane."""
        for array in (self._counts, self._sums, self._squares):
            array[lane] = 0

    def add(self, observations: NDArray[np.generic]) -> None:
        """Take one observation a lane, shape `(n_lanes, n_entries)`; each lane's sums are its own, bit for bit."""
        self._counts += 1
        np.add(self._sums, observations, out=self._sums)
        np.multiply(observations, observations, out=self._squared, dtype=np.float64)
        np.add(self._squares, self._squared, out=self._squares)

    def packed(self, lane: int) -> bytes:
        """Return the moments of a lane's episode so far, as `Moments.merged` takes them."""
        row = np.concatenate([self._counts[lane : lane + 1], self._sums[lane], self._squares[lane]])
        return row.astype("<f8").tobytes()


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
