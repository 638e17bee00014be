"""Evolve one run: `gadask run CONFIG.toml --run-dir DIR [--resume] [--generation.population 200] …`.

Exit status: 0 finished; 1 failed; 2 bad usage or config; 130 interrupted after a clean checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gadask.clusters.wanted import cost_text, largest_cost
from gadask.config import BudgetConfig, Config, check_config, load_config
from gadask.console.command_line import FINISHED, check_dask, draw, exit_status, parse
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
    resume_command,
)
from gadask.console.notice import saying
from gadask.errors import ConfigError, GadaskError
from gadask.imports import imported_meanwhile
from gadask.units import core_hours_text

if TYPE_CHECKING:
    from gadask.clusters.base import Cluster
    from gadask.console.tensorboard import ScalarWriter


_FILM_S = 120.0

_HELP = Help(
    usual=(
        "CONFIG",
        "--run-dir",
        "--resume",
        "--seed",
        "--env.id",
        "--policy.kind",
        "--algorithm.kind",
        "--generation.population",
        "--budget.",
        "--pictures",
        "--tensorboard",
    ),
    examples=(
        "run cartpole --run-dir runs/cartpole",
        "run such2017 --run-dir runs/kangaroo --env.id ALE/Kangaroo-v5",
        "run such2017 --run-dir runs/kangaroo --resume --budget.hours 8",
        "run such2017 --run-dir runs/frostbite --cluster slurm --machine my-site",
    ),
    more="A config file holds the same settings: `gadask --help` says where some are.",
)


@dataclass(frozen=True)
class Arguments:
    """Evolve one run. Every field of the config is a flag, and flags win over the file."""

    config: tyro.conf.Positional[Path]
    """Config file, or the name of one that comes with gadask, such as cartpole."""
    run_dir: Path
    """Directory of the run: created for a new run, already there with --resume."""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    nodes: Annotated[NodeFlags, tyro.conf.arg(name="")]
    resume: bool = False
    """Resume the run in --run-dir from its last closed generation."""
    pictures: bool = True
    """Draw pictures at the end: the learning curve, a film of the elite and a report."""
    tensorboard: bool = False
    """Write scalars for TensorBoard to RUN_DIR/tensorboard while the run evolves; needs the package tensorboard."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str]) -> Arguments:
    """Return the checked arguments; config file and machine file give the flags their defaults."""
    given = bool(argv) and not argv[0].startswith("-")
    stored = load_config(argv[0]) if given else Config()
    default = Arguments(tyro.MISSING, tyro.MISSING, stored, default_node_flags(argv))
    arguments = parse(argv, default, node_help(argv, _HELP))
    if not given:
        raise ConfigError(f"CONFIG: expected as the first argument, found {str(arguments.config)!r} after the flags")
    if arguments.settings.preset != stored.preset:
        raise ConfigError("--preset: expected in the config file, where it sets every field that the file leaves out")
    check_config(arguments.settings)
    check_node_flags(arguments.nodes)
    return arguments


def _run(arguments: Arguments) -> int:
    """Say or ask what it may cost, make or open the run directory, and play."""
    config, nodes, run_dir = arguments.settings, arguments.nodes, arguments.run_dir
    with saying(f"trying {config.env.id} and the network", in_files=False):
        check_dask()
        from gadask.master.start import find_start, first_state
        from gadask.master.task import prepare_task
        from gadask.record.directory import RunDirectory, holds_run, read_run

        scalars = _scalar_writer(arguments)
        with imported_meanwhile("gadask.clusters.local", "gadask.master.evolve", "gadask.console.progress"):
            task = prepare_task(config)
    # A job that is requeued has the same command line; it may not have come as far as to make the directory.
    resume = arguments.resume or (nodes.kind.is_requeued() and holds_run(run_dir))
    start = None if resume else find_start(config, task.n_params)
    budget = config.budget
    if resume and budget.hours is not None:
        budget = replace(budget, hours=max(0.0, budget.hours - read_run(run_dir)[1].elapsed_s / 3600))
    if nodes.dry_run:
        dry_run(nodes, run_dir, lambda wanted: cost_text(wanted, budget))
        return FINISHED
    if not (resume and _is_finished(config, run_dir)):
        confirm_cost(nodes, largest_cost(nodes.wanted, budget), cost_text(nodes.wanted, budget))
    if start is None:
        RunDirectory.resume(run_dir, config)[0].close()
    else:
        RunDirectory.create(run_dir, config, first_state(task, start), start.anchor).close()
    return asyncio.run(_play_or_stop(arguments, scalars))


def _scalar_writer(arguments: Arguments) -> ScalarWriter | None:
    """Return the writer of scalars, if it was asked for."""
    if not arguments.tensorboard:
        return None
    from gadask.console.tensorboard import ScalarWriter

    return ScalarWriter()


async def _play_or_stop(arguments: Arguments, scalars: ScalarWriter | None) -> int:
    """Play; an interrupt ends it at the last closed generation."""
    from gadask.record.directory import read_run

    run_dir = arguments.run_dir
    try:
        async with stop_on_signals(arguments.nodes.left):
            await _play(arguments, scalars)
    except asyncio.CancelledError:
        kept = f"everything up to the last closed generation is in {run_dir}"
        if read_run(run_dir)[1].generation < 0:
            kept = f"no generation had closed, so {run_dir} begins again with generation 0"
        print(f"\ninterrupted; {kept}\ncontinue with: {resume_command(arguments.nodes)}")
        return INTERRUPTED
    except GadaskError as error:
        go_on = resume_command(arguments.nodes)
        raise type(error)(
            f"{error}; {run_dir} holds everything up to the last closed generation, continue with: {go_on}"
        ) from error
    return FINISHED


async def _play(arguments: Arguments, scalars: ScalarWriter | None) -> None:
    """Do what is missing: evolve, test the elite, draw."""
    from gadask.console.progress import ProgressDisplay
    from gadask.master.budget import budget_reached
    from gadask.master.evaluate import evaluate_elite
    from gadask.master.evolve import evolve
    from gadask.record.directory import read_run
    from gadask.record.generations import cpu_shares

    config, run_dir, nodes = arguments.settings, arguments.run_dir, arguments.nodes
    reached = budget_reached(config.budget, read_run(run_dir)[1])
    if reached:
        print(f"nothing to evolve: the run has reached its budget.{reached}")
    if not _is_finished(config, run_dir):
        async with _cluster(arguments) as cluster:
            with ProgressDisplay(config, counts=cluster.counts) as display, scalars or nullcontext():
                generations = evolve(
                    config,
                    cluster.client,
                    run_dir,
                    resume=True,
                    n_processes=nodes.n_processes,
                    node_timeout_s=nodes.node_timeout_s,
                    on_progress=display.update,
                    core_hours=lambda: cluster.counts().core_hours,
                )
                async with display.kept_fresh(), aclosing(generations):
                    async for generation in generations:
                        display.close_generation(generation)
                        if scalars is not None:
                            scalars.close_generation(run_dir, generation)
            if _is_untested(config, run_dir):
                with saying("testing the elite"):
                    test = await evaluate_elite(
                        config,
                        cluster.client,
                        run_dir,
                        config.budget.test_episodes,
                        n_processes=nodes.n_processes,
                        node_timeout_s=nodes.node_timeout_s,
                    )
                print(test.text)
    elif (known := _known_test(config, run_dir)) is not None:
        print(known)
    if cpus := cpu_shares(run_dir):
        print(f"episodes by processor (processors may round differently): {cpus}")
    print(f"run directory: {run_dir}")
    if arguments.pictures:
        await draw("learning curve", "curve", run_dir)
        # An episode that is filmed takes longer than one that is played, and an environment may hang here too.
        film_s = 2 * config.env.episode_timeout_s + _FILM_S
        await draw("film of the elite", "film", run_dir, timeout_s=film_s)
        await draw("report", "report", run_dir)
    reached = budget_reached(config.budget, read_run(run_dir)[1])
    assert reached is not None  # or evolution would have gone on
    print(f"go on: {_go_on(nodes, config.budget, reached)}")


@asynccontextmanager
async def _cluster(arguments: Arguments) -> AsyncIterator[Cluster]:
    """Open the cluster; says what runs where, and at the end what it cost."""
    from gadask.master.task import kernels_of
    from gadask.record.generations import core_hours

    config, run_dir, nodes = arguments.settings, arguments.run_dir, arguments.nodes
    earlier = core_hours(run_dir)
    print(f"evolving {config.env.id} with {config.policy.kind} on {nodes.where}")
    print(f"networks are computed by {kernels_of(config)}")
    used = 0.0
    try:
        async with opened(nodes, run_dir) as cluster:
            try:
                yield cluster
            finally:
                used = cluster.counts().core_hours
    finally:
        if used:
            print(_cost_text(core_hours(run_dir), earlier, used))


def _cost_text(closed: float, earlier: float, used: float) -> str:
    """Return what the run has cost, in core-hours.

    `closed` is what its generations were charged, as its report says, `earlier` what of it came before this start,
    `used` what this start's nodes were charged.
    """
    before = f", {core_hours_text(earlier)} of them before" if earlier else ""
    rest = core_hours_text(max(0.0, used - (closed - earlier)))
    of_closed = f"{core_hours_text(closed)} for closed generations{before}"
    return f"core-hours: {of_closed}; {rest} more for tests and unfinished ones"


def _is_finished(config: Config, run_dir: Path) -> bool:
    """Whether neither a generation nor the test of the elite is left to play."""
    from gadask.master.budget import budget_reached
    from gadask.record.directory import read_run

    return budget_reached(config.budget, read_run(run_dir)[1]) is not None and not _is_untested(config, run_dir)


def _is_untested(config: Config, run_dir: Path) -> bool:
    """Whether the run has an elite that is still to be tested."""
    from gadask.master.evaluate import needs_test
    from gadask.record.directory import read_run

    return needs_test(config, run_dir, read_run(run_dir)[1].elite)


def _known_test(config: Config, run_dir: Path) -> str | None:
    """Return what is to be said of an earlier test that is not made again though it is not the one asked for."""
    from gadask.master.evaluate import test_of
    from gadask.record.directory import read_run

    test = test_of(run_dir, read_run(run_dir)[1].elite)
    n_episodes = config.budget.test_episodes
    if test is None or not n_episodes:
        return None
    if test.error:
        again = "gadask.evaluate" if test.n_starts else f"another --budget.test-episodes than {n_episodes}"
        return f"{test.text}; {again} tests it again"
    return f"{test.text}, which covers the {n_episodes} asked for" if test.n_episodes > n_episodes else None


def _go_on(nodes: NodeFlags, budget: BudgetConfig, reached: str) -> str:
    """Return a command that goes on with the run: the limit that was reached is doubled, or left out."""
    limit = "inf" if reached == "elite_mean" else f"{2 * getattr(budget, reached):.15g}"
    return resume_command(nodes, f"--budget.{reached.replace('_', '-')}", limit)
