"""TOML files read strictly into frozen dataclasses: an unknown key or a wrong type is an error that names the key."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import keyword
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gadask.errors import ConfigError
from gadask.shipped import CONFIGS, nearest_file


def read_toml(path: Path, what: str, shipped: Path = CONFIGS) -> dict[str, Any]:
    """Return the tables of a TOML file, which the error calls `what`; `shipped` is the folder of gadask's own.

    Raises `ConfigError` naming the file if it cannot be read or is no TOML; the nearest name where it is not there.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        near = nearest_file(path, shipped) if isinstance(error, FileNotFoundError) else None
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(f"{path}: cannot read the {what}: {error.strerror}{hint}") from None
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, absurd numbers or depth
        raise ConfigError(f"{path}: not a TOML file: {error}") from None


def overlay(base: Any, table: dict[str, Any], path: str = "") -> Any:
    """Return the dataclass `base` with the fields named in `table` replaced, recursively and strictly.

    A field that is called after a word of Python's ends in `_`, and its key does not. `path` is what stands before the
    keys in errors, such as `"ga."`. Raises `ConfigError` naming the key.
    """
    types = get_type_hints(type(base))
    changes: dict[str, Any] = {}
    for key, value in table.items():
        field = f"{key}_" if keyword.iskeyword(key) else key
        if field not in types:
            names = [name.removesuffix("_") for name in types]
            raise ConfigError(f"unknown key {path + key!r}; {nearest(key, names, path)}")
        current = getattr(base, field)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise ConfigError(f"{path + key}: expected a table, found {value!r}")
            changes[field] = overlay(current, value, f"{path}{key}.")
        else:
            changes[field] = _checked(value, types[field], path + key)
    return dataclasses.replace(base, **changes)


def nearest(name: str, right: Iterable[str], path: str = "") -> str:
    """Return the question whether the nearest right name was meant, or the list of them if none is near."""
    right = sorted(right)
    near = difflib.get_close_matches(name, right, n=1)
    return f"did you mean {path + near[0]!r}?" if near else f"expected one of {', '.join(right)}"


def _checked(value: Any, kind: Any, key: str) -> Any:
    """Return `value` as a `kind`; whole floats pass as int and ints as float, nothing else is converted.

    Infinity stands for None where None is allowed: TOML has no null.
    """
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise ConfigError(f"{key}: expected one of {', '.join(map(repr, get_args(kind)))}, found {value!r}")
    if get_origin(kind) is tuple:  # of strings
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{key}: expected a list of strings, found {value!r}")
        return tuple(value)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{key}: expected a table, found {value!r}")
        for name, item in value.items():
            _check_plain(item, f"{key}.{name}")
        return dict(value)
    options = get_args(kind) or (kind,)
    if type(None) in options and value == math.inf:
        return None
    for option in options:
        if isinstance(value, option) and (option is bool or not isinstance(value, bool)):
            if option is float and math.isnan(value):
                break
            return value
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                return float(value)
        if option is int and isinstance(value, float) and value.is_integer():
            return int(value)
    names = " or ".join(option.__name__ for option in options if option is not type(None))
    raise ConfigError(f"{key}: expected {names}, found {value!r} ({type(value).__name__})")


def _check_plain(item: Any, key: str) -> None:
    """Raise `ConfigError` unless `item` is a string, a number or a boolean, or lists and tables of them."""
    if isinstance(item, dict):
        for name, inner in item.items():
            _check_plain(inner, f"{key}.{name}")
    elif isinstance(item, list):
        for place, inner in enumerate(item):
            _check_plain(inner, f"{key}[{place}]")
    elif not isinstance(item, bool | int | float | str):
        raise ConfigError(f"{key}: expected a string, a number, a boolean, a list or a table, found {item!r}")
    elif item != item:  # NaN is unequal to itself: a config that holds it is no run's
        raise ConfigError(f"{key}: expected a number, found nan")
