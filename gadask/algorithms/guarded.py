"""An algorithm from elsewhere, whose answers are checked: a wrong one ends the run in one line, not in a wrong log."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import (
    Algorithm,
    Behaviour,
    Brood,
    Children,
    Closed,
    Elite,
    Json,
    Moving,
    Scored,
    archived,
    described,
    moving,
    n_candidates,
    slots_per_task,
)
from gadask.blame import in_one_line
from gadask.errors import ConfigError, EvolutionError, GadaskError, GenomeError
from gadask.genomes.genome import Genome, from_json, to_json
from gadask.genomes.optimisers import Optimiser
from gadask.genomes.updates import Update

_Result = TypeVar("_Result")
_METHODS = [name for name in vars(Algorithm) if not name.startswith("_")]
_OF_MOVING = [name for name in vars(Moving) if not name.startswith("_")]


def guarded(kind: str, algorithm: Algorithm[Any]) -> Guarded:
    """Return the algorithm with its answers checked; raises `ConfigError` where methods are missing."""
    return Guarded(kind, algorithm) if moving(algorithm) is None else GuardedMoving(kind, algorithm)


@dataclass(frozen=True)
class Guarded:
    """Does what `algorithm` does; the config calls it `kind`."""

    kind: str
    algorithm: Algorithm[Any]

    def __post_init__(self) -> None:
        """Raise `ConfigError` where methods of an algorithm are missing."""
        missing = [name for name in _METHODS if not hasattr(self.algorithm, name)]
        if missing:
            raise ConfigError(
                f"algorithm.kind: expected {self.kind!r} to return an object with the methods of"
                f" gadask.algorithms.algorithm.Algorithm, found {type(self.algorithm).__name__} without"
                f" {', '.join(missing)}"
            )
        for name, least in (("step_weight", -np.inf), ("n_bases", 0)):
            found = getattr(self.algorithm, name)
            if not isinstance(found, int | float) or not least <= found < np.inf:
                raise ConfigError(f"algorithm.kind: {self.kind!r}: {name}: expected a finite number, found {found!r}")
        n_slots = slots_per_task(self.algorithm)
        if type(n_slots) is not int or n_slots < 1:
            raise ConfigError(f"algorithm.kind: {self.kind!r}: slots_per_task: expected at least 1, found {n_slots!r}")
        there = [name for name in _OF_MOVING if hasattr(self.algorithm, name)]
        if there and len(there) < len(_OF_MOVING):
            missing = [name for name in _OF_MOVING if name not in there]
            raise ConfigError(
                f"algorithm.kind: {self.kind!r}: expected all methods of gadask.algorithms.algorithm.Moving beside"
                f" {there[0]}, found none of {', '.join(missing)}"
            )

    @property
    def step_weight(self) -> float:
        """As the algorithm says."""
        return self.algorithm.step_weight

    @property
    def n_bases(self) -> int:
        """As the algorithm says."""
        return self.algorithm.n_bases

    @property
    def slots_per_task(self) -> int:
        """As the algorithm says, 1 by default."""
        return slots_per_task(self.algorithm)

    @property
    def n_candidates(self) -> int:
        """As the algorithm says, as many as a run has by default."""
        return n_candidates(self.algorithm, sys.maxsize)

    def start(self, first: Genome, n_genes: int) -> Any:
        """Return the state before generation 0."""
        return self._asked(lambda: self.algorithm.start(first, n_genes))

    def bases(self, state: Any) -> tuple[Genome, ...]:
        """Return the next generation's bases, at most `n_bases`."""
        bases = self._asked(lambda: self.algorithm.bases(state))
        if len(bases) > self.n_bases:
            raise self._wrong(f"bases: expected at most n_bases, which is {self.n_bases}, found {len(bases)}")
        return self._genomes("bases", bases)

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        """Return how children are made: rows, genes and weights that there are."""
        if not len(slots):
            return Children(slots, slots, np.zeros(0))

        def as_arrays() -> Children:
            rows, genes = (
                np.asarray(column).astype(np.int64, casting="same_kind") for column in (found.rows, found.genes)
            )
            return Children(rows, genes, np.asarray(found.weights, np.float64))

        found = self._asked(lambda: self.algorithm.children(brood, slots, n_genes))
        made = self._asked(as_arrays)
        if any(column.shape != slots.shape for column in made):
            shapes = ", ".join(str(column.shape) for column in made)
            raise self._wrong(f"children: expected three arrays of shape {slots.shape}, found {shapes}")
        for name, column, least, end in (
            ("rows", made.rows, -1, len(brood.bases)),
            ("genes", made.genes, 0, n_genes),
            ("weights", made.weights, np.finfo(np.float32).min, np.inf),
        ):
            wrong = column[~((column >= least) & (column < end))]
            if len(wrong):
                raise self._wrong(f"children: expected {name} from {least} to below {end}, found {wrong[0]}")
        return made

    def nominate(self, state: Any, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        """Return the candidates."""
        return self._genomes("nominate", self._asked(lambda: self.algorithm.nominate(state, scored)))

    def tell(self, state: Any, closed: Closed) -> Any:
        """Return the next state."""
        return self._asked(lambda: self.algorithm.tell(state, closed))

    def elite(self, state: Any) -> Elite | None:
        """Return the best genome so far."""
        return self._asked(lambda: self.algorithm.elite(state))

    def describe(self, state: Any) -> Json:
        """Return what the log's line is to hold, as it comes back from JSON; an empty one where nothing is said."""

        def as_json() -> Any:
            return json.loads(json.dumps(described(self.algorithm, state), allow_nan=False))

        found = self._asked(as_json)
        if not isinstance(found, dict):
            raise self._wrong(f"describe: expected a dictionary, found {str(found)[:80]}")
        return found

    def archive(self, state: Any) -> tuple[Behaviour, ...]:
        """Return the behaviours that it remembers; none where it has no `archive`."""
        return self._asked(lambda: tuple(tuple(map(float, one)) for one in archived(self.algorithm, state)))

    def to_json(self, state: Any) -> Json:
        """Return the state as JSON holds it, from which the same state comes back."""

        def there_and_back() -> tuple[Json, Any]:
            document = json.loads(json.dumps(self.algorithm.to_json(state), allow_nan=False))
            return document, self.algorithm.from_json(document)

        document, again = self._asked(there_and_back)
        if again != state:
            raise self._wrong(
                "expected from_json(to_json(state)) == state after JSON, which has no tuples and only text as keys,"
                " found another state: no run could be resumed"
            )
        return document

    def from_json(self, document: Json) -> Any:
        """Return the state that `to_json` was given."""
        return self._asked(lambda: self.algorithm.from_json(document))

    def _genomes(self, name: str, genomes: Sequence[Genome]) -> tuple[Genome, ...]:
        try:
            return tuple(from_json(to_json(genome)) for genome in genomes)
        except (GenomeError, TypeError) as error:
            raise self._wrong(f"{name}: expected genomes, found {str(genomes)[:80]}: {error}") from None

    def _asked(self, question: Callable[[], _Result]) -> _Result:
        try:
            return question()
        except GadaskError:
            raise
        except (Exception, SystemExit) as error:  # whatever a user's code raises
            raise self._wrong(in_one_line(error)) from error

    def _wrong(self, what: str) -> EvolutionError:
        return EvolutionError(f"algorithm.kind: {self.kind!r}: {what}")


@dataclass(frozen=True)
class GuardedMoving(Guarded):
    """The same for an algorithm whose bases are moved by updates."""

    @property
    def _moving(self) -> Moving[Any]:
        assert isinstance(self.algorithm, Moving)
        return self.algorithm

    @property
    def optimiser(self) -> Optimiser:
        """As the algorithm says."""
        return self._moving.optimiser

    def update_genes(self, generation: int, n_pairs: int, n_genes: int) -> NDArray[np.int64]:
        """Return the genes of an update: as many as pairs, and such as there are."""
        genes = self._asked(lambda: np.asarray(self._moving.update_genes(generation, n_pairs, n_genes), np.int64))
        if genes.shape != (n_pairs,) or not ((genes >= 0) & (genes < n_genes)).all():
            raise self._wrong(f"update_genes: expected {n_pairs} noise indices below {n_genes}, found {genes}")
        return genes

    def updates(self, state: Any) -> tuple[Update, ...]:
        """Return the updates that were made."""
        return self._asked(lambda: self._moving.updates(state))

    def due(self, state: Any) -> Genome | None:
        """Return the genome that is to become an anchor."""
        return self._asked(lambda: self._moving.due(state))

    def anchored(self, state: Any, digest: str) -> Any:
        """Return the state with that anchor."""
        return self._asked(lambda: self._moving.anchored(state, digest))
