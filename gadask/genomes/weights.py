"""From genomes to parameters: the noise trick itself.

A genome's first index gives the initial parameters, `initialise(noise[g0 : g0 + n_params])`; each later one adds
`mutation_power × noise[g : g + n_params]` (Such et al. 2017, arXiv 1712.06567). Additions are made one after the other
in genome order, so decoding from an ancestor's weights gives the same bits as decoding from the start.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.errors import GenomeError
from gadask.genomes.genome import Genome
from gadask.genomes.noise import Noise

with warnings.catch_warnings():
    # PyTorch has no read-only tensors and says so, once a process; noise is only ever an operand.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    torch.from_numpy(np.frombuffer(bytes(4), np.float32))


def as_tensor(samples: NDArray[np.float32]) -> torch.Tensor:
    """Return a tensor over the same memory; it must not be written to where the array is read-only."""
    return torch.from_numpy(samples)


def mutate(out: torch.Tensor, parent: torch.Tensor, noise: Noise, gene: int, mutation_power: float) -> None:
    """Write `parent + mutation_power × noise[gene : gene + n_params]` to `out`, shape `(n_params,)`, in one pass."""
    torch.add(parent, as_tensor(noise.slice(gene, out.numel())), alpha=mutation_power, out=out)


def decode(
    out: torch.Tensor,
    genes: Genome,
    noise: Noise,
    initialise: Callable[[torch.Tensor], torch.Tensor],
    mutation_power: float,
    ancestor: torch.Tensor | None = None,
) -> None:
    """Write a genome's parameters to `out`, float32, shape `(n_params,)`.

    `initialise(noise)` returns the initial parameters made from the first gene's noise, in a vector that may be `out`.
    With the weights of an `ancestor`, `genes` are those that follow its own.
    """
    if ancestor is None:
        if not genes:
            raise GenomeError("a genome needs at least one noise index, found none")
        initial = initialise(as_tensor(noise.slice(genes[0], out.numel())))
        if initial.data_ptr() != out.data_ptr():
            out.copy_(initial)
    elif genes:
        mutate(out, ancestor, noise, genes[0], mutation_power)
    else:
        out.copy_(ancestor)
    for gene in genes[1:]:
        mutate(out, out, noise, gene, mutation_power)
