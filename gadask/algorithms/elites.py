"""How an elite is found: the best children are evaluated again, because a few episodes are a noisy measurement.

Rules that several algorithms share, as pure functions. Equal returns go to the lower slot, so that the result depends
on what was played and never on the order in which it arrived.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Closed, Elite, Evaluated, Scored
from gadask.errors import EvolutionError
from gadask.genomes.genome import Genome, unfold


def rank(scored: Sequence[Scored]) -> list[Scored]:
    """Return the children best first; ties go to the lower slot. A fitness that is not finite is left out."""
    finite = (child for child in scored if math.isfinite(child.fitness))
    return sorted(finite, key=lambda child: (-child.fitness, child.slot, unfold(child.step, 0), child.base))


def ranked(closed: Closed) -> list[Scored]:
    """Return a closed generation's children best first; raises `EvolutionError` if there are none."""
    best_first = rank(closed.scored)
    if not best_first:
        raise EvolutionError(
            f"generation {closed.generation}: expected at least one child with a finite return, found none:"
            " no episode of a child ended well"
        )
    return best_first


def elite_after(
    elite: Elite | None, closed: Closed, n_candidates: int, n_episodes: int, *, later_wins: bool = False
) -> Elite | None:
    """Return the elite of a closed generation: the best candidate, or without candidates the best child so far.

    `elite` is the one before; with `n_candidates` and none evaluated, as in the first generation where they overlap, it
    stays. A child's fitness is over `n_episodes`. Raises `EvolutionError` if nothing can be crowned.
    """
    best = ranked(closed)[0]
    if n_candidates == 0:
        is_beaten = elite is None or elite.mean < best.fitness
        return Elite(best.genome, best.fitness, n_episodes, closed.generation) if is_beaten else elite
    return crown(closed.evaluated, closed.generation, later_wins=later_wins) if closed.evaluated else elite


def crown(candidates: Sequence[Evaluated], generation: int, *, later_wins: bool = False) -> Elite:
    """Return the candidate with the best mean of its evaluations in `generation`.

    Ties go to the earlier candidate, or to the later one. A candidate without evaluations, or with one that is not
    finite, cannot be crowned.

    Raises:
        EvolutionError: no candidate can be crowned.
    """
    means = {slot: mean for slot, one in enumerate(candidates) if (mean := exact_mean(one.values)) is not None}
    if not means:
        raise EvolutionError(
            f"generation {generation}: expected finite evaluations of at least one of {len(candidates)} candidates,"
            " found none"
        )
    sign = 1 if later_wins else -1
    slot = max(means, key=lambda slot: (means[slot], sign * slot))
    return Elite(candidates[slot].genome, means[slot], len(candidates[slot].values), generation)


def with_challengers(elite: Elite | None, best_first: Sequence[Scored], n: int) -> tuple[Genome, ...]:
    """Return `n` genomes: the elite, where there is one, and the best children that are not the elite, best first."""
    if elite is None:
        return tuple(child.genome for child in best_first[:n])
    others = (genome for child in best_first if (genome := child.genome) != elite.genome)
    return (elite.genome, *islice(others, n - 1))


def with_elite(elite: Elite | None, best_first: Sequence[Scored], n: int) -> tuple[Genome, ...]:
    """Return the `n` best children if there is no elite or it is one of them; else the elite and the `n − 1` best."""
    best = tuple(child.genome for child in best_first[:n])
    return best if elite is None or elite.genome in best else (elite.genome, *best[: n - 1])


def exact_mean(values: Sequence[float] | NDArray[Any]) -> float | None:
    """Return the mean of numbers, the same in any order; None where it is not a finite number."""
    try:
        mean = math.fsum(values) / len(values)
    except (ZeroDivisionError, OverflowError, ValueError):  # none; too large; infinities of both signs
        return None
    return mean if math.isfinite(mean) else None


def centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each number, from −½ of the least to ½ of the largest; equal ones share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[places.reshape(values.shape)]
    return ranks / max(1, values.size - 1) - 0.5
