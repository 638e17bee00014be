"""Gittins indices of Bernoulli arms, by dynamic programming (Gittins 1979; the calibration method)."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from gadask.errors import EnvError

_MAX_PULLS = 1000
_N_RATES = 501


@functools.lru_cache(maxsize=4)
def gittins_indices(n_pulls: int) -> NDArray[np.float64]:
    """Return the index of an arm pulled n times with w wins at `[n, w]`, float64, shape `(n_pulls, n_pulls)`.

    The arm's probability is believed uniform at first; the discount is 1 − 1 / `n_pulls`. The index is the sure reward
    a step for which one would as soon give up the arm as pull it again. For each sure reward of a grid, the value of an
    arm that may be given up for it at any time is computed backwards from 1.5 × `n_pulls` + 20 pulls, where the
    probability counts as known; the index lies where giving up and pulling on are worth the same.

    Raises `EnvError` for more than 1,000 pulls. Entries with more wins than pulls are NaN.
    """
    if n_pulls > _MAX_PULLS:
        raise EnvError(f"baseline 'gittins': expected at most {_MAX_PULLS} pulls, found {n_pulls}; leave it out")
    discount = 1 - 1 / n_pulls
    indices = np.full((n_pulls, n_pulls), np.nan)
    rates = np.linspace(0, 1, _N_RATES)[:, None]
    last = n_pulls * 3 // 2 + 20
    values = np.maximum(rates, _means(last))  # of one step on average, so that rate and value compare
    for n in range(last - 1, -1, -1):
        means = _means(n)
        pulling = (1 - discount) * means + discount * (means * values[:, 1:] + (1 - means) * values[:, :-1])
        if n < n_pulls:
            indices[n, : n + 1] = _crossings(rates[:, 0], pulling - rates)
        values = np.maximum(rates, pulling)
    indices.flags.writeable = False
    return indices


def _means(n: int) -> NDArray[np.float64]:
    """Return the expected probability of an arm with 0 to n wins in n pulls."""
    return np.arange(1, n + 2) / (n + 2)


def _crossings(rates: NDArray[np.float64], advantages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rate at which each column of `advantages`, falling and at last not positive, reaches 0."""
    above = np.clip((advantages > 1e-12).sum(axis=0), 1, len(rates) - 1)
    columns = np.arange(advantages.shape[1])
    before, after = advantages[above - 1, columns], np.minimum(advantages[above, columns], 0)
    crossings: NDArray[np.float64] = rates[above - 1] + (rates[1] - rates[0]) * before / (before - after)
    return crossings
