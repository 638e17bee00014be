"""One generation: played, booked, selected from, and described; with what outlives a generation but not the run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.truncation import Elite, Population, Scored, advance, choose_candidates, mean_return
from gadask.config import Config, GAConfig
from gadask.dashboard.events import Event, generation_event, node_entry, progress_event
from gadask.dashboard.reporter import Reporter
from gadask.errors import EvolutionError
from gadask.genomes.genome import count_genes, draw_children
from gadask.master.books import Books
from gadask.master.budget import budget_share
from gadask.master.dispatch import Arrival, Dispatcher
from gadask.master.ledger import Heading, Ledger, Quota
from gadask.master.summary import Timing, log_line
from gadask.messages import Breeding, Kind, Task
from gadask.record.directory import State, episode_table
from gadask.tables import html_table


@dataclass(frozen=True)
class Generation:
    """A closed generation: where the run stands after it, and its line of the log."""

    number: int
    state: State
    elite: Elite | None
    """None in generation 0 with `elite_evaluation = "overlapped"`."""
    timing: Timing
    line: dict[str, Any]

    def _repr_html_(self) -> str:
        """Return a table of how it stands after this generation."""
        children = self.line["children"]
        best = children["quantiles"].get("1")
        rows: dict[str, object] = {
            "children": f"{children['n']}, best {best:,.6g}" if best is not None else "none",
            "frames of the run": f"{self.state.frames:,}",
            "wall time": f"{self.timing.wall_s:,.1f} s, {self.timing.busy_share:.0%} of it played",
        }
        rows |= {f"elite: {name}": value for name, value in self.elite.in_words().items()} if self.elite else {}
        return html_table(f"generation {self.number}", rows)


@dataclass(frozen=True)
class Progress:
    """Where a run stands in the middle of a generation."""

    generation: int
    n_counted: int
    n_wanted: int
    best: float
    """Best return of this generation so far, −inf before the first."""
    elite: Elite | None
    frames: int
    """Frames of the whole run so far."""
    elapsed_s: float
    """Wall time of evolution, over all restarts."""
    nodes: int
    processes: int


OnProgress = Callable[[Progress], None]
CoreHours = Callable[[], float]


class GenerationPlayer:
    """Plays one generation after another; holds what outlives a generation but not the run."""

    def __init__(
        self,
        config: Config,
        task: Task,
        dispatcher: Dispatcher,
        reporter: Reporter,
        on_progress: OnProgress | None,
        core_hours: CoreHours,
    ) -> None:
        """Play what `config` says on the dispatcher's nodes."""
        self._ga = config.ga
        self._budget = config.budget
        self._task = task
        self._dispatcher = dispatcher
        self._reporter = reporter
        self._on_progress = on_progress
        self._core_hours = core_hours
        self._charged_core_hours = 0.0
        self._n_genes = count_genes(task.noise.size, task.n_params)
        self._breedings: dict[int, Breeding] = {}
        self._kept: list[Arrival] = []
        self._uncounted: frozenset[int] = frozenset()
        self._began_at = time.monotonic()
        dispatcher.take_process_seconds()

    async def play_generation(self, state: State) -> tuple[Generation, Callable[[], Any]]:
        """Play the generation that `state` leads to; returns it and what makes the table of its episodes."""
        ga, population = self._ga, state.population
        number = population.generation
        normaliser = state.observations.normaliser()
        breeding = Breeding(number, population.parents, population.candidates, normaliser)
        self._breedings = {n: b for n, b in self._breedings.items() if n == number - 1} | {number: breeding}
        ledger = Ledger(quota_of(ga, population), len(population.candidates), self._uncounted)
        books = Books()

        kept, self._kept = self._kept, []
        for arrival in kept:
            self._book(ledger, books, arrival, state)
        await self._play(ledger, breeding, books, state)
        children = self._children(books)
        if ga.elite_evaluation == "barrier" and ga.candidates:
            await self._stop_late(number, Kind.CHILD)
            breeding = replace(breeding, candidates=choose_candidates(ga, population, children))
            ledger.add_candidates(len(breeding.candidates))
            await self._play(ledger, breeding, books, state)
        await self._stop_late(number, Kind.CHILD, Kind.EVALUATION)
        self._uncounted = ledger.uncounted_children

        evaluations = books.evaluations()
        after = advance(ga, population, children, evaluations)
        timing = self._timing(ledger)
        rows, headings = books.rows(), books.headings()
        line = log_line(breeding, rows, headings, children, evaluations, after.elite, ledger, timing)
        state = replace(
            state,
            population=after,
            frames=state.frames + ledger.frames,
            steps=state.steps + ledger.steps,
            episodes=state.episodes + line["episodes"],
            observations=state.observations.merged(books.moments()),
            elapsed_s=state.elapsed_s + timing.wall_s,
        )
        line["total"] = {"frames": state.frames, "steps": state.steps, "episodes": state.episodes}
        line["timing"]["elapsed_s"] = state.elapsed_s
        nodes = self._node_times(books, timing.wall_s)
        await self._reporter.send(generation_event(self._task.run_id, number, line, nodes))
        generation = Generation(number, state, after.elite, timing, line)
        return generation, functools.partial(self._table, books, rows, headings)

    async def _play(self, ledger: Ledger, breeding: Breeding, books: Books, state: State) -> None:
        async for arrivals in self._dispatcher.play(ledger, breeding):
            for arrival in arrivals:
                self._book(ledger, books, arrival, state)
            progress = self._progress(ledger, books, state)
            if self._on_progress is not None:
                self._on_progress(progress)
            await self._reporter.send_progress(lambda: self._progress_event(progress))  # noqa: B023 (called at once)

    def _book(self, ledger: Ledger, books: Books, arrival: Arrival, state: State) -> None:
        headings = ledger.add(arrival.rows.table)
        kept = headings == Heading.KEPT
        if kept.any():
            self._kept.append(arrival.where(kept))
        # Malformed rows are counted by the ledger and go nowhere; kept ones are recorded where they count.
        recorded = ~kept & (headings != Heading.MALFORMED)
        arrival, headings = arrival.where(recorded), headings[recorded]
        books.add(arrival, headings)
        if books.n_failed > self._ga.max_failed_share * ledger.n_wanted:
            reasons = sorted(set(filter(None, books.reasons())))
            raise EvolutionError(
                f"generation {ledger.quota.generation}: {books.n_failed} episodes failed, more than"
                f" ga.max_failed_share = {self._ga.max_failed_share:g} of {ledger.n_wanted}; the first reason:"
                f" {reasons[0] if reasons else 'a return that is not finite'}"
            )

    def _progress(self, ledger: Ledger, books: Books, state: State) -> Progress:
        return Progress(
            generation=ledger.quota.generation,
            n_counted=ledger.rows[Heading.COUNTED],
            n_wanted=ledger.n_wanted,
            best=books.best,
            elite=state.population.elite,
            frames=state.frames + ledger.frames,
            elapsed_s=state.elapsed_s + time.monotonic() - self._began_at,
            nodes=len(self._dispatcher.nodes),
            processes=self._dispatcher.n_processes,
        )

    def _progress_event(self, progress: Progress) -> Event:
        return progress_event(
            self._task.run_id,
            generation=progress.generation,
            n_counted=progress.n_counted,
            n_wanted=progress.n_wanted,
            best=progress.best,
            frames=progress.frames,
            elapsed_s=progress.elapsed_s,
            budget_share=budget_share(self._budget, progress.generation, progress.frames, progress.elapsed_s),
            nodes=progress.nodes,
            processes=progress.processes,
        )

    async def _stop_late(self, generation: int, *kinds: Kind) -> None:
        """End what was issued beyond the quota, where there can be any."""
        if self._ga.closing == "first":
            kept = {Kind.CHILD} if self._ga.late == "admit" else set()
            await self._dispatcher.close_generation(generation, tuple(kind for kind in kinds if kind not in kept))

    def _children(self, books: Books) -> list[Scored]:
        """Return the counted children that can be selected: those with all their episodes, none of them failed."""
        rows = books.selectable(Kind.CHILD)
        rows = rows[np.lexsort((rows["slot"], rows["generation"]))]
        generations, slots, returns = rows["generation"], rows["slot"], rows["return"].tolist()
        is_first = (np.diff(generations, prepend=-1) != 0) | (np.diff(slots, prepend=-1) != 0)
        begins = np.flatnonzero(is_first)  # where the rows of the next child begin
        n_episodes = self._ga.episodes_per_child
        whole = begins[np.diff(begins, append=len(rows)) == n_episodes]
        drawn = self._drawn(generations[whole], slots[whole])
        columns = (column.tolist() for column in (whole, generations[whole], slots[whole], *drawn))
        return [
            Scored(self._breedings[generation].parents[row] if row >= 0 else (), gene, mean, slot)
            for begin, generation, slot, row, gene in zip(*columns, strict=True)
            if (mean := mean_return(returns[begin : begin + n_episodes])) is not None
        ]

    def _drawn(
        self, generations: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the parent row and the gene of these children; −1 where a generation's parents are forgotten."""
        rows, genes = np.full(len(slots), -1), np.full(len(slots), -1)
        for number, breeding in self._breedings.items():
            here = generations == number
            rows[here], genes[here] = draw_children(
                self._task.run_seed, number, slots[here], breeding.parents, self._n_genes
            )
        return rows, genes

    def _timing(self, ledger: Ledger) -> Timing:
        now_s = time.monotonic()
        wall_s, self._began_at = now_s - self._began_at, now_s
        charged_before, self._charged_core_hours = self._charged_core_hours, self._core_hours()
        busy_s = ledger.seconds[Heading.COUNTED]
        return Timing(
            wall_s=wall_s,
            process_s=self._dispatcher.take_process_seconds(),
            busy_s=busy_s,
            discarded_s=ledger.seconds.total() - busy_s,
            nodes=len(self._dispatcher.nodes),
            processes=self._dispatcher.n_processes,
            core_hours=self._charged_core_hours - charged_before,
        )

    def _node_times(self, books: Books, wall_s: float) -> dict[str, Event]:
        """Return what this run had of the process time of each node."""
        busy_s, discarded_s = books.node_seconds()
        return {
            address: node_entry(info.host, info.n_processes, wall_s, busy_s[address], discarded_s[address])
            for address, info in self._dispatcher.nodes.items()
        }

    def _table(self, books: Books, rows: NDArray[np.void], headings: NDArray[np.uint8]) -> Any:
        parent, gene = np.full(len(rows), -1), np.full(len(rows), -1)
        are_children = rows["kind"] == Kind.CHILD
        parent[are_children], gene[are_children] = self._drawn(
            rows["generation"][are_children], rows["slot"][are_children]
        )
        counted = headings == Heading.COUNTED
        return episode_table(
            rows,
            parent=parent,
            gene=gene,
            node=books.nodes(),
            counted=counted,
            reason=books.reasons(),
            behaviour=books.behaviours() if self._task.n_behaviour else None,
        )


def quota_of(ga: GAConfig, population: Population) -> Quota:
    """Return what closes a generation played from `population`."""
    children = ga.population
    if ga.population_counts_evaluations:
        children -= len(population.candidates) * ga.candidate_episodes
    first = ga.closing == "first"
    return Quota(
        generation=population.generation,
        children=children,
        child_episodes=ga.episodes_per_child,
        episodes=ga.candidate_episodes,
        spare_episodes=ga.spare_episodes,
        first=first,
        admit=first and ga.late == "admit",
        min_steps=ga.min_steps,
    )
