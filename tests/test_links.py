"""Where a browser finds the dashboard and gadask's page, also through a proxy, and how a notebook shows a cluster."""

from __future__ import annotations

import asyncio
import logging
import re

import dask
import pytest
from distributed import LocalCluster
from tornado.httpclient import AsyncHTTPClient

from gadask.clusters import jobcluster
from gadask.clusters.base import Cluster, NodeCounts
from gadask.clusters.existing import existing_cluster
from gadask.clusters.held import hold
from gadask.clusters.links import dashboard_link, page_link
from gadask.clusters.local import local_cluster
from gadask.dashboard import page

PROXY = {"distributed.dashboard.link": "https://hub/user/{GADASK_USER}/proxy/{port}/status"}


class Shown(Cluster):
    """A cluster of two nodes, of which one runs."""

    def __init__(self, dashboard: str) -> None:
        self.dashboard = dashboard

    def counts(self) -> NodeCounts:
        return NodeCounts(wanted=2, running=1, core_hours=1.5)


@pytest.mark.parametrize(
    ("dashboard", "found"),
    [
        ("http://127.0.0.1:8787/status", "http://127.0.0.1:8787/ga"),
        ("http://127.0.0.1:8787/status after ssh -N -L 8787:127.0.0.1:8787 me@login", "http://127.0.0.1:8787/ga"),
        ("https://hub/user/me/proxy/8787/status", "https://hub/user/me/proxy/8787/ga"),
        ("/user/me/proxy/8787/status", "/user/me/proxy/8787/ga"),
        ("https://hub/proxy/8787/", "https://hub/proxy/8787/ga"),
        ("https://hub/proxy/8787/status?token=a/b", "https://hub/proxy/8787/ga?token=a/b"),
        ("https://hub", "https://hub/ga"),
    ],
)
def test_the_page_takes_the_place_of_the_last_component(dashboard: str, found: str) -> None:
    assert page_link(dashboard) == found


def test_a_proxy_needs_no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GADASK_USER", "me")
    monkeypatch.setattr("getpass.getuser", lambda: "crsid")
    ssh = "ssh -N -L 8787:127.0.0.1:8787 crsid@login-1"
    assert jobcluster._dashboard("login-1", 8787) == f"http://127.0.0.1:8787/status after {ssh}"
    with dask.config.set(PROXY):
        assert jobcluster._dashboard("login-1", 8787) == "https://hub/user/me/proxy/8787/status"


@pytest.mark.parametrize(
    "template", ["https://hub/{GADASK_USER}/status", "https://{}/status", "https://{/status", None]
)
def test_a_link_that_cannot_be_filled_in_is_told_of_and_left_out(
    template: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GADASK_USER", raising=False)
    with dask.config.set({"distributed.dashboard.link": template}), caplog.at_level(logging.WARNING):
        assert dashboard_link("127.0.0.1", 8787) == "http://127.0.0.1:8787/status"
    (told,) = caplog.messages
    assert told.startswith("distributed.dashboard.link: expected an address")
    assert repr(template) in told


@pytest.mark.usefixtures("no_leaks")
def test_a_cluster_tells_where_its_page_is_and_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GADASK_USER", "me")

    async def main() -> None:
        async with local_cluster(0) as cluster:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ga", cluster.page)
            assert (await AsyncHTTPClient().fetch(cluster.page)).code == 200
        with dask.config.set(PROXY):
            held = await hold(local_cluster(0))
            assert re.fullmatch(r"https://hub/user/me/proxy/\d+/status", held.dashboard)
            assert held.page == held.dashboard.replace("status", "ga")
            await held.close()

    asyncio.run(main())


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("preloads", [False, True])
def test_somebodys_scheduler_has_a_page_where_it_preloads_it(preloads: bool) -> None:
    async def main() -> None:
        async with LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", asynchronous=True, silence_logs=50
        ) as theirs:
            if preloads:
                page.dask_setup(theirs.scheduler)
            async with existing_cluster(theirs.scheduler_address) as cluster:
                assert cluster.dashboard == f"http://127.0.0.1:{theirs.scheduler.http_server.port}/status"
                assert cluster.page == (cluster.dashboard.replace("status", "ga") if preloads else "")

    asyncio.run(main())


def test_a_cluster_is_shown_with_its_links() -> None:
    cluster = Shown("http://127.0.0.1:8787/status")
    assert repr(cluster) == ("<cluster: 1 of 2 nodes running, 1.50 core-hours; dashboard http://127.0.0.1:8787/status>")
    cluster.n_processes = 3
    shown = cluster._repr_html_()
    assert 'href="http://127.0.0.1:8787/ga"' in shown
    assert "3 per node" in shown
    assert "1 of 2 nodes running" in shown


@pytest.mark.parametrize("dashboard", ["http://h:1/status after ssh -N <h>", "javascript:alert(1)", "none <b>"])
def test_what_is_no_address_is_text(dashboard: str) -> None:
    shown = Shown(dashboard)._repr_html_()
    assert "<a " not in shown
    assert "<h>" not in shown
    assert "<b>" not in shown


def test_quotes_in_an_address_stay_in_it() -> None:
    assert '"x"' not in Shown('http://h/"x"/status')._repr_html_()
