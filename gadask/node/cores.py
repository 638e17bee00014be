"""How many cores this process was really given, by its batch system, by its cgroup, by its CPU affinity.

And how many of them a node's rollout processes are to take.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from gadask.errors import NodeError

ROLLOUTS_VARIABLE = "GADASK_ROLLOUTS_PER_NODE"
"""Variable in which a job says how many rollout processes its node has."""

_CGROUPS = Path("/sys/fs/cgroup")
_TOLD_BY = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "NCPUS", "LSB_DJOB_NUMPROC")
"""Variables in which Slurm, Grid Engine, PBS and LSF say it."""


def granted_cores() -> int:
    """Return the cores that this process may keep busy, at least 1.

    What the batch system says counts where it leaves its jobs unbound, as with `TaskPlugin=task/none`; where jobs
    are bound to cores, or limited to a share of the machine's time, the tighter limit counts.
    """
    affinity = os.sched_getaffinity(0)
    cores = len(affinity)
    told = next(filter(None, map(os.environ.get, _TOLD_BY)), "")
    if told.isdecimal():
        cores = min(cores, int(told)) if affinity < _all_cpus() else int(told)
    return max(1, math.floor(min(cores, _quota_cores())))


def own_rollouts() -> int:
    """Return the rollout processes of a node that is not told how many: as its job says, else all cores but one.

    Raises `NodeError` if the job says no number.
    """
    told = os.environ.get(ROLLOUTS_VARIABLE)
    if told is None:
        return max(1, granted_cores() - 1)
    if not told.isdecimal() or int(told) < 1:
        raise NodeError(f"{ROLLOUTS_VARIABLE}: expected a whole number of at least 1, found {told!r}")
    return int(told)


def _all_cpus() -> set[int]:
    """Return the CPUs that any process may have: those of the first process, in a container too."""
    try:
        return os.sched_getaffinity(1)
    except OSError:
        return set(range(os.cpu_count() or 1))


def _quota_cores() -> float:
    """Return the cores' worth of time that this process's cgroups allow, infinity if they do not limit it."""
    quota = math.inf
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, read = _CGROUPS, _quota_v2
        elif "cpu" in controllers.split(","):
            root, read = _CGROUPS / controllers, _quota_v1
        else:
            continue
        folder = root / path.lstrip("/")
        for level in (folder, *folder.parents):
            if level.is_relative_to(root):
                quota = min(quota, read(level))
    return quota


def _quota_v2(cgroup: Path) -> float:
    try:
        allowed, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return math.inf
    return math.inf if allowed == "max" else int(allowed) / int(period)


def _quota_v1(cgroup: Path) -> float:
    try:
        allowed = int((cgroup / "cpu.cfs_quota_us").read_text())
        period = int((cgroup / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return math.inf
    return allowed / period if allowed > 0 else math.inf
