"""`make bench`: one table of every figure that the docs quote. Takes about five minutes on two idle cores."""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")

from rich.console import Console
from rich.table import Table

from tests.benchmarks import bench_evolution, bench_ledger, bench_master, bench_memory, bench_noise, bench_weights

_MOST = {
    "growth / table": 1.05,
    "1000 genes / 10 genes": 1.2,
    "1000 genes / torch.add": 1.5,
    "bytes on the wire per episode": 64,
    "node start to first episode, s": 10,
}
_LEAST = {
    "such2017 / ALE vector environment, median": 0.38,
    "nature / ALE vector environment, median": 0.58,
    "ratio_same_size_per_core": 0.85,
}


def main() -> None:
    """Measure everything and print it."""
    table = Table("what", "figure", "value", "bound", title="gadask, 2 rollout processes on 2 cores")
    sections = {
        "Frostbite": lambda: bench_evolution.measure("Frostbite"),
        "start": lambda: {"node start to first episode, s": bench_evolution.first_episode_s()},
        "noise": bench_noise.measure,
        "child": bench_weights.measure,
        "master": bench_master.measure,
        "ledger": bench_ledger.measure,
        "memory": bench_memory.measure,
    }
    console = Console(width=100)
    for name, measure in sections.items():
        with console.status(f"measuring {name}"):
            figures = measure()
        for figure, value in figures.items():
            bound = next((f"≤ {most:g}" for key, most in _MOST.items() if key == figure), "") or next(
                (f"≥ {least:g}" for key, least in _LEAST.items() if key == figure), ""
            )
            table.add_row(name, figure, f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}", bound)
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
