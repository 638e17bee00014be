"""What an update of OpenAI-ES costs: `python -m tests.benchmarks.bench_es [--pairs 500]`.

On one node of two processes, with the 4 million parameters of `such2017` and Adam: the time from an update's file to
the centre in shared memory, beside one `torch.mv` of the same rows of noise on two threads, and beside sending the
centre to the node through Dask, whose payload is 16 MB (medians; the three take turns). Then how long a node takes
that joins at generation 1,000, from its noise table to its first episode, and what an episode of small runs costs on
the wire.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distributed import Client
from rich.console import Console
from rich.table import Table

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood
from gadask.algorithms.openai_es import OpenAIES
from gadask.clusters.local import local_cluster
from gadask.config import Config, config_from_dict
from gadask.genomes.anchors import anchor_content, anchor_digest
from gadask.genomes.genome import Genome
from gadask.genomes.noise import LazyNoise
from gadask.genomes.stored import stored_path
from gadask.genomes.updates import Update
from gadask.master.evolve import evolve
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, Task
from gadask.node.node import Node
from tests.benchmarks.bench_master import loopback_bytes

_ROUNDS = 9
_BLOCK = 2**16
_CONFIG: dict[str, Any] = {
    "algorithm": {"kind": "openai-es"},
    "env": {"id": "ALE/Frostbite-v5", "max_steps": 1},
    "policy": {"kind": "such2017"},
    "noise": {"size": 100_000_000},
    "generation": {"candidates": 1},
}
_SMALL: dict[str, Any] = {
    "env": {"id": "tests.benchmarks.null_env:Null-v0", "max_steps": 1},
    "policy": {"kind": "mlp", "kwargs": {"hidden": "1"}},
    "noise": {"size": 100_000},
    "generation": {"population": 1000, "candidates": 2, "candidate_episodes": 2},
    "budget": {"generations": 12, "test_episodes": 0},
}


def measure(n_pairs: int = 500) -> dict[str, float]:
    """Return seconds, bytes and ratios."""
    config = config_from_dict({**_CONFIG, "generation": {"population": 2 * n_pairs, "candidates": 1}})
    with tempfile.TemporaryDirectory() as directory:
        task = prepare_task(config, directory)
        return {
            **asyncio.run(_update_and_sending(config, task, n_pairs)),
            "a node that joins at generation 1,000, s": _late_joiner(config, task, n_pairs),
            **_wire(),
        }


async def _update_and_sending(config: Config, task: Task, n_pairs: int) -> dict[str, float]:
    node = Node(config.noise, 2)
    times: dict[str, list[float]] = {"update": [], "torch.mv": [], "sending": []}
    centre: Genome = (5,)
    try:
        _play(node, task, centre, 0)
        async with local_cluster() as cluster:
            for number in range(1, _ROUNDS + 1):
                update = _stored_update(task, number, n_pairs)
                centre = (*centre, update.name)
                times["update"].append(_play(node, task, centre, number))
                times["torch.mv"].append(_mv(node, task, update))
                times["sending"].append(await _sending(cluster.client, task.n_params))
    finally:
        node.close()
    return {
        **{f"{name}, s": statistics.median(values) for name, values in times.items()},
        **{
            f"update / {name}": statistics.median(a / b for a, b in zip(times["update"], times[name], strict=True))
            for name in ("torch.mv", "sending")
        },
    }


def _play(node: Node, task: Task, centre: Genome, generation: int) -> float:
    """Return the seconds of an episode of one step from a centre."""
    began = time.perf_counter()
    node.play(task, Brood(generation, (centre,)), Chunk(generation, Kind.CHILD, ((0, 0),)))
    return time.perf_counter() - began


def _stored_update(task: Task, number: int, n_pairs: int) -> Update:
    weights = (np.random.default_rng(number).uniform(-1, 1, n_pairs) / n_pairs).astype(np.float32)
    update = Update.of(number - 1, number, weights)
    path = stored_path(task.run_dir, update.name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(update.content())
    return update


def _mv(node: Node, task: Task, update: Update) -> float:
    """Return the seconds of `torch.mv` for blocks of an update's rows, whose copying to a matrix does not count."""
    assert isinstance(task.algorithm, OpenAIES)
    noise = LazyNoise(task.noise, max_chunks=400)
    weights = torch.from_numpy(update.array().copy())
    genes = task.algorithm.update_genes(update.generation, len(weights), task.n_genes).tolist()
    matrix = torch.empty(len(genes), _BLOCK)
    out = torch.empty(_BLOCK)
    seconds = 0.0
    for first in range(0, _BLOCK * 4, _BLOCK):  # a share of the columns, whose time is scaled: noise is made as it goes
        for row, gene in enumerate(genes):
            matrix[row] = torch.from_numpy(noise.slice(gene + first, _BLOCK).copy())
        torch.set_num_threads(2)
        began = time.perf_counter()
        torch.mv(matrix.T, weights, out=out)
        seconds += time.perf_counter() - began
        torch.set_num_threads(1)
    return seconds * task.n_params / (4 * _BLOCK)


async def _sending(client: Client, n_params: int) -> float:
    """Return the seconds until a node has the parameters as an argument of a task."""
    vector = np.random.default_rng(0).standard_normal(n_params).astype(np.float32)
    began = time.perf_counter()
    await client.submit(len, vector.tobytes(), pure=False)
    return time.perf_counter() - began


def _late_joiner(config: Config, task: Task, n_pairs: int) -> float:
    """Return the seconds to the first episode of a node that has only its table, as far behind as anchors let it be."""
    vectors = np.random.default_rng(0).standard_normal((1 + task.n_vectors, task.n_params)).astype(np.float32)
    vectors[2] **= 2
    anchor = stored_path(task.run_dir, anchor_digest(vectors))
    anchor.parent.mkdir(exist_ok=True)
    anchor.write_bytes(anchor_content(vectors))
    updates = [_stored_update(task, number, n_pairs).name for number in range(1002 - config.es.anchor_every, 1001)]
    node = Node(config.noise, 2)
    try:
        return _play(node, task, (anchor.stem, *updates), 1000)
    finally:
        node.close()


def _wire() -> dict[str, float]:
    """Return the bytes of an episode on the wire, and of the run directory's updates, beside the GA's."""
    found = {kind: asyncio.run(_bytes_per_episode(kind)) for kind in ("truncation", "openai-es")}
    return {
        "bytes on the wire per episode": found["openai-es"][0],
        "the GA's": found["truncation"][0],
        "bytes of updates per episode": found["openai-es"][1],
    }


async def _bytes_per_episode(kind: str) -> tuple[float, float]:
    config = config_from_dict({**_SMALL, "algorithm": {"kind": kind}})
    assert make_algorithm(config).n_bases > 0
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory) / "run"
        begun_at_bytes, n_episodes = 0, 0
        async with local_cluster() as cluster:
            async for generation in evolve(config, cluster.client, run_dir, n_processes=2):
                if generation.number == 0:
                    begun_at_bytes = loopback_bytes()
                else:
                    n_episodes += generation.line["episodes"]
            sent_bytes = loopback_bytes() - begun_at_bytes
        stored = sum(path.stat().st_size for path in (run_dir / "updates").glob("*"))
    return sent_bytes / n_episodes, stored / n_episodes


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500)
    table = Table("what", "figure")
    for name, value in measure(parser.parse_args().pairs).items():
        table.add_row(name, f"{value:.4g}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
