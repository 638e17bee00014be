"""What the commands that draw share: they print the file they wrote, or say in one line why they did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gadask.console import command_line
from gadask.console.flags import with_defaults
from gadask.imports import find_modules_here
from gadask.terminal import outlive_terminal

_Arguments = TypeVar("_Arguments")


def parse(arguments: type[_Arguments], argv: Sequence[str]) -> _Arguments:
    """Return the arguments of a command line; see `command_line.parse`."""
    found: _Arguments = command_line.parse(argv, with_defaults(arguments))
    return found


def run_command(write: Callable[[], Path | None]) -> int:
    """Print the path that `write()` returns; returns the exit status.

    0 is success, 2 bad usage, 1 any other error of gadask, 130 Ctrl-C; also 1 where `write` returns None, having logged
    why. A reader that stops early, like `head`, is no error.
    """
    find_modules_here()
    outlive_terminal()

    def command() -> int:
        path = write()
        if path is None:
            return command_line.FAILED
        print(path)
        return command_line.FINISHED

    return command_line.answered(command)
