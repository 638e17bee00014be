"""What the site lists of every command and its flags, as Markdown, made from the dataclasses that tyro makes flags of.

Only `commands` and `module_of` know where the commands are found.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

from docs.hooks.settings import Field, fields_of, type_text, value_text
from gadask.__main__ import COMMANDS
from gadask.console.node_flags import NodeFlags

_FIELDS = """`--machine.FIELD VALUE`
:   Any field of a [machine file](machine-files.md), such as `--machine.wall-time 02:00:00`; where there is one
    `--machine` alone."""

_SETTINGS = """`--seed`, `--env.id`, `--generation.population`, …
:   Any [setting of a run](settings.md); `kwargs` take names and values: `--env.kwargs noop_max 10`."""


def command_list() -> str:
    """Return a section for each command: what it is for, and its flags."""
    parts = []
    for name, arguments in commands().items():
        parts += [f"## gadask {name}", inspect.getdoc(module_of(name)) or "", *_entries(arguments)]
    return "\n\n".join(parts)


def baselines() -> str:
    """Return what the command for baselines does."""
    return inspect.getdoc(importlib.import_module("gadask.envs.baselines.__main__")) or ""


def node_flags() -> str:
    """Return the flags that say where to play."""
    return "\n\n".join(_entries(NodeFlags))


def commands() -> dict[str, type]:
    """Return the class of arguments of each command, by its name."""
    return {name: module_of(name).Arguments for name in COMMANDS}


def flags_of(arguments: type) -> Iterator[str]:
    """Yield a command's own flags that the site lists, those for nodes included."""
    for field in fields_of(arguments):
        if field.type is NodeFlags:
            yield from flags_of(NodeFlags)
        elif not field.is_positional and not dataclasses.is_dataclass(field.type):
            yield _flag(field)


def module_of(name: str) -> Any:
    """Import the module of a command."""
    return importlib.import_module(COMMANDS[name][0])


def _entries(arguments: type) -> Iterator[str]:
    """Yield an item of a definition list for each argument."""
    for field in fields_of(arguments):
        if field.type is NodeFlags:
            yield "`--cluster`, `--nodes`, …\n:   See [Flags for nodes](#flags-for-nodes)."
        elif dataclasses.is_dataclass(field.type):
            yield _FIELDS if field.name == "fields" else _SETTINGS
        elif field.is_positional:
            yield f"`{field.name.upper()}`\n:   {field.text}"
        elif field.default is True:
            yield f"`{_flag(field)}`\n:   Do not {field.text[0].lower()}{field.text[1:]}"
        elif field.default is False:
            yield f"`{_flag(field)}`\n:   {field.text}"
        else:
            yield f"`{_flag(field)} {_metavar(field)}`{_default(field)}\n:   {field.text}"


def _default(field: Field) -> str:
    """Return a default as a shell takes it; nothing where there is none."""
    if field.default in (None, (), dataclasses.MISSING):
        return ""
    is_text = isinstance(field.default, str | Path)
    return f" · default `{field.default if is_text else value_text(field.default)}`"


def _flag(field: Field) -> str:
    name = field.name.replace("_", "-")
    return f"--no-{name}" if field.default is True else f"--{name}"


def _metavar(field: Field) -> str:
    if field.metavar:
        return field.metavar
    if get_origin(field.type) is Literal:
        return type_text(field.type).replace("`", "").replace('"', "").replace(" or ", "|")
    return field.name.rpartition("_")[2].upper()
