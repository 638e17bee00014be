"""Fixtures that every test shares."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from gadask.config import Config, config_from_dict

_LONGEST = (
    "tests/chaos/",
    "tests/slurm/",
    "tests/test_two_hosts.py",
    "tests/test_determinism.py",
    "tests/faults/",
    "tests/test_run.py",
)


# Both measure wall time: on a busy machine any property test might fail.
settings.register_profile("gadask", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gadask")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that processes that share the tests end together."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(_LONGEST) if item.nodeid.startswith(name)), len(_LONGEST))

    items.sort(key=place)


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, of which some may have ended meanwhile."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def wait_until(condition: Callable[[], object], deadline_s: float, what: str) -> None:
    """Return as soon as `condition()` is true; fail after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s} s: {what}")
        time.sleep(0.01)


async def eventually(condition: Callable[[], object], deadline_s: float, what: str) -> None:
    """Return as soon as `condition()`, awaited if it can be, is true; fail after `deadline_s`."""
    try:
        async with asyncio.timeout(deadline_s):
            while not (await value if inspect.isawaitable(value := condition()) else value):
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {deadline_s} s: {what}")


def faulty_config(fault: str = "none", population: int = 24, **kwargs: object) -> Config:
    """Return the config of a small run in `tests.faulty_envs`."""
    return config_from_dict(
        {
            "env": {
                "id": "tests.faulty_envs:Faulty-v0",
                "kwargs": {"fault": fault, **kwargs},
                "max_steps": 200,
                "episode_timeout_s": 30,
            },
            "policy": {"kind": "mlp", "kwargs": {"hidden": "8"}},
            "noise": {"size": 300_000},
            "generation": {
                "population": population,
                "candidates": 3,
                "candidate_episodes": 4,
                "max_failed_share": 1.0,
            },
            "ga": {"parents": 5, "mutation_power": 0.2},
            "budget": {"generations": 4, "test_episodes": 0},
        }
    )


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail if the test leaves a process, a shared-memory segment or a file descriptor behind."""
    shm, this = Path("/dev/shm"), psutil.Process()

    def left() -> tuple[set[object], set[object], set[object]]:
        children: set[object] = {
            child.pid
            for child in this.children(recursive=True)
            # Python's own helper of multiprocessing lives as long as the interpreter.
            if "resource_tracker" not in " ".join(command_line(child))
        }
        memory: set[object] = {target for target in _fd_targets() if "memfd:gadask" in target}
        # Semaphores and temporary directories there are other programs'.
        segments: set[object] = {path.name for path in shm.iterdir() if not path.name.startswith(("sem.", "tmp"))}
        return children, segments, memory

    before = left()
    yield
    deadline = time.monotonic() + 5
    while any(now - then for now, then in zip(left(), before, strict=True)):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind (processes, shared memory, descriptors): {left()}, before: {before}")
        time.sleep(0.02)


def command_line(process: psutil.Process | None) -> list[str]:
    """Return the words of a process's command; none of one that has ended."""
    try:
        command: list[str] = process.cmdline() if process is not None else []
    except psutil.Error:
        return []
    return command


def is_of_fork_server(process: psutil.Process | None) -> bool:
    """Whether this is a fork server, or was forked from one, which leaves it the server's command line."""
    return "gadask.node.forkserver" in command_line(process)


def _fd_targets() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        try:
            yield str(link.readlink())
        except OSError:
            continue
