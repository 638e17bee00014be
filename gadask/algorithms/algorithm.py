"""What an algorithm is: pure functions over a state that is plain data.

A generation's life, as `master/generation.py` leads it:

    bases(state)                         what nodes hold: genomes that children are made from
    children(brood, slots, n_genes)      which base, gene and weight the child in each slot has; nodes and master ask
    nominate(state, scored)              candidates: genomes that are evaluated again
    tell(state, closed)                  the next state
    elite(state)                         the best genome so far

With `elite_evaluation = "barrier"` candidates are nominated from the generation's own children, by the state before
`tell`, and played before it. With `"overlapped"` they are nominated by the state after `tell`, and played together with
the next generation's children. The algorithm need not know which.

Everything follows from arguments and config: no clock, no generator, no order of arrival. So an algorithm gives the
same run on any number of processes and nodes, and after any kill. Its state goes into the checkpoint as JSON, and
`from_json(to_json(state)) == state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gadask.genomes.genome import Genome, Step
from gadask.genomes.optimisers import Optimiser
from gadask.genomes.updates import Update
from gadask.observations import Normaliser
from gadask.tables import html_table
from gadask.units import many

Json = dict[str, Any]
Behaviour = tuple[float, ...]
"""What an environment reports at an episode's end, or the mean of several: float32 numbers as Python's floats."""
State = TypeVar("State")
SaidOf = TypeVar("SaidOf", contravariant=True)


@dataclass(frozen=True)
class Brood:
    """What one generation is made from; every chunk carries it."""

    generation: int
    bases: tuple[Genome, ...] = ()
    """What children are made from, in the order that their rows refer to; empty where all are new networks."""
    candidates: tuple[Genome, ...] = ()
    """Genomes evaluated again, in slot order."""
    normaliser: Normaliser | None = None
    """How their observations are normalised, if they are."""


class Children(NamedTuple):
    """How children are made, one entry a slot."""

    rows: NDArray[np.int64]
    """Row of the base; −1: none, a new network."""
    genes: NDArray[np.int64]
    """Noise index: of the step that is added to the base, or of the new network."""
    weights: NDArray[np.float64]
    """Weight of the step; without meaning where there is no base."""


class Scored(NamedTuple):
    """A child and what its episodes came to."""

    base: Genome
    """Empty for a new network."""
    step: Step
    """What it adds to the base, or the new network's noise index."""
    fitness: float
    """Mean of what its episodes are worth, finite."""
    slot: int
    behaviour: Behaviour | None = None
    """Mean over its episodes; None without `env.behaviour`."""
    mean_return: float | None = None
    """Mean return of its episodes; None where that is the fitness."""

    @property
    def return_(self) -> float:
        """Mean return of its episodes, whatever a function of the user's makes of them."""
        return self.fitness if self.mean_return is None else self.mean_return

    @property
    def genome(self) -> Genome:
        """The base and its own step; put together when asked for, since most children are never asked."""
        return (*self.base, self.step)


class Evaluated(NamedTuple):
    """A candidate and what its episodes were worth, in episode order; none where all of them failed."""

    genome: Genome
    values: Sequence[float]
    behaviour: Behaviour | None = None
    """Mean over these episodes; None without any, and without `env.behaviour`."""


@dataclass(frozen=True)
class Closed:
    """A closed generation: what counts in it."""

    generation: int
    scored: Sequence[Scored]
    """Children with all their episodes, in any order."""
    evaluated: Sequence[Evaluated]
    """The generation's candidates, in slot order."""


@dataclass(frozen=True)
class Elite:
    """The candidate whose evaluation episodes had the best mean return, or fitness."""

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
            "mean return": f"{self.mean:,.6g} over {many(self.episodes, 'episode')}",
            "crowned in generation": self.generation,
            "genes": len(self.genome),
        }


class Algorithm(Protocol[State]):
    """One algorithm with its settings: a frozen dataclass that is sent to nodes and equals its copies."""

    @property
    def step_weight(self) -> float:
        """Weight of steps that name none, so that most genomes are lists of genes; the same for the whole run."""

    @property
    def n_bases(self) -> int:
        """How many bases a generation has at most: nodes make room for their weights."""

    def start(self, first: Genome, n_genes: int) -> State:
        """Return the state before generation 0, whose children are made from `first`; new networks if it is empty.

        A gene that it draws is in [0, n_genes).
        """

    def bases(self, state: State) -> tuple[Genome, ...]:
        """Return what the next generation's children are made from, at most `n_bases` genomes."""

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return how the children in these slots are made; genes are in [0, n_genes).

        It is asked for any slots in any company, and answers for any brood, also for one without bases.
        """

    def nominate(self, state: State, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        """Return the genomes that are evaluated again, in slot order; at most `generation.candidates`."""

    def tell(self, state: State, closed: Closed) -> State:
        """Close a generation: return the state from which the next one is made.

        Raises `EvolutionError` where nothing can be made from what was played.
        """

    def elite(self, state: State) -> Elite | None:
        """Return the genome that stands for the run; None as long as no candidate was evaluated.

        That is the best one so far, unless the algorithm says otherwise.
        """

    def to_json(self, state: State) -> Json:
        """Return the whole state as JSON holds it: dictionaries, lists, strings, numbers, booleans, None."""

    def from_json(self, document: Json) -> State:
        """Return the state that `to_json` was given.

        Raises `RecordError` for anything else; the text names the key, and what was expected and found.
        """


@runtime_checkable
class Moving(Protocol[State]):
    """What an algorithm also has if updates move its bases: see `genomes/updates.py`."""

    @property
    def optimiser(self) -> Optimiser:
        """What moves them; the same for the whole run."""

    def update_genes(self, generation: int, n_pairs: int, n_genes: int) -> NDArray[np.int64]:
        """Return the genes that the weights of a generation's update belong to, shape `(n_pairs,)`."""

    def updates(self, state: State) -> tuple[Update, ...]:
        """Return the updates that `tell` has made, for the run directory."""

    def due(self, state: State) -> Genome | None:
        """Return the genome that is to become an anchor before the next generation; None of none."""

    def anchored(self, state: State, digest: str) -> State:
        """Return the state in which the genome that was due is the anchor with this digest."""


def moving(algorithm: Algorithm[Any]) -> Moving[Any] | None:
    """Return the algorithm, if its bases are moved by updates."""
    return algorithm if isinstance(algorithm, Moving) else None


def n_candidates(algorithm: Algorithm[Any], most: int) -> int:
    """Return how many candidates a generation has at most: `most`, or fewer by the algorithm's `n_candidates`."""
    return min(most, getattr(algorithm, "n_candidates", most))


def slots_per_task(algorithm: Algorithm[Any]) -> int:
    """Return how many successive slots have the same tasks: 1 where the algorithm has no `slots_per_task`."""
    return getattr(algorithm, "slots_per_task", 1)


@runtime_checkable
class Describing(Protocol[SaidOf]):
    """An algorithm that says in the log how it stands, which is optional."""

    def describe(self, state: SaidOf) -> Json:
        """Return what the generation's line holds under `algorithm`, as JSON holds it; an empty one is left out."""


def described(algorithm: object, state: Any) -> Json:
    """Return what an algorithm says of a state; nothing where it has no `describe`."""
    return algorithm.describe(state) if isinstance(algorithm, Describing) else {}


@runtime_checkable
class Archiving(Protocol[SaidOf]):
    """An algorithm that remembers behaviours of earlier generations, which the dashboard and reports show; optional."""

    def archive(self, state: SaidOf) -> Sequence[Behaviour]:
        """Return these behaviours, the oldest first."""


def archived(algorithm: object, state: Any) -> Sequence[Behaviour]:
    """Return the behaviours that an algorithm remembers; none where it has no `archive`."""
    return algorithm.archive(state) if isinstance(algorithm, Archiving) else ()
