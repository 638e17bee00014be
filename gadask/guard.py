"""Guards: nothing that a process has started outlives it, whatever session it went to and however the process ended.

Environments start simulators, helpers and daemons. A *guard* is the parent of one process, its *charge*, and a
subreaper: what loses its parent anywhere below the guard becomes the guard's child, not init's. When the charge has
ended, or the guard is told to end (SIGTERM, which the kernel also sends when the guard's own parent dies), all that is
left below it is asked with SIGTERM, and killed a moment later. If the guard is killed, the kernel kills the charge, and
what that had started goes to the next subreaper above: the fork server's `Wards`, which ends it.

    python -m gadask.guard COMMAND …    runs a command under a guard, with its exit status

Not reached: what is started by others on request (a container's daemon, `systemd-run`), and what runs as another user.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ASKED_S = 0.5
_KILLED_S = 2.0
_LOOK_EVERY_S = 0.01

_WAITED_FOR = (signal.SIGCHLD, signal.SIGTERM)


def stand_guard(parent: int) -> None:
    """Fork; return in the child, which is the charge. The calling process becomes its guard and ends after it.

    It ends too when `parent` does, the process that it was forked by. Both leave the session: what a terminal sends to
    its processes is for the master to see. The caller has one thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_with_parent(signal.SIGTERM, parent)
    be_subreaper()
    with contextlib.suppress(PermissionError):  # it leads a group or a session already
        os.setsid()
    guard = os.getpid()
    charge = os.fork()
    if charge:
        _guard(charge)
    end_with_parent(signal.SIGKILL, guard)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)


def _guard(charge: int) -> None:
    """Wait for the charge, or for the order to end; end all that is left and leave with the charge's status."""
    status = 128 + signal.SIGTERM
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- or the charge's sockets would not close with it
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
    while signal.sigwait(_WAITED_FOR) == signal.SIGCHLD:
        ended = reap()
        if charge in ended:
            status = ended[charge] if ended[charge] >= 0 else 128 - ended[charge]
            break
    end_descendants()
    os._exit(status)


def end_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send this process `number` when the thread of `parent` that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)


def be_subreaper() -> None:
    """Become the parent of every process below this one that loses its own."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def reap() -> dict[int, int]:
    """Collect the children of this process that have ended; returns the exit code of each, −n for signal n."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def end_descendants(asked_s: float = _ASKED_S) -> None:
    """End all that is below this process, which is a subreaper.

    They get SIGTERM, and after `asked_s` SIGKILL; what cannot be killed is given up after two seconds.
    """
    for number, patience_s in ((signal.SIGTERM, asked_s), (signal.SIGKILL, _KILLED_S)):
        deadline = time.monotonic() + patience_s
        told: set[int] = set()
        while alive := _alive():
            for pid in alive - told if number == signal.SIGTERM else alive:
                _signal(pid, number)
            told |= alive
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_EVERY_S)


def _alive() -> set[int]:
    """Return the descendants that have not ended."""
    reap()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # a subreaper without children has no descendants: nothing to look for
    return descendants(os.getpid())


def descendants(pid: int, spared: Collection[int] = ()) -> set[int]:
    """Return the living processes below `pid`, without `spared` of its children and what is below those."""
    below: dict[int, list[tuple[int, str]]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):  # it has ended in the meantime
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            below.setdefault(int(parent), []).append((int(stat.parent.name), state))
    found: set[int] = set()
    todo = [child for child in below.get(pid, []) if child[0] not in spared]
    while todo:
        child, state = todo.pop()
        if state not in "ZX":
            found.add(child)
        todo.extend(below.get(child, []))
    return found


class Wards:
    """A subreaper's own children: it knows when one has ended, and ends strangers, which a killed guard has left."""

    def __init__(self) -> None:
        """Take over SIGCHLD; `fileno` becomes readable when a child has ended."""
        be_subreaper()
        self._known: set[int] = set()
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._reader

    def fork(self) -> int:
        """Fork a ward; returns its number, 0 in the ward."""
        pid = os.fork()
        if pid:
            self._known.add(pid)
        else:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self._reader)
            os.close(self._writer)
        return pid

    def look(self) -> None:
        """Collect wards that have ended; kill what else became a child of this process, and all below it."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        self._known -= reap().keys()
        # What those leave behind comes here too, and before the signal of their end.
        for pid in descendants(os.getpid(), spared=self._known):
            _signal(pid, signal.SIGKILL)

    def kill(self, pid: int) -> None:
        """Kill one of the wards, if it has not ended."""
        if pid in self._known:
            _signal(pid, signal.SIGKILL)

    def end(self, patience_s: float) -> None:
        """Wait for the wards to end by themselves; after `patience_s` end them and everything below them."""
        self._wait(patience_s)
        for pid in self._known:
            _signal(pid, signal.SIGTERM)  # a guard ends what is below it
        self._wait(_ASKED_S + _KILLED_S)
        end_descendants(asked_s=0)

    def _wait(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        self.look()
        while self._known and (left_s := deadline - time.monotonic()) > 0:
            select.select([self], [], [], left_s)
            self.look()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or is another user's
        os.kill(pid, number)


def main() -> None:
    """Run the command of this command line under a guard."""
    stand_guard(os.getppid())
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        print(f"error: {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        os._exit(127)


if __name__ == "__main__":
    main()
