"""The beginning of an episode, played once before any node is asked for.

It is the first child's: its genome, its seed, its first steps, with everything checked that is checked on nodes. It
runs in its own process (`rehearsal_process`), since a user's code may do anything.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gadask.algorithms import make_algorithm
from gadask.blame import in_one_line
from gadask.config import Config, EnvConfig, PolicyConfig
from gadask.envs import Env, make_env
from gadask.envs.gymnasium_env import GymnasiumEnv
from gadask.errors import EnvError, GadaskError
from gadask.genomes.genome import count_genes
from gadask.genomes.noise import LazyNoise
from gadask.genomes.seeding import draw_gene, env_seed, stream
from gadask.genomes.weights import decode
from gadask.master.fitness import Fitness
from gadask.messages import Facts, Kind
from gadask.play.lanes import as_played, count_lanes
from gadask.play.reference import give_reference
from gadask.play.rollout import watch_episode
from gadask.policies import Policy, make_policy
from gadask.units import many

_STEPS = 20
_PLAY_S = 1.0
"""After this long the rest of the steps are left out."""
_LEAST_STEPS = 2


class EpisodeError(Exception):
    """Environment and policy were made, but this episode failed; another one may not. Its text is one line."""


@contextmanager
def rehearsed(config: Config, slot: int) -> Iterator[Facts]:
    """Make environment and policy and play the first steps of a slot's episode; the environment is closed at the end.

    Raises:
        EnvError, PolicyError: they cannot be made.
        ConfigError: the noise table is shorter than the policy's parameters.
        EpisodeError: playing failed.
    """
    env = make_env(config.env)
    try:
        policy = make_policy(config.policy, env.observation_space, env.action_space)
        count_genes(config.noise.size, policy.n_params)
        n_lanes = count_lanes(config.env, policy)
        try:
            give_reference(policy, env, config.env, config.seed)
            n_behaviour = _play(config, env, policy, slot)
        except GadaskError as error:
            raise EpisodeError(str(error)) from error
        except (Exception, SystemExit) as error:  # whatever an environment or a policy raises
            raise EpisodeError(
                f"env.id: {config.env.id!r} with policy {config.policy.kind!r} cannot be played: {in_one_line(error)}"
            ) from error
        kernels = f"numpy, {n_lanes} episodes together" if n_lanes else policy.kernels
        notes = tuple(_notes(config.env, env))
        n_starts = env.n_starts if _acts_alike(config.policy, policy) else 0
        yield Facts(policy.n_params, n_lanes, n_behaviour, env.has_paired_tasks, n_starts, kernels, notes)
    finally:
        with contextlib.suppress(Exception, SystemExit):
            env.close()


def _play(config: Config, env: Env, policy: Policy, slot: int) -> int:
    """Play up to `_STEPS` steps of a child of generation 0; returns the length of the behaviour, if one is wanted."""
    actor = as_played(config.env, policy)
    n_genes = count_genes(config.noise.size, policy.n_params)
    gene = draw_gene(config.seed, 0, slot, n_genes)
    decode(actor.flat, (gene,), LazyNoise(config.noise), actor.initialise, make_algorithm(config).step_weight)
    common, paired = config.generation.common_random_numbers, config.generation.paired_tasks
    seed = env_seed(config.seed, Kind.CHILD.purpose, 0, slot, 0, common=common, paired=paired)
    actions = stream(config.seed, Kind.CHILD.action_purpose, 0, slot, 0)
    end = time.monotonic() + _PLAY_S
    with torch.inference_mode():
        for steps, return_, _ in watch_episode(env, actor, seed, min(_STEPS, config.env.max_steps), actions):
            if math.isnan(return_):
                raise EnvError(f"env.id: {config.env.id!r}: reward: expected a number, found nan at step {steps}")
            if steps >= _LEAST_STEPS and time.monotonic() > end:
                break
    behaviour = env.behaviour() if config.env.behaviour else None
    if config.env.behaviour and behaviour is None:
        raise EnvError(
            f'env.behaviour: expected info["behaviour"] at every step of {config.env.id!r}, found none; have the'
            " environment or a wrapper report it, or leave env.behaviour out"
        )
    Fitness(config).of_one(return_, steps, behaviour)
    return 0 if behaviour is None else len(behaviour)


def _acts_alike(config: PolicyConfig, policy: Policy) -> bool:
    """Whether the same observations always give a genome the same actions.

    A policy of the user's own must say so itself. Normalised observations differ from generation to generation.
    """
    if policy.actions.sampled or config.normalise:
        return False
    is_own = ":" in config.kind
    return getattr(policy.module, "draws_nothing", not is_own) is True


def _notes(config: EnvConfig, env: Env) -> Iterator[str]:
    """Yield what the user may not know."""
    own = env.max_steps if isinstance(env, GymnasiumEnv) else None
    if own is not None and EnvConfig.max_steps != config.max_steps > own:
        yield (
            f"env.max_steps: {config.id!r} itself ends an episode after {many(own, 'step')}, before the"
            f" {config.max_steps} of the config;"
            f" kwargs = {{ max_episode_steps = {config.max_steps} }} under [env] raises its own limit"
        )
