"""The table of the dashboard page: where every run stands now."""

from __future__ import annotations

import html
import math
from typing import Any

from bokeh.models.widgets import Div

from gadask.dashboard.figures import Figure
from gadask.dashboard.history import RunHistory
from gadask.dashboard.shown import coloured, is_silent, left_out, ranked
from gadask.units import count_text, duration_text, error_text, number_text

_MAX_ROWS = 12
_HEADS = (
    "run", "game", "generation", "episodes", "frames", "best", "elite", "nodes", "frames/s", "budget", "ETA"
)  # fmt: skip
_CELL = "style='text-align:left;padding:2px 12px 2px 0'"


class Standing(Figure):
    """Where does every run stand? All that go on have a row; ended ones as far as there is room, the latest first."""

    name = "standing"

    def _make(self, **layout: Any) -> Any:
        self._table = Div(**{**layout, "sizing_mode": "stretch_width"})
        return self._table

    def update(self) -> None:
        """Write the table anew: a run turns silent without any event."""
        runs = ranked(self._history)
        if not runs:
            self._table.text = "<p>No run has reported yet.</p>"
            return
        n_live = sum(run.ended is None for run in runs)
        shown = runs[: max(n_live, _MAX_ROWS)]
        colours = {run.number: colour for run, colour in coloured(runs)}
        heads = "<tr>" + "".join(f"<th {_CELL}>{head}</th>" for head in _HEADS) + "</tr>"
        rows = "".join(_row(run, colours.get(run.number, "transparent")) for run in shown)
        hidden = left_out(runs[len(shown) :])
        note = f"<p style='margin:2px 0'>runs left out: {hidden}</p>" if hidden else ""
        self._table.text = f"<table style='font-size:13px;border-collapse:collapse'>{heads}{rows}</table>{note}"


def _row(run: RunHistory, colour: str) -> str:
    now = run.progress
    last = run.generations[-1] if run.generations else None
    if run.ended is not None:
        state = "finished" if not run.ended else f"ended: {run.ended}"
    elif is_silent(run):
        state = "silent"
    else:
        state = "starts" if now is None else f"{now['generation']}"
    values = [
        f"<span style='color:{colour}'>●</span> {html.escape(run.name)}",
        html.escape(run.env),
        html.escape(state),
    ]
    if now is None:
        values += ["", count_text(last["frames"]) if last else ""]
    else:
        share = now["n_counted"] / now["n_wanted"] if now["n_wanted"] else 0.0
        bar = f"<progress max='1' value='{share:.3f}' style='width:80px'></progress>"
        values += [f"{bar} {now['n_counted']}/{now['n_wanted']}", count_text(now["frames"])]
    best = (now or {}).get("best")
    values.append("" if best is None else number_text(best))
    elite = last["elite"] if last else None
    error = last["elite_error"] if last else None
    values.append("" if elite is None else error_text(elite, math.nan if error is None else error))
    values.append("" if now is None else f"{now['nodes']} ({now['processes']} processes)")
    values.append("" if last is None else count_text(last["frames_per_s"]))
    done = (now or {}).get("budget_share")
    values.append("" if done is None else f"{min(1.0, done):.0%}")
    left_s = now.get("time_left_s") if now and run.ended is None else None
    values.append("" if left_s is None else duration_text(left_s))
    return "<tr>" + "".join(f"<td {_CELL}>{value}</td>" for value in values) + "</tr>"
