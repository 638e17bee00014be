"""The flags that say where nodes come from: what they mean, whether they fit, what the nodes may cost."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gadask.clusters.kinds import EXISTING, KINDS, Kind, kind_of, names, open_cluster
from gadask.clusters.machine import Machine, check_complete, load_machine, machine_names
from gadask.console.help_page import Help
from gadask.console.invocation import invocation
from gadask.console.notice import saying
from gadask.errors import ConfigError, UsageError
from gadask.units import many
from gadask.words import without

if TYPE_CHECKING:
    from gadask.clusters.base import Cluster

_KINDS_IN_WORDS = "; ".join(f"`{kind.name}`: {kind.about}" for kind in KINDS.values())
_USUAL_S = EXISTING.start_timeout_s
_TIMEOUTS = "".join(
    f", {kind.start_timeout_s:,g} with {kind.name}" for kind in KINDS.values() if kind.start_timeout_s != _USUAL_S
)


@dataclass(frozen=True)
class NodeFlags:
    """Where nodes come from."""

    cluster: Annotated[
        str, tyro.conf.arg(help=f"{_KINDS_IN_WORDS}; `tls://HOST:PORT` or `tcp://HOST:PORT`: {EXISTING.about}.")
    ] = "local"
    machine: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"With {names(lambda kind: kind.takes_machine)}: a machine file, or the name of one in"
            " ~/.config/gadask or one of gadask's own sites. Its fields are flags too, and flags win."
        ),
    ] = None
    fields: Annotated[Machine, tyro.conf.arg(name="machine")] = field(default_factory=Machine)
    nodes: Annotated[
        int | None,
        tyro.conf.arg(
            help=f"Nodes with {names(lambda kind: kind.takes_nodes)}, 1 by default; elsewhere all there are."
        ),
    ] = None
    rollouts_per_node: int | None = None
    """Rollout processes of each node; by default one less than its cores, or all cores of this machine with `local`."""
    start_timeout: Annotated[
        float | None,
        tyro.conf.arg(
            help=f"Give up if no node comes, or comes back, for this many seconds; by default {_USUAL_S:g}{_TIMEOUTS}."
        ),
    ] = None
    dry_run: bool = False
    """Print the job script and the largest possible cost, and start nothing."""
    yes: bool = False
    """Do not ask before a run that may cost more than `--machine.confirm-core-hours`."""

    @property
    def kind(self) -> Kind:
        """The kind of cluster; raises `ConfigError` if there is none of that name."""
        return kind_of(self.cluster)

    @property
    def n_nodes(self) -> int:
        """Nodes that are asked for."""
        return self.nodes or 1

    @property
    def where(self) -> str:
        """Where nodes come from, in words."""
        return self._in_words(self.kind.where)

    @property
    def left(self) -> str:
        """What may be left of the nodes when the command is ended at once, in words."""
        return self._in_words(self.kind.left)

    @property
    def start_timeout_s(self) -> float:
        """The start timeout, by default that of the kind of cluster."""
        return self.start_timeout or self.kind.start_timeout_s

    @property
    def node_timeout_s(self) -> float:
        """How long the master waits for a node; the cluster, which knows why none comes, is to speak first."""
        return self.start_timeout_s + self.kind.speaks_first_s

    @property
    def n_processes(self) -> int | None:
        """Rollout processes of a node; None leaves it to the node."""
        given = self.rollouts_per_node or self.fields.rollouts_per_node
        if given is None and self.kind.n_processes is not None:
            return self.kind.n_processes(self.n_nodes)
        return given

    def open(self, run_dir: Path) -> AbstractAsyncContextManager[Cluster]:
        """Return the context manager of the cluster; its keys and job logs go to the run directory."""
        return open_cluster(self.cluster, self.fields, self.n_nodes, run_dir, self.start_timeout_s)

    def _in_words(self, text: str) -> str:
        n_processes = (self.n_processes or 0) if "{processes}" in text else 0
        return text.format(
            nodes=many(self.n_nodes, "node"),
            n_nodes=self.n_nodes,
            processes=many(n_processes, "process", "processes"),
            machine=self.fields.name,
            cluster=self.cluster,
        )


USUAL_NODE_FLAGS = ("--cluster", "--machine", "--nodes", "--rollouts-per-node")
"""What `--help` shows of these flags."""

MACHINE_FLAGS = ("--start-timeout", "--dry-run", "--yes", "--machine.")
"""What it shows as well with a kind of cluster that takes a machine."""


def node_help(argv: Sequence[str], page: Help) -> Help:
    """Return a command's page with the flags for nodes that matter to the cluster that `argv` names."""
    cluster = _given(argv, "--cluster")
    if cluster in KINDS and KINDS[cluster].takes_machine:
        return replace(page, usual=(*page.usual, *USUAL_NODE_FLAGS, *MACHINE_FLAGS))
    first = next(kind.name for kind in KINDS.values() if kind.takes_machine)
    more = f"`{invocation().name} --cluster {first} --help` shows those of machines too.\n"
    return replace(page, usual=(*page.usual, *USUAL_NODE_FLAGS), more=more + page.more)


@asynccontextmanager
async def opened(flags: NodeFlags, run_dir: Path) -> AsyncIterator[Cluster]:
    """Open the cluster, and say where its pages are."""
    async with AsyncExitStack() as stack:
        with saying("starting the nodes"):
            cluster = await stack.enter_async_context(flags.open(run_dir))
        print(f"dashboard: {cluster.dashboard}")
        if cluster.page:
            print(f"gadask's page: {cluster.page}")
        yield cluster


def default_node_flags(argv: Sequence[str]) -> NodeFlags:
    """Return the defaults of the flags, with the fields of the machine that `argv` names."""
    machine = _given(argv, "--machine")
    return NodeFlags(fields=Machine() if machine is None else load_machine(machine))


def _given(argv: Sequence[str], flag: str) -> str | None:
    """Return the value that a flag is given last, before anything else is known of the command line."""
    value = None
    for word, after in zip_longest(argv, argv[1:]):
        if word == flag:
            value = after
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def check_node_flags(flags: NodeFlags) -> None:
    """Raise `ConfigError` at the first flag that no cluster can be opened with."""
    try:
        kind = flags.kind
    except ConfigError as error:
        raise ConfigError(f"--{error}") from None
    for name in ("nodes", "rollouts_per_node"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')}: expected at least 1, found {value}")
    if flags.start_timeout is not None and not flags.start_timeout > 0:
        raise ConfigError(f"--start-timeout: expected more than 0, found {flags.start_timeout:g}")
    if not flags.dry_run:
        kind.check()
    if flags.nodes is not None and not kind.takes_nodes:
        with_nodes = names(lambda kind: kind.takes_nodes)
        raise ConfigError(f"--nodes: expected with --cluster {with_nodes}, found with --cluster {flags.cluster}")
    if not kind.takes_machine and (flags.machine is not None or flags.fields != Machine()):
        with_machine = names(lambda kind: kind.takes_machine)
        raise ConfigError(f"--machine: expected with --cluster {with_machine}, found with {flags.cluster}")
    if kind.needs_machine and flags.machine is None:
        raise ConfigError(
            f"--machine: expected with --cluster {kind.name}, found none; give a machine file, or one of"
            f" {', '.join(machine_names())}"
        )
    try:
        kind.check_machine(flags.fields)
        if kind.queue is not None and not flags.dry_run:
            check_complete(flags.fields)
    except ConfigError as error:
        raise ConfigError(f"--machine.{error}") from None


def dry_run(flags: NodeFlags, run_dir: Path, cost: str) -> None:
    """Print what a run would ask for, and its largest possible cost in words."""
    if flags.kind.queue is not None:
        script = flags.kind.job_script(flags.fields, run_dir)
        print(f"{script.strip()}\n\n{many(flags.n_nodes, 'job')} of this script; largest cost: {cost}")
        try:
            check_complete(flags.fields)
        except ConfigError as error:
            print(f"not yet complete: --machine.{error}")
    else:
        print(f"no job is asked for: this would run on {flags.where}")


def confirm_cost(flags: NodeFlags, core_hours: float, cost: str) -> None:
    """Return if the jobs may cost so much; on a terminal the user is asked above the machine's limit.

    Raises `UsageError` if the user declines, or cannot be asked and did not say `--yes`.
    """
    limit = flags.fields.confirm_core_hours
    if flags.kind.queue is None or flags.yes or core_hours <= limit:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"this may cost {cost}, and {flags.fields.name} asks above {limit:,g} core-hours; pass --yes to go on,"
            " or lower --budget.hours"
        )
    try:
        answer = input(f"This may cost {cost}. Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("not confirmed; nothing was started")


def this_command(flags: NodeFlags, *changes: str) -> str:
    """Return how the command line of this process is given again, without `--resume`.

    `changes` are words that it gets; what it says of the same flags is left out.
    """
    called = invocation()
    words = without(called.arguments, "--resume", takes_value=False)
    for flag in (word for word in changes if word.startswith("--")):
        words = without(words, flag)
    words += changes
    if flags.kind.command is not None:
        return flags.kind.command(called.command, words)
    return shlex.join([*called.program, *words])


def resume_command(flags: NodeFlags, *changes: str) -> str:
    """Return `this_command` with `--resume`."""
    return this_command(flags, "--resume", *changes)
