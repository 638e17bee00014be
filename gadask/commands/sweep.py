"""Play a study: `gadask sweep STUDY.toml --study-dir DIR [--max-parallel 8] [--cluster slurm …]`.

A second call goes on with the runs that are not finished. Exit status: 0 all runs are finished; 1 a run or the cluster
failed; 2 bad usage or config; 130 interrupted, every run at its last closed generation.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gadask.clusters.wanted import Wanted, job_core_hours
from gadask.console.command_line import FAILED, FINISHED, check_dask, exit_status, parse
from gadask.console.help_page import Help
from gadask.console.leaving import INTERRUPTED, stop_on_signals
from gadask.console.node_flags import (
    NodeFlags,
    check_node_flags,
    confirm_cost,
    default_node_flags,
    dry_run,
    node_help,
    opened,
    this_command,
)
from gadask.console.notice import saying
from gadask.errors import ConfigError, GadaskError
from gadask.sweeps.study import load_study
from gadask.units import core_hours_text, many

if TYPE_CHECKING:
    from gadask.master.generation import Generation
    from gadask.sweeps.progress import SweepDisplay
    from gadask.sweeps.sweep import Sweep, SweptRun


_HELP = Help(
    usual=("STUDY", "--study-dir", "--max-parallel", "--tensorboard"),
    examples=(
        "sweep studies/smoke --study-dir runs/smoke",
        "sweep my-study.toml --study-dir runs/mine --nodes 2 --max-parallel 4",
    ),
    more="The study file says what is played: games, seeds, and any field of the config.",
)


@dataclass(frozen=True)
class Arguments:
    """Play all runs of a study on one set of nodes; a second call goes on with those that are not finished."""

    study: tyro.conf.Positional[Path]
    """Study file, or the name of one that comes with gadask, such as studies/smoke."""
    study_dir: Path
    """Directory of the study: a run directory for each run, and summary.csv."""
    nodes: Annotated[NodeFlags, tyro.conf.arg(name="")]
    max_parallel: int = 8
    """Runs that are played at the same time: enough that some have work while others wait for their last episodes. Each
    takes room on every node for the weights of its parents."""
    tensorboard: bool = False
    """Write scalars for TensorBoard to the folder tensorboard of each run while it evolves; needs the package
    tensorboard."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str]) -> Arguments:
    """Return the checked arguments; the machine file gives the flags their defaults."""
    arguments = parse(argv, Arguments(tyro.MISSING, tyro.MISSING, default_node_flags(argv)), node_help(argv, _HELP))
    if arguments.max_parallel < 1:
        raise ConfigError(f"--max-parallel: expected at least 1, found {arguments.max_parallel}")
    check_node_flags(arguments.nodes)
    return arguments


def _run(arguments: Arguments) -> int:
    """Find out what is left to do, say or ask what it may cost, and play."""
    study_runs = load_study(arguments.study)
    check_dask()

    from gadask.console.tensorboard import ScalarWriter
    from gadask.sweeps.progress import SweepDisplay
    from gadask.sweeps.sweep import Sweep

    display = SweepDisplay()
    scalars = ScalarWriter() if arguments.tensorboard else None

    def close_generation(run: SweptRun, generation: Generation) -> None:
        display.close_generation(run, generation)
        if scalars is not None:
            scalars.close_generation(run.directory, generation)

    with saying("trying the environments and the networks", in_files=False):
        sweep = Sweep(study_runs, arguments.study_dir, display.change, close_generation)
    nodes, unfinished = arguments.nodes, sweep.unfinished
    hours = _largest_hours(unfinished, arguments.max_parallel)

    def cost(wanted: Sequence[Wanted]) -> str:
        an_hour = job_core_hours(wanted, 1)
        if math.isinf(hours):
            return (
                f"no limit: {an_hour:,.0f} core-hours an hour, until all runs end; budget.hours of the study sets one"
            )
        return f"{an_hour * hours:,.0f} core-hours ({hours:,.4g} h at {an_hour:,.0f} an hour)"

    print(f"{many(len(sweep.runs), 'run')}, {len(sweep.runs) - len(unfinished)} of them finished")
    if nodes.dry_run:
        dry_run(nodes, arguments.study_dir, cost)
        return FINISHED
    if unfinished:
        confirm_cost(nodes, job_core_hours(nodes.wanted, hours), cost(nodes.wanted))
        with sweep.locked_directory(), scalars or contextlib.nullcontext():
            status = asyncio.run(_play_or_stop(arguments, sweep, display))
    else:
        status = FINISHED
    display.print_table(sweep.runs)
    return status


def _largest_hours(runs: Sequence[SweptRun], max_parallel: int) -> float:
    """Return after how many hours the budgets have stopped all runs; infinity if one has no limit on hours."""
    ends = [0.0] * max_parallel
    for run in runs:
        limit = run.study_run.config.budget.hours
        left = math.inf if limit is None else max(0.0, limit - run.state.elapsed_s / 3600)
        heapq.heapreplace(ends, ends[0] + left)
    return max(ends)


async def _play_or_stop(arguments: Arguments, sweep: Sweep, display: SweepDisplay) -> int:
    """Play; an interrupt ends every run at its last closed generation."""
    go_on = f"continue with: {this_command(arguments.nodes)}"
    try:
        async with stop_on_signals(arguments.nodes.left):
            await _play(arguments, sweep, display)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):  # a terminal that was closed
            print(f"\ninterrupted; every run is at its last closed generation in {sweep.study_dir}\n{go_on}")
        return INTERRUPTED
    except GadaskError as error:
        raise type(error)(f"{error}; every run is at its last closed generation, {go_on}") from error
    failed = [run for run in sweep.runs if run.status == "failed"]
    if failed:
        print(
            f"{len(failed)} of {many(len(sweep.runs), 'run')} failed, the first: {failed[0].error}\n{go_on}",
            file=sys.stderr,
        )
    return FAILED if failed else FINISHED


async def _play(arguments: Arguments, sweep: Sweep, display: SweepDisplay) -> None:
    """Open the cluster and play what is not finished."""
    nodes = arguments.nodes
    async with opened(nodes, arguments.study_dir) as cluster:
        try:
            with display:
                async with display.kept_fresh(sweep.runs, cluster.counts):
                    await sweep.play(
                        cluster,
                        max_parallel=arguments.max_parallel,
                        n_processes=nodes.n_processes,
                        node_timeout_s=nodes.node_timeout_s,
                    )
        finally:
            used = cluster.counts().core_hours
    cost = f", {core_hours_text(used)} core-hours" if used else ""
    print(f"rollout processes were busy for {sweep.busy_share:.1%} of their time{cost}")
    print(f"study directory: {sweep.study_dir}; gadask report {shlex.quote(str(sweep.study_dir))} writes a report")
