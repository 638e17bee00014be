"""From a config to the task that nodes play, with everything checked that can be checked before a node is asked for."""

from __future__ import annotations

import uuid
from contextlib import closing

from gadask.config import Config, check_config
from gadask.envs import make_env
from gadask.errors import ConfigError
from gadask.genome import count_genes
from gadask.messages import Task


def prepare_task(config: Config) -> Task:
    """Make the environment and the policy once, here, and return what nodes must know.

    Raises `ConfigError`, `EnvError` or `PolicyError` for what no node could play.
    """
    check_config(config)
    with closing(make_env(config.env)) as env:
        from gadask.lanes import count_lanes
        from gadask.policies import make_policy

        policy = make_policy(config.policy, env.observation_space, env.action_space)
        if config.ga.paired_tasks and not env.has_paired_tasks:
            raise ConfigError(
                f"ga.paired_tasks: expected an environment whose tasks come in pairs, found {config.env.id!r};"
                " gadask/Harlow-v0 is one, and one of your own says so by metadata['paired_tasks'] = True"
            )
    count_genes(config.noise.size, policy.n_params)
    return Task(
        run_seed=config.seed,
        env=config.env,
        policy=config.policy,
        noise=config.noise,
        mutation_power=config.ga.mutation_power,
        n_params=policy.n_params,
        n_genomes=config.ga.parents + config.ga.candidates + 1,
        common_random_numbers=config.ga.common_random_numbers,
        paired_tasks=config.ga.paired_tasks,
        run_id=uuid.uuid4().hex,
        n_lanes=count_lanes(config.env, policy),
    )
