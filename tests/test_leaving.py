"""The end of a command: the second signal ends it at once, a thread that never ends does not keep it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.conftest import wait_until

STOPS = """
import asyncio, multiprocessing, sys, time
from gadask.console.leaving import INTERRUPTED, leave, stop_on_signals

async def main():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    child.start()
    try:
        async with stop_on_signals("a cluster may be left"):
            print(child.pid, flush=True)
            try:
                await asyncio.sleep(1000)
            finally:
                print("stopping", flush=True)
                {closes}
    except asyncio.CancelledError:
        child.kill()
        return INTERRUPTED

leave(asyncio.run(main()))
"""

ELSEWHERE = """
import asyncio, signal, threading
from gadask.console.leaving import INTERRUPTED, leave, stop_on_signals

def interrupt(waits):
    # The loop is in its wait, or on its way into it, and this thread is the one that hears of the signal.
    waits.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

async def main():
    waits = threading.Event()
    try:
        async with stop_on_signals("a cluster may be left"):
            threading.Thread(target=interrupt, args=(waits,), daemon=True).start()
            asyncio.get_running_loop().call_soon(waits.set)
            await asyncio.sleep(1000)
    except asyncio.CancelledError:
        return INTERRUPTED

leave(asyncio.run(main()))
"""

THREADS = """
import atexit, threading
from gadask.console.leaving import leave
atexit.register(lambda: print("exit handler", flush=True))
threading.Thread(target=threading.Event().wait, name="for ever").start()
print("recorded")
leave(3)
"""


@contextmanager
def stopping(closes: str) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """Start a command that closes as `closes` says when it is stopped; yields it, with its child."""
    command = [sys.executable, "-c", STOPS.format(closes=closes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        try:
            yield process, child
        finally:
            process.kill()
            if child.is_running():
                child.kill()


def stop(process: subprocess.Popen[str], number: signal.Signals) -> None:
    assert process.stdout is not None
    process.send_signal(number)
    assert process.stdout.readline() == "stopping\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_in_order(number: signal.Signals) -> None:
    with stopping("await asyncio.sleep(0)") as (process, _):
        stop(process, number)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("closes", ["await asyncio.sleep(1000)", "time.sleep(1000)"], ids=["waits", "blocks"])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(closes: str, second: signal.Signals) -> None:
    with stopping(closes) as (process, child):
        stop(process, signal.SIGINT)

        def ended() -> bool:  # one that comes too soon after the first counts as the same
            process.send_signal(second)
            return process.poll() is not None

        wait_until(ended, 20, "ended")
        assert process.returncode == 130
        assert process.stderr is not None
        assert process.stderr.read() == "\nended at once: a cluster may be left\n"
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "its child is gone")


def test_a_terminal_that_goes_is_no_second_wish() -> None:
    with stopping("time.sleep(1)") as (process, _):
        stop(process, signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (130, "")


def test_a_signal_that_another_thread_hears_of_wakes_the_command() -> None:
    assert subprocess.run([sys.executable, "-c", ELSEWHERE], timeout=60).returncode == 130


def buffered() -> dict[str, str]:
    """Return an environment in which output to a pipe waits in a buffer, as it does for most users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_a_thread_that_never_ends_does_not_keep_the_command() -> None:
    ended = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, timeout=30, env=buffered())
    assert (ended.returncode, ended.stdout) == (3, "recorded\nexit handler\n")
    assert ended.stderr == "warning: left behind, since they do not end: for ever\n"


def test_signals_do_not_change_the_status_of_a_command_that_leaves() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", THREADS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=buffered()
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)  # written by the exit handler
        while process.poll() is None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                process.send_signal(number)
        assert process.returncode == 3
