"""Faults 3, 7, 8 and 15: a run directory under kill -9, full and read-only disks, damage, and pickles."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask import files
from gadask.checkpoint import Checkpoint, decode, encode
from gadask.config import Config, EnvConfig, GAConfig
from gadask.errors import GadaskError, RecordError, RunDirectoryError
from gadask.messages import ROW
from gadask.record import (
    WALL_CLOCK_COLUMNS,
    RunDirectory,
    State,
    episode_table,
    read_episodes,
    read_generations,
    read_run,
    without_wall_clock,
)
from gadask.selection import Elite, Population

CONFIG = Config(env=EnvConfig(id="CartPole-v1"), ga=GAConfig(population=6, parents=2, candidates=0))
LAST = 3
SYSTEM_CALLS = ("open", "write", "fsync", "replace", "ftruncate", "unlink", "mkdir")


def state_after(generation: int) -> State:
    genome = tuple(range(generation + 1))
    population = Population(generation + 1, (genome, (7,)), (genome,), Elite(genome, generation / 3, 1, generation))
    return State(population, 100 * generation, 25 * generation, 6 * generation, "abc", time.time())


def table(generation: int) -> pa.Table:
    rows = np.zeros(6, ROW)
    rows["generation"], rows["slot"], rows["return"] = generation, range(6), np.arange(6) / 7
    rows["start_s"] = time.time()
    return episode_table(rows, parent=[0] * 6, gene=range(6), node=["n"] * 6, counted=[True] * 6)


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


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    yield
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    evolve(path)
    return path


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where flushing costs nothing: what `kill -9` leaves does not depend on the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


# Fault 3: kill -9


def killed_runs(folder: Path) -> list[Path]:
    subprocess.run([sys.executable, __file__, str(folder)], check=True)
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
        "import os, signal, sys; from pathlib import Path; from gadask.files import FileLock\n"
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


# Fault 7: full disk, write error, read-only directory


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


# Fault 8: damage


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


@pytest.fixture
def run(tmp_path: Path, uninterrupted: Path) -> Path:
    return Path(shutil.copytree(uninterrupted, tmp_path / "run"))


def test_a_checkpoint_cut_at_any_byte_falls_back_to_the_one_before(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = run / "checkpoint.json"
    content = file.read_bytes()
    for size in range(len(content) - 1):  # the last byte is the end of the line
        with pytest.raises(RecordError):
            decode(content[:size])
    for size in (0, 1, len(content) // 2, len(content) - 2):
        file.write_bytes(content[:size])
        caplog.clear()
        assert read_run(run) == (CONFIG, state_after(LAST - 1))
        assert f"{file}: " in caplog.text
        assert f"going on from checkpoint.previous.json (generation {LAST - 1})" in caplog.text
    assert decode(content[:-1]) == decode(content)


def test_a_flipped_bit_is_never_another_state(run: Path) -> None:
    content = (run / "checkpoint.json").read_bytes()
    whole = decode(content)
    refused = 0
    for bit in range(8 * len(content)):
        try:
            assert decode(flipped(content, bit)) == whole
        except RecordError:
            refused += 1
    assert refused > 0.99 * 8 * len(content)


@given(st.binary(max_size=64) | st.recursive(st.none() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(RecordError):
        decode(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("generation", True),
        ("generation", -2),
        ("generation", "3"),
        ("frames", 1.0),
        ("steps", -1),
        ("episodes", None),
        ("parents", [[1.0]]),
        ("parents", [[]]),
        ("parents", [[True]]),
        ("parents", {}),
        ("candidates", [1]),
        ("elite", {}),
        ("elite", {"genome": [1], "mean": "1", "episodes": 1, "generation": 1}),
        ("elite", {"genome": [1], "mean": True, "episodes": 1, "generation": 1}),
        ("noise_digest", 1),
        ("config", "seed = -1"),
        ("config", "seed = "),
        ("log", {}),
        ("log", {"size_bytes": True, "sha256": ""}),
        ("timing", {"elapsed_s": None}),
        ("format", 2),
        ("more", 1),
    ],
)
def test_types_are_strict_even_under_a_right_checksum(key: str, value: object) -> None:
    body = json.loads(encode(Checkpoint(state_after(0), CONFIG, 0, ""))) | {key: value}
    with pytest.raises(RecordError, match=r"expected|config: "):
        decode(resealed(body))


def resealed(body: dict[str, Any]) -> bytes:
    del body["sha256"]
    from gadask import checkpoint  # the one place that may know how a checksum is made

    return checkpoint.strict_json(body | {"sha256": checkpoint._checksum(body)})


def test_a_log_cut_at_any_byte_falls_back_or_is_refused(run: Path) -> None:
    file = run / "generations.jsonl"
    content = file.read_bytes()
    before_last = len(content) - len(content.splitlines(keepends=True)[-1])
    for size in range(len(content)):
        file.write_bytes(content[:size])
        if size >= before_last:
            assert read_run(run) == (CONFIG, state_after(LAST - 1))
        else:
            with pytest.raises(
                RecordError, match=r"generations\.jsonl is shorter than .*; restore one of them from a c"
            ):
                read_run(run)


def test_a_flipped_bit_in_the_log_falls_back_or_is_refused(run: Path) -> None:
    file = run / "generations.jsonl"
    content = file.read_bytes()
    before_last = len(content) - len(content.splitlines(keepends=True)[-1])
    for byte in range(len(content)):
        file.write_bytes(flipped(content, 8 * byte + byte % 8))
        if byte >= before_last:
            assert read_run(run) == (CONFIG, state_after(LAST - 1))
        else:
            with pytest.raises(RecordError, match=r"generations\.jsonl is damaged in the first"):
                read_run(run)


def test_a_run_goes_on_from_damage(run: Path, uninterrupted: Path) -> None:
    for name in ("checkpoint.json", "generations.jsonl"):
        content = (run / name).read_bytes()
        (run / name).write_bytes(flipped(content, 8 * len(content) - 20))
        RunDirectory.resume(run)[0].close()
        assert (run / "checkpoint.json").read_bytes() == (run / "checkpoint.previous.json").read_bytes()
        assert evolve(run).generation == LAST - 1
        assert contents(run) == contents(uninterrupted)
    (run / "checkpoint.json").unlink()
    assert evolve(run).generation == LAST - 1
    assert contents(run) == contents(uninterrupted)


def test_two_damaged_checkpoints_are_refused_and_nothing_is_changed(run: Path) -> None:
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        (run / name).write_bytes(b"")
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    with pytest.raises(RecordError) as caught:
        RunDirectory.resume(run)
    assert str(caught.value) == (
        f"{run}/checkpoint.json: not a JSON document; {run}/checkpoint.previous.json: not a JSON document;"
        " restore one of them from a copy, or start a new run directory"
    )
    assert before == {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_a_damaged_one(run: Path) -> None:
    (run / "checkpoint.json").unlink()
    (run / "checkpoint.json").mkdir()
    with pytest.raises(RecordError, match=r"checkpoint\.json: cannot read it: Is a directory"):
        RunDirectory.resume(run)
    assert len(list(read_generations(run))) == LAST + 1


def test_a_log_cut_under_a_running_master_is_noticed(run: Path) -> None:
    directory, _ = RunDirectory.resume(run)
    with directory:
        (run / "generations.jsonl").write_bytes(b"")
        with pytest.raises(RecordError, match=r"generations\.jsonl: expected at least \d+ bytes, found 0; another pro"):
            directory.close_generation(table(LAST + 1), {}, state_after(LAST + 1))


def test_damaged_episodes_do_not_stop_a_run(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = run / "episodes" / "000001.parquet"
    file.write_bytes(file.read_bytes()[:-3])
    (run / "episodes" / "000000.parquet").unlink()
    with caplog.at_level(logging.WARNING):
        assert evolve(run, last=LAST + 1).generation == LAST
    assert caplog.text == ""
    with pytest.raises(RecordError, match=r"000001\.parquet: damaged: "):
        read_episodes(run, 1)


def test_a_torn_last_line_is_not_read_and_a_damaged_one_is_named(run: Path) -> None:
    file = run / "generations.jsonl"
    content = file.read_bytes()
    file.write_bytes(content + b'{"generation": 9')
    assert len(list(read_generations(run))) == LAST + 1
    file.write_bytes(content[1:])
    with pytest.raises(RecordError, match=r"generations\.jsonl: line 1 is damaged"):
        list(read_generations(run))


# Fault 15: pickles


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.file), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(run: Path, tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Payload(canary), protocol)
    (run / "checkpoint.json").write_bytes(payload)
    assert read_run(run) == (CONFIG, state_after(LAST - 1))
    (run / "checkpoint.previous.json").write_bytes(payload)
    with pytest.raises(RecordError, match=r"checkpoint\.json: not a JSON document"):
        RunDirectory.resume(run)
    for name in ("episodes/000000.parquet", "generations.jsonl"):
        (run / name).write_bytes(payload + b"\n")
    with pytest.raises(RecordError, match="damaged"):
        read_episodes(run, 0)
    with pytest.raises(RecordError, match="damaged"):
        list(read_generations(run))
    assert not canary.exists()
    pickle.loads(payload).close()
    assert canary.exists()  # the payload works


if __name__ == "__main__":
    kill_at_every_step(Path(sys.argv[1]))
