"""Genomes as tests put them together."""

from __future__ import annotations

from collections.abc import Sequence

from gadask.algorithms.truncation import Scored
from gadask.genomes.genome import Genome


def child_genome(parents: Sequence[Genome], row: int, gene: int) -> Genome:
    """Return the genome of a child as `gadask.genomes.genome.draw_child` drew it."""
    return (gene,) if row < 0 else (*parents[row], gene)


def scored(genome: Genome, fitness: float, slot: int) -> Scored:
    """Return a child with this genome."""
    return Scored(genome[:-1], genome[-1], fitness, slot)
