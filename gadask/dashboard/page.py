"""The page `/ga` and its figures in the Dask dashboard.

The one module that touches what Dask does not call public: the tables of the dashboard's applications and of its
navigation bar (distributed 2026.8). `install` must be called before the scheduler is made; where the scheduler is
not ours, its configuration can do so: `distributed.scheduler.preload: [gadask.dashboard.page]`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import GridBox
from bokeh.themes import built_in_themes
from distributed import Scheduler
from distributed.dashboard import scheduler as dask_dashboard
from distributed.dashboard.components.scheduler import env as templates

from gadask.dashboard.figures import Figure, Fitness, Lengths, Nodes, ProcessTime, Speed
from gadask.dashboard.history import history_of
from gadask.dashboard.positions import Positions
from gadask.dashboard.standing import Standing

PAGE = "ga"
FIGURES: tuple[type[Figure], ...] = (Standing, Fitness, Lengths, ProcessTime, Speed, Nodes, Positions)

_POSITIONS_WIDTH = 380  # beside the others, which have all the width where no run has places
_UPDATE_MS = 1000


def install() -> None:
    """Add the page to the dashboards of schedulers made from now on; a second call changes nothing."""
    applications = dask_dashboard.applications
    if f"/{PAGE}" in applications:
        return
    applications[f"/{PAGE}"] = _page
    for kind in FIGURES:
        applications[f"/individual-{PAGE}-{kind.name}"] = partial(_single_figure, kind)


def dask_setup(scheduler: Scheduler) -> None:
    """Add the page where Dask preloads this module, and begin to remember what masters report."""
    install()
    remember(scheduler)


def remember(scheduler: Scheduler) -> None:
    """Begin to keep what masters report, and name the page in the navigation bar."""
    history_of(scheduler)
    pages = dask_dashboard.template_variables(scheduler)["pages"]
    if PAGE not in pages:
        pages.insert(0, PAGE)


def _page(scheduler: Scheduler, extra: dict[str, Any], document: Document) -> None:
    """Lay out all figures; `extra` holds what Dask's templates need."""
    remember(scheduler)
    history = history_of(scheduler)
    beside: dict[str, Any] = {"visible": False, "sizing_mode": "stretch_height", "width": _POSITIONS_WIDTH}
    shown = [kind(history, **(beside if kind is Positions else {})) for kind in FIGURES]
    standing, fitness, lengths, process_time, speed, nodes, positions = (one.root for one in shown)
    figures = GridBox(
        children=[(fitness, 0, 0, 2, 1), (lengths, 0, 1), (process_time, 0, 2), (speed, 1, 1), (nodes, 1, 2)],
        sizing_mode="stretch_both",
    )
    plots = row(figures, positions, sizing_mode="stretch_both")
    document.add_root(column(standing, plots, sizing_mode="stretch_both"))
    document.template = templates.get_template("simple.html")
    document.template_variables.update(extra)
    _go_live(document, shown, "gadask")


def _single_figure(kind: type[Figure], scheduler: Scheduler, extra: dict[str, Any], document: Document) -> None:
    """Show one figure; Dask's pages of one figure have no template."""
    shown = kind(history_of(scheduler))
    document.add_root(shown.root)
    _go_live(document, [shown], f"gadask: {kind.name}")


def _go_live(document: Document, figures: list[Figure], title: str) -> None:
    """Draw now and once a second; `?theme=dark` in the address gives a dark page."""
    document.title = title
    request: Any = getattr(document.session_context, "request", None)
    dark = request is not None and request.arguments.get("theme") == [b"dark"]
    document.theme = built_in_themes["dark_minimal" if dark else "light_minimal"]

    def update() -> None:
        for shown in figures:
            shown.update()

    update()
    document.add_periodic_callback(update, _UPDATE_MS)
