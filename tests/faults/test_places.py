"""Places and settings that cannot be used are one line with status 2 in every command; output ends no run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_run import CONFIG, environment

ROOT = Path(__file__).parents[2]
TICK = "distributed:\n  admin:\n    tick:\n      limit: soon\n"
STUDY = CONFIG + "\n[grid]\nseed = [0, 1]\n"
# To root the modes of files mean nothing, as long as it has these.
ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def call(*command: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ORDINARY, sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
        env={**environment(), **environ},
    )  # fmt: skip


def too_long(folder: Path) -> Path:
    return folder / ("n" * 300)


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "run"


def not_searchable(folder: Path) -> Path:
    (folder / "closed").mkdir(mode=0)
    return folder / "closed" / "run"


PLACES: dict[Callable[[Path], Path], str] = {
    too_long: "File name too long",
    below_a_file: "Not a directory",
    not_searchable: "Permission denied",
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("jobs/run.py", "config.toml", "--no-pictures", "--run-dir"),
    "sweep": ("jobs/sweep.py", "study.toml", "--study-dir"),
}
READERS: dict[str, tuple[str, ...]] = {
    "resume": ("jobs/run.py", "config.toml", "--no-pictures", "--resume", "--run-dir"),
    "evaluate": ("jobs/evaluate.py",),
    "analysis": ("analysis/learning_curve.py",),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def command_in(folder: Path, command: tuple[str, ...]) -> list[object]:
    return [folder / word if word.endswith(".toml") else word for word in command]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_run_that_cannot_be_put_there(folder: Path, command: tuple[str, ...], place: Callable[[Path], Path]) -> None:
    path = place(folder)
    result = call(*command_in(folder, command), path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith("error: ")
    assert PLACES[place] in result.stderr
    assert str(path)[:200] in result.stderr


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", READERS.values(), ids=READERS)
def test_a_run_that_cannot_be_read_there(folder: Path, command: tuple[str, ...], place: Callable[[Path], Path]) -> None:
    path = place(folder)
    result = call(*command_in(folder, command), path)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
    assert result.stderr.startswith("error: ")
    assert str(path)[:200] in result.stderr


@pytest.mark.parametrize("text", ["a: [", TICK, "- a\n- b"], ids=["no YAML", "no time", "a list"])
@pytest.mark.parametrize("script", ["run", "sweep", "evaluate"])
def test_a_dask_config_that_is_broken(folder: Path, script: str, text: str) -> None:
    (folder / "dask.yaml").write_text(text)
    command = COMMANDS.get(script, READERS["evaluate"])
    result = call(*command_in(folder, command), folder / "run", DASK_CONFIG=str(folder / "dask.yaml"))
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
    assert f"error: Dask's config ({folder / 'dask.yaml'}, or variables DASK_…) cannot be used: " in result.stderr
    assert not (folder / "run").exists()


def test_an_evaluation_that_could_not_be_written_is_not_begun(folder: Path) -> None:
    assert call(*command_in(folder, COMMANDS["run"]), folder / "run").returncode == 0
    result = call("jobs/evaluate.py", folder / "run", "--out", folder / "none" / "episodes.parquet")
    assert (result.returncode, result.stdout) == (2, "")
    assert "none/episodes.parquet: expected a folder that can be written, found " in result.stderr
    (folder / "run" / "generations.jsonl").chmod(0)
    unreadable = call("analysis/learning_curve.py", folder / "run")
    assert (unreadable.returncode, unreadable.stderr.count("\n")) == (1, 1), unreadable.stderr


def test_a_run_whose_output_goes_nowhere(folder: Path) -> None:
    command = [sys.executable, *map(str, command_in(folder, COMMANDS["run"])), str(folder / "run")]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=full, cwd=ROOT, env=environment(), timeout=120)
    assert ended.returncode == 0
    assert (folder / "run" / "elite_test.json").exists()


def test_a_run_on_a_terminal_that_knows_ascii_alone(folder: Path) -> None:
    result = call(*command_in(folder, COMMANDS["run"]), folder / "run", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert " +- " in result.stdout
    assert " x " in result.stdout


TALKER = CONFIG.replace("Faulty-v0", "Talker-v0").replace("kwargs = { step_s = 0.001 }", "")


def test_an_environment_that_prints_is_played_without_a_reader(folder: Path) -> None:
    (folder / "config.toml").write_text(TALKER)
    command = [sys.executable, *map(str, command_in(folder, COMMANDS["run"])), str(folder / "run")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, env=environment()
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(120) == 0
