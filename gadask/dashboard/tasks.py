"""Which task the plots show.

Returns of two tasks, and frames of an emulator and steps of a cart, share no axis. The table has the runs of all tasks.
"""

from __future__ import annotations

import html
from collections import Counter

from bokeh.models import Div, Select

from gadask.dashboard.history import History, RunHistory
from gadask.dashboard.shown import coloured, ranked

_LOOK = """
:host { --color: var(--ga-ink); --background-color: var(--ga-surface); --border-color: var(--ga-line); }
.bk-input-group { flex-direction: row; flex-wrap: wrap; align-items: center; gap: 0 8px; }
select.bk-input { appearance: auto !important; background-image: none !important; color: var(--color); }
select.bk-input { width: auto; max-width: 100%; }
"""


class TaskPicker:
    """A list of the tasks to pick from, shown where there are several.

    A page begins with the task of the run that is shown first, and stays with it until somebody picks another.
    """

    def __init__(self, history: History) -> None:
        """Make the list of a page, empty."""
        self._history = history
        self.root = Select(
            name="task",
            title="The plots show",
            visible=False,
            sizing_mode="stretch_width",
            max_width=450,
            stylesheets=[_LOOK],
        )

    def update(self) -> None:
        """Bring the list up to date."""
        counts = Counter(run.env for run in ranked(self._history))
        options = [(env, f"{env} ({n} run{'s'[: n - 1]})") for env, n in counts.items()]
        picked = self.root.value if self.root.value in counts else next(iter(counts), "")
        if (options, picked) != (self.root.options, self.root.value):
            self.root.update(options=options, value=picked, visible=len(options) > 1)

    def runs(self) -> list[RunHistory]:
        """Return the runs of the picked task, as `shown.ranked` orders them."""
        return [run for run in ranked(self._history) if run.env == self.root.value]


class Key:
    """Names the runs of a plot that stands alone, where there are several: on the whole page the table does that."""

    def __init__(self, picker: TaskPicker) -> None:
        """Name what `picker` has picked."""
        self._picker = picker
        self.root = Div(visible=False, sizing_mode="stretch_width", styles={"color": "var(--ga-ink)"})

    def update(self) -> None:
        """Write the names anew."""
        runs = coloured(self._picker.runs())
        names = " ".join(f"<span style='margin-right:10px'>{name_of(run, colour)}</span>" for run, colour in runs)
        self.root.update(text=names, visible=len(runs) > 1)


def name_of(run: RunHistory, colour: str) -> str:
    """Return a run's name as HTML, behind a dot of its colour."""
    return f"<span style='color:{colour}'>●</span> {html.escape(run.name)}"
