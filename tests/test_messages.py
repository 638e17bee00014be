"""Messages arrive as they were sent."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood
from gadask.config import Config
from gadask.genomes.genome import Genome
from gadask.messages import (
    ROW,
    Chunk,
    Kind,
    Task,
    pack_brood,
    pack_chunk,
    pack_rows,
    unpack_brood,
    unpack_chunk,
    unpack_rows,
)
from gadask.observations import Normaliser
from tests.genomes import GENOMES

NUMBERS = st.integers(0, 2**31 - 1)
BRED = st.lists(GENOMES, max_size=5).map(tuple)
CONFIG = Config()
TASK = Task(
    run_seed=CONFIG.seed,
    env=CONFIG.env,
    policy=CONFIG.policy,
    noise=CONFIG.noise,
    algorithm=make_algorithm(CONFIG),
    n_params=4_000_000,
    n_genomes=31,
    common_random_numbers=False,
    paired_tasks=False,
    run_id="run",
)


@given(NUMBERS, st.sampled_from(Kind), st.lists(st.tuples(NUMBERS, NUMBERS)))
def test_a_chunk_arrives_as_it_was_sent(generation: int, kind: Kind, episodes: list[tuple[int, int]]) -> None:
    chunk = Chunk(generation, kind, tuple(episodes))
    assert unpack_chunk(pack_chunk(chunk)) == chunk


@given(NUMBERS, BRED, BRED)
def test_a_brood_arrives_as_it_was_sent(
    generation: int, bases: tuple[Genome, ...], candidates: tuple[Genome, ...]
) -> None:
    brood = Brood(generation, bases, candidates)
    assert unpack_brood(pack_brood(TASK, brood)) == (TASK, brood)


def test_a_brood_brings_its_normaliser() -> None:
    brood = Brood(3, ((5,),), (), Normaliser((1.0,), (2.0,)))
    assert unpack_brood(pack_brood(TASK, brood)) == (TASK, brood)


@given(st.binary(max_size=20 * ROW.itemsize))
def test_rows_arrive_bit_for_bit(content: bytes) -> None:
    rows = np.frombuffer(content[: len(content) // ROW.itemsize * ROW.itemsize], ROW)
    assert unpack_rows(pack_rows(rows)).tobytes() == rows.tobytes()


def size_bytes(brood: Brood) -> int:
    """Size of a brood beside its task."""
    return len(pack_brood(TASK, brood)) - len(pickle.dumps(TASK))


def test_rows_episodes_to_play_and_related_parents_take_few_bytes() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros(100, ROW)
    rows["generation"], rows["slot"] = 7, rng.permutation(100)
    rows["steps"] = rng.integers(200, 5000, 100)
    rows["frames"] = 4 * rows["steps"]
    rows["seconds"], rows["start_s"] = rng.random(100), 1.8e9 + rng.random(100)
    rows["return"] = 10 * rng.integers(0, 100, 100)
    assert len(pack_rows(rows)) <= 24 * 100
    ancestor = tuple(rng.integers(0, 250_000_000, 200).tolist())
    parents = tuple((*ancestor, gene) for gene in rng.integers(0, 250_000_000, 20).tolist())
    assert size_bytes(Brood(201, parents)) <= 8 * (200 + 20) + 1000  # the ancestor is sent once
    ancestor = tuple(rng.integers(0, 250_000_000, 10_000).tolist())  # further apart than zlib looks back
    parents = tuple((*ancestor, gene) for gene in rng.integers(0, 250_000_000, 20).tolist())
    assert size_bytes(Brood(10_001, parents, parents[:10])) <= 8 * (10_000 + 30) + 1000
    assert len(pack_chunk(Chunk(7, Kind.CHILD, tuple((slot, 0) for slot in range(100))))) <= 100
