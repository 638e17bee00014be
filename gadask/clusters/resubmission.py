"""How a command that runs in an allocation goes on in another job."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path


def sbatch_command(words: Sequence[str]) -> str:
    """Return the command that gives a command line to `jobs/allocation.sbatch`, which adds `--cluster allocation`.

    What `sbatch` was given beyond account, partition, nodes and wall time is not known.
    """
    environ = os.environ
    script = Path(words[0])
    given = {"GADASK_JOB": script.stem} if script.stem != "run" else {}
    given |= {name: environ[name] for name in ("GADASK_PYTHON", "GADASK_REQUEUES") if name in environ}
    flags = {"account": "SLURM_JOB_ACCOUNT", "partition": "SLURM_JOB_PARTITION", "nodes": "SLURM_JOB_NUM_NODES"}
    options = [f"--{flag}={environ[name]}" for flag, name in flags.items() if environ.get(name)]
    with contextlib.suppress(KeyError, ValueError):  # an older Slurm does not tell
        wall_s = int(environ["SLURM_JOB_END_TIME"]) - int(environ["SLURM_JOB_START_TIME"])
        options.append(f"--time={math.ceil(wall_s / 60)}")
    rest = words[1:-2] if tuple(words[-2:]) == ("--cluster", "allocation") else words[1:]
    variables = "".join(f"{name}={shlex.quote(value)} " for name, value in given.items())
    return variables + shlex.join(["sbatch", *options, str(script.with_name("allocation.sbatch")), *rest])
