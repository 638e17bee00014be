"""What the commands that draw share: they print the file they wrote, or say in one line why they did not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gadask.console import command_line
from gadask.console.flags import with_defaults
from gadask.errors import GadaskError, UsageError
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
    try:
        path = write()
    except GadaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: it cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if path is None:
        return 1
    print(path)
    return 0
