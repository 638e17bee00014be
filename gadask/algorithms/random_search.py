"""Random search: every child is a new network, and the best candidate is kept.

What selection gains is measured against this (Such et al. 2017, arXiv 1712.06567, table 1). Each generation is made
like generation 0. The elite and the best children are evaluated again, as in truncation selection, and the one with the
best mean is the elite. With `start.from` a child is that genome plus one step of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Children, Closed, Elite, Json, Scored
from gadask.algorithms.documents import elite_from_json, elite_to_json, expect_keys, genomes_from_json
from gadask.algorithms.elites import elite_after, rank, with_challengers
from gadask.config import Config, GenerationConfig, RandomSearchConfig
from gadask.genomes.genome import Genome, draw_children, to_json


@dataclass(frozen=True)
class Found:
    """The state: where the search began, and the best it has found."""

    bases: tuple[Genome, ...] = ()
    """The genome that every child is made from; none where children are new networks."""
    elite: Elite | None = None


@dataclass(frozen=True)
class RandomSearch:
    """Random search with the settings of a run."""

    run_seed: int
    generation: GenerationConfig
    settings: RandomSearchConfig

    @classmethod
    def of(cls, config: Config) -> RandomSearch:
        """Return the algorithm of a run."""
        return cls(config.seed, config.generation, config.random_search)

    @property
    def step_weight(self) -> float:
        """The mutation power."""
        return self.settings.mutation_power

    @property
    def n_bases(self) -> int:
        """One at most."""
        return 1

    def start(self, first: Genome, n_genes: int) -> Found:
        """Return the state before generation 0."""
        return Found((first,) if first else ())

    def bases(self, state: Found) -> tuple[Genome, ...]:
        """Return where the search began."""
        return state.bases

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return a gene of each child, drawn uniformly."""
        rows, genes = draw_children(self.run_seed, brood.generation, slots, len(brood.bases), n_genes)
        return Children(rows, genes, np.full(len(slots), self.step_weight))

    def nominate(self, state: Found, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        """Return the elite, where there is one, and the best children."""
        n_candidates = self.generation.candidates
        return with_challengers(state.elite, rank(scored), n_candidates) if n_candidates else ()

    def tell(self, state: Found, closed: Closed) -> Found:
        """Crown the elite; raises `EvolutionError` where nothing can be crowned."""
        settings = self.generation
        elite = elite_after(state.elite, closed, settings.candidates, settings.episodes_per_child)
        return Found(state.bases, elite)

    def elite(self, state: Found) -> Elite | None:
        """Return the best so far."""
        return state.elite

    def to_json(self, state: Found) -> Json:
        """Return bases and elite."""
        return {"bases": list(map(to_json, state.bases)), "elite": elite_to_json(state.elite)}

    def from_json(self, document: Json) -> Found:
        """Return the state that `to_json` was given; raises `RecordError` for anything else."""
        expect_keys(document, "bases", "elite")
        return Found(genomes_from_json(document["bases"], "bases"), elite_from_json(document["elite"], "elite"))
