"""Whole runs in which a genome plays each start once: through closings, failures and deaths the run is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from gadask.clusters.base import DASK_CONFIG
from gadask.config import Config, config_from_dict
from gadask.master.generation import Progress
from gadask.master.task import prepare_task
from gadask.messages import Kind, Task
from gadask.record.directory import read_generations
from gadask.record.episodes import WALL_CLOCK_COLUMNS, read_episodes
from tests.conftest import command_line, faulty_config
from tests.local_runs import run

pytest.importorskip("ale_py")
pytestmark = pytest.mark.timeout(600)  # seconds on an idle machine, minutes on a busy one

Row = dict[str, Any]
ElitesEvaluated = Literal["barrier", "overlapped"]


def assault(preset: str, generations: int = 4, **generation: object) -> Config:
    """Return the config of a small run, in which what a genome gets depends on its start."""
    settings = {"population": 16, "candidates": 3, "candidate_episodes": 20, "min_steps": 0, **generation}
    return config_from_dict(
        {
            "preset": preset,
            "env": {"id": "ALE/Assault-v5", "max_steps": 60},
            "noise": {"size": 6_000_000},
            "generation": settings,
            "ga": {"parents": 4},
            "budget": {"generations": generations, "test_episodes": 0},
        }
    )


@pytest.fixture
def with_starts(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what says how many starts there are in the runs that follow."""

    def with_starts(n_starts: int) -> None:
        def prepared(config: Config, run_dir: Path | str = "") -> Task:
            return replace(prepare_task(config, run_dir), n_starts=n_starts)

        monkeypatch.setattr("gadask.master.evolve.prepare_task", prepared)

    return with_starts


def played_frames(run_dir: Path) -> list[int]:
    return [line["timing"]["played"]["frames"] for line in read_generations(run_dir)]


def episodes(run_dir: Path, generation: int) -> list[Row]:
    """Return all that was recorded, but for what clocks and nodes say."""
    rows: list[Row] = read_episodes(run_dir, generation).drop_columns(list(WALL_CLOCK_COLUMNS)).to_pylist()
    return rows


def counted(run_dir: Path, generation: int) -> list[Row]:
    return [one for one in episodes(run_dir, generation) if one["counted"]]


@pytest.mark.parametrize(("preset", "population"), [("such2017", 12), ("ga-dist", 60)])
def test_a_run_is_the_same_as_if_all_were_played(
    preset: str, population: int, tmp_path: Path, with_starts: Callable[[int], None]
) -> None:
    """Candidates evaluated before the next generation, and beside it."""
    # `closing` is not ga-dist's here: at the first results, what is played beside the quota depends on the machine.
    config = assault(preset, generations=5, population=population, candidates=2, closing="all")
    with_starts(30)
    shared = run(config, tmp_path / "shared")
    with_starts(0)
    whole = run(config, tmp_path / "whole")
    assert shared == whole
    played = zip(played_frames(tmp_path / "shared"), played_frames(tmp_path / "whole"), strict=True)
    for line, (ours, theirs) in zip(shared, played, strict=True):
        number = line["generation"]
        assert episodes(tmp_path / "shared", number) == episodes(tmp_path / "whole", number)
        assert (ours < line["frames"]) == bool(line["candidates"])
        assert theirs == line["frames"]


def test_a_run_that_closes_first_selects_the_same_on_one_process(
    tmp_path: Path, with_starts: Callable[[int], None]
) -> None:
    """Beside its quota a generation plays other spares and surplus children; what counts is the same."""
    config = assault("ga-dist", population=80)
    with_starts(0)
    whole = run(config, tmp_path / "whole", processes=1)
    with_starts(30)
    shared = run(config, tmp_path / "shared", processes=1)
    for ours, theirs in zip(shared, whole, strict=True):
        same = ("generation", "parents", "candidates", "elite", "children", "failed")
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
        assert ours["lengths"]["counted"] == theirs["lengths"]["counted"]
        assert counted(tmp_path / "shared", ours["generation"]) == counted(tmp_path / "whole", ours["generation"])
    assert len({line["elite"]["genome"] for line in shared[1:]}) > 1
    frames = zip(played_frames(tmp_path / "shared")[1:], played_frames(tmp_path / "whole")[1:], strict=True)
    assert all(ours < theirs for ours, theirs in frames)  # generation 0 has no candidates


def test_a_run_that_was_resumed_is_the_same(tmp_path: Path) -> None:
    """Though it has forgotten what its candidates gave before, and plays that again."""
    whole = run(assault("such2017"), tmp_path / "whole", processes=1)
    run(assault("such2017", generations=2), tmp_path / "resumed", processes=1)
    told: list[Progress] = []
    options: dict[str, Any] = {"processes": 1, "resume": True, "on_progress": told.append}
    assert run(assault("such2017"), tmp_path / "resumed", **options) == whole
    ours, theirs = played_frames(tmp_path / "resumed"), played_frames(tmp_path / "whole")
    assert ours[2] > theirs[2]
    assert ours[:2] + ours[3:] == theirs[:2] + theirs[3:]
    assert told[-1].frames_played == sum(ours[2:]) < told[-1].frames
    assert [one.frames_played for one in told] == sorted(one.frames_played for one in told)
    for generation in range(4):
        assert counted(tmp_path / "resumed", generation) == counted(tmp_path / "whole", generation)


@pytest.mark.parametrize("who", ["Dask", "gadask"])
def test_what_waited_for_a_node_that_died_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Its chunks are played elsewhere, candidates beside children; each episode counts once, with the same result.

    Dask gives them to the other node by itself, as long as it does not suspect that they kill nodes.
    """
    if who == "gadask":
        monkeypatch.setitem(DASK_CONFIG, "distributed.scheduler.allowed-failures", 0)
    overlapped = assault("such2017", elite_evaluation="overlapped")
    whole = run(overlapped, tmp_path / "whole", processes=1)
    killed: list[int] = []

    def kill_a_node(progress: Progress) -> None:
        if not killed and progress.generation == 1 and progress.n_counted:
            worker = next(p for p in psutil.Process().children() if "spawn_main" in " ".join(command_line(p)))
            killed.append(worker.pid)
            worker.kill()

    disturbed = run(overlapped, tmp_path / "disturbed", nodes=2, processes=1, on_progress=kill_a_node)
    assert killed
    for ours, theirs in zip(disturbed, whole, strict=True):
        assert [ours[key] for key in ("parents", "elite")] == [theirs[key] for key in ("parents", "elite")]
        assert counted(tmp_path / "disturbed", ours["generation"]) == counted(tmp_path / "whole", ours["generation"])


@pytest.mark.parametrize("fault", ["step", "kill", "nan"])
@pytest.mark.parametrize("elite_evaluation", ["barrier", "overlapped"])
def test_what_waited_for_an_episode_that_failed_is_played(
    tmp_path: Path, with_starts: Callable[[int], None], fault: str, elite_evaluation: ElitesEvaluated
) -> None:
    """Here every other seed fails, and episodes of one start need not be alike; each of the quota counts once.

    A start whose second try fails as well has failed for all that still waited for it.
    """
    config = faulty_config(fault, every=2)
    generation = replace(
        config.generation,
        population=48,
        episodes_per_child=4,
        candidates=2,
        candidate_episodes=10,
        elite_evaluation=elite_evaluation,
    )
    config = replace(config, generation=generation, budget=replace(config.budget, generations=3))
    with_starts(3)
    task = replace(prepare_task(config), n_starts=3)
    lines = run(config, tmp_path / "run")
    n_again = n_shared = 0
    for line in lines:
        number = line["generation"]
        rows = read_episodes(tmp_path / "run", number).to_pylist()
        n_candidates = 2 if elite_evaluation == "barrier" or number else 0
        assert Counter((one["kind"], one["slot"]) for one in rows) == Counter(
            {("child", slot): 4 for slot in range(48)} | {("evaluation", slot): 10 for slot in range(n_candidates)}
        )
        assert all(one["counted"] for one in rows)
        assert len({(one["kind"], one["slot"], one["episode"]) for one in rows}) == len(rows)
        played_well: Counter[tuple[str, int, int]] = Counter()
        played_badly: Counter[tuple[str, int, int]] = Counter()
        failed: Counter[tuple[str, int, int]] = Counter()
        for one in rows:
            kind = Kind[one["kind"].upper()]
            start = one["kind"], one["slot"], task.start(kind, number, one["slot"], one["episode"])
            if one["status"] == "ok":
                played_well[start] += one["seconds"] > 0
                continue
            failed[start] += 1
            played_badly[start] += one["seconds"] > 0
            assert one["reason"]
            if task.env_seed(kind, number, one["slot"], one["episode"]) % 2:  # it would have ended well
                n_shared += 1
                assert not played_well[start]
                assert one["seconds"] == 0
        assert max(played_well.values()) == 1
        assert max(played_badly.values(), default=0) <= 2
        n_again += sum(n for start, n in failed.items() if played_well[start])
    assert n_shared
    assert n_again
