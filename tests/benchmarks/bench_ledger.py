"""Speed of the ledger: rows booked and episodes issued a second.

`python tests/benchmarks/bench_ledger.py` prints what `measure` returns. Half of the rows arrive a second time. At least
5,000 rows/s are asked for.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from gadask.master.ledger import Ledger, Quota
from gadask.messages import Kind
from gadask.rows import ROW

CHUNK_EPISODES = 31


def measure(rounds: int = 5, n_children: int = 31_000) -> dict[str, float]:
    """Issue and book `n_children` children in chunks of 31 episodes; return medians over the rounds."""
    issued, added = [], []
    for _ in range(rounds):
        ledger = Ledger(Quota(0, n_children))
        start_s = time.perf_counter()
        chunks = []
        while (chunk := ledger.take(CHUNK_EPISODES)) is not None:
            chunks.append(chunk)
        issued.append(n_children / (time.perf_counter() - start_s))
        batches = []
        for chunk in chunks:
            rows = np.zeros(len(chunk.episodes), ROW)
            rows["kind"] = Kind.CHILD
            rows["slot"] = [slot for slot, _ in chunk.episodes]
            batches += [rows, rows[::2]]
        start_s = time.perf_counter()
        for rows in batches:
            ledger.add(rows)
        added.append(sum(map(len, batches)) / (time.perf_counter() - start_s))
        assert ledger.closed
    return {"issued_episodes_per_s": statistics.median(issued), "added_rows_per_s": statistics.median(added)}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:24} {value:12,.0f}")
