"""What travels from master to nodes: `Task`, `Brood` and `Chunk`.

Messages are small and plain: a genome is little more than a tuple of noise indices. Weights never travel. What comes
back is in `rows.py`, what a node says to its rollout processes in `node/jobs.py`.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np

from gadask.algorithms.algorithm import Algorithm, Brood, moving, slots_per_task
from gadask.config import EnvConfig, NoiseConfig, PolicyConfig
from gadask.errors import NodeError
from gadask.genomes.genome import Genome, Part, count_genes
from gadask.genomes.seeding import Purpose, env_seed, seeds_of_starts, start_of


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
    n_starts: int
    """Different episodes that a genome can have; 0: each seed has its own."""
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
    algorithm: Algorithm[Any]
    """Says what each slot plays."""
    n_params: int
    """Size of the policy's flat parameter vector."""
    n_genomes: int
    """Bases and candidates of one generation at most; a node makes room for the weights of four generations."""
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
    n_starts: int = 0
    """Different episodes that a genome can have, by the rehearsal; 0: each seed has its own."""
    client_id: str = ""
    """The master's Dask client. What a node keeps for the run is nobody's once that is gone."""
    reference_env: EnvConfig | None = None
    """The environment of the random play on which a policy measures, where that is another than what is played."""
    run_dir: str = ""
    """The run directory, with the content of anchors and updates, as nodes see it."""

    @property
    def n_genes(self) -> int:
        """Noise indices that a genome can use: 0 … `n_genes − 1`."""
        return count_genes(self.noise.size, self.n_params)

    @property
    def n_vectors(self) -> int:
        """Vectors that the algorithm's optimiser keeps beside a base's parameters."""
        moves = moving(self.algorithm)
        return moves.optimiser.n_vectors if moves is not None else 0

    def task_slot(self, kind: Kind, slot: int) -> int:
        """Return the slot whose random streams an episode in `slot` has: children that meet the same task share one."""
        return slot - slot % slots_per_task(self.algorithm) if kind is Kind.CHILD else slot

    def start(self, kind: Kind, generation: int, slot: int, episode: int) -> int:
        """Return which of the `n_starts` an episode has."""
        return start_of(self.env_seed(kind, generation, slot, episode), self.n_starts)

    def max_steps(self, kind: Kind) -> int:
        """Return the steps after which an episode is cut."""
        return self.env.longest_test if kind is Kind.TEST else self.env.max_steps

    def env_seed(self, kind: Kind, generation: int, slot: int, episode: int) -> int:
        """Return the environment's seed for one episode; `n_starts` tests of a genome have every start once."""
        if kind is Kind.TEST and self.n_starts:
            return seeds_of_starts(self.n_starts)[(slot + episode) % self.n_starts]
        slot = self.task_slot(kind, slot)
        common, paired = self.common_random_numbers, self.paired_tasks
        return env_seed(self.run_seed, kind.purpose, generation, slot, episode, common=common, paired=paired)


@dataclass(frozen=True)
class Chunk:
    """Episodes for one node: `episodes` holds (slot, episode) pairs of one kind in one generation."""

    generation: int
    kind: Kind
    episodes: tuple[tuple[int, int], ...]


_CHUNK_HEAD = struct.Struct("<iB")


def pack_brood(task: Task, brood: Brood) -> bytes:
    """Return what chunks are made from as bytes, which every chunk carries; see `pack_chunk`."""
    genomes = _pack_genomes((*brood.bases, *brood.candidates))
    made_from = task, brood.generation, brood.normaliser, len(brood.bases), genomes, _proof(task, brood)
    return zlib.compress(pickle.dumps(made_from), 1)


def _proof(task: Task, brood: Brood) -> bytes:
    """Return what tells an algorithm that makes other children: a digest of the first ones."""
    children = task.algorithm.children(brood, np.arange(8), task.n_genes)
    return hashlib.blake2b(b"".join(column.tobytes() for column in children), digest_size=8).digest()


def _pack_genomes(genomes: tuple[Genome, ...]) -> tuple[bytes, list[Part]]:
    """Return of each genome how many parts it begins with as the one before does, and the others.

    After many generations genomes have most of their genes in common; zlib by itself finds that only if it is less than
    32 kB away, 4,096 genes. Parts that are no genes stand in a list, and as −1 − (their place there).
    """
    shared = [_n_shared(before, genome) for before, genome in pairwise(((), *genomes))]
    rests = [genome[n:] for n, genome in zip(shared, genomes, strict=True)]
    others: dict[Part, int] = {}
    parts = chain.from_iterable(rests)
    numbered = (part if type(part) is int else others.setdefault(part, -1 - len(others)) for part in parts)
    numbers = [len(genomes), *shared, *map(len, rests), *numbered]
    return np.array(numbers, "<i8").tobytes(), list(others)


def _n_shared(a: Genome, b: Genome) -> int:
    """Return how many parts two genomes begin with alike."""
    length = min(len(a), len(b))
    return next((i for i in range(length) if a[i] != b[i]), length)


def _unpack_genomes(packed: bytes, others: list[Part]) -> tuple[Genome, ...]:
    n, *numbers = np.frombuffer(packed, "<i8").tolist()
    parts = iter(numbers[2 * n :])
    if others:
        parts = (number if number >= 0 else others[-1 - number] for number in parts)
    genomes: list[Genome] = [()]
    for n_shared, n_others in zip(numbers[:n], numbers[n : 2 * n], strict=True):
        genomes.append((*genomes[-1][:n_shared], *islice(parts, n_others)))
    return tuple(genomes[1:])


@lru_cache(maxsize=16)  # a node gets many chunks that are made from the same
def unpack_brood(packed: bytes) -> tuple[Task, Brood]:
    """Return what `pack_brood` was given.

    Raises `NodeError` where the algorithm makes other children here: its module was imported before it was changed.
    """
    task, generation, normaliser, n_bases, genomes, proof = pickle.loads(zlib.decompress(packed))
    unpacked = _unpack_genomes(*genomes)
    brood = Brood(generation, unpacked[:n_bases], unpacked[n_bases:], normaliser)
    if _proof(task, brood) != proof:
        raise NodeError("the run's algorithm makes other children here than on the master; restart this node's cluster")
    return task, brood


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
