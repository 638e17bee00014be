"""From a config to the task that nodes play, with everything checked that can be checked before a node is asked for."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import n_candidates
from gadask.config import Config, check_config
from gadask.errors import ConfigError, GadaskError
from gadask.genomes.genome import count_genes
from gadask.master.fitness import Fitness
from gadask.master.rehearsal_process import rehearse
from gadask.messages import Facts, Task

_facts: dict[str, Facts] = {}
"""By what is played."""


def prepare_task(config: Config, run_dir: Path | str = "") -> Task:
    """Return what nodes must know; what the config plays is rehearsed unless this process has seen it already.

    Nodes look for anchors and updates in `run_dir`. Raises `ConfigError`, `EnvError` or `PolicyError` for what no node
    could play.
    """
    (task,) = prepare_tasks([config])
    return replace(task, run_dir=str(Path(run_dir).absolute()) if run_dir else "")


def prepare_tasks(configs: Iterable[Config]) -> list[Task]:
    """Do the same for several configs in less time."""
    configs = list(configs)
    unknown: dict[str, Config] = {}
    for config in configs:
        check_config(config)
        make_algorithm(config)
        Fitness(config)
        if what_is_played(config) not in _facts:
            unknown.setdefault(what_is_played(config), config)
    if unknown:
        with closing(rehearse(list(unknown.values()))) as rehearsals:
            for what, found in zip(unknown, rehearsals, strict=True):
                if isinstance(found, GadaskError):
                    raise found
                _facts[what] = found
    return [_task(config, _facts[what_is_played(config)]) for config in configs]


def kernels_of(config: Config) -> str:
    """Return in words what computes the networks of a config that `prepare_task` was given."""
    return _facts[what_is_played(config)].kernels


def what_is_played(config: Config) -> str:
    """Return what decides how a rehearsal ends, as text."""
    return repr((config.env, config.policy, config.generation.fitness))


def _task(config: Config, facts: Facts) -> Task:
    if config.generation.paired_tasks and not facts.has_paired_tasks:
        raise ConfigError(
            f"generation.paired_tasks: expected an environment whose tasks come in pairs, found {config.env.id!r};"
            " gadask/Harlow-v0 is one, and your own says so by metadata['paired_tasks'] = True"
        )
    count_genes(config.noise.size, facts.n_params)
    algorithm = make_algorithm(config)
    return Task(
        run_seed=config.seed,
        env=config.env,
        policy=config.policy,
        noise=config.noise,
        algorithm=algorithm,
        n_params=facts.n_params,
        n_genomes=algorithm.n_bases + n_candidates(algorithm, config.generation.candidates) + 1,
        common_random_numbers=config.generation.common_random_numbers,
        paired_tasks=config.generation.paired_tasks,
        run_id=uuid.uuid4().hex,
        n_lanes=facts.n_lanes,
        n_behaviour=facts.n_behaviour,
        n_starts=facts.n_starts,
    )
