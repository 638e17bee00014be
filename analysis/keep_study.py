"""Keep what redraws the figures of a study: `python analysis/keep_study.py RUN_DIR … --out FOLDER`.

Of each run that has closed a generation it copies config, log and the tests of its elite, a few dozen kilobytes;
episodes and checkpoints stay behind. What draws curves and scores of runs draws those of what was kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from gadask.analysis.command import parse, run_command
from gadask.analysis.runs import load_study
from gadask.console.leaving import leave
from gadask.errors import RunDirectoryError
from gadask.record import files

KEPT = ("config.toml", "generations.jsonl", "elite_test.json", "sticky_test.json")
"""Names of the files that are kept, where a run has them."""


@dataclass(frozen=True)
class Arguments:
    """Copy config, log and tests of runs, each to a folder of its name."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories, or folders of them."""
    out: Path
    """Folder to write to; files of the same runs in it are replaced."""


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    return run_command(lambda: _keep(parse(Arguments, argv)))


def _keep(arguments: Arguments) -> Path:
    return keep(arguments.run_dirs, arguments.out)


def keep(run_dirs: Sequence[Path], out: Path) -> Path:
    """Copy what `KEPT` names of each run among and below `run_dirs`; returns `out`.

    Raises:
        RunDirectoryError: there is no run that has closed a generation, or there are two of one name.
        RecordError: a run directory is damaged, or `out` cannot be written.
    """
    runs = load_study(run_dirs)
    names = [run.path.resolve().name for run in runs]
    for run, name in zip(runs, names, strict=True):
        if names.count(name) > 1:
            raise RunDirectoryError(f"{run.path}: expected runs of different names, found two called {name!r}")
    for run, folder_name in zip(runs, names, strict=True):
        folder = out / folder_name
        folder.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            if (content := files.read(run.path / name)) is None:
                (folder / name).unlink(missing_ok=True)  # of an earlier call
            else:
                files.atomic_write(folder / name, content)
    return out


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
