"""How far a summary of seeds is known: intervals whose coverage is known, and ranges where seeds are too few.

A percentile bootstrap of the median of 2, 3 or 5 values runs from their minimum to their maximum and holds the median
in 50, 75 and 94 % of studies, whatever it is called. So fewer than `MIN_SEEDS` seeds have a *range* and are drawn one
by one; with more, a *95 % interval* is

- of a median between two order statistics, chosen so that it holds in at least 95 % of studies, whatever the
  distribution: its coverage is binomial and exact (David and Nagaraja 2003, *Order Statistics*, section 7.1);
- of a mean over games a bootstrap within each, of one draw fewer than it has seeds, which makes its variance that of
  the mean (McCarthy and Snowden 1985, *The bootstrap and finite population sampling*; Rao and Wu 1988, *Resampling
  inference with complex survey data*).

Both are of one place, not of a whole curve at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MIN_SEEDS = 10
"""Fewer seeds have a range and no interval."""

LEVEL = 0.95

_N_RESAMPLES = 5000


def spread_name(n_seeds: int) -> str:
    """Return what `median_spread` returns for so many seeds, in words; nothing for one."""
    if n_seeds < 2:
        return ""
    return f"range of {n_seeds} seeds" if n_seeds < MIN_SEEDS else f"95 % interval, {n_seeds} seeds"


def median_spread(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and the upper end of what is known of the median over the first axis: see `spread_name`.

    `values` has shape `(seeds, places)`; both results `(places,)`, NaN for one seed.
    """
    n_seeds, n_places = values.shape
    if n_seeds < 2:
        return np.full(n_places, np.nan), np.full(n_places, np.nan)
    n_outside = order_statistic(n_seeds) if n_seeds >= MIN_SEEDS else 0
    in_order = np.sort(values, axis=0)
    return in_order[n_outside], in_order[n_seeds - 1 - n_outside]


def order_statistic(n: int, level: float = LEVEL) -> int:
    """Return how many of `n` values lie outside the interval of their median, on each side.

    As many as leave a coverage of at least `level`; raises `ValueError` where even all `n` have less.
    """
    if median_coverage(n, 0) < level:
        raise ValueError(f"expected more values for an interval of {level:g}, found {n}")
    return max(outside for outside in range(n // 2) if median_coverage(n, outside) >= level)


def median_coverage(n: int, n_outside: int) -> float:
    """Return how often the median of a continuous distribution lies between two order statistics of `n` draws.

    `n_outside` draws lie outside them, on each side. Ties only add to it.
    """
    outside = sum(math.comb(n, k) for k in range(n_outside + 1))
    return 1 - 2 * outside / float(2**n)


def stratified_interval(
    groups: Sequence[NDArray[np.float64]],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    n_resamples: int = _N_RESAMPLES,
) -> tuple[float, float]:
    """Return the bootstrapped 95 % interval of a statistic of all groups' values together, the same each time.

    `statistic` takes values along the last axis. NaN where a group has fewer than `MIN_SEEDS` values.
    """
    if min(map(len, groups)) < MIN_SEEDS:
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    drawn = [values[rng.integers(len(values), size=(n_resamples, len(values) - 1))] for values in groups]
    means = statistic(np.concatenate(drawn, axis=1))
    lower, upper = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lower), float(upper)
