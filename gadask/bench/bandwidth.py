"""How fast processes read memory that no cache holds, all at once.

A process says that it is ready, begins when it is told, and prints the bytes that it read a second.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from gadask.errors import NodeError
from gadask.imports import own_command

_LEAST_BYTES, _ALL_BYTES = 64 * 2**20, 2**30
"""What a process reads over and over at least, and what all of them do: more than any cache holds."""


def read_bandwidth(n_processes: int, seconds: float) -> float:
    """Return the bytes that each of `n_processes` reads a second while all of them do, in the mean.

    Raises `NodeError` where one of them fails, such as for want of memory.
    """
    n_bytes = max(_LEAST_BYTES, _ALL_BYTES // n_processes)
    command = own_command("gadask.bench.bandwidth", str(seconds), str(n_bytes))
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(n_processes)
    ]
    try:
        streams = [(reader.stdin, reader.stdout) for reader in readers]
        for _, output in streams:
            assert output is not None
            output.readline()
        for given, _ in streams:
            assert given is not None
            given.write("go\n")
            given.flush()
        return float(np.mean([float(reader.communicate()[0]) for reader in readers]))
    except (OSError, ValueError) as error:
        raise NodeError(f"a process that reads memory failed, one of {n_processes}: {error}") from None
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def main() -> None:
    """Be a process that reads; `sys.argv` has the seconds and the size of what is read, in bytes."""
    seconds, n_bytes = float(sys.argv[1]), int(sys.argv[2])
    memory = np.ones(n_bytes // 4, np.float32)
    print("ready", flush=True)
    sys.stdin.readline()
    began_s, n_times = time.perf_counter(), 0
    while (passed_s := time.perf_counter() - began_s) < seconds:
        memory.max()
        n_times += 1
    print(n_times * n_bytes / passed_s)
