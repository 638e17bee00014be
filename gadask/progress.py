"""Progress: a live display on a terminal, otherwise one plain line a generation."""

from __future__ import annotations

import math
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gadask.config import BudgetConfig, Config
from gadask.master import Generation, Progress

_RATE_WINDOW_S = 20.0


class ProgressDisplay:
    """Consumes what `evolve` reports: pass `update` as `on_progress`, call `close_generation` for what it yields."""

    def __init__(self, config: Config, console: Console | None = None) -> None:
        """Show on `console`, by default standard output."""
        self._config = config
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._frames: deque[tuple[float, int]] = deque()
        self._last: Generation | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show where the run stands."""
        now_s = time.monotonic()
        self._frames.append((now_s, progress.frames))
        while now_s - self._frames[0][0] > _RATE_WINDOW_S:
            self._frames.popleft()
        if self._console.is_terminal:
            self._live.update(self._panel(progress), refresh=True)

    def close_generation(self, generation: Generation) -> None:
        """Print the generation's line."""
        self._last = generation
        self._console.print(Text(generation_line(generation)), soft_wrap=True)

    def _panel(self, progress: Progress) -> Table:
        grid = Table.grid(padding=(0, 1))
        share = progress.n_counted / progress.n_wanted if progress.n_wanted else 0.0
        grid.add_row(
            f"generation {progress.generation}",
            ProgressBar(total=1.0, completed=share, width=24),
            f"{progress.n_counted}/{progress.n_wanted} episodes",
            f"best {progress.best:,.0f}" if math.isfinite(progress.best) else "",
        )
        done = budget_share(self._config.budget, progress.generation, progress.frames, progress.elapsed_s)
        if done is not None:
            eta_s = progress.elapsed_s * (1 - done) / done if done > 0 else math.inf
            grid.add_row(
                "budget",
                ProgressBar(total=1.0, completed=min(1.0, done), width=24),
                f"{min(1.0, done):.0%}",
                f"ETA {_duration(eta_s)}" if math.isfinite(eta_s) else "",
            )
        (first_s, first), (last_s, last) = self._frames[0], self._frames[-1]
        rate = (last - first) / (last_s - first_s) if last_s > first_s else 0.0
        busy = f", {self._last.timing.busy_share:.0%} busy" if self._last else ""
        elite = f"elite {progress.elite.mean:,.1f}" if progress.elite else ""
        grid.add_row(
            elite,
            f"{progress.frames:,} frames",
            f"{rate:,.0f}/s, {rate / max(1, progress.processes):,.0f}/core",
            f"{progress.nodes} × {progress.processes // max(1, progress.nodes)} processes{busy}",
        )
        return grid


def generation_line(generation: Generation) -> str:
    """Return a generation in one line of at most 80 columns."""
    line, timing = generation.line, generation.timing
    quantiles = line["children"]["quantiles"]
    elite = f"{generation.elite.mean:,.1f}" if generation.elite else "-"
    return (
        f"gen {generation.number:>4}  best {quantiles['1']:>9,.1f}  median {quantiles['0.5']:>8,.1f}"
        f"  elite {elite:>9}  {_count(generation.state.frames):>6} fr"
        f"  {_count(line['frames'] / timing.wall_s):>5}/s"
    )


def budget_share(budget: BudgetConfig, generations: int, frames: int, elapsed_s: float) -> float | None:
    """Return how much of the budget is used, by the limit that is nearest; None without a limit."""
    shares = [
        done / limit
        for done, limit in (
            (generations, budget.generations),
            (frames, budget.frames),
            (elapsed_s / 3600, budget.hours),
        )
        if limit is not None
    ]
    return max(shares, default=None)


def _count(number: float) -> str:
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.0f}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
