"""The kinds of cluster by name: what each needs, what it may leave behind, how it is opened.

A batch system is a file beside this one with a `Queue` (`queue.py`), and a line `queue_kind(…)` in `KINDS`. Any other
kind is a file that gives a `Cluster` (`base.py`), and an entry there. Nothing imports Dask before a cluster is opened,
so bad input is answered at once.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gadask.clusters.lsf import Lsf
from gadask.clusters.machine import Machine, check_machine
from gadask.clusters.pbs import Pbs
from gadask.clusters.queue import Queue
from gadask.clusters.resubmission import allocation_script, sbatch_command
from gadask.clusters.sge import GridEngine
from gadask.clusters.slurm import Slurm
from gadask.clusters.wanted import Wanted, check_together, nodes_of_all
from gadask.errors import ConfigError
from gadask.record import CLUSTER_FOLDER

if TYPE_CHECKING:
    from gadask.clusters.base import Cluster


@dataclass(frozen=True)
class Order:
    """What a user asks of a kind of cluster."""

    cluster: str
    """A kind's name, or the address of a Dask scheduler."""
    wanted: tuple[Wanted, ...]
    """Several only for kinds with a queue."""
    run_dir: Path | None
    """None where there is no run yet; not for kinds that write files."""
    start_timeout_s: float

    @property
    def machine(self) -> Machine:
        """The machine, or the first of several."""
        return self.wanted[0].machine

    @property
    def n_nodes(self) -> int:
        """Nodes of all machines."""
        return nodes_of_all(self.wanted)

    @property
    def home(self) -> Path | None:
        """The folder of the run's record of jobs."""
        return None if self.run_dir is None else home_folder(self.run_dir)

    @property
    def folder(self) -> Path:
        """The folder for keys and job logs, which all nodes see."""
        assert self.run_dir is not None
        return job_folder(self.machine, self.run_dir)


@dataclass(frozen=True)
class Kind:
    """A kind of cluster; texts may name `{nodes}`, `{n_nodes}`, `{processes}`, `{machine}` and `{cluster}`."""

    name: str
    about: str
    """What the help of `--cluster` says of it."""
    where: str
    """Where nodes come from, in words."""
    left: str
    """What may be left of the nodes when a command is ended at once."""
    open: Callable[[Order], AbstractAsyncContextManager[Cluster]]
    start_timeout_s: float = 120.0
    """How long a first node is waited for, unless the user says."""
    speaks_first_s: float = 0.0
    """How much longer the master waits than the cluster, which knows why no node comes."""
    takes_nodes: bool = False
    """Whether the user says how many nodes it has."""
    takes_machine: bool = False
    """Whether a machine file says what its nodes are, and files are written for them."""
    needs_machine: bool = False
    queue: Queue | None = None
    """The queue that its nodes are jobs of; None for kinds that submit no paid jobs."""
    n_processes: Callable[[int], int] | None = None
    """Rollout processes per node, as a function of the number of nodes; None leaves it to the node."""
    check: Callable[[], None] = lambda: None
    """Raises `ConfigError` where such a cluster cannot be opened."""
    is_requeued: Callable[[], bool] = lambda: False
    """Whether this command has been started before, by others than the user."""
    command: Callable[[str, Sequence[str]], str] | None = None
    """How the user repeats a command, given its name and its arguments, where that is not the same command line."""

    def check_machine(self, machine: Machine) -> None:
        """Raise `ConfigError` at the first value of a machine that no node of this kind can have."""
        check_machine(machine)
        if self.queue is not None:
            self.queue.check_machine(machine)

    def check_wanted(self, wanted: Sequence[Wanted]) -> None:
        """Raise `ConfigError` unless one cluster of this kind can have nodes of all these machines.

        The error begins with what was expected.
        """
        if len(wanted) > 1 and self.queue is None:
            several = names(lambda kind: kind.queue is not None)
            raise ConfigError(f"expected one with {self.name}, and several with {several} alone, found {len(wanted)}")
        check_together(wanted)

    def job_script(self, machine: Machine, run_dir: Path) -> str:
        """Return the script of a node's job, for kinds with a queue."""
        from gadask.clusters.jobqueue import job_script

        assert self.queue is not None
        return job_script(self.queue, machine, job_folder(machine, run_dir))


def home_folder(run_dir: Path) -> Path:
    """Return the folder of a run's record of jobs."""
    return run_dir.absolute() / CLUSTER_FOLDER


def job_folder(machine: Machine, run_dir: Path) -> Path:
    """Return the folder for keys and job logs, which all nodes see: in the run directory, or where `shared` says.

    It is the same whenever a run is resumed.
    """
    run_dir = run_dir.absolute()
    if machine.shared is None:
        return home_folder(run_dir)
    digest = hashlib.sha256(bytes(run_dir)).hexdigest()
    return Path(machine.shared).expanduser().absolute() / f"gadask-{run_dir.name}-{digest[:8]}"


def _open_local(order: Order) -> AbstractAsyncContextManager[Cluster]:
    from gadask.clusters.clearing import cleared
    from gadask.clusters.local import local_cluster

    return cleared(order.home, queues(), local_cluster(order.n_nodes))


def _local_processes(n_nodes: int) -> int:
    from gadask.clusters.local import local_processes

    return local_processes(n_nodes)


_UNTRIED = {True: "", False: " (untried)"}


def queue_kind(queue: Queue) -> Kind:
    """Return the kind of cluster whose nodes are jobs of a queue."""

    def opened(order: Order) -> AbstractAsyncContextManager[Cluster]:
        from gadask.clusters.jobcluster import job_cluster

        return job_cluster(
            queue,
            queues(),
            order.wanted,
            folder=order.folder,
            home=order.home,
            start_timeout_s=order.start_timeout_s,
        )

    cancel = queue.commands[-1]
    return Kind(
        name=queue.name,
        about=f"one job of {queue.title} a node, asked for from this login node{_UNTRIED[queue.is_tried]}",
        where="{nodes} of {machine}",
        left=f"jobs may be left in the queue; the next start with this directory cancels them, or {cancel}",
        open=opened,
        start_timeout_s=86_400.0,  # a queue may be long
        speaks_first_s=60.0,
        takes_nodes=True,
        takes_machine=True,
        needs_machine=True,
        queue=queue,
    )


def _open_allocation(order: Order) -> AbstractAsyncContextManager[Cluster]:
    from gadask.clusters.allocation import allocation_cluster
    from gadask.clusters.clearing import cleared

    return cleared(order.home, queues(), allocation_cluster(order.machine, folder=order.folder))


def _check_allocation() -> None:
    if "SLURM_JOB_ID" not in os.environ:
        raise ConfigError(
            "--cluster allocation: expected inside a Slurm job, found no SLURM_JOB_ID; submit it with sbatch"
            f" {allocation_script()}"
        )


def _open_existing(order: Order) -> AbstractAsyncContextManager[Cluster]:
    from gadask.clusters.clearing import cleared
    from gadask.clusters.existing import existing_cluster

    return cleared(order.home, queues(), existing_cluster(order.cluster))


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="local",
            about="on this machine",
            where="{n_nodes} × {processes}",
            left="rollout processes on this machine close their environments and end within seconds",
            open=_open_local,
            takes_nodes=True,
            n_processes=_local_processes,
        ),
        queue_kind(Slurm()),
        queue_kind(GridEngine()),
        queue_kind(Pbs()),
        queue_kind(Lsf()),
        Kind(
            name="allocation",
            about="the nodes of the Slurm job that this command runs in",
            where="the nodes of this allocation",
            left="job steps end with the allocation",
            open=_open_allocation,
            takes_machine=True,
            check=_check_allocation,
            is_requeued=lambda: os.environ.get("SLURM_RESTART_COUNT", "0") != "0",
            command=sbatch_command,
        ),
    )
}
"""By the name that `--cluster` is given."""

EXISTING = Kind(
    name="existing",
    about="an existing Dask scheduler",
    where="the nodes of {cluster}",
    left="the nodes of {cluster} play until they notice",
    open=_open_existing,
)


def kind_of(cluster: str) -> Kind:
    """Return the kind of a name or an address; raises `ConfigError` for anything else."""
    if cluster in KINDS:
        return KINDS[cluster]
    if re.fullmatch(r"(tls|tcp)://(\[[\da-fA-F:]+\]|[^\s:/]+):\d+", cluster):
        return EXISTING
    raise ConfigError(
        f"cluster: expected {', '.join(KINDS)}, or the address of a Dask scheduler such as tls://host:8786,"
        f" found {cluster!r}"
    )


def queues() -> dict[str, Queue]:
    """Return the queues of all kinds that have one, by name."""
    return {kind.queue.name: kind.queue for kind in KINDS.values() if kind.queue is not None}


def names(has: Callable[[Kind], bool]) -> str:
    """Return the names of some kinds in words, such as `local, slurm or sge`."""
    *others, last = [kind.name for kind in KINDS.values() if has(kind)]
    return f"{', '.join(others)} or {last}" if others else last


def open_cluster(
    cluster: str, wanted: Sequence[Wanted], run_dir: Path | None, start_timeout_s: float
) -> AbstractAsyncContextManager[Cluster]:
    """Return the context manager of a cluster: a kind's name in `KINDS`, or the address of a Dask scheduler.

    Of what is `wanted` the nodes count for kinds that take nodes, the machine for those that take one, which need a run
    directory. Several have passed `check_wanted`. Jobs and keys that an earlier start left there are cleared away
    first. Raises `ConfigError` for a name that is no kind's.
    """
    return kind_of(cluster).open(Order(cluster, tuple(wanted), run_dir, start_timeout_s))
