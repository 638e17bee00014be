"""The figure of places: where parents and candidates ended, of runs whose behaviour has two numbers."""

from __future__ import annotations

from typing import Any

from bokeh.models import ColumnDataSource

from gadask.dashboard.figures import RunPlot
from gadask.dashboard.history import RunHistory
from gadask.dashboard.plots import append, empty_columns, new_plot, place_legend

_MAZE = "gadask/HardMaze-v0"
_LABELS = {"parents": "next parents", "candidates": "candidates"}
_NEWEST, _OLDER, _FAINTEST, _FADING = 0.95, 0.4, 0.06, 0.93
_INK = "#808080"  # on a light and on a dark page
_GOAL = "#009E73"


class Positions(RunPlot):
    """Where do the chosen ones end? The parents of the next generation and the candidates, earlier ones fainter.

    Runs of one environment share the plot: that of the first run shown that has places. Those of the hard maze lie
    among its walls. A plot that is made invisible stays so until there is something to draw.
    """

    name = "positions"
    styles = "circles: next parents, diamonds: candidates"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Where episodes ended", "", "", match_aspect=True, **layout)
        self._env = ""
        self._walls = ColumnDataSource(empty_columns("x0", "y0", "x1", "y1"))
        self._marks = ColumnDataSource(empty_columns("x", "y", "colour", "size"))
        columns = empty_columns("x", "y", "colour", "alpha", "marker", "size", "label")
        self._earlier, self._newest = ColumnDataSource(columns), ColumnDataSource(columns)
        plot.segment("x0", "y0", "x1", "y1", source=self._walls, line_color=_INK, line_width=3)
        plot.scatter("x", "y", source=self._marks, fill_color="colour", line_color=_INK, line_width=2, size="size")
        style = {"color": "colour", "alpha": "alpha", "marker": "marker", "size": "size"}
        plot.scatter("x", "y", source=self._earlier, **style)
        plot.scatter("x", "y", source=self._newest, legend_field="label", **style)
        place_legend(plot)
        plot.add_layout(plot.legend[0], "below")
        plot.legend[0].orientation = "horizontal"
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> None:
        env = next((run.env for run, _ in runs if run.places), "")
        drawn = [(run, colour) for run, colour in runs if run.env == env and run.places]
        earlier, newest = empty_columns(*self._earlier.data), empty_columns(*self._newest.data)
        for run, colour in drawn:
            for age, places in enumerate(reversed(run.places)):
                alpha = max(_FAINTEST, _OLDER * _FADING**age) if age else _NEWEST
                for kind, marker, size in (("parents", "circle", 6), ("candidates", "diamond", 11)):
                    label = run.name if len(drawn) > 1 else _LABELS[kind]
                    for x, y in places[kind]:
                        append(earlier if age else newest, (x, y, colour, alpha, marker, size, label))
        if env != self._env:
            self._env = env
            self._draw_surroundings()
        self._earlier.data, self._newest.data = earlier, newest
        self.root.visible = self.root.visible or bool(drawn)

    def _draw_surroundings(self) -> None:
        """Draw the walls of a maze, or nothing."""
        walls, marks = empty_columns(*self._walls.data), empty_columns(*self._marks.data)
        if self._env == _MAZE:
            # Here, since it imports Gymnasium, which no other page needs.
            from gadask.envs.hard_maze_geometry import GOAL, START, WALLS

            for wall in WALLS.tolist():
                append(walls, tuple(wall))
            append(marks, (*START, "transparent", 10))
            append(marks, (*GOAL, _GOAL, 14))
        self._walls.data, self._marks.data = walls, marks
        self.root.y_range.flipped = self._env == _MAZE  # there y runs down
