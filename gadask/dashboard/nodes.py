"""The figures of nodes: which were there, and what they were busy with."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

from bokeh.models import BasicTicker, ColumnDataSource, DataRange1d, Range1d

from gadask.dashboard.figures import Figure, RunPlot
from gadask.dashboard.history import RunHistory
from gadask.dashboard.plots import (
    Lines,
    add_key,
    add_note,
    add_tips,
    append,
    empty_columns,
    from_zero,
    new_plot,
    thousands,
)
from gadask.dashboard.shown import is_silent

_BUSY, _DISCARDED, _REST = "#009E73", "#D55E00", "#999999"
_HOUR_S, _MINUTE_S = 3600.0, 60.0


class ProcessTime(Figure):
    """Where does each node's process time go? What runs are busy with, what they discard, and the rest.

    Runs share nodes and close generations at different times, so each counts with its own last generation, and a node
    can add up to somewhat more than all its time. The rest was idle, or played for what reports no generation, such as
    the test of an elite.
    """

    name = "process-time"

    def _make(self, **layout: Any) -> Any:
        self._drawn: object = None
        self._range = Range1d(start=0, end=100)
        plot = new_plot(
            "Process time by node", "share of the last generation's time, %", "", x_range=self._range, **layout
        )
        plot.min_border_left = 12  # the 0 below the axis has room
        plot.yaxis.visible = False
        plot.ygrid.visible = False
        self._bars = ColumnDataSource(
            empty_columns("y", "left", "right", "colour", "alpha", "part", "node", "run", "share")
        )
        bars = plot.hbar(
            y="y", left="left", right="right", height=0.8, source=self._bars, fill_color="colour", fill_alpha="alpha",
            line_color=None,
        )  # fmt: skip
        tips = [("node", "@node"), ("@part", "@share{0.0} % @run")]
        add_tips(plot, bars, tips)
        parts = {"busy": _BUSY, "discarded": _DISCARDED, "idle_or_other": _REST}
        add_key(plot, **{part: {"marker": "square", "size": 11, "color": colour} for part, colour in parts.items()})
        self._note = add_note(plot)
        return plot

    def update(self) -> None:
        """Draw the runs that are being played; where there are none, the one that ended last."""
        every = list(self._history.runs.values())
        runs = [run for run in every if run.ended is None and not is_silent(run)] or every[-1:]
        drawn = [(run.number, run.n_closed) for run in runs]
        if drawn != self._drawn:
            self._drawn = drawn
            self._draw(runs)

    def _draw(self, runs: list[RunHistory]) -> None:
        bars = empty_columns(*self._bars.data)
        nodes = {address: entry["host"] for run in runs for address, entry in run.nodes.items()}
        widest = 100.0
        for y, (address, host) in enumerate(sorted(nodes.items())):
            left = 0.0
            for part, colour in (("busy", _BUSY), ("discarded", _DISCARDED)):
                for place, run in enumerate(run for run in runs if address in run.nodes):
                    entry = run.nodes[address]
                    share = 100 * entry[f"{part}_s"] / (entry["process_s"] or math.inf)
                    alpha = (1.0, 0.7)[place % 2]  # tells neighbours apart
                    append(bars, (y, left, left + share, colour, alpha, part, f"{host} {address}", run.name, share))
                    left += share
            widest = max(widest, left)
            rest = max(0.0, 100 - left)
            append(bars, (y, left, left + rest, _REST, 1.0, "idle or other", f"{host} {address}", "", rest))
        self._bars.data, self._range.end = bars, widest
        self._note.update(text=RunPlot.nothing, visible=not nodes)


class Nodes(RunPlot):
    """Which nodes were there when?"""

    name = "nodes"
    moves = True
    nothing = "no node in the last hour"

    def _make(self, **layout: Any) -> Any:
        x_range = DataRange1d(end=0, range_padding=0, min_interval=1)
        plot = new_plot(
            "Nodes in the last hour", "minutes ago", "nodes", x_range=x_range, y_range=from_zero(), **layout
        )
        plot.xaxis.formatter = thousands(is_signed=False)  # the past is negative
        plot.yaxis.ticker = BasicTicker(min_interval=1)
        self._lines = Lines(plot, "nodes")
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> bool:
        now_s = time.time()
        since_s = now_s - _HOUR_S
        for run, colour in runs:
            last = run.progress
            if last is None or last["time_s"] < since_s:
                continue
            xs: list[float] = []
            ys: list[float] = []
            counts = [*run.node_counts, (last["time_s"], last["nodes"])]
            for (from_s, n_nodes), (until_s, _) in pairwise(counts):
                if until_s >= since_s:
                    xs += [(max(from_s, since_s) - now_s) / _MINUTE_S, (until_s - now_s) / _MINUTE_S]
                    ys += [n_nodes, n_nodes]
            self._lines.add(run.name, colour, xs, ys, dots=len(set(xs)) == 1)
        return self._lines.show()
