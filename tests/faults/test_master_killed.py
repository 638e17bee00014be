"""Fault 3: `kill -9` of a master at every step of recording."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gadask.errors import RunDirectoryError
from gadask.record import files
from gadask.record.directory import RunDirectory
from tests.faults.recorded_runs import LAST, SYSTEM_CALLS, contents, evolve, strike

ROOT = Path(__file__).parents[2]


def killed_runs(folder: Path) -> list[Path]:
    """Return the run directories that `kill_at_every_step` left, the earliest kill first."""
    subprocess.run([sys.executable, "-m", __name__, str(folder)], cwd=ROOT, check=True)
    runs = [folder / str(step) for step in range(sum(path.name.isdigit() for path in folder.iterdir()))]
    return runs[:-1]  # the last was not killed


def test_a_run_killed_at_any_step_goes_on_as_if_it_had_not_been(memory: Path, uninterrupted: Path) -> None:
    runs = killed_runs(memory)
    assert len(runs) > 60
    expected = contents(uninterrupted)
    begun_from = []
    for path in runs:
        begun_from.append(evolve(path).generation)
        assert contents(path) == expected, path.name
        assert len(json.loads((path / "provenance.json").read_bytes())) in (1, 2)
    assert begun_from == sorted(begun_from)  # a later kill loses no more
    assert set(begun_from) == {-1, *range(LAST + 1)}


@pytest.mark.parametrize("damaged", [False, True])
def test_a_resume_killed_at_any_step_loses_nothing(memory: Path, uninterrupted: Path, damaged: bool) -> None:
    start = memory / "start"
    evolve(start, last=1)
    kept = {name: (start / name).read_bytes() for name in ("checkpoint.json", "checkpoint.previous.json")}
    evolve(start, last=2)
    for name, content in kept.items():
        (start / name).write_bytes(content[:-9] if damaged and name == "checkpoint.json" else content)
    with (start / "generations.jsonl").open("ab") as log:
        log.write(b'{"generation": 3, "be')
    (start / ".checkpoint.json.1.tmp").write_bytes(b"{")
    (start / "episodes" / ".000002.parquet.1.tmp").write_bytes(b"PAR1")
    for path in killed_runs(memory):
        assert evolve(path).generation >= (0 if damaged else 1)
        assert contents(path) == contents(uninterrupted), path.name


def test_newer_episodes_and_torn_ends_are_gone_after_a_resume(tmp_path: Path) -> None:
    evolve(tmp_path, last=1)
    kept = contents(tmp_path)
    (tmp_path / "episodes" / "000002.parquet").write_bytes(b"PAR1")
    (tmp_path / "episodes" / ".000002.parquet.1.tmp").write_bytes(b"PAR1")
    (tmp_path / ".generations.jsonl.1.tmp").write_bytes(b"{")
    (tmp_path / "episodes" / "notes.parquet").write_bytes(b"mine")
    with (tmp_path / "generations.jsonl").open("ab") as log:
        log.write(b'{"generation": 2}\n{"gen')
    RunDirectory.resume(tmp_path)[0].close()
    assert (tmp_path / "episodes" / "notes.parquet").read_bytes() == b"mine"
    (tmp_path / "episodes" / "notes.parquet").unlink()
    assert contents(tmp_path) == kept


def test_bytes_are_on_disk_before_they_get_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return real(*args, **kwargs)

        return called

    for name in SYSTEM_CALLS:
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    files.atomic_write(tmp_path / "file", b"content")
    files.append(tmp_path / "log", 0, b"line")
    monkeypatch.undo()
    assert calls == [
        *("open", "write", "fsync", "replace", "open", "fsync"),
        *("open", "ftruncate", "write", "fsync", "open", "fsync"),
    ]


def test_a_killed_master_leaves_no_lock_with_its_forked_children(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from gadask.record.files import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    print('ready', flush=True); sys.stdin.read(); os._exit(0)\n"
        "os.waitid(os.P_ALL, 0, os.WEXITED)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(RunDirectoryError, match=f"process {process.pid}"):
            files.FileLock(tmp_path / ".lock")
        process.kill()
        process.wait()
        files.FileLock(tmp_path / ".lock").release()  # while the child lives
        process.stdin.close()
        assert process.stdout.read() == b""  # it has ended


def kill_at_every_step(folder: Path) -> None:
    """In one process after another: evolve a copy of `folder/start`, killed at the next step; until one finishes."""
    evolve(folder / "warm")  # caches are filled once here, not in every process
    for step in itertools.count():
        path = folder / str(step)
        if (folder / "start").exists():
            shutil.copytree(folder / "start", path)
        child = os.fork()
        if child == 0:
            strike(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            evolve(path)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status != signal.SIGKILL:
            sys.exit(status)


if __name__ == "__main__":
    kill_at_every_step(Path(sys.argv[1]))
