"""Cores that were really given: Slurm's word, affinity, cgroups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gadask.errors import NodeError
from gadask.node.cores import ROLLOUTS_VARIABLE, _quota_v1, _quota_v2, own_rollouts

COUNT = "from gadask.node.cores import granted_cores; print(granted_cores())"


def granted(cpus: set[int] | None = None, **environment: str) -> int:
    """Return the cores of a process that is bound to some CPUs and has some of Slurm's variables."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    result = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**plain, **environment},
        preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout)


def test_without_slurm_the_affinity_counts() -> None:
    one = min(os.sched_getaffinity(0))
    assert granted({one}) == 1
    assert 1 <= granted() <= len(os.sched_getaffinity(0))
    assert granted({one}, SLURM_CPUS_PER_TASK="many") == 1


def test_where_slurm_leaves_jobs_unbound_its_word_counts() -> None:
    if os.sched_getaffinity(0) < os.sched_getaffinity(1):
        pytest.skip("these tests are bound to some of the machine's CPUs")
    assert granted(SLURM_CPUS_PER_TASK="32", SLURM_CPUS_ON_NODE="64") == 32
    assert granted(SLURM_CPUS_ON_NODE="64") == 64
    assert granted(SLURM_CPUS_PER_TASK="1") == 1
    assert granted(NSLOTS="16") == granted(NCPUS="16") == granted(LSB_DJOB_NUMPROC="16") == 16


def test_where_slurm_binds_jobs_the_binding_counts() -> None:
    cpus = os.sched_getaffinity(0)
    one = min(cpus)
    if {one} == os.sched_getaffinity(1):
        pytest.skip("needs two CPUs")
    assert granted({one}, SLURM_CPUS_PER_TASK="32") == 1


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", float("inf")), ("250000 100000\n", 2.5), ("", float("inf"))]
)
def test_a_quota_of_version_2(tmp_path: Path, text: str, cores: float) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert _quota_v2(tmp_path) == cores
    assert _quota_v2(tmp_path / "none") == float("inf")


@pytest.mark.parametrize(("quota", "cores"), [("-1", float("inf")), ("400000", 4.0)])
def test_a_quota_of_version_1(tmp_path: Path, quota: str, cores: float) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert _quota_v1(tmp_path) == cores
    assert _quota_v1(tmp_path / "none") == float("inf")


def test_a_job_may_say_how_many_rollouts_its_node_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gadask.node.cores.granted_cores", lambda: 8)
    monkeypatch.delenv(ROLLOUTS_VARIABLE, raising=False)
    assert own_rollouts() == 7
    monkeypatch.setenv(ROLLOUTS_VARIABLE, "5")
    assert own_rollouts() == 5
    for text in ("0", "-3", "all", ""):
        monkeypatch.setenv(ROLLOUTS_VARIABLE, text)
        with pytest.raises(NodeError, match=f"GADASK_ROLLOUTS_PER_NODE: expected a whole number.*, found '{text}'"):
            own_rollouts()
