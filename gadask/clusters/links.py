"""Where a browser finds the dashboard: on this machine, or through the proxy of a JupyterHub.

`distributed.dashboard.link` of Dask's configuration says how, or `DASK_DISTRIBUTED__DASHBOARD__LINK` in the
environment: a text in which `{scheme}`, `{host}`, `{port}` and names of environment variables stand in braces, such as
`{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status`.
"""

from __future__ import annotations

import html
import logging
import os
import re

import dask

from gadask.tables import html_table
from gadask.units import many

_KEY = "distributed.dashboard.link"
_DEFAULT = "{scheme}://{host}:{port}/status"
_logger = logging.getLogger(__name__)


def dashboard_link(host: str, port: int, instead: str = "") -> str:
    """Return the dashboard's address as Dask's configuration says; where that says nothing, `instead`.

    By default that is the plain address. A link that names what is not in the environment is logged, and left aside.
    """
    scheme = "https" if dask.config.get("distributed.scheduler.dashboard.tls.cert", None) else "http"
    own = {"scheme": scheme, "host": host, "port": port}
    plain = _DEFAULT.format(**own)
    link = str(dask.config.get(_KEY, _DEFAULT))
    if link == _DEFAULT:
        return instead or plain
    try:
        return link.format(**{**os.environ, **own})
    except (LookupError, ValueError) as error:
        _logger.warning(
            "%s: expected names of the environment, scheme, host or port in braces, found %r (%s: %s)",
            _KEY,
            link,
            type(error).__name__,
            error,
        )
        return instead or plain


def page_of(dashboard: str, page: str) -> str:
    """Return the address of another page of the same dashboard, such as `ga`; `dashboard` is that of `status`."""
    return re.sub(r"/status\b", f"/{page}", dashboard, count=1)


def cluster_text(running: int, wanted: int, core_hours: float) -> str:
    """Return how a cluster stands in a few words."""
    nodes = f"{running:,} of {many(wanted, 'node')} running"
    return f"{nodes}, {core_hours:,.2f} core-hours" if core_hours else nodes


def cluster_html(standing: str, n_processes: int | None, dashboard: str) -> str:
    """Return a table on a cluster, and links to Dask's dashboard and to gadask's page of it; an ssh command as text."""
    rows: dict[str, object] = {"nodes": standing}
    if n_processes is not None:
        rows["rollout processes"] = f"{n_processes} a node"
    if not re.match(r"https?://\S+$|/\S+$", dashboard):
        return html_table("cluster", rows | {"dashboard": dashboard})
    links = {"runs as they evolve, /ga": page_of(dashboard, "ga"), "Dask's dashboard": dashboard}
    anchors = (
        f'<a href="{html.escape(address, quote=True)}" target="_blank" rel="noopener">{html.escape(name)}</a>'
        for name, address in links.items()
    )
    return f"{html_table('cluster', rows)}<div>{' · '.join(anchors)}</div>"
