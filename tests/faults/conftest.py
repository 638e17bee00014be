"""Fixtures of the fault tests; every one checks that nothing is left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.recorded_runs import evolve


@pytest.fixture(autouse=True)
def _nothing_is_left(no_leaks: None) -> Iterator[None]:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    yield
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


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
