"""Follow a run in a notebook: a progress bar and its learning curve, drawn anew while it evolves.

    with LiveCurve(config, run_dir) as live:
        async for generation in evolve(config, client, run_dir, resume=True, on_progress=live.update):
            live.close_generation(generation)

Bar and picture stand below the cell that makes a `LiveCurve` and are replaced there (Jupyter's display updates), which
every Jupyter frontend shows without an extension, and which a notebook that is executed without one keeps. For figures
to zoom into while a run goes on there is the dashboard's page `/ga`. `gadask.watch` does all of this in one call.
"""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from IPython.display import DisplayHandle, Image

from gadask.analysis.bar import Spent, left_text, progress_html
from gadask.analysis.learning_curve import learning_curve_picture
from gadask.analysis.runs import Run
from gadask.config import Config
from gadask.console.progress import score_text
from gadask.master.budget import budget_share
from gadask.master.generation import Generation, Progress
from gadask.record.directory import read_generations
from gadask.record.frames import frame_of_rows, generation_row
from gadask.units import count_text, many

_PICTURE_EVERY_S = 2.0  # drawing takes a tenth of a second, in which the master does nothing else
_TEXT_EVERY_S = 0.5
_DPI, _WIDTH = 130, 700


class LiveCurve:
    """Consumes what `evolve` reports: pass `update` as `on_progress`, call `close_generation` for what it yields."""

    def __init__(self, config: Config, run_dir: Path | str) -> None:
        """Show what the run has closed so far; its directory may be missing yet.

        Raises:
            RecordError: the log is damaged.
        """
        self._config, self._run_dir = config, Path(run_dir)
        self._rows = [generation_row(line) for line in read_generations(run_dir)]
        self._progress: Progress | None = None
        self._ended = False
        self._news = asyncio.Event()
        self._text_at = self._picture_at = -math.inf
        self._drawn_rows = 0
        self._text, self._picture = DisplayHandle(), DisplayHandle()
        self._text.display(self._standing(), raw=True)
        self._picture.display({"text/plain": ""}, raw=True)
        self._draw()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        self._news.set()
        # An interrupt may come between a generation's line in the log and `close_generation`.
        self._rows = [generation_row(line) for line in read_generations(self._run_dir)]
        self._say("finished" if kind is None else "interrupted" if kind is asyncio.CancelledError else "failed")
        self._draw()

    def update(self, progress: Progress) -> None:
        """Show where the run stands in the middle of a generation."""
        self._progress = progress
        self._news.set()
        now_s = time.monotonic()
        if now_s - self._text_at >= _TEXT_EVERY_S:
            self._text_at = now_s
            self._say()
        if now_s - self._picture_at >= _PICTURE_EVERY_S:
            self._draw()

    def close_generation(self, generation: Generation) -> None:
        """Add a generation to the curve."""
        self._rows.append(generation_row({"generation": generation.number, **generation.line}))
        if time.monotonic() - self._picture_at >= _PICTURE_EVERY_S:
            self._draw()

    async def reached(self, generation: int) -> None:
        """Return in the middle of this generation, or when evolution has ended before."""
        while not self._ended and (self._progress is None or self._progress.generation < generation):
            self._news.clear()
            await self._news.wait()

    def _say(self, end: str = "") -> None:
        self._text.update(self._standing(end), raw=True)

    def _standing(self, end: str = "") -> dict[str, str]:
        """Return where the run stands as Jupyter displays it; `end` is how it ended."""
        none: dict[str, Any] = {"generation": -1, "elite_mean": None, "frames": 0, "elapsed_s": 0}
        closed = self._rows[-1] if self._rows else none
        # Progress is of a generation's beginning and middle: what has closed since is in the log alone.
        elite = "" if closed["elite_mean"] is None else f"elite {score_text(closed['elite_mean'])}"
        head = [f"{many(len(self._rows), 'generation')} closed", end]
        parts = []
        spent = Spent(len(self._rows), closed["frames"], closed["elapsed_s"])
        if (progress := self._progress) is not None:
            if progress.generation > closed["generation"]:
                parts.append(f"generation {progress.generation}: {progress.n_counted}/{progress.n_wanted} episodes")
                spent = Spent(progress.generations, progress.frames, progress.elapsed_s)
            parts += [
                elite,
                f"{count_text(spent.frames)} frames in {spent.elapsed_s:.0f} s",
                f"{many(progress.nodes, 'node')} with {many(progress.processes, 'process', 'processes')}",
            ]
        elif not self._ended:
            parts = ["waits for a node"]
        left = "" if end == "finished" else left_text(self._config.budget, spent)
        left = left and f"left: {left}"
        share = budget_share(self._config.budget, spent.generations, spent.frames, spent.elapsed_s)
        lines = [", ".join(filter(None, parts)), left]
        headline = ", ".join(filter(None, head))
        share = 1.0 if end == "finished" else share
        return {
            "text/plain": ", ".join(filter(None, [headline, *lines])),
            "text/html": progress_html(headline, share, lines),
        }

    def _draw(self) -> None:
        """Draw the curve, unless it stands there already."""
        if len(self._rows) > self._drawn_rows:
            run = Run(self._run_dir, self._config, frame_of_rows(self._rows))
            self._picture.update(Image(learning_curve_picture(run, dpi=_DPI), width=_WIDTH))
            self._drawn_rows, self._picture_at = len(self._rows), time.monotonic()
