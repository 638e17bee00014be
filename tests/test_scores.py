"""What an algorithm is told of rows: children and candidates with what their episodes came to."""

from __future__ import annotations

import numpy as np
import pytest

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import Brood
from gadask.config import config_from_dict
from gadask.master.scores import Nursery, evaluated
from gadask.messages import Status
from gadask.rows import BEHAVIOUR, ROW, Rows

EPISODES = [
    (0, 0, 5.0, [0.1, 1.0]),
    (0, 1, 7.0, [0.2, 2.0]),
    (1, 0, 1.0, [0.7, 9.0]),
    (2, 0, 2.0, [0, 0]),
    (2, 1, 2.0, [4, 1]),
]
"""Slot, episode, return, behaviour; the second child has only one of its two episodes."""


def rows_of(order: list[int], *, with_behaviours: bool = True) -> Rows:
    table = np.zeros(len(order), ROW)
    table["status"] = Status.OK
    behaviours = {}
    for place, which in enumerate(order):
        slot, episode, return_, behaviour = EPISODES[which]
        table[["slot", "episode", "return"]][place] = slot, episode, return_
        behaviours[place] = np.array(behaviour, "<f4").tobytes()
    return Rows(table, {BEHAVIOUR: behaviours} if with_behaviours else {})


def nursery() -> Nursery:
    algorithm = make_algorithm(config_from_dict({"algorithm": {"kind": "random-search"}}))
    return Nursery(algorithm, 1000, {0: Brood(0)})


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 1, 3, 2, 0]])
def test_a_child_has_the_means_of_its_episodes(order: list[int]) -> None:
    rows = rows_of(order)
    children = nursery().scored(rows, rows.table["return"].tolist(), 2)
    assert [(child.slot, child.fitness, child.mean_return) for child in children] == [(0, 6.0, None), (2, 2.0, None)]
    assert [child.return_ for child in children] == [6.0, 2.0]
    mean = (np.float64(np.float32(0.1)) + np.float64(np.float32(0.2))) / 2
    assert [child.behaviour for child in children] == [(float(np.float32(mean)), 1.5), (2.0, 0.5)]


def test_beside_a_fitness_of_the_users_stands_the_return() -> None:
    children = nursery().scored(rows_of([0, 1, 3, 4]), [1.0, 2.0, 3.0, 5.0], 2)
    assert [(child.fitness, child.return_) for child in children] == [(1.5, 6.0), (4.0, 2.0)]


def test_without_behaviours_a_child_has_none() -> None:
    rows = rows_of([0, 1, 3, 4], with_behaviours=False)
    assert [child.behaviour for child in nursery().scored(rows, [1.0] * 4, 2)] == [None, None]
    assert nursery().scored(Rows(), [], 2) == []


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_candidate_has_its_values_in_order_and_its_mean_behaviour(order: list[int]) -> None:
    rows = rows_of(order)
    found = evaluated([(3,), (4,), (5,)], rows, rows.table["return"].tolist())
    assert [(one.genome, list(one.values)) for one in found] == [((3,), [5.0, 7.0]), ((4,), [1.0]), ((5,), [])]
    behaviours = [one.behaviour for one in found]
    assert behaviours[0] is not None
    assert behaviours[0][1] == 1.5
    assert behaviours[1:] == [(float(np.float32(0.7)), 9.0), None]
