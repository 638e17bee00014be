"""Follow a sweep in a notebook: a bar for the whole study and a line for each run, replaced while it goes on."""

from __future__ import annotations

import asyncio
import html
import time
from types import TracebackType
from typing import Self

from IPython.display import DisplayHandle

from gadask.analysis.bar import bar_html, progress_html
from gadask.console.progress import score_text
from gadask.master.budget import budget_share
from gadask.sweeps.sweep import Sweep, SweptRun
from gadask.units import count_text, duration_text, many

_REFRESH_S = 0.5
_BAR_WIDTH = 120  # pixels
_CELL = "style='text-align:left;padding:1px 12px 1px 0'"
_HEADER = ("run", "status", "generations", "budget", "frames", "elite", "test")


class LiveStudy:
    """Shows a sweep below the cell that enters it, twice a second while the block runs."""

    def __init__(self, sweep: Sweep) -> None:
        """Follow a sweep that is about to be played."""
        self._sweep = sweep
        self._began_at = time.monotonic()
        self._share_before = self._share()

    async def __aenter__(self) -> Self:
        self._shown = DisplayHandle()
        self._shown.display(self._standing(), raw=True)
        self._refreshing = asyncio.create_task(self._refresh_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._refreshing.cancel()
        await asyncio.wait({self._refreshing})
        interrupted = kind is asyncio.CancelledError
        self._shown.update(self._standing("interrupted" if interrupted else "failed" if kind else "ended"), raw=True)

    async def _refresh_for_ever(self) -> None:
        while True:
            self._shown.update(self._standing(), raw=True)
            await asyncio.sleep(_REFRESH_S)

    def _standing(self, end: str = "") -> dict[str, str]:
        """Return how the sweep stands as Jupyter displays it; `end` is how it ended."""
        runs, left = self._sweep.runs, len(self._sweep.unfinished)
        headline = f"{len(runs) - left} of {many(len(runs), 'run')} finished"
        headline += ", interrupted" if end == "interrupted" else ""
        line = "" if end or not left else f"left: {many(left, 'run')}"
        seconds = self._seconds_left()
        if line and seconds is not None:
            line += f", about {duration_text(seconds)}"
        share = self._share()
        table = "".join(map(_row, runs))
        head = "".join(f"<th {_CELL}>{name}</th>" for name in _HEADER)
        return {
            "text/plain": ", ".join(filter(None, [headline, line])),
            "text/html": f"{progress_html(headline, share, [line])}<table><tr>{head}</tr>{table}</table>",
        }

    def _share(self) -> float | None:
        """Return how much of all budgets is used; None where a run has no limit of which that is known."""
        shares = [share_of(run) for run in self._sweep.runs]
        known = [share for share in shares if share is not None]
        return sum(known) / len(shares) if len(known) == len(shares) else None

    def _seconds_left(self) -> float | None:
        """Return how long the sweep may still take, at the pace that it has had since it began; None at first."""
        now, before = self._share(), self._share_before
        if now is None or before is None or now <= before:
            return None
        return (time.monotonic() - self._began_at) * (1 - now) / (now - before)


def share_of(run: SweptRun) -> float | None:
    """Return how much of its budget a run has used, 0 to 1; 1 once it is finished."""
    if run.status == "finished":
        return 1.0
    state, now = run.state, run.progress
    frames, elapsed_s = (state.frames, state.elapsed_s) if now is None else (now.frames, now.elapsed_s)
    share = budget_share(run.study_run.config.budget, state.generation + 1, frames, elapsed_s)
    return None if share is None else min(1.0, share)


def _row(run: SweptRun) -> str:
    share = share_of(run)
    frames = run.state.frames if run.progress is None else run.progress.frames
    texts = [
        html.escape(run.name),
        html.escape(f"{run.status}: {run.error}" if run.error else run.status),
        str(run.state.generation + 1),
        "" if share is None else bar_html(share, _BAR_WIDTH),
        count_text(frames),
        "" if run.elite_mean is None else score_text(run.elite_mean),
        "" if run.test_mean is None else score_text(run.test_mean),
    ]
    return f"<tr>{''.join(f'<td {_CELL}>{text}</td>' for text in texts)}</tr>"
