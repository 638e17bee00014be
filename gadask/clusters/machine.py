"""Machines: what a node of a site is, and how it is asked for; what nodes cost is in `gadask.clusters.wanted`.

A machine file is TOML with the fields of `Machine`. Sites that gadask knows are in `gadask/sites/`; a user's own files
are in `~/.config/gadask/` (or `$XDG_CONFIG_HOME/gadask/`) and are found first. With `base = "peta4-skylake"` a file
changes only what it names; its own name may be its base's, so that a user's account is filled in wherever the site's
name is given.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from gadask.clusters.memory import Memory, parse_memory
from gadask.errors import ConfigError
from gadask.shipped import SITES
from gadask.toml_reader import nearest, overlay, read_toml


@dataclass(frozen=True)
class Machine:
    """A node of a site, and how its batch system is asked for one."""

    name: str = "generic"
    """What the jobs are called in the queue, after `gadask-`; by default the name of the machine file."""
    partition: str | None = None
    """Slurm partition; without one the site's default."""
    account: str | None = None
    """Project that the cores are charged to; without one the user's default."""
    required: tuple[str, ...] = ()
    """Fields that the site insists on and only its users know, such as `account`."""
    cores: int = 32
    """Cores of a node; all of them are asked for and charged."""
    memory: str = "60GB"
    """Memory of a node's job: a size such as `180GB` or `187GiB`; a size by the core, such as `3380MiB per core`; `all`
    that the node has; or `default`, which asks for none and takes what the site gives."""
    wall_time: str = "12:00:00"
    """Wall time of a node's job, `HH:MM:SS` or `D-HH:MM:SS`; a run may last longer, since its nodes are replaced."""
    preamble: tuple[str, ...] = ()
    """Shell lines that run on the node first, such as `module load …`."""
    interface: str | None = None
    """Network interface over which nodes are reached, such as `ib0`; by default Dask's choice."""
    scheduler_interface: str | None = None
    """Network interface over which the login node is reached; by default `interface`."""
    scratch: str = "/tmp"
    """Folder on the node's own disk; shell variables such as `$TMPDIR` have the node's values."""
    shared: str | None = None
    """Folder on a file system that all nodes see, for keys and job logs; by default the run directory."""
    parallel_environment: str = "smp"
    """Grid Engine's name for several cores of one node; `qconf -spl` lists a site's."""
    extra_directives: tuple[str, ...] = ()
    """Further `#SBATCH` directives, such as `--qos=long`."""
    skip_directives: tuple[str, ...] = ()
    """Directives to leave out of the job script because the site refuses them, such as `--mem` or `-t`; gadask's own
    may be among them."""
    poll_s: float = 60.0
    """How often the queue is asked for the state of the jobs, in seconds; many sites forbid asking more often. Nodes
    that come or go are noticed at once, through Dask."""
    python: str | None = None
    """Python of the nodes; by default the one that runs gadask."""
    launcher: str | None = None
    """Command in front of that python, such as `apptainer exec /path/image.sif`; its words are split as in a shell, and
    nothing else is expanded: write paths in full. It must become the python, or pass TERM on to it."""
    rollouts_per_node: int | None = None
    """Rollout processes of a node; by default one less than the cores that its job was actually given."""
    leave_before_s: float = 180.0
    """A node leaves cleanly this long before its wall time ends."""
    max_failures_per_node_hour: float = 4.0
    """If jobs die early at a higher rate than this, no more are asked for and the run fails."""
    confirm_core_hours: float = 1000.0
    """A run that may cost more asks first; `inf` never asks."""

    @property
    def wall_time_s(self) -> int:
        """The wall time in seconds."""
        match = re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", self.wall_time)
        if match is None:
            raise ConfigError(f"wall_time: expected HH:MM:SS or D-HH:MM:SS, found {self.wall_time!r}")
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((24 * days + hours) * 60 + minutes) * 60 + seconds

    @property
    def job_memory(self) -> Memory:
        """What a node's job asks for. Raises `ConfigError` where `memory` cannot be read."""
        return parse_memory(self.memory)

    @property
    def python_words(self) -> list[str]:
        """The words that start python on a node. Raises `ConfigError` where `launcher` cannot be split."""
        try:
            launcher = [] if self.launcher is None else shlex.split(self.launcher)
        except ValueError as error:
            raise ConfigError(f"launcher: expected words as in a shell, found {self.launcher!r}: {error}") from None
        if self.launcher is not None and not launcher:
            raise ConfigError(f"launcher: expected a command, found {self.launcher!r}")
        return [*launcher, self.python or sys.executable]


def load_machine(name_or_path: str) -> Machine:
    """Return the machine of a file, or of a name: the user's own before those that come with gadask.

    Raises `ConfigError` naming the file and the key; a misspelt name gets a suggestion.
    """
    return _load(name_or_path, ())


def machine_names() -> list[str]:
    """Return the names that `load_machine` knows."""
    return sorted({path.stem for folder in (user_folder(), SITES) for path in folder.glob("*.toml")})


def check_machine(machine: Machine) -> None:
    """Raise `ConfigError` at the first value that no node can have."""
    _ = machine.job_memory, machine.python_words  # which say what is wrong
    rules: list[tuple[bool, str, str]] = [
        (bool(re.fullmatch(r"[\w.-]+", machine.name)), "name", "letters, digits, '.', '_' and '-'"),
        (machine.cores >= 1, "cores", "at least 1"),
        (machine.wall_time_s >= 1, "wall_time", "more than no time"),
        (
            machine.rollouts_per_node is None or machine.rollouts_per_node >= 1,
            "rollouts_per_node",
            "at least 1",
        ),
        (
            0 <= machine.leave_before_s < machine.wall_time_s,
            "leave_before_s",
            f"0 to less than the wall time ({machine.wall_time_s} s)",
        ),
        (0 < machine.max_failures_per_node_hour < math.inf, "max_failures_per_node_hour", "a finite number above 0"),
        (machine.confirm_core_hours >= 0, "confirm_core_hours", "at least 0"),
        (1 <= machine.poll_s < math.inf, "poll_s", "a finite number of at least 1"),
    ]
    fields = [field.name for field in dataclasses.fields(Machine)]
    for key in machine.required:
        rules.append((key in fields, "required", f"names of fields ({', '.join(fields)})"))
    for key in ("extra_directives", "skip_directives"):
        rules.append((all(text.startswith("-") for text in getattr(machine, key)), key, "directives such as '--mem'"))
    for key in fields:
        value = getattr(machine, key)
        lines = value if isinstance(value, tuple) else (value,)  # each becomes a line, or a part of one, of a script
        holds = all(line and line.isprintable() for line in lines if isinstance(line, str))
        rules.append((holds, key, "text without line breaks, and not empty"))
    for holds, key, expected in rules:
        if not holds:
            raise ConfigError(f"{key}: expected {expected}, found {getattr(machine, key)!r}")


def check_complete(machine: Machine, *, has_flags: bool = True) -> None:
    """Raise `ConfigError` unless everything is given that the site insists on.

    `has_flags` says whether the fields can be given as flags too.
    """
    flag = "give --machine.{}, or " if has_flags else ""
    for key in machine.required:
        if getattr(machine, key) is None:
            raise ConfigError(
                f"{key}: {machine.name} requires it, found none;"
                f" {flag.format(key)}write it into {user_folder() / machine.name}.toml below a line"
                f' base = "{machine.name}"'
            )


def user_folder() -> Path:
    """Return the folder of the user's own machine files."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gadask"


def _load(name_or_path: str, derived: tuple[Path, ...]) -> Machine:
    """Return a machine; `derived` are the files that are being read on top of it."""
    path = _find(name_or_path, derived)
    table = read_toml(path, "machine file", SITES)
    base = table.pop("base", None)
    try:
        if base is not None and not isinstance(base, str):
            raise ConfigError(f"base: expected the name of a machine or its file, found {base!r}")
        start = Machine() if base is None else _load(base, (*derived, path.resolve()))
        machine: Machine = overlay(start, {"name": path.stem, **table})
        check_machine(machine)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return machine


def _find(name_or_path: str, derived: tuple[Path, ...]) -> Path:
    """Return the file of a machine that is not one of `derived`."""
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        beside = derived[-1].parent if derived else Path.cwd()
        found = [beside / Path(name_or_path).expanduser()]
    else:
        paths = [folder / f"{name_or_path}.toml" for folder in (user_folder(), SITES)]
        try:
            found = [path for path in paths if path.exists()]
        except OSError as error:
            raise ConfigError(f"no machine can be called {name_or_path[:80]!r}: {error.strerror}") from None
    for path in found:
        if path.resolve() not in derived:
            return path
    if found:
        raise ConfigError(f"base: expected another machine, found {name_or_path!r}, which is made from this one")
    raise ConfigError(f"no machine is called {name_or_path!r}; {nearest(name_or_path, machine_names())}")
