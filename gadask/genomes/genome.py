"""Genomes: indices ↔ text, a child of a parent, and which ancestors' weights a node keeps.

A genome is a tuple of indices into the noise table (Such et al. 2017, arXiv 1712.06567): the first initialises, each
later one mutates. `weights.py` turns genomes into parameters; this module needs no torch, so that masters and Dask
workers start without it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from gadask.errors import ConfigError, GenomeError
from gadask.genomes.seeding import draw_gene, draw_genes, draw_parent, draw_parents
from gadask.messages import Decoding, Genome


def to_text(genome: Genome) -> str:
    """Return the indices joined by `-`, as in ga-dist's logs."""
    return "-".join(map(str, genome))


def from_text(text: str) -> Genome:
    """Return the genome of a text that `to_text` wrote, such as `"17-4042"`; raises `GenomeError` for anything else."""
    try:
        genome = tuple(int(part) for part in text.split("-"))
    except ValueError:
        genome = ()
    # `int` also takes signs, spaces, underscores and leading zeros; one genome has one text.
    if not genome or to_text(genome) != text:
        raise GenomeError(f"genome: expected noise indices joined by '-', such as '17-4042', found {text[:80]!r}")
    return genome


def count_genes(noise_size: int, n_params: int) -> int:
    """Return how many noise indices a genome can use: 0 … `noise_size − n_params`.

    Raises `ConfigError` where the table is shorter than the parameter vector.
    """
    if n_params > noise_size:
        raise ConfigError(f"noise.size: expected at least the policy's {n_params} parameters, found {noise_size}")
    return noise_size - n_params + 1


def draw_child(run_seed: int, generation: int, slot: int, parents: Sequence[Genome], n_genes: int) -> tuple[int, int]:
    """Return the parent row and the gene of the child in `slot`; the row is −1 in generation 0, without parents."""
    gene = draw_gene(run_seed, generation, slot, n_genes)
    if not parents:
        return -1, gene
    return draw_parent(run_seed, generation, slot, len(parents)), gene


def draw_children(
    run_seed: int, generation: int, slots: NDArray[np.int64], parents: Sequence[Genome], n_genes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `draw_child` does for each slot: parent rows, genes."""
    genes = draw_genes(run_seed, generation, slots, n_genes)
    if not parents:
        return np.full(len(slots), -1, np.int64), genes
    return draw_parents(run_seed, generation, slots, len(parents)), genes


class AncestorCache:
    """Which genome's weights stand in which row of a fixed number of rows; it plans and holds no weights.

    Invariants: a row belongs to at most one genome; a pinned genome keeps its row; a row that a planned decoding
    reads or writes is not given to another genome by the same plan; a plan that fails changes nothing.
    """

    def __init__(self, n_rows: int) -> None:
        """Start with `n_rows` empty rows."""
        self._free = list(range(n_rows - 1, -1, -1))  # the lowest row is used first, so that few pages are touched
        self._rows: dict[Genome, int] = {}  # least recently planned first
        self._pins: dict[Genome, int] = {}

    def __getitem__(self, genome: Genome) -> int:
        """Return the row of a genome that was planned before."""
        return self._rows[genome]

    def __contains__(self, genome: Genome) -> bool:
        return genome in self._rows

    def plan(self, wanted: Collection[Genome]) -> list[Decoding]:
        """Give each wanted genome a row and return the decodings that fill the new ones; they may run in any order.

        Raises `GenomeError` where wanted and pinned genomes and the ancestors to start from need more rows than there
        are.
        """
        missing = [genome for genome in dict.fromkeys(wanted) if genome not in self._rows]
        ancestors = {genome: self._longest_ancestor(genome) for genome in missing}
        protected = {*wanted, *self._pins, *filter(None, ancestors.values())}
        n_open = len(self._free) + len(self._rows.keys() - protected)
        if len(missing) > n_open:
            raise GenomeError(
                f"weights: expected room for {len(missing)} more genomes, found {n_open} of"
                f" {len(self._free) + len(self._rows)} rows that may be overwritten; unpin others first"
            )
        for genome in protected & self._rows.keys():
            self._rows[genome] = self._rows.pop(genome)  # now the most recently used
        decodings = []
        for genome in missing:
            ancestor = ancestors[genome]
            row = self._claim_row(protected)
            decodings.append(Decoding(genome, row, self._rows[ancestor] if ancestor else -1, len(ancestor)))
            self._rows[genome] = row
        return decodings

    @property
    def n_pinned(self) -> int:
        """Genomes that keep their rows."""
        return len(self._pins)

    def pin(self, genomes: Collection[Genome]) -> None:
        """Keep the rows of these genomes until `unpin` was called as often."""
        for genome in genomes:
            self._pins[genome] = self._pins.get(genome, 0) + 1

    def unpin(self, genomes: Collection[Genome]) -> None:
        """Take back one `pin` of each genome."""
        for genome in genomes:
            self._pins[genome] -= 1
            if not self._pins[genome]:
                del self._pins[genome]

    def forget(self, genomes: Collection[Genome]) -> None:
        """Free the rows of genomes whose decoding failed."""
        for genome in genomes:
            self._free.append(self._rows.pop(genome))

    def _longest_ancestor(self, genome: Genome) -> Genome:
        for length in range(len(genome) - 1, 0, -1):
            if genome[:length] in self._rows:
                return genome[:length]
        return ()

    def _claim_row(self, protected: Collection[Genome]) -> int:
        if self._free:
            return self._free.pop()
        return self._rows.pop(next(genome for genome in self._rows if genome not in protected))
