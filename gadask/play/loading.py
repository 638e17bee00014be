"""A run's networks outside of its nodes, for films, modules and other runs."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch

from gadask.algorithms import make_algorithm
from gadask.config import Config
from gadask.envs import make_env
from gadask.genomes.anchors import FOLDER, read_anchor
from gadask.genomes.genome import Genome, check_genes, count_genes
from gadask.genomes.noise import LazyNoise
from gadask.genomes.weights import decode
from gadask.play.lanes import FirstLane
from gadask.play.reference import policy_for
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
    check_genes(genome, count_genes(config.noise.size, n_params))
    anchor = functools.partial(read_anchor, Path(run_dir) / FOLDER, n_params=n_params)
    step_weight = make_algorithm(config).step_weight
    decode(policy.flat, genome, LazyNoise(config.noise), policy.initialise, step_weight, anchor=anchor)


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
