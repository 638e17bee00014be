"""Memory of a node: proportional set sizes (PSS) of its processes with and without the noise table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil

from gadask.algorithms.algorithm import Brood
from gadask.config import PRESETS, EnvConfig, NoiseConfig
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind
from gadask.node.node import Node

N_PROCESSES = 4
_SMALL = 4_100_000  # the least that `such2017` needs: 16 MB


def measure() -> dict[str, float]:
    """Return PSS in bytes with 4 rollout processes, each having read all over the table."""
    small, _ = _pss(_SMALL)
    full, per_process = _pss(NoiseConfig().size)
    table = 4.0 * (NoiseConfig().size - _SMALL)
    return {
        "node without the table, bytes": small,
        "node with the table, bytes": full,
        "growth, bytes": full - small,
        "growth / table": (full - small) / table,
        "one rollout process, private bytes": per_process,
    }


def _pss(noise_size: int) -> tuple[float, float]:
    """Return the sum over a node's processes, and the private memory of one rollout process."""
    config = replace(
        PRESETS["such2017"],
        noise=NoiseConfig(size=noise_size),
        env=EnvConfig(id="ALE/Frostbite-v5", max_steps=1),
    )
    parents = tuple((gene,) for gene in range(20))
    node = Node(config.noise, N_PROCESSES)
    try:
        # 600 children of 16 MB each touch every page of the table.
        chunk = Chunk(1, Kind.CHILD, tuple((slot, 0) for slot in range(600)))
        node.play(prepare_task(config), Brood(1, parents, ()), chunk)
        server = psutil.Process(node.pool.pids[0]).parent()
        pids = [server.pid, *node.pool.pids]
        private = smaps_bytes(node.pool.pids[0], "Private_Dirty") + smaps_bytes(node.pool.pids[0], "Private_Clean")
        return sum(smaps_bytes(pid, "Pss") for pid in pids), private
    finally:
        node.close()


def smaps_bytes(pid: int, field: str) -> float:
    """Return a field of a process's memory map summed up, such as `Pss`, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024.0 * int(line.split()[1])
    raise ValueError(f"no field {field} for process {pid}")
