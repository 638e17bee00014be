"""Genomes: indices ↔ text, and a child of a parent.

A genome is a tuple of indices into the noise table (Such et al. 2017, arXiv 1712.06567): the first initialises, each
later one mutates. `weights.py` turns genomes into parameters; this module needs no torch, so that masters and Dask
workers start without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gadask.errors import ConfigError, GenomeError
from gadask.genomes.seeding import draw_gene, draw_genes, draw_parent, draw_parents

Genome = tuple[int, ...]
"""Noise indices: the first initialises, each later one mutates."""


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
