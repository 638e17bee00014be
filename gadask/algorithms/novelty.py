"""Novelty search: parents are the children whose behaviours are unlike all others, whatever their return.

Where returns lead into a dead end, the search for what has not been there before may find a way round it. A child's
novelty is the mean Euclidean distance of its behaviour to the `neighbours` nearest ones among the other children of its
generation and the archive. The archive holds behaviours of earlier generations: each child enters it with probability
`archive_share`, and the oldest leave it. Parents are the most novel children; a child is a parent, drawn uniformly,
plus one step of noise, as in truncation selection.

Candidates, and so the elite, are still chosen by return: novelty says where to search, return what was found. With
`return_weight` w above 0 parents are chosen by (1 − w) · rank of novelty + w · rank of return, and the elite is a
parent too; with 1 the run is that of truncation selection with `ga.truncation = "such2017"`. Ranks are centred, from −½
to ½, so that neither scale matters; equals share the mean of their ranks. Remaining ties go to the lower slot. Where
`generation.fitness` is a function, return means what it makes of an episode, as everywhere.

Papers: Lehman and Stanley 2011, *Abandoning Objectives: Evolution through the Search for Novelty Alone*; Such et al.
2017 (arXiv 1712.06567), novelty as the fitness of their genetic algorithm; Conti et al. 2018 (arXiv 1712.06560),
novelty and return in equal parts (NSR-ES).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Behaviour, Brood, Children, Closed, Elite, Json, Scored
from gadask.algorithms.documents import (
    behaviours_from_json,
    elite_from_json,
    elite_to_json,
    expect_keys,
    genomes_from_json,
    number_from_json,
)
from gadask.algorithms.elites import centred_ranks, elite_after, exact_mean, rank, ranked, with_challengers, with_elite
from gadask.config import Config, GenerationConfig, NoveltyConfig
from gadask.errors import EvolutionError
from gadask.genomes.genome import Genome, draw_children, to_json
from gadask.genomes.seeding import Purpose, draw_words

_BLOCK = 2**17
"""Distances that are held at once: 1 MB, which caches hold."""


@dataclass(frozen=True)
class Explored:
    """The state: what one generation is made from, and where those before it have been."""

    parents: tuple[Genome, ...] = ()
    """Parents of its children; empty where they are new networks."""
    elite: Elite | None = None
    """The best by return so far."""
    archive: tuple[Behaviour, ...] = ()
    """Behaviours of earlier generations, the oldest first."""
    mean_novelty: float = 0.0
    """Mean novelty of the children of the last generation."""


@dataclass(frozen=True)
class Novelty:
    """Novelty search with the settings of a run."""

    run_seed: int
    generation: GenerationConfig
    settings: NoveltyConfig

    @classmethod
    def of(cls, config: Config) -> Novelty:
        """Return the algorithm of a run."""
        return cls(config.seed, config.generation, config.novelty)

    @property
    def step_weight(self) -> float:
        """The mutation power."""
        return self.settings.mutation_power

    @property
    def n_bases(self) -> int:
        """As many as parents."""
        return self.settings.parents

    def start(self, first: Genome, n_genes: int) -> Explored:
        """Return the state before generation 0, whose only parent is `first`, if that is not empty."""
        return Explored((first,) if first else ())

    def bases(self, state: Explored) -> tuple[Genome, ...]:
        """Return the parents."""
        return state.parents

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return of each child a parent and a gene, both drawn uniformly."""
        rows, genes = draw_children(self.run_seed, brood.generation, slots, len(brood.bases), n_genes)
        return Children(rows, genes, np.full(len(slots), self.step_weight))

    def nominate(self, state: Explored, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        """Return the elite, where there is one, and the other children with the best returns."""
        n_candidates = self.generation.candidates
        return with_challengers(state.elite, rank(scored), n_candidates) if n_candidates else ()

    def tell(self, state: Explored, closed: Closed) -> Explored:
        """Crown the elite by return, choose parents by novelty, and let behaviours into the archive.

        Raises `EvolutionError` where nothing can be crowned, or children have no behaviour.
        """
        settings = self.generation
        elite = elite_after(state.elite, closed, settings.candidates, settings.episodes_per_child)
        children = ranked(closed)
        behaviours = _behaviours_of(children, closed.generation)
        novelties = novelties_of(behaviours, np.array(state.archive, np.float64), self.settings.neighbours)
        worths = self._worths(novelties, np.array([child.fitness for child in children]))
        best_first = rank(
            [child._replace(fitness=worth) for child, worth in zip(children, worths.tolist(), strict=True)]
        )
        in_parents = elite if self.settings.return_weight > 0 else None
        return Explored(
            parents=with_elite(in_parents, best_first, self.settings.parents),
            elite=elite,
            archive=self._archived(state.archive, children, closed.generation),
            mean_novelty=exact_mean(novelties) or 0.0,
        )

    def elite(self, state: Explored) -> Elite | None:
        """Return the best by return so far."""
        return state.elite

    def archive(self, state: Explored) -> tuple[Behaviour, ...]:
        """Return the behaviours that novelty is measured against beside a generation's own, the oldest first."""
        return state.archive

    def describe(self, state: Explored) -> Json:
        """Return how many behaviours the archive holds, and the mean novelty of the last generation's children."""
        return {"archive": len(state.archive), "mean_novelty": state.mean_novelty}

    def to_json(self, state: Explored) -> Json:
        """Return parents, elite, archive and mean novelty."""
        return {
            "parents": list(map(to_json, state.parents)),
            "elite": elite_to_json(state.elite),
            "archive": list(map(list, state.archive)),
            "mean_novelty": state.mean_novelty,
        }

    def from_json(self, document: Json) -> Explored:
        """Return the state that `to_json` was given; raises `RecordError` for anything else."""
        expect_keys(document, "parents", "elite", "archive", "mean_novelty")
        return Explored(
            parents=genomes_from_json(document["parents"], "parents"),
            elite=elite_from_json(document["elite"], "elite"),
            archive=behaviours_from_json(document["archive"], "archive"),
            mean_novelty=number_from_json(document["mean_novelty"], "mean_novelty"),
        )

    def _worths(self, novelties: NDArray[np.float64], returns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by what parents are chosen."""
        weight = self.settings.return_weight
        if weight == 0:
            return novelties
        return (1 - weight) * centred_ranks(novelties) + weight * centred_ranks(returns)

    def _archived(
        self, archive: tuple[Behaviour, ...], children: Sequence[Scored], generation: int
    ) -> tuple[Behaviour, ...]:
        """Return the archive after a generation, whose children enter it in the order of their slots."""
        in_order = sorted(children, key=lambda child: child.slot)  # children of one slot stay best first
        words = draw_words(self.run_seed, Purpose.ALGORITHM, generation, np.array([one.slot for one in in_order]))
        enters = (words >> np.uint64(11)) * 2.0**-53 < self.settings.archive_share
        entered = (in_order[place].behaviour for place in np.flatnonzero(enters).tolist())
        together = (*archive, *(behaviour for behaviour in entered if behaviour is not None))
        return together[max(0, len(together) - self.settings.archive_size) :]


def novelties_of(behaviours: NDArray[np.float64], archive: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return the mean distance of each behaviour to the nearest others and archived ones, shape `(n,)`.

    `behaviours` has shape `(n, n_entries)`, `archive` `(m, n_entries)` or no entries at all. With fewer than
    `neighbours` of both the mean is of all; 0 without any. A behaviour's novelty has the same bits in whatever order
    the others come, and on every CPU: entries are summed up one after the other, without a matrix product.
    """
    n, n_entries = behaviours.shape
    crowd = np.concatenate([behaviours, archive.reshape(-1, n_entries)])
    k = min(neighbours, len(crowd) - 1)
    if k == 0:
        return np.zeros(n)
    by_entry = np.ascontiguousarray(crowd.T)
    n_rows = max(1, _BLOCK // len(crowd))
    novelties = np.zeros(n)
    for begin in range(0, n, n_rows):
        rows = np.arange(begin, min(begin + n_rows, n))
        squares = np.zeros((len(rows), len(crowd)))
        for entries in by_entry:
            differences = np.subtract.outer(entries[rows], entries)
            squares += np.square(differences, out=differences)
        squares[rows - begin, rows] = np.inf  # nobody is a neighbour of his own
        nearest = np.sqrt(np.sort(np.partition(squares, k - 1, axis=1)[:, :k], axis=1))
        for distances in nearest.T:
            novelties[rows] += distances
    return novelties / k


def _behaviours_of(children: Sequence[Scored], generation: int) -> NDArray[np.float64]:
    """Return the children's behaviours, shape `(n, n_entries)`."""
    behaviours = [child.behaviour for child in children if child.behaviour is not None]
    if len(behaviours) < len(children):
        raise EvolutionError(f"generation {generation}: expected a behaviour of every child, found children without")
    return np.array(behaviours, np.float64)
