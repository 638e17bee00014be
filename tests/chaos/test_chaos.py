"""A minute of chaos, and that its own parts notice what they are there for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from gadask.clusters.local import local_cluster
from gadask.master.evolve import evolve
from gadask.record import files
from gadask.record.episodes import episodes_path, read_episodes, to_parquet
from tests.chaos import processes
from tests.chaos.checks import check_equal, check_run, count_failures
from tests.chaos.injectors import INJECTORS
from tests.chaos.promises import BrokenError
from tests.chaos.proxy import Proxy
from tests.chaos.runs import KINDS
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(__file__).parents[2]
SEED = 18


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute or two on an idle machine
def test_every_injector_strikes_and_no_promise_is_broken() -> None:
    words = ["--seconds", 1, "--seed", SEED, "--runs", "all", "first", "admit", "lanes", "normalised"]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as command:
        try:
            said, _ = command.communicate()
        except BaseException:
            command.send_signal(signal.SIGINT)  # it ends all that it started
            command.wait(120)
            raise
    assert command.returncode == 0, said
    summary = said.splitlines()[-1]
    assert {name for name in INJECTORS if re.search(rf"[1-9]\d* {name}\b", summary)} == set(INJECTORS), said


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the kind `all`, undisturbed."""
    run_dir = tmp_path_factory.mktemp("sound") / "run"
    (kind,) = (kind for kind in KINDS if kind.name == "all")

    async def play() -> None:
        async with local_cluster(1) as cluster:
            async for generation in evolve(kind.config, cluster.client, run_dir, n_processes=2):
                assert generation.number < 6

    asyncio.run(play())
    (run_dir / "provenance.json").write_text("[{}]")
    return run_dir


def change(run_dir: Path, generation: int, changed: Callable[[pa.Table], pa.Table]) -> None:
    """Write a generation's episodes anew."""
    table = changed(read_episodes(run_dir, generation))
    episodes_path(run_dir, generation).write_bytes(to_parquet(table))


def lose_a_row(run_dir: Path) -> None:
    change(run_dir, 2, lambda table: table.slice(1))


def count_a_row_twice(run_dir: Path) -> None:
    change(run_dir, 2, lambda table: pa.concat_tables([table, table.slice(3, 1)]))


def keep_a_stray_row(run_dir: Path) -> None:
    def stray(table: pa.Table) -> pa.Table:
        row = table.slice(3, 1)
        row = row.set_column(row.column_names.index("counted"), "counted", pa.array([False]))
        return pa.concat_tables([table, row.set_column(1, "slot", pa.array([99], pa.int32()))])

    change(run_dir, 2, stray)


def give_a_row_another_return(run_dir: Path) -> None:
    def other(table: pa.Table) -> pa.Table:
        returns = table.column("return").to_numpy().copy()
        ends = zip(table.column("kind").to_pylist(), table.column("status").to_pylist(), strict=True)
        returns[list(ends).index(("child", "ok"))] = 1e9
        return table.set_column(table.column_names.index("return"), "return", pa.array(returns))

    change(run_dir, 2, other)


def play_a_row_twice_with_two_results(run_dir: Path) -> None:
    def other(table: pa.Table) -> pa.Table:
        first = table.column("status").to_pylist().index("ok")
        row = table.slice(first, 1)
        row = row.set_column(row.column_names.index("counted"), "counted", pa.array([False]))
        return pa.concat_tables([table, row.set_column(row.column_names.index("return"), "return", pa.array([0.5]))])

    change(run_dir, 2, other)


def leave_a_temporary_file(run_dir: Path) -> None:
    (run_dir / ".checkpoint.json.17.tmp").touch()


def leave_episodes_of_no_generation(run_dir: Path) -> None:
    shutil.copy(episodes_path(run_dir, 0), episodes_path(run_dir, 6))


def cut_the_log(run_dir: Path) -> None:
    log = run_dir / "generations.jsonl"
    log.write_bytes(log.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_row, "children of generation 2: expected 24, found 23"),
        (count_a_row_twice, "count more than once"),
        (keep_a_stray_row, "uncounted rows of generation 2"),
        (give_a_row_another_return, "candidates of generation 2"),
        (play_a_row_twice_with_two_results, "episodes with two results"),
        (leave_a_temporary_file, "temporary files"),
        (leave_episodes_of_no_generation, "files of episodes"),
        (cut_the_log, r"cannot be read|generations"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_run_that_is_not_whole_is_noticed(
    sound: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    run_dir = Path(shutil.copytree(sound, tmp_path / "run"))
    check_run(run_dir, 1)
    check_equal(run_dir, sound)
    damage(run_dir)
    with pytest.raises(BrokenError, match=message):
        check_run(run_dir, 1)


def test_a_run_that_differs_or_is_still_locked_is_noticed(sound: Path, tmp_path: Path) -> None:
    assert count_failures(sound)["error"] > 0
    run_dir = Path(shutil.copytree(sound, tmp_path / "run"))
    change(run_dir, 2, lambda table: table.set_column(4, "frames", pa.array([7] * len(table), pa.int32())))
    with pytest.raises(BrokenError, match="rows of generation 2"):
        check_equal(run_dir, sound)
    with pytest.raises(BrokenError, match="1 entries of provenance after 0 starts"):
        check_run(sound, 0)
    lock = files.FileLock(run_dir / ".lock")
    try:
        with pytest.raises(BrokenError, match="its lock is still held"):
            check_run(run_dir, 1)
    finally:
        lock.release()


def test_processes_are_found_by_their_mark_whoever_their_parent_is() -> None:
    mark = processes.new_mark()
    environ = {**os.environ, processes.MARK: mark, processes.ROLE: "node-1"}
    with subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000 & kill -9 $$"], env=environ) as shell:
        shell.wait()
    wait_until(lambda: len(processes.find(mark)) == 2, 10, "two orphans")
    assert {found.role for found in processes.find(mark, "node-1")} == {"node-1"}
    assert processes.find(mark, "node-2") == []
    assert processes.find(processes.new_mark()) == []
    processes.end_all(mark)
    assert processes.find(mark) == []


def test_a_proxy_passes_holds_and_cuts() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    async def play() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = Proxy(server.sockets[0].getsockname()[1])
        port = await proxy.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        holding = asyncio.create_task(proxy.hold(1000))
        await asyncio.sleep(0)
        writer.write(b"two")
        answer = asyncio.create_task(reader.read(100))
        assert not (await asyncio.wait({answer}, timeout=0.2))[0]
        holding.cancel()
        assert await answer == b"two"
        cutting = asyncio.create_task(proxy.cut(1000))
        with contextlib.suppress(ConnectionError):
            assert await reader.read(100) == b""
        other, other_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await other.read(100) == b""
        cutting.cancel()
        await asyncio.wait({holding, cutting})
        await proxy.close()
        for one in (writer, other_writer):
            one.close()
        server.close()

    asyncio.run(play())
