"""The table of the dashboard page: where every run stands now."""

from __future__ import annotations

import html
import math
from typing import Any

from bokeh.models.widgets import Div

from gadask.dashboard.figures import Figure
from gadask.dashboard.history import RunHistory
from gadask.dashboard.shown import coloured, is_silent, left_out, ranked
from gadask.dashboard.tasks import name_of
from gadask.units import count_text, duration_text, error_text, many, number_text

_MAX_ROWS = 12
_HEADS = ("run", "task", "generation", "episodes", "played", "best", "elite", "nodes", "budget", "ETA")
_LOOK = """
:host { color: var(--ga-ink); overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: left; padding: 2px 14px 2px 0; white-space: nowrap; }
progress { width: 80px; }
p { margin: 2px 0; }
@media (max-width: 1000px) {
  tr { display: flex; flex-wrap: wrap; gap: 1px 12px; padding: 6px 0; border-bottom: 1px solid var(--ga-line); }
  thead, td:empty { display: none; }
  td { padding: 0; }
  td:first-child { flex-basis: 100%; font-weight: bold; white-space: normal; overflow-wrap: anywhere; }
  td::before { content: attr(data-head); opacity: 0.7; }
}
"""
"""Where there is no room each row is a paragraph, whose entries have the columns' names before them."""
_UNNAMED = ("run", "task")


class Standing(Figure):
    """Where does every run stand? All that go on have a row; ended ones as far as there is room, the latest first.

    Runs that the plots show have their colour.
    """

    name = "standing"

    def _make(self, **layout: Any) -> Any:
        self._table = Div(**{**layout, "sizing_mode": "stretch_width", "stylesheets": [_LOOK]})
        return self._table

    def update(self) -> None:
        """Write the table anew: a run turns silent without any event."""
        runs = ranked(self._history)
        if not runs:
            self._table.text = "<p>No run has reported yet.</p>"
            return
        n_live = sum(run.ended is None for run in runs)
        shown = runs[: max(n_live, _MAX_ROWS)]
        colours = {run.number: colour for run, colour in coloured(self._picker.runs())}
        heads = "<thead><tr>" + "".join(f"<th>{head}</th>" for head in _HEADS) + "</tr></thead>"
        rows = "".join(_row(run, colours.get(run.number, "transparent")) for run in shown)
        hidden = left_out(runs[len(shown) :])
        note = f"<p>runs left out: {hidden}</p>" if hidden else ""
        self._table.text = f"<table>{heads}{rows}</table>{note}"


def _row(run: RunHistory, colour: str) -> str:
    now = run.progress if run.ended is None else None
    last = run.generations[-1] if run.generations else None
    amount = now["frames"] if now else last["frames"] if last else None
    best = now["best"] if now else (last["quantiles"].get("1") if last else None)
    elite = last["elite"] if last else None
    error = last["elite_error"] if last else None
    done, left_s = _budget_share(run), (now or {}).get("time_left_s")
    cells = (
        name_of(run, colour),
        html.escape(run.env),
        html.escape(_state(run)),
        _episodes(now) if now else "",
        "" if amount is None else f"{count_text(amount)} {run.unit}",
        "" if best is None else number_text(best),
        "" if elite is None else error_text(elite, math.nan if error is None else error),
        f"{now['nodes']} ({many(now['processes'], 'process', 'processes')})" if now else "",
        "" if done is None else f"{done:.0%}",
        "" if left_s is None or is_silent(run) else duration_text(left_s),
    )
    named = (("" if head in _UNNAMED else f"{head} ", cell) for head, cell in zip(_HEADS, cells, strict=True))
    return "<tr>" + "".join(f"<td data-head='{head}'>{cell}</td>" for head, cell in named) + "</tr>"


def _state(run: RunHistory) -> str:
    if run.ended is not None:
        return f"ended: {run.ended}" if run.ended else "finished"
    if is_silent(run):
        return "silent"
    return "starts" if run.progress is None else str(run.progress["generation"])


def _budget_share(run: RunHistory) -> float | None:
    """Return the used part of a run's budget, in [0, 1]; None without a limit, or before the first report."""
    if run.ended == "":  # its last report is of before the end
        return 1.0
    share = (run.progress or {}).get("budget_share")
    return None if share is None else min(1.0, share)  # the last generation runs over


def _episodes(now: dict[str, Any]) -> str:
    share = now["n_counted"] / now["n_wanted"] if now["n_wanted"] else 0.0
    return f"<progress max='1' value='{share:.3f}'></progress> {now['n_counted']}/{now['n_wanted']}"
