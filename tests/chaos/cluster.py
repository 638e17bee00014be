"""A Dask scheduler and its nodes: processes of their own, TLS between them, a proxy on every way to the scheduler."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from distributed.security import Security

from gadask.clusters.base import dask_environment
from tests.chaos import processes
from tests.chaos.promises import until
from tests.chaos.proxy import Proxy

ROOT = Path(__file__).parents[2]


def environment(folder: Path, mark: str) -> dict[str, str]:
    """Return the environment of all processes: mark, TLS files, gadask's settings of Dask, folders."""
    security, pem = Security.temporary(), folder / "tls.pem"
    pem.touch(mode=0o600)
    pem.write_text(security.tls_ca_file + security.tls_client_key)
    for name in ("stacks", "tmp"):
        (folder / name).mkdir()
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    keys = ["CA_FILE", *(f"{role}__{part}" for role in roles for part in ("CERT", "KEY"))]
    return {
        **os.environ,
        **dask_environment(),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "chaos" / "startup")]),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder / "tmp"),
        "DASK_LOGGING__DISTRIBUTED": "critical",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        "DASK_TEMPORARY_DIRECTORY": str(folder / "dask"),
        processes.MARK: mark,
        processes.STACKS: str(folder / "stacks"),
        **{f"DASK_DISTRIBUTED__COMM__TLS__{key}": str(pem) for key in keys},
    }


class Started:
    """A command that this one started; its output goes to files."""

    def __init__(self, role: str, words: list[object], environ: Mapping[str, str], folder: Path, name: str) -> None:
        """Start it with a role."""
        self.role = role
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("wb") as stdout, self.err.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, words)],
                env={**environ, processes.ROLE: role},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def returncode(self) -> int | None:
        """Exit status; negative after a signal, None while it runs."""
        return self.process.poll()


class Node:
    """One machine of the cluster: a `dask worker` under its nanny, started again whenever it was lost."""

    def __init__(self, number: int, environ: Mapping[str, str], folder: Path, proxy: Proxy) -> None:
        """Describe node `number`, which reaches the scheduler through `proxy`."""
        self.role = f"node-{number}"
        self.proxy = proxy
        self.away = False
        """Whether an injector took it away and brings it back."""
        self._environ, self._folder = environ, folder
        self._n_starts = 0
        self._port = 0
        self._command: Started | None = None

    async def open(self) -> None:
        """Open the way to the scheduler and start."""
        self._port = await self.proxy.start()
        self.start()

    def start(self) -> None:
        """Start the worker anew."""
        where = f"tls://127.0.0.1:{self._port}"
        scratch = self._folder / "dask" / f"{self.role}-{self._n_starts}"
        words: list[object] = ["-m", "dask", "worker", where, "--nthreads", "2", "--memory-limit", "0"]
        words += ["--no-dashboard", "--death-timeout", "60", "--local-directory", scratch]
        self._command = Started(self.role, words, self._environ, self._folder, f"{self.role}-{self._n_starts}")
        self._n_starts += 1

    def keep(self) -> None:
        """Start it again if it ended by itself, as a batch system would."""
        if not self.away and self._command is not None and self._command.returncode is not None:
            self.start()

    async def end(self) -> None:
        """Ask the worker to end; it has a minute."""
        if self._command is not None and self._command.returncode is None:
            command = self._command
            command.process.terminate()
            await until(lambda: command.returncode is not None, 60, f"{self.role} ends when it is asked to")


class ChaosCluster:
    """Scheduler, nodes and the ways between."""

    def __init__(self, folder: Path, environ: Mapping[str, str], n_nodes: int) -> None:
        """Describe a cluster that keeps its files in `folder`."""
        self._folder, self._environ, self._n_nodes = folder, environ, n_nodes
        self.nodes: list[Node] = []
        self.address = ""
        """Of the scheduler itself, past all proxies."""
        self._scheduler: Started | None = None

    @property
    def scheduler_port(self) -> int:
        """Where the scheduler listens."""
        return int(self.address.rpartition(":")[2])

    async def open(self) -> None:
        """Start everything."""
        file = self._folder / "scheduler.json"
        words: list[object] = ["-m", "dask", "scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0"]
        words += ["--scheduler-file", file, "--no-dashboard"]
        self._scheduler = Started("scheduler", words, self._environ, self._folder, "scheduler")
        await until(lambda: file.exists() and file.read_text().endswith("\n}"), 120, "the scheduler's file")
        self.address = json.loads(file.read_text())["address"]
        for number in range(self._n_nodes):
            node = Node(number, self._environ, self._folder, Proxy(self.scheduler_port))
            await node.open()
            self.nodes.append(node)

    async def keep_nodes(self) -> None:
        """Start nodes that ended by themselves again, for ever."""
        while True:
            for node in self.nodes:
                node.keep()
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Ask nodes and scheduler to end."""
        for node in self.nodes:
            await node.end()
            await node.proxy.close()
        if self._scheduler is not None:
            scheduler = self._scheduler
            scheduler.process.terminate()
            await until(lambda: scheduler.returncode is not None, 60, "the scheduler ends when it is asked to")
