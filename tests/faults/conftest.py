"""Fixtures of the fault tests; every one checks that nothing is left behind."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.faults.recorded_runs import evolve


@pytest.fixture(autouse=True)
def _nothing_is_left(no_leaks: None) -> Iterator[None]:
    before = _descriptors()
    yield

    def nothing_is_left() -> bool:
        # An event loop or a socket in a cycle of objects that nobody holds is garbage, and no leak.
        gc.collect()
        return _descriptors() <= before

    wait_until(nothing_is_left, 5, "no file descriptors but those from before")


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which the others must equal."""
    path = tmp_path_factory.mktemp("whole") / "run"
    evolve(path)
    return path


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where flushing costs nothing: what `kill -9` leaves does not depend on the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def run(tmp_path: Path, uninterrupted: Path) -> Path:
    """A copy of the uninterrupted run, to be damaged."""
    return Path(shutil.copytree(uninterrupted, tmp_path / "run"))
