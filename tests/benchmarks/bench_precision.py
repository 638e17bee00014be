"""What int8 does to evolution and to play: `python -m tests.benchmarks.bench_precision RUN_DIR … [--episodes 200]`.

For each run, generation by generation: the median of the candidates' means, which chance moves less than the elite's.
For its elite: the mean return over the same fresh starts with float32 and with int8, and how often both choose the same
action on the observations of the float32 episodes.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import argparse
import multiprocessing
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gadask.algorithms import make_algorithm
from gadask.config import Config
from gadask.envs import make_env
from gadask.envs.base import Action, Observation
from gadask.genomes.genome import Genome
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode
from gadask.play.rollout import play_episode
from gadask.policies import Policy, make_policy
from gadask.record.directory import read_run
from gadask.record.generations import read_generations
from tests.benchmarks.bench_evolution import N_PROCESSES, pin


class _Both:
    """Acts as the first policy does, and counts how often the second would have done the same."""

    def __init__(self, policies: list[Policy]) -> None:
        self._policies = policies
        self.n_same = 0

    def reset(self, stream: np.random.Generator | None = None) -> None:
        for policy in self._policies:
            policy.reset(stream)

    def act(self, observation: Observation) -> Action:
        action, other = (policy.act(observation) for policy in self._policies)
        self.n_same += action == other
        return action


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR")
    parser.add_argument("--episodes", type=int, default=200)
    arguments = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
        for run_dir in arguments.run_dirs:
            config, state = read_run(run_dir)
            elite = state.elite
            if elite is None:
                parser.error(f"{run_dir}: expected a run with an elite, found none yet")
            jobs = [(config, elite.genome, i, arguments.episodes) for i in range(N_PROCESSES)]
            parts = pool.starmap(_play, jobs, chunksize=1)
            float32, int8 = (np.concatenate([part[i] for part in parts]) for i in range(2))
            agreement = sum(part[2] for part in parts) / sum(part[3] for part in parts)
            print(f"{run_dir}: median candidates {', '.join(_median_candidates(run_dir))}")
            print(
                f"{run_dir}: float32 {_mean(float32)}, int8 {_mean(int8)}, same action at {agreement:.1%} of the steps"
            )


def _median_candidates(run_dir: Path) -> list[str]:
    lines = read_generations(run_dir)
    return [f"{np.median([candidate['mean'] for candidate in line['candidates']]):.0f}" for line in lines]


def _play(config: Config, genome: Genome, index: int, n_episodes: int) -> tuple[list[float], list[float], int, int]:
    """Return both lists of returns, and at how many of how many steps the actions agreed."""
    pin(index)
    torch.set_num_threads(1)
    with closing(make_env(config.env)) as env:
        policies = []
        for precision in ("float32", "int8"):
            policy_config = replace(config.policy, precision=precision)
            policy = make_policy(policy_config, env.observation_space, env.action_space)
            decode(policy.flat, genome, LazyNoise(config.noise), policy.initialise, make_algorithm(config).step_weight)
            policies.append(policy)
        both = _Both(policies)
        seeds = range(10**6 + index, 10**6 + n_episodes, N_PROCESSES)
        float32 = [play_episode(env, both, seed, config.env.max_steps) for seed in seeds]
        int8 = [play_episode(env, policies[1], seed, config.env.max_steps) for seed in seeds]
    returns = [[episode.return_ for episode in episodes] for episodes in (float32, int8)]
    return returns[0], returns[1], both.n_same, sum(episode.steps for episode in float32)


def _mean(returns: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    return f"{returns.mean():,.1f} ± {returns.std(ddof=1) / len(returns) ** 0.5:,.1f}"


if __name__ == "__main__":
    main()
