"""Where a cluster says that its dashboard is, and how a notebook shows a cluster."""

from __future__ import annotations

import asyncio

import dask
import pytest

from gadask.clusters import jobcluster
from gadask.clusters.base import Cluster, NodeCounts
from gadask.clusters.links import dashboard_link, page_of
from gadask.clusters.local import local_cluster

PROXY = "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"


class Shown(Cluster):
    """A cluster of two nodes, of which one runs."""

    def __init__(self, dashboard: str) -> None:
        self.dashboard = dashboard

    def counts(self) -> NodeCounts:
        return NodeCounts(wanted=2, running=1, core_hours=1.5)


def test_the_dashboard_is_at_its_own_address_or_where_dask_is_told() -> None:
    assert dashboard_link("127.0.0.1", 8787) == "http://127.0.0.1:8787/status"
    assert dashboard_link("127.0.0.1", 8787, instead="by ssh") == "by ssh"
    with dask.config.set({"distributed.dashboard.link": "{scheme}://hub/{host}/{port}/status"}):
        assert dashboard_link("127.0.0.1", 8787, instead="by ssh") == "http://hub/127.0.0.1/8787/status"


def test_the_environment_leads_through_the_proxy_of_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    with dask.config.set({"distributed.dashboard.link": PROXY}):
        assert jobcluster._dashboard("login", 8787) == "/user/ada/proxy/8787/status"

        async def main() -> tuple[str, str]:
            async with local_cluster() as cluster:
                return cluster.dashboard, cluster._repr_html_()

        dashboard, shown = asyncio.run(main())
    assert dashboard.startswith("/user/ada/proxy/")
    assert f'href="{dashboard}"' in shown
    assert f'href="{page_of(dashboard, "ga")}"' in shown


@pytest.mark.parametrize("link", ["{NO_SUCH_VARIABLE}/{port}", "{port", "{0}"])
def test_a_link_that_cannot_be_made_is_named_and_left_aside(link: str, caplog: pytest.LogCaptureFixture) -> None:
    with dask.config.set({"distributed.dashboard.link": link}):
        assert dashboard_link("127.0.0.1", 8787) == "http://127.0.0.1:8787/status"
    assert "distributed.dashboard.link: expected" in caplog.text
    assert link in caplog.text


def test_the_page_of_runs_is_beside_the_dashboards() -> None:
    assert page_of("http://127.0.0.1:8787/status", "ga") == "http://127.0.0.1:8787/ga"
    assert page_of("http://h:1/status after ssh -N h", "ga") == "http://h:1/ga after ssh -N h"
    assert page_of("none on this scheduler", "ga") == "none on this scheduler"


def test_a_cluster_is_shown_with_its_links() -> None:
    cluster = Shown("http://127.0.0.1:8787/status")
    assert repr(cluster) == ("<cluster: 1 of 2 nodes running, 1.50 core-hours; dashboard http://127.0.0.1:8787/status>")
    cluster.n_processes = 3
    shown = cluster._repr_html_()
    assert 'href="http://127.0.0.1:8787/ga"' in shown
    assert "3 a node" in shown
    assert "1 of 2 nodes running" in shown


@pytest.mark.parametrize("dashboard", ["http://h:1/status after ssh -N <h>", "javascript:alert(1)", "none <b>"])
def test_what_is_no_address_is_text(dashboard: str) -> None:
    shown = Shown(dashboard)._repr_html_()
    assert "<a " not in shown
    assert "<h>" not in shown
    assert "<b>" not in shown


def test_quotes_in_an_address_stay_in_it() -> None:
    assert '"x"' not in Shown('http://h/"x"/status')._repr_html_()
