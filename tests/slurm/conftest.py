"""A real Slurm for every test in this folder: two nodes of 32 cores on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.local_slurm import LocalSlurm, local_slurm, missing_programs


@pytest.fixture(scope="session")
def slurm_session() -> Iterator[LocalSlurm]:
    """Start a Slurm once; where it is not installed, skip on a developer's machine and fail in CI."""
    missing = missing_programs()
    if missing:
        reason = (
            f"needs Slurm and munge; missing: {', '.join(missing)}"
            " (as root: apt-get install slurmctld slurmd slurm-client munge)"
        )
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with local_slurm() as slurm, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(slurm.conf))
        yield slurm


@pytest.fixture
def slurm(slurm_session: LocalSlurm) -> Iterator[LocalSlurm]:
    """The Slurm, without a job before the test; fails if the test leaves one in the queue."""
    slurm_session.cancel_all()
    yield slurm_session.without_past()
    left = slurm_session.in_state("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED")
    slurm_session.cancel_all()
    assert not left, f"jobs left in the queue: {left}"
