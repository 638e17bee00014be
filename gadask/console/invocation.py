"""How this process was called, for the commands that it tells its user to give next."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Invocation:
    """A command line of gadask's, in its parts."""

    program: tuple[str, ...]
    """The words that call the command, such as `gadask run`, or the interpreter and `jobs/run.py`."""
    command: str
    """Name of the command, such as `run`."""
    arguments: tuple[str, ...]
    """What follows."""

    @property
    def name(self) -> str:
        """What help calls the command: without the path of an interpreter."""
        return " ".join(self.program if Path(self.program[0]).name == "gadask" else ("python", *self.program[1:]))


def invocation(argv: Sequence[str] | None = None) -> Invocation:
    """Return the parts of a command line, by default this process's."""
    script, *rest = sys.argv if argv is None else argv
    path = Path(script)
    if path.name == "gadask":
        name, *rest = rest
        return Invocation((_shown(path), name), name, tuple(rest))
    if path.parts[-2:] == ("gadask", "__main__.py"):
        name, *rest = rest
        return Invocation((_relative(Path(sys.executable)), "-m", "gadask", name), name, tuple(rest))
    return Invocation((_relative(Path(sys.executable)), script), path.stem, tuple(rest))


def _shown(program: Path) -> str:
    """Return the name of a program that the shell finds, else its path."""
    found = shutil.which(program.name)
    return program.name if found and os.path.realpath(found) == os.path.realpath(program) else _relative(program)


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
