"""Runs and studies: what pictures and tables are made from.

A run directory needs neither gadask nor this module to be read: `docs/run-directory.md` does it with pandas alone. Here
several of them become a study (`gadask.record.frames` makes the frames of one). Everything works on a run that is
still going on, or was killed: what counts is the closed generations.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import moving
from gadask.config import (
    ALGORITHM_TABLES,
    PRESETS,
    Config,
    config_to_dict,
    flat_settings,
    load_stored_config,
    own_settings,
)
from gadask.errors import RecordError, RunDirectoryError
from gadask.record.directory import folder_hint, holds_run
from gadask.record.elite_test import EliteTest, read_elite_test
from gadask.record.frames import episode_frame, generation_frame

_OF_ALGORITHMS = tuple(f"{table}." for table in ALGORITHM_TABLES.values())
"""How the names of settings begin that belong to one algorithm."""
_NOT_A_SYSTEM = ("seed", "preset", "env.id", "env.max_steps", "env.test_max_steps", "env.episode_timeout_s", "budget.")


@dataclass(frozen=True)
class Run:
    """One run directory, its episodes aside."""

    path: Path
    config: Config
    generations: pd.DataFrame
    """As `generation_frame` returns it."""

    @property
    def game(self) -> str:
        """As `game_of` its config."""
        return game_of(self.config)

    @property
    def measure(self) -> str:
        """What the log's means are of: `return`, or `fitness` where the config names a function."""
        return "return" if self.config.generation.fitness == "return" else "fitness"

    @property
    def parents_by_return(self) -> int | None:
        """How many of the children with the best returns become parents; None where others do."""
        is_by_return = self.config.algorithm.kind == "truncation" and self.measure == "return"
        return self.config.ga.parents if is_by_return else None

    @property
    def is_moving(self) -> bool:
        """Whether updates move what its children are made from, as in `openai-es`, so that there is no family.

        Raises `ConfigError` where its algorithm is the user's and cannot be made here.
        """
        return moving(make_algorithm(self.config)) is not None


def game_of(config: Config) -> str:
    """Return the environment's name: `Frostbite` of `ALE/Frostbite-v5`, other ids as they are."""
    game = config.env.id
    return game.removeprefix("ALE/").rpartition("-v")[0] if game.startswith("ALE/") else game


def find_runs(paths: Iterable[Path | str]) -> list[Path]:
    """Return the run directories among and below `paths`, sorted below each; links are followed.

    A run directory is not looked into further. One that was kept by `analysis.keep_study` counts, without a checkpoint.

    Raises:
        RunDirectoryError: there is none at or below one of the paths.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not (runs := _runs_below(path)):
            raise RunDirectoryError(
                f"{path}: expected a run directory, or a folder of them, found none{folder_hint(path)}"
            )
        found += runs
    return list(dict.fromkeys(found))


def _runs_below(path: Path) -> list[Path]:
    runs: list[Path] = []
    seen: set[str] = set()  # a link may lead back
    for folder, folders, names in os.walk(path, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        if "config.toml" in names and ("checkpoint.json" in names or "generations.jsonl" in names):
            runs.append(Path(folder))
            folders.clear()
    return sorted(runs)


def load_run(run_dir: Path | str) -> Run:
    """Read one run.

    Raises:
        RunDirectoryError: there is no run, or none of its generations is closed.
        ConfigError, RecordError: the run directory is damaged.
    """
    path = Path(run_dir)
    if not holds_run(path):
        raise RunDirectoryError(f"{path}: expected a run directory, found no config.toml in it{folder_hint(path)}")
    run = Run(path, load_stored_config(path / "config.toml"), generation_frame(path))
    if run.generations.empty:
        raise RunDirectoryError(f"{path}: expected at least one closed generation, found none; let the run go on")
    return run


def load_study(paths: Iterable[Path | str]) -> list[Run]:
    """Read every run among and below `paths` that has a closed generation.

    Raises:
        RunDirectoryError: there is no such run.
        ConfigError, RecordError: a run directory is damaged.
    """
    found = find_runs(paths)
    frames = [(path, generation_frame(path)) for path in found]
    runs = [Run(path, load_stored_config(path / "config.toml"), frame) for path, frame in frames if not frame.empty]
    if not runs:
        raise RunDirectoryError(f"{found[0]}: expected at least one closed generation, found none; let the run go on")
    return runs


def present_episodes(
    run_dir: Path | str, generations: Sequence[int] | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return what `episode_frame` does, at least one episode.

    Raises:
        RecordError: there is none, as in a copy without `episodes/`, or a file is damaged.
    """
    episodes = episode_frame(run_dir, generations, columns)
    if episodes.empty:
        raise RecordError(f"{run_dir}: expected the episodes of its generations in episodes/, found none")
    return episodes


def finished_test(run_dir: Path | str, *, sticky: bool = False) -> EliteTest | None:
    """Return the last test of the run's elite, None where there was none, or too many of its episodes failed.

    `sticky`: the one with sticky actions.

    Raises:
        RecordError: the file is damaged.
    """
    test = read_elite_test(run_dir, sticky=sticky)
    return None if test is None or test.error else test


def standard_error(returns: NDArray[np.float64]) -> float:
    """Return the standard error of the mean; NaN for fewer than two returns."""
    return float(np.std(returns, ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else math.nan


def study_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the generations of several runs in one frame.

    Added are the columns `run`, `game`, `seed`, `system`, `measure` and `goal`. `system` is as in `system_names`,
    `measure` as in `Run`. `goal` says whether the run ended because its elite was good enough (`budget.elite_mean`),
    and so would not have changed any more.
    """
    frames = [
        run.generations.assign(
            run=str(run.path),
            game=run.game,
            seed=run.config.seed,
            system=system,
            measure=run.measure,
            goal=run.generations["elite_mean"].iloc[-1] >= (run.config.budget.elite_mean or math.inf),
        )
        for run, system in zip(runs, system_names(runs), strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def system_names(runs: Sequence[Run]) -> list[str]:
    """Return for each run what tells it from others of the same game, seed and budget aside.

    These are the fields in which they differ, such as `closing = first` or `algorithm = novelty`; `gadask` where there
    are none. Settings of an algorithm count among its own runs alone. Where runs have different presets, each has its
    preset's name, and of the fields in which they differ those that are not as its preset says.
    """
    flat = [own_settings(run.config) for run in runs]
    keys = dict.fromkeys(key for fields in flat for key in fields if not key.startswith(_NOT_A_SYSTEM))
    games = [
        [fields for run, fields in zip(runs, flat, strict=True) if run.game == game] for game in {r.game for r in runs}
    ]
    differing = [
        key
        for key in keys
        if any(len({repr(fields.get(key)) for fields in own if _has_setting(fields, key)}) > 1 for own in games)
    ]
    if not differing:
        return ["gadask"] * len(runs)
    told = [differing] * len(runs)
    if len({run.config.preset for run in runs}) > 1:
        told = [
            ["preset", *(key for key in differing if fields.get(key) != preset.get(key))]
            for fields, preset in zip(flat, (flat_settings(PRESETS[run.config.preset]) for run in runs), strict=True)
        ]
    return [
        ", ".join(f"{_short_name(key)} = {fields.get(key)}" for key in of_run if _has_setting(fields, key))
        for fields, of_run in zip(flat, told, strict=True)
    ]


def own_tables(config: Config) -> dict[str, Any]:
    """Return a config as nested tables, without empty ones and those of other algorithms than its own."""
    own = {key.partition(".")[0] for key in own_settings(config)}
    return {key: value for key, value in _filled(config_to_dict(config)).items() if key in own}


def _filled(table: dict[str, Any]) -> dict[str, Any]:
    plain = {key: _filled(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in plain.items() if value != {}}


def _has_setting(fields: dict[str, Any], key: str) -> bool:
    """Whether a run's name may tell of a setting: of kwargs also where they are not given, of its algorithm's alone."""
    return key in fields or not key.startswith(_OF_ALGORITHMS)


def _short_name(key: str) -> str:
    """Return a setting's name without its table, of a kind its table's."""
    table, _, name = key.rpartition(".")
    return table if name == "kind" else name
