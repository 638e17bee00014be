"""Genomes as tests put them together."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from gadask.algorithms.algorithm import Scored
from gadask.genomes.genome import Genome
from gadask.genomes.seeding import draw_gene, draw_parent

GENES = st.integers(0, 2**63 - 1)
STEPS = GENES | st.tuples(GENES, st.floats(allow_nan=False, allow_infinity=False))
ORIGINS = GENES | st.text("0123456789abcdef", min_size=32, max_size=32)
GENOMES = st.builds(lambda origin, steps: (origin, *steps), ORIGINS, st.lists(STEPS, max_size=30))
"""Of all parts that there are."""


def draw_child(run_seed: int, generation: int, slot: int, parents: Sequence[Genome], n_genes: int) -> tuple[int, int]:
    """Return the parent row and the gene of one child, as `draw_children` does; the row is −1 without parents."""
    gene = draw_gene(run_seed, generation, slot, n_genes)
    return (draw_parent(run_seed, generation, slot, len(parents)) if parents else -1), gene


def child_genome(parents: Sequence[Genome], row: int, gene: int) -> Genome:
    """Return the genome of a child as `draw_child` drew it."""
    return (gene,) if row < 0 else (*parents[row], gene)


def scored(genome: Genome, fitness: float, slot: int) -> Scored:
    """Return a child with this genome."""
    *base, step = genome
    assert not isinstance(step, str)
    return Scored(tuple(base), step, fitness, slot)
