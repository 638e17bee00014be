"""Fault 7: full disk, write error, read-only directory."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gadask.errors import GadaskError, RecordError, RunDirectoryError
from gadask.record import files
from gadask.record.directory import RunDirectory, read_run
from tests.faults.recorded_runs import CONFIG, SYSTEM_CALLS, contents, evolve, state_after, strike, table


@contextlib.contextmanager
def failing_at(step: int, number: int) -> Iterator[Callable[[], int]]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    real = {name: getattr(os, name) for name in SYSTEM_CALLS}
    try:
        yield strike(step, fail)
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def attempt(action: Callable[..., None], *arguments: object) -> GadaskError | None:
    try:
        action(*arguments)
    except GadaskError as error:
        return error
    return None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_generation_that_cannot_be_written_changes_nothing_and_can_be_tried_again(
    memory: Path, uninterrupted: Path, number: int
) -> None:
    path = memory / "run"
    evolve(path, last=1)
    for step in itertools.count():
        directory, state = RunDirectory.resume(path)
        with directory:
            before = contents(path)
            with failing_at(step, number) as calls:
                error = attempt(directory.close_generation, table(2), {"best": 2 / 3}, state_after(2))
            if calls() <= step:
                break
            if error is None:  # making a directory that is there may fail
                assert step == 0
            else:
                assert str(error).startswith(str(path))
                assert str(error).endswith(f": {os.strerror(number)}")
                assert "\n" not in str(error)
                assert not list(path.rglob("*.tmp"))
                # The last flush of all may fail when the new checkpoint is in its place.
                assert read_run(path)[1] in (state, state_after(2))
                if read_run(path)[1] == state:
                    assert contents(path)["checkpoint.json"] == before["checkpoint.json"]
                directory.close_generation(table(2), {"best": 2 / 3}, state_after(2))
        evolve(path)
        assert contents(path) == contents(uninterrupted)
        shutil.rmtree(path)
        evolve(path, last=1)
    assert step > 20


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_run_that_cannot_be_created_leaves_nothing_behind(memory: Path, number: int) -> None:
    path = memory / "runs" / "one"
    for step in itertools.count():
        with failing_at(step, number) as calls:
            error = attempt(lambda: RunDirectory.create(memory / "runs" / "one", CONFIG).close())
        if calls() <= step:
            break
        if error is None:  # the name in the lock could not be written
            shutil.rmtree(path.parent)
        else:
            assert isinstance(error, RunDirectoryError)
            assert str(memory) in str(error)
            assert os.strerror(number) in str(error)
        assert list(memory.iterdir()) == []
    assert step > 15


def test_a_write_that_takes_a_part_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:3]))
    files.atomic_write(tmp_path / "file", b"ten bytes.")
    files.append(tmp_path / "log", 0, b"ten bytes.")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "log").read_bytes() == b"ten bytes."


@contextlib.contextmanager
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        path = disk / "run"
        evolve(path, last=1)
        filler = fill(disk)
        directory, _ = RunDirectory.resume(path)
        with directory:
            with pytest.raises(RecordError, match=f"{path}/.*: cannot write it: No space left on device"):
                directory.close_generation(table(2), {}, state_after(2))
            assert read_run(path) == (CONFIG, state_after(1))
            assert not list(path.rglob("*.tmp"))
            with pytest.raises(RunDirectoryError, match="No space left on device"):
                RunDirectory.create(disk / "other", CONFIG)
            assert not (disk / "other").exists()
            filler.unlink()
            directory.close_generation(table(2), {}, state_after(2))
        assert read_run(path) == (CONFIG, state_after(2))


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        evolve(disk / "run", last=1)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(RunDirectoryError, match=f"{disk}/other: .*: Read-only file system"):
            RunDirectory.create(disk / "other", CONFIG)
        with pytest.raises(RunDirectoryError, match=f"{disk}/run/.lock: .*: Read-only file system"):
            RunDirectory.resume(disk / "run")
        assert read_run(disk / "run") == (CONFIG, state_after(1))


def test_a_path_that_cannot_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "run", "Not a directory")):
        with pytest.raises(RunDirectoryError, match=f"{path}: cannot make this run directory: {reason}"):
            RunDirectory.create(path, CONFIG)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_in_the_place_of_the_episodes(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", CONFIG) as directory:
        (tmp_path / "run" / "episodes").write_text("mine")
        with pytest.raises(RecordError, match="episodes: cannot make this directory: File exists"):
            directory.close_generation(table(0), {}, state_after(0))
