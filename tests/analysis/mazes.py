"""Small runs on the hard maze by algorithms that say how they stand."""

from __future__ import annotations

from pathlib import Path

from gadask.config import config_from_dict
from tests.local_runs import run

N_CHILDREN = 6


def play_maze(path: Path, kind: str) -> Path:
    """Play four generations of six children with this algorithm; returns the run directory."""
    config = config_from_dict(
        {
            "env": {"id": "gadask/HardMaze-v0", "max_steps": 20, "behaviour": True},
            "policy": {"kind": "mlp", "kwargs": {"hidden": "2"}},
            "noise": {"size": 100_000},
            "algorithm": {"kind": kind},
            "generation": {
                "population": N_CHILDREN,
                "candidates": 1 if kind == "openai-es" else 2,
                "candidate_episodes": 1,
            },
            "es": {"anchor_every": 1},
            "novelty": {"parents": 2, "archive_share": 1.0},
            "budget": {"generations": 4, "test_episodes": 0},
        }
    )
    run(config, path)
    return path
