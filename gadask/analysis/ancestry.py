"""Who descends from whom: the genomes that were ever parent, candidate or elite of a run, as a family tree.

Every genome is born as a child, from one parent, in one generation; founders have no parent. The log names genomes by
their texts; a child's genome is its parent's with one part added, so that the tree follows from the texts alone. What a
genome scored comes from the episodes, if there are any.

Parents of a generation share an ancestor once all but one of the founders' lines, or of a later genome's, have died
out: `common_ancestors` says when that ancestor was born.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gadask.algorithms import make_algorithm
from gadask.genomes.genome import Genome, split_text, to_text
from gadask.record.directory import read_generations, read_run

NONE = -1
"""Stands for no parent, no slot, no generation."""

EPISODE_COLUMNS = ("generation", "kind", "slot", "parent", "gene", "weight", "return", "steps", "status", "counted")
"""Columns of `gadask.record.frames.episode_frame` that a tree needs."""


@dataclass(frozen=True)
class Lineage:
    """The family of a run's parents, candidates and elites."""

    genomes: pd.DataFrame
    """One row per genome, in order of birth; the index counts from 0. Columns: `parent` (its index, −1 for none),
    `born` (generation in which it was a child, or that a founder was first part of), `part` (text of its last part, of
    a founder its whole text), `length` (number of its parts); `score` and `steps` (return and length of its episode as
    a child, means of several; NaN where it is not known), `mean`, `evaluations` and `evaluation_steps` (mean in the
    log, number and mean length of all its evaluation episodes whose mean is known); `last_parent` (last generation
    whose children it had, −1 for none), `first_elite` and `last_elite` (−1 for never)."""
    parents: list[list[int]]
    """Of each generation the rows of its children's parents; one entry more than closed generations."""
    elites: list[int]
    """Of each closed generation the row of the elite; −1 for none."""


def read_lineage(run_dir: Path | str, episodes: pd.DataFrame) -> Lineage:
    """Return the family of a run.

    `episodes` needs `EPISODE_COLUMNS` and `recorded_in`; it may be empty, scores are then NaN.

    Raises:
        RunDirectoryError: there is no run.
        RecordError: the run directory is damaged.
    """
    config, state = read_run(run_dir)
    algorithm = make_algorithm(config)
    parents = algorithm.bases(algorithm.from_json(state.algorithm)) if state.algorithm else ()
    return trace(read_generations(run_dir), state.generation + 1, parents, episodes, algorithm.step_weight)


def trace(
    lines: Iterable[dict[str, Any]],
    to_come: int,
    parents: Sequence[Genome],
    episodes: pd.DataFrame,
    step_weight: float,
) -> Lineage:
    """Return the family that the log's `lines` tell of, and the `parents` of the generation `to_come`.

    These are left out where the log has gone on since they were stored. `step_weight` is that of steps that name none.
    """
    tracer = _Tracer(_Births(episodes, step_weight), _Evaluations(episodes))
    for line in lines:
        tracer.add(line)
    is_next = to_come == len(tracer.elites)
    return tracer.finish([to_text(genome) for genome in parents] if is_next else [])


def ancestors(genomes: pd.DataFrame, of: Iterable[int]) -> set[int]:
    """Return the rows of these genomes and all their ancestors; `genomes` needs the column `parent`."""
    parent = genomes["parent"].tolist()
    found: set[int] = set()
    for row in of:
        while row != NONE and row not in found:
            found.add(row)
            row = parent[row]
    return found


def common_ancestor(parent: Sequence[int], of: Iterable[int]) -> int:
    """Return the row of the youngest genome that all of these descend from or are; −1 for none.

    `parent[row]` is a row's parent, always an earlier row.
    """
    youngest_first = [-row for row in set(of)]
    heapq.heapify(youngest_first)
    while len(youngest_first) > 1:
        above = parent[-heapq.heappop(youngest_first)]
        if above == NONE:
            return NONE
        if -above not in youngest_first:
            heapq.heappush(youngest_first, -above)
    return -youngest_first[0] if youngest_first else NONE


def common_ancestors(lineage: Lineage) -> pd.DataFrame:
    """Return when the youngest common ancestor of each generation's parents was born.

    Columns: `generation`; `born`, NaN where the parents have no common ancestor; `back`, how many generations ago it
    was born. Generation 0 has no parents and no row.
    """
    parent, born = lineage.genomes["parent"].tolist(), lineage.genomes["born"].tolist()
    rows = []
    for generation, parents in enumerate(lineage.parents):
        if parents:
            row = common_ancestor(parent, parents)
            rows.append((generation, math.nan if row == NONE else born[row]))
    frame = pd.DataFrame(rows, columns=["generation", "born"]).astype({"born": np.float64})
    return frame.assign(back=frame["generation"] - frame["born"])


def genome_text(genomes: pd.DataFrame, row: int) -> str:
    """Return a genome as text; `genomes` needs the columns `parent` and `part`."""
    parent, part = genomes["parent"].tolist(), genomes["part"].tolist()
    parts: list[str] = []
    while row != NONE:
        parts.append(part[row])
        row = parent[row]
    return "-".join(reversed(parts))


@dataclass
class _Genome:
    parent: int
    born: int
    part: str
    length: int
    score: float = math.nan
    steps: float = math.nan
    evaluations: int = 0
    return_sum: float = 0.0
    step_sum: float = 0.0
    last_parent: int = NONE
    first_elite: int = NONE
    last_elite: int = NONE


class _Births:
    """Finds the episodes that a genome played as a child."""

    def __init__(self, episodes: pd.DataFrame, step_weight: float) -> None:
        self._step_weight = step_weight
        self._children = {}
        if len(episodes):
            own = episodes[(episodes["kind"] == "child") & episodes["counted"] & (episodes["status"] == "ok")]
            if "weight" not in own:
                own = own.assign(weight=math.nan)
            self._children = {
                generation: tuple(part[name].to_numpy() for name in ("parent", "gene", "weight", "return", "steps"))
                for generation, part in own.groupby("generation")
            }

    def find(self, generation: int, parent_rows: Sequence[int], part: str) -> tuple[float, float] | None:
        """Return mean return and length of the child of one of these parents whose last part this is; None for none.

        Without `parent_rows` it is a new network, whose weight means nothing.
        """
        if generation not in self._children or part.startswith(("@", "u")):
            return None
        gene, _, weight = part.partition("*")
        parent, genes, weights, returns, steps = self._children[generation]
        own = np.flatnonzero(genes == int(gene))
        own = own[np.isin(parent[own], parent_rows or NONE)]
        if parent_rows:  # a mirrored pair has one gene and two weights; files of earlier versions have no weights
            expected = float(weight) if weight else self._step_weight
            own = own[(weights[own] == expected) | np.isnan(weights[own])]
        return (float(returns[own].mean()), float(steps[own].mean())) if len(own) else None


class _Evaluations:
    """Mean length of a candidate's evaluation episodes in one generation."""

    def __init__(self, episodes: pd.DataFrame) -> None:
        self._steps: dict[tuple[int, int], float] = {}
        if len(episodes):
            own = episodes[(episodes["kind"] == "evaluation") & episodes["counted"] & (episodes["status"] == "ok")]
            self._steps = own.groupby(["recorded_in", "slot"])["steps"].mean().to_dict()

    def mean_steps(self, generation: int, slot: int) -> float:
        return self._steps.get((generation, slot), math.nan)


@dataclass
class _Tracer:
    """Reads the log line by line. Texts grow with the run, so only those of the last generations are kept."""

    births: _Births
    evaluations: _Evaluations
    genomes: list[_Genome] = field(default_factory=list)
    parents: list[list[int]] = field(default_factory=list)
    elites: list[int] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    """Rows of the genomes that the last three lines name: an admitted child's parent is that old."""
    named: list[dict[str, int]] = field(default_factory=list)
    rows: dict[int, dict[int, list[int]]] = field(default_factory=dict)
    """Of the last generations: genome → its places in the list of parents."""

    def add(self, line: dict[str, Any]) -> None:
        generation = line["generation"]
        self._name_parents(generation, line["parents"])
        for slot, candidate in enumerate(line["candidates"]):
            genome = self.genomes[self._row(candidate["genome"], generation)]
            if candidate["mean"] is not None:  # none where all episodes failed, or what one was worth is not finite
                genome.evaluations += candidate["episodes"]
                genome.return_sum += candidate["mean"] * candidate["episodes"]
                genome.step_sum += self.evaluations.mean_steps(generation, slot) * candidate["episodes"]
        elite = line["elite"] and self._row(line["elite"]["genome"], generation)
        self.elites.append(NONE if elite is None else elite)
        if elite is not None:
            genome = self.genomes[elite]
            genome.last_elite = generation
            genome.first_elite = generation if genome.first_elite == NONE else genome.first_elite

    def finish(self, next_parents: Sequence[str]) -> Lineage:
        self._name_parents(len(self.parents), next_parents, are_played=False)
        table = pd.DataFrame([vars(genome) for genome in self.genomes], columns=list(_Genome.__annotations__))
        n = table["evaluations"].where(table["evaluations"] > 0)
        table = table.assign(mean=table["return_sum"] / n, evaluation_steps=table["step_sum"] / n)
        return Lineage(table.drop(columns=["return_sum", "step_sum"]), self.parents, self.elites)

    def _name_parents(self, generation: int, texts: Sequence[str], are_played: bool = True) -> None:
        """Take over the parents of a generation; genomes of which nobody speaks any more are forgotten."""
        self.named = [*self.named[-2:], {}]
        self.known = {text: row for named in self.named for text, row in named.items()}
        rows = [self._row(text, generation - 1) for text in texts]
        self.parents.append(rows)
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(row, []).append(place)
            if are_played:
                self.genomes[row].last_parent = generation
        self.rows = {n: p for n, p in self.rows.items() if n >= generation - 2} | {generation: places}

    def _row(self, text: str, latest: int) -> int:
        """Return a genome's row; a new one was born in generation `latest`, or the one before."""
        row = self.known.get(text)
        if row is None:
            row = len(self.genomes)
            self.genomes.append(self._born(text, latest))
        self.named[-1][text] = self.known[text] = row
        return row

    def _born(self, text: str, latest: int) -> _Genome:
        *before, last = split_text(text)
        parent = self.known.get("-".join(before), NONE)
        is_founder = parent == NONE
        part, length = (text, len(before) + 1) if is_founder else (last, self.genomes[parent].length + 1)
        is_network = is_founder and not before and not last.startswith("@")
        for generation in (latest, latest - 1):
            places = self.rows.get(generation, {}).get(parent, [])
            if (is_network or places) and (found := self.births.find(generation, places, last)) is not None:
                return _Genome(parent, generation, part, length, *found)
        # Networks without episodes are those of generation 0; a base that no child was begins with its children.
        return _Genome(parent, 0 if is_network else max(latest, 0), part, length)
