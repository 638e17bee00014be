"""Random streams: pinned, distinct, uniform, and the same wherever they are drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gadask.config import MAX_RUN_SEED
from gadask.genomes.seeding import Purpose, Stream, draw_gene, draw_genes, draw_parent, draw_parents, env_seed, stream

ROOT = Path(__file__).parents[1]

places = st.tuples(
    st.integers(0, MAX_RUN_SEED),
    st.sampled_from(Purpose),
    *(st.integers(0, 2**31 - 1) for _ in range(3)),
)


def test_streams_are_pinned() -> None:
    # A run's identity: another value here makes every recorded run impossible to resume or replay.
    assert [draw_parent(0, 1, slot, 20) for slot in range(6)] == [14, 8, 15, 11, 4, 19]
    assert [draw_gene(0, 1, slot, 250_000_000) for slot in range(3)] == [206156127, 180233202, 49010465]
    assert env_seed(0, Purpose.CHILD_EPISODE, 0, 0, 0) == 1342047743
    assert env_seed(MAX_RUN_SEED, Purpose.EVALUATION_EPISODE, 7, 3, 29) == 769050115
    assert [int(purpose) for purpose in Purpose] == list(range(12))


def draws(place: tuple[int, Purpose, int, int, int]) -> list[int]:
    """Return what every function of the module draws at a place."""
    seed, purpose, generation, slot, episode = place
    return [
        *stream(*place).integers(2**63, size=9).tolist(),
        draw_parent(seed, generation, slot, 1000),
        draw_gene(seed, generation, slot, 250_000_000),
        env_seed(seed, purpose, generation, slot, episode),
        env_seed(seed, purpose, generation, slot, episode, common=True, paired=True),
    ]


@settings(deadline=None, max_examples=3, phases=[Phase.generate])  # a process each: too slow to shrink
@given(st.lists(places, min_size=2, max_size=20))
def test_a_stream_is_a_pure_function_of_its_place(drawn: list[tuple[int, Purpose, int, int, int]]) -> None:
    """Another process, another order, another thread, global generators elsewhere: the same numbers."""
    script = (
        "import json, random, sys; import numpy as np\n"
        "from gadask.genomes.seeding import Purpose; from tests import test_seeding\n"
        "random.seed(7); np.random.seed(7)\n"
        "places = [(s, Purpose(p), *rest) for s, p, *rest in json.load(sys.stdin)]\n"
        "print(json.dumps([test_seeding.draws(place) for place in reversed(places)]))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(drawn),
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    here = list(map(draws, drawn))
    assert json.loads(answer.stdout)[::-1] == here
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(draws, drawn)) == here


@given(st.lists(st.tuples(places, st.integers(0, 5)), min_size=2, max_size=4))
def test_a_generator_set_to_a_stream_is_at_its_start(
    drawn: list[tuple[tuple[int, Purpose, int, int, int], int]],
) -> None:
    reused = Stream()
    for place, n_drawn in drawn:
        generator = reused.at(*place)
        np.testing.assert_array_equal(generator.random(n_drawn), stream(*place).random(n_drawn))
        generator.integers(10, dtype=np.int32)  # leaves half of a 64-bit word behind


@given(places, st.integers(0, 4), st.integers(1, 2**30))
def test_streams_at_two_places_differ(
    place: tuple[int, Purpose, int, int, int], coordinate: int, distance: int
) -> None:
    other: list[int] = list(place)
    other[coordinate] = (other[coordinate] + distance) % (len(Purpose) if coordinate == 1 else 2**31)
    if other[coordinate] == place[coordinate]:
        return
    seed, purpose, *rest = other
    first = stream(*place).integers(2**63, size=64)
    second = stream(seed, Purpose(purpose), *rest).integers(2**63, size=64)
    assert not set(first.tolist()) & set(second.tolist())


@given(places)
def test_env_seeds_fit_a_signed_32_bit_integer(place: tuple[int, Purpose, int, int, int]) -> None:
    assert 0 <= env_seed(*place) < 2**31 - 1


def test_paired_seeds_differ_in_the_last_bit() -> None:
    seeds = [
        env_seed(5, Purpose.CHILD_EPISODE, 2, slot, episode, paired=True) for slot in range(40) for episode in range(4)
    ]
    pairs = np.reshape(seeds, (-1, 2))
    assert (pairs % 2 == [0, 1]).all()
    assert (pairs[:, 0] + 1 == pairs[:, 1]).all()
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**31


def test_common_seeds_are_the_same_in_all_slots() -> None:
    seeds = {env_seed(5, Purpose.CHILD_EPISODE, 2, slot, 3, common=True) for slot in range(4)}
    assert seeds == {env_seed(5, Purpose.CHILD_EPISODE, 2, 0, 3)}


def test_parents_are_drawn_uniformly() -> None:
    counts = np.bincount([draw_parent(3, 5, slot, 20) for slot in range(10_000)], minlength=20)
    # 99.9 % quantile of χ² with 19 degrees of freedom.
    assert ((counts - 500) ** 2 / 500).sum() < 43.8


def test_genes_cover_the_table() -> None:
    genes = np.array([draw_gene(3, 5, slot, 1000) for slot in range(10_000)])
    assert (genes.min(), genes.max()) == (0, 999)
    counts = np.bincount(genes // 50, minlength=20)
    assert ((counts - 500) ** 2 / 500).sum() < 43.8


@pytest.mark.parametrize("n", [1, 2, 3, 20, 245_947_343, 2**31 + 5, 2**32 - 1, 2**32, 2**40])
def test_many_numbers_are_drawn_as_one_is(n: int) -> None:
    """With 2**31 + 5 about half of the first numbers are rejected, and later ones decide."""
    slots = np.arange(500)
    assert draw_genes(2**62, 9, slots, n).tolist() == [draw_gene(2**62, 9, slot, n) for slot in range(500)]
    assert draw_parents(5, 2**31 - 1, slots, n).tolist() == [draw_parent(5, 2**31 - 1, slot, n) for slot in range(500)]


def test_parent_and_gene_are_independent() -> None:
    parents = [draw_parent(3, 5, slot, 1000) for slot in range(5_000)]
    genes = [draw_gene(3, 5, slot, 1000) for slot in range(5_000)]
    assert abs(np.corrcoef(parents, genes)[0, 1]) < 3.3 / 5_000**0.5
