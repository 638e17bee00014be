"""Files that come with gadask: configs and studies in `configs/`, machine files and a script for sbatch in `sites/`."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable
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


def nearest_file(name_or_path: Path | str, folder: Path = CONFIGS) -> str | None:
    """Return what is called most like a TOML file that is not there: beside it, or in `folder`, of gadask's own."""
    given = Path(name_or_path)
    if near := _nearest_beside(given, given.parent.glob("*.toml")):
        return near
    shipped = [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.toml")]
    bare = given.with_suffix("")
    near_shipped = (difflib.get_close_matches(name, shipped, n=1) for name in (str(bare), bare.name))
    return next((near for (near,) in filter(None, near_shipped)), None)


def nearest_folder(path: Path | str) -> str | None:
    """Return the folder that is called most like one that is not there; None where it is there, or none is near."""
    given = Path(path)
    with contextlib.suppress(OSError):
        if not given.exists():
            return _nearest_beside(given, (other for other in given.parent.iterdir() if other.is_dir()))
    return None


def _nearest_beside(given: Path, others: Iterable[Path]) -> str | None:
    """Return the path whose last part is most like that of `given`; the rest, which may be long, is the same."""
    paths = {other.name: str(other) for other in others}
    near = difflib.get_close_matches(given.name, paths, n=1)
    return paths[near[0]] if near else None
