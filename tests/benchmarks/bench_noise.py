"""Speed and memory of filling the full noise table, against one thread of numpy.

`python tests/benchmarks/bench_noise.py` prints what `measure` returns. The baseline is timed right before and right
after each fill, so that other load on the machine strikes both. A second baseline, over as many samples as the table,
also pays for as many new pages; on a virtual machine that hands free memory back to its host these cost most.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np

from gadask.config import NoiseConfig
from gadask.genomes.noise import NoiseTable

BASELINE_SAMPLES = 25_000_000


def measure(rounds: int = 3) -> dict[str, float]:
    """Fill the default table `rounds` times and return medians over the rounds.

    `peak_rss_growth_bytes` counts this process's pages only; a memfd that is not mapped is not among them, so its
    `shared_memory_bytes` are given beside it.
    """
    config = NoiseConfig()
    n_threads = len(os.sched_getaffinity(0))
    baselines, same_size_baselines, fills, growths = [], [], [], []
    shared_bytes = 0
    for _ in range(rounds):
        before = _baseline(BASELINE_SAMPLES)
        resident_bytes = _reset_peak()
        start_s = time.perf_counter()
        table = NoiseTable.generate(config, n_threads)
        fills.append(config.size / (time.perf_counter() - start_s))
        growths.append(_status_bytes("VmHWM") - resident_bytes)
        shared_bytes = os.fstat(table.fd).st_blocks * 512
        table.close()
        baselines.append(2 / (1 / before + 1 / _baseline(BASELINE_SAMPLES)))
        same_size_baselines.append(_baseline(config.size))
    return {
        "baseline_samples_per_s": statistics.median(baselines),
        "baseline_same_size_samples_per_s": statistics.median(same_size_baselines),
        "table_samples_per_s": statistics.median(fills),
        "threads": n_threads,
        "ratio_per_core": _ratio(fills, baselines) / n_threads,
        "ratio_same_size_per_core": _ratio(fills, same_size_baselines) / n_threads,
        "peak_rss_growth_bytes": max(growths),
        "shared_memory_bytes": shared_bytes,
    }


def _ratio(fills: list[float], baselines: list[float]) -> float:
    """Return the median over rounds of table speed to baseline speed."""
    return statistics.median(fill / baseline for fill, baseline in zip(fills, baselines, strict=True))


def _baseline(size: int) -> float:
    """Return samples per second of one thread of numpy's PCG64DXSM filling a new array of `size` float32."""
    generator = np.random.Generator(np.random.PCG64DXSM(0))
    start_s = time.perf_counter()
    generator.standard_normal(size, dtype=np.float32)
    return size / (time.perf_counter() - start_s)


def _reset_peak() -> int:
    """Set the kernel's mark of peak resident memory to the present and return it, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    """Return one of the kernel's memory figures for this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:34} {value:,.3f}")
