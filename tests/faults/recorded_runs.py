"""Runs of made-up generations, and system calls that fail: what the faults of run directories share."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gadask.algorithms.algorithm import Elite
from gadask.config import Config, EnvConfig, GAConfig, GenerationConfig
from gadask.record.directory import (
    WALL_CLOCK_COLUMNS,
    RunDirectory,
    State,
    episode_table,
    read_episodes,
    read_generations,
    without_wall_clock,
)
from gadask.rows import ROW
from tests.generations import state_of

CONFIG = Config(
    env=EnvConfig(id="CartPole-v1"), generation=GenerationConfig(population=6, candidates=0), ga=GAConfig(parents=2)
)
LAST = 3
SYSTEM_CALLS = ("open", "write", "fsync", "replace", "ftruncate", "unlink", "mkdir")


def state_after(generation: int) -> State:
    genome = tuple(range(generation + 1))
    return state_of(
        generation,
        (genome, (7,)),
        (genome,),
        Elite(genome, generation / 3, 1, generation),
        frames=100 * generation,
        steps=25 * generation,
        episodes=6 * generation,
        noise_digest="abc",
        elapsed_s=time.time(),
    )


def table(generation: int) -> pa.Table:
    rows = np.zeros(6, ROW)
    rows["generation"], rows["slot"], rows["return"] = generation, range(6), np.arange(6) / 7
    rows["start_s"] = time.time()
    return episode_table(rows, parent=[0] * 6, gene=range(6), weight=[1.0] * 6, node=["n"] * 6, counted=[True] * 6)


def evolve(path: Path, last: int = LAST) -> State:
    """Start a run or go on with it, up to the close of generation `last`; return the state it began from."""
    if (path / "config.toml").exists():
        directory, state = RunDirectory.resume(path)
    else:
        directory, state = RunDirectory.create(path, CONFIG), State()
    with directory:
        directory.add_provenance({"pid": os.getpid()})
        for generation in range(state.generation + 1, last + 1):
            line = {"best": generation / 3, "timing": {"now": time.time()}}
            directory.close_generation(table(generation), line, state_after(generation))
    return state


def contents(path: Path) -> dict[str, Any]:
    """Everything in a run directory that an equal run must equal, by file name."""
    found: dict[str, Any] = {}
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        if file.suffix == ".parquet":
            found[name] = read_episodes(path, int(file.stem)).drop_columns(list(WALL_CLOCK_COLUMNS)).to_pylist()
        elif file.suffix == ".jsonl":
            assert file.read_bytes().endswith(b"\n")
            found[name] = [without_wall_clock(line) for line in read_generations(path)]
        elif name.startswith("checkpoint"):
            found[name] = without_wall_clock(json.loads(file.read_bytes()))
        else:
            found[name] = file.read_bytes() if name == "config.toml" else None
    return found


def strike(step: int, action: Callable[[], None]) -> Callable[[], int]:
    """From now on call `action` before system call `step`, a write being half done; return what counts the calls."""
    counter = itertools.count()
    calls = 0

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def struck(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls = next(counter) + 1
            if calls == step + 1:
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                action()
            return real(*args, **kwargs)

        return struck

    for name in SYSTEM_CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))
    return lambda: calls
