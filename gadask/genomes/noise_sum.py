"""Weighted sums of rows of the noise table, from which an update is made.

Products and sums are float64. A product of two float32 numbers is exact there, so that every addition rounds once and
the bits are the same with and without the compiled library, on any processor, and for any division into columns.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_int64, c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gadask import compiled
from gadask.errors import GenomeError
from gadask.genomes.noise import Noise, NoiseTable

INSTRUCTION_SETS = ("avx512", "avx2", "neon")
"""Suffixes of the functions, x86-64's before ARM's: a processor that has one also has its architecture's after it."""


def noise_sum(
    noise: Noise, genes: NDArray[np.int64], weights: NDArray[np.float32], first: int, n_columns: int
) -> NDArray[np.float64]:
    """Return the sum of `weights[i] × noise[genes[i] + first :][:n_columns]` over i in order, shape `(n_columns,)`.

    Raises `GenomeError` where a row is not in the table.
    """
    library = load()
    instructions = compiled.instruction_set(library)
    if library is None or instructions is None or not isinstance(noise, NoiseTable):
        return plain_sum(noise, genes, weights, first, n_columns)
    return compiled_sum(library, instructions, noise, genes, weights, first, n_columns)


def plain_sum(
    noise: Noise, genes: NDArray[np.int64], weights: NDArray[np.float32], first: int, n_columns: int
) -> NDArray[np.float64]:
    """Return what `noise_sum` does, by numpy."""
    sums = np.zeros(n_columns)
    product = np.empty(n_columns)
    for gene, weight in zip(genes.tolist(), weights.astype(np.float64).tolist(), strict=True):
        np.multiply(noise.slice(gene + first, n_columns), weight, out=product, dtype=np.float64)
        sums += product
    return sums


def compiled_sum(
    library: ctypes.CDLL,
    instructions: str,
    noise: NoiseTable,
    genes: NDArray[np.int64],
    weights: NDArray[np.float32],
    first: int,
    n_columns: int,
) -> NDArray[np.float64]:
    """Return what `noise_sum` does, by the library's function with the suffix `instructions`."""
    genes, weights = np.ascontiguousarray(genes + first, np.int64), np.ascontiguousarray(weights, np.float32)
    if len(genes) != len(weights):
        raise GenomeError(f"noise sum: expected as many weights as {len(genes)} genes, found {len(weights)}")
    for outermost in (genes.min(), genes.max()) if len(genes) else ():  # what C reads is in the table
        noise.slice(int(outermost), n_columns)
    sums = np.empty(n_columns)
    arrays = noise.array, genes, weights
    addresses = [c_void_p(array.ctypes.data) for array in arrays]
    sizes = c_int64(len(genes)), c_int64(n_columns)
    getattr(library, f"sum_{instructions}")(*addresses, *sizes, c_void_p(sums.ctypes.data))
    return sums


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the library, or None where it was not compiled; raises `UsageError` if another source lies beside it."""
    return compiled.load("gadask.genomes._noise_sum", [Path(__file__).with_name("noise_sum.c")])
