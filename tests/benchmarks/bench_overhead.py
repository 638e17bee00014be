"""What Dask takes from a node's rollout processes: `python -m tests.benchmarks.bench_overhead`.

One real node plays Frostbite on two processes, in turns with Dask's profiler, as Dask has it, and without, as gadask.
The figures are the CPU time of the Dask worker, and of the process that holds scheduler, dashboard and master, as
shares of one core, medians over the rounds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from pathlib import Path
from unittest import mock

import psutil
from rich.console import Console
from rich.table import Table

from gadask.clusters.base import DASK_CONFIG, meanwhile
from gadask.clusters.local import local_cluster
from gadask.config import Config, EnvConfig, GAConfig, GenerationConfig
from gadask.master.evolve import evolve
from gadask.master.generation import Progress

ROUNDS = 3
WINDOW_S = 30.0
CONFIG = Config(
    env=EnvConfig(id="ALE/Frostbite-v5"), generation=GenerationConfig(population=200), ga=GAConfig(parents=10)
)
SETTINGS: dict[str, dict[str, object]] = {
    "Dask's": {"distributed.worker.profile.enabled": True},
    "gadask's": {},
}


def main() -> None:
    """Measure and print a table."""
    shares: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    for _ in range(ROUNDS):
        for name, settings in SETTINGS.items():
            with mock.patch.dict(DASK_CONFIG, settings), tempfile.TemporaryDirectory() as directory:
                shares[name].append(asyncio.run(_measure(Path(directory) / "run")))
    table = Table("settings", "Dask worker", "scheduler, dashboard and master", title="CPU, share of a core")
    for name, rounds in shares.items():
        table.add_row(name, *(f"{100 * statistics.median(of_one):.1f} %" for of_one in zip(*rounds, strict=True)))
    Console(width=100).print(table)


async def _measure(run_dir: Path) -> tuple[float, float]:
    """Return the shares of a core that the worker and this process take while episodes are played."""
    played = asyncio.Event()

    def note(progress: Progress) -> None:
        if progress.n_counted:
            played.set()

    async def play() -> None:
        async for _ in evolve(CONFIG, cluster.client, run_dir, n_processes=2, on_progress=note):
            pass

    async with local_cluster() as cluster, meanwhile(play()):
        await played.wait()
        (worker,) = (await cluster.client.run(os.getpid)).values()
        processes = psutil.Process(worker), psutil.Process()
        before_s = [sum(process.cpu_times()[:2]) for process in processes]
        await asyncio.sleep(WINDOW_S)
        after_s = [sum(process.cpu_times()[:2]) for process in processes]
    of_worker, of_master = ((after - before) / WINDOW_S for before, after in zip(before_s, after_s, strict=True))
    return of_worker, of_master


if __name__ == "__main__":
    main()
