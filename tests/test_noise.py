"""The noise table: bits, distribution, digest, shared memory."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gadask.config import NoiseConfig
from gadask.errors import GenomeError, NodeError
from gadask.genomes.noise import CHUNK, LazyNoise, Noise, NoiseTable, generate_into

SMALL = NoiseConfig(seed=123, size=3 * CHUNK + 1001)
STATISTICS = NoiseConfig(seed=7, size=16 * CHUNK)


@pytest.fixture(scope="module")
def table() -> Iterator[NoiseTable]:
    with NoiseTable.generate(SMALL) as made:
        yield made


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float64]:
    with NoiseTable.generate(STATISTICS) as made:
        return made.array.astype(np.float64)


@pytest.fixture(scope="module")
def writable(table: NoiseTable) -> NDArray[np.uint8]:
    """A shared writable view of a copy of `table`'s bytes, for damage."""
    return np.frombuffer(bytearray(table.array.tobytes()), dtype=np.uint8)


def _memfd(data: NDArray[np.uint8]) -> int:
    fd = os.memfd_create("test-noise", os.MFD_CLOEXEC)
    os.ftruncate(fd, data.size)
    assert os.pwrite(fd, data.data, 0) == data.size
    return fd


def _open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def _count_mappings() -> int:
    return Path("/proc/self/maps").read_text().count("gadask-noise")


# Bits


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads(table: NoiseTable, n_threads: int) -> None:
    with NoiseTable.generate(SMALL, n_threads) as other:
        assert other.digest == table.digest
        assert np.array_equal(other.array.view(np.uint32), table.array.view(np.uint32))


def test_golden_digest(table: NoiseTable) -> None:
    # Changes only with the stream's definition, or where numpy or libm differ, which is what the digest is to find.
    assert table.digest == "9b24a85f4eae64dd89acd955f3cda22b"
    assert table.array[:3].tolist() == pytest.approx([0.0539528, 0.5248019, 0.1485913], rel=1e-6)


def test_seed_and_size_change_the_digest(table: NoiseTable) -> None:
    for config in (NoiseConfig(124, SMALL.size), NoiseConfig(123, SMALL.size - 1)):
        with NoiseTable.generate(config) as other:
            assert other.digest != table.digest


@pytest.mark.parametrize("size", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1])
def test_smaller_table_is_a_prefix(table: NoiseTable, size: int) -> None:
    with NoiseTable.generate(NoiseConfig(SMALL.seed, size)) as other:
        assert other.array.shape == (size,)
        assert other.array.dtype == np.float32
        assert np.array_equal(other.array, table.array[:size])


# Distribution


def test_mean_and_variance(samples: NDArray[np.float64]) -> None:
    n = samples.size
    assert abs(samples.mean()) < 4 / math.sqrt(n)
    assert abs((samples**2).mean() - 1) < 4 * math.sqrt(2 / n)


@pytest.mark.parametrize("sigmas", [1.0, 2.0, 3.0, 4.0])
def test_tails(samples: NDArray[np.float64], sigmas: float) -> None:
    p = 0.5 * math.erfc(sigmas / math.sqrt(2))
    margin = 4 * math.sqrt(samples.size * p * (1 - p))
    for tail in (samples, -samples):
        assert abs(np.count_nonzero(tail > sigmas) - samples.size * p) < margin


def test_kolmogorov_smirnov(samples: NDArray[np.float64]) -> None:
    # Between quantile points the empirical distribution and the normal one differ by less than one point's spacing of
    # rank, so a grid of 20,000 points finds any distance that matters without 4 million calls of erf.
    points = np.linspace(-5, 5, 20_001)
    normal = np.array([0.5 * math.erfc(-point / math.sqrt(2)) for point in points])
    empirical = np.searchsorted(np.sort(samples), points, side="right") / samples.size
    assert np.abs(empirical - normal).max() < 2.0 / math.sqrt(samples.size)


@pytest.mark.parametrize("lag", range(1, 9))
def test_neighbours_are_uncorrelated(samples: NDArray[np.float64], lag: int) -> None:
    n = samples.size - lag
    assert abs(samples[:-lag] @ samples[lag:] / n) < 4 / math.sqrt(n)


def test_chunks_are_uncorrelated(samples: NDArray[np.float64]) -> None:
    chunks = samples.reshape(-1, CHUNK)
    correlation = np.corrcoef(chunks) - np.eye(len(chunks))
    assert np.abs(correlation).max() < 5 / math.sqrt(CHUNK)


# Digest


@settings(deadline=None)
@given(bit=st.integers(0, 32 * SMALL.size - 1))
def test_any_flipped_bit_is_found(table: NoiseTable, writable: NDArray[np.uint8], bit: int) -> None:
    writable[bit // 8] ^= 1 << bit % 8
    fd = _memfd(writable)
    writable[bit // 8] ^= 1 << bit % 8
    try:
        with NoiseTable.attach(SMALL, fd, table.digest) as damaged, pytest.raises(NodeError, match=table.digest):
            damaged.verify()
    finally:
        os.close(fd)


# Two words in one row, in one column (512 apart), and anywhere in the chunk.
@settings(deadline=None)
@given(word=st.integers(0, CHUNK // 4 - 1), distance=st.sampled_from([1, 512]) | st.integers(1, CHUNK // 4))
def test_swapped_words_and_twin_flips_are_found(table: NoiseTable, word: int, distance: int) -> None:
    words = [word, word + distance]
    first = table.array[:CHUNK].view(np.uint64)
    flipped, swapped = first.copy(), first.copy()
    flipped[words] ^= np.uint64(1 << 63)  # cancels in every sum that holds both words
    swapped[words] = swapped[words[::-1]]
    for damaged in (flipped, swapped):
        bits = table.array.copy()
        bits[:CHUNK] = damaged.view(np.float32)
        fd = _memfd(bits.view(np.uint8))
        try:
            with NoiseTable.attach(SMALL, fd, table.digest) as other, pytest.raises(NodeError):
                other.verify()
        finally:
            os.close(fd)


def test_swapped_chunks_are_found(table: NoiseTable) -> None:
    bits = table.array.copy()
    bits[:CHUNK], bits[CHUNK : 2 * CHUNK] = table.array[CHUNK : 2 * CHUNK], table.array[:CHUNK]
    fd = _memfd(bits.view(np.uint8))
    try:
        with NoiseTable.attach(SMALL, fd, table.digest) as other, pytest.raises(NodeError, match="expected digest"):
            other.verify()
    finally:
        os.close(fd)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_verify_accepts_an_intact_table(table: NoiseTable, n_threads: int) -> None:
    table.verify(n_threads)


# Slices


@settings(deadline=None)
@given(data=st.data())
def test_lazy_noise_equals_the_table(table: NoiseTable, data: st.DataObject) -> None:
    lazy: Noise = LazyNoise(SMALL, max_chunks=data.draw(st.integers(0, 4)))
    for _ in range(data.draw(st.integers(1, 3))):
        border = CHUNK * data.draw(st.integers(0, 3))
        index = min(max(0, border + data.draw(st.integers(-2000, 1000))), SMALL.size)
        n = data.draw(st.one_of(st.integers(0, 3000), st.integers(0, 2 * CHUNK)))
        n = min(n, SMALL.size - index)
        ours, theirs = lazy.slice(index, n), table.slice(index, n)
        assert ours.dtype == theirs.dtype == np.float32
        assert ours.shape == (n,)
        assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))
        assert not ours.flags.writeable


@pytest.mark.parametrize(("index", "n"), [(-1, 2), (SMALL.size - 1, 2), (SMALL.size + 1, 0), (2**70, 1)])
def test_slice_out_of_range_names_index_and_bounds(table: NoiseTable, index: int, n: int) -> None:
    for noise in (table, LazyNoise(SMALL)):
        with pytest.raises(GenomeError, match=rf"0 to {SMALL.size - n} .* found {index};"):
            noise.slice(index, n)


@pytest.mark.parametrize("n", [-1, SMALL.size + 1])
def test_slice_of_impossible_length(table: NoiseTable, n: int) -> None:
    for noise in (table, LazyNoise(SMALL)):
        with pytest.raises(GenomeError, match=rf"0 to {SMALL.size} .* found {n}$"):
            noise.slice(0, n)


def test_slice_is_a_view(table: NoiseTable) -> None:
    part = table.slice(5, 100)
    assert np.shares_memory(part, table.array)
    assert table.slice(0, SMALL.size).size == SMALL.size


# Shared memory


def test_table_is_read_only(table: NoiseTable) -> None:
    for array in (table.array, table.slice(0, 10)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_inherited_fd_shows_the_same_bits(table: NoiseTable) -> None:
    program = (
        "import sys; from gadask.config import NoiseConfig; from gadask.genomes.noise import NoiseTable\n"
        "config = NoiseConfig(int(sys.argv[1]), int(sys.argv[2]))\n"
        "with NoiseTable.attach(config, int(sys.argv[3]), sys.argv[4]) as table:\n"
        "    table.verify(1); print(table.slice(1000, 5).tobytes().hex())"
    )
    arguments = [str(SMALL.seed), str(SMALL.size), str(table.fd), table.digest]
    child = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        pass_fds=[table.fd],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == table.slice(1000, 5).tobytes().hex()


def test_attach_refuses_another_size_and_a_closed_fd(table: NoiseTable) -> None:
    before = _open_fds()
    for size in (SMALL.size - 1, SMALL.size + 1):
        with pytest.raises(NodeError, match=rf"expected {4 * size} bytes .* found {4 * SMALL.size};"):
            NoiseTable.attach(NoiseConfig(SMALL.seed, size), table.fd, table.digest)
    with pytest.raises(NodeError, match="Bad file descriptor"):
        NoiseTable.attach(SMALL, 10**6, table.digest)
    assert _open_fds() == before


def test_close_releases_every_fd_and_the_mapping() -> None:
    before, mappings = _open_fds(), _count_mappings()
    table = NoiseTable.generate(NoiseConfig(1, 1000))
    other = NoiseTable.attach(table.config, table.fd, table.digest)
    assert _open_fds() != before
    table.close()
    table.close()
    assert other.slice(0, 1000).shape == (1000,)
    other.close()
    assert _open_fds() == before
    assert _count_mappings() == mappings
    with pytest.raises(NodeError, match="closed"):
        table.slice(0, 1)


def test_slice_outlives_close() -> None:
    before, mappings = _open_fds(), _count_mappings()
    table = NoiseTable.generate(NoiseConfig(1, 1000))
    part, copy = table.slice(10, 20), table.slice(10, 20).copy()
    table.close()
    assert np.array_equal(part, copy)
    assert _count_mappings() == mappings + 1
    del part
    assert _count_mappings() == mappings
    assert _open_fds() == before


# Short memory


def test_more_than_the_machine_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine is told to be small, for a table that is really too large would fill it if the check were gone.
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * SMALL.size - 1))
    before = _open_fds()
    with pytest.raises(NodeError, match=rf"expected {4 * SMALL.size} bytes of memory, found: \d+ bytes available"):
        NoiseTable.generate(SMALL)
    assert _open_fds() == before


def test_memory_that_the_table_has_already_is_not_asked_for(table: NoiseTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    assert generate_into(table.fd, SMALL) == table.digest


def test_size_beyond_any_file_is_a_node_error() -> None:
    with pytest.raises(NodeError, match=f"expected {4 * 10**20} bytes of memory"):
        NoiseTable.generate(NoiseConfig(0, 10**20))


def test_write_that_fails_is_a_node_error() -> None:
    fd = os.memfd_create("test-noise", os.MFD_CLOEXEC)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK, hard))  # a quarter of the first chunk
    try:
        with pytest.raises(NodeError, match="File too large; ask for more memory"):
            generate_into(fd, SMALL, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.close(fd)


def test_full_memory_is_a_node_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if offset >= CHUNK:
            raise OSError(28, "No space left on device")
        return real(fd, data[:1000], offset)  # a short write, as the kernel makes before it gives up

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", pwrite)
    before = _open_fds()
    with pytest.raises(NodeError, match="No space left on device"):
        NoiseTable.generate(SMALL, 2)
    assert _open_fds() == before


def test_short_writes_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:1000], offset))
    with NoiseTable.generate(NoiseConfig(3, 10_000)) as table:
        table.verify()
