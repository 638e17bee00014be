"""`jobs/sweep.py`: runs that share nodes are played as if alone, fairly, and none stops the others."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gadask.algorithms.algorithm import Elite
from gadask.clusters.local import local_cluster
from gadask.config import Config
from gadask.errors import ClusterError
from gadask.master.generation import Generation
from gadask.record.directory import State, read_generations, read_run, without_wall_clock
from gadask.sweeps.progress import runs_table
from gadask.sweeps.study import StudyRun, load_study
from gadask.sweeps.sweep import Status, Sweep, SweptRun
from tests.conftest import eventually, faulty_config
from tests.small_run import small_run

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[1]
SWEEP = [sys.executable, str(ROOT / "jobs" / "sweep.py")]

STUDY = small_run()
GRID = "[grid]\nseed = [0, 1, 2]\n"


def study_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def run_sweep(*arguments: object, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*SWEEP, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, env=environment(), check=False,
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "XDG_CONFIG_HOME": "/nonexistent"}


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def summary(study_dir: Path) -> dict[str, dict[str, str]]:
    with (study_dir / "summary.csv").open() as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def sweep_of(tmp_path: Path, **configs: Config) -> Sweep:
    return Sweep([StudyRun(name, {"name": name}, config) for name, config in configs.items()], tmp_path / "study")


def play(sweep: Sweep, *, nodes: int = 1, processes: int = 2, max_parallel: int = 8) -> None:
    async def main() -> None:
        async with local_cluster(nodes) as cluster:
            await sweep.play(cluster, max_parallel=max_parallel, n_processes=processes, node_timeout_s=60)

    with sweep.locked_directory():
        asyncio.run(main())


@pytest.mark.timeout(600)  # much less on an idle machine
def test_each_run_is_played_as_if_alone(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    text = """
    preset = "such2017"
    env.max_steps = 20
    noise.size = 6_000_000
    [generation]
    population = 48
    candidates = 3
    candidate_episodes = 4
    [ga]
    parents = 8
    [budget]
    frames = inf
    generations = 2
    test_episodes = 0
    [grid]
    env.id = ["ALE/Frostbite-v5", "ALE/Kangaroo-v5"]
    seed = [0, 1]
    """
    study = load_study(study_file(tmp_path, text))
    sweep = Sweep(study, tmp_path / "study")
    play(sweep)
    assert [run.status for run in sweep.runs] == ["finished"] * 4
    alone = Sweep(study, tmp_path / "alone")
    play(alone, max_parallel=1)
    for run in sweep.runs:
        lines = log(run.directory)
        assert len(lines) == 2
        assert lines == log(tmp_path / "alone" / run.name)
    assert len({line["elite"]["genome"] for run in sweep.runs for line in log(run.directory)}) >= 4


def test_a_sweep_is_played_once(tmp_path: Path) -> None:
    path = study_file(tmp_path, STUDY + GRID)
    result = run_sweep(path, "--study-dir", tmp_path / "study", "--max-parallel", 2)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    (next_step,) = (line for line in lines if line.startswith("study directory: "))
    assert max(len(line) for line in lines if line != next_step) <= 80
    assert next_step.endswith(f"; gadask report {tmp_path / 'study'} writes a report")
    (address,) = re.findall(r"^dashboard: (http://127\.0\.0\.1:\d+)/status$", result.stdout, re.MULTILINE)
    assert f"gadask's page: {address}/ga" in result.stdout.splitlines()
    assert "s2 finished: 3 generations" in result.stdout
    assert "rollout processes were busy for " in result.stdout
    rows = summary(tmp_path / "study")
    for seed in range(3):
        row = rows[f"s{seed}"]
        assert (row["seed"], row["status"], row["generations"], row["error"]) == (str(seed), "finished", "3", "")
        state = read_run(tmp_path / "study" / f"s{seed}")[1]
        assert int(row["frames"]) == state.frames
        assert state.elite is not None
        assert float(row["elite_mean"]) == state.elite.mean
        assert float(row["test_mean"]) > 0
        assert float(row["core_hours"]) > 0
    again = run_sweep(path, "--study-dir", tmp_path / "study")
    assert again.returncode == 0
    assert "3 runs, 3 of them finished" in again.stdout
    assert "dashboard" not in again.stdout
    other = study_file(tmp_path, STUDY.replace("parents = 4", "parents = 5") + GRID)
    refused = run_sweep(other, "--study-dir", tmp_path / "study")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "ga.parents: expected 4 as in the run directory, found 5" in refused.stderr
    longer = study_file(tmp_path, STUDY.replace("generations = 3", "generations = 4") + "[grid]\nseed = [0, 3]\n")
    result = run_sweep(longer, "--study-dir", tmp_path / "study")
    assert result.returncode == 0
    assert [len(log(tmp_path / "study" / f"s{seed}")) for seed in range(4)] == [4, 3, 3, 4]


def test_a_second_sweep_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    path = study_file(tmp_path, STUDY + GRID)
    with Sweep(load_study(path), tmp_path / "study").locked_directory():
        before = (tmp_path / "study" / "summary.csv").stat()
        refused = run_sweep(path, "--study-dir", tmp_path / "study")
        after = (tmp_path / "study" / "summary.csv").stat()
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "study: another master is writing this study directory (host" in refused.stderr
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_failed_run_does_not_stop_the_others(tmp_path: Path) -> None:
    path = study_file(
        tmp_path, STUDY + '[grid]\nenv.kwargs.fault = ["none", "step"]\nenv.kwargs.every = [1]\nseed = [0, 1]\n'
    )
    result = run_sweep(path, "--study-dir", tmp_path / "study")
    assert result.returncode == 1
    assert "fault-step-every-1-s1 failed: generation 0: " in result.stdout
    assert "2 of 4 runs failed, the first: generation 0: " in result.stderr
    assert "continue with: " in result.stderr
    rows = summary(tmp_path / "study")
    assert Counter(row["status"] for row in rows.values()) == {"finished": 2, "failed": 2}
    assert "it cannot step" in rows["fault-step-every-1-s0"]["error"]
    assert len(log(tmp_path / "study" / "fault-none-every-1-s0")) == 3


def test_an_interrupt_leaves_runs_that_go_on(tmp_path: Path) -> None:
    path = study_file(tmp_path, STUDY.replace("generations = 3", "generations = 1000") + GRID)
    with subprocess.Popen(
        [*SWEEP, str(path), "--study-dir", str(tmp_path / "study"), "--max-parallel", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            output = ""
            while not all(re.search(rf"s{seed} +gen +2 ", output) for seed in range(2)):
                output += process.stdout.readline()
            process.send_signal(signal.SIGINT)
            output += process.stdout.read()
            assert process.wait(30) == 130
        finally:
            process.kill()
    assert "interrupted; every run is at its last closed generation" in output
    assert "continue with: " in output
    assert "Traceback" not in output
    rows = summary(tmp_path / "study")
    assert [rows[f"s{seed}"]["status"] for seed in range(3)] == ["interrupted", "interrupted", "waiting"]
    n_closed = [len(log(tmp_path / "study" / f"s{seed}")) for seed in range(2)]
    assert [rows[f"s{seed}"]["generations"] for seed in range(3)] == [*map(str, n_closed), "0"]
    assert min(n_closed) >= 3
    longer = STUDY.replace("generations = 3", f"generations = {max(n_closed) + 1}")
    assert run_sweep(study_file(tmp_path, longer + GRID), "--study-dir", tmp_path / "study").returncode == 0
    assert {len(log(tmp_path / "study" / f"s{seed}")) for seed in range(3)} == {max(n_closed) + 1}


def test_no_run_waits_for_the_last_episodes_of_another(tmp_path: Path) -> None:
    """Two chunks that never end hold two of three processes, and not the worker's two threads."""
    hanging = faulty_config("hang")
    hanging = replace(
        hanging,
        env=replace(hanging.env, episode_timeout_s=600.0),
        generation=replace(hanging.generation, population=2, candidates=0),
        ga=replace(hanging.ga, parents=2),
    )
    sweep = sweep_of(tmp_path, hanging=hanging, other=faulty_config())
    hanging_run, other = sweep.runs

    async def main() -> None:
        async with local_cluster(1) as cluster:
            playing = asyncio.create_task(
                sweep.play(cluster, max_parallel=2, n_processes=3, node_timeout_s=60),
            )
            try:
                await eventually(lambda: playing.done() or other.status == "finished", 90, "the other run's end")
            finally:
                playing.cancel()
                await asyncio.wait({playing})

    with sweep.locked_directory():
        asyncio.run(main())
    assert (other.status, hanging_run.status) == ("finished", "interrupted")
    assert len(log(other.directory)) == 4


def test_losing_all_nodes_stops_the_sweep(tmp_path: Path) -> None:
    endless = faulty_config()
    endless = replace(endless, budget=replace(endless.budget, generations=10_000))
    generations: list[tuple[SweptRun, Generation]] = []
    study = [StudyRun(f"s{seed}", {"seed": seed}, replace(endless, seed=seed)) for seed in range(3)]
    sweep = Sweep(study, tmp_path / "study", on_generation=lambda *both: generations.append(both))

    async def main() -> None:
        async with local_cluster(1) as cluster:
            playing = asyncio.create_task(sweep.play(cluster, max_parallel=2, n_processes=1, node_timeout_s=2))
            try:
                await eventually(lambda: playing.done() or len(generations) >= 3, 90, "three generations")
                cluster.client.cluster.scale(0)
                await asyncio.wait_for(playing, 60)
            finally:
                playing.cancel()
                await asyncio.wait({playing})

    with sweep.locked_directory(), pytest.raises(ClusterError, match="no node for 2 s"):
        asyncio.run(main())
    assert "failed" in [run.status for run in sweep.runs[:2]]
    assert sweep.runs[2].status != "failed"
    assert all(run.state.generation == len(log(run.directory)) - 1 for run in sweep.runs[:2])


def test_no_node_is_one_error(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, one=faulty_config())

    async def main() -> None:
        async with local_cluster(0) as cluster:
            await sweep.play(cluster, max_parallel=2, n_processes=1, node_timeout_s=0.5)

    with sweep.locked_directory(), pytest.raises(ClusterError, match="no node for"):
        asyncio.run(main())
    assert sweep.runs[0].status == "waiting"


BAD = {
    "misspelt key": ("[grid]\ngeneration.populaton = [10]", (), "did you mean 'generation.population'?"),
    "unknown game": ('[grid]\nenv.id = ["ALE/Frostbit-v5"]', (), "ALE/Frostbite-v5"),
    "no runs at a time": (GRID, ("--max-parallel", "0"), "--max-parallel: expected at least 1, found 0"),
    "unknown cluster": (GRID, ("--cluster", "slurmm"), "--cluster: expected local, slurm, sge, pbs, lsf, allocation"),
    "cost without a limit": (GRID, ("--cluster", "slurm", "--machine", "generic"), "no limit: 32 core-hours an hour"),
}


@pytest.mark.parametrize(("text", "flags", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, text: str, flags: tuple[str, ...], named: str
) -> None:
    result = run_sweep(study_file(tmp_path, text), "--study-dir", tmp_path / "study", *flags)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert named in result.stderr
    assert not (tmp_path / "study").exists()


def test_the_largest_cost_is_that_of_runs_that_share_nodes(tmp_path: Path) -> None:
    text = STUDY.replace("generations = 3", "hours = 2") + GRID
    flags = ("--cluster", "slurm", "--machine", "generic", "--nodes", 2, "--max-parallel", 2, "--dry-run")
    result = run_sweep(study_file(tmp_path, text), "--study-dir", tmp_path / "study", *flags)
    assert (result.returncode, result.stderr) == (0, "")
    assert "largest cost: 256 core-hours (4 h at 64 an hour)" in result.stdout  # three runs, two at a time
    assert not (tmp_path / "study").exists()


def swept(name: str, status: Status) -> SweptRun:
    return SweptRun(StudyRun(name, {}, faulty_config()), Path(name), status)


def shown(runs: list[SweptRun], room: int) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(runs_table(runs, room))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_table_fits_a_terminal() -> None:
    runs = [swept("a-name-that-is-much-longer-than-its-column-has-room-for-s0", "interrupted")]
    runs[0].state = State(123_455, elite=Elite((1,), -1234567.8, 30, 5), frames=999_999_999)
    runs[0].test_mean = 0.00012345
    lines = shown(runs, 10)
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert all(part in lines[1] for part in ("interrupted", "123456", "1G", "-1.23e+06", "0.0"))


def test_runs_that_are_played_or_failed_are_shown_first() -> None:
    statuses: list[Status] = [*["finished"] * 9, "failed", "running", *["waiting"] * 9]  # type: ignore[list-item]
    runs = [swept(f"s{i}", status) for i, status in enumerate(statuses)]
    lines = shown(runs, 4)
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["s0", "finished"], ["s1", "finished"], ["s9", "failed"], ["s10", "running"],
    ]  # fmt: skip
    assert lines[5] == "… and 7 finished, 9 waiting"
