"""What the episodes of a chunk start from: weights that a node has, and a step that is added to them.

And how the processes of a node share the work of decoding these weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np

from gadask.algorithms.algorithm import Brood, moving
from gadask.errors import GenomeError, NodeError
from gadask.genomes.genome import Genome, unfold
from gadask.genomes.stored import read_updates
from gadask.messages import Chunk, Kind, Task
from gadask.node.ancestors import Decoding
from gadask.node.jobs import DecodeJob, PlannedEpisode

_NEW = -1  # a row of a new network, made from noise alone
_NO_GENE = -1  # of a genome that is played as it is


@dataclass(frozen=True)
class Recipe:
    """What a slot's weights are made from: those of `base`, unless it is empty, and a step."""

    base: Genome
    gene: int
    weight: float


def plan_slots(task: Task, brood: Brood, chunk: Chunk) -> dict[int, Recipe]:
    """Return what the weights of each slot of a chunk are made from."""
    slots = sorted({slot for slot, _ in chunk.episodes})
    if chunk.kind is not Kind.CHILD:
        return {slot: _of_candidate(task, brood, brood.candidates[slot]) for slot in slots}
    children = task.algorithm.children(brood, np.array(slots), task.n_genes)
    drawn = zip(slots, *(column.tolist() for column in children), strict=True)
    return {slot: Recipe(brood.bases[row] if row >= 0 else (), gene, weight) for slot, row, gene, weight in drawn}


def weights_needed(brood: Brood, chunk: Chunk, slots: dict[int, Recipe]) -> tuple[list[Genome], list[Genome]]:
    """Return the genomes whose weights are to be there, each once: for the generation's chunks, and for this one."""
    used = list(dict.fromkeys(one.base for one in slots.values() if one.base))
    return (list(dict.fromkeys(brood.bases)) if chunk.kind is Kind.CHILD else used), used


def plan_episodes(chunk: Chunk, slots: dict[int, Recipe], rows_of: dict[Genome, int]) -> list[PlannedEpisode]:
    """Say for each episode which row of weights it starts from and which step it adds."""
    planned: list[PlannedEpisode] = []
    for slot, episodes in groupby(chunk.episodes, itemgetter(0)):  # in slot order
        one = slots[slot]
        row = rows_of[one.base] if one.base else _NEW
        planned.extend(PlannedEpisode(slot, episode, row, one.gene, one.weight) for _, episode in episodes)
    return planned


def decode_jobs(task: Task, number: int, decoding: Decoding, n_processes: int) -> list[DecodeJob]:
    """Return the jobs that fill a row: one, or with updates one a process, each with a share of the columns.

    Raises `NodeError` where an update cannot be read.
    """
    job = DecodeJob(number, decoding.row, decoding.ancestor_row, decoding.missing_parts)
    moves = moving(task.algorithm)
    if moves is None:
        return [job]
    genes_of = partial(moves.update_genes, n_genes=task.n_genes)
    try:
        updates = read_updates(task.run_dir, job.parts, genes_of)
    except GenomeError as error:
        raise NodeError(f"cannot decode a genome: {error}") from None
    bounds = np.linspace(0, task.n_params, n_processes + 1).astype(int).tolist()
    shares = [(first, end) for first, end in pairwise(bounds) if end > first]
    return [replace(job, updates=updates, columns=columns) for columns in shares]


def _of_candidate(task: Task, brood: Brood, candidate: Genome) -> Recipe:
    """Return a candidate's recipe: a base that nodes hold for children too, where it is one or a child of one."""
    *before, last = candidate
    if candidate not in brood.bases:
        if not before and isinstance(last, int):
            return Recipe((), last, 0.0)
        if tuple(before) in brood.bases and not isinstance(last, str):
            return Recipe(tuple(before), *unfold(last, task.algorithm.step_weight))
    return Recipe(candidate, _NO_GENE, 0.0)
