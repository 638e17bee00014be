"""gadask beside what else one would use, on the same two cores: EvoTorch's `GymNE`, and a plain Dask `client.map`.

`GymNE` plays with Gymnasium's own Atari wrappers and the network of Such et al. 2017 as anyone would write it in torch;
each of two pinned processes evaluates random genomes, as an actor of EvoTorch would. `client.map` is written as one
writes it first: a function of a whole parameter vector makes the same environment and network, plays and returns the
score. Its children are compared with those of `evolve` at the same population, episodes cut short so that the machinery
counts. Rounds take turns.
Needs `pip install "gadask[bench]"`.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gadask.clusters.local import local_cluster
from gadask.config import Config, EnvConfig, NoiseConfig, PolicyConfig, config_from_dict
from gadask.master.evolve import evolve
from gadask.node.node import Node
from tests.benchmarks.bench_evolution import N_PROCESSES, PRECISIONS, Evolution, pin, ratios

_SHORT_STEPS = 20
_MAX_STEPS = 1000  # a random network may never end a game of Frostbite
_SHORT_GAME, _N_ACTIONS = "ALE/Frostbite-v5", 18
_POPULATION = 200
_MUTATION_POWER = 0.002


def measure_evotorch(game: str, seconds: float = 6.0, rounds: int = 5) -> dict[str, float]:
    """Return frames/s/core of `GymNE` and of gadask with `such2017`, and medians and ranges of their ratios."""
    env = EnvConfig(id=f"ALE/{game}-v5")
    results: dict[str, list[float]] = {name: [] for name in ("EvoTorch", *PRECISIONS)}
    node = Node(NoiseConfig(), N_PROCESSES)
    try:
        evolutions = {
            precision: Evolution(node, env, PolicyConfig("such2017", precision=precision)) for precision in PRECISIONS
        }
        with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
            for _ in range(rounds):
                jobs = [(env.id, seconds, i) for i in range(N_PROCESSES)]
                results["EvoTorch"].append(statistics.mean(pool.starmap(_play_evotorch, jobs, chunksize=1)))
                for precision, evolution in evolutions.items():
                    results[precision].append(evolution.frames_per_s(seconds))
    finally:
        node.close()
    figures = {f"{name}, frames/s/core": statistics.median(values) for name, values in results.items()}
    for precision in PRECISIONS:
        figures |= ratios(f"{precision} / EvoTorch", results[precision], results["EvoTorch"])
    return figures


def measure_client_map(rounds: int = 5) -> dict[str, float]:
    """Return children/s of `evolve` and of `client.map`, and the median and range of their ratio."""
    ours, theirs = [], []
    for number in range(rounds):
        theirs.append(_children_per_s_of_client_map(number))
        ours.append(asyncio.run(_children_per_s_of_evolve(number)))
    figures = {
        "client.map, children/s": statistics.median(theirs),
        "gadask, children/s": statistics.median(ours),
    }
    return figures | ratios("gadask / client.map", ours, theirs)


class _Network(nn.Module):
    """The network of Such et al. 2017 in torch's own layers."""

    def __init__(self, n_actions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 32, 8, 4)
        self.conv2 = nn.Conv2d(32, 64, 4, 2)
        self.conv3 = nn.Conv2d(64, 64, 3, 1)
        self.dense = nn.Linear(11 * 11 * 64, 512)
        self.output = nn.Linear(512, n_actions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, 4, 84, 84) / 255
        x = functional.pad(x, (2, 2, 2, 2))
        x = functional.pad(self.conv1(x).relu(), (1, 2, 1, 2))
        x = functional.pad(self.conv2(x).relu(), (1, 1, 1, 1))
        x = self.conv3(x).relu().flatten(1)
        result: torch.Tensor = self.output(self.dense(x).relu()).squeeze(0)
        return result


def _atari(game: str) -> gymnasium.Env:
    import ale_py

    gymnasium.register_envs(ale_py)
    env = gymnasium.make(game, frameskip=1, repeat_action_probability=0.0)
    env = gymnasium.wrappers.AtariPreprocessing(env, noop_max=30, frame_skip=4)
    env = gymnasium.wrappers.TimeLimit(env, _MAX_STEPS)
    return gymnasium.wrappers.FrameStackObservation(env, 4, padding_type="zero")


def _play_evotorch(game: str, seconds: float, index: int) -> float:
    """Evaluate random genomes one by one for about `seconds`; returns frames per second."""
    from evotorch.neuroevolution import GymNE

    pin(index)
    torch.set_num_threads(1)
    torch.manual_seed(index)
    env = _atari(game)
    n_actions = int(env.action_space.n)
    env.close()
    problem = GymNE(functools.partial(_atari, game), _Network(n_actions), initial_bounds=(-0.02, 0.02), num_actors=0)
    problem.evaluate(problem.generate_batch(1))  # makes the environment
    steps, begin = int(problem.status["total_interaction_count"]), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        problem.evaluate(problem.generate_batch(1))
    return 4 * (int(problem.status["total_interaction_count"]) - steps) / (time.perf_counter() - begin)


def _children_per_s_of_client_map(seed: int) -> float:
    torch.manual_seed(seed)
    with LocalCluster(N_PROCESSES, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        parents = [parameters_to_vector(_Network(_N_ACTIONS).parameters()).detach() for _ in range(10)]
        client.gather(client.map(_play_vector, parents[:N_PROCESSES], range(N_PROCESSES)))  # imports are not counted
        begin = time.perf_counter()
        children = [
            (parents[i % 10] + _MUTATION_POWER * torch.randn_like(parents[0])).numpy() for i in range(_POPULATION)
        ]
        client.gather(client.map(_play_vector, children, range(_POPULATION)))
        return _POPULATION / (time.perf_counter() - begin)


@torch.no_grad()
def _play_vector(vector: NDArray[np.float32], seed: int) -> float:
    torch.set_num_threads(1)
    env = _atari(_SHORT_GAME)
    network = _Network(_N_ACTIONS)
    vector_to_parameters(torch.as_tensor(np.array(vector)), network.parameters())
    score = 0.0
    observation, _ = env.reset(seed=seed)
    for _ in range(_SHORT_STEPS):
        action = int(network(torch.from_numpy(np.array(observation, np.float32))).argmax())
        observation, reward, terminated, truncated, _ = env.step(action)
        score += float(reward)
        if terminated or truncated:
            break
    env.close()
    return score


async def _children_per_s_of_evolve(seed: int) -> float:
    closed_at = []
    with tempfile.TemporaryDirectory() as directory:
        async with local_cluster() as cluster:
            async for _ in evolve(_config(seed), cluster.client, Path(directory) / "run", n_processes=N_PROCESSES):
                closed_at.append(time.perf_counter())
    return _POPULATION * (len(closed_at) - 1) / (closed_at[-1] - closed_at[0])


def _config(seed: int) -> Config:
    settings: dict[str, Any] = {
        "preset": "such2017",
        "seed": seed,
        "env": {"id": _SHORT_GAME, "max_steps": _SHORT_STEPS, "preprocessing": "gadask"},
        "generation": {"population": _POPULATION, "candidates": 2, "candidate_episodes": 1},
        "ga": {"parents": 10},
        "budget": {"generations": 4, "test_episodes": 0},
    }
    return config_from_dict(settings)
