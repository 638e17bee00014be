"""How fast processes read memory that no cache holds, all at once.

A process says that it is ready, begins when it is told, and prints the bytes that it read a second.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from gadask.imports import own_command

_BYTES = 64 * 2**20
"""What a process reads over and over: more than its share of any cache."""


def read_bandwidth(n_processes: int, seconds: float) -> float:
    """Return the bytes that each of `n_processes` reads a second while all of them do, in the mean."""
    command = own_command("gadask.bench.bandwidth", str(seconds))
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
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def main() -> None:
    """Be a process that reads; `sys.argv` has the seconds."""
    seconds = float(sys.argv[1])
    memory = np.ones(_BYTES // 4, np.float32)
    print("ready", flush=True)
    sys.stdin.readline()
    began_s, n_times = time.perf_counter(), 0
    while (passed_s := time.perf_counter() - began_s) < seconds:
        memory.max()
        n_times += 1
    print(n_times * _BYTES / passed_s)
