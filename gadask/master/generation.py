"""One generation: played, booked, selected from, and described; with what outlives a generation but not the run."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood, Closed, Elite, Json, Scored, archived, described, n_candidates
from gadask.config import Config, GenerationConfig
from gadask.dashboard.events import Event, generation_event, node_entry, progress_event
from gadask.dashboard.reporter import Reporter
from gadask.errors import EvolutionError
from gadask.genomes.genome import Genome
from gadask.master.books import Books
from gadask.master.budget import budget_share, time_left_s
from gadask.master.dispatch import Arrival, Dispatcher
from gadask.master.fitness import Fitness
from gadask.master.ledger import Heading, Ledger, Quota
from gadask.master.scores import Nursery, evaluated
from gadask.master.starts import Result, Starts
from gadask.master.summary import Timing, behaviours_of, log_line
from gadask.messages import Kind, Task
from gadask.record.directory import State, episode_table
from gadask.tables import html_table
from gadask.threads import in_thread
from gadask.units import many


@dataclass(frozen=True, repr=False)
class Generation:
    """A closed generation: where the run stands after it, and its line of the log."""

    number: int
    state: State
    elite: Elite | None
    """None in generation 0 with `elite_evaluation = "overlapped"`."""
    timing: Timing
    line: dict[str, Any]

    def __repr__(self) -> str:
        elite = f", elite {self.elite.mean:,.6g}" if self.elite else ""
        return f"<generation {self.number}: {self.state.frames:,} frames of the run{elite}>"

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
    """Episodes that close this generation, those of candidates that are still to be nominated included."""
    best: float
    """Best return of this generation so far, −inf before the first."""
    elite: Elite | None
    frames: int
    """Frames of the whole run so far, whether they were played or filled in."""
    frames_played: int
    """Frames that were played since the run was started, or was resumed."""
    elapsed_s: float
    """Wall time of evolution, over all restarts."""
    nodes: int
    processes: int

    @property
    def generations(self) -> float:
        """Generations that are played, the part of this one included."""
        return self.generation + (min(1.0, self.n_counted / self.n_wanted) if self.n_wanted else 0.0)


OnProgress = Callable[[Progress], None]
CoreHours = Callable[[], float]
Settled = Callable[[Brood, Any], Awaitable[Any]]
"""Returns an algorithm's state, after a brood, once the run directory holds what its genomes name."""


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
        settled: Settled,
    ) -> None:
        """Play what `config` says on the dispatcher's nodes; `settled` is asked for each state that `tell` returns."""
        self._settings = config.generation
        self._budget = config.budget
        self._task = task
        self._dispatcher = dispatcher
        self._reporter = reporter
        self._on_progress = on_progress
        self._core_hours = core_hours
        self._settled = settled
        self._charged_core_hours = 0.0
        self._algorithm = task.algorithm
        self._fitness = Fitness(config)
        self._live: tuple[Json, Any] | None = None
        self._nursery = Nursery(task.algorithm, task.n_genes, {})
        self._known: dict[Genome, dict[int, Result]] = {}
        self._kept: list[Arrival] = []
        self._uncounted: frozenset[int] = frozenset()
        self._frames_played = 0
        self._began_at = time.monotonic()
        dispatcher.take_process_seconds()

    async def play_generation(self, state: State) -> tuple[Generation, Callable[[], Any]]:
        """Play the generation that `state` leads to; returns it and what makes the table of its episodes."""
        settings, algorithm = self._settings, self._algorithm
        number = state.generation + 1
        before = self._live_state(state)
        brood = Brood(number, algorithm.bases(before), state.candidates, state.observations.normaliser())
        last = {n: one for n, one in self._nursery.broods.items() if n == number - 1}
        nursery = self._nursery = replace(self._nursery, broods=last | {number: brood})
        n_known = len(brood.candidates)
        ledger = Ledger(quota_of(settings, number, n_known), n_known, self._uncounted, self._starts(number))
        self._remind(ledger, brood)
        books = Books()

        kept, self._kept = self._kept, []
        for arrival in kept:
            self._book(ledger, books, arrival, state)
        await self._play(ledger, brood, books, state)
        scored = self._scored(books, nursery)
        is_overlapped = settings.elite_evaluation == "overlapped"
        if not is_overlapped and (nominated := algorithm.nominate(before, scored)):
            await self._stop_late(number, Kind.CHILD)
            self._remember(ledger, brood, scored, nominated)
            brood = replace(brood, candidates=nominated)
            ledger.add_candidates(len(nominated))
            self._remind(ledger, brood)
            await self._play(ledger, brood, books, state)
        await self._stop_late(number, Kind.CHILD, Kind.EVALUATION)
        self._uncounted = ledger.uncounted_children

        candidates = evaluated(brood.candidates, *self._fitness.finite(books.selectable(Kind.EVALUATION)))
        # In a thread: some algorithms compute for seconds.
        after = await in_thread(lambda: algorithm.tell(before, Closed(number, scored, candidates)))
        after = await self._settled(brood, after)
        elite = algorithm.elite(after)
        timing = self._timing(ledger, books)
        table, headings = books.rows().table, books.headings()
        line = log_line(brood, table, headings, scored, candidates, elite, ledger, timing)
        state = replace(
            state,
            generation=number,
            algorithm=algorithm.to_json(after),
            candidates=algorithm.nominate(after, scored) if is_overlapped else (),
            elite=elite,
            frames=state.frames + ledger.frames,
            steps=state.steps + ledger.steps,
            episodes=state.episodes + line["episodes"],
            observations=state.observations.merged(books.moments()),
            elapsed_s=state.elapsed_s + timing.wall_s,
        )
        self._remember(ledger, brood, scored, (*brood.candidates, *state.candidates))
        self._frames_played += ledger.played_frames
        self._live = state.algorithm, after
        if standing := described(algorithm, after):
            line["algorithm"] = standing
        if self._task.n_behaviour:
            line["next_parents_behaviour"] = behaviours_of(algorithm.bases(after), scored, candidates)
        line["total"] = {"frames": state.frames, "steps": state.steps, "episodes": state.episodes}
        line["timing"]["elapsed_s"] = state.elapsed_s
        nodes = self._node_times(books, timing.wall_s)
        await self._reporter.send(generation_event(self._task.run_id, number, line, archived(algorithm, after), nodes))
        generation = Generation(number, state, elite, timing, line)
        return generation, functools.partial(self._table, books, table, headings, nursery)

    def _starts(self, number: int) -> Starts | None:
        """Return the starts of a generation; None where no two episodes of a genome are the same."""
        if not self._task.n_starts:
            return None
        return Starts(number, functools.cache(lambda kind, *key: self._task.start(kind, number, *key)))

    def _remind(self, ledger: Ledger, brood: Brood) -> None:
        """Tell the ledger what candidates gave before they were that."""
        if ledger.starts is not None:
            for slot, genome in enumerate(brood.candidates):
                ledger.starts.know(Kind.EVALUATION, slot, self._known.get(genome, {}))

    def _remember(self, ledger: Ledger, brood: Brood, scored: Sequence[Scored], genomes: Collection[Genome]) -> None:
        """Keep what these genomes have given, of all that may become candidates."""
        if ledger.starts is None:
            return
        steps = {part for genome in genomes for part in genome[-1:]}
        slots = {child.genome: child.slot for child in scored if child.step in steps}
        if self._settings.late == "admit":
            slots.clear()  # a child of the generation before may have the same slot
        by_candidate = ledger.starts.results(Kind.EVALUATION, range(len(brood.candidates)))
        candidates = {genome: by_candidate[slot] for slot, genome in enumerate(brood.candidates)}
        chosen = {genome: slots.get(genome, -1) for genome in genomes}
        by_child = ledger.starts.results(Kind.CHILD, chosen.values())
        self._known = {
            genome: self._known.get(genome, {}) | by_child[slot] | candidates.get(genome, {})
            for genome, slot in chosen.items()
        }

    async def _play(self, ledger: Ledger, brood: Brood, books: Books, state: State) -> None:
        async for arrivals in self._dispatcher.play(ledger, brood):
            for arrival in arrivals:
                self._book(ledger, books, arrival, state)
            progress = self._progress(ledger, books, state)
            if self._on_progress is not None:
                self._on_progress(progress)
            await self._reporter.send_progress(lambda: self._progress_event(progress))  # noqa: B023 (called at once)

    def _book(self, ledger: Ledger, books: Books, arrival: Arrival, state: State) -> None:
        headings = ledger.add(arrival.rows.table, are_filled=arrival.are_filled)
        kept = headings == Heading.KEPT
        if kept.any():
            self._kept.append(arrival.where(kept))
        # Malformed rows are counted by the ledger and go nowhere; kept ones are recorded where they count.
        recorded = ~kept & (headings != Heading.MALFORMED)
        arrival, headings = arrival.where(recorded), headings[recorded]
        books.add(arrival, headings)
        if books.n_failed > self._settings.max_failed_share * ledger.n_wanted:
            reasons = sorted(set(filter(None, books.reasons())))
            raise EvolutionError(
                f"generation {ledger.quota.generation}: {many(books.n_failed, 'episode')} failed, more than"
                f" generation.max_failed_share = {self._settings.max_failed_share:g} of {ledger.n_wanted}; the first"
                f" reason: {reasons[0] if reasons else 'a return that is not finite'}"
            )

    def _progress(self, ledger: Ledger, books: Books, state: State) -> Progress:
        return Progress(
            generation=ledger.quota.generation,
            n_counted=ledger.rows[Heading.COUNTED],
            n_wanted=ledger.n_wanted + self._n_to_come(ledger),
            best=books.best,
            elite=state.elite,
            frames=state.frames + ledger.frames,
            frames_played=self._frames_played + ledger.played_frames,
            elapsed_s=state.elapsed_s + time.monotonic() - self._began_at,
            nodes=len(self._dispatcher.nodes),
            processes=self._dispatcher.n_processes,
        )

    def _n_to_come(self, ledger: Ledger) -> int:
        """Return how many episodes of candidates follow that are nominated once the children's have come."""
        settings = self._settings
        if settings.elite_evaluation == "overlapped" or ledger.n_candidates:
            return 0
        return n_candidates(self._algorithm, settings.candidates) * settings.candidate_episodes

    def _progress_event(self, progress: Progress) -> Event:
        spent = progress.generations, progress.frames, progress.elapsed_s
        return progress_event(
            self._task.run_id,
            generation=progress.generation,
            n_counted=progress.n_counted,
            n_wanted=progress.n_wanted,
            best=progress.best,
            frames=progress.frames,
            elapsed_s=progress.elapsed_s,
            budget_share=budget_share(self._budget, *spent),
            time_left_s=time_left_s(self._budget, *spent),
            nodes=progress.nodes,
            processes=progress.processes,
        )

    async def _stop_late(self, generation: int, *kinds: Kind) -> None:
        """End what was issued beyond the quota, where there can be any."""
        if self._settings.closing == "first":
            kept = {Kind.CHILD} if self._settings.late == "admit" else set()
            await self._dispatcher.close_generation(generation, tuple(kind for kind in kinds if kind not in kept))

    def _live_state(self, state: State) -> Any:
        """Return the algorithm's state, read again only if it is not what the last generation ended with."""
        if self._live is not None and self._live[0] is state.algorithm:
            return self._live[1]
        return self._algorithm.from_json(state.algorithm)

    def _scored(self, books: Books, nursery: Nursery) -> list[Scored]:
        """Return the counted children that can be selected: those with all their episodes, none of them failed."""
        worth = self._fitness.finite(books.selectable(Kind.CHILD))
        return nursery.scored(*worth, self._settings.episodes_per_child)

    def _timing(self, ledger: Ledger, books: Books) -> Timing:
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
            cpus=books.episodes_by(self._dispatcher.cpus),
        )

    def _node_times(self, books: Books, wall_s: float) -> dict[str, Event]:
        """Return what this run had of the process time of each node."""
        busy_s, discarded_s = books.node_seconds()
        return {
            address: node_entry(info.host, info.n_processes, wall_s, busy_s[address], discarded_s[address])
            for address, info in self._dispatcher.nodes.items()
        }

    def _table(self, books: Books, rows: NDArray[np.void], headings: NDArray[np.uint8], nursery: Nursery) -> Any:
        parent, gene, weight = np.full(len(rows), -1), np.full(len(rows), -1), np.zeros(len(rows))
        are_children = rows["kind"] == Kind.CHILD
        made = nursery.children(rows["generation"][are_children], rows["slot"][are_children])
        parent[are_children], gene[are_children] = made.rows, made.genes
        weight[are_children] = np.where(made.rows >= 0, made.weights, 0)
        return episode_table(
            rows,
            parent=parent,
            gene=gene,
            weight=weight,
            node=books.nodes(),
            counted=headings == Heading.COUNTED,
            reason=books.reasons(),
            behaviour=books.behaviours() if self._task.n_behaviour else None,
        )


def quota_of(settings: GenerationConfig, number: int, n_candidates: int) -> Quota:
    """Return what closes generation `number`, beside whose children `n_candidates` are evaluated."""
    children = settings.population
    if settings.population_counts_evaluations:
        children -= n_candidates * settings.candidate_episodes
    first = settings.closing == "first"
    return Quota(
        generation=number,
        children=children,
        child_episodes=settings.episodes_per_child,
        episodes=settings.candidate_episodes,
        spare_episodes=settings.spare_episodes,
        first=first,
        admit=first and settings.late == "admit",
        min_steps=settings.min_steps,
    )
