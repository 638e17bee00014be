"""How many processes of this one's Slurm job the system has killed for lack of memory.

A batch system gives each job a control group with the memory that it asked for. When that is full the kernel kills a
process of the group and leaves the others: from outside the node plays on, from inside processes die for no reason. A
group that is not a job's is older than the node, and its count says nothing.
"""

from __future__ import annotations

import re
from pathlib import Path


def memory_kills(mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the kernel's count, 0 where it keeps none.

    `mount` is where control groups are mounted, of version 1 or 2; `own` tells this process's.
    """
    n_kills = 0
    for line in _text(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        group = path.strip("/")
        if "/job_" not in path:
            continue
        if not controllers:
            text = _text(mount / group / "memory.events")
        elif "memory" in controllers.split(","):
            text = _text(mount / "memory" / group / "memory.oom_control")
        else:
            continue
        n_kills += sum(int(number) for number in re.findall(r"(?m)^oom_kill (\d+)$", text))
    return n_kills


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
