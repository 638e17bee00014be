"""Weighted sums of noise are the same bits with and without the compiled library, for any division into columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.config import NoiseConfig
from gadask.errors import GenomeError
from gadask.genomes.noise import LazyNoise, NoiseTable
from gadask.genomes.noise_sum import INSTRUCTION_SETS, compiled_sum, load, noise_sum, plain_sum
from tests.instruction_sets import runnable

CONFIG = NoiseConfig(seed=7, size=20_000)
SHAPES = given(
    n=st.integers(0, 9), first=st.integers(0, 50), n_columns=st.integers(1, 5000), seed=st.integers(0, 2**32 - 1)
)


@pytest.fixture(scope="module")
def table() -> Iterator[NoiseTable]:
    with NoiseTable.generate(CONFIG) as table:
        yield table


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 20_000 - 5050, n), draw.standard_normal(n).astype(np.float32)


@SHAPES
def test_a_sum_of_rows_in_their_order(table: NoiseTable, n: int, first: int, n_columns: int, seed: int) -> None:
    genes, weights = drawn(n, seed)
    expected = np.zeros(n_columns)
    for gene, weight in zip(genes, weights, strict=True):
        expected += np.float64(weight) * table.array[gene + first : gene + first + n_columns].astype(np.float64)
    assert plain_sum(LazyNoise(CONFIG), genes, weights, first, n_columns).tolist() == expected.tolist()
    assert noise_sum(table, genes, weights, first, n_columns).tolist() == expected.tolist()


@pytest.mark.parametrize("instructions", runnable(load(), INSTRUCTION_SETS, "sum"))
@SHAPES
def test_compiled_for_each_processor(
    table: NoiseTable, instructions: str, n: int, first: int, n_columns: int, seed: int
) -> None:
    library = load()
    assert library is not None
    genes, weights = drawn(n, seed)
    found = compiled_sum(library, instructions, table, genes, weights, first, n_columns)
    assert found.tolist() == plain_sum(table, genes, weights, first, n_columns).tolist()


def test_rows_beyond_the_table_are_refused(table: NoiseTable) -> None:
    for gene in (-1, 19_001):
        for noise in (table, LazyNoise(CONFIG)):
            with pytest.raises(GenomeError, match="noise slice: expected an index"):
                noise_sum(noise, np.array([5, gene]), np.ones(2, np.float32), 0, 1000)
    with pytest.raises(GenomeError, match="as many weights as 2 genes, found 1"):
        noise_sum(table, np.array([5, 6]), np.ones(1, np.float32), 0, 10)
