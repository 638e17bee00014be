"""What the command lines of `jobs/` share: flags for the nodes, what they may cost, interrupts, exit statuses.

Heavy modules (torch, Dask) are imported where they are used, so that bad input is answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from gadask.clusters.machine import Machine, check_complete, check_machine, load_machine, machine_names
from gadask.console.leaving import INTERRUPTED
from gadask.errors import ConfigError, GadaskError, UsageError
from gadask.imports import leave_script_folder, own_command
from gadask.terminal import outlive_terminal

if TYPE_CHECKING:
    from gadask.clusters import Cluster

FINISHED, FAILED, BAD_USAGE = 0, 1, 2

_KINDS = ("local", "slurm", "allocation")
_ANALYSIS = Path(__file__).resolve().parents[2] / "analysis"
_START_TIMEOUT_S = {"slurm": 86_400.0}  # a queue may be long
_OTHER_START_TIMEOUT_S = 120.0
_CLUSTER_SPEAKS_FIRST_S = 60.0

_Arguments = TypeVar("_Arguments")


@dataclass(frozen=True)
class NodeFlags:
    """Where nodes come from."""

    cluster: str = "local"
    """`local`: on this machine. `slurm`: one job a node, asked for from this login node. `allocation`: the nodes of the
    Slurm job that this command runs in. `tls://HOST:PORT` or `tcp://HOST:PORT`: an existing Dask scheduler."""
    machine: str | None = None
    """With `slurm` or `allocation`: a machine file, or the name of one in ~/.config/gadask or jobs/clusters. Its fields
    are flags too, and flags win."""
    fields: Annotated[Machine, tyro.conf.arg(name="machine")] = field(default_factory=Machine)
    nodes: int | None = None
    """Number of nodes, 1 by default; an allocation or an existing scheduler gives what it has."""
    rollouts_per_node: int | None = None
    """Rollout processes of each node; by default one less than its cores, or all cores of this machine with `local`."""
    start_timeout: float | None = None
    """Give up if no node came, or came back, for so many seconds; by default 120, with `slurm` a day."""
    dry_run: bool = False
    """Print the job script and the largest possible cost, and start nothing."""
    yes: bool = False
    """Do not ask before a run that may cost more than `--machine.confirm-core-hours`."""

    @property
    def kind(self) -> str:
        """`local`, `slurm`, `allocation`, or `existing`."""
        return self.cluster if self.cluster in _KINDS else "existing"

    @property
    def n_nodes(self) -> int:
        """Nodes that are asked for."""
        return self.nodes or 1

    @property
    def where(self) -> str:
        """Where nodes come from, in words."""
        return {
            "local": f"{self.n_nodes} × {self.n_processes} processes",
            "slurm": f"{self.n_nodes} nodes of {self.fields.name}",
            "allocation": "the nodes of this allocation",
            "existing": f"the nodes of {self.cluster}",
        }[self.kind]

    @property
    def left(self) -> str:
        """What may be left of the nodes when the command is ended at once, in words."""
        return {
            "local": "rollout processes on this machine close their environments and end within seconds",
            "slurm": "jobs may be left in the queue; the next start with this directory cancels them, or scancel",
            "allocation": "job steps end with the allocation",
            "existing": f"the nodes of {self.cluster} play until they notice",
        }[self.kind]

    @property
    def requeued(self) -> bool:
        """Whether Slurm has started the allocation's job again, as it does when a node breaks."""
        return self.kind == "allocation" and os.environ.get("SLURM_RESTART_COUNT", "0") != "0"

    @property
    def start_timeout_s(self) -> float:
        """The start timeout, by default that of the kind of cluster."""
        return self.start_timeout or _START_TIMEOUT_S.get(self.kind, _OTHER_START_TIMEOUT_S)

    @property
    def node_timeout_s(self) -> float:
        """How long the master waits for a node; the cluster, which knows why none comes, is to speak first."""
        return self.start_timeout_s + (_CLUSTER_SPEAKS_FIRST_S if self.kind == "slurm" else 0.0)

    @property
    def n_processes(self) -> int | None:
        """Rollout processes of a node; None leaves it to the node."""
        given = self.rollouts_per_node or self.fields.rollouts_per_node
        if given is None and self.kind == "local":
            from gadask.clusters import local_processes

            return local_processes(self.n_nodes)
        return given

    def open(self, run_dir: Path) -> AbstractAsyncContextManager[Cluster]:
        """Return the context manager of the cluster; its keys and job logs go to the run directory."""
        from gadask.clusters import open_cluster

        return open_cluster(self.cluster, self.fields, self.n_nodes, run_dir, self.start_timeout_s)


def default_node_flags(argv: Sequence[str]) -> NodeFlags:
    """Return the defaults of the flags, with the fields of the machine that `argv` names."""
    machine = None
    for place, argument in enumerate(argv):
        if argument == "--machine" and place + 1 < len(argv):
            machine = argv[place + 1]
        elif argument.startswith("--machine="):
            machine = argument.partition("=")[2]
    return NodeFlags(fields=Machine() if machine is None else load_machine(machine))


def check_node_flags(flags: NodeFlags) -> None:
    """Raise `ConfigError` at the first flag that no cluster can be opened with."""
    if flags.kind == "existing" and not re.fullmatch(r"(tls|tcp)://(\[[\da-fA-F:]+\]|[^\s:/]+):\d+", flags.cluster):
        raise ConfigError(
            f"--cluster: expected {', '.join(_KINDS)}, or the address of a Dask scheduler such as tls://host:8786,"
            f" found {flags.cluster!r}"
        )
    for name in ("nodes", "rollouts_per_node"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')}: expected at least 1, found {value}")
    if flags.start_timeout is not None and not flags.start_timeout > 0:
        raise ConfigError(f"--start-timeout: expected more than 0, found {flags.start_timeout:g}")
    if flags.kind == "allocation" and "SLURM_JOB_ID" not in os.environ and not flags.dry_run:
        raise ConfigError(
            "--cluster allocation: expected inside a Slurm job, found no SLURM_JOB_ID; submit it with sbatch"
            " jobs/allocation.sbatch"
        )
    if flags.nodes is not None and flags.kind in ("allocation", "existing"):
        raise ConfigError(f"--nodes: expected with --cluster local or slurm, found with --cluster {flags.cluster}")
    if flags.kind in ("local", "existing") and (flags.machine is not None or flags.fields != Machine()):
        raise ConfigError(f"--machine: expected with --cluster slurm or allocation, found with {flags.cluster}")
    if flags.kind == "slurm" and flags.machine is None:
        raise ConfigError(
            f"--machine: expected with --cluster slurm, found none; give a machine file, or one of"
            f" {', '.join(machine_names())}"
        )
    try:
        check_machine(flags.fields)
        if flags.kind == "slurm" and not flags.dry_run:
            check_complete(flags.fields)
    except ConfigError as error:
        raise ConfigError(f"--machine.{error}") from None


def dry_run(flags: NodeFlags, run_dir: Path, cost: str) -> None:
    """Print what a run would ask for, and its largest possible cost in words."""
    if flags.kind == "slurm":
        from gadask.clusters import job_folder
        from gadask.clusters.jobqueue import job_script

        script = job_script(flags.fields, job_folder(flags.fields, run_dir))
        print(f"{script.strip()}\n\n{flags.n_nodes} jobs of this script; largest cost: {cost}")
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
    if flags.kind != "slurm" or flags.yes or core_hours <= limit:
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


class StderrHandler(logging.Handler):
    """Logs to whatever is standard error at the moment: a live display takes its place, and writes above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        print(self.format(record), file=sys.stderr)


def parse(argv: Sequence[str], default: _Arguments) -> _Arguments:
    """Return the arguments of a command line; what it leaves out is as in `default`."""
    with warnings.catch_warnings():
        # Lists and tables among a file's kwargs are no flags, and pass as they are.
        warnings.filterwarnings("ignore", r"The field `.*kwargs` is annotated with type", UserWarning)
        found: _Arguments = tyro.cli(
            type(default), args=list(argv), default=default, config=(tyro.conf.FlagCreatePairsOff,)
        )
    return found


def exit_status(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; an error of gadask's is printed in one line."""
    leave_script_folder()
    outlive_terminal()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, handlers=[StderrHandler()])
    # Dask reads this when it is imported, here and in its workers. Nodes that come and go are the master's to report; a
    # worker that is closed in the middle of a heartbeat would log that as an error.
    level = os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    for name in ("distributed.client", "distributed.gc"):  # which Dask gives levels of their own
        logging.getLogger(name).addFilter(lambda record: level != "critical" or record.levelno >= logging.CRITICAL)
    try:
        return command()
    except GadaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, UsageError) else FAILED
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: it cannot be used: {error.strerror}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def check_dask() -> None:
    """Raise `ConfigError` if Dask cannot be imported with the config that this user or site has given it."""
    try:
        import distributed  # noqa: F401
    except Exception as error:  # whatever a config may do to it
        where = os.environ.get("DASK_CONFIG", "~/.config/dask, /etc/dask")
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"Dask's config ({where}, or variables DASK_…) cannot be used: {reason}") from None


async def draw(what: str, script: str, *arguments: Path, timeout_s: float = math.inf) -> None:
    """Run a script of `analysis/`, which prints the file that it wrote; cancelling, or `timeout_s`, ends it.

    It is a process of its own, so that a genome is played in the same environment as in evolution, and that an
    environment may hang or die there too. A guard ends what it has started. Ctrl-C, which a terminal sends to all
    processes of a group, is for this process to see.
    """
    from gadask.numerics import numeric_environment

    print(f"{what}: ", end="", flush=True)
    command = own_command("gadask.guard", sys.executable, str(_ANALYSIS / script), *map(str, arguments))
    process = await asyncio.create_subprocess_exec(*command, env=numeric_environment(), start_new_session=True)
    try:
        async with asyncio.timeout(timeout_s if timeout_s < math.inf else None):
            status = await process.wait()
        if status > 128:
            print(f"none, {script} was ended by {signal.Signals(status - 128).name}")
    except TimeoutError:
        print(f"none, {script} was not ready after {timeout_s:,.0f} s")
    finally:
        if process.returncode is None:
            process.terminate()  # the guard ends what is below it
            await process.wait()


def this_command(flags: NodeFlags) -> str:
    """Return the command line of this process, without `--resume`; for an allocation that of another job like its own.

    What `sbatch` was given beyond account, partition, nodes and wall time is not known.
    """
    words = [word for word in sys.argv if word != "--resume"]
    if flags.kind == "allocation":
        return _sbatch_command(words)
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), *words])


def resume_command(flags: NodeFlags) -> str:
    """Return `this_command` with `--resume`."""
    return f"{this_command(flags)} --resume"


def _sbatch_command(words: Sequence[str]) -> str:
    """Return the command that gives a command line to `jobs/allocation.sbatch`, which adds `--cluster allocation`."""
    environ = os.environ
    script = Path(words[0])
    given = {"GADASK_JOB": script.stem} if script.stem != "run" else {}
    given |= {name: environ[name] for name in ("GADASK_PYTHON", "GADASK_REQUEUES") if name in environ}
    flags = {"account": "SLURM_JOB_ACCOUNT", "partition": "SLURM_JOB_PARTITION", "nodes": "SLURM_JOB_NUM_NODES"}
    options = [f"--{flag}={environ[name]}" for flag, name in flags.items() if environ.get(name)]
    with contextlib.suppress(KeyError, ValueError):  # an older Slurm does not tell
        wall_s = int(environ["SLURM_JOB_END_TIME"]) - int(environ["SLURM_JOB_START_TIME"])
        options.append(f"--time={math.ceil(wall_s / 60)}")
    rest = words[1:-2] if tuple(words[-2:]) == ("--cluster", "allocation") else words[1:]
    variables = "".join(f"{name}={shlex.quote(value)} " for name, value in given.items())
    return variables + shlex.join(["sbatch", *options, str(script.with_name("allocation.sbatch")), *rest])
