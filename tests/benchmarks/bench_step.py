"""Where the time of one step goes: `python -m tests.benchmarks.bench_step [GAME …] [--instructions avx2]`.

Children of `such2017` and `nature` play with a clock between the parts of a step, in the order in which evolution runs
them, with another child's weights in every episode; after each the same actions are played by the environment alone.
Networks and precisions take turns. Two processes play at once, pinned, as two rollout processes do. Microseconds a
step, in which what an episode costs once (its start, decoding, packing) is spread over its steps; a clock costs 0.1 µs,
the call of a part alone about 1 µs.
`--instructions` are the newest that are used, by default all that the processor has.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import argparse
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gadask.config import EnvConfig, PolicyConfig, Precision
from gadask.envs import make_env
from gadask.play.rollout import play_episode
from gadask.policies import make_policy
from gadask.policies.kernels import CompiledNetwork
from tests.benchmarks.bench_evolution import N_PROCESSES, NETWORKS, limit, pin
from tests.benchmarks.children import Nursery, RecordingPolicy
from tests.benchmarks.network_in_parts import NetworkInParts

_ROUNDS = 12
_MAX_STEPS = 1000
_ALONE = "environment alone, same actions"


class _Clock:
    """Sums the time between two readings under a name, all of them under `one_name` while that is set."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.one_name: str | None = None
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[self.one_name or name] += now - self._last
        self._last = now


class _ClockedEmulator:
    """The emulator, its calls clocked."""

    def __init__(self, ale: Any, clock: _Clock) -> None:
        self._ale, self._clock = ale, clock

    def act(self, action: Any) -> Any:
        self._clock("stack, Python")
        reward = self._ale.act(action)
        self._clock("emulator")
        return reward

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ale, name)


class _ClockedNetwork(NetworkInParts):
    """A compiled network, its parts clocked."""

    def begin(self) -> None:
        self._after("stack, Python")
        super().begin()

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._after("stack, Python")
        return super().__call__(image)


class _Player:
    """A kind of policy and its precision, with an environment and a clock of its own."""

    def __init__(self, game: str, kind: str, precision: Precision, nursery: Nursery) -> None:
        self._clock, self._steps = _Clock(), 0
        self._env = _clocked_env(game, self._clock)
        config = PolicyConfig(kind, precision=precision)
        self._policy = make_policy(config, self._env.observation_space, self._env.action_space)
        self._recording = RecordingPolicy(self._policy)
        self._nursery = nursery
        nursery.decode(self._policy)  # which makes the parents, before the clock runs
        assert isinstance(self._policy._compiled, CompiledNetwork)
        self._policy._compiled = _ClockedNetwork(self._policy._compiled, precision, self._clock)

    def play(self, seed: int) -> None:
        """Play an episode of a new child, then the same without a network."""
        clock = self._clock
        clock("-")
        self._nursery.decode(self._policy)
        clock("decoding")
        self._steps += play_episode(self._env, self._recording, seed, _MAX_STEPS).steps
        clock("stack, Python")
        clock.one_name = _ALONE
        self._recording.replay(self._env, seed)
        clock(_ALONE)
        clock.one_name = None

    def parts(self) -> dict[str, float]:
        """Return microseconds a step by part."""
        return {name: seconds / self._steps * 1e6 for name, seconds in self._clock.seconds.items() if name != "-"}


def profile(game: str, index: int, instructions: str) -> list[dict[str, float]]:
    """Return microseconds a step by part of every network and precision."""
    pin(index)
    if instructions:
        limit(instructions)
    torch.set_num_threads(1)
    nursery = Nursery(index)
    players = [_Player(game, kind, precision, nursery) for kind, precision in NETWORKS]
    for seed in range(_ROUNDS):
        for player in players:
            player.play(seed)
    return [player.parts() for player in players]


def _clocked_env(game: str, clock: _Clock) -> Any:
    """Return the environment of a game with clocks around its parts."""
    env: Any = make_env(EnvConfig(f"ALE/{game}-v5"))
    env._ale = _ClockedEmulator(env._ale, clock)
    screen, reset = env._screen, env.reset
    screen._read = _clocked(screen._read, "screen to grey", clock)
    screen._write = _clocked(screen._write, "shrinking", clock)

    def clocked_reset(seed: int) -> NDArray[np.uint8]:
        before, clock.one_name = clock.one_name, clock.one_name or "start of an episode"
        observation: NDArray[np.uint8] = reset(seed)
        clock("start of an episode")
        clock.one_name = before
        return observation

    env.reset = clocked_reset
    return env


def _clocked(function: Callable[[int], None], name: str, clock: _Clock) -> Callable[[int], None]:
    def clocked(which: int) -> None:
        clock("stack, Python")
        function(which)
        clock(name)

    return clocked


def main() -> None:
    """Print a table for each game."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="*", metavar="GAME", default=["Frostbite"])
    parser.add_argument("--instructions", default="", metavar="NAME")
    given = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
        for game in given.games:
            jobs = [(game, i, given.instructions) for i in range(N_PROCESSES)]
            profiles = pool.starmap(profile, jobs, chunksize=1)[0]
            table = Table("µs a step", *(" ".join(network) for network in NETWORKS), title=game)
            parts = [part for part in profiles[-1] if part != _ALONE]
            for part in parts:
                table.add_row(part, *(f"{found.get(part, 0):.0f}" for found in profiles))
            all_parts = [sum(found.get(part, 0) for part in parts) for found in profiles]
            table.add_row("all", *(f"{found:.0f}" for found in all_parts))
            table.add_row(_ALONE, *(f"{found[_ALONE]:.0f}" for found in profiles))
            shares = [found[_ALONE] / total for found, total in zip(profiles, all_parts, strict=True)]
            table.add_row("its share", *(f"{share:.2f}" for share in shares))
            Console(width=100).print(table)


if __name__ == "__main__":
    main()
