"""The noise table: float32 standard normals that every node holds and genomes index.

Samples come in chunks of `CHUNK`. Chunk k of seed s is drawn from SFC64 keyed by `SeedSequence(s, spawn_key=(k,))` and
depends on nothing else, so the bits are the same on any number of threads and a single chunk can be made alone. These
streams belong to the table's seed, not to a run's, hence not to `seeding`. numpy's ziggurat (Marsaglia and Tsang 2000)
calls the C library for the tails of the distribution, so tables of other numpy or libm versions may differ in a few
samples: the digest finds them.

The digest is blake2b over one checksum a chunk. A checksum is made of the wraparound sums of all rows and columns of
the chunk as a matrix of 64-bit words. Any change confined to one, two or three words of a chunk changes at least one of
these sums, and so does swapping two unequal words; blake2b keeps the order of chunks.

The table lives in a memfd: it has no name, and its memory goes with the last process that holds it, however that ends.
It is filled with `pwrite` from a buffer that stays in cache rather than through a mapping. That spares the page faults,
maps nothing into the filling process, and a lack of memory is an error instead of a SIGBUS.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from gadask.config import NoiseConfig
from gadask.errors import GenomeError, NodeError

CHUNK = 2**18
"""Samples in a chunk: 1 MiB, which fits a core's second-level cache. Part of the stream's definition."""

_ITEM_BYTES = 4
_ROW_WORDS = 512  # a whole chunk is 256 rows of 512 64-bit words


class Noise(Protocol):
    """What decoding a genome needs of the noise."""

    @property
    def config(self) -> NoiseConfig:
        """Seed and number of samples."""

    def slice(self, index: int, n: int) -> NDArray[np.float32]:
        """Return samples `index` to `index + n`, read-only, shape `(n,)`; `GenomeError` if they are not all there."""


class NoiseTable:
    """The whole table in shared memory; a context manager. Made by `generate` or `attach`."""

    def __init__(self, config: NoiseConfig, fd: int, digest: str) -> None:
        """Map `fd` read-only and own it; raise `NodeError` if it is not a file of `config.size` float32."""
        size_bytes = config.size * _ITEM_BYTES
        try:
            found_bytes = os.fstat(fd).st_size
            if found_bytes != size_bytes:
                raise NodeError(
                    f"noise table: expected {size_bytes} bytes for {config.size} samples, found {found_bytes}; "
                    "attach with the config that the table was generated with"
                )
            mapping = mmap.mmap(fd, size_bytes, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except OSError as error:
            raise NodeError(f"noise table: expected to map {size_bytes} bytes of fd {fd}: {error.strerror}") from None
        self.config = config
        self.digest = digest
        self.fd = fd
        self._mapping = mapping
        self._array: NDArray[np.float32] | None = np.frombuffer(mapping, dtype=np.float32)

    @classmethod
    def generate(cls, config: NoiseConfig, n_threads: int | None = None) -> NoiseTable:
        """Make a memfd, fill it with `generate_into` and map it; `NodeError` if memory is short."""
        fd = os.memfd_create("gadask-noise", os.MFD_CLOEXEC)
        try:
            return cls(config, fd, generate_into(fd, config, n_threads))
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def attach(cls, config: NoiseConfig, fd: int, digest: str) -> NoiseTable:
        """Map a filled memfd, for example an inherited one; `fd` stays the caller's, the table keeps a duplicate.

        Raises `NodeError` if `fd` is closed or the file's size does not fit `config`. The contents are not read:
        `verify` does that.
        """
        try:
            own_fd = os.dup(fd)
        except OSError as error:
            raise NodeError(f"noise table: expected an open file descriptor, found {fd}: {error.strerror}") from None
        try:
            return cls(config, own_fd, digest)
        except BaseException:
            os.close(own_fd)
            raise

    @property
    def array(self) -> NDArray[np.float32]:
        """All samples, shape `(size,)`, a read-only view of the shared mapping; `NodeError` once closed."""
        if self._array is None:
            raise NodeError("noise table: expected an open table, found a closed one; attach to it again")
        return self._array

    def slice(self, index: int, n: int) -> NDArray[np.float32]:
        """Return samples `index` to `index + n`, a read-only view, shape `(n,)`; `GenomeError` if not all there."""
        _check_slice(self.config, index, n)
        return self.array[index : index + n]

    def verify(self, n_threads: int | None = None) -> None:
        """Recompute the digest from memory; `NodeError` naming both if it differs. Maps all pages into this process."""
        found = _digest(self.config, n_threads, lambda chunk, _: self.array[_bounds(self.config, chunk)])
        if found != self.digest:
            raise NodeError(
                f"noise table: expected digest {self.digest}, found {found}; "
                "the memory is bad or numpy or libm differ: leave this node out"
            )

    def close(self) -> None:
        """Close the file descriptor and unmap; the mapping outlives this as long as a slice of it does. Idempotent."""
        if self._array is None:
            return
        self._array = None
        os.close(self.fd)
        try:
            self._mapping.close()
        except BufferError:
            # Slices are still in use. Each holds the mapping, which goes with the last of them.
            del self._mapping

    def __enter__(self) -> NoiseTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LazyNoise:
    """The same samples as the table of this config, made when asked for; for laptops, films and analysis.

    Keeps the `max_chunks` chunks used last, 1 MiB each. A slice of 4 million samples covers 17.
    """

    def __init__(self, config: NoiseConfig, max_chunks: int = 64) -> None:
        self.config = config
        self._chunk = functools.lru_cache(maxsize=max_chunks)(functools.partial(_make_chunk, config))

    def slice(self, index: int, n: int) -> NDArray[np.float32]:
        """Return samples `index` to `index + n`, read-only, shape `(n,)`; `GenomeError` if not all there."""
        _check_slice(self.config, index, n)
        samples = np.empty(n, dtype=np.float32)
        for chunk in range(index // CHUNK, -(-(index + n) // CHUNK)):
            first = chunk * CHUNK
            lower, upper = max(index, first), min(index + n, first + CHUNK)
            samples[lower - index : upper - index] = self._chunk(chunk)[lower - first : upper - first]
        samples.flags.writeable = False
        return samples


def generate_into(fd: int, config: NoiseConfig, n_threads: int | None = None) -> str:
    """Fill the memfd `fd` with the table of `config` and return its digest, 32 hexadecimal digits.

    Uses `n_threads` threads (default: one for each core that this process may use) and 1 MiB for each; nothing is
    mapped. Raises `NodeError` if memory is short. A memory limit of a control group is beyond its sight: the kernel
    kills the process that crosses one, so a caller must expect that from the process it runs this in.
    """
    size_bytes = config.size * _ITEM_BYTES

    def fill(chunk: int, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        bounds = _bounds(config, chunk)
        samples = buffer[: bounds.stop - bounds.start]
        _draw(config.seed, chunk, samples)
        _write(fd, samples, bounds.start * _ITEM_BYTES)
        return samples

    try:
        # A memfd promises any size and takes pages as they are written; too large a table would end in the kernel
        # killing processes, perhaps not this one.
        missing_bytes = size_bytes - os.fstat(fd).st_blocks * 512
        available_bytes = psutil.virtual_memory().available
        if missing_bytes > available_bytes:
            raise MemoryError(f"{available_bytes} bytes available")
        os.ftruncate(fd, size_bytes)
        return _digest(config, n_threads, fill)
    except (OSError, MemoryError) as error:
        found = error.strerror if isinstance(error, OSError) else str(error) or "out of memory"
        raise NodeError(
            f"noise table: expected {size_bytes} bytes of memory, found: {found}; "
            "ask for more memory or lower noise.size"
        ) from None


def _digest(
    config: NoiseConfig,
    n_threads: int | None,
    get_chunk: Callable[[int, NDArray[np.float32]], NDArray[np.float32]],
) -> str:
    """Hash the checksums of all chunks; `get_chunk(chunk, buffer)` may use its thread's buffer, shape `(CHUNK,)`."""
    n_threads = n_threads or len(os.sched_getaffinity(0))
    checksums = [b""] * -(-config.size // CHUNK)
    # One iterator for all threads: whoever is free takes the next chunk. The interpreter lock makes `next` atomic.
    remaining = iter(range(len(checksums)))

    def work() -> None:
        buffer = np.empty(CHUNK, dtype=np.float32)
        for chunk in remaining:
            checksums[chunk] = _checksum(get_chunk(chunk, buffer))

    with ThreadPoolExecutor(n_threads, thread_name_prefix="noise") as executor:
        for future in [executor.submit(work) for _ in range(n_threads)]:
            future.result()
    return hashlib.blake2b(b"".join([config.size.to_bytes(8, "little"), *checksums]), digest_size=16).hexdigest()


def _checksum(samples: NDArray[np.float32]) -> bytes:
    """Return the checksum of one chunk, 16 bytes; a shorter last chunk counts as filled up with zeros."""
    if samples.size < CHUNK:
        samples = np.concatenate([samples, np.zeros(CHUNK - samples.size, dtype=np.float32)])
    words = samples.view(np.uint64).reshape(-1, _ROW_WORDS)
    sums = np.concatenate([words.sum(axis=0), words.sum(axis=1)])
    return hashlib.blake2b(sums.data, digest_size=16).digest()


def _draw(seed: int, chunk: int, out: NDArray[np.float32]) -> None:
    """Fill `out` with the first `out.size` samples of a chunk."""
    # SFC64 is the fastest of numpy's bit generators here: measured 1.1 to 1.3 times PCG64DXSM, 1.2 times Philox.
    sequence = np.random.SeedSequence(seed, spawn_key=(chunk,))
    np.random.Generator(np.random.SFC64(sequence)).standard_normal(out=out, dtype=np.float32)


def _make_chunk(config: NoiseConfig, chunk: int) -> NDArray[np.float32]:
    """Return one chunk, shape `(CHUNK,)`, the last one of the table perhaps shorter."""
    bounds = _bounds(config, chunk)
    samples = np.empty(bounds.stop - bounds.start, dtype=np.float32)
    _draw(config.seed, chunk, samples)
    return samples


def _bounds(config: NoiseConfig, chunk: int) -> slice:
    """Return where in the table a chunk lies."""
    return slice(chunk * CHUNK, min((chunk + 1) * CHUNK, config.size))


def _write(fd: int, samples: NDArray[np.float32], offset: int) -> None:
    """Write all of `samples` at byte `offset`; the kernel may take them in parts before it says what is wrong."""
    rest = samples.data.cast("B")
    while rest:
        n_bytes = os.pwrite(fd, rest, offset)
        rest, offset = rest[n_bytes:], offset + n_bytes


def _check_slice(config: NoiseConfig, index: int, n: int) -> None:
    """Raise `GenomeError` unless samples `index` to `index + n` exist."""
    if not 0 <= n <= config.size:
        raise GenomeError(f"noise slice: expected a length of 0 to {config.size} (noise.size), found {n}")
    if not 0 <= index <= config.size - n:
        raise GenomeError(
            f"noise slice: expected an index of 0 to {config.size - n} for {n} of {config.size} samples, "
            f"found {index}; the genome belongs to another table or policy"
        )
