"""Long runs: `python -m tests.benchmarks.bench_endurance [--seconds 3600] [--genes 10000]`.

Without `--seconds`: how long decoding takes and how large messages and records are at generation `--genes`, when
genomes have so many genes, and how long a node takes that joins then. With it: memory of master, worker, fork server
and rollout processes while cheap generations go by for so long, and the slope of a line through its second half.
"""

from __future__ import annotations

import os

from gadask.numerics import numeric_environment

os.environ.update(numeric_environment())  # before numpy and torch are imported below
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")

import argparse
import asyncio
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table

from gadask.algorithms.algorithm import Brood, Elite
from gadask.clusters.local import local_cluster
from gadask.config import Config, config_from_dict
from gadask.envs import make_env
from gadask.genomes.genome import Genome, to_text
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode as decode_weights
from gadask.master.evolve import evolve
from gadask.master.task import prepare_task
from gadask.messages import Chunk, Kind, pack_brood, pack_chunk
from gadask.messages import unpack_brood as cached_unpack_brood
from gadask.node.ancestors import AncestorCache
from gadask.node.jobs import DecodeJob
from gadask.node.node import Node
from gadask.policies import make_policy
from gadask.record.checkpoint import Checkpoint, decode, encode
from gadask.record.generations import decode_line, encode_line
from tests.benchmarks.bench_memory import smaps_bytes
from tests.generations import state_of

_N_PARENTS, _N_CANDIDATES, _N_BRANCH = 20, 10, 40
_GAMES = {
    "such2017": {"env": {"id": "ALE/Frostbite-v5", "max_steps": 1}, "policy": {"kind": "such2017"}},
    "mlp": {"env": {"id": "CartPole-v1", "max_steps": 1}, "policy": {"kind": "mlp", "kwargs": {"hidden": "16"}}},
}
_ENDURED = {
    "env": {"id": "CartPole-v1", "max_steps": 50},
    "policy": {"kind": "mlp", "kwargs": {"hidden": "16"}},
    "noise": {"size": 1_000_000},
    "generation": {"population": 50, "candidates": 3, "candidate_episodes": 4},
    "ga": {"parents": 10},
    "budget": {"test_episodes": 0},
}


def _config(name: str) -> Config:
    return config_from_dict({**_GAMES[name], "noise": {"size": 10_000_000}, "budget": {"test_episodes": 0}})


def _family(n_genes: int, n: int, seed: int = 0) -> tuple[Genome, ...]:
    """Return genomes as selection leaves them: one ancestor some tens of generations back, then branches."""
    random = np.random.default_rng(seed)
    trunk = np.random.default_rng(123).integers(5_000_000, size=n_genes - _N_BRANCH).tolist()
    return tuple((*trunk, *random.integers(5_000_000, size=_N_BRANCH).tolist()) for _ in range(n))


def _milliseconds(call: Callable[[], object], n_rounds: int = 5) -> float:
    seconds = []
    for _ in range(n_rounds):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


def measure_messages(n_genes: int) -> dict[str, tuple[float, float, float]]:
    """Return of each message and record at that generation: its bytes, milliseconds to make it and to read it."""
    config = _config("such2017")
    task = prepare_task(config)
    parents, candidates = _family(n_genes, _N_PARENTS), _family(n_genes, _N_CANDIDATES, seed=1)
    elite = Elite(candidates[0], 1000.0, 30, n_genes - 1)
    chunk = Chunk(n_genes, Kind.CHILD, tuple((slot, 0) for slot in range(62)))
    brood = Brood(n_genes, parents, candidates)
    job = 1, DecodeJob(1, 0, -1, parents[0])
    state = state_of(n_genes - 1, parents, candidates, elite, noise_digest="0" * 16)
    checkpoint = Checkpoint(state, config, 10**9, "0" * 64)
    line = {
        "generation": n_genes,
        "parents": [to_text(genome) for genome in parents],
        "candidates": [{"genome": to_text(genome), "mean": 1.0, "episodes": 30} for genome in candidates],
        "elite": {"genome": to_text(elite.genome), "mean": 1.0, "episodes": 30, "generation": n_genes},
    }
    packed, made_from = pack_chunk(chunk), pack_brood(task, brood)
    job_packet, document, text = pickle.dumps(job), encode(checkpoint), encode_line(dict(line))
    unpack_brood = cached_unpack_brood.__wrapped__
    return {
        "chunk of 62 episodes": (len(packed), _milliseconds(lambda: pack_chunk(chunk)), 0.0),
        f"brood, {_N_PARENTS} parents and {_N_CANDIDATES} candidates": (
            len(made_from),
            _milliseconds(lambda: pack_brood(task, brood)),
            _milliseconds(lambda: unpack_brood(made_from)),
        ),
        "decode job, whole genome": (
            len(job_packet),
            _milliseconds(lambda: pickle.dumps(job)),
            _milliseconds(lambda: pickle.loads(job_packet)),
        ),
        "checkpoint": (
            len(document),
            _milliseconds(lambda: encode(checkpoint)),
            _milliseconds(lambda: decode(document)),
        ),
        "line of the log": (
            len(text),
            _milliseconds(lambda: encode_line(dict(line))),
            _milliseconds(lambda: decode_line(text)),
        ),
    }


def measure_decoding(name: str, n_genes: int) -> dict[str, float]:
    """Return seconds of decoding: one genome from the start, one gene from its parent; all parents of a small network.

    A node that joins late decodes all parents from the start, as many at a time as it has processes.
    """
    config = _config(name)
    task = prepare_task(config)
    torch.set_num_threads(1)
    env = make_env(config.env)
    policy = make_policy(config.policy, env.observation_space, env.action_space)
    noise = LazyNoise(config.noise)
    parents = _family(n_genes, _N_PARENTS)
    out, parent = torch.zeros(task.n_params), torch.zeros(task.n_params)

    def whole() -> None:
        decode_weights(parent, parents[0], noise, policy.initialise, task.algorithm.step_weight)

    def step() -> None:
        decode_weights(out, (17,), noise, policy.initialise, task.algorithm.step_weight, parent)

    figures = {"parameters": float(task.n_params), "one genome, from the start, s": _milliseconds(whole, 1) / 1e3}
    figures["one gene, from its parent, s"] = _milliseconds(step) / 1e3
    kept = AncestorCache(4 * _N_PARENTS)
    kept.plan(parents)
    sought = iter([(*parents[0], gene) for gene in range(5)])
    figures["its parent among the decoded, found in, s"] = _milliseconds(lambda: kept.plan([next(sought)])) / 1e3
    env.close()
    if task.n_params > 100_000:  # minutes
        return figures

    chunk = Chunk(n_genes, Kind.CHILD, tuple((slot, 0) for slot in range(40)))
    node = Node(config.noise, 2)
    try:
        began = time.perf_counter()
        node.play(task, Brood(n_genes, parents, ()), chunk)
        figures[f"late node, {_N_PARENTS} parents, to the last of 40 episodes, s"] = time.perf_counter() - began
        children = tuple((*genome, 17 + row) for row, genome in enumerate(parents))
        chunk = Chunk(n_genes + 1, Kind.CHILD, chunk.episodes)
        began = time.perf_counter()
        node.play(task, Brood(n_genes + 1, children, ()), chunk)
        figures["the same node, next generation, s"] = time.perf_counter() - began
    finally:
        node.close()
    return figures


async def endure(seconds: float, every_s: float) -> tuple[int, list[float], dict[str, list[tuple[float, float]]]]:
    """Evolve for so long; returns how many generations closed, when memory was read, and RSS and PSS in MB then."""
    moments: list[float] = []
    memory: dict[str, list[tuple[float, float]]] = {}
    n_closed, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        config = config_from_dict({**_ENDURED, "budget": {"test_episodes": 0, "hours": seconds / 3600}})
        async with local_cluster(1) as cluster:
            async for _ in evolve(config, cluster.client, Path(folder) / "run", n_processes=2):
                n_closed += 1
                now_s = time.monotonic() - began
                if not moments or now_s - moments[-1] >= every_s:
                    moments.append(now_s)
                    for name, size in _memory().items():
                        memory.setdefault(name, []).append(size)
    return n_closed, moments, memory


def _memory() -> dict[str, tuple[float, float]]:
    """Return RSS and PSS in MB of this process and all below it, by what they are."""
    this = psutil.Process()
    sizes = {"master and scheduler": _sizes(this.pid)}
    n_rollouts = 0
    for process in this.children(recursive=True):
        command = " ".join(process.cmdline())
        if "resource_tracker" in command:
            continue
        if "gadask.node.forkserver" not in command:
            name = "worker"
        elif "gadask.node.forkserver" not in " ".join(process.parent().cmdline()):
            name = "fork server"
        else:
            name = f"rollout process {n_rollouts}"
            n_rollouts += 1
        sizes[name] = _sizes(process.pid)
    return sizes


def _sizes(pid: int) -> tuple[float, float]:
    return smaps_bytes(pid, "Rss") / 1e6, smaps_bytes(pid, "Pss") / 1e6


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.0, help="evolve for so long, and measure memory alone")
    parser.add_argument("--genes", type=int, default=10_000)
    arguments = parser.parse_args()
    console = Console(width=110)
    if arguments.seconds:
        console.print(_memory_table(arguments.seconds))
        return
    table = Table(f"at generation {arguments.genes:,}", "bytes", "made, ms", "read, ms")
    for what, (size, make_ms, read_ms) in measure_messages(arguments.genes).items():
        table.add_row(what, f"{size:,.0f}", f"{make_ms:.2f}", f"{read_ms:.2f}" if read_ms else "")
    console.print(table)
    for name in _GAMES:
        table = Table(f"decoding, {name}, {arguments.genes:,} genes", "")
        for what, value in measure_decoding(name, arguments.genes).items():
            table.add_row(what, f"{value:,.6g}")
        console.print(table)


def _memory_table(seconds: float) -> Table:
    n_closed, moments, memory = asyncio.run(endure(seconds, max(1.0, seconds / 120)))
    shown = sorted({round(i * (len(moments) - 1) / 6) for i in range(7)})
    columns = [f"{moments[i] / 60:.0f} min" for i in shown]
    table = Table("RSS / PSS, MB", *columns, "PSS, MB/h", title=f"{n_closed:,} generations in {seconds:,.0f} s")
    half = len(moments) // 2
    for name, sizes in memory.items():
        cells = [f"{sizes[i][0]:.1f} / {sizes[i][1]:.1f}" for i in shown if i < len(sizes)]
        pss = np.array([pss for _, pss in sizes[half:]])
        slope: Any = np.polyfit(np.array(moments[half : half + len(pss)]) / 3600, pss, 1)[0] if len(pss) > 2 else np.nan
        table.add_row(name, *cells, f"{slope:+.1f}")
    return table


if __name__ == "__main__":
    main()
