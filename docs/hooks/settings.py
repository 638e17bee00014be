"""Pages of the docs site that list every field of a config and of a machine file, made from the dataclasses.

Names, types and defaults come from the classes, texts from their attribute docstrings: the pages cannot go stale.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from gadask.clusters.machine import Machine
from gadask.config import PRESETS, Config, config_to_dict

_TYPES = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Path: "path", dict: "table"}

_SETTINGS = """# Settings of a run

A config file is TOML with these tables, and every field but `preset` is a flag of
[`jobs/run.py`](commands.md#gadask-run) too: `population` in the table `generation` is `--generation.population 200`
there. Flags win over the file. Whatever a file leaves out has its default, or its preset's value; a field without a
default is off, or no limit. An unknown key or an impossible value is refused in one line.
"""

_MACHINES = """# Machine files

A machine file is TOML with these fields, and says what a node of a site is and how it is asked for; see
[Run on a Slurm cluster](../clusters.md). Every field is a flag too, such as `--machine.wall-time 02:00:00`, and flags
win over the file. `base = "NAME"` takes what the file leaves out from another machine file.

These come with gadask: {}. Your own go to `~/.config/gadask/`.
"""


@dataclass(frozen=True)
class Field:
    """A field of a dataclass, as the site shows it."""

    name: str
    type: Any
    """The resolved type hint, without `Annotated`."""
    metavar: str | None
    """What a flag's value is called, where tyro is told."""
    is_positional: bool
    default: Any
    """`dataclasses.MISSING` without one."""
    text: str
    """Its docstring; empty without one."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/settings.md", content=settings_page()))
    files.append(File.generated(config, "reference/machine-files.md", content=machine_page()))
    return files


def settings_page() -> str:
    """Return the page on every field of a config, table by table, and on what presets change."""
    parts = [_SETTINGS]
    plain = [field for field in fields_of(Config) if not dataclasses.is_dataclass(field.type)]
    tables = [field for field in fields_of(Config) if dataclasses.is_dataclass(field.type)]
    parts += ["## Top of the file", *(_entry(field, "") for field in plain)]
    for table in tables:
        parts.append(f"## `[{table.name}]`\n\n{inspect.getdoc(table.type)}")
        parts += [_entry(field, f"{table.name}.") for field in fields_of(table.type)]
    parts.append(f"## Presets\n\nWhat a preset sets otherwise than the defaults:\n\n{_preset_table()}")
    return "\n\n".join(parts) + "\n"


def machine_page() -> str:
    """Return the page on every field of a machine file."""
    from gadask.shipped import SITES

    names = ", ".join(f"`{path.stem}`" for path in sorted(SITES.glob("*.toml")))
    return "\n\n".join([_MACHINES.format(names), *(_entry(field, "machine.") for field in fields_of(Machine))]) + "\n"


def fields_of(cls: type) -> Iterator[Field]:
    """Yield the fields of a dataclass in their order, with what their docstrings or their help say."""
    path = Path(inspect.getfile(cls))
    members = griffe.visit(cls.__module__, filepath=path, code=path.read_text())[cls.__name__].members
    hints = typing.get_type_hints(cls)
    extras = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        docstring = members[field.name].docstring
        text = docstring.value if docstring else ""
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        about = getattr(extras[field.name], "__metadata__", ())
        yield Field(
            field.name.removesuffix("_"),
            hints[field.name],
            next(filter(None, (getattr(each, "metavar", None) for each in about)), None),
            "Positional" in str(members[field.name].annotation),
            default,
            " ".join(next(filter(None, (getattr(each, "help", None) for each in about)), text).split()),
        )


def type_text(hint: Any) -> str:
    """Return in words what values a field takes."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is Literal:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if origin in (UnionType, typing.Union):
        return type_text(next(argument for argument in arguments if argument is not NoneType))
    if origin is tuple:
        return f"list of {type_text(arguments[0])}s"
    return _TYPES[origin or hint]


def value_text(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}" if value >= 10_000 else str(value)
    if isinstance(value, float):
        return "inf" if math.isinf(value) else f"{value:g}".replace("e+0", "e")
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {value_text(entry)}" for key, entry in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return "[" + ", ".join(map(value_text, value)) + "]"


def _entry(field: Field, prefix: str) -> str:
    """Return an item of a definition list, with an anchor such as `generation.population`."""
    default = "" if field.default is None else f", default `{value_text(field.default)}`"
    anchor = f'<a id="{prefix}{field.name}"></a>'
    return f"{anchor}`{field.name}` · {type_text(field.type)}{default}\n:   {field.text}"


def _preset_table() -> str:
    """Return a table of the fields in which presets differ from the defaults and from each other."""
    presets = {name: dict(_leaves(config_to_dict(config), "")) for name, config in PRESETS.items()}
    keys = [key for key in presets["ga-dist"] | presets["such2017"] if key != "preset"]
    rows = [f"| field | {' | '.join(f'`{name}`' for name in presets)} |", "| --- " * (len(presets) + 1) + "|"]
    for key in keys:
        values = [value_text(preset[key]) if key in preset else "" for preset in presets.values()]
        if len(set(values)) > 1:
            cells = " | ".join(f"`{value}`" if value else "" for value in values)
            rows.append(f"| [`{key}`](#{key}) | {cells} |")
    return "\n".join(rows)


def _leaves(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; the free tables called kwargs stay whole."""
    for key, value in table.items():
        if isinstance(value, dict) and key != "kwargs":
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
