"""A folder with a task and a policy of one's own, as a user has it, and commands that are called from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
GADASK = Path(sys.executable).with_name("gadask")
"""The command as pip installs it: Python puts its folder on the path, and not the current one."""

SMALL = (
    *("--run-dir", "run", "--budget.generations", "2", "--budget.test-episodes", "5", "--generation.population", "12"),
    *("--generation.episodes-per-child", "1", "--ga.parents", "3", "--generation.candidate-episodes", "4"),
)


def own_folder(folder: Path) -> Path:
    """Return `folder` with `own_task.py` and `own_task.toml` in it."""
    for name in ("own_task.py", "own_task.toml"):
        shutil.copy(EXAMPLES / name, folder)
    return folder


def bare_environment() -> dict[str, str]:
    """Return an environment that names no folder of modules."""
    left_out = ("PYTHONPATH", "PYTHONSAFEPATH")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def called(folder: Path, *words: object) -> str:
    """Call gadask in a folder and return what it prints; nothing may go wrong."""
    command = [str(word) for word in (GADASK, *words)]
    ended = subprocess.run(
        command, cwd=folder, env=bare_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    return ended.stdout
