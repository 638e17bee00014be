"""How much of the environment's own speed evolution reaches, on one core: `python -m tests.benchmarks.bench_rollout`.

Four ways to play take turns in one process, each for a fraction of a second, so that all see the same other load:
the environment with random actions; the environment with the networks `such2017` and `nature`, whose weights are
those of another child in every episode; and, for comparison, ale-py's native vector environment with one lane and
random actions, whose episodes follow one another without seeds (a seeded reset takes it 85 ms).
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Callable, Iterator

import ale_py
import gymnasium
import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv

from gadask.config import EnvConfig, PolicyConfig
from gadask.envs import Env, make_env
from gadask.policies import make_policy
from gadask.rollout import play_episode

KINDS = ("such2017", "nature")
GAMES = ("Frostbite", "Asteroids", "Kangaroo")
MAX_STEPS = 5000
TURN_S = 0.4
N_PARENTS = 6
MUTATION_POWER = 0.002
NOISE_SIZE = 12_000_000

Turn = Callable[[float], int]
"""Plays until the given `time.perf_counter()` and returns the frames played."""


def measure(game: str, seconds: float) -> dict[str, float]:
    """Return frames/s of `environment`, `vector_env`, `such2017` and `nature`.

    `such2017_ratio` and `nature_ratio` are what the networks reach of `environment`. Speeds and ratios are medians over
    turns. Takes about `seconds`, three turns of each at least.
    """
    torch.set_num_threads(1)
    env = make_env(EnvConfig(f"ALE/{game}-v5"))
    noise = torch.randn(NOISE_SIZE, generator=torch.Generator().manual_seed(0))
    turns: dict[str, Turn] = {"environment": _random_turn(env), "vector_env": _vector_turn(game)}
    turns |= {kind: _policy_turn(env, kind, noise) for kind in KINDS}
    speeds: dict[str, list[float]] = {name: [] for name in turns}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(speeds["environment"]) < 3:
        for name, turn in turns.items():
            start = time.perf_counter()
            frames = turn(start + TURN_S)
            speeds[name].append(frames / (time.perf_counter() - start))
    env.close()
    result = {name: float(np.median(values)) for name, values in speeds.items()}
    for kind in KINDS:
        result[f"{kind}_ratio"] = float(np.median(np.divide(speeds[kind], speeds["environment"])))
    return result


def _random_turn(env: Env) -> Turn:
    """Play whole episodes of random actions, a reset with a new seed before each."""
    actions = _random_actions(int(env.action_space.n))
    seeds = iter(range(10**9))

    def turn(end: float) -> int:
        frames = 0
        done = True
        while time.perf_counter() < end:
            if done:
                env.reset(next(seeds))
            *_, done = env.step(next(actions))
            frames += env.frames_per_step
        return frames

    return turn


def _vector_turn(game: str) -> Turn:
    """Play random actions in ale-py's vector environment, with the same preprocessing."""
    gymnasium.register_envs(ale_py)
    rom = gymnasium.spec(f"ALE/{game}-v5").kwargs["game"]
    env = AtariVectorEnv(rom, 1, num_threads=1, reward_clipping=False)
    env.reset(seed=0)
    actions = _random_actions(int(env.single_action_space.n))
    action = np.zeros(1, np.int64)

    def turn(end: float) -> int:
        frames = 0
        while time.perf_counter() < end:
            action[0] = next(actions)
            env.step(action)
            frames += 4
        return frames

    return turn


def _policy_turn(env: Env, kind: str, noise: torch.Tensor) -> Turn:
    """Play episodes of children, each made by one addition as in a rollout process."""
    policy = make_policy(PolicyConfig(kind), env.observation_space, env.action_space)
    generator = np.random.default_rng(0)

    def random_noise() -> torch.Tensor:
        start = int(generator.integers(0, len(noise) - policy.n_params))
        return noise[start : start + policy.n_params]

    parents = []
    for _ in range(N_PARENTS):
        policy.initialise(random_noise())
        parents.append(policy.flat.clone())
    seeds = iter(range(10**9))

    def turn(end: float) -> int:
        frames = 0
        while time.perf_counter() < end:
            parent = parents[generator.integers(N_PARENTS)]
            torch.add(parent, random_noise(), alpha=MUTATION_POWER, out=policy.flat)
            frames += play_episode(env, policy, next(seeds), MAX_STEPS, lambda: time.perf_counter() >= end).frames
        return frames

    return turn


def _random_actions(n_actions: int) -> Iterator[int]:
    generator = np.random.default_rng(0)
    while True:
        yield from generator.integers(0, n_actions, 10_000).tolist()


def main() -> None:
    """Print a table of the games."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="*", default=GAMES, help="such as Frostbite")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each game")
    arguments = parser.parse_args()
    for game in arguments.games:
        figures = measure(game, arguments.seconds)
        print(game, *(f"{name} {value:.{2 if 'ratio' in name else 0}f}" for name, value in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
