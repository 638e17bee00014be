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
_BAR_WIDTH = 16
_SCORE_WIDTH = 9


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
        for _ in range(4):
            grid.add_column(no_wrap=True)
        share = progress.n_counted / progress.n_wanted if progress.n_wanted else 0.0
        grid.add_row(
            f"generation {progress.generation}",
            ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH),
            f"{progress.n_counted}/{progress.n_wanted} episodes",
            f"best {_score(progress.best)}" if math.isfinite(progress.best) else "",
        )
        done = budget_share(self._config.budget, progress.generation, progress.frames, progress.elapsed_s)
        if done is not None:
            done = min(1.0, done)  # the last generation runs over
            eta_s = progress.elapsed_s * (1 - done) / done if done > 0 else math.inf
            grid.add_row(
                "budget",
                ProgressBar(total=1.0, completed=done, width=_BAR_WIDTH),
                f"{done:.0%}",
                f"ETA {_duration(eta_s)}" if math.isfinite(eta_s) else "",
            )
        (first_s, first), (last_s, last) = self._frames[0], self._frames[-1]
        rate = (last - first) / (last_s - first_s) if last_s > first_s else 0.0
        busy = f", {self._last.timing.busy_share:.0%} busy" if self._last else ""
        grid.add_row(
            f"elite {_score(progress.elite.mean)}" if progress.elite else "",
            f"{_count(progress.frames)} frames",
            f"{_count(rate)}/s, {_count(rate / max(1, progress.processes))}/core",
            f"{progress.nodes} × {progress.processes // max(1, progress.nodes)} processes{busy}",
        )
        return grid


def generation_line(generation: Generation) -> str:
    """Return a generation in one line of at most 80 columns."""
    line, timing = generation.line, generation.timing
    quantiles = line["children"]["quantiles"]
    elite = _score(generation.elite.mean) if generation.elite else "-"
    rate = line["frames"] / timing.wall_s if timing.wall_s else 0.0
    return (
        f"gen {generation.number:>4}  best {_score(quantiles['1']):>9}  median {_score(quantiles['0.5']):>9}"
        f"  elite {elite:>9}  {_count(generation.state.frames):>5} fr  {_count(rate):>5}/s"
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


def _score(number: float) -> str:
    """Return a finite number with the digits that nine columns have room for."""
    texts = [f"{number:,.1f}", f"{number:,.0f}", f"{number:.3g}", f"{number:.2g}"]
    return next((text for text in texts if len(text) <= _SCORE_WIDTH), f"{number:.0e}")


def _count(number: float) -> str:
    """Return a number that is not negative, such as `"12.3k"`: three digits, at most five columns."""
    if number < 999.5:
        return f"{number:.0f}"
    for unit in "kMGTPE":
        number /= 1000
        if number < 999.5:
            return f"{number:.3g}{unit}"
    return f"{number:.0e}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
