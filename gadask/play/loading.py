"""A run's networks outside of its nodes, for films, modules and other runs."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import moving
from gadask.config import Config, NoiseConfig
from gadask.envs import make_env
from gadask.genomes.anchors import FOLDER, read_anchor, read_vectors
from gadask.genomes.genome import Genome, check_genes, count_genes
from gadask.genomes.noise import CHUNK, LazyNoise, Noise, NoiseTable
from gadask.genomes.seeding import Purpose, stream
from gadask.genomes.stored import read_updates
from gadask.genomes.weights import decode, decode_vectors
from gadask.numerics import one_thread
from gadask.observations import Normaliser
from gadask.play.lanes import FirstLane, as_played
from gadask.play.reference import policy_for
from gadask.play.rollout import Episode, play_episode
from gadask.policies import Policy


def new_policy(config: Config) -> Policy:
    """Return the policy of a run, with parameters that mean nothing yet.

    Raises:
        EnvError, PolicyError: environment or policy are not installed here.
    """
    with _generators_kept(), closing(make_env(config.env)) as env:
        return policy_for(env, config.env, config.policy, config.seed)


def load_genome(policy: Policy | FirstLane, genome: Genome, config: Config, run_dir: Path | str) -> None:
    """Fill a policy with the weights that a genome has in a run.

    Raises `GenomeError` if the genome cannot be one of the run's: a noise index beyond the table, an anchor that is not
    there.
    """
    n_params = policy.flat.numel()
    n_genes = count_genes(config.noise.size, n_params)
    check_genes(genome, n_genes)
    algorithm = make_algorithm(config)
    moves = moving(algorithm)
    if moves is None:
        anchor = functools.partial(read_anchor, Path(run_dir) / FOLDER, n_params=n_params)
        noise = LazyNoise(config.noise)
        decode(policy.flat, genome, noise, policy.initialise, algorithm.step_weight, anchor=anchor)
        return
    genes_of = functools.partial(moves.update_genes, n_genes=n_genes)
    updates = read_updates(run_dir, genome, genes_of)
    n_vectors = moves.optimiser.n_vectors
    vectors = np.zeros((1 + n_vectors, n_params), np.float32)
    n_slices = sum(len(one.genes) for one in updates.values())
    with _noise_for(config.noise, n_slices * (n_params + 2 * CHUNK)) as noise_there:
        decode_vectors(
            vectors,
            genome,
            noise_there,
            policy.initialise,
            algorithm.step_weight,
            moves.optimiser,
            updates,
            anchor=lambda digest: read_vectors(Path(run_dir) / FOLDER, digest, n_params, n_vectors),
        )
    policy.flat.copy_(torch.from_numpy(vectors[0]))


def play_genome(
    genome: Genome, config: Config, run_dir: Path | str, seeds: Iterable[int], normaliser: Normaliser | None
) -> list[Episode]:
    """Play an episode of a genome for each of the environment's seeds, as long as a test's; global generators are kept.

    `normaliser` is that of the genome's generation. Raises what `new_policy` and `load_genome` raise.
    """
    with _generators_kept(), one_thread(), closing(make_env(config.env)) as env:
        policy = as_played(config.env, policy_for(env, config.env, config.policy, config.seed))
        load_genome(policy, genome, config, run_dir)
        policy.normalise_by(normaliser)
        return [
            play_episode(
                env, policy, seed, config.env.longest_test, stream=stream(config.seed, Purpose.TEST_ACTIONS, 0, 0, seed)
            )
            for seed in seeds
        ]


@contextmanager
def _noise_for(config: NoiseConfig, n_samples: int) -> Iterator[Noise]:
    """Yield the noise in the form that takes less time where so many samples are made: the whole table for as many."""
    if n_samples <= config.size:
        yield LazyNoise(config)
    else:
        with NoiseTable.generate(config) as table:
            yield table


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global generators as they were: an environment is made with them seeded."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
