"""Cheap tasks in lanes beside EvoTorch's `GymNE`, on the same two cores: `python -m tests.benchmarks.bench_tasks`.

A bandit of 5 arms and 100 pulls with a GRU of 32 units, and CartPole with 16 hidden units; networks are equal, and both
sides play random genomes in two pinned processes. `GymNE` gets a bandit as anyone would write it, since gadask's own is
made for many lanes and slow in one. Rounds take turns, and ratios are taken round by round; time is the processes' own
CPU time, so that other load counts little. The hard maze has no other side: children are measured beside its lanes
with random actions. The last figures are about the streaming convolution: whether a step late in an episode costs more
than an early one, and what the layers for 500 steps cost over those for 10.
Needs `pip install "gadask[bench]"`.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("ATEN_CPU_CAPABILITY", None)

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import psutil
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from torch import nn

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, NoiseConfig, PolicyConfig, config_from_dict, load_config
from gadask.envs import LaneEnv
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind
from gadask.node.node import LANE_ROUNDS, Node
from gadask.play.lanes import open_lanes
from gadask.policies import LanePolicy, make_policy
from tests.benchmarks.bench_evolution import N_PROCESSES, pin, ratios

_NOISE = NoiseConfig(size=10_000_000)
_N_ARMS, _N_PULLS, _UNITS, _HIDDEN = 5, 100, 32, 16
_PARENTS = tuple((gene, gene + 1) for gene in range(1_000, 11_000, 1_000))
_TASKS: dict[str, dict[str, Any]] = {
    "bandit": {
        "env": {"id": "gadask/MetaBandit-v0", "kwargs": {"n_arms": _N_ARMS, "n_pulls": _N_PULLS}},
        "policy": {"kind": "gru", "kwargs": {"units": _UNITS}},
    },
    "CartPole": {
        "env": {"id": "CartPole-v1", "max_steps": 500},
        "policy": {"kind": "mlp", "kwargs": {"hidden": str(_HIDDEN)}},
    },
}


def measure(seconds: float = 4.0, rounds: int = 5) -> dict[str, float]:
    """Return steps/s/core of both, and medians and ranges of their ratios."""
    figures: dict[str, float] = {}
    node = Node(_NOISE, N_PROCESSES)
    try:
        with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
            for name, tables in _TASKS.items():
                config = config_from_dict({**tables, "noise": {"size": _NOISE.size}, "ga": {"mutation_power": 0.1}})
                ours, theirs = [], []
                for number in range(rounds):
                    jobs = [(name, seconds, index) for index in range(N_PROCESSES)]
                    theirs.append(statistics.mean(pool.starmap(_play_evotorch, jobs, chunksize=1)))
                    ours.append(_play_gadask(node, config, seconds, 1 + number))
                figures[f"{name}: EvoTorch, steps/s/core"] = statistics.median(theirs)
                figures[f"{name}: gadask, steps/s/core"] = statistics.median(ours)
                figures |= ratios(f"{name}: gadask / EvoTorch", ours, theirs)
        figures |= _measure_maze(node, seconds, rounds)
    finally:
        node.close()
    return figures | measure_streaming(rounds)


def _measure_maze(node: Node, seconds: float, rounds: int) -> dict[str, float]:
    config = load_config("hard-maze")
    lanes = open_lanes(config.env, prepare_task(config).n_lanes)
    assert lanes is not None
    played, alone = [], []
    for number in range(rounds):
        played.append(_play_gadask(node, config, seconds, 1 + number))
        alone.append(_drive(lanes, seconds))
    return {
        "HardMaze: gadask, steps/s/core": statistics.median(played),
        "HardMaze: its lanes alone, steps/s/core": statistics.median(alone),
    } | ratios("HardMaze: gadask / its lanes alone", played, alone)


def _drive(lanes: LaneEnv, seconds: float) -> float:
    """Step all lanes with random actions for about `seconds`; returns steps per second of this process."""
    random = np.random.default_rng(0)
    steps, begin_s = 0, time.process_time()
    while time.process_time() < begin_s + seconds:
        for lane in np.flatnonzero(lanes.over).tolist():
            lanes.reset(lane, 0)
        lanes.step(random.uniform(-1, 1, (lanes.n_lanes, 2)))
        steps += lanes.n_lanes
    return steps / (time.process_time() - begin_s)


def measure_streaming(rounds: int = 5, n_steps: int = 500) -> dict[str, float]:
    """Return what a step at the end of a long episode costs over one at its start, and over that of a short network.

    The first is to be 1 for a network that streams. The second grows with the number of layers, the logarithm of the
    length.
    """
    late, long = [], []
    for _ in range(rounds):
        costs = {length: _streaming_step_s(length, n_steps) for length in (10, 500)}
        late.append(float(np.median(costs[500][-n_steps // 5 :]) / np.median(costs[500][: n_steps // 5])))
        long.append(float(np.median(costs[500]) / np.median(costs[10])))
    return {
        "snail: step 500 / step 10 of one episode": statistics.median(late),
        "snail: a step in 9 layers / in 4 layers": statistics.median(long),
    }


def _play_gadask(node: Node, config: Config, seconds: float, generation: int) -> float:
    """Play new children for about `seconds` of each process; returns steps per second of theirs, decoding included."""
    task = prepare_task(config)
    brood = Brood(generation, _PARENTS, ())
    n_episodes = N_PROCESSES * LANE_ROUNDS * task.n_lanes
    steps, slot, begin_s = 0, 0, 0.0
    try:
        while not slot or _cpu_s(node) < begin_s + N_PROCESSES * seconds:
            chunk = Chunk(generation, Kind.CHILD, tuple((slot + i, 0) for i in range(n_episodes)))
            rows = node.play(task, brood, chunk)
            if slot:
                steps += int(rows.table["steps"].sum())
            else:  # the first chunk makes the environments
                begin_s = _cpu_s(node)
            slot += n_episodes
        return steps / (_cpu_s(node) - begin_s)
    finally:
        node.forget(task)


def _cpu_s(node: Node) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in node.pool.pids)


def _play_evotorch(name: str, seconds: float, index: int) -> float:
    """Evaluate random genomes for about `seconds`; returns steps per second of this process."""
    from evotorch.neuroevolution import GymNE

    pin(index)
    torch.set_num_threads(1)
    torch.manual_seed(index)
    make: dict[str, tuple[Callable[[], gymnasium.Env], Callable[[], nn.Module]]] = {
        "bandit": (_Bandit, _Recurrent),
        "CartPole": (lambda: gymnasium.make("CartPole-v1"), _layers),
    }
    problem = GymNE(*make[name], initial_bounds=(-0.5, 0.5), num_actors=0)
    problem.evaluate(problem.generate_batch(1))  # makes the environment
    steps, begin_s = int(problem.status["total_interaction_count"]), time.process_time()
    while time.process_time() - begin_s < seconds:
        problem.evaluate(problem.generate_batch(8))
    return (int(problem.status["total_interaction_count"]) - steps) / (time.process_time() - begin_s)


class _Bandit(gymnasium.Env):  # type: ignore[misc]
    """The bandit of `gadask.envs.bandit` for one player."""

    def __init__(self) -> None:
        self.observation_space = Box(0, 1, (_N_ARMS + 2,), np.float32)
        self.action_space = Discrete(_N_ARMS)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._chances = self.np_random.random(_N_ARMS)
        self._left = _N_PULLS
        observation = np.zeros(_N_ARMS + 2, np.float32)
        observation[-1] = 1
        return observation, {}

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        reward = float(self.np_random.random() < self._chances[action])
        self._left -= 1
        observation = np.zeros(_N_ARMS + 2, np.float32)
        observation[action], observation[-2], observation[-1] = 1, reward, self._left / _N_PULLS
        return observation, reward, self._left == 0, False, {}


class _Recurrent(nn.Module):
    """The network of the bandit in torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(_N_ARMS + 2, _UNITS)
        self.output = nn.Linear(_UNITS, _N_ARMS)

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.cell(x, state)
        return self.output(state), state


def _layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, 2))


def _streaming_step_s(length: int, n_steps: int) -> NDArray[np.float64]:
    """Return the seconds that each step of an episode took, of a network in 16 lanes for episodes of `length` steps."""
    space = Box(-1, 1, (_N_ARMS + 2,), np.float32)
    lanes = LanePolicy(make_policy(PolicyConfig("snail", {"length": length}), space, Discrete(_N_ARMS)), 16)
    for row in lanes.rows:
        row.normal_(0, 0.1)
    observations = np.random.default_rng(0).random((16, _N_ARMS + 2), np.float32)
    times = np.zeros(n_steps + 1)
    for lane in range(16):
        lanes.reset(lane)
    for step in range(n_steps + 1):
        times[step] = time.perf_counter()
        lanes.act(observations)
    return np.diff(times)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side in each round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for name, value in measure(arguments.seconds, arguments.rounds).items():
        print(f"{name:48} {value:,.3g}" if value < 1000 else f"{name:48} {value:,.0f}")


if __name__ == "__main__":
    main()
