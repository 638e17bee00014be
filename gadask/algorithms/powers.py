"""Mutation powers that evolve: each child has its own, which it hands down to its children.

A genome's power is the weight of its last step; the run's mutation power where it has no step yet. A child's is its
parent's times exp(rate · z), with z standard normal and drawn for its slot: selection that prefers a child prefers its
power (Schwefel's log-normal rule with one power for all parameters; Beyer and Schwefel 2002, *Evolution strategies: a
comprehensive introduction*). Powers stay within a factor of 1,000 of the run's.

Master and nodes must have the same bits, and `exp` and `log` of numpy or C differ between CPUs in the last bit. So
neither is used for a child: z is (ones among 64 random bits − 32) / 4, of mean 0, variance 1 and nearly normal; its 65
factors come from `decimal`, which rounds correctly everywhere; and powers are rounded to four decimal digits, which
keeps genomes short as texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gadask.genomes.genome import Genome, unfold
from gadask.genomes.seeding import Purpose, draw_words

_N_BITS = 64
_RANGE = 1000.0
_CONTEXT = Context(prec=30)  # not the thread's, which anybody may change


def power_of(genome: Genome, mutation_power: float) -> float:
    """Return the power that a genome hands down; `mutation_power` is the run's."""
    step = genome[-1]
    if len(genome) == 1 or isinstance(step, str):
        return mutation_power
    _, weight = unfold(step, mutation_power)
    return min(max(abs(weight), mutation_power / _RANGE), mutation_power * _RANGE)


def draw_powers(
    run_seed: int,
    generation: int,
    slots: NDArray[np.int64],
    rows: NDArray[np.int64],
    powers: Sequence[float],
    mutation_power: float,
    rate: float,
) -> NDArray[np.float64]:
    """Return the power of the child in each slot, whose parent's is `powers[row]`; the run's where the row is −1."""
    if not powers:
        return np.full(len(slots), mutation_power)
    ones = np.bitwise_count(draw_words(run_seed, Purpose.POWER, generation, slots))
    return np.array([_powers_after(power, mutation_power, rate) for power in powers])[rows, ones]


@lru_cache(maxsize=1024)  # nodes ask for the same parents once a chunk
def _powers_after(power: float, mutation_power: float, rate: float) -> tuple[float, ...]:
    """Return the power of a child by the number of ones that were drawn for it."""
    least, most = mutation_power / _RANGE, mutation_power * _RANGE
    return tuple(float(f"{min(max(power * factor, least), most):.4g}") for factor in _factors(rate))


@lru_cache(maxsize=16)
def _factors(rate: float) -> tuple[float, ...]:
    """Return exp(rate · z) by the number of ones."""
    quarter = _CONTEXT.divide(Decimal(rate), 4)
    exponents = (_CONTEXT.multiply(quarter, ones - _N_BITS // 2) for ones in range(_N_BITS + 1))
    return tuple(float(_CONTEXT.exp(exponent)) for exponent in exponents)
