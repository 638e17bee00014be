"""Film the elite of a run, or of several: `gadask film RUN_DIR … [--out ELITE.gif] [--seed 7]`.

The film shows one recorded episode again: of the evaluation episodes that crowned the elite, the one whose return is
nearest to their mean return. The seed follows from the episode's row, and the weights from the genome; only the chunks
of noise that the genome needs are made, so a laptop can film what a cluster evolved. Another version of gadask, or a
CPU that rounds differently, may choose other actions; a return that differs from the recorded one is logged.

A film shows the whole episode in at most a minute, at its own speed or two, four, ... times as fast, with return, step
and last action below the picture and, with `--input`, what the policy is given beside it. Of several runs it is a wall:
their films side by side, in at most 20 seconds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Elite, slots_per_task
from gadask.analysis.camera import MAX_S, film_episode, open_env
from gadask.analysis.command import parse, run_command
from gadask.analysis.figures import check_suffix
from gadask.analysis.movie import Clip, Film, captioned, to_gif, to_mp4, wall
from gadask.analysis.runs import find_runs, game_of
from gadask.config import Config
from gadask.errors import RunDirectoryError, UsageError
from gadask.genomes.genome import Genome, to_text, unfold
from gadask.genomes.seeding import Purpose, env_seed, stream
from gadask.master.evaluate import choose_genome
from gadask.messages import Kind
from gadask.numerics import one_thread
from gadask.observations import CLIP, Normaliser
from gadask.play.lanes import as_played
from gadask.play.loading import load_genome
from gadask.play.reference import policy_for
from gadask.record import files
from gadask.record.directory import read_episodes, read_generations, read_normaliser, read_run

SUFFIXES = (".gif", ".mp4")
_MAX_WALL_S = 20.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arguments:
    """Film the elite of a run, or those of several side by side."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Directory of the run; several, or a folder of them, for a wall of films."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="ELITE.gif")] = None
    """GIF or MP4 file to write; by default RUN_DIR/elite.gif, and wall.gif for several."""
    max_steps: int | None = None
    """Cut the film after this many agent steps; by default it shows the whole episode."""
    seed: int | None = None
    """Seed of the environment; by default that of the recorded episode nearest to the elite's mean return."""
    genome: str | None = None
    """With one run and `--seed`: film another genome instead of its elite: `best`, the elite with the best mean ever,
    or any genome as text."""
    input: bool = False
    """With one run: show what the policy is given beside the picture."""


@dataclass(frozen=True)
class Recorded:
    """One recorded episode."""

    kind: Kind
    generation: int
    slot: int
    episode: int
    return_: float

    def seeds(self, config: Config) -> tuple[int, np.random.Generator]:
        """Return its environment's seed, and the stream of actions that a policy may sample."""
        per_task = slots_per_task(make_algorithm(config)) if self.kind is Kind.CHILD else 1
        place = self.generation, self.slot - self.slot % per_task, self.episode
        settings = config.generation
        common, paired = settings.common_random_numbers, settings.paired_tasks
        seed = env_seed(config.seed, self.kind.purpose, *place, common=common, paired=paired)
        return seed, stream(config.seed, self.kind.action_purpose, *place)


def film_elite(
    run_dir: Path | str,
    path: Path | str | None = None,
    max_steps: int | None = None,
    seed: int | None = None,
    genome: Genome | None = None,
    with_inputs: bool = False,
) -> Path | None:
    """Film one episode of a run's elite and return the file written, by default `run_dir/elite.gif`.

    Returns None, and logs why, where the environment cannot be rendered. Arguments are those of the command.

    Raises:
        UsageError: `path` ends in something else than .gif or .mp4, or there is no ffmpeg for the latter.
        RunDirectoryError: there is no run, or it has no elite yet.
        EnvError, PolicyError: environment or policy are not installed here.
        RecordError: the run directory is damaged, or the file cannot be written.
    """
    path = Path(run_dir) / "elite.gif" if path is None else Path(path)
    check_suffix(path, SUFFIXES)
    made = _film_run(Path(run_dir), max_steps, seed, MAX_S, genome, with_inputs)
    return None if made is None else _write_clip(captioned(made[0]), path, made[1])


def film_wall(run_dirs: Sequence[Path | str], path: Path | str, max_steps: int | None = None) -> Path | None:
    """Film the elites of several runs side by side and return the file written.

    Runs whose environment cannot be rendered are left out; None where that is all of them. Raises as `film_elite`.
    """
    path = Path(path)
    check_suffix(path, SUFFIXES)
    films, names = [], []
    for run_dir in map(Path, run_dirs):
        made = _film_run(run_dir, max_steps, None, _MAX_WALL_S)
        if made is not None:
            config, _ = read_run(run_dir)
            films.append(made[0])
            names.append(f"{game_of(config).rpartition('/')[2]}, seed {config.seed}")  # a tile is narrow
    return _write_clip(wall(films, names), path, "; ".join(names)) if films else None


def film_genome(
    run_dir: Path | str,
    config: Config,
    genome: Genome,
    seed: int,
    actions: np.random.Generator | None = None,
    max_steps: int | None = None,
    max_s: float = MAX_S,
    normaliser: Normaliser | None = None,
    with_inputs: bool = False,
) -> Film | None:
    """Return a film of one episode of any genome of a run; None, with the reason logged, where it cannot be rendered.

    `seed` is the environment's, `actions` the stream from which a policy that samples draws, `normaliser` that of the
    genome's generation. The film lasts at most about `max_s` seconds. Its inputs are what the network is given, that is
    normalised by `normaliser`.

    Raises:
        EnvError, PolicyError: environment or policy are not installed here.
    """
    env = open_env(config.env, seed)
    if env is None:
        return None
    with closing(env), one_thread():
        policy = as_played(config.env, policy_for(env, config.env, config.policy, config.seed))
        load_genome(policy, genome, config, run_dir)
        policy.normalise_by(normaliser)
        film = film_episode(env, policy, seed, max_steps or config.env.longest_test, actions, max_s, with_inputs)
    if film.inputs is None or normaliser is None:
        return film
    mean, scale = normaliser.arrays(np.float64)
    return replace(film, inputs=[np.clip(np.subtract(one, mean) * scale, -CLIP, CLIP) for one in film.inputs])


def typical_episode(run_dir: Path, config: Config, elite: Elite) -> Recorded:
    """Return the episode among those that crowned the elite whose return is nearest to their mean.

    With `candidates = 0` these are what it played as a child. The elite's own mean is another one with
    `generation.fitness`.

    Raises:
        RecordError: the generation's episodes are damaged or missing.
    """
    episodes = read_episodes(run_dir, elite.generation).to_pandas()
    line = next(line for line in read_generations(run_dir) if line["generation"] == elite.generation)
    genomes = [candidate["genome"] for candidate in line["candidates"]]
    own = episodes["counted"] & (episodes["status"] == "ok")
    if genomes:
        own &= (episodes["kind"] == "evaluation") & (episodes["slot"] == genomes.index(to_text(elite.genome)))
        kind = Kind.EVALUATION
    else:
        kind = Kind.CHILD
        *base, last = elite.genome
        assert not isinstance(last, str)  # a child, so no anchor
        gene, weight = unfold(last, make_algorithm(config).step_weight)
        own &= (episodes["kind"] == "child") & (episodes["gene"] == gene)
        if base and "weight" in episodes:  # that of a new network means nothing; files of earlier versions have none
            own &= episodes["weight"] == weight
    returns = episodes.loc[own, "return"]
    row = episodes.loc[(returns - math.fsum(returns) / len(returns)).abs().idxmin()]
    return Recorded(kind, int(row["generation"]), int(row["slot"]), int(row["episode"]), float(row["return"]))


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status, 1 where the environment cannot be rendered."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    return run_command(lambda: _write(parse(Arguments, argv)))


def _write(arguments: Arguments) -> Path | None:
    run_dirs = find_runs(arguments.run_dirs)
    if len(run_dirs) == 1:
        genome = None
        if arguments.genome is not None and arguments.genome != "last":
            genome = choose_genome(run_dirs[0], arguments.genome)
        return film_elite(run_dirs[0], arguments.out, arguments.max_steps, arguments.seed, genome, arguments.input)
    given = {"--seed": arguments.seed is not None, "--genome": arguments.genome is not None, "--input": arguments.input}
    for flag in (flag for flag, is_given in given.items() if is_given):
        raise UsageError(f"{flag}: expected with one run, found it with {len(run_dirs)}; leave it out for a wall")
    return film_wall(run_dirs, arguments.out or Path("wall.gif"), arguments.max_steps)


def _film_run(
    run_dir: Path,
    max_steps: int | None,
    seed: int | None,
    max_s: float,
    genome: Genome | None = None,
    with_inputs: bool = False,
) -> tuple[Film, str] | None:
    """Return a film of a run's elite, or of `genome`, and what it shows in words; None where it cannot be rendered."""
    if genome is not None and seed is None:
        raise UsageError("--seed: expected with --genome, found none; no episode of a genome is known by itself")
    config, state = read_run(run_dir)
    elite = state.elite
    if elite is None:
        raise RunDirectoryError(f"{run_dir}: expected an elite to film, found none; evolve another generation")
    expected, limit = None, config.env.longest_test
    if seed is None:
        limit = config.env.max_steps
        recorded = typical_episode(run_dir, config, elite)
        seed, actions = recorded.seeds(config)
        is_whole = max_steps is None or max_steps >= config.env.max_steps
        expected = recorded.return_ if is_whole else None
    else:
        actions = stream(config.seed, Purpose.TEST_ACTIONS, 0, 0, seed)
    max_steps = min(max_steps or limit, limit)
    played = genome or elite.genome
    normaliser = read_normaliser(run_dir, played)
    film = film_genome(run_dir, config, played, seed, actions, max_steps, max_s, normaliser, with_inputs)
    if film is None:
        return None
    if expected is not None and film.returns[-1] != expected:
        _logger.warning(
            "this is not the recorded episode: expected return %g, found %g; gadask has changed since, or this machine"
            " rounds differently: compare them with provenance.json",
            expected,
            film.returns[-1],
        )
    who = f"elite of generation {elite.generation}" if played == elite.genome else "a genome"
    about = f"{config.env.id}, {who}, seed {seed}, return {film.returns[-1]:g}"
    return film, about


def _write_clip(clip: Clip, path: Path, about: str) -> Path:
    files.atomic_write(path, to_gif(clip, about) if path.suffix == ".gif" else to_mp4(clip, about))
    return path
