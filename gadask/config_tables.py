"""The tables of a config: what each setting means, and what must be true of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

MAX_RUN_SEED = 2**63 - 1
"""Largest run seed."""

Scalar = bool | int | float | str
if TYPE_CHECKING:
    Value = Any
else:
    Value = Scalar  # what a flag of the command line can be; it lets a file's lists and tables pass
"""What a kwarg may be: a scalar, or lists and tables of them, nested to any depth."""
Channels = Literal["auto", "first", "last"]
Closing = Literal["all", "first"]
Late = Literal["drop", "admit"]
EliteEvaluation = Literal["barrier", "overlapped"]
Precision = Literal["float32", "int8"]
Preprocessing = Literal["gadask", "such2017", "ga-dist"]
Truncation = Literal["such2017", "ga-dist"]
OptimiserKind = Literal["adam", "momentum"]

_MAX_COUNT = 2**31 - 1


class Rule(NamedTuple):
    """One thing that must be true of a config, and the message if it is not."""

    holds: bool
    key: str
    expected: str
    found: object


def count_rule(key: str, found: int, least: int) -> Rule:
    """Return the rule that a number fits the 32-bit integers that rows hold."""
    return Rule(least <= found <= _MAX_COUNT, key, f"{least} to {_MAX_COUNT}", found)


def power_rule(key: str, found: float) -> Rule:
    """Return the rule of a mutation power."""
    return Rule(0 < found < math.inf, key, "a finite number above 0", found)


@dataclass(frozen=True)
class EnvConfig:
    """What is played."""

    id: str = "ALE/Frostbite-v5"
    """Gymnasium id. `ALE/<Game>-v5` is played by ALE's emulator as `preprocessing` says; any other id goes through
    `gymnasium.make`."""
    kwargs: dict[str, Value] = field(default_factory=dict)
    """Passed to `gymnasium.make`; for Atari whatever differs from `preprocessing` (`frameskip`, `resize`, ...)."""
    wrappers: tuple[str, ...] = ()
    """Wrapped around the environment, the first one innermost: `gymnasium.wrappers.FlattenObservation`, or any
    `package.module:factory` that takes an environment and returns one."""
    channels: Channels = "auto"
    """Which axis of a picture holds its channels, where that is unclear: `first` or `last`."""
    preprocessing: Preprocessing = "gadask"
    """For Atari: whose pictures and starts of episodes. `such2017` and `ga-dist` follow those programs, `gadask` has
    the pictures that are fastest to make. Other environments ignore it."""
    max_steps: int = 5000
    """An episode is cut after this many agent steps (Atari: 4 frames a step)."""
    test_max_steps: int | None = None
    """An episode of the elite's test is cut after this many agent steps; by default `max_steps`. Where a preset sets
    it, `inf` takes it back to that."""
    episode_timeout_s: float = 600.0
    """A rollout process that plays one episode for longer than this is killed and the row gets status `timeout`."""
    rehearsal_timeout_s: float = 60.0
    """Before any node plays, environment and policy are made and play a few steps, for at most this long."""
    behaviour: bool = False
    """Gather the behaviour that the environment reports at an episode's end (`info["behaviour"]`, Atari's RAM, the
    position in MuJoCo) as a column of the episodes."""

    @property
    def unit(self) -> str:
        """What is counted: `frames` of Atari's emulator, `steps` of any other task."""
        return "frames" if self.id.startswith("ALE/") else "steps"

    @property
    def longest_test(self) -> int:
        """Steps after which an episode of a test is cut."""
        return self.max_steps if self.test_max_steps is None else self.test_max_steps

    def rules(self) -> Iterator[Rule]:
        """Yield what must be true of these settings."""
        yield Rule(bool(self.id), "env.id", "a Gymnasium id such as 'ALE/Frostbite-v5'", self.id)
        yield count_rule("env.max_steps", self.max_steps, 1)
        yield count_rule("env.test_max_steps", self.longest_test, 1)
        for key in ("episode_timeout_s", "rehearsal_timeout_s"):
            found = getattr(self, key)
            yield Rule(found > 0, f"env.{key}", "more than 0", found)


@dataclass(frozen=True)
class PolicyConfig:
    """The network that a genome's parameters fill."""

    kind: str = "such2017"
    """`such2017`, `nature`, `salimans2017`, `mlp`, `gru`, `lstm`, `gru-per-action`, `snail`, `conv-gru`,
    `conv-fast-weights`, or `package.module:factory`."""
    kwargs: dict[str, Value] = field(default_factory=dict)
    """Passed to the policy's constructor, for example `hidden = "64,64"` for `mlp`; but `actions`, for any policy, says
    how outputs become actions: `"argmax"`, `"sampled"` from their softmax, or `"uniform:5"`, five values of each entry
    of a continuous action."""
    precision: Precision = "float32"
    """`int8`, for `such2017` and `nature`: weights and activations as bytes; faster, and plays nearly the same."""
    normalise: bool = False
    """Give the network observations of mean 0 and deviation 1, measured from what children of earlier generations
    observed."""


@dataclass(frozen=True)
class NoiseConfig:
    """The table of Gaussian noise that every node holds. Its seed is not the run's, so that runs share the table."""

    seed: int = 123
    """What the table is made from."""
    size: int = 250_000_000
    """Number of float32 samples; 250 million are 1 GB."""

    def rules(self) -> Iterator[Rule]:
        """Yield what must be true of these settings."""
        yield Rule(0 <= self.seed <= MAX_RUN_SEED, "noise.seed", f"0 to {MAX_RUN_SEED}", self.seed)
        yield Rule(1 <= self.size <= MAX_RUN_SEED, "noise.size", f"1 to {MAX_RUN_SEED}", self.size)


@dataclass(frozen=True)
class AlgorithmConfig:
    """Which algorithm evolves. Its own settings are in its own table; those of other algorithms have no effect."""

    kind: str = "truncation"
    """`truncation` (table `ga`), `random-search` (table `random_search`), `novelty`, `openai-es` (table `es`), or
    `package.module:factory`."""
    kwargs: dict[str, Value] = field(default_factory=dict)
    """Passed to the factory of an algorithm that is not gadask's own."""


@dataclass(frozen=True)
class GenerationConfig:
    """What is played in a generation, whatever the algorithm: children, and candidates that are evaluated again."""

    population: int = 1000
    """Results that close a generation."""
    episodes_per_child: int = 1
    """Episodes that a child is judged by: its fitness is their mean return. More than 1 where one says little."""
    common_random_numbers: bool = False
    """Give all children of a generation the same tasks (environment seeds), and all candidates too."""
    paired_tasks: bool = False
    """Play a genome's episodes in pairs of opposite tasks, in environments that have them (`gadask/Harlow-v0`), so that
    luck cancels out; the seeds of a pair differ only in the last bit."""
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
    population_counts_evaluations: bool = False
    """Count candidates' evaluations in `population`, overlapped only (ga-dist: 700 children and 300 evaluations)."""
    min_steps: int = 0
    """A generation does not close before this many steps have been played in it."""
    max_failed_share: float = 0.1
    """The run stops when a larger share of a generation's episodes has status `error`, `timeout` or `nonfinite`."""
    fitness: str = "return"
    """What an episode is worth: its `return`, or what `package.module:function` makes of return, steps and behaviour
    (None without `env.behaviour`)."""

    def rules(self) -> Iterator[Rule]:
        """Yield what must be true of these settings."""
        yield count_rule("generation.population", self.population, 1)
        up_to = f"0 to generation.population ({self.population})"
        yield Rule(0 <= self.candidates <= self.population, "generation.candidates", up_to, self.candidates)
        yield count_rule("generation.episodes_per_child", self.episodes_per_child, 1)
        yield count_rule("generation.candidate_episodes", self.candidate_episodes, 1)
        yield count_rule("generation.spare_episodes", self.spare_episodes, 0)
        yield Rule(self.min_steps >= 0, "generation.min_steps", "at least 0", self.min_steps)
        share = self.max_failed_share
        yield Rule(0 <= share <= 1, "generation.max_failed_share", "0 to 1", share)
        known = "'return' or package.module:function"
        yield Rule(self.fitness == "return" or ":" in self.fitness, "generation.fitness", known, self.fitness)
        if self.episodes_per_child > 1:
            drop = "'drop' with generation.episodes_per_child above 1"
            yield Rule(self.late == "drop", "generation.late", drop, self.late)
        if self.paired_tasks:
            for key in ("episodes_per_child", "candidate_episodes"):
                found = getattr(self, key)
                even = "an even number with generation.paired_tasks"
                yield Rule(found % 2 == 0, f"generation.{key}", even, found)
            none = "0 with generation.paired_tasks"
            yield Rule(self.spare_episodes == 0, "generation.spare_episodes", none, self.spare_episodes)
        if self.min_steps:
            yield Rule(self.closing == "first", "generation.closing", "'first' with generation.min_steps", self.closing)
        if self.population_counts_evaluations:
            overlapped = "'overlapped' with generation.population_counts_evaluations"
            is_overlapped = self.elite_evaluation == "overlapped"
            yield Rule(is_overlapped, "generation.elite_evaluation", overlapped, self.elite_evaluation)
            least = self.candidates * self.candidate_episodes
            needed = f"more than generation.candidates × generation.candidate_episodes ({least})"
            yield Rule(self.population > least, "generation.population", needed, self.population)


def parents_rules(table: str, parents: int, generation: GenerationConfig) -> Iterator[Rule]:
    """Yield the rules of how many parents are chosen among a generation's children."""
    population = generation.population
    up_to = f"1 to generation.population ({population})"
    yield Rule(1 <= parents <= population, f"{table}.parents", up_to, parents)
    if generation.population_counts_evaluations:
        least = parents + generation.candidates * generation.candidate_episodes
        needed = f"at least {table}.parents + generation.candidates × generation.candidate_episodes ({least})"
        yield Rule(population >= least, "generation.population", needed, population)


def several_rule(generation: GenerationConfig) -> Rule:
    """Return the rule of algorithms whose elite is a candidate again."""
    several = "0, or at least 2: a single candidate stays the elite"
    return Rule(generation.candidates != 1, "generation.candidates", several, generation.candidates)


@dataclass(frozen=True)
class GAConfig:
    """The genetic algorithm: truncation selection without crossover."""

    algorithm = "truncation"

    parents: int = 20
    """Genomes kept by truncation."""
    mutation_power: float = 0.002
    """Standard deviation of the noise that a mutation adds."""
    truncation: Truncation = "such2017"
    """How parents are chosen after the first generation: `such2017` keeps `parents` genomes with the elite among them,
    `ga-dist` the elite and the `parents − 2` best children."""
    self_adaptive: bool = False
    """Let selection choose mutation powers too: a child's is its parent's times a random factor, and that of the first
    children is `mutation_power`."""
    self_adaptive_rate: float = 0.2
    """Standard deviation of this factor's logarithm."""

    def rules(self, generation: GenerationConfig) -> Iterator[Rule]:
        """Yield what must be true of these settings beside those of the generation."""
        yield from parents_rules("ga", self.parents, generation)
        yield power_rule("ga.mutation_power", self.mutation_power)
        yield several_rule(generation)
        if self.truncation == "ga-dist":
            yield Rule(self.parents >= 3, "ga.parents", "at least 3 with ga.truncation = 'ga-dist'", self.parents)
            two = "at least 2 with ga.truncation = 'ga-dist'"
            yield Rule(generation.candidates >= 2, "generation.candidates", two, generation.candidates)
        if self.self_adaptive:
            power, rate = self.mutation_power, self.self_adaptive_rate
            yield Rule(1e-30 <= power <= 1e30, "ga.mutation_power", "1e-30 to 1e30 with ga.self_adaptive", power)
            yield Rule(0 < rate <= 10, "ga.self_adaptive_rate", "more than 0, at most 10", rate)


@dataclass(frozen=True)
class RandomSearchConfig:
    """Random search: no child descends from another."""

    algorithm = "random-search"

    mutation_power: float = 0.002
    """Standard deviation of the noise that a child adds to `start.from`; without that, a child is a new network."""

    def rules(self, generation: GenerationConfig) -> Iterator[Rule]:
        """Yield what must be true of these settings."""
        yield power_rule("random_search.mutation_power", self.mutation_power)
        yield several_rule(generation)


@dataclass(frozen=True)
class NoveltyConfig:
    """Novelty search: parents are the children that behave unlike all others; needs `env.behaviour`."""

    algorithm = "novelty"
    needs_behaviour = True

    parents: int = 20
    """Children kept as parents: the most novel."""
    mutation_power: float = 0.002
    """Standard deviation of the noise that a mutation adds."""
    neighbours: int = 10
    """A child's novelty is the mean distance of its behaviour to this many nearest others."""
    archive_share: float = 0.01
    """Probability that a child's behaviour enters the archive, with which later children are compared too."""
    archive_size: int = 5000
    """Largest number of behaviours in the archive; the oldest leave first."""
    return_weight: float = 0.0
    """Weight of the return: 0 chooses parents by novelty alone, 1 by return alone, as `truncation` does, values between
    by the weighted mean of both ranks."""

    def rules(self, generation: GenerationConfig) -> Iterator[Rule]:
        """Yield what must be true of these settings beside those of the generation."""
        yield from parents_rules("novelty", self.parents, generation)
        yield power_rule("novelty.mutation_power", self.mutation_power)
        yield several_rule(generation)
        yield count_rule("novelty.neighbours", self.neighbours, 1)
        yield count_rule("novelty.archive_size", self.archive_size, 0)
        for key in ("archive_share", "return_weight"):
            found = getattr(self, key)
            yield Rule(0 <= found <= 1, f"novelty.{key}", "0 to 1", found)


@dataclass(frozen=True)
class ESConfig:
    """The evolution strategy of OpenAI: pairs of children around one centre."""

    algorithm = "openai-es"

    sigma: float = 0.02
    """Standard deviation of the noise by which a child differs from the centre."""
    learning_rate: float = 0.01
    """Learning rate of the optimiser."""
    optimiser: OptimiserKind = "adam"
    """What moves the centre: `adam`, or `momentum`, which is gradient descent with momentum."""
    momentum: float = 0.9
    """With `optimiser = "momentum"`: how much of the last direction is kept."""
    weight_decay: float = 0.005
    """The centre times this is added to the gradient."""
    anchor_every: int = 12
    """The centre is stored as numbers once in this many generations. Nodes that come later, films and a resumed run
    begin from it."""

    def rules(self, generation: GenerationConfig) -> Iterator[Rule]:
        """Yield what must be true of these settings beside those of the generation."""
        yield power_rule("es.sigma", self.sigma)
        for key in ("learning_rate", "weight_decay"):
            found = getattr(self, key)
            yield Rule(0 <= found < math.inf, f"es.{key}", "a finite number of at least 0", found)
        yield Rule(0 <= self.momentum < 1, "es.momentum", "0 to below 1", self.momentum)
        yield count_rule("es.anchor_every", self.anchor_every, 1)
        with_es = "with algorithm.kind = 'openai-es'"
        population, late = generation.population, generation.late
        yield Rule(population % 2 == 0, "generation.population", f"an even number {with_es}", population)
        yield Rule(generation.candidates > 0, "generation.candidates", f"at least 1 {with_es}", generation.candidates)
        counts = generation.population_counts_evaluations
        yield Rule(not counts, "generation.population_counts_evaluations", f"false {with_es}", counts)
        yield Rule(late == "drop", "generation.late", f"'drop' {with_es}", late)


@dataclass(frozen=True)
class StartConfig:
    """What generation 0 begins with."""

    from_: str = ""
    """Weights that the first children are made from: `RUN_DIR` or `RUN_DIR:best` (its elite), `RUN_DIR:last`, a genome
    such as `17-4042`, or a file of weights (`.safetensors`). Empty: new networks."""


@dataclass(frozen=True)
class BudgetConfig:
    """When a run ends: at the end of the generation in which the first of these is reached."""

    generations: int | None = None
    """Generations to play. `inf`, or leaving it out, means no limit, here and in the fields below."""
    frames: float | None = None
    """Emulator frames, candidates' evaluation included (Atari: 4 a step; other environments: 1 a step)."""
    hours: float | None = None
    """Wall time of evolution, over all restarts of the run."""
    elite_mean: float | None = None
    """Stop when the elite's mean return, or fitness, over its evaluation episodes reaches this."""
    test_episodes: int = 200
    """Episodes on which `gadask run` and `gadask sweep` test the last elite at the end, not counted in the budget. In
    Atari without sticky actions, where a genome has few different ones, each of these is played once. 0: no test."""

    def rules(self) -> Iterator[Rule]:
        """Yield what must be true of these settings."""
        yield count_rule("budget.test_episodes", self.test_episodes, 0)
        for key in ("generations", "frames", "hours"):
            limit = getattr(self, key)
            yield Rule(limit is None or limit > 0, f"budget.{key}", "more than 0", limit)
