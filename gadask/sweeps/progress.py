"""Progress of a sweep: a live table of its runs on a terminal, otherwise plain lines of generations and nodes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gadask.clusters.base import NodeCounts
from gadask.console.progress import LiveDisplay, NodesNews, nodes_line, score_text
from gadask.master.budget import budget_share
from gadask.master.generation import Generation
from gadask.sweeps.sweep import Status, SweptRun
from gadask.units import count_text, many

_REFRESH_S = 0.5
_NAME_WIDTH = 25
_TABLE_NAME_WIDTH = 22
_LINES_BESIDE_RUNS = 5  # header, rule, what is left out, nodes, the prompt's


class SweepDisplay(LiveDisplay):
    """Shows runs that a sweep changes: pass `change` and `close_generation` to `Sweep`."""

    @asynccontextmanager
    async def kept_fresh(self, runs: list[SweptRun], counts: Callable[[], NodeCounts]) -> AsyncIterator[None]:
        """Show the runs and how the cluster stands, twice a second while the block runs.

        Off a terminal, a line when the cluster has changed.
        """
        news = NodesNews(counts)

        async def refresh_for_ever() -> None:
            while True:
                if self._console.is_terminal:
                    room = self._console.height - _LINES_BESIDE_RUNS
                    table = Group(runs_table(runs, room), Text(nodes_line(counts())))
                    self._live.update(table, refresh=True)
                elif line := news.take():
                    self._print(line)
                await asyncio.sleep(_REFRESH_S)

        refreshing = asyncio.create_task(refresh_for_ever())
        try:
            yield
        finally:
            refreshing.cancel()
            await asyncio.wait({refreshing})

    def change(self, run: SweptRun) -> None:
        """Print what a run has come to, where that is the last of it."""
        if run.status == "failed":
            self._print(f"{run.name} failed: {run.error}")
        elif run.status == "finished":
            test = "" if run.test_mean is None else f", {score_text(run.test_mean)} in its test"
            elite = "no elite" if run.elite_mean is None else f"elite {score_text(run.elite_mean)}"
            self._print(f"{run.name} finished: {many(run.state.generation + 1, 'generation')}, {elite}{test}")

    def close_generation(self, run: SweptRun, generation: Generation) -> None:
        """Print the generation's line; a terminal has the table."""
        if not self._console.is_terminal:
            self._print(generation_line(run, generation))

    def print_table(self, runs: list[SweptRun]) -> None:
        """Print all runs as they are now."""
        self._console.print(runs_table(runs, len(runs)))

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


def generation_line(run: SweptRun, generation: Generation) -> str:
    """Return a generation of a run in one line of at most 80 columns."""
    best = score_text(generation.line["children"]["quantiles"]["1"])
    elite = score_text(generation.elite.mean) if generation.elite else "-"
    return (
        f"{_cut(run.name):<{_NAME_WIDTH}} gen {generation.number:>4}  best {best:>9} elite {elite:>9}"
        f"  {count_text(generation.state.frames):>5} {run.study_run.config.env.unit}"
    )


def runs_table(runs: list[SweptRun], room: int) -> Table:
    """Return the runs in at most 80 columns and `room` lines; those that wait or are finished are left out first."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("run", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for title in ("gen", "budget", "frames", "elite", "test"):
        table.add_column(title, justify="right", no_wrap=True)
    shown = set(sorted(runs, key=_is_dull)[: max(1, room)])
    for run in runs:
        if run in shown:
            progress = run.progress
            frames = run.state.frames if progress is None else progress.frames
            share = budget_share(
                run.study_run.config.budget,
                run.state.generation + 1 if progress is None else progress.generations,
                frames,
                run.state.elapsed_s if progress is None else progress.elapsed_s,
            )
            table.add_row(
                _cut(run.name, _TABLE_NAME_WIDTH),
                run.status,
                str(run.state.generation + 1),
                "" if share is None else f"{min(1.0, share):.0%}",
                count_text(frames),
                "" if run.elite_mean is None else score_text(run.elite_mean),
                "" if run.test_mean is None else score_text(run.test_mean),
            )
    hidden = Counter(run.status for run in runs if run not in shown)
    if hidden:
        table.add_row("… and " + ", ".join(f"{n} {status}" for status, n in hidden.items()))
    return table


def _is_dull(run: SweptRun) -> bool:
    dull: tuple[Status, ...] = ("waiting", "finished")
    return run.status in dull


def _cut(name: str, width: int = _NAME_WIDTH) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"
