"""What the network costs: `python -m tests.benchmarks.bench_same_episodes [GAME …] [--rounds 15]`.

Evolution beside the environment alone at the very same episodes. A child is decoded from its parent and plays an
episode, as in evolution; then the environment plays the episode's actions again without a network. Both take place
within seconds of each other, so that a machine that speeds up or slows down does so for both, and both play the same
game: random actions, with which `bench_evolution` compares, cost the emulator a few per cent more or less than a
network's. Networks and precisions take turns in two pinned processes. `--instructions avx2` plays as on a processor
that has no newer ones.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import argparse
import multiprocessing
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from gadask.config import PRESETS, Precision
from gadask.play.rollout import play_episode
from tests.benchmarks.bench_evolution import N_PROCESSES, NETWORKS, limit, pin, summary
from tests.benchmarks.children import Nursery, RecordingPolicy, open_game

_MAX_STEPS = PRESETS["such2017"].env.max_steps


def measure(game: str, seconds: float = 1.0, rounds: int = 15, instructions: str = "") -> dict[str, float]:
    """Return medians and ranges of the ratios; a round gives evolution with each network `seconds` in each process."""
    with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
        jobs = [(game, seconds, rounds, i, instructions) for i in range(N_PROCESSES)]
        found = pool.starmap(_ratios_of_rounds, jobs, chunksize=1)
    figures: dict[str, float] = {}
    for network, *of_processes in zip(NETWORKS, *found, strict=True):
        ratios = [statistics.mean(round_) for round_ in zip(*of_processes, strict=True)]
        figures |= summary(f"{' '.join(network)} / environment at the same episodes", ratios)
    return figures


def _ratios_of_rounds(game: str, seconds: float, rounds: int, index: int, instructions: str) -> list[list[float]]:
    """Return a list for each of `NETWORKS` with a ratio for each round."""
    pin(index)
    if instructions:
        limit(instructions)
    torch.set_num_threads(1)
    nursery = Nursery(index)
    players = [_Player(game, kind, precision, nursery) for kind, precision in NETWORKS]
    ratios: list[list[float]] = [[] for _ in players]
    for _ in range(rounds):
        for player, found in zip(players, ratios, strict=True):
            found.append(player.ratio(seconds))
    return ratios


class _Player:
    """A kind of policy and its precision, with an environment of its own."""

    def __init__(self, game: str, kind: str, precision: Precision, nursery: Nursery) -> None:
        """Play a step, so that parents and all else are there."""
        self._env, self._policy = open_game(game, kind, precision)
        self._recording = RecordingPolicy(self._policy)
        self._nursery = nursery
        self._seed = 0
        nursery.decode(self._policy)
        play_episode(self._env, self._recording, self._seed, 1)

    def ratio(self, seconds: float) -> float:
        """Play children for about `seconds`, and each once more without a network; returns their times' ratio."""
        evolution_s = alone_s = 0.0
        while evolution_s < seconds:
            self._seed += 1
            begin = time.perf_counter()
            self._nursery.decode(self._policy)
            play_episode(self._env, self._recording, self._seed, _MAX_STEPS)
            middle = time.perf_counter()
            self._recording.replay(self._env, self._seed)
            alone_s += time.perf_counter() - middle
            evolution_s += middle - begin
        return alone_s / evolution_s


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="*", metavar="GAME", default=["Frostbite", "Asteroids", "Kangaroo"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--instructions", default="", metavar="NAME")
    arguments = parser.parse_args()
    table = Table("game", "what", "share")
    for game in arguments.games:
        for name, share in measure(game, rounds=arguments.rounds, instructions=arguments.instructions).items():
            table.add_row(game, name, f"{share:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
