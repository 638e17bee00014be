"""Intervals hold what they say as often as they say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.analysis.intervals import (
    MIN_SEEDS,
    median_coverage,
    median_spread,
    order_statistic,
    spread_name,
    stratified_interval,
)
from gadask.analysis.scores import interquartile_mean

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), math.log(2)),
    "Cauchy": (lambda rng, size: rng.standard_cauchy(size), 0.0),
    "of steps": (lambda rng, size: rng.integers(0, 7, size).astype(np.float64), 3.0),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("n", [10, 11, 15, 30])
def test_the_interval_of_a_median_holds_it_in_95_percent_of_studies_or_more(name: str, n: int) -> None:
    draw, median = DISTRIBUTIONS[name]
    lower, upper = median_spread(draw(np.random.default_rng(n), (n, 40_000)))
    held = float(np.mean((lower <= median) & (median <= upper)))
    exact = median_coverage(n, order_statistic(n))
    assert exact >= 0.95
    if name == "of steps":
        assert held >= exact - 0.005  # ties only add
    else:
        assert held == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize(("n", "coverage"), [(2, 0.5), (3, 0.75), (5, 0.9375)])
def test_the_range_of_few_seeds_is_no_interval_and_is_not_called_one(n: int, coverage: float) -> None:
    assert median_coverage(n, 0) == coverage
    values = np.random.default_rng(n).normal(size=(n, 40_000))
    lower, upper = median_spread(values)
    np.testing.assert_array_equal((lower, upper), (values.min(axis=0), values.max(axis=0)))
    assert np.mean((lower <= 0) & (upper >= 0)) == pytest.approx(coverage, abs=0.01)
    assert spread_name(n) == f"range of {n} seeds"
    with pytest.raises(ValueError, match=f"expected more values for an interval of 0.95, found {n}"):
        order_statistic(n)


def test_ten_seeds_have_an_interval_and_one_has_nothing() -> None:
    assert spread_name(MIN_SEEDS - 1) == "range of 9 seeds"
    assert spread_name(MIN_SEEDS) == "95 % interval, 10 seeds"
    assert spread_name(1) == ""
    assert np.isnan(median_spread(np.ones((1, 3)))).all()
    # Of 10 draws one outside on each side leaves 1 − 22/1024, two leave 1 − 112/1024.
    assert order_statistic(10) == 1
    assert median_coverage(10, 1) == 1 - 22 / 1024
    assert order_statistic(20) == 5
    lower, upper = median_spread(np.arange(10.0)[::-1, np.newaxis])
    assert (lower[0], upper[0]) == (1.0, 8.0)


@given(st.integers(2, 14), st.floats(-5, 5), st.floats(0.1, 3))
def test_the_spread_moves_and_grows_with_the_values(n: int, shift: float, scale: float) -> None:
    values = np.random.default_rng(n).normal(size=(n, 3))
    for plain, changed in zip(median_spread(values), median_spread(shift + scale * values), strict=True):
        np.testing.assert_allclose(shift + scale * plain, changed)


@pytest.mark.parametrize("skewed", [False, True])
def test_the_interval_of_an_aggregate_holds_it_in_about_95_percent_of_studies(skewed: bool) -> None:
    rng, n_games, n_studies = np.random.default_rng(7), 4, 400

    def draw(game: int, size: int) -> NDArray[np.float64]:
        spread = rng.exponential(size=size) if skewed else rng.normal(size=size)
        return game + (1 + game) * spread

    true = float(interquartile_mean(np.concatenate([draw(game, 100_000) for game in range(n_games)])))
    held = 0
    for _ in range(n_studies):
        lower, upper = stratified_interval(
            [draw(game, MIN_SEEDS) for game in range(n_games)], interquartile_mean, n_resamples=500
        )
        held += lower <= true <= upper
    assert 0.925 <= held / n_studies <= 0.975


def test_an_aggregate_of_few_seeds_in_one_game_has_no_interval() -> None:
    many, few = np.arange(12.0), np.arange(9.0)
    assert np.isnan(stratified_interval([many, few], interquartile_mean)).all()
    found = stratified_interval([many, many], interquartile_mean)
    assert found == stratified_interval([many, many], interquartile_mean)
