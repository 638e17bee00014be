"""Hundreds of nodes: nothing lost, and a master that stays small (fault 13); the scale benchmark has a thousand."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from gadask.clusters.base import DASK_CONFIG
from gadask.config import Config, config_from_dict
from gadask.master.evolve import evolve
from gadask.record.directory import read_episodes, read_generations
from tests.benchmarks.simulated_nodes import N_PROCESSES, simulated_nodes

ROOT = Path(__file__).parents[2]
N_NODES = 250
SPEED = 5.0  # the nodes' episodes, so that what is tested is the master


@pytest.mark.slow
def test_a_generation_on_many_nodes(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    master = [sys.executable, "-c", f"from tests.faults.test_many_nodes import main; main({str(run_dir)!r})"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_LOGGING__DISTRIBUTED": "error"}
    result = subprocess.run(master, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout)["largest_memory_bytes"] < 2**30

    (line,) = read_generations(run_dir)
    settings = config().generation
    rows = read_episodes(run_dir, 0).to_pandas()
    children = rows[rows.kind == "child"]
    assert rows.counted.all()
    assert (children.slot == np.arange(settings.population)).all()
    assert len(rows) == line["episodes"] == settings.population + settings.candidates * settings.candidate_episodes
    assert children.node.nunique() == N_NODES
    best = children.sort_values(["return", "slot"], ascending=[False, True]).head(settings.candidates)
    assert [candidate["genome"] for candidate in line["candidates"]] == [str(gene) for gene in best.gene]


def config() -> Config:
    return config_from_dict(
        {
            "env": {"id": "tests.benchmarks.null_env:Null-v0", "max_steps": 5000},
            "policy": {"kind": "mlp", "kwargs": {"hidden": "1"}},
            "noise": {"size": 250_000_000},
            "generation": {"population": 2 * N_PROCESSES * N_NODES},
            "budget": {"generations": 1, "test_episodes": 0},
        }
    )


def main(run_dir: str) -> None:
    """Be the master of one generation; prints the largest memory of this process."""
    asyncio.run(_main(run_dir))
    largest_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"largest_memory_bytes": largest_bytes}))


async def _main(run_dir: str) -> None:
    with dask.config.set(DASK_CONFIG):
        async with (
            LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", asynchronous=True) as cluster,
            Client(cluster, asynchronous=True) as client,
            simulated_nodes(client, N_NODES, config().noise, speed=SPEED),
        ):
            async for _ in evolve(config(), client, run_dir):
                pass
