"""The process in which tasks are rehearsed: a master makes no environment and no policy of a user's by itself.

A user's code may raise, exit, hang, print, fork, start processes or change the folder. So one process, the *guardian*,
imports what is needed and runs no user's code; for every rehearsal it forks a process in a new session, waits for its
answer with a deadline, and ends it with everything that it has started: the guardian is the reaper of their orphans. It
ends with its master, whose end closes their socket. Master and guardian share no terminal, signal or standard output;
what an environment prints goes to standard error.

A run bears an environment that fails in some episodes. So `_EPISODES` episodes must fail, each in a fresh process,
before a task is refused for what it plays; what cannot be made, or hangs, is refused at once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import pickle
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gadask import errors
from gadask.blame import in_one_line, place_among
from gadask.config import Config
from gadask.errors import EnvError, GadaskError
from gadask.guard import be_subreaper, end_descendants
from gadask.imports import own_command
from gadask.messages import Facts
from gadask.numerics import numeric_environment
from gadask.terminal import outlive_terminal

VARIABLE = "GADASK_REHEARSAL"
"""Set in the environment of a rehearsal."""

_EPISODES = 3
_CLOSE_S = 5.0
"""An environment may take this long to close before it is ended."""
_FRAME = re.compile(r'File "(.*)", line (\d+) in (.*)')
_logger = logging.getLogger(__name__)


def rehearse(configs: Sequence[Config]) -> Generator[Facts | GadaskError]:
    """Rehearse what each config plays, one after the other; yields what was found out, or why it cannot be played.

    The error is an `EnvError`, a `PolicyError` or a `ConfigError`. Notes are logged.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                own_command("gadask.master.rehearsal_process", str(theirs.fileno())),
                env={**numeric_environment(), VARIABLE: "1"},
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__.fileno() if sys.__stderr__ is not None else subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            with ours.makefile("rwb") as stream:
                pickle.dump(list(configs), stream)
                stream.flush()
                for config in configs:
                    yield _found(config, stream.readline())
        finally:
            ours.close()  # tells the guardian to end
            _wait(process)


def _found(config: Config, line: bytes) -> Facts | GadaskError:
    if not line:
        return EnvError(f"env.id: the process that rehearses {config.env.id!r} was killed; is there enough memory?")
    answer = json.loads(line)
    if "error" in answer:
        kind, text = answer["error"]
        error: GadaskError = getattr(errors, kind)(text)
        return error
    facts = Facts(**{**answer, "notes": tuple(answer["notes"])})
    for note in facts.notes:
        _logger.warning("%s", note)
    return facts


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait until the guardian has ended, which takes it a moment."""
    try:
        process.wait(2 * _CLOSE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Be the guardian: rehearse the configs that come over the socket of the command line; a line answers each."""
    outlive_terminal()  # an environment that prints is not to fail with its reader
    be_subreaper()
    import gadask.master.rehearsal  # noqa: F401 (before the first fork and deadline, since torch takes seconds)

    with socket.socket(fileno=int(sys.argv[1])) as master, master.makefile("rwb") as stream:
        for config in pickle.load(stream):
            answer = _rehearsal_of(config, master)
            try:
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()
            except OSError:  # the master is gone
                break
    os._exit(0)  # torch takes a second to leave in order


def _rehearsal_of(config: Config, master: socket.socket) -> dict[str, Any]:
    """Return what is to be answered: the fields of `Facts`, or `error` with class and text."""
    deadline = time.monotonic() + config.env.rehearsal_timeout_s
    failure: dict[str, Any] = {}
    for slot in range(_EPISODES):
        actor = _fork(config, slot, master)
        try:
            answer = actor.answer(master, deadline)
        finally:
            end_descendants(0)
        if "failed" not in answer:
            return answer
        failure = failure or {"error": ["EnvError", answer["failed"]]}
    return failure


@dataclass(frozen=True)
class _Actor:
    """A forked process that rehearses, and how it is heard from."""

    config: Config
    pid: int
    pidfd: int
    answers: int
    """The end of a pipe."""
    stack: int
    """A file in memory, to which it writes its stack when asked to by a signal."""

    def answer(self, master: socket.socket, deadline: float) -> dict[str, Any]:
        """Wait for the answer, and then a little for the environment to close."""
        with contextlib.ExitStack() as stack:
            for fd in (self.pidfd, self.answers, self.stack):
                stack.callback(os.close, fd)
            text = b""
            while not text.endswith(b"\n"):
                ready = _ready((self.answers, self.pidfd, master.fileno()), deadline)
                if master.fileno() in ready:
                    end_descendants(0)
                    os._exit(0)
                if self.answers in ready and (more := os.read(self.answers, 65536)):
                    text += more
                elif ready:
                    return {"failed": self._death()}
                else:
                    return {"error": ["EnvError", self._no_end()]}
            _ready((self.pidfd, master.fileno()), time.monotonic() + _CLOSE_S)
            found: dict[str, Any] = json.loads(text)
            return found

    def _death(self) -> str:
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        return f"env.id: the process that made and played {self.config.env.id!r} {how}"

    def _no_end(self) -> str:
        os.kill(self.pid, signal.SIGUSR1)
        place = ""
        end = time.monotonic() + 1
        while not place and time.monotonic() < end:
            select.select([self.pidfd], [], [], 0.02)
            lines = os.pread(self.stack, 65536, 0).decode(errors="replace")
            frames = [(file, int(line), function) for file, line, function in _FRAME.findall(lines)]
            place = place_among(frames[::-1])
        limit_s = self.config.env.rehearsal_timeout_s
        return (
            f"env.id: {self.config.env.id!r} with policy {self.config.policy.kind!r} was not made and played for a few"
            f" steps within {limit_s:g} s{f'; it was at {place}' if place else ''}; raise env.rehearsal_timeout_s if"
            " that is too short"
        )


def _fork(config: Config, slot: int, master: socket.socket) -> _Actor:
    """Start a rehearsal."""
    answers, theirs = os.pipe()
    stack = os.memfd_create("gadask-stack")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            os.close(answers)
            os.close(master.fileno())
            faulthandler.register(signal.SIGUSR1, stack, all_threads=False)
            for answer in _act(config, slot):
                os.write(theirs, json.dumps(answer).encode() + b"\n")
            status = 0
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    os.close(theirs)
    return _Actor(config, pid, os.pidfd_open(pid), answers, stack)


def _act(config: Config, slot: int) -> Iterator[dict[str, Any]]:
    """Rehearse and yield the answer; the environment closes after it."""
    from gadask.master.rehearsal import EpisodeError, rehearsed

    try:
        with rehearsed(config, slot) as facts:
            yield asdict(facts)
    except EpisodeError as error:
        yield {"failed": str(error)}
    except GadaskError as error:
        yield {"error": [type(error).__name__, str(error)]}
    except BaseException as error:  # KeyboardInterrupt, or one of a user's
        yield {"failed": f"env.id: {config.env.id!r} cannot be played: {in_one_line(error)}"}


def _ready(fds: Iterable[int], deadline: float) -> list[int]:
    """Return which of the descriptors can be read; none at the deadline."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    left_s = max(0.0, deadline - time.monotonic())
    return [fd for fd, _ in poll.poll(min(1000 * left_s, 2**31 - 1))]
