"""Small run directories that are recorded as the master records them, and what plays their genomes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.algorithms.algorithm import Brood
from gadask.config import Config, EnvConfig, GAConfig, GenerationConfig, NoiseConfig, PolicyConfig
from gadask.envs import make_env
from gadask.genomes.genome import Genome, count_genes
from gadask.genomes.noise import LazyNoise
from gadask.genomes.seeding import env_seed
from gadask.genomes.weights import decode
from gadask.master.ledger import Ledger, Quota
from gadask.master.summary import Timing, log_line
from gadask.messages import Kind
from gadask.play.lanes import FirstLane, as_played
from gadask.play.rollout import play_episode
from gadask.policies import Policy, make_policy
from gadask.record.directory import RunDirectory, episode_table
from gadask.rows import ROW
from tests.generations import bases_of, candidates_of, close_generation, evaluated_of, first_state
from tests.genomes import child_genome, draw_child, scored


class Swatch(gymnasium.Env):  # type: ignore[misc]  # Gymnasium is untyped here
    """A picture of many colours that drifts; the reward is the action taken, times a half. It never ends."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "paired_tasks": True}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start again."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Go on."""
        self._steps += 1
        return self._observation(), action / 2, False, False, {}

    def render(self) -> NDArray[np.uint8]:
        """Return 1,200 colours."""
        rows, columns = np.mgrid[:30, :40]
        return np.stack([rows * 8, columns * 6, (rows + columns + self._steps) % 64 * 4], axis=2).astype(np.uint8)

    def _observation(self) -> NDArray[np.float32]:
        observation: NDArray[np.float32] = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return observation


class Unseen(Swatch):
    """The same without pictures."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def render(self) -> None:  # type: ignore[override]
        """Return nothing."""


gymnasium.register("gadask-tests/Swatch-v0", Swatch)
gymnasium.register("gadask-tests/Unseen-v0", Unseen)

GENERATION = GenerationConfig(population=6, candidates=2, candidate_episodes=3)
SWATCH = Config(
    seed=5,
    env=EnvConfig(id="gadask-tests/Swatch-v0", max_steps=40),
    policy=PolicyConfig(kind="mlp", kwargs={"hidden": "4"}),
    noise=NoiseConfig(size=2000),
    generation=GENERATION,
    ga=GAConfig(parents=3, mutation_power=0.05),
)
FROSTBITE = replace(
    SWATCH,
    env=EnvConfig(id="ALE/Frostbite-v5", max_steps=90),
    policy=PolicyConfig(kind="nature"),
    noise=NoiseConfig(size=1_700_000),
    generation=replace(GENERATION, population=2, candidate_episodes=2),
    ga=GAConfig(parents=2, mutation_power=0.01),
)


@dataclass
class Players:
    """Environment and policy that play any genome of a config."""

    config: Config

    def __post_init__(self) -> None:
        self.env = make_env(self.config.env)
        policy = make_policy(self.config.policy, self.env.observation_space, self.env.action_space)
        self.policy = as_played(self.config.env, policy)
        self.n_params = policy.n_params
        self.noise = LazyNoise(self.config.noise)

    def load(self, genome: Genome) -> Policy | FirstLane:
        """Return the policy with a genome's weights."""
        policy = self.policy
        decode(policy.flat, genome, self.noise, policy.initialise, self.config.ga.mutation_power)
        return policy

    def play(self, genome: Genome, kind: Kind, generation: int, slot: int, episode: int) -> NDArray[np.void]:
        """Return the row of one episode."""
        common = self.config.generation.common_random_numbers
        seed = env_seed(self.config.seed, kind.purpose, generation, slot, episode, common=common)
        result = play_episode(self.env, self.load(genome), seed, self.config.env.max_steps)
        row = np.zeros(1, ROW)
        row[["generation", "slot", "episode", "steps", "frames", "return", "kind", "status"]] = (
            (generation, slot, episode, result.steps, result.frames, result.return_, kind, result.status)
        )  # fmt: skip
        return row


def record(path: Path, config: Config, n_generations: int) -> Path:
    """Evolve in this process and record it."""
    players = Players(config)
    n_genes = count_genes(config.noise.size, players.n_params)
    settings, state = config.generation, first_state(config)
    with closing(players.env), RunDirectory.create(path, config) as directory:
        for generation in range(n_generations):
            bases = bases_of(config, state)
            drawn = [draw_child(config.seed, generation, slot, bases, n_genes) for slot in range(settings.population)]
            genomes = [child_genome(bases, *draw) for draw in drawn]
            rows = [players.play(genome, Kind.CHILD, generation, slot, 0) for slot, genome in enumerate(genomes)]
            children = [scored(genome, float(rows[slot]["return"][0]), slot) for slot, genome in enumerate(genomes)]
            candidates = candidates_of(config, state, children)
            evaluations: dict[int, list[float]] = {}
            for slot, genome in enumerate(candidates):
                n_episodes = settings.candidate_episodes
                own = [players.play(genome, Kind.EVALUATION, generation, slot, i) for i in range(n_episodes)]
                evaluations[slot] = [float(row["return"][0]) for row in own]
                rows += own
            table = np.concatenate(rows)
            counted = np.zeros(len(table), np.uint8)
            brood = Brood(generation, bases, candidates)
            evaluated = evaluated_of(candidates, evaluations)
            after = close_generation(config, state, children, evaluations)
            ledger = Ledger(Quota(generation, settings.population))
            timing = Timing(1.0, 1.0, 1.0, 0.0, 1, 1)
            line = log_line(brood, table, counted, children, evaluated, after.elite, ledger, timing)
            frames, steps = (getattr(state, name) + int(table[name].sum()) for name in ("frames", "steps"))
            state = replace(after, frames=frames, steps=steps, episodes=state.episodes + len(table))
            line["total"] = {"frames": frames, "steps": steps, "episodes": state.episodes}
            line["timing"]["elapsed_s"] = generation + 1.0
            n_others = len(table) - settings.population
            parent, gene = (np.array([*column, *[-1] * n_others]) for column in zip(*drawn, strict=True))
            weight, node = np.where(gene < 0, 0, config.ga.mutation_power), ["a"] * len(table)
            episodes = episode_table(table, parent=parent, gene=gene, weight=weight, node=node, counted=counted == 0)
            directory.close_generation(episodes, line, state)
    return path
