"""How the scheduler bears nodes that all come at once: `python -m tests.benchmarks.bench_storm [NODES …]`.

Real Dask workers with TLS, many in each process, that play nothing (`simulated_nodes.py`). In turn they connect one
after the other in each process, and all at the same moment, as jobs do that wait for a holiday to end. Seconds are from
the first connection to the last one; failures are workers that did not connect. Workers share the machine with what is
measured: their CPU time is given too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")

import psutil
from distributed import Scheduler, SchedulerPlugin
from rich.console import Console
from rich.table import Table

from gadask.clusters.base import allow_connections
from gadask.clusters.local import local_cluster
from gadask.config import NoiseConfig
from tests.benchmarks.bench_scale import mark
from tests.benchmarks.simulated_nodes import simulated_nodes

_NOISE = NoiseConfig(size=1_000_000)


class _Arrivals(SchedulerPlugin):  # type: ignore[misc]
    """Remembers when workers came, and how many went."""

    name = "arrivals"

    def __init__(self) -> None:
        self.times: list[float] = []
        self.n_gone = 0

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        self.times.append(time.monotonic())

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: object) -> None:
        self.n_gone += 1


def measure(n_nodes: int, *, at_once: bool) -> dict[str, float]:
    """Return figures of one storm, or of an orderly arrival."""
    return asyncio.run(_measure(n_nodes, at_once=at_once))


async def _measure(n_nodes: int, *, at_once: bool) -> dict[str, float]:
    this = psutil.Process()
    allow_connections(n_nodes)
    async with local_cluster(0) as cluster:
        arrivals = _Arrivals()
        cluster.client.cluster.scheduler.add_plugin(arrivals)
        before = this.memory_info().rss
        _, before_s, _, _ = mark(this, [])
        async with simulated_nodes(cluster.client, n_nodes, _NOISE, at_once=at_once) as pids:
            _, after_s, nodes_s, _ = mark(this, pids)
            gone = arrivals.n_gone
            return {
                "nodes that came": len(arrivals.times),
                "that went again": gone,
                "seconds from first to last": arrivals.times[-1] - arrivals.times[0],
                "CPU of the scheduler, ms a node": 1000 * (after_s - before_s) / n_nodes,
                "CPU of the nodes, ms a node": 1000 * nodes_s / n_nodes,
                "memory, kB a node": (this.memory_info().rss - before) / 1000 / n_nodes,
            }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, metavar="NODES", default=[100, 500])
    sizes = parser.parse_args().sizes
    storms = [(n_nodes, at_once) for n_nodes in sizes for at_once in (False, True)]
    headings = [f"{n_nodes} {'at once' if at_once else 'in turn'}" for n_nodes, at_once in storms]
    console = Console(width=100)
    columns = []
    for (n_nodes, at_once), heading in zip(storms, headings, strict=True):
        with console.status(heading):
            columns.append(measure(n_nodes, at_once=at_once))
    table = Table("nodes", *headings, title="workers that connect through TLS")
    for figure in columns[0]:
        table.add_row(figure, *(f"{column[figure]:,.4g}" for column in columns))
    console.print(table)


if __name__ == "__main__":
    main()
