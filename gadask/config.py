"""Configuration: frozen dataclasses, TOML in and out, presets.

A config file holds the tables of `Config` and nothing else; an unknown key, a wrong type or an impossible
value is a `ConfigError` that names the key. `preset = "such2017"`, or another of `PRESETS`, at the top of the file sets
every field that the file leaves out to the values of that publication.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import tomli_w

from gadask.config_tables import (
    MAX_RUN_SEED,
    AlgorithmConfig,
    BudgetConfig,
    Channels,
    EnvConfig,
    ESConfig,
    GAConfig,
    GenerationConfig,
    NoiseConfig,
    NoveltyConfig,
    PolicyConfig,
    Precision,
    RandomSearchConfig,
    Rule,
    Scalar,
    StartConfig,
)
from gadask.errors import ConfigError
from gadask.shipped import find_config
from gadask.tables import html_table
from gadask.toml_reader import overlay, read_toml

__all__ = [
    "ALGORITHM_TABLES",
    "MAX_RUN_SEED",
    "PRESETS",
    "AlgorithmConfig",
    "BudgetConfig",
    "Channels",
    "Config",
    "ESConfig",
    "EnvConfig",
    "GAConfig",
    "GenerationConfig",
    "NoiseConfig",
    "NoveltyConfig",
    "PolicyConfig",
    "Precision",
    "RandomSearchConfig",
    "Scalar",
    "StartConfig",
    "check_config",
    "config_from_dict",
    "config_to_dict",
    "dump_config",
    "flat_settings",
    "load_config",
    "load_stored_config",
    "new_name",
    "own_settings",
    "stored_config",
]


@dataclass(frozen=True)
class Config:
    """One run: what is played, by what, evolved how, for how long.

    Example:
        >>> import gadask
        >>> config = gadask.Config(seed=3)
        >>> config.env.id, config.generation.population
        ('ALE/Frostbite-v5', 1000)
    """

    seed: int = 0
    """Everything random in a run follows from it, except the noise table. At most 2⁶³ − 1."""
    preset: Literal["none", "such2017", "ga-dist", "salimans2017-atari", "salimans2017-mujoco"] = "none"
    """Published settings for every field that the file leaves out."""
    env: EnvConfig = field(default_factory=EnvConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    start: StartConfig = field(default_factory=StartConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    ga: GAConfig = field(default_factory=GAConfig)
    random_search: RandomSearchConfig = field(default_factory=RandomSearchConfig)
    es: ESConfig = field(default_factory=ESConfig)
    novelty: NoveltyConfig = field(default_factory=NoveltyConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    def _repr_html_(self) -> str:
        """Return a table of the settings that are not the preset's own."""
        own, preset = flat_settings(self), flat_settings(PRESETS[self.preset])
        given = {name: value for name, value in own.items() if value != preset.get(name)}
        return html_table(f"config, preset {self.preset}: what differs from it", given)


ALGORITHM_TABLES: dict[str, str] = {
    kind: table.name
    for table in fields(Config)
    if isinstance(kind := getattr(table.default_factory, "algorithm", None), str)
}
"""Names of the tables that hold the settings of one algorithm, by its kind."""

_SALIMANS_2017 = GenerationConfig(
    population=5000,
    closing="first",
    min_steps=10_000,
    elite_evaluation="overlapped",
    candidates=1,
)
PRESETS: dict[str, Config] = {
    "none": Config(),
    "such2017": Config(
        preset="such2017",
        env=EnvConfig(preprocessing="such2017", test_max_steps=100_000),
        budget=BudgetConfig(frames=1e9),
    ),
    "ga-dist": Config(
        preset="ga-dist",
        env=EnvConfig(preprocessing="ga-dist"),
        policy=PolicyConfig(kind="such2017", kwargs={"initial": "unit-norm", "conv_activation": False}),
        generation=GenerationConfig(
            closing="first",
            late="drop",
            elite_evaluation="overlapped",
            population_counts_evaluations=True,
            spare_episodes=5,
            min_steps=10_000,
        ),
        ga=GAConfig(truncation="ga-dist"),
        budget=BudgetConfig(frames=1e9),
    ),
    "salimans2017-atari": Config(
        preset="salimans2017-atari",
        env=EnvConfig(preprocessing="ga-dist"),
        policy=PolicyConfig(kind="salimans2017"),
        algorithm=AlgorithmConfig("openai-es"),
        generation=_SALIMANS_2017,
        budget=BudgetConfig(frames=1e9),
    ),
    "salimans2017-mujoco": Config(
        preset="salimans2017-mujoco",
        env=EnvConfig(id="Swimmer-v5", max_steps=1000),
        policy=PolicyConfig(kind="mlp", kwargs={"hidden": "64,64"}, normalise=True),
        algorithm=AlgorithmConfig("openai-es"),
        generation=_SALIMANS_2017,
    ),
}
"""Published settings: Such et al. 2017 (arXiv 1712.06567), as their program for GPUs has them; ga-dist (2018); Salimans
et al. 2017 (arXiv 1703.03864)."""


def load_config(path: Path | str) -> Config:
    """Read a TOML file, apply its preset, and check every key and value.

    Raises `ConfigError` naming the file, the key, what was expected and what was found.

    Example:
        >>> import gadask
        >>> config = gadask.load_config("jobs/configs/cartpole.toml")
        >>> config.env.id, config.generation.population
        ('CartPole-v1', 100)
    """
    return _loaded(find_config(path), config_from_dict)


def load_stored_config(path: Path | str) -> Config:
    """Read the config of a run directory, as `load_config` does; see `stored_config`."""
    return _loaded(Path(path), stored_config)


def _loaded(path: Path, from_dict: Callable[[dict[str, Any]], Config]) -> Config:
    table = read_toml(path, "config file")
    try:
        return from_dict(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def config_from_dict(table: dict[str, Any]) -> Config:
    """Build a checked `Config` from nested dictionaries, as `tomllib` or `json` return them."""
    preset = table.get("preset", "none")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset: expected one of {', '.join(map(repr, PRESETS))}, found {preset!r}")
    old = table.get("ga")
    for key in old if isinstance(old, dict) else ():
        if new := new_name(f"ga.{key}"):
            raise ConfigError(f"ga.{key}: is now {new}")
        near = get_close_matches(key, [*(field.name for field in fields(GAConfig)), *_MOVED], n=1)
        if near and near[0] in _MOVED:
            raise ConfigError(f"unknown key 'ga.{key}'; did you mean 'generation.{near[0]}'?")
    config: Config = overlay(PRESETS[preset], table)
    check_config(config)
    return config


def stored_config(table: dict[str, Any]) -> Config:
    """Return the config that a run directory holds, in which settings may stand where they stood in earlier times."""
    table = dict(table)
    if isinstance(env := table.get("env", {}), dict):
        table["env"] = {"preprocessing": "gadask", "test_max_steps": math.inf} | env  # before they were settings
    if isinstance(old := table.get("ga"), dict) and isinstance(table.get("generation", {}), dict):
        moved = {key: value for key, value in old.items() if new_name(f"ga.{key}")}
        table["ga"] = {key: value for key, value in old.items() if key not in moved}
        table["generation"] = moved | table.get("generation", {})
    return config_from_dict(table)


def new_name(old: str) -> str | None:
    """Return what a setting with the dotted name `old` is called now; None where it has not moved."""
    table, _, key = old.partition(".")
    return f"generation.{key}" if table == "ga" and key in _MOVED else None


_MOVED = frozenset(
    {
        *("population", "episodes_per_child", "common_random_numbers", "paired_tasks", "candidates"),
        *("candidate_episodes", "spare_episodes", "closing", "late", "elite_evaluation", "min_steps"),
        *("population_counts_evaluations", "max_failed_share"),
    }
)
"""What was in the table `ga` before all algorithms shared it."""


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return nested dictionaries of strings, numbers, booleans and lists; `config_from_dict` reads them back equal.

    A field that is None is left out, or infinity where the preset would fill it.
    """

    def without_none(table: dict[str, Any], preset: dict[str, Any], *, are_kwargs: bool = False) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in table.items():
            name = key if are_kwargs else key.removesuffix("_")  # a field that is called after a word of Python's
            if isinstance(value, dict):
                plain[name] = without_none(value, preset.get(key, {}), are_kwargs=are_kwargs or key == "kwargs")
            elif value is not None:
                plain[name] = list(value) if isinstance(value, tuple) else value
            elif preset.get(key) is not None:
                plain[name] = math.inf
        return plain

    return without_none(dataclasses.asdict(config), dataclasses.asdict(PRESETS[config.preset]))


def flat_settings(config: Config) -> dict[str, Any]:
    """Return what `config_to_dict` does in one dictionary, with names such as `env.id`.

    A table among kwargs that is empty is a value like others.
    """

    def flat(table: dict[str, Any], prefix: str) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for key, value in table.items():
            is_table = isinstance(value, dict) and (value or "kwargs." not in prefix)
            settings |= flat(value, f"{prefix}{key}.") if is_table else {prefix + key: value}
        return settings

    return flat(config_to_dict(config), "")


def own_settings(config: Config) -> dict[str, Any]:
    """Return what `flat_settings` does without what has no effect: the settings of other algorithms than the run's.

    An algorithm that is not gadask's own is given the whole config, and may read all.
    """
    kind, settings = config.algorithm.kind, flat_settings(config)
    if kind not in ALGORITHM_TABLES:
        return settings
    unread = tuple(f"{table}." for other, table in ALGORITHM_TABLES.items() if other != kind)
    return {key: value for key, value in settings.items() if not key.startswith(unread)}


def dump_config(config: Config) -> str:
    """Return every field as TOML; `load_config` reads it back equal."""
    return tomli_w.dumps(config_to_dict(config))


def check_config(config: Config) -> None:
    """Raise `ConfigError` at the first value that no run can have."""
    for rule in _rules(config):
        if not rule.holds:
            raise ConfigError(f"{rule.key}: expected {rule.expected}, found {rule.found!r}")


def _rules(config: Config) -> Iterator[Rule]:
    yield Rule(0 <= config.seed <= MAX_RUN_SEED, "seed", f"0 to {MAX_RUN_SEED}", config.seed)
    for table in (config.env, config.noise, config.generation, config.budget):
        yield from table.rules()
    kind = config.algorithm.kind
    tables = {other: getattr(config, table) for other, table in ALGORITHM_TABLES.items()}
    known = f"one of {', '.join(map(repr, tables))}, or package.module:factory"
    yield Rule(kind in tables or ":" in kind, "algorithm.kind", known, kind)
    if kind in tables:
        none = f"none with algorithm.kind = {kind!r}, whose settings have a table"
        yield Rule(not config.algorithm.kwargs, "algorithm.kwargs", none, config.algorithm.kwargs)
        yield from tables[kind].rules(config.generation)
        if getattr(tables[kind], "needs_behaviour", False):
            yield Rule(config.env.behaviour, "env.behaviour", f"true with algorithm.kind = {kind!r}", False)
