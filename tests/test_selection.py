"""Truncation, candidates and elite: examples worked by hand, and laws."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.truncation import Elite, Population, Scored, advance, choose_candidates, crown, rank
from gadask.config import PRESETS, EliteEvaluation, GAConfig, Truncation
from gadask.errors import EvolutionError
from gadask.genomes.genome import Genome
from tests.genomes import scored

SMALL = GAConfig(population=6, parents=3, candidates=2, candidate_episodes=2)
SMALL_GA_DIST = dataclasses.replace(SMALL, parents=4, candidates=3, elite_evaluation="overlapped", truncation="ga-dist")


def children(*returns: float, generation: int = 0) -> list[Scored]:
    """Children in slot order; the genome of slot s is `(generation * 100 + s,)`."""
    return [Scored((), generation * 100 + slot, fitness, slot) for slot, fitness in enumerate(returns)]


def test_a_child_adds_its_gene_to_its_parent() -> None:
    assert Scored((6, 7), 9, 1.0, 0).genome == (6, 7, 9)
    assert Scored((), 9, 1.0, 0).genome == (9,)


def test_rank_puts_the_best_first_and_the_lower_slot_first_in_a_tie() -> None:
    assert [child.slot for child in rank(children(1.0, 5.0, 3.0, 5.0))] == [1, 3, 2, 0]


def test_rank_leaves_out_what_is_not_finite() -> None:
    assert [child.slot for child in rank(children(math.nan, 1.0, math.inf, -math.inf))] == [1]


def test_such2017_by_hand() -> None:
    population = Population()
    # Generation 0: the two best children are candidates; the second of them is crowned. It is among the best three.
    first = children(1, 9, 5, 7, 3, 2)
    assert choose_candidates(SMALL, population, first) == ((1,), (3,))
    population = advance(SMALL, population, first, {0: [4, 6], 1: [6, 8]})
    assert population == Population(1, ((1,), (3,), (2,)), (), Elite((3,), 7.0, 2, 0))
    # Generation 1: the elite and the best child. The elite wins again, with a new and lower mean. It is no child of
    # this generation, so it takes the place of the third child.
    second = children(4, 8, 8, 6, 5, 1, generation=1)
    assert choose_candidates(SMALL, population, second) == ((3,), (101,))
    population = advance(SMALL, population, second, {0: [5, 5], 1: [1, 2]})
    assert population == Population(2, ((3,), (101,), (102,)), (), Elite((3,), 5.0, 2, 1))
    # Generation 2: the best child is crowned, and the old elite is gone.
    third = children(1, 2, 3, 4, 5, 6, generation=2)
    assert choose_candidates(SMALL, population, third) == ((3,), (205,))
    population = advance(SMALL, population, third, {0: [5, 5], 1: [9, 2]})
    assert population == Population(3, ((205,), (204,), (203,)), (), Elite((205,), 5.5, 2, 2))


def test_ga_dist_by_hand() -> None:
    population = Population()
    # Generation 0: nothing to evaluate. The four best are parents, ascending; the last three of them candidates.
    first = children(1, 9, 5, 7, 3, 2)
    assert choose_candidates(SMALL_GA_DIST, population, []) == ()
    population = advance(SMALL_GA_DIST, population, first, {})
    assert population == Population(1, ((4,), (2,), (3,), (1,)), ((2,), (3,), (1,)), None)
    # Generation 1: evaluations of generation 0's candidates crown one of them. Three genomes: two children, the elite.
    second = children(4, 8, 8, 6, 5, 1, generation=1)
    assert choose_candidates(SMALL_GA_DIST, population, []) == ((2,), (3,), (1,))
    population = advance(SMALL_GA_DIST, population, second, {0: [1, 1], 1: [9, 7], 2: [2, 2]})
    assert population == Population(2, ((102,), (101,), (3,)), ((102,), (101,), (3,)), Elite((3,), 8.0, 2, 1))
    # Generation 2: a child of generation 1 is crowned on a tie with no elite in it; the later candidate wins.
    third = children(1, 2, 3, 4, 5, 6, generation=2)
    population = advance(SMALL_GA_DIST, population, third, {0: [6, 6], 1: [5, 7], 2: [0, 1]})
    assert population == Population(3, ((204,), (205,), (101,)), ((204,), (205,), (101,)), Elite((101,), 6.0, 2, 2))


def test_such2017_truncation_with_overlapped_evaluation() -> None:
    ga = dataclasses.replace(SMALL, elite_evaluation="overlapped")
    population = advance(ga, Population(), children(1, 9, 5, 7, 3, 2), {})
    assert population == Population(1, ((1,), (3,), (2,)), ((1,), (3,)), None)
    population = advance(ga, population, children(4, 8, 8, 6, 5, 1, generation=1), {0: [3, 3], 1: [4, 4]})
    # The elite was crowned from generation 0 while generation 1 was played; it is evaluated again with the best child.
    assert population == Population(2, ((3,), (101,), (102,)), ((3,), (101,)), Elite((3,), 4.0, 2, 1))


def test_ga_dist_truncation_with_evaluation_between_generations() -> None:
    ga = dataclasses.replace(SMALL_GA_DIST, elite_evaluation="barrier")
    first = children(1, 9, 5, 7, 3, 2)
    assert choose_candidates(ga, Population(), first) == ((2,), (3,), (1,))
    population = advance(ga, Population(), first, {0: [8, 8], 1: [1, 1], 2: [2, 2]})
    # The four best children, with the elite among them moved to the end.
    assert population == Population(1, ((4,), (3,), (1,), (2,)), (), Elite((2,), 8.0, 2, 0))
    second = children(4, 8, 8, 6, 5, 1, generation=1)
    assert choose_candidates(ga, population, second) == ((102,), (101,), (2,))
    population = advance(ga, population, second, {0: [1, 1], 1: [1, 1], 2: [3, 3]})
    assert population.parents == ((102,), (101,), (2,))


def test_preset_sizes() -> None:
    ga = PRESETS["such2017"].ga
    first = children(*range(1000))
    assert choose_candidates(ga, Population(), first) == tuple((slot,) for slot in range(999, 989, -1))
    population = advance(ga, Population(), first, {0: [1.0]})
    assert population.parents == tuple((slot,) for slot in range(999, 979, -1))
    assert len(choose_candidates(ga, population, children(*range(1000), generation=100))) == 10

    ga = PRESETS["ga-dist"].ga
    population = advance(ga, Population(), first, {})
    assert population.parents == tuple((slot,) for slot in range(980, 1000))
    assert population.candidates == population.parents[-10:]
    population = advance(ga, population, children(*range(700), generation=100), {4: [1.0]})
    assert population.parents == (*((10_000 + slot,) for slot in range(682, 700)), (994,))
    assert population.candidates == population.parents[-10:]


@pytest.mark.parametrize(("truncation", "winner"), [("such2017", (1,)), ("ga-dist", (3,))])
def test_ties_between_candidates(truncation: Truncation, winner: Genome) -> None:
    ga = dataclasses.replace(SMALL, truncation=truncation)
    returns = {0: [0.0], 1: [2.0, 4.0], 2: [1.0, 1.0], 3: [3.0, 3.0]}
    assert crown(ga, [(0,), (1,), (2,), (3,)], returns, 7) == Elite(winner, 3.0, 2, 7)


@pytest.mark.parametrize("returns", [[1e16, 1.0, -1e16], [1.0, 1e16, -1e16], [1e16, -1e16, 1.0]])
def test_a_mean_is_the_same_in_any_order(returns: list[float]) -> None:
    assert crown(SMALL, [(1,)], {0: returns}, 0).mean == 1 / 3


def test_a_mean_of_fewer_episodes_says_so() -> None:
    assert crown(SMALL, [(1,), (2,)], {1: [2.0, 3.0, 4.0]}, 0) == Elite((2,), 3.0, 3, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_candidate_with_a_return_that_is_not_finite_is_never_crowned(bad: float) -> None:
    assert crown(SMALL, [(1,), (2,)], {0: [100.0, bad], 1: [1.0, 1.0]}, 0).genome == (2,)
    with pytest.raises(EvolutionError, match="generation 3: expected finite evaluations of at least one of 1 cand"):
        crown(SMALL, [(1,)], {0: [bad, bad]}, 3)


def test_returns_too_large_for_a_mean_are_not_crowned() -> None:
    assert crown(SMALL, [(1,), (2,)], {0: [1.7e308] * 9, 1: [0.0]}, 0).genome == (2,)


@pytest.mark.parametrize("elite_evaluation", ["barrier", "overlapped"])
def test_without_candidates_the_best_child_so_far_is_the_elite(elite_evaluation: EliteEvaluation) -> None:
    ga = dataclasses.replace(SMALL, candidates=0, elite_evaluation=elite_evaluation)
    population = advance(ga, Population(), children(1, 9, 5, 7), {})
    assert population == Population(1, ((1,), (3,), (2,)), (), Elite((1,), 9.0, 1, 0))
    population = advance(ga, population, children(1, 9, 5, 7, generation=1), {})
    assert population == Population(2, ((1,), (101,), (103,)), (), Elite((1,), 9.0, 1, 0))
    population = advance(ga, population, children(10, generation=2), {})
    assert population == Population(3, ((200,),), (), Elite((200,), 10.0, 1, 2))


def test_without_candidates_an_elite_says_of_how_many_episodes_its_mean_is() -> None:
    ga = GAConfig(population=4, parents=2, candidates=0, episodes_per_child=3)
    elite = advance(ga, Population(), children(4, 8), {}).elite
    assert elite == Elite((1,), 8.0, 3, 0)


@pytest.mark.parametrize("returns", [[], [math.nan, math.inf]])
def test_a_generation_without_a_valid_child_stops_the_run(returns: list[float]) -> None:
    elite = Elite((5,), 1.0, 2, 3)
    with pytest.raises(EvolutionError, match=f"generation 4: .* found none among {len(returns)};"):
        advance(SMALL, Population(4, ((5,),), (), elite), children(*returns), {})


def test_the_elite_is_not_a_parent_twice_when_a_child_equals_it() -> None:
    elite = Elite((100,), 5.0, 2, 0)
    twins = children(9, 8, 7, 6, generation=1)
    such2017 = dataclasses.replace(SMALL_GA_DIST, parents=3, truncation="such2017")
    for ga, parents in ((such2017, ((100,), (101,), (102,))), (SMALL_GA_DIST, ((102,), (101,), (100,)))):
        population = advance(ga, Population(1, ((1,),), ((100,),), elite), twins, {0: [5.0]})
        assert population.parents == parents
        assert sorted(population.candidates) == [(100,), (101,), (102,)]


# Laws

Situation = tuple[GAConfig, Population, list[Scored], Mapping[int, Sequence[float]]]
any_return = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 2.0]))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    truncation: Truncation = draw(st.sampled_from(["such2017", "ga-dist"]))
    evaluation: EliteEvaluation = draw(st.sampled_from(["barrier", "overlapped"]))
    ga = GAConfig(
        population=12,
        parents=draw(st.integers(3, 8)),
        candidates=draw(st.sampled_from([2, 3, 5, 9] if truncation == "ga-dist" else [0, 2, 3, 5, 9])),
        elite_evaluation=evaluation,
        truncation=truncation,
    )
    generation = draw(st.integers(0, 2))
    genomes = st.lists(st.integers(0, 30), min_size=1, max_size=2).map(tuple)
    elite = None if generation == 0 else draw(st.builds(Elite, genomes, st.floats(-9, 9), st.just(2), st.just(0)))
    candidates: tuple[Genome, ...] = ()
    if evaluation == "overlapped" and generation > 0 and generation.candidates:
        candidates = tuple(draw(st.lists(genomes, min_size=1, max_size=generation.candidates)))
    played = [
        scored(draw(genomes), draw(any_return), draw(st.integers(0, 11))) for _ in range(draw(st.integers(1, 12)))
    ]
    played.append(scored(draw(genomes), draw(st.floats(-9, 9)), 12))
    evaluations = draw(st.dictionaries(st.integers(0, 8), st.lists(any_return, max_size=4), max_size=9))
    evaluations[0] = [1.0, 2.0]
    return ga, Population(generation, ((0,),) * min(generation, 1), candidates, elite), played, evaluations


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_matters(situation: Situation, random: Random) -> None:
    ga, population, played, evaluations = situation
    expected = advance(ga, population, played, evaluations)
    shuffled = random.sample(played, len(played))
    returns = {slot: random.sample(values, len(values)) for slot, values in evaluations.items()}
    assert advance(ga, population, shuffled, dict(reversed(returns.items()))) == expected
    assert choose_candidates(ga, population, shuffled) == choose_candidates(ga, population, played)


@given(situations())
def test_laws_of_one_generation(situation: Situation) -> None:
    ga, population, played, evaluations = situation
    candidates = choose_candidates(ga, population, played)
    after = advance(ga, population, played, evaluations)
    finite = {child.genome for child in played if math.isfinite(child.fitness)}
    known = finite | {population.elite.genome if population.elite else None}

    assert after.generation == population.generation + 1
    assert set(after.parents) <= known | set(candidates)
    assert 1 <= len(after.parents) <= ga.parents
    assert len(candidates) <= generation.candidates
    assert len(after.candidates) <= generation.candidates
    if generation.elite_evaluation == "barrier":
        assert set(candidates) <= known
        assert after.candidates == ()
    if after.elite is None:
        assert population.generation == 0
        assert generation.elite_evaluation == "overlapped"
        return
    assert math.isfinite(after.elite.mean)
    assert after.elite.genome in after.parents
    assert after.elite.genome in (candidates or finite | {after.elite.genome})
    if ga.truncation == "ga-dist":
        assert after.parents[-1] == after.elite.genome
        assert len(after.parents) <= ga.parents - (population.generation > 0)
        assert not after.candidates or after.candidates[-1] == after.elite.genome
    if generation.candidates and generation.elite_evaluation == "overlapped":
        assert after.elite.genome in after.candidates
