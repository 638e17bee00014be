"""Measure this machine as a node: `gadask bench node [--config such2017] [--seconds 15] [--processes 1 2 31]`.

Plays with 1, 2, half of the cores and all of them but one, and prints the speed beside what a model of the memory that
they share says. Run it where nothing else runs: in a job of a whole node. Exit status: 0 done; 1 failed; 2 bad usage.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from gadask.config import load_config
from gadask.console.command_line import FINISHED, exit_status, parse
from gadask.errors import ConfigError
from gadask.record.provenance import cpu_text
from gadask.units import count_text

_MEASUREMENTS = ("node",)
_BILLION = 1e9


@dataclass(frozen=True)
class Arguments:
    """Measure how fast a node plays, process by process."""

    what: tyro.conf.Positional[str]
    """What to measure: `node`."""
    config: Annotated[str, tyro.conf.arg(metavar="CONFIG.toml")] = "such2017"
    """Config whose task and network are played, by name or file."""
    processes: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N …")] = ()
    """Numbers of rollout processes; by default 1, 2, half of the cores, and all but one. The first is 1."""
    seconds: float = 15.0
    """How long each number of processes plays."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _run(parse(argv, Arguments(tyro.MISSING))))


def _run(arguments: Arguments) -> int:
    if arguments.what not in _MEASUREMENTS:
        raise ConfigError(f"expected {' or '.join(_MEASUREMENTS)}, found {arguments.what!r}")
    if not 0 < arguments.seconds < math.inf:
        raise ConfigError(f"--seconds: expected a finite number above 0, found {arguments.seconds:g}")
    if arguments.processes and (arguments.processes[0] != 1 or min(arguments.processes) < 1):
        found = " ".join(map(str, arguments.processes))
        raise ConfigError(f"--processes: expected numbers of at least 1, the first of them 1, found {found}")
    config = load_config(arguments.config)
    from gadask.numerics import numeric_environment

    os.environ.update(numeric_environment())  # before numpy and torch are imported below
    from rich.console import Console
    from rich.table import Table

    from gadask.bench.node import measure, process_counts
    from gadask.node.cores import granted_cores

    n_cores = granted_cores()
    counts = arguments.processes or process_counts(max(1, n_cores - 1))
    console = Console()
    print(f"{config.env.id} with {config.policy.kind} ({config.policy.precision}) on {cpu_text()}, {n_cores} cores")
    with console.status("measuring") as status:
        n_bytes, loads = measure(config, counts, arguments.seconds, status.update)
    table = Table("processes", "GB/s each", f"{config.env.unit}/s each", "by the model", "all together", box=None)
    for load in loads:
        model = "" if load.modelled is None else count_text(load.modelled)
        whole = count_text(load.n_processes * load.measured)
        table.add_row(str(load.n_processes), f"{load.bandwidth / 1e9:.1f}", count_text(load.measured), model, whole)
    console.print(table)
    if n_bytes is not None:
        print(f"a step reads {n_bytes / 1e6:.1f} MB of weights")
    hours = _BILLION / max(load.n_processes * load.measured for load in loads) / 3600
    print(f"a billion {config.env.unit} take {hours:.3g} hours of this node, {hours * n_cores:.3g} core-hours")
    return FINISHED
