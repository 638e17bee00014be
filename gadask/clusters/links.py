"""Where a browser finds the dashboard.

Dask's setting `distributed.dashboard.link` says how a port of this machine is reached, as through a Jupyter server's
proxy: `https://hub/user/{USER}/proxy/{port}/status`, with `{scheme}`, `{host}`, `{port}` and environment variables.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import dask
from distributed.utils import format_dashboard_link

from gadask.dashboard.events import PAGE

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
