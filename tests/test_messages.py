"""Messages arrive as they were sent."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gadask.messages import Breeding, Chunk, Kind, pack_chunk, unpack_chunk

NUMBERS = st.integers(0, 2**31 - 1)
GENOMES = st.lists(st.lists(st.integers(0, 2**63 - 1)).map(tuple), max_size=5).map(tuple)


@given(NUMBERS, st.sampled_from(Kind), st.lists(st.tuples(NUMBERS, NUMBERS)))
def test_a_chunk_arrives_as_it_was_sent(generation: int, kind: Kind, episodes: list[tuple[int, int]]) -> None:
    chunk = Chunk(generation, kind, tuple(episodes))
    assert unpack_chunk(pack_chunk(chunk)) == chunk


@given(NUMBERS, GENOMES, GENOMES)
def test_parents_arrive_as_they_were_sent(
    generation: int, parents: tuple[tuple[int, ...], ...], candidates: tuple[tuple[int, ...], ...]
) -> None:
    breeding = Breeding(generation, parents, candidates)
    assert pickle.loads(pickle.dumps(breeding)) == breeding


def test_episodes_to_play_and_related_parents_take_few_bytes() -> None:
    rng = np.random.default_rng(0)
    ancestor = tuple(rng.integers(0, 250_000_000, 200).tolist())
    parents = tuple((*ancestor, gene) for gene in rng.integers(0, 250_000_000, 20).tolist())
    assert len(pickle.dumps(Breeding(201, parents, ()))) <= 8 * (200 + 20) + 1000  # the ancestor is sent once
    ancestor = tuple(rng.integers(0, 250_000_000, 10_000).tolist())  # further apart than zlib looks back
    parents = tuple((*ancestor, gene) for gene in rng.integers(0, 250_000_000, 20).tolist())
    assert len(pickle.dumps(Breeding(10_001, parents, parents[:10]))) <= 8 * (10_000 + 30) + 1000
    assert len(pack_chunk(Chunk(7, Kind.CHILD, tuple((slot, 0) for slot in range(100))))) <= 100
