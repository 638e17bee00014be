"""Deadlines are of time in which the machine ran.

A run that stands still (SIGSTOP, `scontrol suspend`, a laptop that sleeps) goes on hours later; what it played has not
taken longer for that. Two ways to notice:

- *The watcher stood still*: it looks at least every `LOOK_S`, so a look that is very late means that everything was
  paused. `Deadlines` counts the pause for no episode, `RunningClock` for nobody who waits.
- *A rollout process stood still alone*, which `/proc` tells. That time does not count for its episode either. But
  others wait for it: if it still stands still when its deadline would have passed, it is given up, without blame.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

LOOK_S = 1.0
"""Time between two looks at most."""

_LATE_S = 2.0
"""A look that is late by less may be due to a busy machine."""

_Clock = Callable[[], float]
_Span = tuple[float, float]


class Verdict(Enum):
    """What is to be done with a process whose episode has not ended in time."""

    OVERDUE = "its episode takes too long"
    STOPPED = "it stands still; its episode is played again"


@dataclass(frozen=True)
class Playing:
    """A process that plays an episode; times in seconds of the monotonic clock."""

    pid: int
    began_s: float
    timeout_s: float


class Deadlines:
    """What a pool's supervisor knows of the time in which its machine and its processes ran."""

    def __init__(self, clock: _Clock = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._due_s = math.inf
        self._states_s = clock()  # when states of processes were looked at
        self._pauses: list[_Span] = []
        self._own_pauses: dict[int, list[_Span]] = {}

    def seconds_to_look(self, is_playing: bool) -> float | None:
        """Return after how long `look` is due; None while nothing is played."""
        if not is_playing:
            self._due_s = math.inf
            return None
        now_s = self._clock()
        if self._due_s == math.inf:
            self._due_s = now_s + LOOK_S
        return max(0.0, self._due_s - now_s)

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return self._clock() >= self._due_s

    def look(self, playing: list[Playing]) -> dict[int, Verdict]:
        """Return, by process number, who is not to play on."""
        now_s = self._clock()
        if now_s - self._due_s > _LATE_S:
            self._pauses.append((self._due_s, now_s))
            self._states_s = now_s  # all of them stood still, and that has been counted
        if now_s - self._states_s >= LOOK_S:
            for one in playing:
                if _is_stopped(one.pid):
                    self._own_pauses.setdefault(one.pid, []).append((self._states_s, now_s))
            self._states_s = now_s
        self._forget(playing)
        verdicts = {}
        wait_s = LOOK_S
        for one in playing:
            left_s = self._left_s(one, now_s, own=False)
            if left_s > 0:
                wait_s = min(wait_s, left_s)
            elif _is_stopped(one.pid):
                verdicts[one.pid] = Verdict.STOPPED
            elif self._left_s(one, now_s, own=True) <= 0:
                verdicts[one.pid] = Verdict.OVERDUE
        self._due_s = now_s + wait_s
        return verdicts

    def _left_s(self, one: Playing, now_s: float, *, own: bool) -> float:
        pauses = [*self._pauses, *(self._own_pauses.get(one.pid, ()) if own else ())]
        paused_s: float = sum(max(0.0, min(end, now_s) - max(begin, one.began_s)) for begin, end in pauses)
        return one.began_s + one.timeout_s + paused_s - now_s

    def _forget(self, playing: list[Playing]) -> None:
        """Drop the pauses that ended before the episodes began."""
        if self._pauses:
            first_s = min((one.began_s for one in playing), default=math.inf)
            self._pauses = [span for span in self._pauses if span[1] > first_s]
        if self._own_pauses:
            began_s = {one.pid: one.began_s for one in playing}
            kept = {
                pid: [span for span in spans if span[1] > began_s.get(pid, math.inf)]
                for pid, spans in self._own_pauses.items()
            }
            self._own_pauses = {pid: spans for pid, spans in kept.items() if spans}


class RunningClock:
    """Seconds in which its process ran, for code that reads it again and again while waiting.

    A gap of more than `longest_gap_s` between two readings counts as that: the process stood still.
    """

    def __init__(self, longest_gap_s: float, clock: _Clock | None = None) -> None:
        """`clock` returns seconds, by default those of the monotonic clock."""
        self._longest_gap_s = longest_gap_s
        self._clock = clock or time.monotonic
        self._read_s = self._clock()
        self._ran_s = 0.0

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        now_s = self._clock()
        self._ran_s += min(now_s - self._read_s, self._longest_gap_s)
        self._read_s = now_s
        return self._ran_s


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal or a debugger."""
    with contextlib.suppress(OSError, IndexError):
        return (Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]) in (b"T", b"t")
    return False
