"""`make bench`: one table of every figure that the docs quote; `python -m tests.benchmarks [SECTION …] [--record]`.

Three quarters of an hour on two idle cores; `--record` writes the figures, with the machine and the versions that gave
them, to `docs/benchmarks/`. The sections that compare with EvoTorch need `pip install "gadask[bench]"`.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("ATEN_CPU_CAPABILITY", None)
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gadask.record.provenance import provenance
from tests.benchmarks import (
    bench_evolution,
    bench_ledger,
    bench_master,
    bench_memory,
    bench_noise,
    bench_peers,
    bench_report,
    bench_same_episodes,
    bench_start,
    bench_weights,
)

_GAMES = ("Frostbite", "Asteroids", "Kangaroo")


def _measure_game(game: str) -> dict[str, float]:
    """Return what evolution reaches of the environment's speed with random actions, and at the same episodes."""
    return bench_evolution.measure(game) | bench_same_episodes.measure(game)


_SECTIONS: dict[str, Callable[[], dict[str, float]]] = {
    **{game: partial(_measure_game, game) for game in _GAMES},
    **{f"EvoTorch-{game}": partial(bench_peers.measure_evotorch, game) for game in _GAMES},
    "client.map": bench_peers.measure_client_map,
    "start": bench_start.measure,
    "noise": bench_noise.measure,
    "child": bench_weights.measure,
    "master": bench_master.measure,
    "ledger": bench_ledger.measure,
    "memory": bench_memory.measure,
    "report": bench_report.measure,
}
_SHARES = {"such2017 float32": 0.45, "such2017 int8": 0.7, "nature float32": 0.65, "nature int8": 0.8}
_BOUNDS = {
    **{f"{name} / environment at the same episodes, median": f"≥ {share}" for name, share in _SHARES.items()},
    **{f"{name} / environment, median": f"≥ {share}" for name, share in _SHARES.items()},
    "such2017 float32 / ALE vector environment, median": "≥ 0.38",
    "nature float32 / ALE vector environment, median": "≥ 0.58",
    "float32 / EvoTorch, median": "≥ 3",
    "int8 / EvoTorch, median": "≥ 3",
    "gadask / client.map, median": "≥ 10",
    "report of 1000 generations, s": "≤ 30",
    "report of 1000 generations, peak memory, MB": "≤ 1000",
    "growth / table": "≤ 1.05",
    "1000 genes / 10 genes": "≤ 1.2",
    "1000 genes / torch.add": "≤ 1.5",
    "bytes on the wire per episode": "≤ 64",
    "node start to first episode, s": "≤ 10",
    "ratio_same_size_per_core": "≥ 0.85",
}
_RECORDS = Path(__file__).parents[2] / "docs" / "benchmarks"


def main() -> None:
    """Measure the sections and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(_SECTIONS)}; by default all")
    parser.add_argument("--record", action="store_true", help="write the figures to docs/benchmarks")
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in _SECTIONS:
            parser.error(f"SECTION: expected one of {', '.join(_SECTIONS)}, found {name!r}")
    table = Table("what", "figure", "value", "bound", title="gadask, 2 rollout processes on 2 cores")
    console = Console(width=100)
    description = provenance("")  # before a record makes the checkout differ from its commit
    try:
        for name in arguments.sections or _SECTIONS:
            with console.status(f"measuring {name}"):
                figures = _SECTIONS[name]()
            if arguments.record:
                _record(name, figures, description)
            for figure, value in figures.items():
                text = f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
                table.add_row(name, figure, text, _BOUNDS.get(figure, ""))
            table.add_section()
    finally:
        console.print(table)  # what was measured until then


def _record(name: str, figures: dict[str, float], description: dict[str, Any]) -> None:
    """Add a section to the record of the day, with the code and the machine that its figures are of."""
    path = _RECORDS / f"{description['started'][:10]}.json"
    sections = json.loads(path.read_text()) if path.exists() else {}
    described = {key: description[key] for key in ("started", "commit", "cpu", "system", "versions")}
    sections[name] = {**described, "cores": os.cpu_count(), "figures": figures}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(sections, indent=1) + "\n")


if __name__ == "__main__":
    main()
