"""Run directories that the tests of analysis share; those of `recorded` and `study` are not to be written to."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.analysis.mazes import play_maze
from tests.analysis.recorded import FROSTBITE, GENERATION, SWATCH, record
from tests.analysis.synthetic import synthetic_config, write_run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that were really played."""
    base = tmp_path_factory.mktemp("runs")
    configs = {
        "swatch": (SWATCH, 3),
        "single": (SWATCH, 1),
        "no candidates": (replace(SWATCH, generation=replace(GENERATION, candidates=0)), 2),
        "common": (replace(SWATCH, generation=replace(GENERATION, common_random_numbers=True)), 1),
        "unseen": (replace(SWATCH, env=replace(SWATCH.env, id="gadask-tests/Unseen-v0")), 1),
        "frostbite": (FROSTBITE, 2),
    }
    return {name: record(base / name, *arguments) for name, arguments in configs.items()}


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 25 generations and 40 children that nobody played."""
    return write_run(tmp_path_factory.mktemp("synthetic") / "run", synthetic_config(40), 25)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs that nobody played: two games, three seeds, of different length."""
    base = tmp_path_factory.mktemp("study")
    for game in ("ALE/Frostbite-v5", "ALE/Kangaroo-v5"):
        for seed in range(3):
            config = synthetic_config(20, seed, candidate_episodes=4)
            config = replace(config, env=replace(config.env, id=game))
            write_run(base / f"{game[4:9]}-s{seed}", config, 5 + seed, n_nodes=1)
    return base


@pytest.fixture(scope="session")
def mazes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs on the hard maze, by algorithm; not to be written to."""
    base = tmp_path_factory.mktemp("mazes")
    return {kind: play_maze(base / kind, kind) for kind in ("novelty", "openai-es")}


@pytest.fixture
def run(recorded: dict[str, Path], tmp_path: Path) -> Path:
    """A run directory of three generations to write to."""
    return Path(shutil.copytree(recorded["swatch"], tmp_path / "run"))
