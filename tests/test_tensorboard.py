"""Scalars for TensorBoard: what is in the event file, while a run evolves and after it was resumed."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gadask.console.tensorboard import FOLDER, ScalarWriter, scalars
from gadask.master.generation import Generation
from gadask.master.summary import Timing
from gadask.record.directory import read_run
from gadask.record.generations import read_generations
from tests.analysis.synthetic import synthetic_config, write_run
from tests.test_run import ROOT, environment
from tests.test_run import config as config  # the fixture
from tests.test_run import run as evolve


def last_generation(run_dir: Path) -> Generation:
    """Return a run's last generation as `evolve` yielded it."""
    _, state = read_run(run_dir)
    *_, line = read_generations(run_dir)
    timing = Timing(**{name: line["timing"][name] for name in Timing.__annotations__})
    return Generation(state.generation, state, state.elite, timing, line)


def written(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what the event file holds: frames and value of every point, in the order in which they were written."""
    (path,) = (run_dir / FOLDER).iterdir()
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_every_generation_is_a_point_of_every_scalar(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", synthetic_config(20), 4)
    with ScalarWriter() as writer:
        writer.close_generation(run_dir, last_generation(run_dir))
        found = written(run_dir)  # before the writer is closed
    lines = list(read_generations(run_dir))
    frames = [line["total"]["frames"] for line in lines]
    assert {name: [step for step, _ in points] for name, points in found.items()} == dict.fromkeys(
        scalars(lines[0]), frames
    )
    assert [value for _, value in found["elite/mean"]] == pytest.approx([line["elite"]["mean"] for line in lines])
    medians = [line["children"]["quantiles"]["0.5"] for line in lines]
    assert [value for _, value in found["children/0.5"]] == pytest.approx(medians)
    rates = [line["frames"] / line["timing"]["wall_s"] for line in lines]
    assert [value for _, value in found["speed/frames_per_s"]] == pytest.approx(rates)
    assert {"episode_length/counted", "episode_length/all", "process_time/busy_share"} < found.keys()


def test_speed_is_of_frames_that_were_played(tmp_path: Path) -> None:
    *_, line = read_generations(write_run(tmp_path / "run", synthetic_config(20), 1))
    line |= {"frames": 9000}
    line["timing"] |= {"wall_s": 2.0, "processes": 4, "played": {"frames": 4000}}
    speeds = [scalars(line)[f"speed/frames_per_s{of}"] for of in ("", "_of_a_process")]
    assert speeds == [2000, 500]
    del line["timing"]["played"]  # as in runs from before
    assert scalars(line)["speed/frames_per_s"] == 4500


def test_generations_are_added_as_they_close_and_runs_are_kept_apart(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, synthetic_config(20, seed), 2) for seed, name in enumerate("ab"))
    with ScalarWriter() as writer:
        for run_dir in (a, b):
            writer.close_generation(run_dir, last_generation(run_dir))
        last = last_generation(a)
        line = {**last.line, "total": {**last.line["total"], "frames": 10**6}}
        writer.close_generation(a, replace(last, line=line))
        assert [len(written(run_dir)["elite/mean"]) for run_dir in (a, b)] == [3, 2]
    assert written(a)["elite/mean"][-1][0] == 10**6


def test_what_a_generation_does_not_have_is_left_out(tmp_path: Path) -> None:
    *_, line = read_generations(write_run(tmp_path / "run", synthetic_config(20), 1))
    line |= {"elite": None, "children": {"n": 0, "mean": None, "quantiles": {"0.5": 1e300, "1": 2.0}}}
    line["lengths"]["all"]["mean"] = None
    line["timing"]["wall_s"] = 0.0
    assert scalars(line).keys() == {"children/1", "episode_length/counted", "process_time/busy_share"}


def test_scalars_that_cannot_be_written_do_not_stop_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_dir = write_run(tmp_path / "run", synthetic_config(20), 2)
    (run_dir / FOLDER).write_text("in the way")
    with ScalarWriter() as writer, caplog.at_level(logging.WARNING):
        for _ in range(2):
            writer.close_generation(run_dir, last_generation(run_dir))
    assert [record.message for record in caplog.records] == [f"{run_dir / FOLDER}: no scalars from now on: File exists"]


def test_a_resumed_run_goes_on_without_gaps_or_doubled_points(config: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    flags = (config, "--run-dir", run_dir, "--no-pictures", "--budget.test-episodes", 0, "--tensorboard")
    assert evolve(*flags, "--budget.generations", 2).returncode == 0
    assert len(written(run_dir)["elite/mean"]) == 2
    assert evolve(*flags, "--budget.generations", 4, "--resume").returncode == 0
    lines = list(read_generations(run_dir))
    frames, means = zip(*written(run_dir)["elite/mean"], strict=True)
    assert list(frames) == [line["total"]["frames"] for line in lines]
    assert list(means) == pytest.approx([line["elite"]["mean"] for line in lines])
    assert len(lines) == 4


def test_generations_that_were_played_without_scalars_are_filled_in(tmp_path: Path) -> None:
    early, run_dir = (write_run(tmp_path / str(n), synthetic_config(20), n) for n in (2, 5))
    with ScalarWriter() as writer:
        writer.close_generation(early, last_generation(early))
    shutil.copytree(early / FOLDER, run_dir / FOLDER)
    with ScalarWriter() as writer:
        writer.close_generation(run_dir, last_generation(run_dir))
    assert len(written(run_dir)["elite/mean"]) == 5


def test_a_sweep_writes_the_scalars_of_every_run(config: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(config.read_text() + "[grid]\nseed = [0, 1]\n")
    command = [sys.executable, str(ROOT / "jobs" / "sweep.py"), str(study), "--study-dir", str(tmp_path / "study")]
    subprocess.run([*command, "--tensorboard"], env=environment(), check=True, capture_output=True, timeout=120)
    for run_dir in (tmp_path / "study" / "s0", tmp_path / "study" / "s1"):
        assert len(written(run_dir)["elite/mean"]) == len(list(read_generations(run_dir))) == 3


def test_without_the_package_nothing_is_started(config: Path, tmp_path: Path) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "tensorboard.py").write_text("raise ModuleNotFoundError('No module named tensorboard')")
    environ = {**environment(), "PYTHONPATH": f"{tmp_path / 'missing'}:{ROOT}"}
    result = evolve(config, "--run-dir", tmp_path / "run", "--tensorboard", environ=environ)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: --tensorboard: expected the package tensorboard, found none")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
