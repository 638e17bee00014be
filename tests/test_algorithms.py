"""What every algorithm of `ALGORITHMS` promises, and that truncation selection chooses as it always has."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Algorithm, Brood, Closed, Evaluated, Scored, described
from gadask.algorithms.elites import exact_mean
from gadask.config import Config, config_from_dict
from gadask.errors import RecordError
from gadask.genomes.genome import Genome, step, to_text
from tests.algorithm_cases import CASES, merged

KINDS = sorted(CASES)
N_GENES = 1000
RUNS = Path(__file__).parent / "data" / "selections"


def small(kind: str, **generation: object) -> Config:
    """Return a small run of an algorithm."""
    settings = {"population": 12, "candidates": 3, "candidate_episodes": 2, **generation}
    own = {"parents": 4, "mutation_power": 0.1}
    return config_from_dict(merged({"seed": 3, "generation": settings, "ga": own, "novelty": own}, CASES[kind]))


class Step(NamedTuple):
    """A generation that was made up: the state before it, what was played, the state after."""

    before: Any
    closed: Closed
    after: Any


def lived(config: Config, algorithm: Algorithm[Any], n_generations: int, origin: Genome = ()) -> Iterator[Step]:
    """Play generations whose returns are drawn, with ties, and a child and an evaluation that failed."""
    draw = random.Random(config.seed)
    state = algorithm.start(origin, N_GENES)
    candidates: tuple[Genome, ...] = ()
    is_overlapped = config.generation.elite_evaluation == "overlapped"
    for number in range(n_generations):
        brood = Brood(number, algorithm.bases(state), candidates if is_overlapped else ())
        slots = np.arange(config.generation.population)
        scored = [
            child._replace(behaviour=(float(draw.randrange(9)), draw.randrange(9) / 4))
            for child in children_of(algorithm, brood, slots, [float(draw.randrange(6)) for _ in slots])
            if child.slot != number
        ]
        candidates = brood.candidates if is_overlapped else algorithm.nominate(state, scored)
        evaluated = [
            Evaluated(genome, [float(draw.randrange(6))] * (2 if place != 1 else 0))
            for place, genome in enumerate(candidates)
        ]
        closed = Closed(number, scored, evaluated)
        after = algorithm.tell(state, closed)
        yield Step(state, closed, after)
        candidates = algorithm.nominate(after, scored)
        state = after


def children_of(
    algorithm: Algorithm[Any], brood: Brood, slots: np.ndarray[Any, Any], fitness: Sequence[float]
) -> list[Scored]:
    made = zip(*(column.tolist() for column in algorithm.children(brood, slots, N_GENES)), strict=True)
    return [
        Scored(brood.bases[row] if row >= 0 else (), step(gene, weight, algorithm.step_weight), value, slot)
        for slot, value, (row, gene, weight) in zip(slots.tolist(), fitness, made, strict=True)
    ]


@pytest.fixture(params=["barrier", "overlapped"])
def evaluation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_its_state_survives_json(kind: str, evaluation: str) -> None:
    config = small(kind, elite_evaluation=evaluation)
    algorithm = make_algorithm(config)
    for origin in ((), (17, 4), ("0" * 32,)):
        states = [algorithm.start(origin, N_GENES), *(one.after for one in lived(config, algorithm, 5, origin))]
        for state in states:
            document = json.loads(json.dumps(algorithm.to_json(state), allow_nan=False))
            assert document == algorithm.to_json(state)
            assert algorithm.from_json(document) == state
            said = described(algorithm, state)
            assert json.loads(json.dumps(said, allow_nan=False)) == said


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_state_is_refused(kind: str) -> None:
    config = small(kind)
    algorithm = make_algorithm(config)
    *_, last = lived(config, algorithm, 2, (17, 4))
    document = algorithm.to_json(last.after)
    for key in document:
        without = {name: value for name, value in document.items() if name != key}
        for damaged in (without, {**document, "surplus": 1}, {**document, key: "x"}, {**document, key: [["x"]]}):
            with pytest.raises(RecordError, match=f"{key}|keys"):
                algorithm.from_json(damaged)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_child_is_made_alike_in_any_company(kind: str, data: st.DataObject) -> None:
    algorithm = make_algorithm(small(kind))
    brood = Brood(data.draw(st.integers(0, 9)), data.draw(st.sampled_from([(), ((5,),), ((5,), (6, 7), (8,))])))
    slots = data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=8))
    together = algorithm.children(brood, np.array(slots), N_GENES)
    alone = [pickle.loads(pickle.dumps(algorithm)).children(brood, np.array([slot]), N_GENES) for slot in slots]
    for column, columns in zip(together, zip(*alone, strict=True), strict=True):
        assert column.tolist() == np.concatenate(columns).tolist()
    assert ((together.rows >= -1) & (together.rows < len(brood.bases))).all()
    assert ((together.genes >= 0) & (together.genes < N_GENES)).all()
    assert np.isfinite(together.weights).all()


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_arrival_has_no_part_in_it(kind: str, evaluation: str) -> None:
    config = small(kind, elite_evaluation=evaluation)
    algorithm = make_algorithm(config)
    for one in lived(config, algorithm, 5):
        shuffled = random.Random(1).sample(one.closed.scored, len(one.closed.scored))
        assert algorithm.tell(one.before, replace(one.closed, scored=shuffled)) == one.after
        for state in (one.before, one.after):
            assert algorithm.nominate(state, shuffled) == algorithm.nominate(state, one.closed.scored)


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_to_its_room(kind: str, evaluation: str) -> None:
    config = small(kind, elite_evaluation=evaluation)
    algorithm = make_algorithm(config)
    assert algorithm.elite(algorithm.start((), N_GENES)) is None
    for one in lived(config, algorithm, 5):
        assert len(algorithm.bases(one.after)) <= algorithm.n_bases
        assert len(algorithm.nominate(one.after, one.closed.scored)) <= config.generation.candidates
        elite = algorithm.elite(one.after)
        if one.closed.evaluated:
            assert elite is not None
            assert elite.genome in [candidate.genome for candidate in one.closed.evaluated]


@pytest.mark.parametrize("kind", KINDS)
def test_children_of_generation_0_are_made_from_the_start(kind: str) -> None:
    algorithm = make_algorithm(small(kind))
    assert all(len(base) == 1 for base in algorithm.bases(algorithm.start((), N_GENES)))  # new networks at most
    assert algorithm.bases(algorithm.start((17, 4), N_GENES)) == ((17, 4),)


@pytest.mark.parametrize("name", ["frostbite", "kangaroo", "bandit", "cartpole", "hopper"])
def test_truncation_chooses_as_it_always_has(name: str) -> None:
    recorded = json.loads(gzip.decompress((RUNS / f"{name}.json.gz").read_bytes()))
    config = config_from_dict(tomllib.loads(recorded["config"]))
    settings, algorithm = config.generation, make_algorithm(config)
    state = algorithm.start((), N_GENES)
    candidates: tuple[Genome, ...] = ()
    broods: dict[int, Brood] = {}
    is_overlapped = settings.elite_evaluation == "overlapped"
    for number, one in enumerate(recorded["generations"]):
        broods[number] = Brood(number, algorithm.bases(state), candidates)
        assert texts(broods[number].bases) == one["parents"]
        scored = scored_again(algorithm, broods, one["children"], settings.episodes_per_child, recorded["n_genes"])
        if not is_overlapped:
            candidates = algorithm.nominate(state, scored)
        assert texts(candidates) == one["candidates"]
        evaluated = [
            Evaluated(genome, [value for place, _, value in one["evaluations"] if place == slot])
            for slot, genome in enumerate(candidates)
        ]
        state = algorithm.tell(state, Closed(number, scored, evaluated))
        elite = algorithm.elite(state)
        found = elite and {
            "genome": to_text(elite.genome),
            "mean": elite.mean,
            "episodes": elite.episodes,
            "generation": elite.generation,
        }
        assert found == one["elite"]
        candidates = algorithm.nominate(state, scored) if is_overlapped else ()
    assert number == 7


def scored_again(
    algorithm: Algorithm[Any], broods: dict[int, Brood], rows: list[Any], n_episodes: int, n_genes: int
) -> list[Scored]:
    """Return the children of recorded rows, made again from the broods of their generations."""
    returns: dict[tuple[int, int], list[float]] = {}
    for generation, slot, _, value, parent, gene in rows:
        (row,), (drawn,), _ = algorithm.children(broods[generation], np.array([slot]), n_genes)
        assert (row, drawn) == (parent, gene)
        returns.setdefault((generation, slot), []).append(value)
    scored = []
    for (generation, slot), values in returns.items():
        (row,), (gene,), _ = algorithm.children(broods[generation], np.array([slot]), n_genes)
        base = broods[generation].bases[row] if row >= 0 else ()
        mean = exact_mean(values)
        if len(values) == n_episodes and mean is not None:
            scored.append(Scored(base, int(gene), mean, slot))
    return scored


def texts(genomes: Sequence[Genome]) -> list[str]:
    return [to_text(genome) for genome in genomes]
