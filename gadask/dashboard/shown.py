"""Which runs of a history are shown, in which order and in which colours.

Colours are those of Okabe and Ito (2008), *Color universal design*, that are legible on a light and on a dark page, and
two more: as many as `gadask sweep` plays runs at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from gadask.dashboard.history import History, RunHistory

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#A0673D")

_SILENT_S = 60.0


def is_silent(run: RunHistory) -> bool:
    """Whether its master goes on, as far as anyone knows, and has reported nothing for a minute."""
    return run.ended is None and time.time() - run.heard_at_s > _SILENT_S


def ranked(history: History) -> list[RunHistory]:
    """Return all runs: those being played in order of start, then silent ones, then ended ones, the latest first."""
    live = [run for run in history.runs.values() if run.ended is None]
    ended = [run for run in history.runs.values() if run.ended is not None]
    return [*sorted(live, key=is_silent), *reversed(ended)]


def coloured(runs: Sequence[RunHistory]) -> list[tuple[RunHistory, str]]:
    """Return the first runs, as many as there are colours, each with its own.

    A run keeps its colour while others come and go, unless an older one of the same is shown.
    """
    shown = runs[: len(COLOURS)]
    places: dict[int, int] = {}
    for number in sorted(run.number for run in shown):
        place = number % len(COLOURS)
        while place in places.values():
            place = (place + 1) % len(COLOURS)
        places[number] = place
    return [(run, COLOURS[places[run.number]]) for run in shown]


def left_out(runs: Sequence[RunHistory]) -> str:
    """Return in words how many runs are not shown, these; empty if there are none."""
    n_ended = sum(run.ended is not None for run in runs)
    counts = ((len(runs) - n_ended, "going on"), (n_ended, "ended"))
    return ", ".join(f"{n} {what}" for n, what in counts if n)
