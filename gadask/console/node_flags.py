"""The flags that say where nodes come from: what they mean, whether they fit, what the nodes may cost."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from gadask.clusters.kinds import EXISTING, KINDS, Kind, kind_of, names, open_cluster
from gadask.clusters.machine import Machine, check_complete, load_machine, machine_names
from gadask.clusters.wanted import Wanted, nodes_of_all, rollouts_of_all, split_nodes, wanted_text
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
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(
            metavar="NAME[:NODES]",
            help=f"With {names(lambda kind: kind.takes_machine)}: a machine file, or the name of one in"
            " ~/.config/gadask or one of gadask's own sites. Its fields are flags too, and flags win. Given several"
            f" times with {names(lambda kind: kind.queue is not None)}, each with its `:NODES`, a run has nodes of all"
            " these machines.",
        ),
    ] = ()
    fields: Annotated[Machine, tyro.conf.arg(name="machine")] = field(default_factory=Machine)
    nodes: Annotated[
        int | None,
        tyro.conf.arg(
            help=f"Nodes with {names(lambda kind: kind.takes_nodes)}, 1 by default; elsewhere all there are."
            " `--machine NAME:NODES` says the same."
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
    """Print the job script of each machine and the largest possible cost, and start nothing."""
    yes: bool = False
    """Do not ask before a run that may cost more than `--machine.confirm-core-hours`."""

    @property
    def kind(self) -> Kind:
        """The kind of cluster; raises `ConfigError` if there is none of that name."""
        return kind_of(self.cluster)

    @cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        """The machines, and how many nodes of each are asked for.

        Raises `ConfigError` if the flags do not say it, or if one of several machines cannot be loaded.
        """
        named = [split_nodes(text) for text in self.machine]
        counted = [name for name, n_nodes in named if n_nodes is not None]
        if len(named) > 1 and len(counted) < len(named):
            first = next(name for name, n_nodes in named if n_nodes is None)
            raise ConfigError(f"--machine: expected NAME:NODES for each of several machines, found {first!r}")
        if counted and self.nodes is not None:
            expected = f"no such flag beside --machine {self.machine[0]}, which says how many"
            raise ConfigError(f"--nodes: expected {expected}, found {self.nodes}")
        if len(named) < 2:
            (n_nodes,) = [n_nodes for _, n_nodes in named] or [None]
            return (Wanted(self.fields, n_nodes or self.nodes or 1),)
        return tuple(Wanted(load_machine(name), n_nodes) for name, n_nodes in named if n_nodes is not None)

    @property
    def n_nodes(self) -> int:
        """Nodes that are asked for."""
        return nodes_of_all(self.wanted)

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
        given = self.rollouts_per_node or rollouts_of_all(self.wanted)
        if given is None and self.kind.n_processes is not None:
            return self.kind.n_processes(self.n_nodes)
        return given

    def open(self, run_dir: Path) -> AbstractAsyncContextManager[Cluster]:
        """Return the context manager of the cluster; its keys and job logs go to the run directory."""
        return open_cluster(self.cluster, self.wanted, run_dir, self.start_timeout_s)

    def _in_words(self, text: str) -> str:
        n_processes = (self.n_processes or 0) if "{processes}" in text else 0
        return text.format(
            nodes=many(self.n_nodes, "node"),
            n_nodes=self.n_nodes,
            processes=many(n_processes, "process", "processes"),
            machine=wanted_text(self.wanted),
            cluster=self.cluster,
        )


USUAL_NODE_FLAGS = ("--cluster", "--machine", "--nodes", "--rollouts-per-node")
"""What `--help` shows of these flags."""

MACHINE_FLAGS = ("--start-timeout", "--dry-run", "--yes", "--machine.")
"""What it shows as well with a kind of cluster that takes a machine."""


def node_help(argv: Sequence[str], page: Help) -> Help:
    """Return a command's page with the flags for nodes that matter to the cluster that `argv` names."""
    clusters = _given(argv, "--cluster")
    if clusters and clusters[-1] in KINDS and KINDS[clusters[-1]].takes_machine:
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
    """Return the defaults of the flags, with the fields of the machine that `argv` names; several keep their own."""
    machines = _given(argv, "--machine")
    if len(machines) == 1:
        return NodeFlags(fields=load_machine(split_nodes(machines[0])[0]))
    field_flag = next((word.partition("=")[0] for word in argv if word.startswith("--machine.")), None)
    if machines and field_flag is not None:
        raise ConfigError(
            f"{field_flag}: expected with one --machine, found with {len(machines)}; write it into a machine file,"
            ' which with a line base = "NAME" changes only what it names'
        )
    return NodeFlags()


def _given(argv: Sequence[str], flag: str) -> list[str]:
    """Return the values that a flag is given, before anything else is known of the command line."""
    values = []
    for word, after in zip_longest(argv, argv[1:]):
        if word == flag and after is not None:
            values.append(after)
        elif word.startswith(f"{flag}="):
            values.append(word.partition("=")[2])
    return values


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
    if not kind.takes_machine and (flags.machine or flags.fields != Machine()):
        with_machine = names(lambda kind: kind.takes_machine)
        raise ConfigError(f"--machine: expected with --cluster {with_machine}, found with {flags.cluster}")
    if kind.needs_machine and not flags.machine:
        raise ConfigError(
            f"--machine: expected with --cluster {kind.name}, found none; give a machine file, or one of"
            f" {', '.join(machine_names())}"
        )
    wanted = flags.wanted
    try:
        kind.check_wanted(wanted)
    except ConfigError as error:
        raise ConfigError(f"--machine: {error}") from None
    if not kind.takes_nodes and any(split_nodes(text)[1] is not None for text in flags.machine):
        raise ConfigError(f"--machine: expected NAME alone with --cluster {flags.cluster}, found {flags.machine[0]!r}")
    for each in wanted:
        _check_machine(flags, each.machine, to_start=not flags.dry_run)


def dry_run(flags: NodeFlags, run_dir: Path, cost: Callable[[Sequence[Wanted]], str]) -> None:
    """Print what a run would ask for; `cost` gives the largest that some nodes may cost, in words."""
    if flags.kind.queue is None:
        print(f"no job is asked for: this would run on {flags.where}")
        return
    for each in flags.wanted:
        script = flags.kind.job_script(each.machine, run_dir)
        print(f"{script.strip()}\n\n{many(each.n_nodes, 'job')} of this script; largest cost: {cost([each])}")
        try:
            _check_machine(flags, each.machine, to_start=True)
        except ConfigError as error:
            print(f"not yet complete: {error}")
        if len(flags.wanted) > 1:
            print()
    if len(flags.wanted) > 1:
        print(f"{many(flags.n_nodes, 'job')} of all scripts; largest cost: {cost(flags.wanted)}")


def _check_machine(flags: NodeFlags, machine: Machine, *, to_start: bool) -> None:
    """Raise `ConfigError` at the first value that no node can have, `to_start` a node also at one that is missing."""
    is_alone = len(flags.wanted) == 1
    try:
        flags.kind.check_machine(machine)
        if flags.kind.queue is not None and to_start:
            check_complete(machine, has_flags=is_alone)
    except ConfigError as error:
        raise ConfigError(f"--machine.{error}" if is_alone else f"--machine {machine.name}: {error}") from None


def confirm_cost(flags: NodeFlags, core_hours: float, cost: str) -> None:
    """Return if the jobs may cost so much; on a terminal the user is asked above the least of the machines' limits.

    Raises `UsageError` if the user declines, or cannot be asked and did not say `--yes`.
    """
    machine = min((each.machine for each in flags.wanted), key=lambda machine: machine.confirm_core_hours)
    limit = machine.confirm_core_hours
    if flags.kind.queue is None or flags.yes or core_hours <= limit:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"this may cost {cost}, and {machine.name} asks above {limit:,g} core-hours; pass --yes to go on,"
            " or ask for less"
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
