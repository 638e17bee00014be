"""Configuration: frozen dataclasses, TOML in and out, presets.

A config file holds the tables of `Config` and nothing else; an unknown key, a wrong type or an impossible
value is a `ConfigError` that names the key. `preset = "such2017"` or `"ga-dist"` at the top of the file sets
every field that the file leaves out to the values of that publication; see `PRESETS`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import tomli_w

from gadask.errors import ConfigError
from gadask.tables import html_table
from gadask.toml_reader import overlay, read_toml

MAX_RUN_SEED = 2**63 - 1
"""Largest run seed."""

Scalar = bool | int | float | str
if TYPE_CHECKING:
    Value = Any
else:
    Value = Scalar  # what a flag of the command line can be; it lets a file's lists and tables pass
"""What a kwarg may be: a scalar, or lists and tables of them, nested as one likes."""
Channels = Literal["auto", "first", "last"]
Closing = Literal["all", "first"]
Late = Literal["drop", "admit"]
EliteEvaluation = Literal["barrier", "overlapped"]
Precision = Literal["float32", "int8"]
Truncation = Literal["such2017", "ga-dist"]

_MAX_COUNT = 2**31 - 1


@dataclass(frozen=True)
class EnvConfig:
    """What is played."""

    id: str = "ALE/Frostbite-v5"
    """Gymnasium id. `ALE/<Game>-v5` is played by ALE's emulator with the preprocessing of Such et al. 2017; any other
    id goes through `gymnasium.make`."""
    kwargs: dict[str, Value] = field(default_factory=dict)
    """Passed to `gymnasium.make`; for Atari the preprocessing (`frameskip`, `noop_max`, ...)."""
    wrappers: tuple[str, ...] = ()
    """Put around the environment, the first one innermost: `gymnasium.wrappers.FlattenObservation`, or any
    `package.module:factory` that takes an environment and returns one."""
    channels: Channels = "auto"
    """Which axis of a picture holds its channels, where that cannot be told: `first` or `last`."""
    max_steps: int = 5000
    """An episode is cut after this many agent steps (Atari: 4 frames a step)."""
    episode_timeout_s: float = 600.0
    """A rollout process that plays one episode for longer than this is killed and the row gets status `timeout`."""
    rehearsal_timeout_s: float = 60.0
    """Before any node plays, environment and policy are made and play a few steps, for at most so long."""
    behaviour: bool = False
    """Gather the behaviour that the environment reports at an episode's end: `info["behaviour"]`, Atari's RAM, the
    position in MuJoCo; a column of the episodes."""


@dataclass(frozen=True)
class PolicyConfig:
    """The network that a genome's parameters fill."""

    kind: str = "such2017"
    """`such2017`, `nature`, `mlp`, `gru`, `lstm`, `gru-per-action`, `snail`, `conv-gru`, `conv-fast-weights`, or
    `package.module:factory`."""
    kwargs: dict[str, Value] = field(default_factory=dict)
    """Passed to the policy's constructor, for example `hidden = "64,64"` for `mlp`; but `actions`, for any policy, says
    how outputs become actions: `"argmax"`, `"sampled"` from their softmax, or `"uniform:5"`, five values of each entry
    of a continuous action."""
    precision: Precision = "float32"
    """`int8`, for `such2017` and `nature`: weights and activations as bytes; faster, and plays nearly the same."""
    normalise: bool = False
    """Give the network observations of mean 0 and deviation 1, by what children of the generations before observed."""


@dataclass(frozen=True)
class NoiseConfig:
    """The table of Gaussian noise that every node holds. Its seed is not the run's, so that runs share it."""

    seed: int = 123
    """What the table is made from."""
    size: int = 250_000_000
    """Number of float32 samples; 250 million are 1 GB."""


@dataclass(frozen=True)
class GAConfig:
    """The genetic algorithm: truncation selection without crossover."""

    population: int = 1000
    """Results that close a generation."""
    parents: int = 20
    """Genomes kept by truncation."""
    episodes_per_child: int = 1
    """Episodes that a child is judged by, its fitness being their mean return; more than 1 where one says little."""
    common_random_numbers: bool = False
    """All children of a generation meet the same tasks (environment seeds), and so do all candidates."""
    paired_tasks: bool = False
    """A genome's episodes come in pairs of opposite tasks, in environments that have them (`gadask/Harlow-v0`), so that
    luck cancels; seeds of a pair differ in the last bit alone."""
    mutation_power: float = 0.002
    """Standard deviation of the noise that a mutation adds."""
    candidates: int = 10
    """Genomes evaluated again each generation to find the elite; 0 takes the best child as the elite."""
    candidate_episodes: int = 30
    """Evaluation episodes of each candidate."""
    spare_episodes: int = 0
    """Further episodes issued for each candidate with `closing = "first"`; the first `candidate_episodes` count."""
    closing: Closing = "all"
    """`all` waits for exactly the slots issued; `first` for the first `population` results."""
    late: Late = "drop"
    """With `closing = "first"`: `drop` results that arrive after truncation, or `admit` them to the next generation."""
    elite_evaluation: EliteEvaluation = "barrier"
    """`barrier` evaluates candidates between generations, `overlapped` together with the next generation's children."""
    truncation: Truncation = "such2017"
    """How parents are chosen after the first generation: `such2017` keeps `parents` genomes with the elite among them,
    `ga-dist` the elite and the `parents − 2` best children."""
    population_counts_evaluations: bool = False
    """Overlapped only: candidates' evaluations are part of `population` (ga-dist: 700 children and 300 evaluations)."""
    min_steps: int = 0
    """A generation does not close before this many steps were played in it."""
    max_failed_share: float = 0.1
    """The run stops when a larger share of a generation's episodes has status `error`, `timeout` or `nonfinite`."""


@dataclass(frozen=True)
class BudgetConfig:
    """When a run ends: at the end of the generation in which the first of these is reached."""

    generations: int | None = None
    """`inf`, like leaving it out, is no limit; so in the fields below."""
    frames: float | None = None
    """Emulator frames, candidates' evaluation included (Atari: 4 a step; other environments: 1 a step)."""
    hours: float | None = None
    """Wall time of evolution, over all restarts of the run."""
    elite_mean: float | None = None
    """Stop when the elite's mean return over its evaluation episodes reaches this."""
    test_episodes: int = 200
    """Episodes on which `jobs/run.py` and `jobs/sweep.py` test the last elite at the end; not counted in the budget."""


@dataclass(frozen=True)
class Config:
    """One run: what is played, by what, evolved how, for how long."""

    seed: int = 0
    """Everything random in a run follows from it, but for the noise table. At most 2⁶³ − 1."""
    preset: Literal["none", "such2017", "ga-dist"] = "none"
    """Published settings for every field that the file leaves out."""
    env: EnvConfig = field(default_factory=EnvConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    ga: GAConfig = field(default_factory=GAConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    def _repr_html_(self) -> str:
        """Return a table of the settings that are not the preset's own."""
        own, preset = flat_settings(self), flat_settings(PRESETS[self.preset])
        given = {name: value for name, value in own.items() if value != preset.get(name)}
        return html_table(f"config, preset {self.preset}: what differs from it", given)


PRESETS: dict[str, Config] = {
    "none": Config(),
    "such2017": Config(preset="such2017", budget=BudgetConfig(frames=1e9)),
    "ga-dist": Config(
        preset="ga-dist",
        policy=PolicyConfig(kind="such2017", kwargs={"initial": "unit-norm", "conv_activation": False}),
        ga=GAConfig(
            closing="first",
            late="drop",
            elite_evaluation="overlapped",
            truncation="ga-dist",
            population_counts_evaluations=True,
            spare_episodes=5,
            min_steps=10_000,
        ),
        budget=BudgetConfig(frames=1e9),
    ),
}
"""Published settings: Such et al. 2017 (arXiv 1712.06567) and ga-dist (2018)."""


def load_config(path: Path | str) -> Config:
    """Read a TOML file, apply its preset, and check every key and value.

    Raises `ConfigError` naming the file, the key, what was expected and what was found.
    """
    path = Path(path)
    table = read_toml(path, "config file")
    try:
        return config_from_dict(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def config_from_dict(table: dict[str, Any]) -> Config:
    """Build a checked `Config` from nested dictionaries, as `tomllib` or `json` return them."""
    preset = table.get("preset", "none")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset: expected one of {', '.join(map(repr, PRESETS))}, found {preset!r}")
    config: Config = overlay(PRESETS[preset], table)
    check_config(config)
    return config


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return nested dictionaries of strings, numbers, booleans and lists; `config_from_dict` reads them back equal.

    A field that is None is left out, or infinity where the preset would fill it.
    """

    def without_none(table: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in table.items():
            if isinstance(value, dict):
                plain[key] = without_none(value, preset.get(key, {}))
            elif value is not None:
                plain[key] = list(value) if isinstance(value, tuple) else value
            elif preset.get(key) is not None:
                plain[key] = math.inf
        return plain

    return without_none(dataclasses.asdict(config), dataclasses.asdict(PRESETS[config.preset]))


def flat_settings(config: Config) -> dict[str, Any]:
    """Return what `config_to_dict` does in one dictionary, with names such as `env.id`."""

    def flat(table: dict[str, Any], prefix: str) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for key, value in table.items():
            settings |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return settings

    return flat(config_to_dict(config), "")


def dump_config(config: Config) -> str:
    """Return every field as TOML; `load_config` reads it back equal."""
    return tomli_w.dumps(config_to_dict(config))


def check_config(config: Config) -> None:
    """Raise `ConfigError` at the first value that no run can have."""
    env, noise, ga, budget = config.env, config.noise, config.ga, config.budget
    rules = [
        _Rule(0 <= config.seed <= MAX_RUN_SEED, "seed", f"0 to {MAX_RUN_SEED}", config.seed),
        _Rule(bool(env.id), "env.id", "a Gymnasium id such as 'ALE/Frostbite-v5'", env.id),
        _count("env.max_steps", env.max_steps, 1),
        _Rule(env.episode_timeout_s > 0, "env.episode_timeout_s", "more than 0", env.episode_timeout_s),
        _Rule(env.rehearsal_timeout_s > 0, "env.rehearsal_timeout_s", "more than 0", env.rehearsal_timeout_s),
        _Rule(0 <= noise.seed <= MAX_RUN_SEED, "noise.seed", f"0 to {MAX_RUN_SEED}", noise.seed),
        _Rule(1 <= noise.size <= MAX_RUN_SEED, "noise.size", f"1 to {MAX_RUN_SEED}", noise.size),
        *_ga_rules(ga),
        _count("budget.test_episodes", budget.test_episodes, 0),
    ]
    for key in ("generations", "frames", "hours"):
        limit = getattr(budget, key)
        rules.append(_Rule(limit is None or limit > 0, f"budget.{key}", "more than 0", limit))
    for rule in rules:
        if not rule.holds:
            raise ConfigError(f"{rule.key}: expected {rule.expected}, found {rule.found!r}")


class _Rule(NamedTuple):
    """One thing that must be true of a config, and what is said where it is not."""

    holds: bool
    key: str
    expected: str
    found: object


def _ga_rules(ga: GAConfig) -> Iterator[_Rule]:
    yield _count("ga.population", ga.population, 1)
    up_to_population = f"to ga.population ({ga.population})"
    yield _Rule(1 <= ga.parents <= ga.population, "ga.parents", f"1 {up_to_population}", ga.parents)
    yield _Rule(0 < ga.mutation_power < math.inf, "ga.mutation_power", "a finite number above 0", ga.mutation_power)
    yield _Rule(0 <= ga.candidates <= ga.population, "ga.candidates", f"0 {up_to_population}", ga.candidates)
    yield _count("ga.episodes_per_child", ga.episodes_per_child, 1)
    several = "0, or at least 2: a single candidate is the elite for ever"
    yield _Rule(ga.candidates != 1, "ga.candidates", several, ga.candidates)
    yield _count("ga.candidate_episodes", ga.candidate_episodes, 1)
    yield _count("ga.spare_episodes", ga.spare_episodes, 0)
    yield _Rule(ga.min_steps >= 0, "ga.min_steps", "at least 0", ga.min_steps)
    yield _Rule(0 <= ga.max_failed_share <= 1, "ga.max_failed_share", "0 to 1", ga.max_failed_share)
    if ga.episodes_per_child > 1:
        yield _Rule(ga.late == "drop", "ga.late", "'drop' with ga.episodes_per_child above 1", ga.late)
    if ga.paired_tasks:
        for key in ("episodes_per_child", "candidate_episodes"):
            found = getattr(ga, key)
            yield _Rule(found % 2 == 0, f"ga.{key}", "an even number with ga.paired_tasks", found)
        yield _Rule(ga.spare_episodes == 0, "ga.spare_episodes", "0 with ga.paired_tasks", ga.spare_episodes)
    if ga.min_steps:
        yield _Rule(ga.closing == "first", "ga.closing", "'first' with ga.min_steps", ga.closing)
    if ga.truncation == "ga-dist":
        yield _Rule(ga.parents >= 3, "ga.parents", "at least 3 with ga.truncation = 'ga-dist'", ga.parents)
        yield _Rule(ga.candidates >= 2, "ga.candidates", "at least 2 with ga.truncation = 'ga-dist'", ga.candidates)
    if ga.population_counts_evaluations:
        overlapped = "'overlapped' with ga.population_counts_evaluations"
        yield _Rule(ga.elite_evaluation == "overlapped", "ga.elite_evaluation", overlapped, ga.elite_evaluation)
        least = ga.parents + ga.candidates * ga.candidate_episodes
        needed = f"at least ga.parents + ga.candidates × ga.candidate_episodes ({least})"
        yield _Rule(ga.population >= least, "ga.population", needed, ga.population)


def _count(key: str, found: int, least: int) -> _Rule:
    """Return the rule that a number fits the 32-bit integers that rows hold."""
    return _Rule(least <= found <= _MAX_COUNT, key, f"{least} to {_MAX_COUNT}", found)
