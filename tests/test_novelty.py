"""Novelty search: what is novel, who enters the archive, and what a run's log says of it."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood, Closed, Evaluated, Scored
from gadask.algorithms.elites import centred_ranks
from gadask.algorithms.novelty import Novelty, novelties_of
from gadask.config import Config, GenerationConfig, NoveltyConfig, config_from_dict
from gadask.errors import ConfigError, EvolutionError
from gadask.genomes.seeding import Purpose, stream
from gadask.record.directory import read_episodes
from tests.local_runs import checkpoint, run

BEHAVIOURS = st.integers(1, 4).flatmap(
    lambda n: st.tuples(*[st.lists(st.tuples(*[st.floats(-9, 9, width=32)] * n), min_size=1, max_size=9)] * 2)
)


def novelty_of(place: int, behaviours: list[Any], archive: list[Any], neighbours: int) -> float:
    """Return what the definition says, one distance after the other."""
    others = [*behaviours[:place], *behaviours[place + 1 :], *archive]
    nearest = sorted(math.dist(behaviours[place], other) for other in others)[:neighbours]
    return sum(nearest) / len(nearest) if nearest else 0.0


@given(BEHAVIOURS, st.booleans(), st.integers(1, 12))
def test_novelty_is_the_mean_distance_to_the_nearest(
    drawn: tuple[list[Any], list[Any]], is_archived: bool, neighbours: int
) -> None:
    behaviours, archive = drawn[0], drawn[1] if is_archived else []
    found = novelties_of(np.array(behaviours, np.float64), np.array(archive, np.float64), neighbours)
    expected = [novelty_of(place, behaviours, archive, neighbours) for place in range(len(behaviours))]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_many_are_compared_in_parts_with_the_same_bits_in_any_order() -> None:
    behaviours = np.random.default_rng(1).normal(size=(1000, 2)).astype(np.float32).astype(np.float64)
    archive = np.random.default_rng(2).normal(size=(300, 2))
    found = novelties_of(behaviours, archive, 10)
    order = np.random.default_rng(3).permutation(1000)
    assert novelties_of(behaviours[order], archive[::-1], 10).tolist() == found[order].tolist()
    listed = behaviours.tolist()
    for place in (0, 500, 999):
        assert found[place] == pytest.approx(novelty_of(place, listed, archive.tolist(), 10), rel=1e-12)


def test_equals_share_the_mean_of_their_ranks() -> None:
    assert centred_ranks(np.array([5.0, 1.0, 3.0])).tolist() == [0.5, -0.5, 0.0]
    assert centred_ranks(np.array([2.0, 2.0, 7.0, 1.0, 2.0])).tolist() == [0.0, 0.0, 0.5, -0.5, 0.0]
    assert centred_ranks(np.array([4.0, 4.0])).tolist() == [0.0, 0.0]
    assert centred_ranks(np.array([4.0])).tolist() == [-0.5]


def small(population: int = 8, candidates: int = 2, **settings: Any) -> Novelty:
    """Return novelty search with few children."""
    generation = GenerationConfig(population=population, candidates=candidates, candidate_episodes=1)
    return Novelty(3, generation, NoveltyConfig(**{"parents": 2, "neighbours": 2, **settings}))


def closed(children: list[Scored], candidates: tuple[Any, ...] = (), number: int = 0) -> Closed:
    """Return a generation whose candidates are worth what they were as children."""
    worth = {child.genome: child.fitness for child in children}
    return Closed(number, children, [Evaluated(genome, [worth.get(genome, 0.0)]) for genome in candidates])


def on_a_line(places: list[float], returns: list[float]) -> list[Scored]:
    return [Scored((), 10 + slot, returns[slot], slot, (place,)) for slot, place in enumerate(places)]


def test_parents_are_the_most_novel_and_the_elite_has_the_best_return() -> None:
    algorithm = small()
    children = on_a_line([0, 0.1, 0.2, 0.3, 50, 100], [9, 8, 0, 0, 1, 2])
    before = algorithm.start((), 1000)
    candidates = algorithm.nominate(before, children)
    assert candidates == ((10,), (11,))
    after = algorithm.tell(before, closed(children, candidates))
    assert after.parents == ((15,), (14,))
    assert after.elite is not None
    assert (after.elite.genome, after.elite.mean) == ((10,), 9)
    assert algorithm.describe(after)["mean_novelty"] == pytest.approx((0.15 + 0.1 + 0.1 + 0.15 + 49.75 + 74.85) / 6)


def test_equal_novelty_goes_to_the_lower_slot() -> None:
    algorithm = small()
    children = on_a_line([0, 1, 2, 3, 4, 5], [0] * 6)[::-1]
    assert algorithm.tell(algorithm.start((), 1000), closed(children, ((10,),))).parents == ((10,), (15,))
    alike = on_a_line([7, 7, 7, 7], [1, 2, 3, 4])
    assert algorithm.tell(algorithm.start((), 1000), closed(alike, ((10,),))).parents == ((10,), (11,))


def test_what_was_there_before_is_not_novel() -> None:
    algorithm = small()
    children = on_a_line([0, 1, 10, 30, 31], [0] * 5)
    candidates = ((10,),)
    before = algorithm.start((), 1000)
    assert algorithm.tell(before, closed(children, candidates)).parents == ((14,), (13,))
    before = replace(before, archive=((30.0,), (31.0,), (29.0,)))
    assert algorithm.tell(before, closed(children, candidates)).parents == ((12,), (10,))


@pytest.mark.parametrize("evaluation", ["barrier", "overlapped"])
def test_with_all_weight_on_the_return_it_is_truncation_selection(evaluation: str) -> None:
    settings = {"population": 30, "candidates": 4, "candidate_episodes": 1, "elite_evaluation": evaluation}
    tables = {
        "generation": settings,
        "ga": {"parents": 6},
        "novelty": {"parents": 6, "return_weight": 1.0},
        "env": {"behaviour": True},
    }
    one, other = (
        make_algorithm(config_from_dict({**tables, "algorithm": {"kind": kind}})) for kind in ("truncation", "novelty")
    )
    states = [one.start((), 1000), other.start((), 1000)]
    candidates: tuple[Any, ...] = ()
    draw = random.Random(5)
    for number in range(6):
        assert one.bases(states[0]) == other.bases(states[1])
        brood = Brood(number, one.bases(states[0]))
        made = other.children(brood, np.arange(30), 1000)
        children = [
            Scored(brood.bases[row] if row >= 0 else (), gene, float(draw.randrange(9)), slot, (draw.random(),))
            for slot, (row, gene) in enumerate(zip(made.rows.tolist(), made.genes.tolist(), strict=True))
        ]
        if evaluation == "barrier":
            candidates = one.nominate(states[0], children)
            assert other.nominate(states[1], children) == candidates
        generation = closed(children, candidates, number)
        states = [one.tell(states[0], generation), other.tell(states[1], generation)]
        assert one.elite(states[0]) == other.elite(states[1])
        candidates = one.nominate(states[0], children)
        assert other.nominate(states[1], children) == candidates


def test_the_weight_moves_parents_from_the_novel_to_the_good() -> None:
    children = on_a_line([0, 0.1, 0.2, 9, 30, 70], [6, 5, 4, 3, 2, 1])
    parents = {}
    for weight in (0.0, 0.5, 1.0):
        algorithm = small(candidates=0, parents=1, return_weight=weight)
        parents[weight] = algorithm.tell(algorithm.start((), 1000), closed(children)).parents
    assert parents[0.0] == ((15,),)
    assert parents[0.5] == parents[1.0] == ((10,),)
    algorithm = small(candidates=0, parents=3, return_weight=0.5)
    assert algorithm.tell(algorithm.start((), 1000), closed(children)).parents != ((10,), (11,), (12,))


def test_the_archive_takes_in_a_share_and_forgets_the_oldest() -> None:
    algorithm = small(population=40, archive_share=0.2, archive_size=12)
    state, entered = algorithm.start((), 1000), []
    for number in range(6):
        behaviours = [(100.0 * number + slot,) for slot in range(40)]
        children = [Scored((), slot, 0.0, slot, one) for slot, one in enumerate(behaviours)]
        draws = [stream(3, Purpose.ALGORITHM, number, slot).random() for slot in range(40)]
        entered += [one for one, drawn in zip(behaviours, draws, strict=True) if drawn < 0.2]
        state = algorithm.tell(state, closed(random.Random(number).sample(children, 40), ((0,),), number))
        assert state.archive == tuple(entered[-12:])
        assert algorithm.describe(state)["archive"] == len(state.archive)
    assert 30 < len(entered) < 66


@pytest.mark.parametrize(("share", "size", "expected"), [(1.0, 0, 0), (1.0, 5, 5), (1.0, 50, 8), (0.0, 50, 0)])
def test_limits_of_the_archive(share: float, size: int, expected: int) -> None:
    algorithm = small(archive_share=share, archive_size=size)
    children = on_a_line([float(slot) for slot in range(8)], [0] * 8)
    assert len(algorithm.tell(algorithm.start((), 1000), closed(children, ((10,),))).archive) == expected


def test_children_without_a_behaviour_end_the_run() -> None:
    algorithm = small()
    children = [*on_a_line([1, 2], [0, 0]), Scored((), 3, 1.0, 7)]
    with pytest.raises(EvolutionError, match=r"^generation 4: expected a behaviour of every child"):
        algorithm.tell(algorithm.start((), 1000), closed(children, ((10,),), 4))


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"env": {"behaviour": False}}, "env.behaviour: expected true with algorithm.kind = 'novelty', found False"),
        ({"novelty": {"neighbours": 0}}, "novelty.neighbours: expected 1 to"),
        ({"novelty": {"parents": 1001}}, r"novelty.parents: expected 1 to generation.population \(1000\), found 1001"),
        ({"novelty": {"return_weight": 1.5}}, "novelty.return_weight: expected 0 to 1, found 1.5"),
        ({"novelty": {"archive_share": -0.5}}, "novelty.archive_share: expected 0 to 1, found -0.5"),
        ({"novelty": {"archive_size": -1}}, "novelty.archive_size: expected 0 to"),
        ({"novelty": {"mutation_power": 0}}, "novelty.mutation_power: expected a finite number above 0"),
        ({"generation": {"candidates": 1}}, "generation.candidates: expected 0, or at least 2"),
    ],
)
def test_impossible_settings_are_named(tables: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        config_from_dict({"env": {"behaviour": True}, "algorithm": {"kind": "novelty"}, **tables})


def whole(**generation: Any) -> Config:
    """Return a run in an environment that reports behaviours."""
    return config_from_dict(
        {
            "algorithm": {"kind": "novelty"},
            "env": {
                "id": "CartPole-v1",
                "wrappers": ["tests.behaving_envs:reporting"],
                "behaviour": True,
                "max_steps": 20,
            },
            "policy": {"kind": "mlp", "kwargs": {"hidden": "4"}},
            "noise": {"size": 10_000},
            "generation": {"population": 16, "candidates": 3, "candidate_episodes": 2, **generation},
            "novelty": {"parents": 4, "mutation_power": 0.3, "neighbours": 3, "archive_share": 0.3},
            "budget": {"generations": 3, "test_episodes": 0},
        }
    )


@pytest.mark.parametrize(
    "generation",
    [
        {},
        {"elite_evaluation": "overlapped", "episodes_per_child": 3},
        {"closing": "first", "fitness": "tests.test_fitness:shortest"},
    ],
    ids=["plain", "several episodes, overlapped", "closing first, fitness"],
)
def test_the_log_holds_behaviours_of_parents_and_candidates(generation: dict[str, Any], tmp_path: Path) -> None:
    lines = run(whole(**generation), tmp_path / "run")
    episodes = [read_episodes(tmp_path / "run", number).to_pandas() for number in range(3)]
    means: list[dict[str, list[float]]] = [
        {},
        {},
        {},
    ]  # of each generation: genome → behaviour, a child's if it was one
    for line, frame, known in zip(lines, episodes, means, strict=True):
        frame = frame[frame.counted & (frame.status == "ok")]
        for (kind, slot), rows in frame.groupby(["kind", "slot"], observed=True):
            mean = np.asarray(np.stack(rows.behaviour).mean(axis=0, dtype=np.float64), np.float32)
            behaviour: list[float] = mean.tolist()
            if kind == "evaluation":
                assert line["candidates"][slot]["behaviour"] == behaviour
                known.setdefault(line["candidates"][slot]["genome"], behaviour)
            else:
                first = rows.iloc[0]
                base = f"{line['parents'][first.parent]}-" if first.parent >= 0 else ""
                known[f"{base}{first.gene}"] = behaviour
    for line, after, known in zip(lines, lines[1:], means, strict=False):
        assert line["next_parents_behaviour"] == [known[genome] for genome in after["parents"]]
    archive = checkpoint(tmp_path / "run")["algorithm"]["archive"]
    assert lines[-1]["algorithm"]["archive"] == len(archive) > 0
    assert all(line["algorithm"]["mean_novelty"] > 0 for line in lines)
    entered = set(map(tuple, archive))
    assert entered <= {tuple(mean) for mean in itertools.chain.from_iterable(known.values() for known in means)}
