"""How long processes wait where nothing is played: at the start of a node or a run, and between generations.

Moments come from the rows of a real run of Frostbite with `such2017` on two processes, whose episodes are cut short.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gadask.algorithms.algorithm import Brood
from gadask.config import EnvConfig, NoiseConfig, PolicyConfig
from gadask.node.node import Node
from gadask.record.directory import read_episodes
from tests.benchmarks.bench_evolution import N_PROCESSES, children, make_task

_GENERATIONS = 8
_RUN = (
    "jobs/configs/such2017.toml --generation.population 60 --ga.parents 6 --generation.candidates 3"
    " --generation.candidate-episodes 8"
    f" --env.max-steps 60 --budget.test-episodes 0 --rollouts-per-node {N_PROCESSES} --run-dir"
).split()


def measure() -> dict[str, float]:
    """Return seconds from the start of each to the first episode, and the median of the turn-arounds."""
    with tempfile.TemporaryDirectory() as directory:
        run_dir = Path(directory) / "run"
        start_s = _first_episode_of_a_run_s(run_dir, _GENERATIONS)
        resume_s = _first_episode_of_a_run_s(run_dir, _GENERATIONS + 1, "--resume")
        spans = [_spans(run_dir, number) for number in range(_GENERATIONS)]
    between = [later["child"][0] - earlier["evaluation"][1] for earlier, later in itertools.pairwise(spans)]
    barriers = [span["evaluation"][0] - span["child"][1] for span in spans]
    return {
        "node start to first episode, s": _first_episode_of_a_node_s(),
        "command to first episode, s": start_s,
        "command with --resume to first episode, s": resume_s,
        "last row of a generation to first child of the next, s": statistics.median(between),
        "last child to first evaluation, s": statistics.median(barriers),
    }


def _first_episode_of_a_node_s() -> float:
    """Return the seconds from the start of a node, full table included, to the first row of `such2017`."""
    task = make_task(EnvConfig(id="ALE/Frostbite-v5", max_steps=1), PolicyConfig())
    begin = time.perf_counter()
    node = Node(NoiseConfig(), N_PROCESSES)
    try:
        node.play(task, Brood(0, (), ()), children(Brood(0, (), ()), 0, 1))
        return time.perf_counter() - begin
    finally:
        node.close()


def _first_episode_of_a_run_s(run_dir: Path, generations: int, *flags: str) -> float:
    """Run the command until so many generations are closed; returns when its first episode began."""
    begin_s = time.time()
    command = [sys.executable, "jobs/run.py", *_RUN, str(run_dir), "--budget.generations", str(generations), *flags]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    starts = (_spans(run_dir, number)["child"][0] for number in range(generations))
    return next(start_s for start_s in starts if start_s > begin_s) - begin_s


def _spans(run_dir: Path, generation: int) -> dict[str, tuple[float, float]]:
    """Return when the first episode of each kind began and when the last one ended."""
    episodes = read_episodes(run_dir, generation).to_pandas()
    ends_s = episodes["start_s"] + episodes["seconds"]
    kinds = episodes["kind"].unique()
    return {
        kind: (episodes["start_s"][episodes["kind"] == kind].min(), ends_s[episodes["kind"] == kind].max())
        for kind in kinds
    }
