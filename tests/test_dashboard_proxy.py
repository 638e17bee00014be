"""The page `/ga` behind a hub's reverse proxy, where the notebook's link leads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dask
import pytest

from gadask.clusters.links import dashboard_link, page_link
from gadask.dashboard import events, page
from tests.browser import browser
from tests.conftest import eventually
from tests.reported import close, start
from tests.reverse_proxy import PREFIX, reverse_proxy
from tests.test_dashboard import needs_browser, scheduler_with_page


@needs_browser
def test_the_page_behind_a_reverse_proxy_is_drawn_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", PREFIX)
    points = "Math.max(...[...Bokeh.documents[0]._all_models.values()].map(m => m.data?.elite?.length ?? 0))"

    async def main() -> None:
        async with scheduler_with_page() as (cluster, client), reverse_proxy() as proxy, browser(tmp_path) as shown:
            page.remember(cluster.scheduler)
            for event in (start("a", 2), close(2)):
                await client.log_event(events.TOPIC, event)
            with dask.config.set({"distributed.dashboard.link": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"}):
                link = dashboard_link("127.0.0.1", cluster.scheduler.http_server.port)
            await shown.open(proxy.address + page_link(link))
            assert await shown.wait_for(f"{points} == 3")
            await client.log_event(events.TOPIC, close(3))
            assert await shown.wait_for(f"{points} == 4")
            assert proxy.n_sockets == 1
            await shown.evaluate("document.querySelector('.navbar a[href=ga]').click()")
            await eventually(lambda: proxy.n_sockets == 2, 30, "the page is loaded again")
            assert await shown.wait_for(f"{points} == 4")
            assert await shown.evaluate("location.pathname") == page_link(link)
            assert shown.errors == []
            assert proxy.strays == []

    asyncio.run(main())
