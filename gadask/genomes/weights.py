"""From genomes to parameters: the noise trick itself.

A genome's origin gives the first parameters: `initialise(noise[g : g + n_params])` of its noise index, or an anchor's.
Each step then adds `weight × noise[g : g + n_params]` (Such et al. 2017, arXiv 1712.06567, where all weights are the
mutation power). Additions are made one after the other in genome order, so decoding from an ancestor's weights gives
the same bits as decoding from the start. Updates are made likewise, by `decode_vectors`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from gadask.errors import GenomeError
from gadask.genomes.genome import Genome, is_update, unfold
from gadask.genomes.noise import Noise
from gadask.genomes.optimisers import Optimiser
from gadask.genomes.updates import Summands, descend

with warnings.catch_warnings():
    # PyTorch has no read-only tensors and says so, once a process; noise is only ever an operand.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    torch.from_numpy(np.frombuffer(bytes(4), np.float32))


def as_tensor(samples: NDArray[np.float32]) -> torch.Tensor:
    """Return a tensor over the same memory; it must not be written to where the array is read-only."""
    return torch.from_numpy(samples)


def mutate(out: torch.Tensor, parent: torch.Tensor, noise: Noise, gene: int, weight: float) -> None:
    """Write `parent + weight × noise[gene : gene + n_params]` to `out`, shape `(n_params,)`, in one pass."""
    torch.add(parent, as_tensor(noise.slice(gene, out.numel())), alpha=weight, out=out)


def decode(
    out: torch.Tensor,
    parts: Genome,
    noise: Noise,
    initialise: Callable[[torch.Tensor], torch.Tensor],
    step_weight: float,
    ancestor: torch.Tensor | None = None,
    *,
    anchor: Callable[[str], NDArray[np.float32]] | None = None,
) -> None:
    """Write a genome's parameters to `out`, float32, shape `(n_params,)`.

    `initialise(noise)` returns the initial parameters made from the first gene's noise, in a vector that may be `out`.
    `step_weight` is that of steps that name none. With the weights of an `ancestor`, `parts` are the steps that follow
    its own. `anchor(digest)` returns an anchor's weights. Raises `GenomeError` if there is nothing to begin with.
    """
    steps = parts if ancestor is not None else parts[1:]
    if ancestor is None:
        origin = parts[0] if parts else ()
        if isinstance(origin, int):
            initial = initialise(as_tensor(noise.slice(origin, out.numel())))
        elif isinstance(origin, str) and anchor is not None:
            initial = torch.from_numpy(anchor(origin))
        else:
            raise GenomeError(f"genome: expected a noise index or an available anchor first, found {origin!r}")
        if initial.data_ptr() != out.data_ptr():
            out.copy_(initial)
    elif not steps:
        out.copy_(ancestor)
    before = out if ancestor is None else ancestor
    for step in steps:
        if isinstance(step, str):
            raise GenomeError(f"expected a step after the first part, found {step}")
        mutate(out, before, noise, *unfold(step, step_weight))
        before = out


def decode_vectors(
    out: NDArray[np.float32],
    parts: Genome,
    noise: Noise,
    initialise: Callable[[torch.Tensor], torch.Tensor],
    step_weight: float,
    optimiser: Optimiser,
    updates: Mapping[str, Summands],
    ancestor: NDArray[np.float32] | None = None,
    *,
    anchor: Callable[[str], NDArray[np.float32]],
    columns: tuple[int, int] | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> None:
    """Write columns of the vectors of a genome that may have updates to `out`, shape `(1 + n_vectors, n_params)`.

    As `decode` does, but for `columns`, first and end, by default all; others are left alone. `ancestor` has the shape
    of `out`, and so has what `anchor(digest)` returns. `on_progress` is called now and then. A call that was broken off
    may be made again.
    """
    n_params = out.shape[1]
    first, end = columns or (0, n_params)
    if ancestor is not None:
        block = ancestor[:, first:end].copy()
    elif parts and isinstance(parts[0], str) and not is_update(parts[0]):
        block, parts = anchor(parts[0])[:, first:end].copy(), parts[1:]
    else:
        initial = torch.empty(n_params)
        decode(initial, parts[:1], noise, initialise, step_weight)
        block, parts = np.zeros((len(out), end - first), np.float32), parts[1:]
        block[0] = initial.numpy()[first:end]
    pending: list[Summands] = []
    for part in (*parts, None):
        if isinstance(part, str):
            pending.append(updates[part])
            continue
        descend(block, pending, noise, optimiser, first, on_progress)
        pending.clear()
        if part is not None:
            gene, weight = unfold(part, step_weight)
            parameters = torch.from_numpy(block[0])
            torch.add(parameters, as_tensor(noise.slice(gene + first, end - first)), alpha=weight, out=parameters)
    out[:, first:end] = block
