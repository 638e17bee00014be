"""Updates: how a centre becomes the next one, from one float32 weight for each pair of children.

An update moves parameters down the gradient `−Σ weightᵢ × noise[geneᵢ :]`. Which genes these are follows from the
generation and the run (`genes_of`), so that an update is named by its generation and the digest of its weights, and its
content is small: 2 kB for 500 pairs. It lies in the run directory as `updates/NAME.json`. Parameters are changed
column by column, and so are the vectors that the optimiser keeps: rollout processes each take a block of columns.

A genome with updates has *vectors*: a float32 matrix of shape `(1 + n_vectors, n_params)`, the parameters first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gadask.errors import GenomeError
from gadask.genomes.noise import Noise
from gadask.genomes.noise_sum import noise_sum
from gadask.genomes.optimisers import Optimiser

FOLDER = "updates"
"""Name of their folder in a run directory."""

_COLUMNS = 2**16  # a block of all vectors, the gradient and what it is made from fits the second-level cache


@dataclass(frozen=True)
class Update:
    """One update, as plain data."""

    generation: int
    """The generation of whose children it is made."""
    number: int
    """Counts the updates of a run from 1."""
    weights: bytes
    """Of each pair, float32 in little-endian order; 0 of one that does not count."""

    @classmethod
    def of(cls, generation: int, number: int, weights: NDArray[np.float32]) -> Update:
        """Return the update with weights of shape `(n_pairs,)`."""
        return cls(generation, number, np.ascontiguousarray(weights, "<f4").tobytes())

    @property
    def name(self) -> str:
        """The part that it is in a genome."""
        return f"u{self.generation}.{hashlib.sha256(self.content()).hexdigest()[:32]}"

    def array(self) -> NDArray[np.float32]:
        """Return the weights, shape `(n_pairs,)`, read-only."""
        return np.frombuffer(self.weights, "<f4")

    def content(self) -> bytes:
        """Return the content of its file."""
        return json.dumps(self.to_json()).encode() + b"\n"

    def to_json(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        weights = base64.b64encode(self.weights).decode()
        return {"generation": self.generation, "number": self.number, "weights": weights}

    @classmethod
    def from_json(cls, document: object) -> Update:
        """Return the update that `to_json` was asked for; raises `GenomeError` for anything else."""
        if isinstance(document, dict) and document.keys() == {"generation", "number", "weights"}:
            generation, number, weights = document["generation"], document["number"], document["weights"]
            if type(generation) is int and type(number) is int and generation >= 0 < number and type(weights) is str:
                try:
                    content = base64.b64decode(weights, validate=True)
                    if len(content) % 4 == 0 and np.isfinite(np.frombuffer(content, "<f4")).all():
                        return cls(generation, number, content)
                except binascii.Error:
                    pass
        raise GenomeError(f"expected an update with generation, number and weights, found {str(document)[:80]}")


@dataclass(frozen=True)
class Summands:
    """An update with the genes of its pairs, as a process needs it."""

    number: int
    genes: NDArray[np.int64]
    weights: NDArray[np.float32]


def update_path(folder: Path | str, name: str) -> Path:
    """Return the file of an update in the folder of a run's updates."""
    return Path(folder) / f"{name}.json"


def read_update(folder: Path | str, name: str) -> Update:
    """Return the update with this name; raises `GenomeError` where its file is missing or damaged."""
    path = update_path(folder, name)
    try:
        update = Update.from_json(json.loads(path.read_bytes()))
    except OSError as error:
        raise GenomeError(
            f"{path}: cannot read this update: {error.strerror}; all nodes must see the run directory"
        ) from None
    except (ValueError, RecursionError, GenomeError):
        raise GenomeError(f"{path}: damaged: expected the update {name}") from None
    if update.name != name:
        raise GenomeError(f"{path}: damaged: expected the update {name}, found {update.name}")
    return update


def summands_of(update: Update, genes_of: Callable[[int, int], NDArray[np.int64]]) -> Summands:
    """Return an update with its genes; `genes_of(generation, n_pairs)` says which these are."""
    weights = update.array()
    genes = genes_of(update.generation, len(weights))
    counts = np.flatnonzero(weights)
    return Summands(update.number, genes[counts], weights[counts])


def descend(
    vectors: NDArray[np.float32],
    updates: Sequence[Summands],
    noise: Noise,
    optimiser: Optimiser,
    first: int = 0,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Make updates one after the other, in place; `vectors` holds the columns from `first` of all vectors.

    `on_progress` is called now and then.
    """
    for begin in range(0, vectors.shape[1], _COLUMNS):
        block = vectors[:, begin : begin + _COLUMNS]
        for update in updates:
            on_progress()
            sums = noise_sum(noise, update.genes, update.weights, first + begin, block.shape[1])
            optimiser.step(block, -sums.astype(np.float32), update.number)
