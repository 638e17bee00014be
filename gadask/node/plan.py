"""What the episodes of a chunk start from: weights that a node has, and a gene that is added to them."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter

import numpy as np

from gadask.genomes.genome import Genome, count_genes, draw_child, draw_children
from gadask.messages import Breeding, Chunk, Kind, Task
from gadask.node.jobs import PlannedEpisode


def weights_needed(task: Task, breeding: Breeding, chunk: Chunk) -> tuple[list[Genome], list[Genome]]:
    """Return the genomes whose weights are to be there, each once: for the generation's chunks, and for this one."""
    if chunk.kind is Kind.CHILD:
        slots = np.unique([slot for slot, _ in chunk.episodes])
        n_genes = count_genes(task.noise.size, task.n_params)
        rows, _ = draw_children(task.run_seed, chunk.generation, slots, breeding.parents, n_genes)
        used = [breeding.parents[row] for row in np.unique(rows).tolist() if row >= 0]
        return list(dict.fromkeys(breeding.parents)), list(dict.fromkeys(used))
    bases = []
    for slot in {slot for slot, _ in chunk.episodes}:
        candidate = breeding.candidates[slot]
        if candidate not in breeding.parents and candidate[:-1] in breeding.parents:
            bases.append(candidate[:-1])
        elif candidate in breeding.parents or len(candidate) > 1:
            bases.append(candidate)
    bases = list(dict.fromkeys(bases))
    return bases, bases


def plan_episodes(task: Task, breeding: Breeding, chunk: Chunk, rows_of: dict[Genome, int]) -> list[PlannedEpisode]:
    """Say for each episode which row of weights it starts from and which gene it adds."""
    planned: list[PlannedEpisode] = []
    if chunk.kind is Kind.CHILD:
        n_genes = count_genes(task.noise.size, task.n_params)
        for slot, episodes in groupby(chunk.episodes, itemgetter(0)):  # in slot order
            parent, gene = draw_child(task.run_seed, chunk.generation, slot, breeding.parents, n_genes)
            row = -1 if parent < 0 else rows_of[breeding.parents[parent]]
            planned.extend(PlannedEpisode(slot, episode, row, gene) for _, episode in episodes)
        return planned
    for slot, episode in chunk.episodes:
        candidate = breeding.candidates[slot]
        if candidate in rows_of:
            planned.append(PlannedEpisode(slot, episode, rows_of[candidate], -1))
        else:  # a genome of one gene is made from noise alone
            planned.append(PlannedEpisode(slot, episode, rows_of.get(candidate[:-1], -1), candidate[-1]))
    return planned
