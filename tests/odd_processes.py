"""Environments that start processes, exit, print, or change what is not theirs: `tests.odd_processes:odd/Name-v0`."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium

from tests.odd_envs import Odd

MARK = "777600"
"""How the commands begin that `Careless` leaves behind."""


class SometimesExits(Odd):
    """Exits in some episodes, the first of a run among them."""

    def step(self, action: Any) -> Any:
        if self.t == 5 and self.np_random.random() < 0.3:
            sys.exit("licence server not reached")
        return super().step(action)


class Simulator(Odd):
    """Starts a process, and ends it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "98765"])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class Careless(Odd):
    """Starts processes in every way, and ends none."""

    def __init__(self) -> None:
        subprocess.Popen(["sleep", f"{MARK}1"], start_new_session=True)
        subprocess.run(f"sleep {MARK}2 & exec setsid -f sleep {MARK}3", shell=True, check=True)


class ForkedHelper(Odd):
    """Has a pool of one forked process."""

    def __init__(self) -> None:
        self.pool = multiprocessing.get_context("fork").Pool(1)

    def step(self, action: Any) -> Any:
        assert self.pool.apply(abs, (-3,)) == 3
        return super().step(action)


def _serve() -> None:
    time.sleep(98765)


class SpawnedHelper(Odd):
    """Has a spawned process."""

    def __init__(self) -> None:
        self.process = multiprocessing.get_context("spawn").Process(target=_serve, daemon=True)
        self.process.start()

    def close(self) -> None:
        self.process.terminate()
        self.process.join()


class Printer(Odd):
    """Prints a lot, also what could be taken for an answer."""

    def step(self, action: Any) -> Any:
        print('{"n_params": 3}\n' * 100, flush=True)
        os.write(1, b"raw\n")
        return super().step(action)


class ChangesFolder(Odd):
    """Leaves the current folder."""

    def __init__(self) -> None:
        os.chdir("/")


class ClosesBadly(Odd):
    """Raises when it is closed."""

    def close(self) -> None:
        raise RuntimeError("not open")


class ClosesSlowly(Odd):
    """Takes for ever to close."""

    def close(self) -> None:
        time.sleep(1000)


class Noted(Odd):
    """Notes in a file by which process it is made."""

    def __init__(self, notes: str) -> None:
        with Path(notes).open("a") as file:
            file.write(f"{os.getpid()}\n")


class HangsWithHelper(Odd):
    """Starts a process, says so in a file, and hangs."""

    def __init__(self, notes: str) -> None:
        subprocess.Popen(["sleep", f"{MARK}4"], start_new_session=True)
        Path(notes).write_text("made\n")
        time.sleep(1000)


class Plain(Odd):
    """Is not odd."""


ALL = (
    SometimesExits,
    Simulator,
    Careless,
    ForkedHelper,
    SpawnedHelper,
    Printer,
    ChangesFolder,
    ClosesBadly,
    ClosesSlowly,
)
"""Those that are played."""
for _class in (*ALL, Noted, HangsWithHelper, Plain):
    gymnasium.register(f"odd/{_class.__name__}-v0", _class)
