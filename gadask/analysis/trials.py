"""How often the choice in each trial of Harlow's task is right: `gadask trials RUN_DIR [--image-set test]`.

Learning shows in the other trials against the first, in which nobody can know the right choice. Choices that were not
made count as wrong. Shares have standard errors over pairs of episodes: a pair's tasks are opposite, so its episodes
are not independent, nor are an episode's trials. The elite is played here, in one process, in as many lanes as on a
node, on episodes that no selection has seen; baselines play the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from gadask.analysis.command import parse, run_command
from gadask.analysis.runs import standard_error
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
    """Print the share of right choices in each trial, for a run's elite and for the baselines."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of a run of gadask/Harlow-v0."""
    image_set: str = "test"
    """Images to choose from: `test`, which evolution never shows, or `train`, which it does."""
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
    errors: NDArray[np.float64]
    """Standard errors of `trials`, shape `(n_trials,)`; NaN for fewer than four episodes."""
    later: float
    """Share of right choices from the second trial on; NaN where there is one trial."""
    later_error: float
    """Standard error of `later`."""
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
    return [accuracy_of(name, trials) for name, trials in played.items()]


def accuracy_of(player: str, trials: NDArray[np.int8]) -> Accuracy:
    """Return how often a player chose rightly.

    `trials` has shape `(n_episodes, n_trials)`: 1 for right, 0 for wrong, −1 for no choice.
    """
    is_right = (trials == 1).astype(np.float64)
    n_trials = trials.shape[1]
    later = is_right[:, 1:].mean(1) if n_trials > 1 else np.full(len(trials), np.nan)
    by_trial = [_pairs_error(is_right[:, trial]) for trial in range(n_trials)]
    made = float((trials >= 0).mean())
    return Accuracy(player, is_right.mean(0), np.array(by_trial), float(later.mean()), _pairs_error(later), made)


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""

    def write() -> Path:
        arguments = parse(Arguments, argv)
        run_dir: Path = arguments.run_dir
        for accuracy in harlow_accuracies(run_dir, arguments.image_set, arguments.episodes, arguments.genome):
            trials = "  ".join(f"{share:.3f}" for share in accuracy.trials)
            later = f"{accuracy.later:.3f} ± {accuracy.later_error:.3f}"
            name = accuracy.player[:16]
            print(f"{name:16}  {trials}  from the second on {later}, choices made {accuracy.made:.3f}")
            print(f"{'±':>16}  {'  '.join(f'{error:.3f}' for error in accuracy.errors)}")
        print(f"±: standard error over pairs of {arguments.episodes:,} episodes")
        return run_dir

    return run_command(write)


def _pairs_error(shares: NDArray[np.float64]) -> float:
    """Return the standard error of a mean over episodes, shape `(n_episodes,)`; an odd last one is left out."""
    n_pairs = len(shares) // 2
    return standard_error(shares[: 2 * n_pairs].reshape(n_pairs, 2).mean(1))


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
