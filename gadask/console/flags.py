"""What a command takes, read from its dataclasses: names, kinds of values, defaults, and what their docstrings say.

A field is a flag called after it; one that is a dataclass itself is a table, whose fields are `--TABLE.FIELD`. Help,
errors and completion are made from this list, and tyro builds the arguments from the same classes.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tyro

_METAVARS = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
_IN_WORDS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}


@dataclass(frozen=True)
class Flag:
    """A flag, or an argument without one."""

    name: str
    """As it is typed, such as `--budget.hours`; of an argument without a flag its name in capitals."""
    kind: Any
    """What a value is: `bool` for a switch, which takes none, `int`, `float`, `str`, `Path`, a `Literal`, or `dict` for
    names and values in turn."""
    default: Any
    """`tyro.MISSING` where it must be given."""
    is_optional: bool
    """Whether it may be None."""
    takes_many: bool
    """Whether several values may follow it."""
    table: type
    """The dataclass whose field it is."""
    field: str
    metavar: str
    help: str = ""
    """What is said of it in place of the field's docstring."""
    repeats: bool = False
    """Whether it may be given several times, each value counting; of any other the last counts."""

    @property
    def is_positional(self) -> bool:
        """Whether it is given without a name."""
        return not self.name.startswith("-")

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is tyro.MISSING

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.kind is bool

    @property
    def off(self) -> str:
        """What turns a switch off: `--no-pictures`, `--env.no-behaviour`."""
        head, dot, last = self.name[2:].rpartition(".")
        return f"--{head}{dot}no-{last}"

    @property
    def label(self) -> str:
        """What help calls it: a switch that is on by what turns it off, another flag with what its value is called."""
        if self.is_positional:
            return f"{self.name} …" if self.takes_many else self.name
        if self.is_switch:
            return self.off if self.default is True else self.name
        return f"{self.name} {self.metavar}{' …' if self.takes_many else ''}"

    @property
    def about(self) -> str:
        """What it does, in sentences."""
        text = self.help or field_docs(self.table).get(self.field, "")
        return f"Do not {text[0].lower()}{text[1:]}" if text and self.is_switch and self.default is True else text

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if get_origin(self.kind) is Literal:
            return f"one of {', '.join(map(repr, get_args(self.kind)))}"
        return _IN_WORDS.get(self.kind, "names and values in turn")


def flags_of(arguments: Any, prefix: str = "") -> Iterator[Flag]:
    """Yield what a command takes; `arguments` is an instance of its class that holds the defaults.

    Lists and tables among a file's kwargs are no flags.
    """
    hints = typing.get_type_hints(type(arguments), include_extras=True)
    for field in dataclasses.fields(arguments):
        hint, conf = _without_extras(hints[field.name])
        default = getattr(arguments, field.name)
        given = next((each.name for each in conf if getattr(each, "name", None) is not None), field.name)
        name = prefix + given.replace("_", "-")
        if dataclasses.is_dataclass(default):
            yield from flags_of(default, f"{name}." if name else prefix)
        elif get_origin(hint) is dict and default:
            for key, value in default.items():
                if isinstance(value, bool | int | float | str):
                    full = f"--{name}.{key.replace('_', '-')}"
                    yield Flag(
                        full, type(value), value, False, False, type(arguments), field.name, _metavar(type(value))
                    )
        else:
            yield _flag(name, hint, conf, default, type(arguments), field.name)


def with_defaults(arguments: type) -> Any:
    """Return a command's arguments, `tyro.MISSING` for those without a default."""
    missing = [
        field.name
        for field in dataclasses.fields(arguments)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return arguments(**dict.fromkeys(missing, tyro.MISSING))


@functools.cache
def field_docs(table: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, each in one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(table))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for statement, after in pairwise(definition.body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.split())
    return docs


def _flag(name: str, hint: Any, conf: tuple[Any, ...], default: Any, table: type, field: str) -> Flag:
    options = get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union else (hint,)
    (kind,) = (option for option in options if option is not types.NoneType)
    repeats = tyro.conf.UseAppendAction in conf
    takes_many = get_origin(kind) in (tuple, dict) and not repeats
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    elif get_origin(kind) is dict:
        kind = dict
    metavar = next(filter(None, (getattr(each, "metavar", None) for each in conf)), None) or _metavar(kind)
    text = next(filter(None, (getattr(each, "help", None) for each in conf)), "")
    name = field.upper() if tyro.conf.Positional in conf else f"--{name}"
    return Flag(
        name,
        kind,
        default,
        types.NoneType in options,
        takes_many,
        table,
        field,
        metavar,
        " ".join(text.split()),
        repeats,
    )


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return _METAVARS.get(kind, "NAME VALUE")


def _without_extras(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type hint without `Annotated`, and what that says of it."""
    return (get_args(hint)[0], hint.__metadata__) if get_origin(hint) is typing.Annotated else (hint, ())
