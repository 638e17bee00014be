"""Mutation powers that evolve: inherited, changed by what the slot draws, the same bits everywhere, and bounded."""

from __future__ import annotations

import decimal
import math
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Brood, Closed, Evaluated, Scored
from gadask.algorithms.powers import draw_powers, power_of
from gadask.algorithms.truncation import Parents, Truncation
from gadask.config import Config, GAConfig, GenerationConfig, config_from_dict
from gadask.errors import ConfigError
from gadask.genomes.genome import Genome, step, to_text
from gadask.genomes.seeding import Purpose, stream

ANCHOR = "0" * 32


def truncation(**settings: Any) -> Truncation:
    """Return truncation selection whose powers evolve."""
    ga = GAConfig(**{"parents": 2, "mutation_power": 0.01, "self_adaptive": True, **settings})
    return Truncation(3, GenerationConfig(population=8, candidates=2, candidate_episodes=1), ga)


@pytest.mark.parametrize(
    ("genome", "expected"),
    [
        ((17,), 0.01),
        ((ANCHOR,), 0.01),
        ((17, 4), 0.01),
        ((17, (4, 0.25)), 0.25),
        ((ANCHOR, (5, 0.5), (4, -0.25)), 0.25),
        ((17, (4, 0.25), 5), 0.01),
        ((17, (4, 0.0)), 1e-5),
        ((17, (4, 1e300)), 10.0),
    ],
)
def test_a_genome_hands_down_the_weight_of_its_last_step(genome: Genome, expected: float) -> None:
    assert power_of(genome, 0.01) == expected


def test_powers_are_pinned() -> None:
    # A run's identity, and what tells CPUs apart that compute other bits.
    made = truncation().children(Brood(4, ((5, (6, 0.02)), (7,))), np.arange(6), 1000)
    assert list(zip(made.rows.tolist(), made.weights.tolist(), strict=True)) == [
        (1, 0.008187),
        (1, 0.007047),
        (1, 0.009512),
        (1, 0.01),
        (0, 0.02),
        (1, 0.01105),
    ]


def test_a_power_is_the_parents_times_a_log_normal_factor() -> None:
    slots = np.arange(20_000)
    powers = draw_powers(3, 1, slots, slots % 2, [0.02, 0.5], 0.1, 0.3)
    z = np.log(powers / np.where(slots % 2, 0.5, 0.02)) / 0.3
    assert abs(z.mean()) < 4 / math.sqrt(len(z))
    assert abs(z.std() - 1) < 0.02
    for least, expected in ((1, 0.1587), (2, 0.0228)):  # of the normal distribution, a bin's half beyond
        assert abs((z > least + 0.01).mean() + (abs(z - least) < 0.01).mean() / 2 - expected) < 0.01
    ones = [stream(3, Purpose.POWER, 1, slot).bit_generator.random_raw().bit_count() for slot in range(100)]
    np.testing.assert_allclose(z[:100], (np.array(ones) - 32) / 4, atol=2e-3)


def test_no_power_leaves_its_range() -> None:
    slots = np.arange(500)
    powers = draw_powers(3, 1, slots, slots % 2, [1e-5, 10.0], 0.01, 10.0)
    assert powers.min() == 1e-5
    assert powers.max() == 10.0


@given(st.floats(1e-3, 1e3), st.floats(0.01, 10))
def test_powers_depend_on_no_setting_of_decimals_and_are_short(power: float, rate: float) -> None:
    slots, rows = np.arange(30), np.zeros(30, np.int64)
    found = draw_powers(3, 1, slots, rows, [power], 1.0, rate)
    assert all(float(f"{one:.4g}") == one > 0 for one in found.tolist())
    with decimal.localcontext(decimal.Context(prec=2)):
        # Another rate nearby: what was computed before is kept.
        other = math.nextafter(rate, 0)
        inside = draw_powers(3, 1, slots, rows, [power], 1.0, other)
    np.testing.assert_allclose(inside, found, rtol=2e-3)


def test_without_a_parent_and_by_default_nothing_is_drawn() -> None:
    slots = np.arange(8)
    assert truncation().children(Brood(0), slots, 1000).weights.tolist() == [0.01] * 8
    adapting = truncation()
    fixed = replace(adapting, ga=replace(adapting.ga, self_adaptive=False))
    brood = Brood(1, ((5,), (6, (7, 0.5))))
    one, other = (algorithm.children(brood, slots, 1000) for algorithm in (fixed, adapting))
    assert one.weights.tolist() == [0.01] * 8
    assert len(set(other.weights.tolist())) > 4
    assert one.rows.tolist() == other.rows.tolist()
    assert one.genes.tolist() == other.genes.tolist()
    assert Truncation.of(Config()).ga.self_adaptive is False


def test_selection_chooses_powers() -> None:
    """Where the best child is the one with the largest power, powers grow."""
    algorithm = truncation()
    state, medians = algorithm.start((17,), 1000), []
    for number in range(12):
        brood = Brood(number, algorithm.bases(state))
        columns = (column.tolist() for column in algorithm.children(brood, np.arange(8), 1000))
        children = [
            Scored(brood.bases[row], step(gene, weight, 0.01), weight, slot)
            for slot, (row, gene, weight) in enumerate(zip(*columns, strict=True))
        ]
        nominated = algorithm.nominate(state, children)
        worth = {child.genome: child.fitness for child in children}
        evaluated = [Evaluated(genome, [worth.get(genome, 0.0)]) for genome in nominated]
        state = algorithm.tell(state, Closed(number, children, evaluated))
        medians.append(algorithm.describe(state)["median_power"])
        assert medians[-1] == median(power_of(parent, 0.01) for parent in state.parents)
    assert medians[-1] > 0.05
    assert algorithm.from_json(algorithm.to_json(state)) == state
    assert "*" in to_text(state.parents[0])


def test_the_log_speaks_of_powers_only_where_they_evolve() -> None:
    fixed = truncation(self_adaptive=False)
    assert fixed.describe(Parents(((5, 6),))) == {}
    assert truncation().describe(Parents()) == {}
    assert truncation().describe(Parents(((5, (6, 0.5)), (7,)))) == {"median_power": 0.255}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"self_adaptive_rate": 0}, "ga.self_adaptive_rate: expected more than 0, at most 10, found 0.0"),
        ({"self_adaptive_rate": 11}, "ga.self_adaptive_rate: expected more than 0, at most 10, found 11.0"),
        ({"mutation_power": 1e31}, r"ga.mutation_power: expected 1e-30 to 1e30 with ga.self_adaptive, found 1e\+31"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, float], expected: str) -> None:
    config_from_dict({"ga": settings})
    with pytest.raises(ConfigError, match=expected):
        config_from_dict({"ga": {"self_adaptive": True, **settings}})
