"""A real Grid Engine for every test in this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.sge.local_grid_engine import LocalGridEngine, local_grid_engine, missing_programs


@pytest.fixture(scope="session")
def grid_engine_session() -> Iterator[LocalGridEngine]:
    """Start a Grid Engine once; where it is not installed, skip on a developer's machine and fail in CI."""
    if missing := missing_programs():
        reason = (
            f"needs Grid Engine; missing: {', '.join(missing)}"
            " (as root: apt-get install gridengine-master gridengine-exec gridengine-client)"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with local_grid_engine() as engine, pytest.MonkeyPatch.context() as patch:
        for name, value in engine.environ.items():
            patch.setenv(name, value)
        yield engine


@pytest.fixture
def grid_engine(grid_engine_session: LocalGridEngine) -> Iterator[LocalGridEngine]:
    """The Grid Engine, without a job before the test; fails if the test leaves one in the queue."""
    grid_engine_session.cancel_all()
    yield grid_engine_session
    left = {job_id: state for job_id, state in grid_engine_session.jobs().items() if "d" not in state}
    grid_engine_session.cancel_all()
    assert not left, f"jobs left in the queue: {left}"
