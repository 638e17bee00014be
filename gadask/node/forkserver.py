"""The process from which a node's rollout processes are forked.

Importing torch takes seconds, forking takes milliseconds. The fork server imports once, stays single-threaded (so
that forking is safe), and forks a rollout process whenever the pool asks: at the start, and within milliseconds
after one was killed. The imported pages are shared by all of them.

Commands are tuples from the pool alone (`packets.py`):

- `("fill", NoiseConfig, n_threads)` with one end of a socket pair: a child fills the noise table, answers its digest;
- `("preload",)`: import what rollout processes need;
- `("spawn", index, cpu, NoiseConfig, digest)` with one end of a socket pair: a rollout process serves it.

No process outlives the pool. When its socket closes, on purpose or because the worker was killed, the server stops what
is played, gives environments `CLOSE_S` to close, and ends what is left. Every rollout process is below a guard, see
`guard.py`, which ends what its environments started, however it ended; if the server is killed, the guards do so.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Any

import numpy as np

from gadask.config import NoiseConfig
from gadask.errors import GadaskError, NodeError
from gadask.guard import Wards, end_with_parent, stand_guard
from gadask.imports import own_command
from gadask.node.jobs import STOP_ALL, WORDS_PER_PROCESS
from gadask.node.packets import packet_socketpair, receive, send
from gadask.numerics import numeric_environment
from gadask.record.provenance import code
from gadask.terminal import outlive_terminal

CLOSE_S = 3.0
"""Environments have this long to close when their process is to end."""

_END_S = 10.0


class ForkServer:
    """The pool's handle on its fork server; owns the memory that all rollout processes share.

    The noise table and the words are memfds: they have no name that could be left behind in `/dev/shm`. The calling
    process does not map the table, so its pages do not count as a Dask worker's memory.
    """

    def __init__(self, noise: NoiseConfig, n_processes: int, n_threads: int) -> None:
        """Start the server and have a child fill the noise table with `n_threads` threads while the server imports."""
        self._noise = noise
        self.noise_fd = os.memfd_create("gadask-noise", os.MFD_CLOEXEC)
        self.words_fd = os.memfd_create("gadask-words", os.MFD_CLOEXEC)
        os.ftruncate(self.words_fd, 8 * WORDS_PER_PROCESS * n_processes)
        self._start()
        try:
            ours, theirs = packet_socketpair()
            with ours:
                with theirs:
                    self._command("fill", noise, n_threads, channel=theirs)
                self._command("preload")
                answer, _ = receive(ours)
            if answer is None:
                answer = NodeError("the process that fills the noise table was killed")
            if not isinstance(answer, str):
                raise NodeError(f"the noise table could not be made: {answer}")
            self.digest = answer
        except BaseException:
            self.close()
            raise

    def spawn(self, index: int, cpu: int | None, channel: socket.socket) -> None:
        """Fork a rollout process, pinned to `cpu`, that serves `channel`; if the server was killed, start a new one."""
        try:
            self._command("spawn", index, cpu, self._noise, self.digest, channel=channel)
        except (BrokenPipeError, ConnectionResetError):
            self._end()
            self._start()
            self._command("preload")
            self._command("spawn", index, cpu, self._noise, self.digest, channel=channel)

    def close(self) -> None:
        """End the server and every rollout process, after their environments closed; free the shared memory."""
        self._end()
        os.close(self.noise_fd)
        os.close(self.words_fd)

    def _start(self) -> None:
        self._control, theirs = packet_socketpair()
        fds = (theirs.fileno(), self.noise_fd, self.words_fd)
        with theirs:
            self._process = subprocess.Popen(
                own_command("gadask.node.forkserver", *map(str, fds), code()),
                env=numeric_environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
            )

    def _command(self, *command: object, channel: socket.socket | None = None) -> None:
        send(self._control, command, *([] if channel is None else [channel.fileno()]))

    def _end(self) -> None:
        self._control.close()
        try:
            self._process.wait(CLOSE_S + _END_S)
        except subprocess.TimeoutExpired:  # it stands still; its guards end when it is killed
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Serve commands from the socket whose descriptor is the first argument until it closes."""
    control_fd, noise_fd, words_fd = map(int, sys.argv[1:4])
    expected_code = sys.argv[4]
    outlive_terminal()  # an environment that prints is not to fail with its reader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; ending is the master's decision
    wards, server, filler = Wards(), os.getpid(), 0
    with socket.socket(fileno=control_fd) as control:
        while True:
            readable = select.select([control.fileno(), wards.fileno()], [], [])[0]
            if wards.fileno() in readable:
                wards.look()
            if control.fileno() not in readable:
                continue
            message, fds = receive(control)
            if message is None:
                break
            command, *arguments = message
            if command == "preload":
                _preload()
                continue
            pid = wards.fork()
            if pid == 0:
                control.close()
                if command == "fill":
                    end_with_parent(signal.SIGKILL, server)
                else:
                    stand_guard(server)
                with socket.socket(fileno=fds[0]) as channel:
                    _run_child(channel, expected_code, command, arguments, noise_fd, words_fd)
            if command == "fill":
                filler = pid
            for fd in fds:
                os.close(fd)
    wards.kill(filler)
    np.frombuffer(mmap.mmap(words_fd, 0), np.int64).reshape(-1, WORDS_PER_PROCESS)[:, 0] = STOP_ALL
    wards.end(CLOSE_S)
    os._exit(0)  # torch takes seconds to leave in order


def _preload() -> None:
    """Import what every rollout process needs; no code of a user's runs here."""
    import gadask.node.player  # noqa: F401

    with contextlib.suppress(ImportError):
        import ale_py  # noqa: F401
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        raise RuntimeError("importing started a thread; forking rollout processes would not be safe")


def _run_child(
    channel: socket.socket, expected_code: str, command: str, arguments: list[Any], noise_fd: int, words_fd: int
) -> None:
    """Do a child's work and leave without running the server's exit handlers."""
    status = 1
    try:
        if code() != expected_code:
            raise NodeError(
                f"gadask was changed under a running node: it is {code()} now, and was {expected_code} when the node"
                " started; start the node again"
            )
        if command == "fill":
            from gadask.genomes.noise import generate_into

            config, n_threads = arguments
            send(channel, generate_into(noise_fd, config, n_threads))
        else:
            from gadask.node.player import serve

            index, cpu, config, digest = arguments
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            serve(channel, index, config, digest, noise_fd, words_fd)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the pool went away
    except Exception as error:
        text = str(error) if isinstance(error, GadaskError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            send(channel, NodeError(text))  # not the error itself, which another process may be unable to read
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
