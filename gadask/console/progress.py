"""Progress: a live display on a terminal, otherwise one plain line a generation."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gadask.clusters.base import NodeCounts
from gadask.config import Config
from gadask.master.budget import budget_share, time_left_s
from gadask.master.generation import Generation, Progress
from gadask.record.generations import frames_played
from gadask.units import count_text, duration_text, many, number_text

_RATE_WINDOW_S = 20.0
_BAR_WIDTH = 16
_SCORE_WIDTH = 9
_NODES_WIDTH = 79
_NODES_LINE_EVERY_S = 10.0
_MIN_REFRESH_S, _REFRESH_S = 0.1, 1.0
_SETUP_S = 1.0


class LiveDisplay:
    """What is drawn again and again on a terminal while the block runs, and vanishes with it."""

    def __init__(self, console: Console | None = None) -> None:
        """Show on `console`, by default standard output."""
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()


class ProgressDisplay(LiveDisplay):
    """Consumes what `evolve` reports: pass `update` as `on_progress`, call `close_generation` for what it yields.

    Nodes that are waited for report nothing: inside `kept_fresh` the display shows them all the same.
    """

    def __init__(
        self, config: Config, console: Console | None = None, counts: Callable[[], NodeCounts] | None = None
    ) -> None:
        """Show on `console`, by default standard output; `counts` says how the cluster stands."""
        super().__init__(console)
        self._config = config
        self._counts = counts
        self._news = None if counts is None else NodesNews(counts)
        self._progress: Progress | None = None
        self._refreshed_at = -math.inf
        self._frames: deque[tuple[float, int]] = deque()
        self._last: Generation | None = None
        self._setup_from: float | None = math.inf
        """Since when there are nodes that do not play yet; None once they do, or once that was printed for good."""

    def update(self, progress: Progress) -> None:
        """Show where the run stands."""
        now_s = time.monotonic()
        self._frames.append((now_s, progress.frames_played))
        while now_s - self._frames[0][0] > _RATE_WINDOW_S:
            self._frames.popleft()
        self._progress = progress
        if now_s - self._refreshed_at >= _MIN_REFRESH_S:  # a thousand nodes report more often than anyone looks
            self.refresh()

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Call `refresh` every second while the block runs."""

        async def refresh_for_ever() -> None:
            while True:
                self.refresh()
                await asyncio.sleep(_REFRESH_S)

        refreshing = asyncio.create_task(refresh_for_ever())
        try:
            yield
        finally:
            refreshing.cancel()
            await asyncio.wait({refreshing})

    def refresh(self) -> None:
        """Show how the run and its cluster stand; off a terminal, a line when the cluster has changed."""
        self._refreshed_at = time.monotonic()
        if self._console.is_terminal:
            rows = [] if self._progress is None else [self._panel(self._progress)]
            nodes = [] if self._counts is None else [Text(nodes_line(self._counts()))]
            setup = [Text(self._setup_line())] if self._is_setup_long() else []
            self._live.update(Group(*rows, *nodes, *setup), refresh=True)
            return
        if self._news is not None and (line := self._news.take()):
            self._console.print(Text(line), soft_wrap=True)
        if self._is_setup_long():
            self._setup_from = None
            self._console.print(Text(self._setup_line()), soft_wrap=True)

    def _is_setup_long(self) -> bool:
        """Whether there have been nodes for a second, none has played, and that was not said in output that is kept."""
        if self._progress is not None:
            self._setup_from = None
        if self._setup_from is None or self._counts is None or not self._counts().running:
            return False
        self._setup_from = min(self._setup_from, time.monotonic())
        return time.monotonic() - self._setup_from >= _SETUP_S

    def _setup_line(self) -> str:
        size_bytes = 4 * self._config.noise.size
        size = f"{size_bytes / 1e9:.3g} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.3g} MB"
        return f"making the noise table ({size}) and starting the rollout processes …"

    def close_generation(self, generation: Generation) -> None:
        """Print the generation's line."""
        self._last = generation
        self._console.print(Text(generation_line(generation, self._config.env.unit)), soft_wrap=True)

    def _panel(self, progress: Progress) -> Table:
        grid = Table.grid(padding=(0, 1))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        share = progress.n_counted / progress.n_wanted if progress.n_wanted else 0.0
        grid.add_row(
            f"generation {progress.generation}",
            ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH),
            f"{progress.n_counted}/{progress.n_wanted} episodes",
            f"best {score_text(progress.best)}" if math.isfinite(progress.best) else "",
        )
        budget, spent = self._config.budget, (progress.generations, progress.frames, progress.elapsed_s)
        done, left_s = budget_share(budget, *spent), time_left_s(budget, *spent)
        if done is not None:
            done = min(1.0, done)  # the last generation runs over
            grid.add_row(
                "budget",
                ProgressBar(total=1.0, completed=done, width=_BAR_WIDTH),
                f"{done:.0%}",
                "" if left_s is None else f"ETA {duration_text(left_s)}",
            )
        (first_s, first), (last_s, last) = self._frames[0], self._frames[-1]
        rate = (last - first) / (last_s - first_s) if last_s > first_s else 0.0
        busy = f", {self._last.timing.busy_share:.0%} busy" if self._last else ""
        grid.add_row(
            f"elite {score_text(progress.elite.mean)}" if progress.elite else "",
            f"{count_text(progress.frames)} {self._config.env.unit}",
            f"{count_text(rate)}/s, {count_text(rate / max(1, progress.processes))}/core",
            f"{progress.nodes} × {many(progress.processes // max(1, progress.nodes), 'process', 'processes')}{busy}",
        )
        return grid


class NodesNews:
    """Tells of a cluster that has changed, for output that is kept: a line at a time, and not too many."""

    def __init__(self, counts: Callable[[], NodeCounts]) -> None:
        """`counts` says how the cluster stands."""
        self._counts = counts
        self._line = ""
        self._told_at = -math.inf

    def take(self) -> str:
        """Return how the cluster stands if that is new, else nothing; at most once in ten seconds."""
        if time.monotonic() - self._told_at < _NODES_LINE_EVERY_S:
            return ""
        counts = self._counts()
        line = nodes_line(replace(counts, core_hours=0.0))
        complete = counts.running == counts.wanted
        if line == self._line or (complete and not self._line):  # all well from the start is no news
            return ""
        self._line, self._told_at = line, time.monotonic()
        return line


def generation_line(generation: Generation, unit: str) -> str:
    """Return a generation in one line of at most 80 columns; `unit` is what is counted, `frames` or `steps`."""
    line, timing = generation.line, generation.timing
    quantiles = line["children"]["quantiles"]
    elite = score_text(generation.elite.mean) if generation.elite else "-"
    rate = frames_played(line) / timing.wall_s if timing.wall_s else 0.0
    return (
        f"gen {generation.number:>4}  best {score_text(quantiles['1']):>9} median {score_text(quantiles['0.5']):>9}"
        f" elite {elite:>9} {count_text(generation.state.frames):>5} {unit} {count_text(rate):>5}/s"
    )


def nodes_line(counts: NodeCounts) -> str:
    """Return how a cluster stands in one line of less than 80 columns; a long reason is cut.

    Where there is no room for the jobs that start they are among those that are pending.
    """
    line = _nodes_line(counts)
    if len(line) > _NODES_WIDTH:
        line = _nodes_line(replace(counts, pending=counts.pending + counts.starting, starting=0))
    return line


def _nodes_line(counts: NodeCounts) -> str:
    before = f"nodes: {counts.running} of {counts.wanted} running"
    after = f", {counts.starting} starting" if counts.starting else ""
    after += f", {counts.lost} lost" if counts.lost else ""
    if counts.core_hours:
        used = f"{counts.core_hours:.1f}" if counts.core_hours < 999.5 else count_text(counts.core_hours)
        after += f", {used} core-hours"
    if counts.pending:
        before += f", {counts.pending} pending"
        room = _NODES_WIDTH - len(before) - len(after) - len(" ()")
        reason = " ".join(counts.pending_reason.split())
        if reason and room >= 1:
            before += f" ({reason if len(reason) <= room else reason[: room - 1] + '…'})"
    return before + after


def score_text(number: float) -> str:
    """Return a finite number with four significant digits, or those that nine columns have room for."""
    texts = [number_text(number), f"{number:.3g}", f"{number:.2g}"]
    return next((text for text in texts if len(text) <= _SCORE_WIDTH), f"{number:.0e}")
