"""A real Slurm on loopback: munge, a controller, and nodes that claim 32 cores each on whatever machine this is.

Daemons run in the foreground as children, on free ports and with every file in one folder, so that several of them can
stand side by side and none touches the machine's own configuration. Must run as root.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from tests.conftest import kill_all, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")
CORES = 32
MEMORY_MB = 192_000
NODES = ("n1", "n2")

_CONF = """
ClusterName=gadask
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until what its first start was signed with has expired, by default for two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=6
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SlurmdParameters=config_overrides
ReturnToService=2
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=skylake Nodes=ALL Default=YES MaxTime=12:00:00 State=UP
PartitionName=closed Nodes=ALL MaxTime=12:00:00 State=UP AllowAccounts=SOMEBODY-ELSE
"""
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs={cores} Boards=1 SocketsPerBoard=2"
    " CoresPerSocket={half} ThreadsPerCore=1 RealMemory={memory_mb}"
)


@dataclass(frozen=True)
class SlurmJob:
    """A job as `squeue` tells of it."""

    id: int
    name: str
    state: str
    """`PENDING`, `RUNNING`, `COMPLETING`, `COMPLETED`, `CANCELLED`, `FAILED`, `TIMEOUT`, …"""
    reason: str
    node: str


@dataclass(frozen=True)
class LocalSlurm:
    """A Slurm that runs."""

    folder: Path
    after: int = 0
    """Jobs up to this number are not told of."""
    path: str = field(default_factory=lambda: _path())
    """Where the real commands are, whatever a test puts in front of them later."""
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """By name, such as `slurmctld`."""

    @property
    def conf(self) -> Path:
        """The file that `SLURM_CONF` must name."""
        return self.folder / "slurm.conf"

    def call(self, *command: object) -> str:
        """Run a Slurm command; returns what it prints, raises `CalledProcessError`."""
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "PATH": self.path, "SLURM_CONF": str(self.conf)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def jobs(self, *, ended: bool = False) -> list[SlurmJob]:
        """Return the jobs in the queue, oldest first; with `ended` those of the last minutes too."""
        states = "all" if ended else "pending,running,suspended,configuring,completing"
        lines = self.call("squeue", "--noheader", f"--states={states}", "--format=%A|%j|%T|%r|%N").splitlines()
        jobs = [SlurmJob(int(job), *rest) for job, *rest in (line.split("|") for line in lines)]
        return sorted((job for job in jobs if job.id > self.after), key=lambda job: job.id)

    def without_past(self) -> LocalSlurm:
        """Return the same Slurm without the jobs that it knows of."""
        return replace(self, after=max((job.id for job in self.jobs(ended=True)), default=self.after))

    def in_state(self, *states: str) -> list[SlurmJob]:
        """Return the jobs in one of these states, oldest first."""
        return [job for job in self.jobs(ended=True) if job.state in states]

    def wait_for(self, n_jobs: int, *states: str, deadline_s: float = 30) -> list[SlurmJob]:
        """Return as soon as exactly `n_jobs` jobs are in one of these states; fail after `deadline_s`."""
        end = time.monotonic() + deadline_s
        while len(found := self.in_state(*states)) != n_jobs:
            if time.monotonic() > end:
                pytest.fail(f"not within {deadline_s} s: {n_jobs} jobs {states}; there are {self.jobs(ended=True)}")
            time.sleep(0.1)
        return found

    def wait_for_empty_queue(self, deadline_s: float = 30) -> None:
        """Return as soon as nothing waits, runs or completes."""
        states = "PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING"
        self.wait_for(0, *states, deadline_s=deadline_s)

    def processes(self) -> list[psutil.Process]:
        """Return the processes of all jobs."""
        return [process for process in psutil.process_iter() if "SLURM_JOB_ID" in _environment(process, self.folder)]

    def kill_controller(self) -> None:
        """Kill slurmctld, which cannot save anything."""
        self.daemons["slurmctld"].kill()
        self.daemons["slurmctld"].wait()

    def start_controller(self) -> None:
        """Start slurmctld, again with what it saved before."""
        self.daemons["slurmctld"] = _start(self.folder, "slurmctld", "-D", "-f", str(self.conf))

    def cancel_all(self) -> None:
        """Cancel every job, kill what does not go, and wait until all are gone."""
        for job in self.jobs():
            with contextlib.suppress(subprocess.CalledProcessError):  # it ended by itself
                self.call("scancel", job.id)
        with contextlib.suppress(subprocess.CalledProcessError):
            self.call("scancel", "--full", "--signal=KILL", "--user=root")
        self.wait_for_empty_queue()


def missing_programs() -> list[str]:
    """Return what a local Slurm needs and this machine lacks."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    return missing if os.geteuid() == 0 else [*missing, "the rights of root"]


@contextlib.contextmanager
def local_slurm(addresses: Sequence[str] = ("127.0.0.1",) * len(NODES)) -> Iterator[LocalSlurm]:
    """Start a Slurm whose nodes listen at these addresses of this machine; ends its jobs and all its daemons."""
    folder = Path(tempfile.mkdtemp(prefix="gadask-slurm-"))  # short: a Unix socket's path has at most 107 characters
    slurm = LocalSlurm(folder)
    _write_files(slurm, addresses)
    daemons = slurm.daemons
    try:
        munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "key-file", "pid-file")]
        munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--num-threads=2"]
        daemons["munged"] = _start(folder, "munged", "--foreground", "--force", *munge)
        wait_until((folder / "munge.socket").exists, 20, "munged's socket")
        slurm.start_controller()
        for name, _ in zip(NODES, addresses, strict=True):
            daemons[name] = _start(folder, "slurmd", "-D", "-N", name, "-f", str(slurm.conf))
        wait_until(lambda: _idle_nodes(slurm) == len(NODES), 60, f"idle nodes; the logs are in {folder}")
        try:
            yield slurm
        finally:
            slurm.cancel_all()
    finally:
        for daemon in reversed(daemons.values()):
            daemon.terminate()
        for daemon in daemons.values():
            _end(daemon)
        deadline = time.monotonic() + 5  # what the daemons ended is still ending
        while (left := _left(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        kill_all(left)
        shutil.rmtree(folder)
        assert not left, f"left behind: {left}"


def _write_files(slurm: LocalSlurm, addresses: Sequence[str]) -> None:
    folder = slurm.folder
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    (folder / "state").mkdir()
    host = socket.gethostname().split(".")[0]
    ports = free_ports(1 + len(NODES))
    nodes = [
        _NODE.format(
            name=name, host=host, address=address, port=port, cores=CORES, half=CORES // 2, memory_mb=MEMORY_MB
        )
        for name, address, port in zip(NODES, addresses, ports[1:], strict=True)
    ]
    text = _CONF.format(host=host, controller_port=ports[0], folder=folder, nodes="\n".join(nodes))
    slurm.conf.write_text(text)


def free_ports(n: int) -> list[int]:
    """Return ports below the range from which the system lends, so that nothing takes them in between."""
    free: list[int] = []
    while len(free) < n:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            free.append(port)
    return free


def dying_with_parent() -> Callable[[], None]:
    """Return what a daemon is to do first, so that it ends with the process that started it."""
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(1, signal.SIGTERM)

    return die_with_parent


def _start(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(
            [program, *arguments],
            env={**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=dying_with_parent(),
            start_new_session=True,
        )


def _end(daemon: subprocess.Popen[bytes]) -> None:
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _idle_nodes(slurm: LocalSlurm) -> int:
    try:
        return slurm.call("sinfo", "--noheader", "--Node", "--partition=skylake", "--format=%t").split().count("idle")
    except subprocess.CalledProcessError:  # no answer yet
        return 0


def _left(folder: Path) -> list[psutil.Process]:
    """Return the processes that use the Slurm in `folder`.

    A zombie, which nobody may ever reap, is none, nor is a child of this process, such as multiprocessing's helper.
    """
    dead = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return [
        process
        for process in psutil.process_iter(["status", "ppid"])
        if process.info["status"] not in dead and process.info["ppid"] != os.getpid() and _environment(process, folder)
    ]


def _environment(process: psutil.Process, folder: Path) -> dict[str, str]:
    """Return the environment of a process that uses the Slurm in `folder`, nothing of any other."""
    if process.pid == os.getpid():
        return {}
    try:
        environment: dict[str, str] = process.environ()
    except psutil.Error:
        return {}
    return environment if environment.get("SLURM_CONF") == str(folder / "slurm.conf") else {}


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
