"""Truncation, candidates and elite: examples worked by hand, and laws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.algorithms.algorithm import Elite, Scored
from gadask.algorithms.elites import crown, rank
from gadask.config import PRESETS, Config, GAConfig, GenerationConfig
from gadask.config_tables import EliteEvaluation, Truncation
from gadask.errors import EvolutionError
from gadask.genomes.genome import Genome
from gadask.record.directory import State
from tests.generations import bases_of, candidates_of, close_generation, evaluated_of, state_of
from tests.genomes import scored

SMALL = Config(generation=GenerationConfig(population=6, candidates=2, candidate_episodes=2), ga=GAConfig(parents=3))
SMALL_GA_DIST = Config(
    generation=replace(SMALL.generation, candidates=3, elite_evaluation="overlapped"),
    ga=GAConfig(parents=4, truncation="ga-dist"),
)
BEFORE = state_of(-1, ())


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
    state = BEFORE
    # Generation 0: the two best children are candidates; the second of them is crowned. It is among the best three.
    first = children(1, 9, 5, 7, 3, 2)
    assert candidates_of(SMALL, state, first) == ((1,), (3,))
    state = close_generation(SMALL, state, first, {0: [4, 6], 1: [6, 8]})
    assert state == state_of(0, ((1,), (3,), (2,)), (), Elite((3,), 7.0, 2, 0))
    # Generation 1: the elite and the best child. The elite wins again, with a new and lower mean. It is no child of
    # this generation, so it takes the place of the third child.
    second = children(4, 8, 8, 6, 5, 1, generation=1)
    assert candidates_of(SMALL, state, second) == ((3,), (101,))
    state = close_generation(SMALL, state, second, {0: [5, 5], 1: [1, 2]})
    assert state == state_of(1, ((3,), (101,), (102,)), (), Elite((3,), 5.0, 2, 1))
    # Generation 2: the best child is crowned, and the old elite is gone.
    third = children(1, 2, 3, 4, 5, 6, generation=2)
    assert candidates_of(SMALL, state, third) == ((3,), (205,))
    state = close_generation(SMALL, state, third, {0: [5, 5], 1: [9, 2]})
    assert state == state_of(2, ((205,), (204,), (203,)), (), Elite((205,), 5.5, 2, 2))


def test_ga_dist_by_hand() -> None:
    state = BEFORE
    # Generation 0: nothing to evaluate. The four best are parents, ascending; the last three of them candidates.
    first = children(1, 9, 5, 7, 3, 2)
    assert candidates_of(SMALL_GA_DIST, state, []) == ()
    state = close_generation(SMALL_GA_DIST, state, first, {})
    assert state == state_of(0, ((4,), (2,), (3,), (1,)), ((2,), (3,), (1,)), None)
    # Generation 1: evaluations of generation 0's candidates crown one of them. Three genomes: two children, the elite.
    second = children(4, 8, 8, 6, 5, 1, generation=1)
    assert candidates_of(SMALL_GA_DIST, state, []) == ((2,), (3,), (1,))
    state = close_generation(SMALL_GA_DIST, state, second, {0: [1, 1], 1: [9, 7], 2: [2, 2]})
    assert state == state_of(1, ((102,), (101,), (3,)), ((102,), (101,), (3,)), Elite((3,), 8.0, 2, 1))
    # Generation 2: a child of generation 1 is crowned on a tie with no elite in it; the later candidate wins.
    third = children(1, 2, 3, 4, 5, 6, generation=2)
    state = close_generation(SMALL_GA_DIST, state, third, {0: [6, 6], 1: [5, 7], 2: [0, 1]})
    assert state == state_of(2, ((204,), (205,), (101,)), ((204,), (205,), (101,)), Elite((101,), 6.0, 2, 2))


def test_such2017_truncation_with_overlapped_evaluation() -> None:
    config = replace(SMALL, generation=replace(SMALL.generation, elite_evaluation="overlapped"))
    state = close_generation(config, BEFORE, children(1, 9, 5, 7, 3, 2), {})
    assert state == state_of(0, ((1,), (3,), (2,)), ((1,), (3,)), None)
    state = close_generation(config, state, children(4, 8, 8, 6, 5, 1, generation=1), {0: [3, 3], 1: [4, 4]})
    # The elite was crowned from generation 0 while generation 1 was played; it is evaluated again with the best child.
    assert state == state_of(1, ((3,), (101,), (102,)), ((3,), (101,)), Elite((3,), 4.0, 2, 1))


def test_ga_dist_truncation_with_evaluation_between_generations() -> None:
    config = replace(SMALL_GA_DIST, generation=replace(SMALL_GA_DIST.generation, elite_evaluation="barrier"))
    first = children(1, 9, 5, 7, 3, 2)
    assert candidates_of(config, BEFORE, first) == ((2,), (3,), (1,))
    state = close_generation(config, BEFORE, first, {0: [8, 8], 1: [1, 1], 2: [2, 2]})
    # The four best children, with the elite among them moved to the end.
    assert state == state_of(0, ((4,), (3,), (1,), (2,)), (), Elite((2,), 8.0, 2, 0))
    second = children(4, 8, 8, 6, 5, 1, generation=1)
    assert candidates_of(config, state, second) == ((102,), (101,), (2,))
    state = close_generation(config, state, second, {0: [1, 1], 1: [1, 1], 2: [3, 3]})
    assert bases_of(config, state) == ((102,), (101,), (2,))


def test_preset_sizes() -> None:
    config = PRESETS["such2017"]
    first = children(*range(1000))
    assert candidates_of(config, BEFORE, first) == tuple((slot,) for slot in range(999, 989, -1))
    state = close_generation(config, BEFORE, first, {0: [1.0]})
    assert bases_of(config, state) == tuple((slot,) for slot in range(999, 979, -1))
    assert len(candidates_of(config, state, children(*range(1000), generation=100))) == 10

    config = PRESETS["ga-dist"]
    state = close_generation(config, BEFORE, first, {})
    assert bases_of(config, state) == tuple((slot,) for slot in range(980, 1000))
    assert state.candidates == bases_of(config, state)[-10:]
    state = close_generation(config, state, children(*range(700), generation=100), {4: [1.0]})
    assert bases_of(config, state) == (*((10_000 + slot,) for slot in range(682, 700)), (994,))
    assert state.candidates == bases_of(config, state)[-10:]


@pytest.mark.parametrize(("truncation", "winner"), [("such2017", (1,)), ("ga-dist", (3,))])
def test_ties_between_candidates(truncation: Truncation, winner: Genome) -> None:
    config = replace(SMALL_GA_DIST, ga=replace(SMALL_GA_DIST.ga, truncation=truncation))
    returns = {0: [0.0], 1: [2.0, 4.0], 2: [1.0, 1.0], 3: [3.0, 3.0]}
    before = state_of(6, (), ((0,), (1,), (2,), (3,)), None)
    assert close_generation(config, before, children(1.0), returns).elite == Elite(winner, 3.0, 2, 7)


@pytest.mark.parametrize("returns", [[1e16, 1.0, -1e16], [1.0, 1e16, -1e16], [1e16, -1e16, 1.0]])
def test_a_mean_is_the_same_in_any_order(returns: list[float]) -> None:
    assert crown(evaluated_of([(1,)], {0: returns}), 0).mean == 1 / 3


def test_a_mean_of_fewer_episodes_says_so() -> None:
    assert crown(evaluated_of([(1,), (2,)], {1: [2.0, 3.0, 4.0]}), 0) == Elite((2,), 3.0, 3, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_candidate_with_a_return_that_is_not_finite_is_never_crowned(bad: float) -> None:
    assert crown(evaluated_of([(1,), (2,)], {0: [100.0, bad], 1: [1.0, 1.0]}), 0).genome == (2,)
    with pytest.raises(EvolutionError, match="generation 3: expected finite evaluations of at least one of 1 cand"):
        crown(evaluated_of([(1,)], {0: [bad, bad]}), 3)


def test_returns_too_large_for_a_mean_are_not_crowned() -> None:
    assert crown(evaluated_of([(1,), (2,)], {0: [1.7e308] * 9, 1: [0.0]}), 0).genome == (2,)


@pytest.mark.parametrize("elite_evaluation", ["barrier", "overlapped"])
def test_without_candidates_the_best_child_so_far_is_the_elite(elite_evaluation: EliteEvaluation) -> None:
    generation = replace(SMALL.generation, candidates=0, elite_evaluation=elite_evaluation)
    config = replace(SMALL, generation=generation)
    state = close_generation(config, BEFORE, children(1, 9, 5, 7), {})
    assert state == state_of(0, ((1,), (3,), (2,)), (), Elite((1,), 9.0, 1, 0))
    state = close_generation(config, state, children(1, 9, 5, 7, generation=1), {})
    assert state == state_of(1, ((1,), (101,), (103,)), (), Elite((1,), 9.0, 1, 0))
    state = close_generation(config, state, children(10, generation=2), {})
    assert state == state_of(2, ((200,),), (), Elite((200,), 10.0, 1, 2))


def test_without_candidates_an_elite_says_of_how_many_episodes_its_mean_is() -> None:
    config = replace(SMALL, generation=GenerationConfig(population=4, candidates=0, episodes_per_child=3))
    elite = close_generation(config, BEFORE, children(4, 8), {}).elite
    assert elite == Elite((1,), 8.0, 3, 0)


@pytest.mark.parametrize("returns", [[], [math.nan, math.inf]])
def test_a_generation_without_a_valid_child_stops_the_run(returns: list[float]) -> None:
    elite = Elite((5,), 1.0, 2, 3)
    with pytest.raises(EvolutionError, match=r"generation 4: .* found none: no episode of a child"):
        close_generation(SMALL, state_of(3, ((5,),), (), elite), children(*returns), {})


def test_the_elite_is_not_a_parent_twice_when_a_child_equals_it() -> None:
    elite = Elite((100,), 5.0, 2, 0)
    twins = children(9, 8, 7, 6, generation=1)
    such2017 = replace(SMALL_GA_DIST, ga=GAConfig(parents=3, truncation="such2017"))
    for config, parents in ((such2017, ((100,), (101,), (102,))), (SMALL_GA_DIST, ((102,), (101,), (100,)))):
        state = close_generation(config, state_of(0, ((1,),), ((100,),), elite), twins, {0: [5.0]})
        assert bases_of(config, state) == parents
        assert sorted(state.candidates) == [(100,), (101,), (102,)]


# Laws

Situation = tuple[Config, State, list[Scored], Mapping[int, Sequence[float]]]
any_return = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 2.0]))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    truncation: Truncation = draw(st.sampled_from(["such2017", "ga-dist"]))
    evaluation: EliteEvaluation = draw(st.sampled_from(["barrier", "overlapped"]))
    n_candidates = draw(st.sampled_from([2, 3, 5, 9] if truncation == "ga-dist" else [0, 2, 3, 5, 9]))
    config = Config(
        generation=GenerationConfig(population=12, candidates=n_candidates, elite_evaluation=evaluation),
        ga=GAConfig(parents=draw(st.integers(3, 8)), truncation=truncation),
    )
    generation = draw(st.integers(0, 2))
    genomes = st.lists(st.integers(0, 30), min_size=1, max_size=2).map(tuple)
    elite = None if generation == 0 else draw(st.builds(Elite, genomes, st.floats(-9, 9), st.just(2), st.just(0)))
    candidates: tuple[Genome, ...] = ()
    if evaluation == "overlapped" and generation > 0 and n_candidates:
        candidates = tuple(draw(st.lists(genomes, min_size=1, max_size=n_candidates)))
    played = [
        scored(draw(genomes), draw(any_return), draw(st.integers(0, 11))) for _ in range(draw(st.integers(1, 12)))
    ]
    played.append(scored(draw(genomes), draw(st.floats(-9, 9)), 12))
    evaluations = draw(st.dictionaries(st.integers(0, 8), st.lists(any_return, max_size=4), max_size=9))
    evaluations[0] = [1.0, 2.0]
    before = state_of(generation - 1, ((0,),) * min(generation, 1), candidates, elite)
    return config, before, played, evaluations


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_matters(situation: Situation, random: Random) -> None:
    config, before, played, evaluations = situation
    expected = close_generation(config, before, played, evaluations)
    shuffled = random.sample(played, len(played))
    returns = {slot: random.sample(values, len(values)) for slot, values in evaluations.items()}
    assert close_generation(config, before, shuffled, dict(reversed(returns.items()))) == expected
    assert candidates_of(config, before, shuffled) == candidates_of(config, before, played)


@given(situations())
def test_laws_of_one_generation(situation: Situation) -> None:
    config, before, played, evaluations = situation
    settings, ga = config.generation, config.ga
    candidates = candidates_of(config, before, played)
    after = close_generation(config, before, played, evaluations)
    parents = bases_of(config, after)
    finite = {child.genome for child in played if math.isfinite(child.fitness)}
    known = finite | {before.elite.genome if before.elite else None}

    assert after.generation == before.generation + 1
    assert set(parents) <= known | set(candidates)
    assert 1 <= len(parents) <= ga.parents
    assert len(candidates) <= settings.candidates
    assert len(after.candidates) <= settings.candidates
    if settings.elite_evaluation == "barrier":
        assert set(candidates) <= known
        assert after.candidates == ()
    if after.elite is None:
        assert after.generation == 0
        assert settings.elite_evaluation == "overlapped"
        return
    assert math.isfinite(after.elite.mean)
    assert after.elite.genome in parents
    assert after.elite.genome in (candidates or finite | {after.elite.genome})
    if ga.truncation == "ga-dist":
        assert parents[-1] == after.elite.genome
        assert len(parents) <= ga.parents - (after.generation > 0)
        assert not after.candidates or after.candidates[-1] == after.elite.genome
    if settings.candidates and settings.elite_evaluation == "overlapped":
        assert after.elite.genome in after.candidates
