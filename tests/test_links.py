"""Where a browser finds the dashboard and gadask's page: as Dask's configuration has it, also through a proxy."""

from __future__ import annotations

import asyncio
import logging
import re

import dask
import pytest
from distributed import LocalCluster
from tornado.httpclient import AsyncHTTPClient

from gadask.clusters import jobcluster
from gadask.clusters.existing import existing_cluster
from gadask.clusters.held import hold
from gadask.clusters.links import dashboard_link, page_link
from gadask.clusters.local import local_cluster
from gadask.dashboard import page

PROXY = {"distributed.dashboard.link": "https://hub/user/{GADASK_USER}/proxy/{port}/status"}


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
