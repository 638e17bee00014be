"""Genomes: recipes for weights, as Python values, text and JSON.

A genome names a vector of parameters that never travels: an origin, and steps or updates that follow one after the
other.

| part | Python | text | what it does |
| --- | --- | --- | --- |
| origin | `17` | `17` | initial parameters, made from the noise at index 17 |
| origin | `"9f…"` | `@9f…` | an anchor: weights that are stored as numbers, by their digest; see `anchors` |
| step | `4042` | `4042` | adds the noise at index 4042, times the *step weight* of the run, its mutation power |
| step | `(88, -0.01)` | `88*-0.01` | adds the noise at index 88, times −0.01 |
| update | `"u3.5e…"` | `u3.5e…` | moves along a weighted sum of noise, as an optimiser says; see `updates` |

So a genome of the genetic algorithm is a tuple of noise indices (Such et al. 2017, arXiv 1712.06567). In text, parts
are joined by `-`, as in ga-dist's logs: `17-4042-88*-0.01`. `weights.py` turns genomes into parameters; this module
needs no torch, so that masters and Dask workers start without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gadask.errors import ConfigError, GenomeError
from gadask.genomes.seeding import draw_genes, draw_parents

Step = int | tuple[int, float]
"""A gene, which is a noise index, or a gene and the weight that its noise is given."""
Part = Step | str
Genome = tuple[Part, ...]
"""An origin (`int`, or an anchor's `str`), and steps and updates (`str`) after it."""

_ANCHOR = re.compile(r"[0-9a-f]{32}")
_UPDATE = re.compile(r"u\d{1,19}\.[0-9a-f]{32}")
_JOINT = re.compile(r"(?<![*E])-")  # and not the sign of a weight or of its exponent
_LARGEST_GENE = 2**63 - 1


def to_text(genome: Genome) -> str:
    """Return the parts joined by `-`."""
    return "-".join(map(_part_to_text, genome))


def from_text(text: str) -> Genome:
    """Return the genome of a text that `to_text` wrote, such as `"17-4042"`; raises `GenomeError` for anything else."""
    try:
        genome = tuple(map(_part_from_text, split_text(text)))
    except ValueError:
        genome = ()
    # `int` also takes signs, spaces, underscores and leading zeros; one genome has one text.
    if not _is_genome(genome) or to_text(genome) != text:
        raise GenomeError(f"genome: expected noise indices joined by '-', such as '17-4042', found {text[:80]!r}")
    return genome


def split_text(text: str) -> list[str]:
    """Return the texts of a genome's parts, which joined by `-` give `text`."""
    return _JOINT.split(text) if "*" in text else text.split("-")


def to_json(genome: Genome) -> list[object]:
    """Return the genome as JSON holds it: integers, texts, and lists of gene and weight."""
    return [list(part) if isinstance(part, tuple) else part for part in genome]


def from_json(document: object) -> Genome:
    """Return the genome that `to_json` was given; raises `GenomeError` for anything else."""
    parts = document if isinstance(document, list) else []
    genome = tuple(tuple(part) if isinstance(part, list) else part for part in parts)
    if not _is_genome(genome):
        raise GenomeError(f"expected a list of noise indices, found {str(document)[:80]}")
    return genome


def is_update(part: Part) -> bool:
    """Whether a part of a genome is an update."""
    return isinstance(part, str) and part.startswith("u")


def stored_parts(genome: Genome) -> tuple[str, ...]:
    """Return the parts whose content lies in the run directory: anchors and updates."""
    return tuple(part for part in genome if isinstance(part, str))


def step(gene: int, weight: float, step_weight: float) -> Step:
    """Return the step that adds a gene's noise with `weight`, where steps without one have `step_weight`."""
    return gene if weight == step_weight else (gene, weight)


def unfold(step: Step, step_weight: float) -> tuple[int, float]:
    """Return a step's gene and weight."""
    return step if isinstance(step, tuple) else (step, step_weight)


def count_genes(noise_size: int, n_params: int) -> int:
    """Return how many noise indices a genome can use: 0 … `noise_size − n_params`.

    Raises `ConfigError` where the table is shorter than the parameter vector.
    """
    if n_params > noise_size:
        raise ConfigError(f"noise.size: expected at least the policy's {n_params} parameters, found {noise_size}")
    return noise_size - n_params + 1


def draw_children(
    run_seed: int, generation: int, slots: NDArray[np.int64], n_parents: int, n_genes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the parent row and the gene of the child in each slot, both uniform; all rows are −1 without parents."""
    genes = draw_genes(run_seed, generation, slots, n_genes)
    if not n_parents:
        return np.full(len(slots), -1, np.int64), genes
    return draw_parents(run_seed, generation, slots, n_parents), genes


def check_genes(genome: Genome, n_genes: int) -> None:
    """Raise `GenomeError` where a noise index is beyond those that a genome can use."""
    for part in genome:
        gene = part[0] if isinstance(part, tuple) else part
        if isinstance(gene, int) and gene >= n_genes:
            raise GenomeError(f"genome: expected noise indices below {n_genes}, found {gene}")


def _part_to_text(part: Part) -> str:
    if isinstance(part, tuple):
        return f"{part[0]}*{part[1]!r}".replace("e", "E")
    return f"@{part}" if isinstance(part, str) and not is_update(part) else str(part)


def _part_from_text(text: str) -> Part:
    if text.startswith(("@", "u")):
        return text.removeprefix("@")
    gene, star, weight = text.partition("*")
    return (int(gene), float(weight)) if star else int(gene)


def _is_genome(parts: Sequence[object]) -> bool:
    """Whether these are an origin and steps."""
    origin, *steps = parts or ("",)
    is_origin = _ANCHOR.fullmatch(origin) is not None if isinstance(origin, str) else _is_gene(origin)
    return is_origin and all(map(_is_step, steps))


def _is_step(part: object) -> bool:
    if isinstance(part, str):
        return _UPDATE.fullmatch(part) is not None
    if not isinstance(part, tuple):
        return _is_gene(part)
    return len(part) == 2 and _is_gene(part[0]) and type(part[1]) is float and math.isfinite(part[1])


def _is_gene(part: object) -> bool:
    return type(part) is int and 0 <= part <= _LARGEST_GENE
