"""Model and measurement of a node: what memory that all processes share costs each of them.

A network's weights do not fit the caches of a full node as many times as processes play, so a step waits for what it
reads. The model takes the time of a step of one process alone, and adds the time that its bytes take longer when all
processes read at once:

    t(n) = t(1) + bytes a step × (1 / bandwidth(n) − 1 / bandwidth(1))

It knows nothing of clock rates that fall with the number of busy cores, of two threads on one core, or of what the
emulator itself reads: a measurement below the model says how much these cost together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gadask.bench.bandwidth import read_bandwidth
from gadask.bench.speed import played
from gadask.bench.traffic import bytes_per_step
from gadask.config import Config

_BANDWIDTH_S = 2.0


@dataclass(frozen=True)
class Load:
    """A number of processes that play at once, and how fast each of them is."""

    n_processes: int
    bandwidth: float
    """Bytes that a process reads a second, of memory that no cache holds."""
    measured: float
    """Frames a second and process."""
    modelled: float | None
    """The same by the model; None for networks without compiled kernels, whose bytes are not counted."""


def measure(
    config: Config, counts: Sequence[int], seconds: float, say: Callable[[str], None] = lambda text: None
) -> tuple[float | None, list[Load]]:
    """Return the bytes of weights that a step reads, and one load for each number of processes, the first of them 1.

    `seconds` are those that each number of processes plays; `say` is told what is being measured.
    """
    say("counting what a step reads")
    n_bytes = bytes_per_step(config)
    loads: list[Load] = []
    for n_processes in counts:
        say(f"{n_processes} at once")
        bandwidth = read_bandwidth(n_processes, _BANDWIDTH_S)
        steps, frames = played(config, n_processes, seconds)
        if not loads:
            alone_s, alone_bandwidth, frames_a_step = 1 / steps, bandwidth, frames / steps
        step_s = None if n_bytes is None else alone_s + n_bytes * (1 / bandwidth - 1 / alone_bandwidth)
        loads.append(Load(n_processes, bandwidth, frames, None if step_s is None else frames_a_step / step_s))
    return n_bytes, loads


def process_counts(n_most: int) -> list[int]:
    """Return the numbers of processes to measure: 1, 2, half of the most and the most."""
    return sorted({1, min(2, n_most), max(1, n_most // 2), n_most})
