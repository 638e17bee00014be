"""Truncation selection with an elite: the genetic algorithm of Such et al. 2017, without crossover.

A generation of children is ranked by return. The best are evaluated again as candidates; the one with the best mean is
the elite. The best children and the elite are the parents of the next generation: a child is a parent, drawn uniformly,
plus one step of noise. The elite survives unmutated among parents and candidates.

| | `truncation = "such2017"` | `truncation = "ga-dist"` |
| --- | --- | --- |
| parents | the `parents` best children if the elite is among them, else the elite and the `parents − 1` best | first \
generation: the `parents` best; later the elite and the `parents − 2` best others |
| order | elite first where it was added, then the best first | ascending, the elite last |
| candidates | elite, then the `candidates − 1` best others, best first | the same genomes ascending, elite last |

Equal means go to the previous elite, then to the child with the higher return (in such2017's order the earlier
candidate, in ga-dist's the later one). Equal returns go to the lower slot.

With `ga.self_adaptive` mutation powers are inherited and evolve; `powers` says how.

Papers: Such et al. 2017, *Deep Neuroevolution* (arXiv 1712.06567), algorithm 1; ga-dist (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Children, Closed, Elite, Json, Scored
from gadask.algorithms.documents import elite_from_json, elite_to_json, expect_keys, genomes_from_json
from gadask.algorithms.elites import elite_after, rank, ranked, with_challengers, with_elite
from gadask.algorithms.powers import draw_powers, power_of
from gadask.config import Config, GAConfig, GenerationConfig
from gadask.genomes.genome import Genome, draw_children, to_json


@dataclass(frozen=True)
class Parents:
    """The state: what one generation is made from."""

    parents: tuple[Genome, ...] = ()
    """Parents of its children; empty where they are new networks."""
    elite: Elite | None = None
    """The elite so far."""


@dataclass(frozen=True)
class Truncation:
    """Truncation selection with the settings of a run."""

    run_seed: int
    generation: GenerationConfig
    ga: GAConfig

    @classmethod
    def of(cls, config: Config) -> Truncation:
        """Return the algorithm of a run."""
        return cls(config.seed, config.generation, config.ga)

    @property
    def step_weight(self) -> float:
        """The mutation power."""
        return self.ga.mutation_power

    @property
    def n_bases(self) -> int:
        """As many as parents."""
        return self.ga.parents

    def start(self, first: Genome, n_genes: int) -> Parents:
        """Return the state before generation 0, whose only parent is `first`, if that is not empty."""
        return Parents((first,) if first else ())

    def bases(self, state: Parents) -> tuple[Genome, ...]:
        """Return the parents."""
        return state.parents

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return of each child a parent and a gene, both drawn uniformly."""
        rows, genes = draw_children(self.run_seed, brood.generation, slots, len(brood.bases), n_genes)
        return Children(rows, genes, self._weights(brood, slots, rows))

    def nominate(self, state: Parents, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        """Return the elite, where there is one, and the best other children: `generation.candidates` genomes."""
        if not self.generation.candidates:
            return ()
        return self._ordered(with_challengers(state.elite, rank(scored), self.generation.candidates), state.elite)

    def tell(self, state: Parents, closed: Closed) -> Parents:
        """Crown the elite and truncate. With fewer children than parents all of them are parents.

        Raises:
            EvolutionError: no child has a finite return, or there are candidates and none has a finite mean.
        """
        settings = self.generation
        later_wins = self.ga.truncation == "ga-dist"
        elite = elite_after(
            state.elite, closed, settings.candidates, settings.episodes_per_child, later_wins=later_wins
        )
        return Parents(self._truncate(ranked(closed), elite, is_first=closed.generation == 0), elite)

    def elite(self, state: Parents) -> Elite | None:
        """Return the elite so far."""
        return state.elite

    def describe(self, state: Parents) -> Json:
        """Return the median of the powers that parents hand down, with `ga.self_adaptive`."""
        powers = self._powers(state.parents)
        return {"median_power": median(powers)} if self.ga.self_adaptive and powers else {}

    def to_json(self, state: Parents) -> Json:
        """Return parents and elite."""
        return {"parents": list(map(to_json, state.parents)), "elite": elite_to_json(state.elite)}

    def from_json(self, document: Json) -> Parents:
        """Return the state that `to_json` was given; raises `RecordError` for anything else."""
        expect_keys(document, "parents", "elite")
        return Parents(genomes_from_json(document["parents"], "parents"), elite_from_json(document["elite"], "elite"))

    def _weights(self, brood: Brood, slots: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mutation power of each child, whose parent is in this row."""
        if not self.ga.self_adaptive:
            return np.full(len(slots), self.step_weight)
        power, rate = self.ga.mutation_power, self.ga.self_adaptive_rate
        return draw_powers(self.run_seed, brood.generation, slots, rows, self._powers(brood.bases), power, rate)

    def _powers(self, parents: Sequence[Genome]) -> list[float]:
        return [power_of(parent, self.ga.mutation_power) for parent in parents]

    def _truncate(self, best_first: Sequence[Scored], elite: Elite | None, *, is_first: bool) -> tuple[Genome, ...]:
        """Return the parents of the next generation from children ranked best first."""
        n_parents = self.ga.parents
        if self.ga.truncation == "ga-dist":
            n_parents = n_parents if is_first else n_parents - 1
            return self._ordered(with_challengers(elite, best_first, n_parents), elite)
        return with_elite(elite, best_first, n_parents)

    def _ordered(self, elite_and_best_first: tuple[Genome, ...], elite: Elite | None) -> tuple[Genome, ...]:
        """Return the genomes in the order of the published program."""
        return elite_and_best_first[::-1] if self.ga.truncation == "ga-dist" else elite_and_best_first
