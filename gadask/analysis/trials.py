"""How often each trial of Harlow's task is chosen rightly: `gadask trials RUN_DIR [--image-set test]`.

What tells learning from luck is the first trial, which nobody can know, against the others. Choices that were not made
count as wrong. The elite is played here, in one process, in as many lanes as on a node, on episodes that no selection
has seen; baselines play the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.config import Config
from gadask.envs.baselines import BASELINES, play_baseline
from gadask.envs.harlow import HarlowLanes
from gadask.errors import RunDirectoryError, UsageError
from gadask.genomes.genome import Genome
from gadask.genomes.seeding import stream
from gadask.master.evaluate import choose_genome
from gadask.master.task import prepare_task
from gadask.messages import Kind
from gadask.play.lanes import Beginning, Lanes, count_lanes, open_lanes
from gadask.play.loading import load_genome, new_policy
from gadask.policies import LanePolicy
from gadask.record.directory import read_run


@dataclass(frozen=True)
class Arguments:
    """Print the share of right choices by trial, of a run's elite and of the baselines."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of a run of gadask/Harlow-v0."""
    image_set: str = "test"
    """Images to choose from: `test` are those that evolution never shows, `train` those that it does."""
    episodes: int = 1000
    """Episodes of the elite, and of each baseline."""
    genome: str = "last"
    """As in `gadask evaluate`: `last`, `best`, or a genome."""


@dataclass(frozen=True)
class Accuracy:
    """How often a player chose rightly."""

    player: str
    trials: NDArray[np.float64]
    """Share of episodes in which each trial's choice was right, shape `(n_trials,)`."""
    made: float
    """Share of trials in which a choice was made."""


def harlow_accuracies(
    run_dir: Path | str, image_set: str = "test", n_episodes: int = 1000, genome: str = "last"
) -> list[Accuracy]:
    """Return what a run's genome and the baselines reach on the same `n_episodes` episodes.

    Raises:
        UsageError: the run plays another task.
        RunDirectoryError, RecordError, GenomeError: there is no such genome.
    """
    config, state = read_run(run_dir)
    if config.env.id != "gadask/Harlow-v0":
        raise UsageError(f"{run_dir}: expected a run of gadask/Harlow-v0, found {config.env.id}")
    if state.elite is None:
        raise RunDirectoryError(f"{run_dir}: expected an elite to play, found none; evolve another generation")
    config = replace(config, env=replace(config.env, kwargs={**config.env.kwargs, "image_set": image_set}))
    task = prepare_task(config)
    seeds = [task.env_seed(Kind.TEST, state.generation, 0, episode) for episode in range(n_episodes)]
    played = {genome: _play(run_dir, config, choose_genome(run_dir, genome), state.generation, seeds)}
    for name in BASELINES[config.env.id]:
        trials = play_baseline(name, config.env, seeds).trials_correct
        assert trials is not None  # as for every baseline of this task
        played[name] = trials
    return [Accuracy(name, (trials == 1).mean(0), float((trials >= 0).mean())) for name, trials in played.items()]


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""

    def write() -> Path:
        arguments = parse(Arguments, argv)
        run_dir: Path = arguments.run_dir
        for accuracy in harlow_accuracies(run_dir, arguments.image_set, arguments.episodes, arguments.genome):
            trials = "  ".join(f"{share:.3f}" for share in accuracy.trials)
            later = accuracy.trials[1:].mean() if len(accuracy.trials) > 1 else np.nan
            name = accuracy.player[:16]
            print(f"{name:16}  {trials}  from the second on {later:.3f}, choices made {accuracy.made:.3f}")
        return run_dir

    return run_command(write)


def _play(
    run_dir: Path | str, config: Config, genome: Genome, generation: int, seeds: Sequence[int]
) -> NDArray[np.int8]:
    """Return the choices of a genome in the episodes of `seeds`, shape `(n_episodes, n_trials)`."""
    single = new_policy(config)
    load_genome(single, genome, config, run_dir)
    n_lanes = count_lanes(config.env, single)
    env = open_lanes(config.env, n_lanes)
    if not n_lanes or not isinstance(env, HarlowLanes):
        raise UsageError(f"policy.kind: expected one that plays in lanes, found {config.policy.kind!r}")
    lanes = Lanes(env, LanePolicy(single, n_lanes))
    trials = np.zeros((len(seeds), env.n_trials), np.int8)
    lane_of: dict[int, int] = {}

    def begin(place: int, lane: int) -> Beginning:
        lane_of[place] = lane
        lanes.policy.rows[lane].copy_(single.flat)
        return seeds[place], stream(config.seed, Kind.TEST.action_purpose, generation, 0, place)

    for played in lanes.play(range(len(seeds)), config.env.max_steps, begin, lambda: False):
        trials[played.place] = env.trials_correct[lane_of[played.place]]  # the lane's next episode begins after this
    return trials
