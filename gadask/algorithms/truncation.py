"""Truncation selection with an elite: pure functions over plain data.

A generation of children is ranked by return. The best are evaluated again as candidates, because one episode is
a noisy measurement; the candidate with the best mean is the elite. The best children and the elite are the
parents of the next generation, and the elite survives unmutated among them and among the candidates.

| | `truncation = "such2017"` | `truncation = "ga-dist"` |
| --- | --- | --- |
| parents | the `parents` best children if the elite is among them, else the elite and the `parents − 1` best | first \
generation: the `parents` best; later the elite and the `parents − 2` best others |
| order | elite first where it was added, then the best first | ascending, the elite last |
| candidates | elite, then the `candidates − 1` best others, best first | the same genomes ascending, elite last |

With `elite_evaluation = "barrier"` candidates are chosen from a generation's own children and evaluated before its
parents are chosen. With `"overlapped"` they are evaluated together with the next generation's children: the elite
is known one generation later. Equal means go to the previous elite, then to the child with the higher return (in
such2017's order the earlier candidate, in ga-dist's the later one). Equal returns go to the lower slot. So the
result depends on what was played and never on the order in which it arrived.

Papers: Such et al. 2017, *Deep Neuroevolution* (arXiv 1712.06567), algorithm 1; ga-dist (2018).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from gadask.config import GAConfig
from gadask.errors import EvolutionError
from gadask.genomes.genome import Genome
from gadask.tables import html_table


@dataclass(frozen=True)
class Scored:
    """A child and the mean return of its episodes."""

    parent: Genome
    """Empty in generation 0."""
    gene: int
    fitness: float
    slot: int

    @property
    def genome(self) -> Genome:
        """The parent's genes and its own; put together when asked for, since most children are never asked."""
        return (*self.parent, self.gene)


@dataclass(frozen=True)
class Elite:
    """The candidate with the best mean return over its evaluation episodes."""

    genome: Genome
    mean: float
    episodes: int
    """Episodes that `mean` is taken over."""
    generation: int
    """The generation whose evaluation crowned it."""

    def _repr_html_(self) -> str:
        return html_table("elite", self.in_words())

    def in_words(self) -> dict[str, object]:
        """Return what a table says of it."""
        return {
            "mean return": f"{self.mean:,.6g} over {self.episodes} episodes",
            "crowned in generation": self.generation,
            "genes": len(self.genome),
        }


@dataclass(frozen=True)
class Population:
    """What one generation is played from."""

    generation: int = 0
    """The generation to be played."""
    parents: tuple[Genome, ...] = ()
    """Parents of its children; empty in generation 0."""
    candidates: tuple[Genome, ...] = ()
    """Genomes evaluated together with its children; empty with `elite_evaluation = "barrier"`."""
    elite: Elite | None = None
    """The elite so far."""


def rank(children: Sequence[Scored]) -> list[Scored]:
    """Return the children best first; ties go to the lower slot. A return that is not finite is left out."""
    finite = (child for child in children if math.isfinite(child.fitness))
    return sorted(finite, key=lambda child: (-child.fitness, child.slot, child.gene, child.parent))


def choose_candidates(ga: GAConfig, population: Population, children: Sequence[Scored]) -> tuple[Genome, ...]:
    """Return the genomes, in slot order, whose evaluation decides the elite of this generation.

    With `elite_evaluation = "overlapped"` they are `population.candidates`, known before any child was played;
    `children` is then not looked at and may be empty.
    """
    if ga.elite_evaluation == "overlapped":
        return population.candidates
    return _candidates(ga, rank(children), population.elite)


def advance(
    ga: GAConfig, population: Population, children: Sequence[Scored], evaluations: Mapping[int, Sequence[float]]
) -> Population:
    """Close a generation: return what the next one is played from.

    `children` are those that count, with the returns of episodes that ended well. `evaluations` holds the same for
    the candidates of `choose_candidates(ga, population, children)`, by candidate slot; a slot without a return may
    be absent. With `candidates = 0` the best child so far is the elite. With fewer children than parents all of them
    are parents.

    Raises:
        EvolutionError: no child has a finite return, or there are candidates and none has a finite mean.
    """
    ranked = rank(children)
    if not ranked:
        raise EvolutionError(
            f"generation {population.generation}: expected at least one child with a finite return, found none among"
            f" {len(children)}; see status and return in the run directory's episodes"
        )
    if ga.candidates == 0:
        elite: Elite | None = _best_so_far(population, ranked[0], ga.episodes_per_child)
    elif candidates := choose_candidates(ga, population, ranked):
        elite = crown(ga, candidates, evaluations, population.generation)
    else:
        elite = population.elite
    return Population(
        generation=population.generation + 1,
        parents=_truncate(ga, ranked, elite, first_generation=population.generation == 0),
        candidates=_candidates(ga, ranked, elite) if ga.elite_evaluation == "overlapped" else (),
        elite=elite,
    )


def crown(
    ga: GAConfig, candidates: Sequence[Genome], evaluations: Mapping[int, Sequence[float]], generation: int
) -> Elite:
    """Return the candidate with the best mean of its evaluations in `generation`.

    Ties go to the earlier candidate with `truncation = "such2017"` and to the later with `"ga-dist"`. A candidate
    without evaluations, or with one that is not finite, cannot be crowned.

    Raises:
        EvolutionError: no candidate can be crowned.
    """
    means = {
        slot: mean for slot in range(len(candidates)) if (mean := mean_return(evaluations.get(slot, ()))) is not None
    }
    if not means:
        raise EvolutionError(
            f"generation {generation}: expected finite evaluations of at least one of {len(candidates)} candidates,"
            " found none; see status and return in the run directory's episodes"
        )
    sign = 1 if ga.truncation == "ga-dist" else -1
    slot = max(means, key=lambda slot: (means[slot], sign * slot))
    return Elite(candidates[slot], means[slot], len(evaluations[slot]), generation)


def mean_return(returns: Sequence[float]) -> float | None:
    """Return the mean of episodes' returns, the same in any order; None where it is not a finite number."""
    try:
        mean = math.fsum(returns) / len(returns)
    except (ZeroDivisionError, OverflowError, ValueError):  # none; too large; infinities of both signs
        return None
    return mean if math.isfinite(mean) else None


def _best_so_far(population: Population, best: Scored, n_episodes: int) -> Elite:
    elite = population.elite
    if elite is not None and elite.mean >= best.fitness:
        return elite
    return Elite(best.genome, best.fitness, n_episodes, population.generation)


def _truncate(
    ga: GAConfig, ranked: Sequence[Scored], elite: Elite | None, *, first_generation: bool
) -> tuple[Genome, ...]:
    """Return the parents of the next generation from children ranked best first."""
    if ga.truncation == "ga-dist":
        n_parents = ga.parents if first_generation else ga.parents - 1
        return _ordered(ga, _others(ranked, elite, n_parents), elite)
    best = tuple(child.genome for child in ranked[: ga.parents])
    if elite is None or elite.genome in best:
        return best
    return (elite.genome, *best[: ga.parents - 1])


def _candidates(ga: GAConfig, ranked: Sequence[Scored], elite: Elite | None) -> tuple[Genome, ...]:
    """Return the elite, where there is one, and the best other children: `ga.candidates` genomes."""
    if ga.candidates == 0:
        return ()
    return _ordered(ga, _others(ranked, elite, ga.candidates), elite)


def _others(ranked: Sequence[Scored], elite: Elite | None, n_with_elite: int) -> list[Genome]:
    """Return the best children that are not the elite, best first: with it, `n_with_elite` genomes."""
    if elite is None:
        return [child.genome for child in ranked[:n_with_elite]]
    others = (genome for child in ranked if (genome := child.genome) != elite.genome)
    return list(islice(others, n_with_elite - 1))


def _ordered(ga: GAConfig, best_first: Sequence[Genome], elite: Elite | None) -> tuple[Genome, ...]:
    first = () if elite is None else (elite.genome,)
    genomes = (*first, *best_first)
    return genomes[::-1] if ga.truncation == "ga-dist" else genomes
