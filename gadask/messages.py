"""What travels from master to nodes: `Task`, `Breeding` and `Chunk`.

Messages are small and plain: a genome is a tuple of noise indices. Weights never travel. What comes back is in
`rows.py`, what a node says to its rollout processes in `node/jobs.py`.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np

from gadask.config import EnvConfig, NoiseConfig, PolicyConfig
from gadask.genomes.genome import Genome
from gadask.genomes.seeding import Purpose, env_seed
from gadask.observations import Normaliser


class Kind(IntEnum):
    """Why an episode is played. Values are part of the run directory's format."""

    CHILD = 0
    EVALUATION = 1
    TEST = 2

    @property
    def purpose(self) -> Purpose:
        """The random stream that seeds the episode's environment."""
        return _PURPOSES[self]

    @property
    def action_purpose(self) -> Purpose:
        """The random stream from which a policy that samples its actions draws in the episode."""
        return _ACTION_PURPOSES[self]


_PURPOSES = {
    Kind.CHILD: Purpose.CHILD_EPISODE,
    Kind.EVALUATION: Purpose.EVALUATION_EPISODE,
    Kind.TEST: Purpose.TEST_EPISODE,
}
_ACTION_PURPOSES = {
    Kind.CHILD: Purpose.CHILD_ACTIONS,
    Kind.EVALUATION: Purpose.EVALUATION_ACTIONS,
    Kind.TEST: Purpose.TEST_ACTIONS,
}


class Status(IntEnum):
    """How an episode ended. Only `OK` rows can be selected."""

    OK = 0
    ERROR = 1
    """The environment or the policy raised, twice, or the process died under it three times."""
    TIMEOUT = 2
    """The episode's deadline passed and its process was killed."""
    NONFINITE = 3
    """The return is NaN or infinite."""
    STOPPED = 4
    """The generation closed while the episode was being played."""


@dataclass(frozen=True)
class Facts:
    """What a master must know of a task and learns from its rehearsal."""

    n_params: int
    n_lanes: int
    n_behaviour: int
    """Entries of an episode's behaviour; 0 unless `env.behaviour`."""
    has_paired_tasks: bool
    kernels: str
    """What computes the network, in words."""
    notes: tuple[str, ...] = ()
    """What a user should be told once."""


@dataclass(frozen=True)
class Task:
    """What one run plays: everything a node must know beside genomes. Equal tasks share a node's state."""

    run_seed: int
    env: EnvConfig
    policy: PolicyConfig
    noise: NoiseConfig
    mutation_power: float
    n_params: int
    """Size of the policy's flat parameter vector."""
    n_genomes: int
    """Parents and candidates of one generation at most; a node makes room for the weights of four generations."""
    common_random_numbers: bool
    """All children of a generation meet the same environment seeds, and so do all candidates."""
    paired_tasks: bool
    """Seeds of a genome's episodes 2i and 2i + 1 differ in the last bit alone."""
    run_id: str
    """Tells runs with equal settings apart on shared nodes; new at each start."""
    n_lanes: int = 0
    """Episodes that a rollout process plays together, by `lanes.count_lanes`; 0: one after the other."""
    n_behaviour: int = 0
    """Entries of an episode's behaviour, by the rehearsal; 0: none is gathered."""
    client_id: str = ""
    """The master's Dask client. What a node keeps for the run is nobody's once that is gone."""

    def env_seed(self, kind: Kind, generation: int, slot: int, episode: int) -> int:
        """Return the environment's seed for one episode."""
        common, paired = self.common_random_numbers, self.paired_tasks
        return env_seed(self.run_seed, kind.purpose, generation, slot, episode, common=common, paired=paired)


@dataclass(frozen=True)
class Breeding:
    """What the children and candidates of one generation are made from; every chunk carries it."""

    generation: int
    parents: tuple[Genome, ...]
    """Children's parents, in the order that parent rows refer to; empty in generation 0."""
    candidates: tuple[Genome, ...]
    """Genomes evaluated again, in slot order."""
    normaliser: Normaliser | None = None
    """How their observations are normalised, if they are."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the genomes compressed: after many generations they have most of their genes in common."""
        packed = _pack_genomes((*self.parents, *self.candidates))
        return _unpack, (self.generation, self.normaliser, len(self.parents), packed)


@dataclass(frozen=True)
class Chunk:
    """Episodes for one node: `episodes` holds (slot, episode) pairs of one kind in one generation."""

    generation: int
    kind: Kind
    episodes: tuple[tuple[int, int], ...]


_CHUNK_HEAD = struct.Struct("<iB")


def _pack_genomes(genomes: tuple[Genome, ...]) -> bytes:
    """Return of each genome how many genes it begins with as the one before does, and the others, all compressed.

    zlib by itself finds what genomes have in common only if it is less than 32 kB away, 4,096 genes.
    """
    shared = [_n_shared(before, genome) for before, genome in pairwise(((), *genomes))]
    rests = [genome[n:] for n, genome in zip(shared, genomes, strict=True)]
    numbers = [len(genomes), *shared, *map(len, rests), *chain.from_iterable(rests)]
    return zlib.compress(np.array(numbers, "<i8").tobytes(), 1)


def _n_shared(a: Genome, b: Genome) -> int:
    """Return how many genes two genomes begin with alike."""
    length = min(len(a), len(b))
    return next((i for i in range(length) if a[i] != b[i]), length)


def _unpack(generation: int, normaliser: Normaliser | None, n_parents: int, packed: bytes) -> Breeding:
    n, *numbers = np.frombuffer(zlib.decompress(packed), "<i8").tolist()
    indices = iter(numbers[2 * n :])
    genomes: list[Genome] = [()]
    for n_shared, n_others in zip(numbers[:n], numbers[n : 2 * n], strict=True):
        genomes.append((*genomes[-1][:n_shared], *islice(indices, n_others)))
    return Breeding(generation, tuple(genomes[1 : 1 + n_parents]), tuple(genomes[1 + n_parents :]), normaliser)


def pack_breeding(task: Task, breeding: Breeding) -> bytes:
    """Return what chunks are made from as bytes, which every chunk carries; see `pack_chunk`."""
    return pickle.dumps((task, breeding))


@lru_cache(maxsize=16)  # a node gets many chunks that are made from the same
def unpack_breeding(packed: bytes) -> tuple[Task, Breeding]:
    """Return what `pack_breeding` was given."""
    made_from: tuple[Task, Breeding] = pickle.loads(packed)
    return made_from


def pack_chunk(chunk: Chunk) -> bytes:
    """Return a chunk as bytes: the differences between successive pairs, since slots and episodes run in order.

    A chunk's way leads through the scheduler, which would make an object of a pickled one and pickle it again.
    """
    pairs = np.asarray(chunk.episodes, "<i4").reshape(-1, 2)
    steps = np.diff(pairs, axis=0, prepend=np.zeros((1, 2), "<i4"))
    return _CHUNK_HEAD.pack(chunk.generation, chunk.kind) + zlib.compress(steps.T.tobytes(), 1)


def unpack_chunk(packed: bytes) -> Chunk:
    """Return what `pack_chunk` was given."""
    generation, kind = _CHUNK_HEAD.unpack_from(packed)
    steps = np.frombuffer(zlib.decompress(packed[_CHUNK_HEAD.size :]), "<i4").reshape(2, -1)
    return Chunk(generation, Kind(kind), tuple(zip(*np.cumsum(steps, axis=1).tolist(), strict=True)))
