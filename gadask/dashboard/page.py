"""The page `/ga` and its figures in the Dask dashboard.

The one module that uses what Dask does not call public: the tables of the dashboard's applications and of its
navigation bar (distributed 2026.8). `install` must be called before the scheduler is made; where the scheduler is not
ours, its configuration can do so: `distributed.scheduler.preload: [gadask.dashboard.page]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column
from bokeh.themes import built_in_themes
from distributed import Scheduler
from distributed.dashboard import scheduler as dask_dashboard
from distributed.dashboard.components.scheduler import env as templates
from jinja2 import Template

from gadask.dashboard.curves import Fitness, Lengths, Speed
from gadask.dashboard.events import PAGE
from gadask.dashboard.figures import Figure, RunPlot
from gadask.dashboard.history import history_of
from gadask.dashboard.look import head, read
from gadask.dashboard.nodes import Nodes, ProcessTime
from gadask.dashboard.positions import Positions
from gadask.dashboard.standing import Standing
from gadask.dashboard.tasks import Key, TaskPicker

FIGURES: tuple[type[Figure], ...] = (Standing, Fitness, Lengths, ProcessTime, Speed, Nodes, Positions)

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
    picker = TaskPicker(history)
    figures = [kind(history, picker, **({"visible": False} if kind is Positions else {})) for kind in FIGURES]
    document.add_root(picker.root)
    for figure in figures:
        figure.root.name = figure.name
        document.add_root(figure.root)
    document.template = templates.from_string(read("page.html"))
    document.template_variables.update(extra)
    _go_live(document, picker, figures, "gadask")


def _single_figure(kind: type[Figure], scheduler: Scheduler, extra: dict[str, Any], document: Document) -> None:
    """Show one figure, of runs of one task with what the whole page has around it; Dask's pages have no template."""
    history = history_of(scheduler)
    picker = TaskPicker(history)
    shown = kind(history, picker)
    key = Key(picker)
    around = [picker.root, key.root] if issubclass(kind, RunPlot) else []
    document.add_root(column(*around, shown.root, sizing_mode="stretch_both"))
    document.template = Template("{% extends base %}{% block postamble %}{{ head }}{% endblock %}")
    _go_live(document, picker, [key, shown], f"gadask: {kind.name}")


def _go_live(document: Document, picker: TaskPicker, shown: Sequence[Figure | Key], title: str) -> None:
    """Draw now, once a second and when a task is picked.

    `?theme=dark` or `light` in the address overrules what the browser prefers.
    """
    document.title = title
    request: Any = getattr(document.session_context, "request", None)
    theme, *_ = (request.arguments if request is not None else {}).get("theme") or [b""]
    document.template_variables["head"] = head(theme.decode(errors="replace"))
    document.theme = built_in_themes["light_minimal"]  # spare lines; colours come from the page

    def update() -> None:
        picker.update()
        for one in shown:
            one.update()

    update()
    picker.root.on_change("value", lambda attr, old, new: update())
    document.add_periodic_callback(update, _UPDATE_MS)
