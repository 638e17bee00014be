"""The evolution strategy of OpenAI: one centre, moved along the noise of children that beat their mirror images.

Children in slots 2i and 2i + 1 are the centre plus and minus σ × noise, and meet the same task. Returns become centred
ranks, from −½ to ½; equal ones share their mean rank, so a pair with equal returns says nothing. With the weights
`wᵢ = (rank⁺ᵢ − rank⁻ᵢ) / number of returns` the centre follows the gradient `−Σ wᵢ × noiseᵢ` by Adam or by descent with
momentum. A pair with a failed, late or missing half is left out whole.

The centre is the elite: the only candidate, evaluated in every generation. Its genome is an anchor, or a new network,
and the updates since; nodes make an update themselves, and the anchor is renewed every `es.anchor_every` generations.

Paper: Salimans et al. 2017, *Evolution Strategies as a Scalable Alternative to Reinforcement Learning* (arXiv
1703.03864), whose program ranks equal returns in no particular order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Children, Closed, Elite, Json, Scored
from gadask.algorithms.documents import (
    count_from_json,
    elite_from_json,
    elite_to_json,
    expect_keys,
    genomes_from_json,
    number_from_json,
)
from gadask.algorithms.elites import centred_ranks, crown
from gadask.config import Config, ESConfig, GenerationConfig
from gadask.errors import EvolutionError, GenomeError, RecordError
from gadask.genomes.genome import Genome, is_update, to_json
from gadask.genomes.optimisers import Adam, Momentum, Optimiser
from gadask.genomes.seeding import Purpose, draw_genes, stream
from gadask.genomes.updates import Update


@dataclass(frozen=True)
class Centre:
    """The state: the centre that the next generation is made from."""

    genome: Genome
    n_updates: int = 0
    """Updates of the run so far."""
    update: Update | None = None
    """The last one; those before lie in the run directory."""
    elite: Elite | None = None
    rank: float | None = None
    """Where the mean of the last centre lay among its children: the share of them below it; equal ones count half."""


@dataclass(frozen=True)
class OpenAIES:
    """The evolution strategy with the settings of a run."""

    run_seed: int
    generation: GenerationConfig
    settings: ESConfig

    @classmethod
    def of(cls, config: Config) -> OpenAIES:
        """Return the algorithm of a run."""
        return cls(config.seed, config.generation, config.es)

    @property
    def step_weight(self) -> float:
        """σ, the deviation of the noise that a child adds."""
        return self.settings.sigma

    @property
    def n_bases(self) -> int:
        """One, the centre."""
        return 1

    @property
    def n_candidates(self) -> int:
        """One, the centre."""
        return 1

    @property
    def slots_per_task(self) -> int:
        """Two: a pair meets the same task."""
        return 2

    @property
    def optimiser(self) -> Optimiser:
        """What moves the centre."""
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        if self.settings.optimiser == "adam":
            return Adam(rate, decay)
        return Momentum(rate, decay, self.settings.momentum)

    def start(self, first: Genome, n_genes: int) -> Centre:
        """Return the state before generation 0, whose centre is `first`, or a new network."""
        return Centre(first or (int(stream(self.run_seed, Purpose.ALGORITHM, 0).integers(n_genes)),))

    def bases(self, state: Centre) -> tuple[Genome, ...]:
        """Return the centre."""
        return (state.genome,)

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return a gene for each pair, and the sign of each half."""
        genes = draw_genes(self.run_seed, brood.generation, slots // 2, n_genes)
        rows = np.full(len(slots), 0 if brood.bases else -1, np.int64)
        return Children(rows, genes, np.where(slots % 2 == 0, self.step_weight, -self.step_weight))

    def update_genes(self, generation: int, n_pairs: int, n_genes: int) -> NDArray[np.int64]:
        """Return the genes of a generation's first pairs."""
        return draw_genes(self.run_seed, generation, np.arange(n_pairs), n_genes)

    def nominate(self, state: Centre, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        """Return the centre."""
        return (state.genome,)

    def tell(self, state: Centre, closed: Closed) -> Centre:
        """Move the centre.

        Raises:
            EvolutionError: no pair is whole, or the centre was evaluated and no episode of it ended well.
        """
        weights = pair_weights(closed, state.genome)
        update = Update.of(closed.generation, state.n_updates + 1, weights)
        elite = crown(closed.evaluated, closed.generation) if closed.evaluated else state.elite
        rank = share_below([child.fitness for child in closed.scored], elite) if closed.evaluated else None
        return Centre((*state.genome, update.name), update.number, update, elite, rank)

    def elite(self, state: Centre) -> Elite | None:
        """Return the centre that was evaluated last."""
        return state.elite

    def describe(self, state: Centre) -> Json:
        """Return how many updates there were, and the centre's rank among its children, where it was evaluated."""
        return {"updates": state.n_updates, **({} if state.rank is None else {"rank": state.rank})}

    def updates(self, state: Centre) -> tuple[Update, ...]:
        """Return the update that made the centre."""
        return () if state.update is None else (state.update,)

    def due(self, state: Centre) -> Genome | None:
        """Return the centre, where it is to become an anchor."""
        return state.genome if sum(map(is_update, state.genome)) >= self.settings.anchor_every else None

    def anchored(self, state: Centre, digest: str) -> Centre:
        """Name the centre by its anchor."""
        return replace(state, genome=(digest,))

    def to_json(self, state: Centre) -> Json:
        """Return centre, last update and elite."""
        return {
            "centre": to_json(state.genome),
            "n_updates": state.n_updates,
            "update": None if state.update is None else state.update.to_json(),
            "elite": elite_to_json(state.elite),
            "rank": state.rank,
        }

    def from_json(self, document: Json) -> Centre:
        """Return the state that `to_json` was given; raises `RecordError` for anything else."""
        expect_keys(document, "centre", "n_updates", "update", "elite", "rank")
        try:
            update = None if document["update"] is None else Update.from_json(document["update"])
        except GenomeError as error:
            raise RecordError(f"update: {error}") from None
        return Centre(
            genomes_from_json([document["centre"]], "centre")[0],
            count_from_json(document["n_updates"], "n_updates"),
            update,
            elite_from_json(document["elite"], "elite"),
            None if document["rank"] is None else number_from_json(document["rank"], "rank"),
        )


def pair_weights(closed: Closed, centre: Genome) -> NDArray[np.float32]:
    """Return the weight of each pair that children of `centre` form, shape `(n_pairs,)`; 0 of one that is not whole.

    Raises `EvolutionError` where none is whole.
    """
    fitness = {child.slot: child.fitness for child in closed.scored if child.base == centre}
    pairs = sorted(slot // 2 for slot in fitness if slot % 2 == 0 and slot + 1 in fitness)
    if not pairs:
        raise EvolutionError(
            f"generation {closed.generation}: expected at least one pair of children with finite returns, found none"
        )
    ranks = centred_ranks(np.array([[fitness[2 * pair], fitness[2 * pair + 1]] for pair in pairs]))
    weights = np.zeros(pairs[-1] + 1, np.float32)
    weights[pairs] = (ranks[:, 0] - ranks[:, 1]) / ranks.size
    return weights


def share_below(fitness: Sequence[float], elite: Elite | None) -> float | None:
    """Return the share of children that came to less than an elite's mean, equal ones half; None of no elite."""
    if elite is None or not fitness:
        return None
    n_below = sum(value < elite.mean for value in fitness)
    return (n_below + sum(value == elite.mean for value in fitness) / 2) / len(fitness)
