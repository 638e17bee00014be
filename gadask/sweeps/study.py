"""Studies: many runs from one TOML file, every combination of some fields of the config.

    base = "../such2017.toml"    # a config file, relative to this one; may be left out
    [budget]                     # tables of a config, which win over the base's
    frames = 1e8
    [grid]                       # lists of values; every combination is a run
    seed = [0, 1, 2]
    env.id = ["ALE/Frostbite-v5", "ALE/Kangaroo-v5"]

Runs stand in the order of the grid, its last field varying fastest. A run is called after its fields in the grid, the
game first and the seed last: `frostbite-s0`, `frostbite-population-48-s0`. Adding values to a list adds runs and leaves
the others their names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gadask.config import Config, Scalar, config_from_dict, config_to_dict
from gadask.errors import ConfigError
from gadask.shipped import find_config
from gadask.toml_reader import nearest, read_toml


@dataclass(frozen=True)
class StudyRun:
    """One run of a study."""

    name: str
    """Name of its directory."""
    fields: dict[str, Scalar]
    """Its values of the grid, by dotted name such as `env.id`."""
    config: Config


def load_study(path: Path | str) -> tuple[StudyRun, ...]:
    """Return the runs of a study file, with every key and value checked.

    Raises `ConfigError` naming the file, the key, what was expected and what was found.
    """
    path = find_config(path)
    table = read_toml(path, "study file")
    try:
        names = {"base", "grid", *(field.name for field in fields(Config))}
        for key in table.keys() - names:
            raise ConfigError(f"unknown key {key!r}; {nearest(key, names)}")
        base, grid = table.pop("base", None), table.pop("grid", {})
        if base is not None:
            if not isinstance(base, str):
                raise ConfigError(f"base: expected the name of a config file, found {base!r}")
            beside, shipped = path.parent / base, find_config(base)
            found = beside if beside.exists() or not shipped.exists() else shipped
            table = _merged(read_toml(found, "config file"), table)
        return _runs(table, _flat_grid(grid))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def grid_runs(config: Config, grid: Mapping[str, Sequence[Scalar]]) -> tuple[StudyRun, ...]:
    """Return the runs of a study that is given in Python: a config, and lists of values by dotted name.

    Raises `ConfigError` as `load_study` does.
    """
    if "preset" in grid:
        raise ConfigError("grid.preset: expected in a study file, found with a config, in which every field is set")
    lists = {key: values if isinstance(values, str) else list(values) for key, values in grid.items()}
    return _runs(config_to_dict(config), _flat_grid(lists))


def _runs(table: dict[str, Any], grid: dict[str, list[Scalar]]) -> tuple[StudyRun, ...]:
    labels = {key: _labels(key, values, grid) for key, values in grid.items()}
    runs = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        config = table
        for key, value in chosen.items():
            config = _merged(config, _nested(key, value))
        name = "-".join(labels[key][value] for key, value in sorted(chosen.items(), key=_place_in_name))
        runs.append(StudyRun(name, chosen, config_from_dict(config)))
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise ConfigError(f"grid: two runs would be called {run.name!r}; leave one of the values out")
        if run.config.noise != runs[0].config.noise:
            raise ConfigError(
                f"noise: expected one table for all runs, which share it, found {runs[0].config.noise} and"
                f" {run.config.noise}; make a study of each"
            )
    return tuple(runs)


def _flat_grid(grid: object) -> dict[str, list[Scalar]]:
    """Return the lists of values by dotted name; `env.id = […]` and `"env.id" = […]` are the same."""
    if not isinstance(grid, dict) or not grid:
        raise ConfigError(f"grid: expected a table of lists, such as seed = [0, 1, 2], found {grid!r}")
    flat: dict[str, list[Scalar]] = {}
    for key, values in _leaves(grid, ""):
        if not isinstance(values, list) or not values or any(isinstance(value, list | dict) for value in values):
            raise ConfigError(f"grid.{key}: expected a list of strings, numbers or booleans, found {values!r}")
        if key in flat or len(set(values)) < len(values):
            raise ConfigError(f"grid.{key}: expected every value once, found {values!r}")
        flat[key] = values
    return flat


def _leaves(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _nested(key: str, value: Scalar) -> dict[str, Any]:
    """Return tables with one value at a dotted name."""
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of `base` with the values of `changes` over them."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _labels(key: str, values: list[Scalar], grid: dict[str, list[Scalar]]) -> dict[Scalar, str]:
    """Return what each value of a field is called in the names of runs."""
    if key == "seed":
        return {value: f"s{_slug(value)}" for value in values}
    if key == "env.id":
        short = {value: _slug(re.sub(r"^.*[/:]|-v\d+$", "", str(value)).lower()) for value in values}
        return short if len(set(short.values())) == len(values) else {value: _slug(value).lower() for value in values}
    last = key.rpartition(".")[2]
    is_alone = sum(other.rpartition(".")[2] == last for other in grid) == 1
    return {value: f"{last if is_alone else key}-{_slug(value)}" for value in values}


def _place_in_name(item: tuple[str, Scalar]) -> int:
    return {"env.id": -1, "seed": 1}.get(item[0], 0)


def _slug(value: Scalar) -> str:
    """Return a value as a part of a file name."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^\w.+]+", "-", text).strip("-.") or "-"
