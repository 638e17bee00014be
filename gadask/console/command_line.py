"""What the commands that play share: how they are parsed, interrupted and ended, and their exit statuses.

Heavy modules (torch, Dask) are imported where they are used, so that bad input is answered at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from gadask.config import StartConfig, new_name
from gadask.console.flags import flags_of
from gadask.console.help_page import PLAIN, Help, full_page, short_page
from gadask.console.invocation import invocation
from gadask.console.leaving import INTERRUPTED
from gadask.console.reading import read_words
from gadask.errors import ConfigError, GadaskError, UsageError
from gadask.imports import find_modules_here, own_command
from gadask.terminal import outlive_terminal

FINISHED, FAILED, BAD_USAGE = 0, 1, 2

_Arguments = TypeVar("_Arguments")

# `from` is a word of Python's, which no field can be called after.
StartConfig.__annotations__["from_"] = Annotated[str, tyro.conf.arg(name="from")]


class StderrHandler(logging.Handler):
    """Logs to whatever is standard error at the moment: a live display takes its place, and writes above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        print(self.format(record), file=sys.stderr)


def parse(argv: Sequence[str], default: _Arguments, page: Help = PLAIN) -> _Arguments:
    """Return the arguments of a command line; what it leaves out is as in `default`.

    `--help` and `--help-all` end the process with a page, which `page` adds to.

    Raises `UsageError` naming the flag that is unknown, called otherwise now, or has no such value.
    """
    flags, program = list(flags_of(default)), invocation().name
    if asked := {"-h", "--help", "--help-all"}.intersection(argv):
        about = " ".join((type(default).__doc__ or "").split())
        full = "--help-all" in asked
        print(full_page(flags, about, program) if full else short_page(flags, about, program, page))
        raise SystemExit(FINISHED)
    for flag in (text.partition("=")[0] for text in argv if text.startswith("--")):
        if new := new_name(flag[2:].replace("-", "_")):
            raise ConfigError(f"{flag}: is now --{new}")
    words = read_words(argv, flags, program)
    with warnings.catch_warnings():
        # Lists and tables among a file's kwargs are no flags, and pass as they are.
        warnings.filterwarnings("ignore", r"The field `.*kwargs` is annotated with type", UserWarning)
        found: _Arguments = tyro.cli(
            type(default), args=words, default=default, config=(tyro.conf.FlagCreatePairsOff,), prog=program
        )
    return found


def exit_status(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; an error of gadask's is printed in one line."""
    find_modules_here()
    outlive_terminal()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, handlers=[StderrHandler()])
    # Dask reads this when it is imported, here and in its workers. Nodes that come and go are the master's to report; a
    # worker that is closed in the middle of a heartbeat would log that as an error.
    level = os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    for name in ("distributed.client", "distributed.gc"):  # to which Dask gives their own levels
        logging.getLogger(name).addFilter(lambda record: level != "critical" or record.levelno >= logging.CRITICAL)
    return answered(command)


def answered(command: Callable[[], int]) -> int:
    """Call a command and return its exit status, or that of its error, which is printed in one line."""
    try:
        return command()
    except GadaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, UsageError) else FAILED
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: it cannot be used: {error.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def check_dask() -> None:
    """Raise `ConfigError` if Dask cannot be imported with the config that this user or site has given it."""
    try:
        import distributed  # noqa: F401
    except Exception as error:  # whatever a config may do to it
        where = os.environ.get("DASK_CONFIG", "~/.config/dask, /etc/dask")
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"Dask's config ({where}, or variables DASK_…) cannot be used: {reason}") from None


async def draw(what: str, command: str, *arguments: Path, timeout_s: float = math.inf) -> None:
    """Run one of gadask's commands, which prints the file that it wrote; cancelling, or `timeout_s`, ends it.

    It is a separate process, so that a genome is played in the same environment as in evolution, and that an
    environment may hang or die there too. A guard ends what it has started. Ctrl-C, which a terminal sends to all
    processes of a group, is for this process to see.
    """
    from gadask.numerics import numeric_environment

    print(f"{what}: ", end="", flush=True)
    words = own_command("gadask.guard", *own_command("gadask.__main__", command, *map(str, arguments)))
    process = await asyncio.create_subprocess_exec(*words, env=numeric_environment(), start_new_session=True)
    try:
        async with asyncio.timeout(timeout_s if timeout_s < math.inf else None):
            status = await process.wait()
        if status > 128:
            print(f"none, gadask {command} was ended by {signal.Signals(status - 128).name}")
    except TimeoutError:
        print(f"none, gadask {command} was not ready after {timeout_s:,.0f} s")
    finally:
        if process.returncode is None:
            process.terminate()  # the guard ends what is below it
            await process.wait()
