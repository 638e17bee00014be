"""What the figures of the dashboard page have in common; each answers one question from a `History`.

A figure is made once a page and updated in place. Runs of one task, the one that is picked, share a plot, told apart by
colour: as many as there are colours, those being played first; how many are left out stands above the plot.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from bokeh.models import LayoutDOM

from gadask.dashboard.history import History, RunHistory
from gadask.dashboard.plots import add_note
from gadask.dashboard.shown import coloured, left_out
from gadask.dashboard.tasks import TaskPicker


class Figure(ABC):
    """One figure of the page."""

    name: ClassVar[str]
    """The page `/individual-ga-<name>`."""
    root: LayoutDOM

    def __init__(self, history: History, picker: TaskPicker, **layout: Any) -> None:
        """Make the figure, empty; `layout` goes to the Bokeh model."""
        self._history = history
        self._picker = picker
        self.root = self._make(**layout)

    @abstractmethod
    def update(self) -> None:
        """Draw what has changed since the last call."""

    @abstractmethod
    def _make(self, **layout: Any) -> Any:
        """Return the Bokeh model."""


class RunPlot(Figure):
    """Lines of several runs of one task; they change when a generation closes."""

    moves: ClassVar[bool] = False
    """Whether they change in between too."""
    nothing: ClassVar[str] = "no generation has closed yet"
    """What stands above the plot while it is empty."""

    def __init__(self, history: History, picker: TaskPicker, **layout: Any) -> None:
        """Make the plot, with a line of text above it."""
        self._drawn: object = None
        super().__init__(history, picker, **layout)
        self._note = add_note(self.root)

    def update(self) -> None:
        """Draw what has changed since the last call."""
        runs = self._picker.runs()
        shown = coloured(runs)
        hidden = left_out(runs[len(shown) :])
        drawn = [(run.number, run.n_closed, colour) for run, colour in shown], hidden
        if drawn != self._drawn or self.moves:
            self._drawn = drawn
            is_filled = self._draw(shown)
            text = f"runs left out: {hidden}" if hidden else "" if is_filled else self.nothing
            self._note.update(text=text, visible=bool(text))

    @abstractmethod
    def _draw(self, runs: list[tuple[RunHistory, str]]) -> bool:
        """Show these runs, each in its colour; returns whether there is anything to show."""
