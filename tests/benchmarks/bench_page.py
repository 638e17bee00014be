"""What the dashboard's page costs the scheduler: `python -m tests.benchmarks.bench_page`.

Thirteen simulated nodes of 31 processes (`simulated_nodes.py`) give about 300 episodes a second. A browser shows the
page and closes it again, `ROUNDS` times; the figures are the CPU time of the process that holds scheduler, dashboard
and master, as a share of one core, medians over the rounds.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from gadask.clusters.local import local_cluster
from gadask.master.evolve import evolve
from gadask.master.generation import Progress
from tests.benchmarks.bench_scale import GENERATIONS_BEFORE, scale_config, write_genealogy
from tests.benchmarks.simulated_nodes import simulated_nodes
from tests.browser import Page, browser

N_NODES = 13
POPULATION_OF_NODES = 65  # long generations, so that little of the time is waited for a last episode
ROUNDS = 4
WINDOW_S = 20.0


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(_measure(Path(directory)))
    table = Table("", "CPU, share of a core", "episodes/s", title="scheduler, dashboard and master")
    for name, (shares, rates) in figures.items():
        table.add_row(name, f"{100 * statistics.median(shares):.2f} %", f"{statistics.median(rates):.0f}")
    differences = [with_page - without for without, with_page in zip(*(f[0] for f in figures.values()), strict=True)]
    table.add_row("difference", f"{100 * statistics.median(differences):.2f} %", "")
    Console(width=100).print(table)


async def _measure(directory: Path) -> dict[str, tuple[list[float], list[float]]]:
    config = scale_config(POPULATION_OF_NODES, GENERATIONS_BEFORE + 10_000)
    write_genealogy(directory / "run", config, GENERATIONS_BEFORE)
    n_counted = 0
    n_closed = 0

    def note(progress: Progress) -> None:
        nonlocal n_counted
        n_counted = progress.n_counted

    async def play() -> None:
        nonlocal n_counted, n_closed
        async for generation in evolve(config, cluster.client, directory / "run", resume=True, on_progress=note):
            n_closed += generation.line["episodes"]
            n_counted = 0

    async def window() -> tuple[float, float]:
        this = psutil.Process()
        begin_s, begin_cpu_s, begin_n = time.monotonic(), sum(this.cpu_times()[:2]), n_closed + n_counted
        await asyncio.sleep(WINDOW_S)
        wall_s = time.monotonic() - begin_s
        return (sum(this.cpu_times()[:2]) - begin_cpu_s) / wall_s, (n_closed + n_counted - begin_n) / wall_s

    figures: dict[str, tuple[list[float], list[float]]] = {"without a page": ([], []), "with a page": ([], [])}
    async with (
        local_cluster(0) as cluster,
        simulated_nodes(cluster.client, N_NODES, config.noise),
        browser(directory / "profile") as shown,
    ):
        playing = asyncio.create_task(play())
        await asyncio.sleep(WINDOW_S)
        for _ in range(ROUNDS):
            for name, address in zip(figures, ("about:blank", str(cluster.dashboard)), strict=True):
                await _show(shown, address)
                share, rate = await window()
                figures[name][0].append(share)
                figures[name][1].append(rate)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    return figures


async def _show(page: Page, address: str) -> None:
    """Open an address, and wait until what it shows is there."""
    await page.open(address.replace("/status", "/ga"))
    if address != "about:blank":
        await page.wait_for("Bokeh.documents[0].roots().length")


if __name__ == "__main__":
    main()
