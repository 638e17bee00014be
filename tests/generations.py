"""A generation's life without nodes, as `gadask/master/generation.py` leads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Closed, Elite, Evaluated, Scored
from gadask.algorithms.truncation import Parents, Truncation
from gadask.config import Config
from gadask.genomes.genome import Genome
from gadask.messages import Task
from gadask.record.directory import State


def task_of(config: Config, n_params: int = 10) -> Task:
    """Return the task of a run that nobody rehearses, of a policy with so many parameters."""
    return Task(
        run_seed=config.seed,
        env=config.env,
        policy=config.policy,
        noise=config.noise,
        algorithm=make_algorithm(config),
        n_params=n_params,
        n_genomes=31,
        common_random_numbers=False,
        paired_tasks=False,
        run_id="run",
        n_behaviour=2 if config.env.behaviour else 0,
    )


def first_state(config: Config) -> State:
    """Return the state before generation 0."""
    algorithm = make_algorithm(config)
    return State(algorithm=algorithm.to_json(algorithm.start((), 1)))


def state_of(
    generation: int,
    parents: tuple[Genome, ...],
    candidates: tuple[Genome, ...] = (),
    elite: Elite | None = None,
    **others: Any,
) -> State:
    """Return the state of a run of truncation selection after `generation`; −1 is before the first."""
    algorithm = Truncation.of(Config()).to_json(Parents(parents, elite))
    return State(generation, algorithm, candidates, elite, **others)


def bases_of(config: Config, state: State) -> tuple[Genome, ...]:
    """Return what the children of the generation that `state` leads to are made from."""
    algorithm = make_algorithm(config)
    return algorithm.bases(algorithm.from_json(state.algorithm))


def candidates_of(config: Config, state: State, scored: Sequence[Scored]) -> tuple[Genome, ...]:
    """Return the candidates of the generation that `state` leads to; with overlapped evaluation `scored` is unused."""
    if config.generation.elite_evaluation == "overlapped":
        return state.candidates
    algorithm = make_algorithm(config)
    return algorithm.nominate(algorithm.from_json(state.algorithm), scored)


def evaluated_of(candidates: Sequence[Genome], evaluations: Mapping[int, Sequence[float]]) -> list[Evaluated]:
    """Return candidates with what their episodes were worth, by slot."""
    return [Evaluated(genome, evaluations.get(slot, ())) for slot, genome in enumerate(candidates)]


def close_generation(
    config: Config, state: State, scored: Sequence[Scored], evaluations: Mapping[int, Sequence[float]]
) -> State:
    """Return the state after the generation that `state` leads to; `evaluations` are its candidates', by slot."""
    algorithm, number = make_algorithm(config), state.generation + 1
    evaluated = evaluated_of(candidates_of(config, state, scored), evaluations)
    after = algorithm.tell(algorithm.from_json(state.algorithm), Closed(number, scored, evaluated))
    is_overlapped = config.generation.elite_evaluation == "overlapped"
    return replace(
        state,
        generation=number,
        algorithm=algorithm.to_json(after),
        candidates=algorithm.nominate(after, scored) if is_overlapped else (),
        elite=algorithm.elite(after),
    )
