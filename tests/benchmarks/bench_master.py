"""Episodes per second through master, scheduler and one node, with an environment that takes no time."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from gadask.clusters.local import local_cluster
from gadask.config import config_from_dict
from gadask.master.evolve import evolve
from gadask.rows import ROW

_CONFIG = {
    "env": {"id": "tests.benchmarks.null_env:Null-v0", "max_steps": 1},
    "policy": {"kind": "mlp", "kwargs": {"hidden": "1"}},
    "noise": {"size": 100_000},
    "generation": {"population": 10_000, "candidates": 0},
    "ga": {"parents": 20},
    "budget": {"generations": 4, "test_episodes": 0},
}


def measure() -> dict[str, float]:
    """Return episodes/s after the first generation, and the bytes per episode that cross loopback for them."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    config = config_from_dict(_CONFIG)
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory) / "run"
        begun_at_bytes = 0
        async with local_cluster() as cluster:
            async for generation in evolve(config, cluster.client, run_dir, n_processes=2):
                if generation.number == 0:
                    begun_at_bytes = loopback_bytes()
            sent_bytes = loopback_bytes() - begun_at_bytes
        lines = [json.loads(line) for line in (run_dir / "generations.jsonl").read_text().splitlines()][1:]
    n_episodes = sum(line["episodes"] for line in lines)
    return {
        "episodes/s": n_episodes / sum(line["timing"]["wall_s"] for line in lines),
        "bytes of a row": ROW.itemsize,
        "bytes on the wire per episode": sent_bytes / n_episodes,
    }


def loopback_bytes() -> int:
    """Return the bytes that loopback carried: requests, results, TLS and TCP headers, heartbeats and all."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, fields = line.partition(":")
        if name.strip() == "lo":
            return int(fields.split()[0])
    raise OSError("/proc/net/dev: expected the loopback interface")
