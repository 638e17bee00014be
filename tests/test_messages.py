"""Messages arrive as they were sent."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Brood
from gadask.config import Config
from gadask.genomes.genome import Genome
from gadask.messages import (
    Chunk,
    Kind,
    pack_brood,
    pack_chunk,
    unpack_brood,
    unpack_chunk,
)
from gadask.observations import Normaliser
from tests.generations import task_of
from tests.genomes import GENOMES

NUMBERS = st.integers(0, 2**31 - 1)
BRED = st.lists(GENOMES, max_size=5).map(tuple)
TASK = task_of(Config(), n_params=4_000_000)


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


def size_bytes(brood: Brood) -> int:
    """Size of a brood beside its task."""
    return len(pack_brood(TASK, brood)) - len(pack_brood(TASK, Brood(0)))


def test_episodes_to_play_and_related_parents_take_few_bytes() -> None:
    rng = np.random.default_rng(0)
    ancestor = tuple(rng.integers(0, 250_000_000, 200).tolist())
    parents = tuple((*ancestor, gene) for gene in rng.integers(0, 250_000_000, 20).tolist())
    assert size_bytes(Brood(201, parents)) <= 8 * (200 + 20) + 1000  # the ancestor is sent once
    ancestor = tuple(rng.integers(0, 250_000_000, 10_000).tolist())  # further apart than zlib looks back
    parents = tuple((*ancestor, gene) for gene in rng.integers(0, 250_000_000, 20).tolist())
    assert size_bytes(Brood(10_001, parents, parents[:10])) <= 8 * (10_000 + 30) + 1000
    assert len(pack_chunk(Chunk(7, Kind.CHILD, tuple((slot, 0) for slot in range(100))))) <= 100
