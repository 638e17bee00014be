"""Play a run's genome again: `gadask evaluate RUN_DIR [--episodes 1000] [--genome best] [--baselines] …`.

No selection has seen these episodes; baselines meet the same tasks. If a genome has only a few different episodes, as
in Atari without sticky actions, each is played once; `--sticky 0.25` plays others as well. `--children` plays the
children of the last generation again. The table goes to standard output, every episode to a Parquet file. Exit status:
0 done; 1 failed; 2 bad usage; 130 interrupted, nothing written.
"""

from __future__ import annotations

import asyncio
import math
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gadask.clusters.wanted import Wanted, job_core_hours
from gadask.config import Config, EnvConfig, config_from_dict, config_to_dict
from gadask.console.command_line import FINISHED, check_dask, draw, exit_status, parse
from gadask.console.help_page import Help
from gadask.console.leaving import INTERRUPTED, stop_on_signals
from gadask.console.node_flags import NodeFlags, check_node_flags, confirm_cost, default_node_flags, dry_run, node_help
from gadask.console.notice import saying
from gadask.errors import ConfigError, GenomeError

if TYPE_CHECKING:
    import pandas as pd

    from gadask.algorithms.algorithm import Brood
    from gadask.genomes.genome import Genome
    from gadask.messages import Task
    from gadask.record.checkpoint import State

_FILMS = (".gif", ".mp4")
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


_HELP = Help(
    usual=(
        *("RUN_DIR", "--episodes", "--genome", "--env", "--sticky", "--baselines", "--children", "--film"),
        *("--film-input", "--out"),
    ),
    examples=(
        "evaluate runs/harlow --baselines",
        "evaluate runs/frostbite --genome best --sticky 0.25 --film best.gif",
    ),
)


@dataclass(frozen=True)
class Arguments:
    """Play a genome of a run again; print mean, standard error and quantiles of its returns."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run, which may still be going on."""
    nodes: Annotated[NodeFlags, tyro.conf.arg(name="")]
    episodes: int = 1000
    """Episodes of the genome, and of each baseline. If a genome has only a few different ones, it plays each once,
    whatever this says."""
    genome: str = "last"
    """`last`, the last elite; `best`, the elite with the best mean over its evaluation episodes in any generation; or a
    genome, as noise indices joined by `-`."""
    env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Kwargs of the environment that differ from the run's, such as image_set=test."""
    sticky: float = 0.0
    """For Atari: also play the genome where the game repeats the last action with this probability at every frame (0.25
    is usual). The result of the run's last elite is kept for the report."""
    baselines: bool = False
    """Play the environment's baselines on the same tasks."""
    children: bool = False
    """Play the children of the last generation again, each for as many episodes as it was judged by."""
    film: Annotated[Path | None, tyro.conf.arg(metavar="FILM.gif")] = None
    """Film the genome, in the run's own environment, on the task whose return is nearest to the median: GIF or MP4."""
    film_input: bool = False
    """With `--film`: show what the policy is given beside the picture."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="EPISODES.parquet")] = None
    """File to write; by default RUN_DIR/evaluation.parquet."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str]) -> Arguments:
    """Return the checked arguments; the machine file gives the flags their defaults."""
    arguments = parse(argv, Arguments(tyro.MISSING, default_node_flags(argv)), node_help(argv, _HELP))
    if arguments.episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, found {arguments.episodes}")
    if arguments.film is not None and arguments.film.suffix not in _FILMS:
        raise ConfigError(f"--film: expected a name that ends in {' or '.join(_FILMS)}, found {str(arguments.film)!r}")
    if arguments.film_input and arguments.film is None:
        raise ConfigError("--film-input: expected with --film, found none; name a file, such as --film elite.gif")
    if not 0 <= arguments.sticky <= 1:
        raise ConfigError(f"--sticky: expected a probability, 0 to 1, found {arguments.sticky:g}")
    check_node_flags(arguments.nodes)
    return arguments


@dataclass(frozen=True)
class Plan:
    """What is played: genomes in an environment."""

    config: Config
    task: Task
    brood: Brood
    n_episodes: int
    sticky: float = 0.0


def _run(arguments: Arguments) -> int:
    """Find out what is to be played, say or ask what it may cost, and play."""
    run_dir, nodes = arguments.run_dir, arguments.nodes
    with saying("trying the environment and the network", in_files=False):
        check_dask()
        from gadask.algorithms.algorithm import Brood
        from gadask.genomes.genome import check_genes
        from gadask.master.evaluate import children_again, choose_genome
        from gadask.master.task import prepare_task
        from gadask.record.directory import read_normaliser, read_run

        stored, state = read_run(run_dir)
        config = _with_kwargs(stored, arguments.env)
        _check_baselines(config.env, arguments.baselines)
        task = prepare_task(config)
    try:
        genome = choose_genome(run_dir, arguments.genome)
    except GenomeError as error:
        raise ConfigError(f"--genome: expected last, best or noise indices, found {arguments.genome[:80]!r}") from error
    try:
        check_genes(genome, task.n_genes)
    except GenomeError as error:
        raise ConfigError(f"--{error}") from error
    if arguments.env and task.n_params != prepare_task(stored).n_params:
        raise ConfigError(f"--env: expected spaces as in the run, found others with {' '.join(arguments.env)}")
    brood = Brood(state.generation, (), (genome,), read_normaliser(run_dir, genome))
    plans = {arguments.genome: Plan(config, task, brood, task.n_starts or arguments.episodes)}
    if arguments.sticky:
        if "repeat_action_probability" in config.env.kwargs or not config.env.id.startswith("ALE/"):
            raise ConfigError(f"--sticky: expected an Atari game without sticky actions, found {config.env.id!r}")
        other = _with_kwargs(config, [f"repeat_action_probability={arguments.sticky}"])
        name = f"sticky {arguments.sticky:g}"
        plans[name] = Plan(other, prepare_task(other), brood, arguments.episodes, arguments.sticky)
    if arguments.children:
        children = children_again(run_dir, config)
        plans["children"] = Plan(config, task, children, config.generation.episodes_per_child)
    for path in (_out(arguments), *filter(None, [arguments.film])):
        if not os.access(path.parent, os.W_OK | os.X_OK):  # what was played would be lost
            raise ConfigError(f"{path}: expected a folder that can be written, found {str(path.parent)!r}")

    def cost(wanted: Sequence[Wanted]) -> str:
        return f"{job_core_hours(wanted, 1):,.0f} core-hours an hour"

    if nodes.dry_run:
        dry_run(nodes, run_dir / "evaluation", cost)
        return FINISHED
    confirm_cost(nodes, job_core_hours(nodes.wanted, 1), cost(nodes.wanted))
    return asyncio.run(_evaluate_or_stop(arguments, config, plans, state))


async def _evaluate_or_stop(arguments: Arguments, config: Config, plans: dict[str, Plan], state: State) -> int:
    """Evaluate; an interrupt ends it without a trace."""
    try:
        async with stop_on_signals(arguments.nodes.left):
            await _evaluate(arguments, config, plans, state)
    except asyncio.CancelledError:
        print("\ninterrupted; nothing was written")
        return INTERRUPTED
    return FINISHED


async def _evaluate(arguments: Arguments, config: Config, plans: dict[str, Plan], state: State) -> None:
    """Play, print, write, film."""
    import pandas as pd
    import pyarrow as pa

    from gadask.master.evaluate import play_genomes
    from gadask.messages import Status
    from gadask.record import files
    from gadask.record.elite_test import write_elite_test
    from gadask.record.episodes import to_parquet

    nodes = arguments.nodes
    print(f"playing {config.env.id} with {config.policy.kind} on {nodes.where}")
    frames, failed = [], []
    sticky_test = None
    # A separate folder: the run's may hold the keys of a cluster that it is being evolved on.
    async with nodes.open(arguments.run_dir / "evaluation") as cluster:
        for name, plan in plans.items():
            played = await play_genomes(
                plan.config,
                cluster.client,
                arguments.run_dir,
                plan.brood,
                plan.n_episodes,
                noise_digest=state.noise_digest,
                n_processes=nodes.n_processes,
                node_timeout_s=nodes.node_timeout_s,
            )
            rows = played.rows[played.rows["status"] == Status.OK]
            if len(rows) < len(played.rows):
                n_failed = len(played.rows) - len(rows)
                failed.append(f"{name[:80]}: {n_failed} of {len(played.rows)} episodes failed: {played.reason}")
            frame = pd.DataFrame({key: rows[key] for key in ("slot", "episode", "return", "steps")})
            frames.append(_seeded(frame, plan.task, plan.brood.generation).assign(player=name))
            elite = state.elite
            if plan.sticky and not arguments.env and elite is not None and plan.brood.candidates == (elite.genome,):
                sticky_test = played.as_test(elite, sticky=plan.sticky)
    if arguments.baselines:
        n_episodes = arguments.episodes if plans[arguments.genome].task.n_starts else len(frames[0])
        frames += await asyncio.to_thread(_baselines, config.env, frames[0], n_episodes)
    episodes = pd.concat(frames, ignore_index=True)
    n_starts = plans[arguments.genome].task.n_starts
    is_exact = n_starts > 0 and not failed
    _print_table(arguments, config, episodes, {arguments.genome} if is_exact else set())
    if is_exact:
        which = f"{n_starts} different episodes are" if n_starts > 1 else "one episode is"
        print(f"{which} all that a genome has here: each was played once, the mean is exact")
    for line in failed:
        print(line)
    out = _out(arguments)
    files.atomic_write(out, to_parquet(pa.Table.from_pandas(episodes, preserve_index=False)))
    print(f"episodes: {out}")
    if sticky_test is not None:
        write_elite_test(arguments.run_dir, sticky_test)
    if arguments.film is not None:
        first = frames[0]
        middle = first.loc[(first["return"] - first["return"].median()).abs().idxmin()]
        genome = plans[arguments.genome].brood.candidates[0]
        await _film(arguments, genome, int(middle["env_seed"]))


def _out(arguments: Arguments) -> Path:
    return arguments.out or arguments.run_dir / "evaluation.parquet"


async def _film(arguments: Arguments, genome: Genome, seed: int) -> None:
    from gadask.genomes.genome import to_text

    assert arguments.film is not None
    which = ["--genome", to_text(genome), "--seed", str(seed), "--out", str(arguments.film)]
    if arguments.film_input:
        which.append("--input")
    await draw("film", "film", arguments.run_dir, *map(Path, which))


def _with_kwargs(config: Config, given: Sequence[str]) -> Config:
    """Return the config with the environment's kwargs of the command line, `KEY=VALUE` each."""
    kwargs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--env: expected KEY=VALUE, found {text!r}")
        try:
            kwargs[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            kwargs[key] = value  # a string needs no quotes
    document = config_to_dict(config)
    document["env"]["kwargs"] |= kwargs
    return config_from_dict(document)


def _check_baselines(env: EnvConfig, wanted: bool) -> None:
    from gadask.envs.baselines import BASELINES

    if wanted and env.id not in BASELINES:
        raise ConfigError(f"--baselines: expected one of {', '.join(BASELINES)}, found {env.id}; leave it out")


def _seeded(frame: pd.DataFrame, task: Task, generation: int) -> pd.DataFrame:
    """Add each episode's environment seed."""
    from gadask.messages import Kind

    pairs = zip(frame["slot"], frame["episode"], strict=True)
    seeds = [task.env_seed(Kind.TEST, generation, int(slot), int(episode)) for slot, episode in pairs]
    return frame.assign(env_seed=seeds)


def _baselines(env: EnvConfig, played: pd.DataFrame, n_episodes: int) -> list[pd.DataFrame]:
    """Return `n_episodes` episodes of every baseline on the tasks of `played`, in turn: baselines draw at random."""
    import numpy as np

    from gadask.envs.baselines import BASELINES, play_baseline

    episodes = np.arange(n_episodes)
    bare = played[["slot", "episode", "env_seed"]].iloc[episodes % len(played)]
    if n_episodes > len(played):
        bare = bare.assign(episode=episodes)
    seeds = bare["env_seed"].tolist()
    return [
        bare.assign(**{"return": play_baseline(name, env, seeds).returns, "player": name}) for name in BASELINES[env.id]
    ]


def _print_table(arguments: Arguments, config: Config, episodes: pd.DataFrame, exact: set[str]) -> None:
    """Print what each player reached, in 80 columns; the means of those that are `exact` have no error."""
    from rich.console import Console
    from rich.table import Table

    changed = "".join(f", {text}" for text in arguments.env)
    table = Table(title=f"{config.env.id}{changed}: returns", box=None, padding=(0, 1), pad_edge=False)
    table.add_column("player", no_wrap=True)
    for heading in ("episodes", "mean", "±", *(f"{100 * q:g} %" for q in _QUANTILES)):
        table.add_column(heading, justify="right")
    for player, frame in episodes.groupby("player", sort=False):
        returns = frame["return"]
        quantiles = (_short(value) for value in returns.quantile(list(_QUANTILES)))
        name = f"{player[:12]}…" if len(player) > 16 else player
        error = math.nan if player in exact else returns.sem()
        table.add_row(name, str(len(frame)), _short(returns.mean()), _short(error), *quantiles)
    Console(width=80).print(table)


def _short(value: float) -> str:
    """Return about four significant digits in at most seven characters, `–` for no number."""
    if value != value:
        return "–"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}" if abs(value) < 1e6 else f"{value:.1e}"
