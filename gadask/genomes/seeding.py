"""The one place where random streams are derived.

Everything random in a run is a pure function of `(run seed, purpose, generation, slot, episode)`. The
function is Philox 4×64 (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*): the run seed
and the purpose are its key, generation, slot and episode the upper three words of its counter. The lowest
word counts blocks inside one stream, so two streams can never overlap. Nothing depends on which process,
node or order of arrival drew the number; that is what makes a retry give the same row.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
import threading
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gadask.genomes.philox import first_integers, first_words

_MAX_ENV_SEED = 2**31 - 1  # ALE takes a signed 32-bit seed
_FOR_TORCH = 0x9E3779B9  # torch's generator is the same as numpy's and would draw the same numbers


class Purpose(IntEnum):
    """What a stream is for. Values are part of a run's identity: never renumber."""

    PARENT = 0
    GENE = 1
    CHILD_EPISODE = 2
    EVALUATION_EPISODE = 3
    TEST_EPISODE = 4
    CHILD_ACTIONS = 5
    EVALUATION_ACTIONS = 6
    TEST_ACTIONS = 7
    TASK = 8
    ALGORITHM = 9
    """For what an algorithm draws beside parents and genes."""
    POWER = 10
    """How a child's mutation power differs from its parent's, where it does."""
    REFERENCE = 11
    """For the random play on which a policy measures."""


def stream(run_seed: int, purpose: Purpose, generation: int, slot: int = 0, episode: int = 0) -> np.random.Generator:
    """Return the generator of one purpose at one place of a run.

    All arguments are non-negative; `run_seed` is at most `config.MAX_RUN_SEED`.
    """
    return np.random.Generator(np.random.Philox(counter=[0, episode, slot, generation], key=[run_seed, int(purpose)]))


class Stream(threading.local):
    """A generator set to one stream after another, which takes much less time than to make a new one for each.

    Each thread that uses it has its own generator.
    """

    def __init__(self) -> None:
        """Make the generator."""
        self._bits = np.random.Philox(counter=[0, 0, 0, 0], key=[0, 0])
        self._generator = np.random.Generator(self._bits)
        self._start = self._bits.state
        self._counter, self._key = self._start["state"]["counter"], self._start["state"]["key"]

    def at(
        self, run_seed: int, purpose: Purpose, generation: int, slot: int = 0, episode: int = 0
    ) -> np.random.Generator:
        """Return the generator at the start of a stream, as `stream` does; valid until the next call."""
        self._counter[1:] = episode, slot, generation
        self._key[:] = run_seed, purpose
        self._bits.state = self._start
        return self._generator


_own = Stream()


def draw_parent(run_seed: int, generation: int, slot: int, n_parents: int) -> int:
    """Return the row, in [0, n_parents), of the parent of the child in `slot`; uniform."""
    return int(_own.at(run_seed, Purpose.PARENT, generation, slot).integers(n_parents))


def draw_gene(run_seed: int, generation: int, slot: int, n_genes: int) -> int:
    """Return the noise index, in [0, n_genes), that the child in `slot` adds; uniform."""
    return int(_own.at(run_seed, Purpose.GENE, generation, slot).integers(n_genes))


def draw_parents(run_seed: int, generation: int, slots: NDArray[np.int64], n_parents: int) -> NDArray[np.int64]:
    """Return what `draw_parent` does for each slot, much faster for many."""
    return _draw_first(run_seed, Purpose.PARENT, generation, slots, n_parents)


def draw_genes(run_seed: int, generation: int, slots: NDArray[np.int64], n_genes: int) -> NDArray[np.int64]:
    """Return what `draw_gene` does for each slot, much faster for many."""
    return _draw_first(run_seed, Purpose.GENE, generation, slots, n_genes)


def draw_words(run_seed: int, purpose: Purpose, generation: int, slots: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return 64 random bits for each slot: what `stream(...).bit_generator.random_raw()` gives first."""
    return first_words((run_seed, purpose), (0, slots, generation))


def _draw_first(
    run_seed: int, purpose: Purpose, generation: int, slots: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    numbers, is_accepted = first_integers((run_seed, purpose), (0, slots, generation), n)
    for i in np.flatnonzero(~is_accepted).tolist():
        numbers[i] = _own.at(run_seed, purpose, generation, int(slots[i])).integers(n)
    return numbers


def env_seed(
    run_seed: int,
    purpose: Purpose,
    generation: int,
    slot: int,
    episode: int,
    *,
    common: bool = False,
    paired: bool = False,
) -> int:
    """Return the environment's seed for one episode, in [0, 2**31).

    `common`: the same in all slots. `paired`: those of episodes 2i and 2i + 1 differ in the last bit alone.
    """
    drawn_for = episode // 2 if paired else episode
    seed = int(_own.at(run_seed, purpose, generation, 0 if common else slot, drawn_for).integers(_MAX_ENV_SEED))
    return seed // 2 * 2 + episode % 2 if paired else seed


def start_of(seed: int, n_starts: int) -> int:
    """Return which start, in [0, n_starts), a seed means in an environment that has so many; uniform."""
    return int(np.random.default_rng(seed).integers(n_starts))


@functools.lru_cache(maxsize=8)
def seeds_of_starts(n_starts: int) -> tuple[int, ...]:
    """Return the smallest seed that means each start."""
    found: dict[int, int] = {}
    for seed in itertools.count():
        if len(found) == n_starts:
            break
        found.setdefault(start_of(seed, n_starts), seed)
    return tuple(found[start] for start in range(n_starts))


def seed_global_generators(seed: int) -> None:
    """Seed the generators of Python, numpy and torch that a whole process shares; `seed` is in [0, 2**32).

    gadask draws nothing from them. Some 10 µs; `torch.manual_seed`, which sees to GPUs too, takes 300.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")  # not imported for this: some environments need none
    if torch is not None:
        torch.default_generator.manual_seed(seed ^ _FOR_TORCH)
