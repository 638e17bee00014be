"""Where the time of one step goes: `python -m tests.benchmarks.bench_step [GAME …]`.

Children of `such2017` and `nature` play with a clock between the parts of a step, in the order in which evolution runs
them and with another child's weights in every episode. Two processes play at once, pinned, as two rollout processes do,
and evict each other's weights. Microseconds a step; a clock costs 0.1 µs, the call of a part alone about 1 µs.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below

import ctypes
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gadask.config import EnvConfig, PolicyConfig
from gadask.envs import make_env
from gadask.policies import make_policy
from gadask.policies.kernels import CompiledNetwork, instruction_set
from gadask.policies.kernels.library import load
from gadask.rollout import play_episode
from tests.benchmarks.bench_evolution import N_PROCESSES, PRECISIONS, pin

_EPISODES = 12
_MAX_STEPS = 600
_NOISE_SIZE = 12_000_000
_MUTATION_POWER = 0.002


class _Clock:
    """Sums the time between two readings under a name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def __call__(self, name: str | None = None) -> None:
        now = time.perf_counter()
        if name is not None:
            self.seconds[name] += now - self._last
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

    def getScreenGrayscale(self, out: NDArray[np.uint8]) -> None:  # noqa: N802
        self._clock("stack, Python")
        self._ale.getScreenGrayscale(out)
        self._clock("screen to grey")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ale, name)


class _ClockedNetwork:
    """A compiled network, its layers clocked."""

    def __init__(self, network: CompiledNetwork, precision: str, clock: _Clock) -> None:
        library, suffix = load(), instruction_set()
        assert library is not None
        self._network, self._clock, self._structure = network, clock, network._network
        self._take_image = library.take_image
        self._bytes = precision == "int8"
        self._convolve = getattr(library, f"convolve{'_bytes' if self._bytes else ''}_{suffix}")
        self._convolve.restype = ctypes.c_float if self._bytes else None
        self._dense = getattr(library, f"dense{'_bytes' if self._bytes else ''}_{suffix}")
        self._output = getattr(library, f"output_{suffix}")
        self._pack = getattr(library, f"pack_{suffix}")

    def begin(self) -> None:
        self._network.begin()
        if self._bytes:
            self._pack(ctypes.byref(self._structure))

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        structure, clock = self._structure, self._clock
        clock("stack, Python")
        structure.image = image.ctypes.data
        pointer = ctypes.byref(structure)
        self._take_image(pointer)
        clock("image to blocks")
        scale, scratch = 1 / 255, ctypes.c_void_p(structure.list)
        for number, layer in enumerate(structure.layers, 1):
            if self._bytes:
                scale = self._convolve(ctypes.byref(layer), ctypes.c_float(scale), structure.fresh, scratch)
            else:
                self._convolve(ctypes.byref(layer), scratch)
            clock(f"convolution {number}")
        structure.fresh = 0
        self._dense(pointer)
        clock("dense layer")
        self._output(pointer)  # of an int8 network: of the hidden values of the step before, which take as long
        clock("output layer")
        return self._network._result


def profile(game: str, kind: str, precision: str, index: int) -> dict[str, float]:
    """Return microseconds a step by part."""
    pin(index)
    torch.set_num_threads(1)
    clock = _Clock()
    env: Any = make_env(EnvConfig(f"ALE/{game}-v5"))
    policy = make_policy(PolicyConfig(kind, precision=precision), env.observation_space, env.action_space)  # type: ignore[arg-type]
    assert isinstance(policy._compiled, CompiledNetwork)
    policy._compiled = _ClockedNetwork(policy._compiled, precision, clock)
    env._ale = _ClockedEmulator(env._ale, clock)
    resize = env._resize

    def clocked_resize(picture: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        clock("stack, Python")
        resize(picture, out)
        clock("shrinking")

    env._resize = clocked_resize
    noise = torch.randn(_NOISE_SIZE, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(index)
    policy.initialise(noise[: policy.n_params])
    parent = policy.flat.clone()
    steps = 0
    for seed in range(_EPISODES):
        gene = int(rng.integers(_NOISE_SIZE - policy.n_params))
        torch.add(parent, noise[gene : gene + policy.n_params], alpha=_MUTATION_POWER, out=policy.flat)
        clock()
        steps += play_episode(env, policy, seed, _MAX_STEPS).steps
        clock("stack, Python")
    return {name: seconds / steps * 1e6 for name, seconds in clock.seconds.items()}


def main(games: Sequence[str]) -> None:
    """Print a table for each game."""
    columns = [(kind, precision) for kind in ("such2017", "nature") for precision in PRECISIONS]
    with multiprocessing.get_context("spawn").Pool(N_PROCESSES) as pool:
        for game in games:
            profiles = []
            for kind, precision in columns:
                jobs = [(game, kind, precision, i) for i in range(N_PROCESSES)]
                profiles.append(pool.starmap(profile, jobs, chunksize=1)[0])
            table = Table("µs a step", *(" ".join(column) for column in columns), title=game)
            for name in profiles[0]:
                table.add_row(name, *(f"{found[name]:.0f}" for found in profiles))
            table.add_row("all", *(f"{sum(found.values()):.0f}" for found in profiles))
            Console(width=100).print(table)


if __name__ == "__main__":
    main(sys.argv[1:] or ["Frostbite"])
