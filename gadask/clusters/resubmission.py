"""How a command that runs in an allocation goes on in another job."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from gadask.shipped import ALLOCATION
from gadask.words import without

_VARIABLES = "GADASK_LAUNCHER", "GADASK_PYTHON", "GADASK_REQUEUES"


def sbatch_command(command: str, words: Sequence[str]) -> str:
    """Return how the arguments of a command are given to `allocation.sbatch`, which adds `--cluster allocation`.

    What `sbatch` was given beyond account, partition, nodes and wall time is not known.
    """
    environ = os.environ
    given = {"GADASK_JOB": command} if command != "run" else {}
    given |= {name: environ[name] for name in _VARIABLES if name in environ}
    flags = {"account": "SLURM_JOB_ACCOUNT", "partition": "SLURM_JOB_PARTITION", "nodes": "SLURM_JOB_NUM_NODES"}
    options = [f"--{flag}={environ[name]}" for flag, name in flags.items() if environ.get(name)]
    with contextlib.suppress(KeyError, ValueError):  # an older Slurm does not tell
        wall_s = int(environ["SLURM_JOB_END_TIME"]) - int(environ["SLURM_JOB_START_TIME"])
        options.append(f"--time={math.ceil(wall_s / 60)}")
    rest = without(words, "--cluster")
    variables = "".join(f"{name}={shlex.quote(value)} " for name, value in given.items())
    return variables + shlex.join(["sbatch", *options, allocation_script(), *rest])


def allocation_script() -> str:
    """Return the path of the job script: in gadask's repository the one of `jobs/`."""
    here = Path("jobs") / ALLOCATION.name
    return str(here if here.exists() and here.samefile(ALLOCATION) else ALLOCATION)
