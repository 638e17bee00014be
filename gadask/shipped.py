"""Files that come with gadask: configs and studies in `configs/`, machine files and a script for sbatch in `sites/`."""

from __future__ import annotations

import difflib
from pathlib import Path

CONFIGS = Path(__file__).with_name("configs")
"""Config files, called by their names (`cartpole`), and study files, called `studies/NAME`."""

SITES = Path(__file__).with_name("sites")
"""Machine files, called by their names (`csd3-icelake`)."""

ALLOCATION = SITES / "allocation.sbatch"
"""Job script that evolves inside one Slurm allocation."""


def find_config(name_or_path: Path | str) -> Path:
    """Return the file, or where there is none the file of that name that comes with gadask."""
    given = Path(name_or_path)
    shipped = CONFIGS / given.with_suffix(".toml")
    if not given.exists() and given.suffix in ("", ".toml") and not given.is_absolute() and shipped.is_file():
        return shipped
    return given


def nearest_config(name_or_path: Path | str) -> str | None:
    """Return what is called most like a file that is not there: beside it, or among those that come with gadask."""
    given = Path(name_or_path)
    beside = [str(path) for path in given.parent.glob("*.toml")]
    shipped = [str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.toml")]
    near = difflib.get_close_matches(str(given), beside, n=1) or difflib.get_close_matches(
        str(given.with_suffix("")), shipped, n=1
    )
    return near[0] if near else None
