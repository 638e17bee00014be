"""Evolve one run: `python jobs/run.py CONFIG.toml --run-dir DIR [--resume] [--ga.population 200] …`.

Exit status: 0 finished; 1 failed; 2 bad usage or config; 130 interrupted after a clean checkpoint.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gadask.config import BudgetConfig, Config, check_config, load_config
from gadask.errors import ConfigError, GadaskError, UsageError

FINISHED, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130

_NODE_TIMEOUT_S = 120.0
_ANALYSIS = Path(__file__).resolve().parents[1] / "analysis"


@dataclass(frozen=True)
class Arguments:
    """Evolve one run. Every field of the config is a flag, and flags win over the file."""

    config: tyro.conf.Positional[Path]
    """Config file, for example jobs/configs/frostbite-quick.toml."""
    run_dir: Path
    """Directory of the run: made for a new run, holding one with --resume."""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    resume: bool = False
    """Go on with the run in --run-dir from its last closed generation."""
    cluster: Literal["local"] = "local"
    """Where nodes come from: `local` starts them on this machine."""
    nodes: int = 1
    """Number of nodes."""
    rollouts_per_node: int | None = None
    """Rollout processes of each node; by default every core, shared between the nodes."""
    pictures: bool = True
    """Draw the learning curve and film the elite at the end."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    # Dask reads this when it is imported, here and in its workers; nodes that come and go are the master's to report.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")
    try:
        return asyncio.run(_evolve(_parse(argv)))
    except GadaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parse(argv: Sequence[str]) -> Arguments:
    """Return the checked arguments; the config file gives the flags their defaults."""
    given = bool(argv) and not argv[0].startswith("-")
    stored = load_config(argv[0]) if given else Config()
    arguments: Arguments = tyro.cli(
        Arguments,
        args=list(argv),
        default=Arguments(tyro.MISSING, tyro.MISSING, stored),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if not given:
        raise ConfigError(f"CONFIG: expected as the first argument, found {str(arguments.config)!r} behind the flags")
    if arguments.settings.preset != stored.preset:
        raise ConfigError("--preset: expected in the config file, where it sets every field that the file leaves out")
    check_config(arguments.settings)
    for name in ("nodes", "rollouts_per_node"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')}: expected at least 1, found {value}")
    return arguments


async def _evolve(arguments: Arguments) -> int:
    """Evolve, test the elite, draw; an interrupt ends it at the last closed generation."""
    from gadask.record import RunDirectory
    from gadask.task import prepare_task

    config, run_dir = arguments.settings, arguments.run_dir
    prepare_task(config)
    if arguments.resume:
        RunDirectory.resume(run_dir, config)[0].close()
    else:
        RunDirectory.create(run_dir, config).close()

    this = asyncio.current_task()
    assert this is not None
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)  # a second one must not break off the cleaning up
        this.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        await _play(arguments)
    except asyncio.CancelledError:
        print(f"\ninterrupted; everything up to the last closed generation is in {run_dir}\ncontinue with: {_again()}")
        return INTERRUPTED
    except GadaskError as error:
        kept = f"{run_dir} holds everything up to the last closed generation, continue with: {_again()}"
        raise type(error)(f"{error}; {kept}") from error
    return FINISHED


async def _play(arguments: Arguments) -> None:
    """Do what is missing: evolve, test the elite, draw."""
    from gadask.clusters import local_cluster, local_processes
    from gadask.evaluate import evaluate_elite
    from gadask.master import budget_reached, evolve
    from gadask.progress import ProgressDisplay
    from gadask.record import read_run

    config, run_dir = arguments.settings, arguments.run_dir
    n_processes = arguments.rollouts_per_node or local_processes(arguments.nodes)
    reached = budget_reached(config.budget, read_run(run_dir)[1])
    if reached:
        print(f"nothing to evolve: the run has reached its budget.{reached}")
    else:
        print(f"evolving {config.env.id} with {config.policy.kind} on {arguments.nodes} × {n_processes} processes")
    if not reached or _is_untested(config, run_dir):
        async with local_cluster(arguments.nodes) as cluster:
            client = cluster.client
            print(f"dashboard: {cluster.dashboard}")
            with ProgressDisplay(config) as display:
                generations = evolve(
                    config,
                    client,
                    run_dir,
                    resume=True,
                    n_processes=n_processes,
                    node_timeout_s=_NODE_TIMEOUT_S,
                    on_progress=display.update,
                )
                async with aclosing(generations):
                    async for generation in generations:
                        display.close_generation(generation)
            if _is_untested(config, run_dir):
                test = await evaluate_elite(
                    config,
                    client,
                    run_dir,
                    config.budget.test_episodes,
                    n_processes=n_processes,
                    node_timeout_s=_NODE_TIMEOUT_S,
                )
                print(
                    f"elite of generation {test.elite.generation}: {test.mean:,.1f} ± {test.standard_error:,.1f}"
                    f" over {len(test.returns)} fresh episodes"
                )
    print(f"run directory: {run_dir}")
    if arguments.pictures:
        await _draw("learning curve", "learning_curve.py", run_dir)
        await _draw("film of the elite", "film.py", run_dir)
    reached = budget_reached(config.budget, read_run(run_dir)[1])
    assert reached is not None  # or evolution would have gone on
    print(f"go on: {_go_on(config.budget, reached)}")


def _is_untested(config: Config, run_dir: Path) -> bool:
    """Whether the run has an elite that `elite_test.json` does not tell of."""
    from gadask.genome import to_text
    from gadask.record import read_run

    elite = read_run(run_dir)[1].population.elite
    if not config.budget.test_episodes or elite is None:
        return False
    try:
        tested = json.loads((run_dir / "elite_test.json").read_text())["genome"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(tested != to_text(elite.genome))


async def _draw(what: str, script: str, run_dir: Path) -> None:
    """Run a script of `analysis/`, which prints the file that it wrote.

    It is a process of its own, so that a genome is played in the same environment as in evolution.
    """
    from gadask.numerics import numeric_environment

    print(f"{what}: ", end="", flush=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_ANALYSIS / script), str(run_dir), env=numeric_environment()
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


def _go_on(budget: BudgetConfig, reached: str) -> str:
    """Return a command that goes on with the run: the limit that was reached is doubled, or left out."""
    limit = getattr(budget, reached)
    return f"{_again()} --budget.{reached} {2 * limit if reached != 'elite_mean' else 'inf'}"


def _again() -> str:
    """Return the command that resumes this run."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    arguments = [argument for argument in sys.argv if argument != "--resume"]
    return shlex.join([str(python), *arguments, "--resume"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
