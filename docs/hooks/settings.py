"""What the site lists of every field of a config and of a machine file, as Markdown, made from the dataclasses.

Names, types and defaults come from the classes, texts from their attribute docstrings: the pages cannot go stale.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from gadask.clusters.machine import Machine
from gadask.config import PRESETS, Config, config_to_dict
from gadask.shipped import SITES

_TYPES = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Path: "path", dict: "table"}


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


def settings() -> str:
    """Return a section for each table of a config, and in it every field."""
    plain = [field for field in fields_of(Config) if not dataclasses.is_dataclass(field.type)]
    tables = [field for field in fields_of(Config) if dataclasses.is_dataclass(field.type)]
    parts = ["## Top of the file", *(_entry(field, "") for field in plain)]
    for table in tables:
        parts.append(f"## `[{table.name}]`\n\n{inspect.getdoc(table.type)}")
        parts += [_entry(field, f"{table.name}.") for field in fields_of(table.type)]
    return "\n\n".join(parts)


def presets() -> str:
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


def machine_files() -> str:
    """Return the names of the machine files that come with gadask."""
    return ", ".join(f"`{path.stem}`" for path in sorted(SITES.glob("*.toml")))


def machine_fields() -> str:
    """Return every field of a machine file."""
    return "\n\n".join(_entry(field, "machine.") for field in fields_of(Machine))


def fields_of(cls: type) -> Iterator[Field]:
    """Yield the fields of a dataclass in their order, with what their docstrings or their help say."""
    texts = _attribute_docstrings(cls)
    hints = typing.get_type_hints(cls)
    extras = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        text = texts.get(field.name, "")
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        about = getattr(extras[field.name], "__metadata__", ())
        yield Field(
            field.name.removesuffix("_"),
            hints[field.name],
            next(filter(None, (getattr(each, "metavar", None) for each in about)), None),
            any("Positional" in str(each) for each in about),
            default,
            " ".join(next(filter(None, (getattr(each, "help", None) for each in about)), text).split()),
        )


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """Return the strings that stand below the fields of a dataclass."""
    (found,) = ast.parse(inspect.getsource(cls)).body  # a class of a module: nothing is indented
    assert isinstance(found, ast.ClassDef)
    texts = {}
    for line, below in itertools.pairwise(found.body):
        if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[ast.unparse(line.target)] = str(below.value.value)
    return texts


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
    name = f'`{field.name}`{{id="{prefix}{field.name}"}}'
    return f"{name} · {type_text(field.type)}{default}\n:   {field.text}"


def _leaves(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; the free tables called kwargs stay whole."""
    for key, value in table.items():
        if isinstance(value, dict) and key != "kwargs":
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
