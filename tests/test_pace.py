"""How many episodes a node is given: enough that no process waits, in chunks that the master can bear."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gadask.master.pace import Pace


def pace_of(*seconds: float, n_together: int = 0) -> Pace:
    pace = Pace(n_together)
    pace.learn(np.array(seconds, np.float32))
    return pace


@given(
    st.lists(st.floats(1e-5, 500), max_size=5),
    st.integers(0, 10**6),
    st.integers(0, 10**5),
    st.lists(st.integers(1, 128), max_size=50),
    st.booleans(),
    st.integers(0, 256),
)
def test_a_chunk_always_holds_something_and_never_more_than_is_to_be_in_flight(
    seconds: list[float], n_to_issue: int, n_in_flight: int, processes: list[int], first: bool, n_together: int
) -> None:
    pace = pace_of(*seconds, n_together=n_together)
    size = pace.chunk_size(n_to_issue, n_in_flight, processes, first=first)
    assert size >= 1
    if processes:
        assert size <= math.ceil(pace.depth(n_to_issue) * max(sum(processes) / len(processes), min(processes)))


def test_a_few_processes_get_single_episodes() -> None:
    assert pace_of(0.9, 4.3).chunk_size(1000, 0, [2], first=False) == 1


def test_cheap_episodes_go_in_large_chunks() -> None:
    assert pace_of(*[0.001] * 100).chunk_size(10**6, 0, [2], first=False) == pytest.approx(200, rel=0.01)


def test_what_can_be_issued_at_once_is_shared_equally() -> None:
    size = pace_of(*[0.5] * 100, *[5.0] * 10).chunk_size(1000, 0, [31] * 8, first=False)
    n_chunks = math.ceil(1000 / 8 / size)
    assert 8 * n_chunks * size - 1000 <= 8 * n_chunks
    assert pace_of(*[0.5] * 100, *[5.0] * 10).chunk_size(124_000, 0, [31] * 1000, first=False) == 124


def test_with_first_a_chunk_is_one_round_of_a_node() -> None:
    assert pace_of(0.9).chunk_size(10**6, 0, [31] * 1000, first=True) == 31


def test_beyond_the_quota_only_what_keeps_processes_busy_is_issued() -> None:
    pace = pace_of(0.9, 4.3)
    assert pace.depth(0) == 2
    assert pace.depth(1) == pytest.approx(1 + 4.3 / 2.6)
    assert pace.chunk_size(0, 0, [31] * 8, first=True) <= 31


def test_lanes_are_filled() -> None:
    assert pace_of(1.0, n_together=256).chunk_size(10_000, 0, [2], first=False) == 512
    assert pace_of(1.0, n_together=256).chunk_size(100, 0, [2], first=False) == 100
    assert pace_of(n_together=256).depth(100) == 512


def test_what_was_learnt_fades() -> None:
    pace = pace_of(*[1.0] * 10, 100.0)
    pace.learn(np.ones(5000, np.float32))
    assert pace.depth(1) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("n_nodes", "n_episodes_a_process"), [(1, 40), (8, 40), (64, 10), (8, 4)])
def test_no_process_waits_while_episodes_are_left(n_nodes: int, n_episodes_a_process: int) -> None:
    """Simulated: a chunk comes back with its last episode; then its node is filled up."""
    rng = np.random.default_rng(0)
    n_processes, longest_s = 31, 5.0

    def lengths(n: int) -> list[float]:
        return np.exp(rng.normal(-0.35, 0.7, n)).clip(0, longest_s).tolist()  # type: ignore[no-any-return]

    pace = pace_of(*lengths(1000))
    free_at = [[0.0] * n_processes for _ in range(n_nodes)]
    in_flight = [0] * n_nodes
    n_left = n_nodes * n_processes * n_episodes_a_process
    total_s = 0.0
    returns: list[tuple[float, int, list[float]]] = [(0.0, node, []) for node in range(n_nodes)]
    while returns:
        now_s, node, seconds = heapq.heappop(returns)
        in_flight[node] -= len(seconds)
        total_s += sum(seconds)
        pace.learn(np.array(seconds))
        room = pace.depth(n_left) * n_processes
        size = pace.chunk_size(n_left, sum(in_flight), [n_processes] * n_nodes, first=False)
        while n_left and room - in_flight[node] >= size / 2:
            seconds = lengths(min(size, n_left))
            ends = []
            for episode_s in seconds:
                ends.append(max(now_s, free_at[node][0]) + episode_s)
                heapq.heapreplace(free_at[node], ends[-1])
            heapq.heappush(returns, (max(ends), node, seconds))
            in_flight[node] += len(seconds)
            n_left -= len(seconds)
    mean_s = total_s / n_nodes / n_processes
    assert max(map(max, free_at)) < mean_s + longest_s + 2  # one queue for all nodes would promise it without the 2
