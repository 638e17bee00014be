"""Where a browser finds the dashboard, and how a notebook shows a cluster.

Dask's setting `distributed.dashboard.link` says how a port of this machine is reached, such as through a Jupyter
server's proxy: `https://hub/user/{USER}/proxy/{port}/status`, with `{scheme}`, `{host}`, `{port}` and environment
variables.
"""

from __future__ import annotations

import html
import logging
import re
from urllib.parse import urlsplit

import dask
from distributed.utils import format_dashboard_link

from gadask.dashboard.events import PAGE
from gadask.tables import html_table
from gadask.units import core_hours_text, many

_logger = logging.getLogger(__name__)

_SETTING = "distributed.dashboard.link"
_DIRECT = "{scheme}://{host}:{port}/status"


def dashboard_link(host: str, port: int, after: str = "") -> str:
    """Return the address of the dashboard at `host` and `port`, as Dask's configuration has it.

    Without a link of its own there, what else is to be done first is said behind the address: `after`, a command.
    """
    template = dask.config.get(_SETTING)
    if template != _DIRECT:
        try:
            return str(format_dashboard_link(host, port))
        except (AttributeError, LookupError, ValueError) as error:
            _logger.warning(
                "%s: expected an address of {scheme}, {host}, {port} and environment variables that are set, found %r"
                " (%s); it is left out",
                _SETTING, template, error,
            )  # fmt: skip
    with dask.config.set({_SETTING: _DIRECT}):
        link = format_dashboard_link(host, port)
    return f"{link} after {after}" if after else link


def page_link(dashboard: str) -> str:
    """Return the address of gadask's page, given a text that begins with the address of the dashboard."""
    link = urlsplit(dashboard.split()[0])
    return link._replace(path=f"{link.path.rpartition('/')[0]}/{PAGE}").geturl()


def cluster_text(running: int, wanted: int, core_hours: float) -> str:
    """Return how a cluster stands in a few words."""
    nodes = f"{running:,} of {many(wanted, 'node')} running"
    return f"{nodes}, {core_hours_text(core_hours)} core-hours" if core_hours else nodes


def cluster_html(standing: str, n_processes: int | None, dashboard: str, page: str) -> str:
    """Return a table on a cluster, and links to Dask's dashboard and to gadask's page of it; an ssh command as text.

    `page` is empty where the scheduler has none.
    """
    rows: dict[str, object] = {"nodes": standing}
    if n_processes is not None:
        rows["rollout processes"] = f"{n_processes} per node"
    if not re.match(r"https?://\S+$|/\S+$", dashboard):
        return html_table("cluster", rows | {"dashboard": dashboard})
    links = {"runs as they evolve, /ga": page, "Dask's dashboard": dashboard}
    anchors = (
        f'<a href="{html.escape(address, quote=True)}" target="_blank" rel="noopener">{html.escape(name)}</a>'
        for name, address in links.items()
        if address
    )
    return f"{html_table('cluster', rows)}<div>{' · '.join(anchors)}</div>"
