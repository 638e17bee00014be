"""The figure of places: where the chosen genomes ended, and an archive, for runs whose behaviour has two numbers."""

from __future__ import annotations

from typing import Any

from bokeh.models import ColumnDataSource

from gadask.dashboard.figures import RunPlot
from gadask.dashboard.history import RunHistory
from gadask.dashboard.plots import INK, add_key, append, empty_columns, new_plot

_MAZE = "gadask/HardMaze-v0"
_MARKS = {
    "parents": {"marker": "circle", "size": 6},
    "candidates": {"marker": "diamond", "size": 11},
    "elite": {"marker": "star", "size": 20},
}
_ARCHIVED = {"marker": "x", "size": 6}
_ARCHIVE_ALPHA = 0.6
_NEWEST, _OLDER, _FAINTEST, _FADING = 0.95, 0.4, 0.06, 0.93
_GOAL, _EDGE = "#009E73", "#E69F00"


class Positions(RunPlot):
    """Where do the chosen ones end? Parents of the next generation, candidates, the elite, earlier ones fainter.

    Crosses are the newest behaviours in the archive of an algorithm that has one. In the hard maze all lie among its
    walls. A plot that is made invisible stays so until there is something to draw, and is so again while a task without
    places is picked.
    """

    name = "positions"
    nothing = "no behaviour of two numbers is known"

    def _make(self, **layout: Any) -> Any:
        plot = new_plot("Where episodes ended", "", "", match_aspect=True, **layout)
        self._hides = not plot.visible
        self._env = ""
        self._walls = ColumnDataSource(empty_columns("x0", "y0", "x1", "y1"))
        self._marks = ColumnDataSource(empty_columns("x", "y", "colour", "size"))
        self._archive = ColumnDataSource(empty_columns("x", "y", "colour"))
        columns = empty_columns("x", "y", "colour", "line", "alpha", "marker", "size", "kind")
        self._earlier, self._newest = ColumnDataSource(columns), ColumnDataSource(columns)
        plot.segment("x0", "y0", "x1", "y1", source=self._walls, line_color=INK, line_width=3)
        plot.scatter("x", "y", source=self._marks, fill_color="colour", line_color=INK, line_width=2, size="size")
        plot.scatter("x", "y", source=self._archive, color="colour", alpha=_ARCHIVE_ALPHA, **_ARCHIVED)
        for source in (self._earlier, self._newest):
            plot.scatter(
                "x", "y", source=source, fill_color="colour", line_color="line", alpha="alpha", marker="marker",
                size="size", line_width=1.5,
            )  # fmt: skip
        add_key(
            plot, next_parents=_MARKS["parents"], candidates=_MARKS["candidates"], elite=_MARKS["elite"],
            archive=_ARCHIVED,
        )  # fmt: skip
        return plot

    def _draw(self, runs: list[tuple[RunHistory, str]]) -> bool:
        earlier, newest = empty_columns(*self._earlier.data), empty_columns(*self._newest.data)
        archive = empty_columns(*self._archive.data)
        for run, colour in runs:
            for place in run.archive:
                append(archive, (*place, colour))
            for age, places in enumerate(reversed(run.places)):
                alpha = max(_FAINTEST, _OLDER * _FADING**age) if age else _NEWEST
                for kind, style in _MARKS.items():
                    if kind == "elite" and age:  # the path of the elite would hide where it is
                        continue
                    line = _EDGE if kind == "elite" else colour
                    for x, y in places[kind]:
                        mark = style["marker"], style["size"], kind
                        append(earlier if age else newest, (x, y, colour, line, alpha, *mark))
        env = runs[0][0].env if newest["x"] else ""
        if env != self._env:
            self._env = env
            self._draw_surroundings()
        self._archive.data, self._earlier.data, self._newest.data = archive, earlier, newest
        is_filled = bool(newest["x"])
        self.root.visible = is_filled or not self._hides
        return is_filled

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
